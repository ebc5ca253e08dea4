"""How far a bar has come: the rhythmic intensity and polyphony that it has by each of its tokens.

At a bar's last token these are what `music.attributes` measures of the bar (notes held over from before the first token
are not known here). A model that is told them need not count; sampling that is told them can keep to what was asked.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ritornello.representations.grid import STEPS, WHOLE, run_length
from ritornello.representations.vocabulary import Vocabulary

Ints = NDArray[np.int64]


def sixteenths(steps: Any) -> Any:
    """Steps, of twelve a quarter, to the nearest sixteenth, half up."""
    return (2 * steps * 4 + STEPS) // (2 * STEPS)


class Ruler:
    """What the tokens of a vocabulary say of time: `metre[id]` steps of a bar, `duration[id]` steps of a note; else 0.

    A vocabulary without metres has bars of 4/4.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.metre, self.duration = (np.zeros(vocabulary.size, np.int64) for _ in range(2))
        durations = vocabulary.range("Duration")
        self.duration[durations.start : durations.stop] = vocabulary.labels("Duration")
        if "Metre" in vocabulary.families:
            for id, label in zip(vocabulary.range("Metre"), vocabulary.labels("Metre"), strict=True):
                beats, unit = map(int, str(label).split("/"))
                self.metre[id] = run_length((beats, unit), 1)

    def texture(self, ids: Ints, rows: Ints, bars: Ints, positions: Ints) -> NDArray[np.float32]:
        """Float32[n, 2]: rhythmic intensity and polyphony by every token of packed songs; 0 before a bar's first onset.

        ids, rows, bars, positions: int64[n], songs one after another, as in `models.base.Packed`.
        """
        begins = np.append(True, (np.diff(rows) != 0) | (np.diff(bars) != 0))
        first = np.flatnonzero(begins)
        bar = np.cumsum(begins) - 1  # the place of every token's bar among all bars
        lengths = np.full(len(first), WHOLE)
        told = np.flatnonzero(self.metre[ids])
        lengths[bar[told]] = self.metre[ids[told]]
        row = rows[first]
        ends = np.cumsum(lengths)
        ends -= (ends - lengths)[np.searchsorted(row, row)]  # from the row's own beginning
        starts = ends - lengths
        start, end = sixteenths(starts), sixteenths(ends)

        note = np.flatnonzero((self.duration[ids] > 0) & (positions > 0))
        of = bar[note]
        onset = starts[of] + positions[note] - 1
        stop = sixteenths(onset + self.duration[ids[note]])
        onset = np.clip(sixteenths(onset), start[of], end[of] - 1)
        stop = np.maximum(stop, onset + 1)
        new = np.append(True, (np.diff(onset) != 0) | (np.diff(of) != 0))[: len(note)]
        begun, sounding = (np.zeros(len(ids)) for _ in range(2))
        begun[note] = new
        sounding[note] = np.minimum(stop, end[of]) - onset
        held = np.zeros(len(first))
        while len(of):  # as many times as the longest note crosses a bar line
            on = (stop > end[of]) & np.append(row[1:] == row[:-1], False)[of]
            of, stop = of[on] + 1, stop[on]
            np.add.at(held, of, np.minimum(stop, end[of]) - start[of])
        reached = np.stack([begun, sounding], 1).cumsum(0)
        before = (reached[first] - np.stack([begun, sounding], 1)[first])[bar]
        reached = reached - before
        reached[:, 1] += held[bar]
        reached /= np.maximum(end - start, 1)[bar, None]
        return (reached * (positions > 0)[:, None]).astype(np.float32)


@dataclass
class Counter:
    """The same for one song as it is written: `read` takes a token and says what `Ruler.texture` says of it."""

    ruler: Ruler
    bar: int = -1
    begin: int = 0  # of the bar, in steps
    steps: int = WHOLE  # of the bar
    onsets: int = 0  # sixteenths of the bar at which a note begins
    last: int = -1  # the latest of them, from the song's beginning
    sounding: int = 0  # sixteenths of notes within the bar, those held over included
    stops: list[int] = field(default_factory=list)  # of the notes that may outlast the bar, in sixteenths
    opened: bool = False  # whether the notes held over are counted
    at: int = 0  # the position of the last token

    @property
    def start(self) -> int:
        """Of the bar, in sixteenths."""
        return sixteenths(self.begin)

    @property
    def end(self) -> int:
        return sixteenths(self.begin + self.steps)

    def read(self, id: int, bar: int, position: int) -> tuple[float, float]:
        if bar != self.bar:
            self.begin += self.steps if self.bar >= 0 else 0
            self.bar, self.steps, self.opened = bar, WHOLE, False
            self.onsets, self.last, self.sounding = 0, -1, 0
        if metre := int(self.ruler.metre[id]):
            self.steps = metre
        self.at = position
        if position == 0:
            return 0.0, 0.0
        self.open()
        if duration := int(self.ruler.duration[id]):
            onset, stop = self.span(position, duration)
            self.onsets += onset != self.last
            self.last = onset
            self.sounding += min(stop, self.end) - onset
            if stop > self.end:
                self.stops.append(stop)
        length = max(self.end - self.start, 1)
        return self.onsets / length, self.sounding / length

    def open(self) -> None:
        """Count the notes that are held over, once the bar's metre is known."""
        if not self.opened:
            self.opened = True
            self.stops = [stop for stop in self.stops if stop > self.start]
            self.sounding = sum(min(stop, self.end) - self.start for stop in self.stops)

    def span(self, position: int, duration: int) -> tuple[int, int]:
        """Where a note begins and stops, in sixteenths from the song's beginning."""
        onset = self.begin + position - 1
        stop = sixteenths(onset + duration)
        onset = min(max(sixteenths(onset), self.start), self.end - 1)
        return onset, max(stop, onset + 1)

    def copy(self) -> Counter:
        return replace(self, stops=list(self.stops))
