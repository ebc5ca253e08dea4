"""Chords: by hand, against slow and obvious forms, and on music that people have annotated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ritornello.music.chords import (
    BASS,
    CONTEXT,
    LABELS,
    NONE,
    QUALITIES,
    _weights,
    features,
    fit_of,
    recognise,
    root_and_quality,
    strength,
    transposed,
    viterbi,
)

BEATS = 12 * np.arange(9)  # eight beats of twelve steps
IN_BAR = np.arange(8) % 4


def played(*chords: tuple[int, list[int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Block chords, each for so many beats: onsets, durations, pitches."""
    notes, at = [], 0
    for lasts, pitches in chords:
        notes += [(12 * at, 12 * lasts, pitch) for pitch in pitches]
        at += lasts
    onsets, durations, pitches = np.array(notes, np.int64).T
    return onsets, durations, pitches


def names(found: np.ndarray) -> list[str]:
    return [LABELS[place] for place in found]


def test_a_cadence_by_hand():
    notes = played((4, [48, 64, 67, 72]), (2, [53, 57, 60, 65]), (2, [43, 59, 62, 67]))
    assert names(recognise(*notes, BEATS, IN_BAR)) == ["C"] * 4 + ["F"] * 2 + ["G"] * 2


@pytest.mark.parametrize("quality", ["", "m", "dim", "sus4", "7", "maj7", "m7"])
@pytest.mark.parametrize("root", [0, 5, 11])
def test_block_chords_are_what_they_are(quality: str, root: int):
    pitches = [48 + root, *(60 + root + step for step in QUALITIES[quality])]
    found = names(recognise(*played((8, pitches)), BEATS, IN_BAR))
    assert set(found) == {LABELS[1 + root * len(QUALITIES) + list(QUALITIES).index(quality)]}


def test_silence_is_no_chord():
    onsets, durations, pitches = played((4, [48, 64, 67]))
    assert names(recognise(onsets + 48, durations, pitches, BEATS, IN_BAR))[4:] == ["C"] * 4
    nothing = np.zeros(0, np.int64)
    assert names(recognise(nothing, nothing, nothing, BEATS, IN_BAR)) == ["N"] * 8
    far = np.arange(0, 12 * 40, 12)
    assert names(recognise(onsets, durations, pitches, far, np.arange(39) % 4))[20:] == ["N"] * 19


@given(st.lists(st.tuples(st.integers(0, 95), st.integers(1, 50), st.integers(30, 90)), min_size=1, max_size=20))
@example([(0, 37, 82), (60, 1, 79)])  # two paths are worth the same
def test_chords_move_with_the_notes(notes: list[tuple[int, int, int]]):
    """What is found higher up is worth as much there as what was found, moved: of equals either may be found."""
    onsets, durations, pitches = np.array(notes, np.int64).T
    here = recognise(onsets, durations, pitches, BEATS, IN_BAR)
    there = recognise(onsets, durations, pitches + 5, BEATS, IN_BAR)
    weights, silence, stay = _weights()
    fit, stay = fit_of(features(onsets, durations, pitches + 5, BEATS), weights, silence), stay[strength(IN_BAR)]
    assert worth(fit, stay, transposed(here, 5)) == pytest.approx(worth(fit, stay, there))


def worth(fit: np.ndarray, stay: np.ndarray, path: np.ndarray) -> float:
    """What `viterbi` makes as large as it can."""
    return float(fit[np.arange(len(path)), path].sum() - stay[1:][path[1:] != path[:-1]].sum())


def test_transposed_by_hand():
    moved = transposed(np.array([LABELS.index(name) for name in ("N", "C", "Bbm7", "Bmaj7")]), 2)
    assert names(moved) == ["N", "D", "Cm7", "C#maj7"]
    assert root_and_quality(int(moved[2])) == (0, "m7")
    assert root_and_quality(NONE) is None


@given(st.lists(st.tuples(st.integers(0, 110), st.integers(0, 60), st.integers(0, 127)), min_size=1, max_size=12))
def test_features_are_the_slow_sums(notes: list[tuple[int, int, int]]):
    onsets, durations, pitches = np.array(notes, np.int64).T
    found = features(onsets, durations, pitches, BEATS)
    assert found.shape == (8, len(CONTEXT) + len(BASS), 12)
    for beat in range(8):
        low, high = BEATS[beat], BEATS[beat + 1]
        sounding = np.zeros(12)
        for onset, duration, pitch in notes:
            if onset < BEATS[-1]:
                sounding[pitch % 12] += max(min(max(onset + duration, onset + 1), high) - max(onset, low), 0)
        expected = np.sqrt(sounding / max(sounding.sum(), 1e-9))
        np.testing.assert_allclose(found[beat, CONTEXT.index(0)], expected)
        if beat:
            np.testing.assert_allclose(found[beat - 1, CONTEXT.index(1)], expected)


@given(
    arrays(np.float64, (6, 4), elements=st.floats(-5, 5)),
    arrays(np.float64, 6, elements=st.floats(0, 3)),
)
@settings(deadline=None, max_examples=25)
def test_viterbi_is_the_best_of_all_paths(fit: np.ndarray, stay: np.ndarray):
    best = max(worth(fit, stay, np.array(path)) for path in np.ndindex(4, 4, 4, 4, 4, 4))
    assert worth(fit, stay, viterbi(fit, stay)) == pytest.approx(best)
