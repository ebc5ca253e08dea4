"""The protocol of restyling, with players whose obedience is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from ritornello.evaluate.restyle import class_of, evaluate_restyle, excerpt, markdown, perplexity, shifts
from ritornello.representations import build
from ritornello.representations.base import Tokens
from tests.songs import make_song

PIANO = build("musemorphose")
BOUNDS = np.array([[1000 * k / 17 for k in range(1, 8)], [1000 * k + 800 for k in range(1, 8)]], np.float64)
SONGS = [PIANO.encode(make_song(seed, bars=16)) for seed in range(4)]


def obedient(sources: Sequence[Tokens], asked: Sequence[np.ndarray], seed: int) -> list[Tokens]:
    """Plays as many onsets in a bar as its class of rhythm, and as many notes at once, held, as that of polyphony."""
    made = []
    for source, classes in zip(sources, asked, strict=True):
        vocabulary = PIANO.vocabulary
        metre, tempo = (
            next(int(id) for id in source.ids if id in vocabulary.range(family)) for family in ("Metre", "Tempo")
        )
        ids, bars = [1], [0]
        for bar, (rhythm, polyphony) in enumerate(classes.tolist()):
            own = [vocabulary.id("Bar"), metre, tempo]
            for step in range(max(rhythm, 1)):
                own.append(vocabulary.id("Position", 3 * step))
                held = 48 if step == 0 else 3
                for voice in range(polyphony + 1 if step == 0 else 1):
                    key = 90 - voice if step == 0 else 100
                    parts = (("Pitch", key), ("Duration", held), ("Velocity", 66))
                    own += [vocabulary.id(family, label) for family, label in parts]
            ids += own
            bars += [bar] * len(own)
        ids.append(2)
        bars.append(bars[-1])
        written = np.array(ids, np.int16)
        made.append(Tokens(written, np.array(bars, np.int32), np.zeros_like(written), source.attributes, source.meta))
    return made


def test_an_excerpt_is_a_song_of_its_own():
    rng = np.random.default_rng(0)
    found = excerpt(SONGS[0], PIANO, 5, rng)
    assert found is not None
    assert len(found.attributes) == found.bars[-1] + 1 == 5
    assert (found.ids[0], found.ids[-1]) == (1, 2)
    whole = excerpt(SONGS[0], PIANO, 16, rng)
    assert whole is not None
    assert whole.ids.tolist() == SONGS[0].ids.tolist()
    assert excerpt(SONGS[0], PIANO, 17, rng) is None


def test_an_excerpt_that_starts_later_has_the_notes_of_those_bars():
    song = SONGS[1]
    found = excerpt(song, PIANO, 15, np.random.default_rng(3))
    assert found is not None
    expected = PIANO.decode(song).tracks[0].notes.numpy()
    notes = PIANO.decode(found).tracks[0].notes.numpy()
    candidates = [expected["pitch"][(expected["time"] // 48 >= s) & (expected["time"] // 48 < s + 15)] for s in (0, 1)]
    assert any(notes["pitch"].tolist() == pitches.tolist() for pitches in candidates)


def test_one_that_obeys_and_one_that_does_not():
    obeyed = evaluate_restyle(SONGS, PIANO, obedient, BOUNDS, (4, 8), variants=3)
    assert list(obeyed) == ["4", "8"]
    row = obeyed["8"]
    assert (row["pieces"], row["results"], row["bars"], row["as_many_bars"]) == (4, 12, 96, 1)
    for name in ("rhythm", "polyphony"):  # not 1: bars of one class differ a little, and ranks tell
        assert row["control"][name]["correlation"]["value"] > 0.8
    assert json.loads(json.dumps(obeyed)) == obeyed

    def echo(sources, asked, seed):
        return list(sources)

    ignored = evaluate_restyle(SONGS, PIANO, echo, BOUNDS, (8,), variants=3)["8"]
    assert ignored["fidelity"] == pytest.approx({"chroma": 100, "groove": 100})
    assert ignored["diversity"] == pytest.approx({"chroma": 100, "groove": 100})
    for name in ("rhythm", "polyphony"):
        low, high = row["control"][name]["correlation"]["interval"]
        assert low <= row["control"][name]["correlation"]["value"] <= high
        assert ignored["control"][name]["exact"]["value"] < row["control"][name]["exact"]["value"]
    assert "ρ of both classes" in markdown(obeyed)


def test_the_shifts_are_those_of_the_seed_and_keep_to_the_classes():
    asked: list[np.ndarray] = []

    def listen(sources, wishes, seed):
        asked.extend(wishes)
        for source, wish in zip(sources, wishes, strict=True):
            own = class_of(source.attributes, BOUNDS)
            inside = (wish > 0) & (wish < 7)
            for k in range(2):
                shifts = set((wish - own)[inside[:, k], k].tolist())
                assert len(shifts) <= 1
                assert shifts <= set(range(-3, 4))
        return list(sources)

    for _ in range(2):
        evaluate_restyle(SONGS, PIANO, listen, BOUNDS, (8,), variants=4, batch=8)
    assert len(asked) == 32
    assert np.array_equal(np.stack(asked[:16]), np.stack(asked[16:]))
    assert np.stack(asked).min() >= 0
    assert np.stack(asked).max() <= 7


class Even:
    """A language model to which all tokens are equally likely."""

    def token_nats(self, batch):
        return torch.full(batch.ids.shape, float(np.log(50)))


@pytest.mark.parametrize("count", [2, 4, 8])
def test_what_is_asked_of_one_attribute_says_nothing_of_the_other(count: int):
    rng = np.random.default_rng(0)
    songs = np.stack([shifts(count, rng) for _ in range(700)])
    assert (songs.prod(-1).sum(-1) == 0).all()  # in every song
    for attribute in range(2):
        _, often = np.unique(songs[..., attribute], return_counts=True)
        assert often == pytest.approx([100 * count] * 7, rel=0.25)
    assert shifts(3, rng).shape == (3, 2)


def test_fluency_is_perplexity():
    assert perplexity(Even(), SONGS, PIANO) == pytest.approx(50)
    row = evaluate_restyle(SONGS, PIANO, obedient, BOUNDS, (4,), variants=2, fluency=Even())["4"]
    assert row["fluency"] == pytest.approx({"results": 50, "sources": 50})


def test_a_result_cut_short_is_told():
    def short(sources, asked, seed):
        played = obedient(sources, asked, seed)
        return [replace(song, bars=np.minimum(song.bars, 2)) for song in played]

    assert evaluate_restyle(SONGS, PIANO, short, BOUNDS, (4,), variants=2)["4"]["as_many_bars"] == 0
