"""Requests: what is asked for comes, and what cannot come is one sentence."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ritornello.errors import ConfigError, MusicError, RitornelloError
from ritornello.generate import Draft, finish, generate
from ritornello.music.bars import bars
from ritornello.music.keys import Key, find_key, pitch_classes
from ritornello.music.score import Score, read, write
from ritornello.representations import build
from ritornello.representations.base import Representation
from ritornello.representations.vocabulary import EOS
from ritornello.request import Request
from ritornello.sampling.forms import drawn
from ritornello.sampling.logits import top_k
from ritornello.song import Song
from tests.families import make_model
from tests.sampling.wellformed import Deaf, fault
from tests.songs import make_song


@pytest.fixture(params=["museformer", "remi"])
def representation(request: pytest.FixtureRequest) -> Representation:
    return build(request.param)


def deaf(representation: Representation) -> Any:
    model = Deaf(representation.vocabulary)
    model.register_parameter("scale", torch.nn.Parameter(torch.ones(1)))
    return model


def drafts(representation: Representation, **wishes: Any) -> list[Draft]:
    wishes = {"max_tokens": 60 * wishes.get("bars", 4), **wishes}
    return list(generate(deaf(representation), representation, Request.from_dict(wishes)))


def songs(representation: Representation, **wishes: Any) -> list[Song]:
    return drafts(representation, **wishes)[-1].songs()


def notes(score: Score, before: float = math.inf) -> list[tuple[Any, ...]]:
    """(program, is drum, onset in quarters, pitch, duration in quarters), of those that begin before a quarter."""
    per_quarter = score.ticks_per_quarter
    return sorted(
        (track.program, track.is_drum, note.time / per_quarter, note.pitch, note.duration / per_quarter)
        for track in score.tracks
        for note in track.notes
        if note.time < before * per_quarter
    )


@pytest.mark.parametrize("count", [1, 2, 5, 16])
def test_exactly_the_bars_asked(representation: Representation, count: int):
    for song in songs(representation, bars=count, count=3):
        assert len(bars(song.score)) == song.facts.bars == count


def test_songs_of_a_batch_are_those_of_their_seeds(representation: Representation):
    together = songs(representation, bars=3, seed=11, count=3)
    assert [song.seed for song in together] == [11, 12, 13]
    alone = songs(representation, bars=3, seed=12)[0]
    assert notes(together[1].score) == notes(alone.score) != notes(together[0].score)


@pytest.mark.parametrize("wish", [{"top_k": 1}, {"top_p": 1e-6, "top_k": 0}, {"min_p": 1.0, "top_k": 0}])
def test_only_the_likeliest_is_drawn_where_that_is_asked(representation: Representation, wish: dict[str, Any]):
    first, second = songs(representation, bars=2, count=2, **wish)
    assert notes(first.score) == notes(second.score)


def test_songs_without_a_form_are_drawn_from_the_likeliest():
    def said(**wishes: Any) -> list[int]:
        return drafts(build("museformer"), max_tokens=800, **wishes)[-1].tokens[0].ids.tolist()

    assert said(bars=2) == said(bars=2, top_k=8) != said(bars=2, top_k=0)


def test_of_songs_that_have_a_form_keys_alone_are_drawn_from_the_likeliest(monkeypatch: pytest.MonkeyPatch):
    asked: list[Any] = []
    monkeypatch.setattr("ritornello.generate.top_k", lambda *few: asked.append(few) or top_k(*few))
    model, representation = make_model("museformer-habits"), build("museformer")
    for wishes in ({}, {"planned": False}, {"form": "A1 A1", "bars": 2}, {"top_k": 0}, {"top_k": 8}):
        [*generate(model, representation, Request(**{"bars": 2, "max_tokens": 800} | wishes))]
    keys = representation.vocabulary.range("Pitch")
    assert asked == [(12, keys), (12, None), (12, keys), (8,)]


def test_what_has_habits_has_a_form_and_others_where_they_are_asked(monkeypatch: pytest.MonkeyPatch):
    """Every song of a batch its own, that of its seed."""
    used = []
    monkeypatch.setattr("ritornello.generate.Returning", lambda player, vocabulary, *rest: used.append(rest) or player)
    vocabulary = build("museformer").vocabulary
    for name, planned, has in (("-habits", None, True), ("-habits", False, False), ("", None, False), ("", True, True)):
        used.clear()
        wishes = {"instruments": ("bass", "drums"), "density": "3", "candidates": 2}
        request = Request(bars=2, seed=5, count=2, planned=planned, max_tokens=400, **wishes)
        model = make_model(f"museformer{name}")
        list(generate(model, build("museformer"), request))
        forms = [drawn(seed, 2, vocabulary) for seed in (5, 5, 6, 6)]
        asked = sorted(vocabulary.id("Instrument", one) for one in wishes["instruments"])
        assert used == ([(forms, model.config.faithful, asked)] if has else []), (name, planned)


def test_drafts_grow_by_bars_and_can_be_heard(representation: Representation):
    growing = drafts(representation, bars=4, count=2)
    assert [draft.bars for draft in growing] == [1, 2, 3, 4]
    assert [draft.done for draft in growing] == [False, False, False, True]
    for draft in growing[:-1]:
        for tokens in draft.tokens:
            assert tokens.bars[-1] + 1 >= draft.bars
            assert fault(representation.vocabulary, tokens.ids) is None
            representation.decode(tokens)


def test_what_a_form_says_comes_again():
    (song,) = songs(build("museformer"), form="A2 B3 A", faithful=50, max_tokens=3000)
    assert len(bars(song.score)) == 7
    first, again = (
        {note[:4] for note in notes(song.score, 4 * stop) if note[2] >= 4 * start} for start, stop in ((0, 2), (5, 7))
    )
    assert len({(p, d, onset + 20, key) for p, d, onset, key in first} & again) > 0.9 * len(again) > 0


def test_the_form_of_a_midi_file_is_taken_over(representation: Representation, tmp_path: Path):
    """Its music is not: where its third and fourth bar are its first two again, so it is in the song."""
    score = make_song(3, bars=2)
    for track in score.tracks:
        track.notes.extend(track.shift_time(8 * score.ticks_per_quarter).notes)
    write(score, tmp_path / "mine.mid")
    # A seed with which all that play in the file do: an instrument that failed to would be awaited when its bar returns
    wishes = {"form_of": tmp_path / "mine.mid", "faithful": 100, "top_k": 0, "max_tokens": 2000, "seed": 1}
    last = drafts(representation, **wishes)[-1]
    (tokens,), (song,) = last.tokens, last.songs()
    lengths = representation.vocabulary.range("Duration")  # which may be cut: no note outlasts the song
    first, second, *again = (
        [id for id in tokens.ids[(tokens.bars == b) & (tokens.ids > EOS)].tolist() if id not in lengths]
        for b in range(song.facts.bars)
    )
    assert again == [first, second]
    assert first != second
    assert drafts(representation, **wishes, bars=5)[-1].songs()[0].facts.bars == 5


@pytest.mark.parametrize(("recall", "asked", "nats"), [(False, None, 4.0), (True, None, 2.0), (True, 3.0, 3.0)])
def test_how_faithful_is_the_models_matter_where_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, recall: bool, asked: float | None, nats: float
):
    used = []
    monkeypatch.setattr("ritornello.generate.Returning", lambda player, *rest: used.append(rest[2]) or player)
    model = make_model("museformer", recall=recall)
    list(generate(model, build("museformer"), Request(form="A1 A1", faithful=asked, max_tokens=400)))
    assert used == [nats]


def test_the_fullest_candidates_make_a_fuller_song(representation: Representation):
    """Bar by bar; what is complete in a draft stays; songs of a batch are those of their seeds."""
    wishes = {"bars": 4, "max_tokens": 1000, "candidates": 5}
    full, thin = (
        [song.score.note_num() for song in songs(representation, density=density, count=3, **wishes)]
        for density in ("500", "0")
    )
    assert min(full) > max(thin)
    assert full[1] == songs(representation, density="500", seed=1, **wishes)[0].score.note_num()
    grown = drafts(representation, density="500", count=3, **wishes)
    assert [draft.bars for draft in grown] == [1, 2, 3, 4]
    for draft in grown:  # songs choose at different times: nothing is shown that may yet be chosen otherwise
        for early, late in zip(draft.tokens, grown[-1].tokens, strict=True):
            assert np.array_equal(early.ids, late.ids[: len(early.ids)])


def test_among_candidates_a_form_holds_too():
    """Each of them remembers its own bars, and the chosen one's go on."""
    wishes = {"form": "B1 A1 C1 A1 D3", "density": "500", "candidates": 4, "faithful": 100, "max_tokens": 4000}
    (song,) = drafts(build("museformer"), **wishes)[-1].tokens
    lengths = build("museformer").vocabulary.range("Duration")  # which may be cut: no note outlasts the song
    first, again = (
        [id for id in song.ids[(song.bars == b) & (song.ids > 2)].tolist() if id not in lengths] for b in (1, 3)
    )
    assert first == again


