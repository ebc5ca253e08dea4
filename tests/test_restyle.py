"""Restyling: what is kept, what is asked, what comes out, for models that have learned nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from symusic.core import KeySignatureTick, NoteTick, TempoTick, TimeSignatureTick, TrackTick

import ritornello as rn
from ritornello.api import Player
from ritornello.cli import main
from ritornello.data.batch import collate
from ritornello.errors import ConfigError, MusicError, RitornelloError
from ritornello.models.musemorphose import MuseMorphose
from ritornello.music.bars import bars
from ritornello.music.score import Score, read, write
from ritornello.representations import build
from ritornello.restyle import Manner, Part, Restyle, finish, play
from ritornello.restyle.midi import _measured
from ritornello.restyle.wishes import chosen_bars, plan
from ritornello.run import Run, RunConfig
from tests.families import SMALL
from tests.songs import make_piano, make_song

PIANO = build("musemorphose")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run's folder; its model knows the bounds of classes and nothing else."""
    folder = tmp_path_factory.mktemp("run")
    settings = {**SMALL["musemorphose"], "carry": 2, "progress": True}
    made = Run.create(RunConfig(family="musemorphose", representation="musemorphose", model=settings), folder)
    assert isinstance(made.model, MuseMorphose)
    made.model.begin([PIANO.encode(make_piano(seed, 30)) for seed in range(6)])
    made.save()
    return str(folder)


@pytest.fixture(scope="module")
def player(run: str) -> Player:
    return rn.load(run)


def saved(tmp_path: Path, score: Score, name: str = "mine.mid") -> Path:
    return write(score, tmp_path / name) or tmp_path / name


def notes(score: Score, first: int, last: int) -> list[tuple[int, ...]]:
    """Notes that begin in bars first to last (from 0, last not included), of all tracks."""
    grid = bars(score)
    found = []
    for track in score.tracks:
        for note in track.notes:
            if first <= int(grid.of([note.time])[0]) < last:
                found.append((note.time, note.duration, note.pitch, note.velocity))
    return sorted(found)


# What is kept


@pytest.mark.parametrize("metre", [(4, 4), (3, 4), (7, 8)])
def test_as_many_bars_in_tempo_metre_and_key(player: Player, tmp_path: Path, metre: tuple[int, int]):
    score = make_piano(1, 7, metre)
    score.tempos.append(TempoTick(4800, qpm=61.5))
    score.key_signatures.append(KeySignatureTick(0, 3, 0))
    path = saved(tmp_path, score)
    song = player.restyle(path, rhythm="+2", polyphony="-1", seed=4)
    source, new = read(path), song.score
    assert np.array_equal(bars(new).starts, bars(source).starts)
    assert np.array_equal(bars(new).metres, bars(source).metres)
    assert [(t.time, t.qpm) for t in new.tempos] == [(t.time, t.qpm) for t in source.tempos]
    assert [(k.time, k.key) for k in new.key_signatures] == [(k.time, k.key) for k in source.key_signatures]
    assert new.ticks_per_quarter == source.ticks_per_quarter
    assert notes(new, 0, 7) != notes(source, 0, 7)
    assert not len(new.markers)


def test_metres_that_change_and_bars_without_a_note(player: Player, tmp_path: Path):
    score = make_piano(1, 8)
    score.time_signatures.append(TimeSignatureTick(4 * 1920, 3, 4))
    track = score.tracks[0]
    track.notes = type(track.notes)([note for note in track.notes if not 1920 <= note.time < 3 * 1920])
    song = player.restyle(saved(tmp_path, score))
    assert np.array_equal(bars(song.score).starts, bars(song.source).starts)
    assert len(song.after) == len(song.asked) == len(bars(song.source))


def test_bars_that_are_not_chosen_stay_note_for_note(player: Player, tmp_path: Path):
    """To the tick, though they lie off the grid of the representation."""
    score = make_piano(2, 8)
    for note in score.tracks[0].notes:
        note.time += 7
        note.velocity += 1
    path = saved(tmp_path, score)
    song = player.restyle(path, rhythm="+3", bars="3-4,7")
    for first, last in ((0, 2), (4, 6), (7, 8)):
        assert notes(song.score, first, last) == notes(song.source, first, last)
    assert notes(song.score, 2, 4) != notes(song.source, 2, 4)
    assert song.chosen.tolist() == [False, False, True, True, False, False, True, False]
    assert len(song.score.tracks) == 1


