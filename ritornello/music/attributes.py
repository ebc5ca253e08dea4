"""What each bar is like: how busy, how full, how high, how loud.

Rhythmic intensity and polyphony are MuseMorphose's (section III-C), on the grid of sixteenths, in bars of any metre;
`class_bounds` and `classes` make ordinal classes of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ritornello.errors import MusicError
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
    columns = [(track.notes.numpy(), track.is_drum) for track in score.tracks]
    onsets, durations = (
        np.concatenate([np.zeros(0, np.int64), *(column[key] for column, _ in columns)]) for key in ("time", "duration")
    )
    pitched = np.repeat([not drum for _, drum in columns], [len(column["time"]) for column, _ in columns]).astype(bool)
    intensity, polyphony = texture(onsets, durations, grid.starts, per_quarter, pitched)
    return {
        "rhythmic_intensity": intensity,
        "polyphony": polyphony,
        "notes": notes,
        "lowest": np.where(np.isfinite(lowest), lowest, np.nan),
        "highest": np.where(np.isfinite(highest), highest, np.nan),
        "velocity": np.divide(velocity, notes, out=np.full(count, np.nan), where=notes > 0),
        **density,
    }


def texture(
    onsets: Ints, durations: Ints, starts: Ints, per_quarter: int, pitched: NDArray[np.bool_] | None = None
) -> tuple[Floats, Floats]:
    """Rhythmic intensity and polyphony of b bars, as in `bar_attributes`: two float64[b].

    Args:
        onsets, durations: of n notes in any order, in units of `per_quarter` a quarter.
        starts: int64[b + 1], where the bars begin and the last one ends; notes beyond it do not count.
        pitched: bool[n], which notes count in the polyphony; all where None.
    """
    edges = _to_grid(starts, per_quarter, SUB_BEATS)
    end = int(edges[-1])
    begin = _to_grid(onsets, per_quarter, SUB_BEATS)
    stop = np.maximum(_to_grid(onsets.astype(np.int64) + durations, per_quarter, SUB_BEATS), begin + 1)
    begun = np.zeros(end, bool)
    begun[begin[begin < end]] = True
    if pitched is not None:
        begin, stop = begin[pitched], stop[pitched]
    change = np.bincount(np.minimum(begin, end), minlength=end + 1)  # how many notes more sound from there on
    change -= np.bincount(np.minimum(stop, end), minlength=end + 1)
    return _means(begun, edges), _means(np.cumsum(change[:-1]), edges)


def class_bounds(values: ArrayLike, classes: int = 8) -> Floats:
    """Bounds that divide values into `classes` ordinal classes as equal in number as can be: float64[classes - 1].

    They are octiles (for eight classes), but each is another one of the values: many bars share one value (9 of 16
    sixteenths), and plain octiles would leave classes without a bar.

    Raises:
        MusicError: fewer different values than classes.
    """
    kinds, counts = np.unique(np.asarray(values, np.float64), return_counts=True)
    if classes < 2 or len(kinds) < classes:
        raise MusicError(f"{len(kinds)} different values make no {classes} classes; take more bars or fewer classes")
    below = np.cumsum(counts) / counts.sum()  # share of the values up to and with each kind
    bounds, last = [], -1
    for k in range(1, classes):
        free = slice(last + 1, len(kinds) - (classes - k))
        last += 1 + int(np.abs(below[free] - k / classes).argmin())
        bounds.append(kinds[last])
    return np.array(bounds)


def classes(values: ArrayLike, bounds: ArrayLike) -> Ints:
    """The class of each value, 0 to len(bounds), same shape: how many bounds are below it (MuseMorphose's rule)."""
    return np.searchsorted(np.asarray(bounds, np.float64), np.asarray(values, np.float64), side="left").astype(np.int64)


def _means(values: NDArray, edges: Ints) -> Floats:
    """Mean of values[n] between each edge and the next, float64; 0 for a bar shorter than a sixteenth."""
    total = np.append(0, np.cumsum(values))
    length = np.diff(edges)
    return np.divide(np.diff(total[edges]), length, out=np.zeros(len(length)), where=length > 0)


def _to_grid(ticks: NDArray[np.integer], per_quarter: int, steps: int) -> Ints:
    """Ticks to the nearest of `steps` a quarter, half up."""
    return (ticks.astype(np.int64) * (2 * steps) + per_quarter) // (2 * per_quarter)
