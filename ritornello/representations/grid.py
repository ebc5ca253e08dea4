"""The bars of a score in steps of a twelfth of a quarter: where they begin, what they are called, how fast they go.

A bar's name says how long it is. In a run of bars of one name n/d, bar j begins floor(j * 48 * n / d + 1/2) steps
after the first: the rule of `music.bars`, so that a bar of 3/32 (4 1/2 steps) needs no exception. Where a bar is not
as long as its metre says (cut short by a change of metre), it is named by its true length: as a plain metre if there
is one (24 steps are 2/4), else as so many 48ths ("7/48" is a bar of 7 steps, for which MIDI has no metre).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from symusic.core import TempoTick, TimeSignatureTick

from ritornello.music.bars import Bars, bars, tempo_by_bar
from ritornello.music.score import Score

STEPS = 12  # of a quarter
WHOLE = 4 * STEPS
LONGEST = 4 * WHOLE  # of a bar; longer ones are split
MOST_NUMERATORS = {1: 4, 2: 8, 4: 16, 8: 32, 16: 64, 32: 32}  # per denominator: no longer than LONGEST

Metre = tuple[int, int]


def all_metres() -> list[Metre]:
    """Every name a bar can have: plain metres, and 48ths where no plain metre is as long."""
    plain = [(n, d) for d, most in MOST_NUMERATORS.items() for n in range(1, most + 1)]
    return plain + [(n, WHOLE) for n in range(1, LONGEST) if n % 3]


@dataclass(frozen=True, eq=False)
class Grid:
    """Bar k is [starts[k], starts[k + 1]), in steps."""

    starts: NDArray[np.int64]  # [b + 1], strictly increasing
    metres: NDArray[np.int64]  # [b, 2]: numerator and denominator of the bar's name
    tempos: NDArray[np.float64]  # [b]: quarters a minute

    def __len__(self) -> int:
        return len(self.metres)


def to_steps(ticks: NDArray[np.integer], ticks_per_quarter: int) -> NDArray[np.int64]:
    """Ticks to the nearest step, half up."""
    return (np.asarray(ticks, np.int64) * (2 * STEPS) + ticks_per_quarter) // (2 * ticks_per_quarter)


def lay(score: Score) -> Grid:
    """The bars of a score, every bar line at the step nearest to it.

    A bar that shrinks to nothing is left out (its notes round into the next). A bar longer than 16 quarters is split
    into as few bars as can hold it, alike to one beat. If the last onset rounds to the end of the last bar, one more of
    its kind follows.
    """
    per_quarter = score.ticks_per_quarter
    ticks = _split(_one_more(bars(score), per_quarter), LONGEST * per_quarter // STEPS, 4 * per_quarter)
    steps = to_steps(ticks.starts, per_quarter)
    onsets = [track.notes.numpy()["time"] for track in score.tracks]
    last = to_steps(np.array([onset.max() for onset in onsets if len(onset)] or [0]), per_quarter).max()
    kept = (steps[1:] > steps[:-1]) & (steps[:-1] <= last)
    starts = np.append(steps[:-1][kept], steps[1:][kept][-1])
    tempos = tempo_by_bar(score, ticks)[kept]
    starts, metres = _name(starts, ticks.metres[kept], int(last))
    return Grid(starts, metres, tempos)


def _one_more(grid: Bars, least: int) -> Bars:
    """With another bar of the last one's kind behind it, of at least so many ticks."""
    end = grid.starts[-1] + max(grid.starts[-1] - grid.starts[-2], least)
    return Bars(np.append(grid.starts, end), np.append(grid.metres, grid.metres[-1:], axis=0))


