"""Bar grids, worked by hand, and what must hold for any."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from symusic.core import NoteTick, TempoTick, TimeSignatureTick, TrackTick

from ritornello.music.bars import bars, first_bars, tempo_by_bar
from ritornello.music.score import Score


def make(tpq: int, last: int, *metres: tuple[int, int, int]) -> Score:
    """A score whose last note begins at tick `last`, with metre events (tick, numerator, denominator) in that order."""
    score = Score(tpq)
    score.tracks.append(TrackTick("", 0, False))
    score.tracks[0].notes.append(NoteTick(last, 10_000, 60, 100))
    for metre in metres:
        score.time_signatures.append(TimeSignatureTick(*metre))
    return score


FOUR, THREE = [4, 4], [3, 4]

BY_HAND = {
    "no metre is 4/4": (make(480, 1919), [0, 1920], [FOUR]),
    "an onset on a bar line begins a bar": (make(480, 1920), [0, 1920, 3840], [FOUR, FOUR]),
    "a waltz": (make(480, 1500, (0, 3, 4)), [0, 1440, 2880], [THREE, THREE]),
    "6/8 and 7/8": (make(480, 3119, (0, 6, 8), (1440, 7, 8)), [0, 1440, 3120], [[6, 8], [7, 8]]),
    "4/4 until the first metre": (make(480, 4000, (3840, 3, 4)), [0, 1920, 3840, 5280], [FOUR, FOUR, THREE]),
    "a change inside a bar cuts it": (make(480, 2400, (960, 3, 4)), [0, 960, 2400, 3840], [FOUR, THREE, THREE]),
    "a pickup of one quarter": (
        make(480, 2400, (0, 1, 4), (480, 4, 4)),
        [0, 480, 2400, 4320],
        [[1, 4], FOUR, FOUR],
    ),
    "the last of several at one tick": (
        make(480, 0, (0, 2, 4), (0, 5, 4), (0, 3, 4)),
        [0, 1440],
        [THREE],
    ),
    "the same metre again cuts nothing": (make(480, 2000, (0, 4, 4), (700, 4, 4)), [0, 1920, 3840], [FOUR, FOUR]),
    "a change and back at once": (make(480, 2000, (700, 3, 4), (700, 4, 4)), [0, 1920, 3840], [FOUR, FOUR]),
    "a change after the last note": (make(480, 10, (500, 3, 4)), [0, 1920], [FOUR]),
    "events out of order": (make(480, 3000, (1920, 3, 4), (0, 2, 2)), [0, 1920, 3360], [[2, 2], THREE]),
    "bars of 4.5 ticks": (make(12, 17, (0, 3, 32)), [0, 5, 9, 14, 18], [[3, 32]] * 4),
    "a bar line rounded onto a change": (make(12, 5, (0, 3, 32), (5, 4, 4)), [0, 5, 53], [[3, 32], FOUR]),
    "bars shorter than a tick": (make(1, 2, (0, 1, 16)), [0, 1, 2, 3], [[1, 16]] * 3),
    "255/1": (make(480, 5, (0, 255, 1)), [0, 489_600], [[255, 1]]),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_by_hand(name: str) -> None:
    score, starts, metres = BY_HAND[name]
    grid = bars(score)
    assert grid.starts.tolist() == starts
    assert grid.metres.tolist() == metres
    assert grid.starts.dtype == grid.metres.dtype == np.int64


def test_a_score_without_notes_has_one_bar() -> None:
    assert bars(Score(96)).starts.tolist() == [0, 384]


def test_bar_of_ticks() -> None:
    grid = bars(make(480, 2400, (960, 3, 4)))
    ticks = np.array([[0, 959], [960, 2399], [2400, 10**9]])
    assert grid.of(ticks).tolist() == [[0, 0], [1, 1], [2, 2]]
    assert grid.of(960) == 1


def test_tempo_is_the_mean_in_time() -> None:
    score = make(480, 7000)
    for tick, tempo in ((0, 120), (960, 60), (3840, 90)):
        score.tempos.append(TempoTick(tick, tempo))
    # bar 1: two quarters in 1 s, two in 2 s: 4 quarters in 3 s; bar 2 at 60; then 90
    np.testing.assert_allclose(tempo_by_bar(score, bars(score)), [80, 60, 90, 90], rtol=1e-5)


@given(
    tpq=st.integers(1, 1000),
    last=st.integers(0, 5000),
    metres=st.lists(
        st.tuples(st.integers(0, 5000), st.integers(1, 20), st.sampled_from([1, 2, 4, 8, 16, 32, 64])), max_size=8
    ),
)
def test_what_holds_for_any_grid(tpq: int, last: int, metres: list[tuple[int, int, int]]) -> None:
    grid = bars(make(tpq, last, *metres))
    lengths = np.diff(grid.starts)
    assert grid.starts[0] == 0
    assert (lengths > 0).all()
    assert grid.starts[-2] <= last < grid.starts[-1]
    full = np.maximum(4 * tpq * grid.metres[:, 0] / grid.metres[:, 1], 1)
    assert (lengths < full + 1).all()
    # a bar is cut short only where another metre begins
    cut = np.flatnonzero(lengths <= full - 1)
    assert np.isin(grid.starts[cut + 1], [metre[0] for metre in metres]).all()
    np.testing.assert_array_equal(grid.of(grid.starts[:-1]), np.arange(len(grid)))


def test_first_bars_keep_what_begins_in_them():
    score = make(480, 1440, (0, 3, 4), (2880, 4, 4))
    for tick, pitch in ((0, 62), (1439, 64), (4000, 65)):
        score.tracks[0].notes.append(NoteTick(tick, 480, pitch, 90))
    for tick, tempo in ((0, 120), (1440, 90)):
        score.tempos.append(TempoTick(tick, tempo))
    assert len(bars(score)) == 3
    begun = first_bars(score, 1)
    assert [(note.time, note.duration, note.pitch) for note in begun.tracks[0].notes] == [(0, 480, 62), (1439, 480, 64)]
    assert [metre.numerator for metre in begun.time_signatures] == [3]
    assert [tempo.qpm for tempo in begun.tempos] == [120]
    held = first_bars(score, 2)
    assert [note.duration for note in held.tracks[0].notes if note.pitch == 60] == [10_000]
    assert first_bars(score, 3) is score
    assert first_bars(score, None) is score
