"""How alike the bars of a song are, at which intervals they come back, and the offsets that follow (Museformer, 3.3).

Two notes are equal if their instruments, pitches, durations and onsets in the bar are; times count to the nearest
twelfth of a quarter.

Conventions, which the paper leaves open: bars lie on the grid of `music.bars`; two empty bars have no similarity (nan,
left out), an empty and a filled one have 0; the mean of Equation 5 is over all pairs of all songs, so long songs weigh
more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from ritornello.errors import MusicError
from ritornello.music.bars import bars
from ritornello.music.score import Score

STEPS = 12  # of a quarter
INTERVALS = 40  # the paper's T
MOST_BARS = 4_000  # their table is made in some 300 MB

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class BarSets:
    """The set N(i) of notes of each of `count` bars, as pairs (bar, note), each pair once."""

    count: int
    bar: Ints  # [n]
    note: Ints  # [n]: 0 .. kinds - 1, equal for equal notes
    kinds: int


def bar_sets(score: Score, tracks: Collection[int] | None = None) -> BarSets:
    """The bars of a score as sets of notes; of some tracks only, where their indices are given.

    The instrument of a note is its program, or the drums.
    """
    grid = bars(score)
    edges = _steps(grid.starts, score.ticks_per_quarter)
    columns = [np.zeros((5, 0), np.int64)]
    for index, track in enumerate(score.tracks):
        if len(track.notes) and (tracks is None or index in tracks):
            notes = track.notes.numpy()
            onset = _steps(notes["time"], score.ticks_per_quarter)
            bar = np.clip(np.searchsorted(edges, onset, "right") - 1, 0, len(grid) - 1)
            duration = np.maximum(_steps(notes["duration"], score.ticks_per_quarter), 1)
            instrument = np.full(len(onset), 128 if track.is_drum else track.program)
            columns.append(np.stack([bar, onset - edges[bar], duration, instrument, notes["pitch"].astype(np.int64)]))
    bar, onset, duration, instrument, pitch = np.concatenate(columns, axis=1)
    longest = int(duration.max(initial=0)) + 1
    key = ((onset * longest + duration) * 129 + instrument) * 128 + pitch
    kinds, note = np.unique(key, return_inverse=True)
    both = np.unique(bar * max(len(kinds), 1) + note)
    bar, note = np.divmod(both, max(len(kinds), 1))
    return BarSets(len(grid), bar, note, len(kinds))


def bar_similarity(song: Score | BarSets, tracks: Collection[int] | None = None, empty: float = np.nan) -> Floats:
    """Equation 4 for every two bars: float64[b, b], the notes they share over the notes of both (Jaccard), 0 to 1.

    Args:
        tracks: Indices of the tracks that count; all where None. Only for a `Score`.
        empty: What two empty bars have.

    Raises:
        MusicError: more than `MOST_BARS` bars.
    """
    sets = song if isinstance(song, BarSets) else bar_sets(song, tracks)
    if sets.count > MOST_BARS:
        raise MusicError(f"the similarity of {sets.count:,} bars is too large a table; give at most {MOST_BARS:,} bars")
    holds = csr_array((np.ones(len(sets.bar)), (sets.bar, sets.note)), shape=(sets.count, max(sets.kinds, 1)))
    shared = (holds @ holds.T).toarray()
    size = shared.diagonal().copy()
    either = np.add.outer(size, size)
    either -= shared
    np.divide(shared, either, out=shared, where=either > 0)
    shared[np.ix_(size == 0, size == 0)] = empty
    return shared


def interval_sums(similarity: Floats, intervals: int = INTERVALS) -> tuple[Floats, Ints]:
    """Sum of similarities, and how many pairs were counted, at 1 .. `intervals` bars apart: float64[T], int64[T].

    The parts of Equation 5 for one song; add them over songs, and draw songs again for a bootstrap.
    """
    sums, counts = np.zeros(intervals), np.zeros(intervals, np.int64)
    for t in range(1, min(intervals, len(similarity) - 1) + 1):
        pairs = similarity.diagonal(t)
        sums[t - 1], counts[t - 1] = np.nansum(pairs), np.isfinite(pairs).sum()
    return sums, counts


def per_song(
    song: Score | BarSets, intervals: int = INTERVALS, tracks: Collection[int] | None = None, empty: float = np.nan
) -> tuple[Floats, Ints]:
    """`interval_sums` of a song."""
    return interval_sums(bar_similarity(song, tracks, empty), intervals)


def similarity_distribution(
    songs: Iterable[Score | BarSets], intervals: int = INTERVALS, empty: float = np.nan
) -> Floats:
    """Equation 5: L_t, the mean similarity of bars t apart, for t = 1 .. T: float64[T] (index 0 is t = 1), nan where no
    song has two such bars."""
    sums, counts = np.zeros(intervals), np.zeros(intervals, np.int64)
    for song in songs:
        more, pairs = per_song(song, intervals, empty=empty)
        sums, counts = sums + more, counts + pairs
    return np.divide(sums, counts, out=np.full(intervals, np.nan), where=counts > 0)


def similarity_error(generated: ArrayLike, human: ArrayLike) -> float:
    """Equation 6: mean over t of |L^_t - L_t|, 0 to 1 (the paper gives per cent).

    Intervals that one side lacks (nan) are left out; nan where nothing is left.
    """
    gaps = np.abs(np.asarray(generated, np.float64) - np.asarray(human, np.float64))
    gaps = gaps[np.isfinite(gaps)]
    return float(gaps.mean()) if len(gaps) else float("nan")


def structure_offsets(distribution: ArrayLike, count: int = 8, longest: int = 32, song: int = 96) -> tuple[int, ...]:
    """The `count` intervals at which bars most come back, ascending: the earlier bars to attend to finely.

    The paper picks 1, 2, 4, 8, 12, 16, 24, 32 from its Figure 3 by eye ("they can cover the most similar bars in most
    cases"); this rule gives the same on Lakh songs. The bar before always counts: music goes on from it. The others are
    peaks, by how far L_t rises above the mean of its neighbours (an ostinato lifts all intervals alike, form only
    some), times the share of bars in a song of `song` bars that have a bar t before them. Where peaks are too few, the
    highest other L_t follow.

    Args:
        distribution: L_t for t = 1, 2, ..., as `similarity_distribution` gives it; nan counts as 0.
        longest: No offset beyond this one.
    """
    values = np.nan_to_num(np.asarray(distribution, np.float64))
    t = np.arange(1, len(values) + 1)
    rise = np.zeros(len(values))
    rise[1:-1] = values[1:-1] - (values[:-2] + values[2:]) / 2
    peak = (rise > 0) & (values >= np.append(0, values[:-1])) & (values >= np.append(values[1:], 0))
    weight = np.clip(1 - t / song, 0, 1)
    order = np.lexsort((t, -np.where(peak, rise, values) * weight, ~peak, t > 1))
    order = order[t[order] <= longest]
    return tuple(sorted(int(k) for k in t[order[:count]]))


def _steps(ticks: NDArray[np.integer], ticks_per_quarter: int) -> Ints:
    """Ticks to the nearest step, half up."""
    return (ticks.astype(np.int64) * (2 * STEPS) + ticks_per_quarter) // (2 * ticks_per_quarter)