def test_other_instruments_stay_where_bars_are_not_chosen(player: Player, tmp_path: Path):
    path = saved(tmp_path, make_song(3, 8))
    song = player.restyle(path, bars="2")
    assert any(track.is_drum and len(track.notes) for track in song.score.tracks)
    before, after = (
        {t.name or t.program: [n for n in t.notes if n.time >= 3840] for t in s.tracks}
        for s in (song.source, song.score)
    )
    assert {name: len(n) for name, n in after.items()} == {name: len(n) for name, n in before.items()}


def test_several_tracks_become_one_piano_and_it_is_said(player: Player, tmp_path: Path):
    song = player.restyle(saved(tmp_path, make_song(3, 6)))
    assert [track.name for track in song.score.tracks] == ["piano"]
    assert any("became one piano part" in remark and "drum" in remark for remark in song.remarks)
    assert "6 bars were played again" in song.describe()


# What is asked


def test_the_classes_are_steered(player: Player, tmp_path: Path):
    """Even a model that has learned nothing is held to the rhythm that is asked for, if one insists."""
    path = saved(tmp_path, make_piano(2, 10))
    busy, calm = player.restyles(path, rhythm="7/0", insist=20, guidance=1)
    assert busy.asked[:, 0].tolist() == [7] * 10
    assert busy.after[:, 0].mean() > calm.after[:, 0].mean() + 300
    assert (calm.reached[:, 0] <= 1).mean() > 0.7


def test_the_best_of_several_candidates_obeys_better(player: Player, tmp_path: Path):
    path = saved(tmp_path, make_piano(2, 10))
    missed = []
    for candidates in (1, 6):
        songs = player.restyles(path, rhythm="+3/+2/+1/-1/-2/-3", insist=0, candidates=candidates)
        missed.append(np.mean([abs(song.reached - song.asked).mean() for song in songs]))
    assert missed[1] < missed[0] - 0.2


def test_same_seed_same_song_alone_or_in_company(player: Player, tmp_path: Path):
    path = saved(tmp_path, make_piano(2, 5))
    together = player.restyles(path, rhythm="+1", count=3, seed=5, variety=0.5)
    assert [song.seed for song in together] == [5, 6, 7]
    alone = player.restyle(path, rhythm="+1", seed=6, variety=0.5)
    assert notes(alone.score, 0, 5) == notes(together[1].score, 0, 5)
    assert notes(alone.score, 0, 5) != notes(together[0].score, 0, 5)


def test_different_pieces_play_in_one_batch(player: Player):
    model, manner = player.run.model, Manner(seed=3, insist=0)
    assert isinstance(model, MuseMorphose)
    songs = [PIANO.encode(make_piano(seed, 5)) for seed in (1, 2)]
    parts = [Part(song, np.full((5, 2), 3)) for song in songs]
    together = finish(play(model, PIANO, parts, manner))
    alone = finish(play(model, PIANO, parts[1:], manner.model_copy(update={"seed": 4})))
    assert np.array_equal(together[1].ids, alone[0].ids)
    with pytest.raises(ValueError, match="equally many bars"):
        finish(play(model, PIANO, [parts[0], Part(PIANO.encode(make_piano(1, 4)), np.full((4, 2), 3))], manner))


def test_drafts_grow_bar_by_bar(player: Player, tmp_path: Path):
    drafts = list(player.restyle_drafts(saved(tmp_path, make_piano(2, 5)), Restyle()))
    assert [len(draft[0].after) for draft in drafts] == [1, 2, 3, 4, 5]
    assert len(bars(drafts[1][0].score)) <= 2


OWN = np.array([[0, 7], [3, 3], [4, 4], [6, 1]])