def test_an_instrument_has_a_density_of_its_own():
    """Of drums many and of the melody none, and the other way round."""

    def counts(density: str) -> tuple[int, int]:
        score = songs(build("museformer"), density=density, bars=4, max_tokens=1000, candidates=6)[0].score
        drums = sum(len(track.notes) for track in score.tracks if track.is_drum)
        return drums, sum(len(track.notes) for track in score.tracks if track.name == "melody")

    (drums, no_melody), (no_drums, melody) = counts("drums 500,melody 0"), counts("drums 0,melody 500")
    assert drums > no_drums
    assert melody > no_melody


def test_a_prompt_goes_on_with_the_density_asked(prompt: Path):
    wishes = {"prompt": prompt, "prompt_bars": 3, "bars": 6, "max_tokens": 2000}
    full, thin = (songs(build("museformer"), density=density, **wishes)[0].score for density in ("900", "0"))
    assert notes(full, 12) == notes(thin, 12)
    assert full.note_num() > thin.note_num()
    early, none = (songs(build("museformer"), density=density, **wishes)[0].score for density in ("1-3:900", None))
    assert notes(early) == notes(none)  # only bars that are there already were asked to be full


def test_who_cannot_choose_among_candidates_says_so():
    with pytest.raises(ConfigError, match="this model writes one candidate of a bar"):
        list(generate(make_model("longformer"), build("museformer"), Request(density="20-40", bars=2)))


