"""What each bar is like: how busy, how full, how high, how loud.

Rhythmic intensity and polyphony are MuseMorphose's (section III-C), on the grid of sixteenths, in bars of any metre.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ritornello.music.bars import bars
from ritornello.music.score import Score
from ritornello.music.tracks import SIX, instrument_name

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SUB_BEATS = 4  # of a quarter: sixteenths
STEPS = 12  # of a quarter: the grid on which a note finds its bar


def bar_attributes(score: Score) -> dict[str, Floats]:
    """Attributes of every bar b of the grid of `music.bars`, each float64[b].

    Returns:
        rhythmic_intensity: share of the bar's sixteenths at which a note begins, drums included; 0..1.
        polyphony: pitched notes sounding, mean over the bar's sixteenths; held notes count in every bar they reach.
        notes: notes that begin in the bar.
        lowest, highest: MIDI pitch of the pitched notes that begin in the bar; nan where none does.
        velocity: mean MIDI velocity of the notes that begin in the bar; nan where none does.
        density <instrument>: notes a quarter of each instrument, by its name among the six or in General MIDI.
    """
    grid = bars(score)
    count, per_quarter = len(grid), score.ticks_per_quarter
    edges = _to_grid(grid.starts, per_quarter, STEPS)
    quarters = np.diff(grid.starts) / per_quarter
    notes, velocity = np.zeros(count), np.zeros(count)
    lowest, highest = np.full(count, np.inf), np.full(count, -np.inf)
    density: dict[str, Floats] = {}
    for track in score.tracks:
        column = track.notes.numpy()
        onset = _to_grid(column["time"], per_quarter, STEPS)
        bar = np.clip(np.searchsorted(edges, onset, "right") - 1, 0, count - 1)
        played = np.bincount(bar, minlength=count).astype(np.float64)
        notes += played
        velocity += np.bincount(bar, weights=column["velocity"], minlength=count)
        if not track.is_drum:
            np.minimum.at(lowest, bar, column["pitch"])
            np.maximum.at(highest, bar, column["pitch"])
        if len(bar):
            name = f"density {track.name if track.name in SIX else instrument_name(track)}"
            density[name] = density.get(name, np.zeros(count)) + played / quarters
    intensity, polyphony = _texture(score, _to_grid(grid.starts, per_quarter, SUB_BEATS))
    return {
        "rhythmic_intensity": intensity,
        "polyphony": polyphony,
        "notes": notes,
        "lowest": np.where(np.isfinite(lowest), lowest, np.nan),
        "highest": np.where(np.isfinite(highest), highest, np.nan),
        "velocity": np.divide(velocity, notes, out=np.full(count, np.nan), where=notes > 0),
        **density,
    }


def _texture(score: Score, edges: Ints) -> tuple[Floats, Floats]:
    """Rhythmic intensity and polyphony of the bars between `edges`, int64[b + 1] in sixteenths: two float64[b]."""
    end = int(edges[-1])
    begun = np.zeros(end, bool)
    change = np.zeros(end + 1, np.int64)  # how many notes more sound from this sixteenth on
    for track in score.tracks:
        column = track.notes.numpy()
        begin = _to_grid(column["time"], score.ticks_per_quarter, SUB_BEATS)
        stop = _to_grid(column["time"].astype(np.int64) + column["duration"], score.ticks_per_quarter, SUB_BEATS)
        begun[begin[begin < end]] = True
        if not track.is_drum:
            np.add.at(change, np.minimum(begin, end), 1)
            np.add.at(change, np.minimum(np.maximum(stop, begin + 1), end), -1)
    sounding = np.cumsum(change[:-1])
    return _means(begun, edges), _means(sounding, edges)


def _means(values: NDArray, edges: Ints) -> Floats:
    """Mean of values[n] between each edge and the next, float64; 0 for a bar shorter than a sixteenth."""
    total = np.append(0, np.cumsum(values))
    length = np.diff(edges)
    return np.divide(np.diff(total[edges]), length, out=np.zeros(len(length)), where=length > 0)


def _to_grid(ticks: NDArray[np.integer], per_quarter: int, steps: int) -> Ints:
    """Ticks to the nearest of `steps` a quarter, half up."""
    return (ticks.astype(np.int64) * (2 * steps) + per_quarter) // (2 * per_quarter)
