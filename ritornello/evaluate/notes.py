"""The notes of a score as columns: what the metrics of pitch and rhythm are computed from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ritornello.music.score import Score

STEPS = 12  # of a quarter: the grid on which a note finds its bar and its place in it

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Notes:
    """n notes of all tracks, in no order; times in ticks. A note sounds on [start, end), for one tick at least."""

    start: Ints  # [n]
    end: Ints  # [n]
    pitch: Ints  # [n]
    drum: NDArray[np.bool_]  # [n]

    def __len__(self) -> int:
        return len(self.start)

    def only(self, chosen: NDArray[np.bool_]) -> Notes:
        return Notes(self.start[chosen], self.end[chosen], self.pitch[chosen], self.drum[chosen])

    @property
    def pitched(self) -> Notes:
        """Without the drums, whose pitches are instruments."""
        return self.only(~self.drum)


def notes_of(score: Score) -> Notes:
    """All notes of a score."""
    tracks = [(track.notes.numpy(), track.is_drum) for track in score.tracks if len(track.notes)]
    empty = np.zeros(0, np.int64)
    start, duration, pitch = (
        np.concatenate([empty, *(notes[name].astype(np.int64) for notes, _ in tracks)])
        for name in ("time", "duration", "pitch")
    )
    drum = np.concatenate([empty, *(np.full(len(notes["time"]), is_drum) for notes, is_drum in tracks)]).astype(bool)
    return Notes(start, start + np.maximum(duration, 1), pitch, drum)


def to_steps(ticks: Ints, ticks_per_quarter: int, steps: int = STEPS) -> Ints:
    """Ticks to the nearest of `steps` a quarter, half up."""
    return (ticks * (2 * steps) + ticks_per_quarter) // (2 * ticks_per_quarter)


def place(score: Score, start: Ints, edges: Ints, steps: int = STEPS) -> tuple[Ints, Ints]:
    """The bar of each onset and its step in that bar; `edges` are the bar lines in steps."""
    onset = to_steps(start, score.ticks_per_quarter, steps)
    bar = np.clip(np.searchsorted(edges, onset, "right") - 1, 0, len(edges) - 2)
    return bar, np.clip(onset - edges[bar], 0, np.diff(edges)[bar] - 1)