def test_tempo_is_just_the_one_asked(representation: Representation):
    song = songs(representation, bars=4, tempo=97.3)[0]
    assert song.facts.tempi == pytest.approx((97.3, 97.3), rel=1e-4)


def test_only_the_instruments_asked_play():
    song = songs(build("museformer"), bars=6, instruments="piano, bass")[0]
    assert set(song.facts.instruments) == {"piano", "bass"}
    song = songs(build("remi"), bars=6, instruments=["violin", "73", "Drums"])[0]
    assert {track.program for track in song.score.tracks if not track.is_drum} == {40, 73}
    assert any(track.is_drum for track in song.score.tracks)
    song = songs(build("remi"), bars=6, instruments=["piano"])[0]
    assert {track.program for track in song.score.tracks} <= set(range(6))


@pytest.mark.parametrize(("key", "shift"), [("D minor", 5), ("Eb major", 3), ("F# minor", -3), ("F# major", 6)])
def test_key_shifts_the_whole_song(key: str, shift: int):
    """The notes are those of C major and A minor, shifted into the key; drums stay."""
    last = drafts(build("museformer"), bars=4, key=key)[-1]
    in_c = build("museformer").decode(replace(last.tokens[0], meta={}))
    moved = sorted((p, d, at, pitch + shift * (not d), length) for p, d, at, pitch, length in notes(in_c))
    assert notes(last.songs()[0].score) == moved


@pytest.mark.parametrize("key", ["D minor", "Eb major"])
def test_the_key_asked_is_leant_to(representation: Representation, key: str):
    """A model that likes all pitches alike plays more of the tonic triad, less of what is outside the scale."""
    model, parsed = deaf(representation), Key.parse(key)
    model.logits[:] = 0
    song = finish(generate(model, representation, Request(bars=24, key=key, top_k=0, max_tokens=8000)))[0]
    shares = np.roll(pitch_classes(song.score), -parsed.tonic)
    third = 3 if parsed.mode == "minor" else 4
    assert shares[[0, third, 7]].mean() > 1.2 * shares[[1, 6]].mean()


def test_a_key_that_does_not_come_is_said():
    song = songs(build("museformer"), bars=2, key="C major", instruments="drums,bass")[0]
    said = "C major was asked for; the notes lean to" in "".join(song.remarks)
    assert said == (str(find_key(song.score)) != "C major")


@pytest.fixture
def prompt(tmp_path: Path) -> Path:
    score = make_song(3, bars=12)
    for track in score.tracks:
        if not track.is_drum:
            track.shift_pitch(2, inplace=True)
    write(score, tmp_path / "mine.mid")
    return tmp_path / "mine.mid"


def test_a_prompt_is_kept_and_continued(representation: Representation, prompt: Path):
    song = songs(representation, prompt=prompt, prompt_bars=4, bars=7, max_tokens=2000)[0]
    original = representation.normalise(read(prompt))
    assert len(bars(song.score)) == 7
    assert notes(song.score, before=16) == notes(original, before=16)
    assert song.facts.tempi == pytest.approx((original.tempos[0].qpm,) * 2, rel=1e-6)
    assert {track.program for track in song.score.tracks} <= {track.program for track in original.tracks}
    assert song.remarks[0].startswith("mine.mid goes on after bar 4: ")
    assert "quarters a minute, with" in song.remarks[0]


def test_a_prompt_may_be_used_whole_and_the_song_may_end_by_itself(representation: Representation, prompt: Path):
    song = songs(representation, prompt=prompt, prompt_bars=99, max_tokens=1500)[0]
    assert song.facts.bars > 12
    assert "goes on after its 12 bars" in song.remarks[0]


