"""Which pitches music uses: the field's metrics of pitch, scale and harmony, of one song each.

Names and definitions are MusPy's (Dong et al. 2020) and those of Wu and Yang 2020 (The Jazz Transformer on the Front
Line, section 5); tests hold them against MusPy on the same files. What all have in common: drums are left out; a note
counts once, however long it is, where nothing else is said; entropies are in bits, shares from 0 to 1; what music
without pitched notes lacks is nan. None depends on the resolution of the file.

Where MusPy is left: its pitch range of music with drums alone is -127 (here nan); its `polyphony_rate` counts more
than `threshold` pitches, by default three and more, though it says "multiple" (here `at_least`, by default two).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ritornello.evaluate.notes import Ints, Notes, notes_of, place, to_steps
from ritornello.music.bars import bars
from ritornello.music.keys import Key, find_key
from ritornello.music.score import Score

NAN = float("nan")
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}  # minor: the natural one

FIGURES = {
    "pitch_class_entropy": "pitch-class entropy, bits (3.58 at most)",
    "pitch_class_entropy_1": "the same within each bar (H1)",
    "pitch_class_entropy_4": "the same within each four bars (H4)",
    "pitch_entropy": "pitch entropy, bits",
    "pitches_used": "different pitches",
    "pitch_classes_per_bar": "pitch classes a bar, in bars with pitched notes",
    "pitch_range": "semitones from the lowest pitch to the highest",
    "scale_consistency": "scale consistency: notes in the scale that fits best",
    "pitch_in_scale_rate": "notes in the scale of the key that is found",
    "polyphony": "different pitches at once, where any sounds",
    "polyphony_rate": "share of the time with two pitches or more",
}


def pitch(score: Score) -> dict[str, float]:
    """The FIGURES of one song."""
    return {
        "pitch_class_entropy": pitch_class_entropy(score),
        "pitch_class_entropy_1": windowed_entropy(score, 1),
        "pitch_class_entropy_4": windowed_entropy(score, 4),
        "pitch_entropy": pitch_entropy(score),
        "pitches_used": pitches_used(score),
        "pitch_classes_per_bar": pitch_classes_per_bar(score),
        "pitch_range": pitch_range(score),
        "scale_consistency": scale_consistency(score),
        "pitch_in_scale_rate": pitch_in_scale_rate(score),
        "polyphony": polyphony(score),
        "polyphony_rate": polyphony_rate(score),
    }


# Which pitches


def pitches_used(score: Score) -> float:
    """How many different pitches there are, 0 to 128 (MusPy's n_pitches_used)."""
    return float(len(np.unique(notes_of(score).pitched.pitch)))


def pitch_classes_used(score: Score) -> float:
    """How many different pitch classes there are, 0 to 12 (MusPy's n_pitch_classes_used)."""
    return float(len(np.unique(notes_of(score).pitched.pitch % 12)))


def pitch_classes_per_bar(score: Score) -> float:
    """Different pitch classes that begin in a bar, mean over the bars in which a pitched note begins."""
    used = (_chroma_by_bar(score) > 0).sum(axis=1)
    return float(used[used > 0].mean()) if used.any() else NAN


def pitch_range(score: Score) -> float:
    """Semitones from the lowest pitch to the highest."""
    pitches = notes_of(score).pitched.pitch
    return float(np.ptp(pitches)) if len(pitches) else NAN


def pitch_entropy(score: Score) -> float:
    """Entropy of the histogram of pitches over all notes: 0 to 7 bits."""
    return _entropy(np.bincount(notes_of(score).pitched.pitch, minlength=128))


def pitch_class_entropy(score: Score) -> float:
    """Entropy of the histogram of pitch classes over all notes: 0 to log2 12 = 3.58 bits."""
    return _entropy(np.bincount(notes_of(score).pitched.pitch % 12, minlength=12))


def windowed_entropy(score: Score, window: int) -> float:
    """Pitch-class entropy within `window` bars, mean over all runs of so many bars that hold a pitched note.

    H1 and H4 of Wu and Yang 2020 (5.1). A piece of fewer bars is one window. A note belongs to the bar in which it
    begins, to the nearest twelfth of a quarter.
    """
    chroma = _chroma_by_bar(score)
    window = min(window, len(chroma))
    total = np.cumsum(np.concatenate([np.zeros((1, 12), np.int64), chroma]), axis=0)
    entropies = [_entropy(histogram) for histogram in total[window:] - total[:-window]]
    filled = [value for value in entropies if not np.isnan(value)]
    return float(np.mean(filled)) if filled else NAN


# Which scale


def pitch_in_scale_rate(score: Score, key: Key | None = None) -> float:
    """Share of notes in the scale of `key` (natural minor), by default of the key that `music.keys` finds."""
    key = key or find_key(score)
    chroma = np.bincount(notes_of(score).pitched.pitch % 12, minlength=12)
    scale = [(key.tonic + step) % 12 for step in SCALES[key.mode]]
    return float(chroma[scale].sum() / chroma.sum()) if chroma.any() else NAN


def scale_consistency(score: Score) -> float:
    """The highest `pitch_in_scale_rate` over all keys (after Mogren 2016)."""
    return max(pitch_in_scale_rate(score, Key(tonic, "major")) for tonic in range(12))  # minor scales are the same sets


# How many at once


def polyphony(score: Score) -> float:
    """Different pitches sounding, mean over the time in which one or more do. A pitch on two instruments is one."""
    count, length = _sounding(notes_of(score).pitched)
    heard = length[count > 0].sum()
    return float((count * length).sum() / heard) if heard else NAN


def polyphony_rate(score: Score, at_least: int = 2) -> float:
    """Share of the time, from the start to the end of the last note (drums too), with so many pitches or more."""
    notes = notes_of(score)
    count, length = _sounding(notes.pitched)
    return float(length[count >= at_least].sum() / notes.end.max()) if len(notes.pitched) else NAN


def _sounding(notes: Notes) -> tuple[Ints, Ints]:
    """Stretches of time in which nothing changes: how many different pitches sound, and for how many ticks."""
    if len(notes) == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    # Notes of one pitch that overlap are one: cut each where an earlier one of its pitch has not ended yet
    order = np.lexsort((notes.start, notes.pitch))
    start, end, pitches = notes.start[order], notes.end[order], notes.pitch[order]
    above = pitches * (int(end.max()) + 1)  # so that the running maximum begins anew with every pitch
    reached = np.maximum.accumulate(end + above) - above
    same = np.append(False, pitches[1:] == pitches[:-1])
    start = np.where(same, np.maximum(start, np.append(0, reached[:-1])), start)
    start, end = start[end > start], end[end > start]
    ticks = np.concatenate([start, end])
    change = np.concatenate([np.ones(len(start), np.int64), np.full(len(end), -1)])
    order = np.argsort(ticks, kind="stable")
    return np.cumsum(change[order])[:-1], np.diff(ticks[order])


def _chroma_by_bar(score: Score) -> Ints:
    """[bars, 12]: how many notes of each pitch class begin in each bar."""
    grid, notes = bars(score), notes_of(score).pitched
    edges = to_steps(grid.starts, score.ticks_per_quarter)
    bar, _ = place(score, notes.start, edges)
    return np.bincount(bar * 12 + notes.pitch % 12, minlength=12 * len(grid)).reshape(-1, 12)


def _entropy(histogram: NDArray[np.integer]) -> float:
    """Bits; nan for an empty histogram."""
    share = histogram[histogram > 0] / max(histogram.sum(), 1)
    return float(-(share * np.log2(share)).sum()) if len(share) else NAN
