"""A chord for every beat, recognised from the notes.

Twelve roots, eleven qualities, and `N` for none. Each beat is described by which pitch classes sound in it and around
it and which of them lie lowest; a logistic regression, the same for all roots, says how well each chord fits, and the
Viterbi path through the beats weighs that against how seldom chords change, and where in a bar they do. The weights
were fitted to POP909-CL's hand-corrected chords (benchmarks/chords.py, which also says how often they are right).
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ritornello.music.keys import NAMES

# Semitones above the root. Beside them, what chorder and the papers that use it call them
QUALITIES = {
    "": (0, 4, 7),  # M
    "m": (0, 3, 7),  # m
    "dim": (0, 3, 6),  # o
    "aug": (0, 4, 8),  # +
    "sus2": (0, 2, 7),
    "sus4": (0, 5, 7),
    "7": (0, 4, 7, 10),
    "maj7": (0, 4, 7, 11),  # M7
    "m7": (0, 3, 7, 10),
    "dim7": (0, 3, 6, 9),  # o7
    "m7b5": (0, 3, 6, 10),  # /o7, half-diminished
}
LABELS = ("N", *(root + quality for root in NAMES for quality in QUALITIES))
NONE = 0  # the place of "N" among them

CONTEXT = (-2, -1, 0, 1, 2)  # beats around a beat whose pitch classes count
BASS = (-1, 0, 1)  # beats around a beat whose lowest notes count
DEPTH = 4.0  # semitones above the lowest note at which a note counts half as bass
STRENGTHS = 3  # of beats: the first of a bar, other even ones, odd ones

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def root_and_quality(chord: int) -> tuple[int, str] | None:
    """Pitch class of the root and quality of the chord at this place in `LABELS`; None for N."""
    if chord == NONE:
        return None
    root, quality = divmod(chord - 1, len(QUALITIES))
    return root, tuple(QUALITIES)[quality]


def transposed(chords: Ints, semitones: int) -> Ints:
    """The same chords, places in `LABELS`, so many semitones higher; N stays N."""
    kinds = len(QUALITIES)
    return np.where(chords == NONE, NONE, (chords - 1 + kinds * semitones) % (12 * kinds) + 1)


def recognise(onsets: Ints, durations: Ints, pitches: Ints, beats: Ints, in_bar: Ints) -> Ints:
    """The chord of each of n beats, int64[n]: places in `LABELS`.

    Args:
        onsets, durations, pitches: of pitched notes, in any order; times in any unit.
        beats: int64[n + 1], rising: where each beat begins, in that unit, and where the last one ends.
        in_bar: int64[n]: which beat of its bar each is, from 0.
    """
    if not len(onsets):
        return np.zeros(len(beats) - 1, np.int64)
    weights, silence, stay = _weights()
    return viterbi(fit_of(features(onsets, durations, pitches, beats), weights, silence), stay[strength(in_bar)])


def strength(in_bar: Ints) -> Ints:
    """0 for the first beat of a bar, 1 for its other even beats, 2 for odd ones."""
    return np.where(in_bar == 0, 0, 1 + in_bar % 2)


def features(onsets: Ints, durations: Ints, pitches: Ints, beats: Ints) -> Floats:
    """What sounds in and around each beat: float64[n, kinds, 12], by pitch class.

    First the pitch classes of the beats at CONTEXT, then the lowest notes of the beats at BASS. Each beat's are the
    square roots of shares of the time that notes sound in it; zeros where nothing does.
    """
    count = len(beats) - 1
    ends = np.maximum(onsets + durations, onsets + 1)
    first = np.clip(np.searchsorted(beats, onsets, "right") - 1, 0, count - 1)
    last = np.clip(np.searchsorted(beats, ends, "left") - 1, first, count - 1)
    spans = last - first + 1
    note = np.repeat(np.arange(len(onsets)), spans)
    beat = np.arange(len(note)) - np.repeat(np.cumsum(spans) - spans - first, spans)
    overlap = np.minimum(ends[note], beats[beat + 1]) - np.maximum(onsets[note], beats[beat])
    overlap = np.maximum(overlap, 0).astype(np.float64)
    pitch = pitches[note]
    lowest = np.full(count, 128)
    np.minimum.at(lowest, beat, pitch)
    depth = overlap * 0.5 ** ((pitch - lowest[beat]) / DEPTH)
    place = beat * 12 + pitch % 12
    sounding, low = (np.bincount(place, kind, 12 * count).reshape(count, 12) for kind in (overlap, depth))
    sounding, low = (np.sqrt(x / np.maximum(x.sum(1, keepdims=True), 1e-9)) for x in (sounding, low))
    return np.stack([*(_shifted(sounding, k) for k in CONTEXT), *(_shifted(low, k) for k in BASS)], axis=1)


def fit_of(features: Floats, weights: Floats, silence: Floats) -> Floats:
    """How well each chord fits each beat, in nats up to a constant: float64[n, len(LABELS)].

    weights: float64[qualities, kinds * 12 + 1], the pitch classes counted from the root, a constant last.
    silence: float64[2]: what N has where nothing sounds, and where something does.
    """
    count, kinds, _ = features.shape
    turned = np.stack([np.roll(features, -root, axis=2) for root in range(12)], axis=1).reshape(count, 12, kinds * 12)
    chords = turned @ weights[:, :-1].T + weights[:, -1]
    sounds = features[:, CONTEXT.index(0)].any(axis=1).astype(np.int64)
    return np.concatenate([silence[sounds][:, None], chords.reshape(count, -1)], axis=1)


def viterbi(fit: Floats, stay: Floats) -> Ints:
    """The best path through fit[n, k] where going on with a chord at beat i is worth stay[i] more than any change."""
    count, kinds = fit.shape
    changed = np.zeros((count, kinds), bool)
    origin = np.zeros(count, np.int64)
    best = fit[0].copy()
    for i in range(1, count):
        origin[i] = best.argmax()
        change = best[origin[i]] - stay[i]
        changed[i] = best < change
        np.maximum(best, change, out=best)
        best += fit[i]
    path = np.zeros(count, np.int64)
    path[-1] = best.argmax()
    for i in range(count - 1, 0, -1):
        path[i - 1] = origin[i] if changed[i, path[i]] else path[i]
    return path


def _shifted(values: Floats, by: int) -> Floats:
    """Row i is values[i + by]; zeros beyond both ends."""
    result = np.zeros_like(values)
    if by >= 0:
        result[: len(values) - by] = values[by:]
    else:
        result[-by:] = values[:by]
    return result


@cache
def _weights() -> tuple[Floats, Floats, Floats]:
    """Of `fit_of`, and the worth of staying by a beat's strength."""
    saved = json.loads(Path(__file__).with_name("chords.json").read_text(encoding="utf-8"))
    return np.array(saved["weights"]), np.array(saved["silence"]), np.array(saved["stay"])
