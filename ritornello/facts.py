"""What there is to say about a score, in numbers and in plain words: bars, length, metre, key, tempo, instruments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from symusic.core import TrackTick

from ritornello.music.bars import bars, tempo_by_bar
from ritornello.music.keys import find_key
from ritornello.music.score import Score, seconds
from ritornello.music.tracks import SIX, instrument_name


@dataclass(frozen=True)
class Facts:
    """One score in numbers; `str` of it is the same in words."""

    bars: int
    seconds: float
    """From the start to the end of the last bar."""
    metres: dict[str, int]
    """"4/4" → bars in it, most frequent first."""
    key: str
    tempo: float
    """Quarters a minute, mean over the bars."""
    tempi: tuple[float, float]
    """The slowest and the fastest bar."""
    instruments: dict[str, int]
    """Name → notes, most notes first."""

    @property
    def notes(self) -> int:
        return sum(self.instruments.values())

    def __str__(self) -> str:
        metre = f" of {next(iter(self.metres))}" if len(self.metres) == 1 else f" in {listed(self.metres)}"
        slow, fast = (round(tempo) for tempo in self.tempi)
        tempo = f"{slow}" if slow == fast else f"{slow} to {fast}"
        bars, notes = counted(self.bars, "bar"), counted(self.notes, "note")
        return (
            f"{bars}{metre}, {clock(self.seconds)} long, in {self.key}, at {tempo} quarters a minute; "
            f"{notes} for {listed(self.instruments)}"
        )


def facts(score: Score) -> Facts:
    """Look at a score that holds at least one note."""
    grid = bars(score)
    tempi = tempo_by_bar(score, grid)
    metres = Counter(f"{numerator}/{denominator}" for numerator, denominator in grid.metres.tolist())
    notes: Counter[str] = Counter()
    for track in score.tracks:
        if len(track.notes):
            notes[instrument(track)] += len(track.notes)
    return Facts(
        bars=len(grid),
        seconds=float(seconds(score, grid.starts[-1:])[0]),
        metres=dict(metres.most_common()),
        key=str(find_key(score)),
        tempo=float(np.mean(tempi)),
        tempi=(float(tempi.min()), float(tempi.max())),
        instruments=dict(notes.most_common()),
    )


def instrument(track: TrackTick) -> str:
    """What a musician calls a track: its part among the six, or its General MIDI instrument."""
    return track.name if track.name in SIX else instrument_name(track)


def listed(names: Iterable[str]) -> str:
    """ "piano, bass and drums"."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def counted(count: int, thing: str) -> str:
    """ "1 bar", "64 bars"."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def clock(length: float) -> str:
    """Seconds as "2:08"."""
    minutes, rest = divmod(round(length), 60)
    return f"{minutes}:{rest:02d}"
