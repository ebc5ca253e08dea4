"""Metrics of pitch, by hand and against their slow form."""

from __future__ import annotations

from math import isnan, log2

import numpy as np
import pytest
from symusic.core import NoteTick, TimeSignatureTick, TrackTick

from ritornello.evaluate.pitch import (
    FIGURES,
    pitch,
    pitch_class_entropy,
    pitch_classes_per_bar,
    pitch_in_scale_rate,
    polyphony,
    polyphony_rate,
    scale_consistency,
    windowed_entropy,
)
from ritornello.music.keys import Key
from ritornello.music.score import Score
from tests.evaluate.songs import song


def track(*notes: tuple[int, int, int], drum: bool = False, quarter: int = 12) -> Score:
    """One track of (start, duration, pitch)."""
    score = Score(quarter)
    score.tracks.append(TrackTick("", 0, drum))
    for start, duration, height in notes:
        score.tracks[0].notes.append(NoteTick(start, duration, height, 80))
    return score


def test_entropy_by_hand():
    score = track((0, 12, 60), (12, 12, 72), (24, 12, 64), (36, 12, 67))  # C C E G in one bar
    assert pitch_class_entropy(score) == pytest.approx(1.5)
    assert pitch(score)["pitch_entropy"] == pytest.approx(2)
    assert windowed_entropy(score, 1) == pytest.approx(1.5)
    assert windowed_entropy(score, 4) == pytest.approx(1.5)  # shorter than the window: one window


def test_windows_slide_bar_by_bar_and_skip_what_is_empty():
    # Bars: C E | – | – | C | D: two a bar at most
    score = track((0, 12, 60), (24, 12, 64), (144, 12, 60), (192, 12, 62))
    assert windowed_entropy(score, 1) == pytest.approx((1 + 0 + 0) / 3)
    assert windowed_entropy(score, 2) == pytest.approx((1 + 0 + 1) / 3)  # bars 1-2, 3-4, 4-5; bars 2-3 are empty
    thirds = -(2 / 3) * log2(2 / 3) - (1 / 3) * log2(1 / 3)
    assert windowed_entropy(score, 4) == pytest.approx((thirds + 1) / 2)  # CEC and CD
    assert pitch_classes_per_bar(score) == pytest.approx((2 + 1 + 1) / 3)


def test_bars_are_those_of_the_metre():
    score = track((0, 12, 60), (36, 12, 62))
    assert windowed_entropy(score, 1) == 1
    score.time_signatures.append(TimeSignatureTick(0, 3, 4))
    assert windowed_entropy(score, 1) == 0


def test_scales_by_hand():
    score = track(*((12 * i, 12, p) for i, p in enumerate((57, 59, 60, 62, 64, 65, 68, 69))))  # A harmonic minor
    assert pitch_in_scale_rate(score, Key(9, "minor")) == 7 / 8
    assert pitch_in_scale_rate(score, Key(0, "major")) == 7 / 8
    assert pitch_in_scale_rate(score, Key(0, "minor")) == 4 / 8  # A twice, B and E are not in C minor
    assert scale_consistency(score) == 7 / 8
    assert pitch_in_scale_rate(score) == 7 / 8  # the key that is found is A minor


def test_polyphony_by_hand():
    score = track((0, 24, 60), (12, 24, 64), (48, 12, 67))
    assert polyphony(score) == pytest.approx(60 / 48)
    assert polyphony_rate(score) == pytest.approx(12 / 60)
    assert polyphony_rate(score, at_least=1) == pytest.approx(48 / 60)


def test_a_pitch_on_two_instruments_is_one():
    score = track((0, 24, 60), (0, 12, 64))
    score.tracks.append(TrackTick("", 40, False))
    score.tracks[1].notes.append(NoteTick(6, 30, 60, 80))  # lengthens the C to 36
    assert polyphony(score) == pytest.approx(48 / 36)
    assert polyphony_rate(score) == pytest.approx(12 / 36)


def test_polyphony_agrees_with_a_piano_roll():
    rng = np.random.default_rng(0)
    for _ in range(20):
        notes = [(int(t), int(d), int(p)) for t, d, p in zip(*rng.integers(0, (200, 60, 5), (40, 3)).T, strict=True)]
        roll = np.zeros((300, 5), bool)
        for start, duration, height in notes:
            roll[start : start + max(duration, 1), height] = True
        sounding = roll.sum(axis=1)
        end = max(start + max(duration, 1) for start, duration, _ in notes)
        score = track(*notes)
        assert polyphony(score) == pytest.approx(sounding[sounding > 0].mean())
        for least in (1, 2, 3):
            assert polyphony_rate(score, least) == pytest.approx((sounding >= least).sum() / end)


def test_nothing_depends_on_octave_key_or_resolution():
    score = song(melody="abca", bass="aabb")
    fine = score.resample(480)
    higher = score.shift_pitch(12)
    for name, value in pitch(score).items():
        assert pitch(fine)[name] == pytest.approx(value), name
        assert pitch(higher)[name] == pytest.approx(value), name


@pytest.mark.parametrize("score", [Score(12), track((0, 12, 40), drum=True)])
def test_no_pitched_notes_no_pitches(score: Score):
    figures = pitch(score)
    assert list(figures) == list(FIGURES)
    assert figures.pop("pitches_used") == 0
    assert all(isnan(value) for value in figures.values())