def _split(grid: Bars, longest: int, whole: int) -> Bars:
    """Bars of at most `longest` ticks; `whole` is a whole note."""
    lengths = np.diff(grid.starts)
    if lengths.max() <= longest:
        return grid
    pieces, metres = [], []
    for start, length, (_, unit) in zip(grid.starts.tolist(), lengths.tolist(), grid.metres.tolist(), strict=False):
        beats = -(-length * unit // whole)
        count = -(-beats // (longest * unit // whole))
        cuts = [beats * i // count for i in range(count + 1)]
        pieces += [start + (2 * cut * whole + unit) // (2 * unit) for cut in cuts[:-1]]
        metres += [(after - before, unit) for before, after in pairwise(cuts)]
    return Bars(np.array([*pieces, grid.starts[-1]]), np.array(metres))


# ---- names -----------------------------------------------------------------------------------------------------------


def _name(
    starts: NDArray[np.int64], metres: NDArray[np.int64], last: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Names that give exactly these bars; the last bar, which nothing cuts, is as long as its metre says."""
    lengths = np.diff(starts)
    if (metres[:, 1] <= 16).all() and (lengths * metres[:, 1] == WHOLE * metres[:, 0]).all():
        return starts, metres
    starts, names = starts.copy(), []
    run, begin, nth = (0, 0), 0, 0  # the run of bars of one name: which, from where, how many so far
    for k, nominal in enumerate(map(tuple, metres.tolist())):
        name, here, end = nominal, int(starts[k]), int(starts[k + 1])
        if nominal != run:
            begin, nth = here, 0
        stop = begin + run_length(nominal, nth + 1)
        if k == len(metres) - 1:
            if not _known(nominal) or stop <= last:
                name = _plain(-(-max(end - here, last + 1 - here) // 3) * 3)
            end = starts[k + 1] = stop if name == nominal else here + run_length(name, 1)
        elif not _known(nominal) or stop != end:
            name = _plain(end - here)
        if name != run and name != nominal:
            begin, nth = here, 0
        run, nth = name, nth + 1
        names.append(name)
    return starts, np.array(names)


def _known(metre: Metre) -> bool:
    return metre[0] <= MOST_NUMERATORS.get(metre[1], 0)


def _plain(steps: int) -> Metre:
    """The name of a bar of so many steps."""
    for unit in (4, 8, 16):
        if steps * unit % WHOLE == 0:
            return steps * unit // WHOLE, unit
    return steps, WHOLE


def run_length(metre: Metre, count: int) -> int:
    """Steps of `count` bars of one metre in a row."""
    return (2 * WHOLE * count * metre[0] + metre[1]) // (2 * metre[1])


def starts_of(metres: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where bars of these names begin and the last one ends, int64[b + 1]."""
    change = np.append(True, (metres[1:] != metres[:-1]).any(axis=1))
    first = np.maximum.accumulate(np.where(change, np.arange(len(metres)), 0))
    nth = np.arange(len(metres)) - first
    numerator, unit = metres.T
    before, after = ((2 * WHOLE * count * numerator + unit) // (2 * unit) for count in (nth, nth + 1))
    return np.append(0, np.cumsum(after - before))


# ---- beats -----------------------------------------------------------------------------------------------------------


def beat_length(metre: Metre) -> int:
    """Steps of a beat: a dotted quarter in 3/8, 6/8, 9/8 …, else a quarter."""
    numerator, unit = metre
    return STEPS * 3 // 2 if unit == 8 and numerator % 3 == 0 else STEPS


def beats(grid: Grid) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each of n beats begins and the last one ends, int64[n + 1]; and which of its bar each is, int64[n].

    Beats are counted from the bar line; the last of a bar is shorter where the metre says so (7/8).
    """
    lengths = np.array([beat_length(metre) for metre in map(tuple, grid.metres.tolist())])
    counts = -(-np.diff(grid.starts) // lengths)
    bar = np.repeat(np.arange(len(grid)), counts)
    nth = np.arange(len(bar)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.append(grid.starts[bar] + nth * lengths[bar], grid.starts[-1]), nth


# ---- back to a Score -------------------------------------------------------------------------------------------------


def empty_score(grid: Grid) -> Score:
    """A score at 12 ticks a quarter that has the grid's metres and tempos, and no notes. `music.bars` finds this grid.

    A bar of n/48 is written in the least metre of 16ths that is longer than it and unlike its neighbours', so that the
    next event cuts it where it should.
    """
    score = Score(STEPS)
    written = _written(grid.metres)
    for k in np.flatnonzero(np.append(True, (written[1:] != written[:-1]).any(axis=1))).tolist():
        score.time_signatures.append(TimeSignatureTick(int(grid.starts[k]), *written[k].tolist()))
    for k in np.flatnonzero(np.append(True, grid.tempos[1:] != grid.tempos[:-1])).tolist():
        score.tempos.append(TempoTick(int(grid.starts[k]), qpm=float(grid.tempos[k])))
    return score


def _written(metres: NDArray[np.int64]) -> NDArray[np.int64]:
    """Metres that a MIDI file can hold, [b, 2]."""
    written = metres.copy()
    for k in np.flatnonzero(metres[:, 1] == WHOLE).tolist():
        neighbours = [tuple(row) for row in (*written[max(k - 1, 0) : k].tolist(), *written[k + 1 : k + 2].tolist())]
        least = int(metres[k, 0]) // 3 + 1
        written[k] = next((n, 16) for n in range(least, least + 3) if (n, 16) not in neighbours)
    return written