def test_a_draft_may_be_silent_so_far():
    score = make_piano(0, bars=3)
    song = PIANO.encode(score)
    head = int(np.flatnonzero(song.positions > 0)[0])  # up to the first onset
    silent = replace(song, ids=song.ids[:head], bars=song.bars[:head], positions=song.positions[:head])
    part = Part(song, np.zeros((3, 2), np.int64))
    found = _measured(PIANO, score, silent, part, np.full((2, 7), 500.0))
    assert found.after.tolist() == [[0, 0]]
    assert found.reached.tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        ({}, OWN.tolist()),
        ({"rhythm": "+2", "polyphony": "-1"}, [[2, 6], [5, 2], [6, 3], [7, 0]]),
        ({"rhythm": "5"}, [[5, 7], [5, 3], [5, 4], [5, 1]]),
        ({"rhythm": "1-2:2,4:-3"}, [[2, 7], [2, 3], [4, 4], [3, 1]]),
        ({"polyphony": " 2 - 3 : 0 "}, [[0, 7], [3, 0], [4, 0], [6, 1]]),
    ],
)
def test_wishes_become_classes(wishes: dict[str, Any], expected: list[list[int]]):
    assert plan(Restyle(**wishes), OWN).tolist() == expected


def test_a_schedule_from_a_file(tmp_path: Path):
    path = tmp_path / "plan.csv"
    path.write_text("bar,rhythm,polyphony\n1-2,+1,\n4,0,7\n")
    assert plan(Restyle(schedule=path), OWN).tolist() == [[1, 7], [4, 3], [4, 4], [0, 7]]
    path.write_text("bar,rhythm\n9,1\n")
    with pytest.raises(ConfigError, match=r"line 2: bars 9 should lie within the piece's bars, 1 to 4"):
        plan(Restyle(schedule=path), OWN)
    path.write_text("bars,loud\n1,1\n")
    with pytest.raises(ConfigError, match="its columns should be bar, rhythm, polyphony"):
        plan(Restyle(schedule=path), OWN)
    with pytest.raises(ConfigError, match="cannot be read"):
        plan(Restyle(schedule=tmp_path / "none.csv"), OWN)


@pytest.mark.parametrize(
    ("wishes", "sentence"),
    [
        ({"rhythm": "9"}, "'9' should be a class from 0 to 7, or a shift such as"),
        ({"rhythm": "busy"}, "rhythm: 'busy' should be"),
        ({"rhythm": "3-9:1"}, "should lie within the piece's bars, 1 to 4"),
        ({"polyphony": "a:1"}, "'a' should be a bar or a range of bars"),
    ],
)
def test_what_cannot_be_is_said(wishes: dict[str, Any], sentence: str):
    with pytest.raises(ConfigError, match=sentence):
        plan(Restyle(**wishes), OWN)


def test_several_wishes_make_several_songs():
    takes = Restyle(rhythm="-1/+1", polyphony="3").takes()
    assert [(take.rhythm, take.polyphony) for take in takes] == [("-1", "3"), ("+1", "3")]
    assert takes[0].asks() == "rhythm -1, polyphony 3"
    with pytest.raises(ConfigError, match="as many of both"):
        Restyle(rhythm="1/2/3", polyphony="1/2").takes()


def test_chosen_bars():
    assert chosen_bars("2-3", 4).tolist() == [False, True, True, False]
    assert chosen_bars(None, 2).tolist() == [True, True]
    with pytest.raises(ConfigError, match="at least one bar"):
        chosen_bars(" ", 4)
    with pytest.raises(ConfigError, match="1 to 4"):
        chosen_bars("0", 4)


# From one to another, and from nothing


def test_between_two_pieces(player: Player, tmp_path: Path):
    first = saved(tmp_path, make_piano(1, 6), "a.mid")
    second = saved(tmp_path, make_piano(2, 8, (3, 4)), "b.mid")
    songs = player.interpolate(first, second, steps=4)
    assert [len(bars(song.score)) for song in songs] == [6] * 4
    assert [tuple(bars(song.score).metres[0]) for song in songs] == [(4, 4), (4, 4), (3, 4), (3, 4)]
    tempos = [song.score.tempos[0].qpm for song in songs]
    ends = [read(path).tempos[0].qpm for path in (first, second)]
    assert np.all(np.diff(tempos) * np.sign(ends[1] - ends[0]) >= 0)
    assert np.allclose(tempos[:: len(tempos) - 1], ends, rtol=0.01)
    assert any("b.mid counts up to bar 6" in remark for remark in songs[0].remarks)


