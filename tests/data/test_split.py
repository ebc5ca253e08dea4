from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import symusic

from ritornello.data.split import HASHES, SHARES, Sketch, assign, clusters, sketch
from ritornello.music.score import read

Song = Callable[..., Any]


def fake_sketches(count: int, seed: int = 0) -> list[Sketch]:
    """Sketches of songs that have nothing in common."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(1, 2**32, (count, 2, HASHES), dtype=np.uint32)
    return [Sketch(f"{seed}/{i}", rows) for i, rows in enumerate(hashes)]


@pytest.mark.parametrize(
    "change",
    [
        {"transpose": 5},
        {"transpose": -11},
        {"qpm": 90.0},
        {"tpq": 96},
        {"programs": (0, 48, 43)},
        {"stretch": 2.0},
        {"stretch": 0.5},
        {"shift": 4.0},
        {"shift": 1.5},
        {"bars": 60, "transpose": 3, "qpm": 77.0, "programs": (24, 4, 38), "tpq": 120},
    ],
    ids=str,
)
def test_changed_copies_are_one_song(song: Song, change: dict[str, object]):
    original = sketch(song(7, **{"bars": 60, **{k: v for k, v in change.items() if k == "bars"}}))
    copy = sketch(song(7, **{"bars": 60, **change}))
    other = sketch(song(8, bars=60))
    assert clusters([original, other, copy]).tolist() == [0, 1, 0]
    labels = clusters([original, copy])
    assert len(set(assign([original, copy], labels))) == 1


def test_an_edited_copy_is_the_same_song(song: Song):
    """Transposed; of the melody's notes one in fifty is missing, another one is wrong; one track is gone."""
    original, copy = song(3, bars=80), song(3, bars=80, transpose=2)
    rng = np.random.default_rng(0)
    melody = copy.tracks[0].notes.numpy()
    keep = rng.random(len(melody["pitch"])) > 0.02
    wrong = rng.random(len(melody["pitch"])) > 0.98
    melody["pitch"] = (melody["pitch"] + wrong).astype(np.int8)
    kept = {name: values[keep] for name, values in melody.items()}
    copy.tracks[0].notes = symusic.Note.from_numpy(**kept, ttype="tick")
    copy.tracks.pop(3)
    assert clusters([sketch(original), sketch(copy)]).tolist() == [0, 0]


def test_different_songs_stay_apart(song: Song):
    sketches = [sketch(song(seed, bars=40)) for seed in range(60)]
    assert len(set(clusters(sketches).tolist())) == 60


def test_short_songs_are_compared_note_for_note(song: Song):
    sketches = [sketch(song(seed, bars=2, transpose=shift)) for seed, shift in ((1, 0), (2, 0), (1, 4))]
    assert not sketches[0].hashes.any()
    assert clusters(sketches).tolist() == [0, 1, 0]


def test_songs_without_pitches(song: Song):
    drums = song(1, bars=30)
    drums.tracks = [track for track in drums.tracks if track.is_drum]
    assert not sketch(drums).hashes.any()


def test_a_corpus_that_names_clusters_is_believed(song: Song):
    sketches = [sketch(song(seed, bars=40)) for seed in (1, 2, 3, 1)]
    labels = clusters(sketches, ["a", "b", "a", None])
    assert labels.tolist() == [0, 1, 0, 3]
    splits = assign(sketches, labels, ["a", "b", "a", None])
    assert splits[0] == splits[2]


def test_the_shares_are_kept():
    sketches = fake_sketches(20_000)
    labels = np.arange(len(sketches))
    counts = Counter(assign(sketches, labels))
    for split, share in SHARES.items():
        assert counts[split] / len(sketches) == pytest.approx(share, rel=0.15)


def test_adding_files_changes_no_split():
    old = fake_sketches(500)
    before = assign(old, clusters(old))
    together = fake_sketches(300, seed=1) + old
    labels = clusters(together)
    assert len(set(labels.tolist())) == 800
    assert assign(together, labels)[300:] == before


def test_an_added_copy_moves_nothing_from_training_to_test():
    rank = {"test": 0, "valid": 1, "train": 2}
    old = fake_sketches(2000)
    before = assign(old, clusters(old))
    rng = np.random.default_rng(3)
    copies = []
    for song in old:  # copies that share two thirds of the values
        hashes = song.hashes.copy()
        changed = rng.random(hashes.shape) < 1 / 3
        hashes[changed] = rng.integers(1, 2**32, int(changed.sum()), dtype=np.uint32)
        copies.append(Sketch(song.content + "'", hashes))
    together = old + copies
    labels = clusters(together)
    assert np.array_equal(labels[:2000], labels[2000:])
    after = assign(together, labels)
    assert after[:2000] == after[2000:]
    assert all(rank[new] >= rank[was] for was, new in zip(before, after[:2000], strict=True))
    assert sum(new != was for was, new in zip(before, after[:2000], strict=True)) < 0.03 * 2000


def test_thousands_of_songs_take_seconds():
    sketches = fake_sketches(12_000) + fake_sketches(1)  # the last is a copy of the first
    began = time.perf_counter()
    labels = clusters(sketches)
    assert time.perf_counter() - began < 30
    assert labels[-1] == 0
    assert len(set(labels.tolist())) == 12_000


def test_the_two_editions_of_the_cello_suites_find_each_other(corpus: Callable[..., list[Path]]):
    files = corpus("bach_cello_suites", 100)
    labels = clusters([sketch(read(file)) for file in files])
    assert len(files) == 73
    assert len(set(labels.tolist())) <= 42  # 34 movements, some of them in two or three files
