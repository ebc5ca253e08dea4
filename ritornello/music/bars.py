"""The bar grid of a score: where every bar begins, its metre, its tempo. Everything else counts in these bars."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ritornello.music.score import Score, seconds


@dataclass(frozen=True, eq=False)
class Bars:
    """The bars of one score, in its ticks: bar k is [starts[k], starts[k + 1])."""

    starts: NDArray[np.int64]  # [b + 1], strictly increasing from 0; starts[b] is where the last bar ends
    metres: NDArray[np.int64]  # [b, 2]: numerator, denominator

    def __len__(self) -> int:
        return len(self.metres)

    def of(self, ticks: ArrayLike) -> NDArray[np.int64]:
        """The bar of each tick, same shape; ticks past the end belong to the last bar."""
        index = np.searchsorted(self.starts, np.asarray(ticks, np.int64), "right") - 1
        return np.clip(index, 0, len(self) - 1)


def bars(score: Score) -> Bars:
    """Lay the grid: bars of the metre in force, from tick 0 until the bar with the last note's onset is complete.

    - Before the first metre event, or without any, the metre is 4/4. Of several events at one tick the last counts; one
      that repeats the metre in force does nothing.
    - A change of metre inside a bar cuts that bar short. A pickup that the file writes as a short first bar stays one;
      where it is written as notes late in a whole bar, that bar is the first.
    - Where a bar is no whole number of ticks (3/32 at 12 ticks a quarter is 4.5), every bar line is rounded from its
      exact place, half up, so that errors never add up. A bar is at least one tick long.
    - A score without notes has one bar.
    """
    onsets = [track.notes.numpy()["time"] for track in score.tracks]
    last = max((int(onset.max()) for onset in onsets if len(onset)), default=0)
    changes, metres = _metre_map(score)
    metres, changes = metres[changes <= last], changes[changes <= last]
    ends = np.append(changes[1:], last + 1)
    # The exact number of bars, maybe broken, that each stretch of one metre holds, and the bars themselves
    lengths = np.maximum(4 * score.ticks_per_quarter * metres[:, 0] / metres[:, 1], 1.0)
    counts = np.ceil((ends - changes) / lengths).astype(np.int64)
    stretch = np.repeat(np.arange(len(counts)), counts)
    nth = np.arange(len(stretch)) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = changes[stretch] + np.floor(nth * lengths[stretch] + 0.5).astype(np.int64)
    inside = starts < ends[stretch]  # rounding may push the last of a stretch onto its end
    final = changes[-1] + int(np.floor((nth[inside][-1] + 1) * lengths[-1] + 0.5))
    return Bars(np.append(starts[inside], final), metres[stretch[inside]])


def first_bars(score: Score, count: int | None) -> Score:
    """What begins in the first `count` bars; the score itself where `count` is None or it has no more."""
    if count is None or len(grid := bars(score)) <= count:
        return score
    return score.clip(0, int(grid.starts[count]), clip_end=False, inplace=False)


def _metre_map(score: Score) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the metre changes, int64[m], m >= 1, from tick 0 on, and what to, int64[m, 2]."""
    columns = score.time_signatures.numpy()
    events = np.stack([columns["time"], columns["numerator"], columns["denominator"]], axis=1, dtype=np.int64)
    events = np.concatenate([[[0, 4, 4]], events[np.argsort(events[:, 0], kind="stable")]])
    events = events[np.append(events[1:, 0] != events[:-1, 0], True)]  # the last at its tick
    events = events[np.append(True, (events[1:, 1:] != events[:-1, 1:]).any(axis=1))]  # a true change
    return events[:, 0], events[:, 1:]


def tempo_by_bar(score: Score, bars: Bars) -> NDArray[np.float64]:
    """Quarters a minute in each bar, float64[b]: the bar's length in quarters over the time it takes to play."""
    quarters = np.diff(bars.starts) / score.ticks_per_quarter
    return 60 * quarters / np.diff(seconds(score, bars.starts))