def test_wishes_go_over_what_the_prompt_says(prompt: Path):
    song = songs(
        build("museformer"), prompt=prompt, prompt_bars=2, bars=6, tempo=222, instruments="strings", max_tokens=900
    )[0]
    late = [track.name for track in song.score.tracks if any(note.time >= 8 * 12 for note in track.notes)]
    assert late == ["strings"]
    assert song.facts.tempi[1] == pytest.approx(222, rel=0.005)
    assert song.facts.tempi[0] < 200


def test_what_merging_did_is_said(prompt: Path):
    remarks = "\n".join(songs(build("museformer"), prompt=prompt, prompt_bars=2, bars=3, max_tokens=900)[0].remarks)
    assert "kept" in remarks
    assert "dropped" in remarks


def test_the_model_is_left_as_it_was():
    model = deaf(build("museformer"))
    for training in (True, False):
        model.train(training)
        finish(generate(model, build("museformer"), Request(bars=1, max_tokens=50)))
        assert model.training == training


def test_a_real_model_writes_the_same_song_alone_and_in_a_batch():
    model: Any = make_model("museformer-shipped")
    representation = build("museformer")
    together = finish(generate(model, representation, Request(bars=6, seed=4, count=3, max_tokens=400)))
    alone = finish(generate(model, representation, Request(bars=6, seed=5, max_tokens=400)))
    assert notes(together[1].score) == notes(alone[0].score)
    assert len(bars(alone[0].score)) == 6


@pytest.mark.parametrize(
    ("wishes", "sentence"),
    [
        ({"bars": 0}, "bars = 0 should be greater than or equal to 1"),
        ({"temperature": 0}, "temperature = 0 should be greater than 0"),
        ({"key": "H dur"}, "key = 'H dur': .*no key"),
        ({"tempo": 5000}, "tempo = 5000: should be from 15 to 480"),
        ({"instruments": "kazoo"}, "kazoo: there is no such instrument"),
        ({"bars": 100, "max_tokens": 99}, "max_tokens = 99 is too few"),
        ({"top_kk": 1}, "nearest known one is top_k"),
        ({"density": "9-20:10", "bars": 16}, "density = '9-20:10': '9-20:10' should lie within the song's 16 bars"),
        ({"density": "kazoo 3"}, "density = kazoo: there is no such instrument"),
        ({"density": "bass 3", "instruments": "drums"}, "bass is not among those that may play; add it"),
        ({"form": "AABA", "bars": 30}, "form = 'AABA' does not fill 30 bars: ask for a multiple of 4"),
        ({"form": "A-flat, please?"}, "form = 'A-flat, please\\?': should be letters"),
    ],
)
def test_a_wish_that_cannot_be_met_is_one_sentence(representation: Representation, wishes: dict, sentence: str):
    with pytest.raises(ConfigError, match=sentence) as error:
        songs(representation, **wishes)
    assert "\n" not in str(error.value)


def test_a_prompt_that_cannot_be_met_is_one_sentence(representation: Representation, prompt: Path, tmp_path: Path):
    for wishes, sentence in (
        ({"prompt": prompt, "bars": 4}, "should have more bars than the 12 of its prompt"),
        ({"prompt": prompt, "key": "C major"}, "keeps the key of its prompt"),
        ({"prompt": tmp_path / "none.mid"}, "none.mid"),
        ({"prompt": prompt, "max_tokens": 90}, "max_tokens = 90 is too few"),
    ):
        with pytest.raises(RitornelloError, match=sentence):
            songs(representation, **wishes)


def test_a_form_that_a_file_has_not_is_one_sentence(prompt: Path, tmp_path: Path):
    museformer = build("museformer")
    with pytest.raises(RitornelloError, match=r"none\.mid"):
        songs(museformer, form_of=tmp_path / "none.mid")
    with pytest.raises(
        ConfigError, match=r"form = AABA and form_of = .*mine\.mid are two forms; leave one of them out"
    ):
        songs(museformer, form_of=prompt, form="AABA")
    with pytest.raises(ConfigError, match="planned = True: this model's songs have no form to ask for; leave it out"):
        songs(build("remi"), planned=True)
    score = make_song(0)
    score.time_signatures[0].numerator = 3
    write(score, tmp_path / "waltz.mid")
    with pytest.raises(MusicError, match=r"waltz\.mid gives no form: .*4/4"):
        songs(museformer, form_of=tmp_path / "waltz.mid")


def test_a_prompt_that_the_representation_cannot_hold(tmp_path: Path):
    score = make_song(0)
    score.time_signatures[0].numerator = 3
    write(score, tmp_path / "waltz.mid")
    with pytest.raises(MusicError, match=r"waltz\.mid cannot be continued: .*4/4"):
        songs(build("museformer"), prompt=tmp_path / "waltz.mid")


def test_the_budget_grows_with_the_bars():
    assert Request().budget == 20_480
    assert Request(bars=500).budget == 160_000
    assert Request(bars=500, max_tokens=9000).budget == 9000