def test_the_way_begins_and_ends_at_the_pieces(player: Player, tmp_path: Path):
    """The latents of the outer songs are those of the pieces."""
    from ritornello.restyle import midi

    model = player.run.model
    assert isinstance(model, MuseMorphose)
    pieces = [make_piano(seed, 5) for seed in (1, 2)]
    paths = [saved(tmp_path, piece, f"{i}.mid") for i, piece in enumerate(pieces)]
    seen: list[Part] = []
    original = midi.play
    try:
        midi.play = lambda model, representation, parts, manner: seen.extend(parts) or iter(())
        list(player.interpolate_drafts(*paths, request=midi.Interpolate(steps=3)))
    finally:
        midi.play = original
    latents = [part.latents.numpy() for part in seen if part.latents is not None]
    for found, path in ((latents[0], paths[0]), (latents[2], paths[1])):
        own, _ = model.encode(collate([PIANO.encode(read(path))]))
        assert np.allclose(found, own[0], atol=1e-5)
    assert np.allclose(2 * latents[1], latents[0] + latents[2], atol=1e-5)


def test_from_nothing(run: str):
    song = rn.load(run).generate(bars=3, seed=2)
    assert len(bars(song.score)) == 3
    assert [track.name for track in song.score.tracks] == ["piano"]
    with pytest.raises(ConfigError, match="has no instruments"):
        rn.load(run).generate(bars=2, instruments="flute")


# As one types it


def test_on_the_command_line(run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, make_piano(1, 4))
    wishes = ["--rhythm", "-1/+2", "--polyphony", "-1", "--seed", "3", "--picture"]
    assert main(["restyle", "mine.mid", "--run", run, *wishes, "-o", "out/new.mid"]) == 0
    assert sorted(path.name for path in Path("out").iterdir()) == ["new-1.mid", "new-2.mid", "new.png"]
    said = capsys.readouterr().out
    assert "rhythm -1, polyphony -1:" in said
    assert "4 bars were played again; the class asked for is met" in said
    assert main(["restyle", "mine.mid", "--run", run, "--bars", "2", "-o", "one.mid"]) == 0
    assert notes(read("one.mid"), 2, 4) == notes(read("mine.mid"), 2, 4)
    saved(tmp_path, make_piano(2, 4), "other.mid")
    assert main(["interpolate", "mine.mid", "other.mid", "--run", run, "--steps", "2", "-o", "between"]) == 0
    assert sorted(p.name for p in Path("between").iterdir()) == ["mine-other-1.mid", "mine-other-2.mid"]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["none.mid"], "none.mid"),
        (["mine.mid", "--rhythm", "+9"], "should be a class from 0 to 7"),
        (["mine.mid", "--top-p", "2"], "top_p = 2"),
        (["drums.mid"], "drums.mid cannot be restyled"),
    ],
)
def test_what_one_can_mend(flags: list[str], sentence: str, run: str, tmp_path: Path, monkeypatch: Any, capsys: Any):
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, make_piano(1, 4))
    drums = Score(480)
    drums.tracks.append(TrackTick("", 0, True))
    drums.tracks[0].notes.append(NoteTick(0, 100, 36, 90))
    saved(tmp_path, drums, "drums.mid")
    assert main(["restyle", *flags, "--run", run, "-o", "out"]) == 2
    said = capsys.readouterr()
    assert sentence in said.err
    assert said.err.count("\n") == 1
    assert not Path("out").exists()


def test_another_family_cannot(tmp_path: Path):
    config = RunConfig(family="museformer", representation="museformer", model=SMALL["museformer"])
    Run.create(config, tmp_path / "six").save()
    with pytest.raises(RitornelloError, match="has no latent of each bar; take musemorphose"):
        rn.load(tmp_path / "six").restyle(saved(tmp_path, make_piano(1, 4)))
    with pytest.raises(MusicError):
        read(tmp_path / "none.mid")
