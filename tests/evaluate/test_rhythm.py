"""Metrics of rhythm, by hand and against their slow form, in several metres."""

from __future__ import annotations

from itertools import combinations, pairwise
from math import isnan

import numpy as np
import pytest
from symusic.core import NoteTick, TempoTick, TimeSignatureTick, TrackTick

from ritornello.evaluate.rhythm import (
    FIGURES,
    drum_pattern_consistency,
    empty_beat_rate,
    empty_measure_rate,
    groove_consistency,
    groove_similarity,
    notes_per_second,
    rhythm,
)
from ritornello.music.score import Score


def track(*notes: tuple[int, int], metres: tuple[tuple[int, int, int], ...] = (), drum: bool = False) -> Score:
    """One track of (start, duration) at 12 ticks a quarter."""
    score = Score(12)
    score.tracks.append(TrackTick("", 0, drum))
    for start, duration in notes:
        score.tracks[0].notes.append(NoteTick(start, duration, 60, 80))
    for metre in metres:
        score.time_signatures.append(TimeSignatureTick(*metre))
    return score


def test_emptiness_by_hand():
    score = track((12, 12), (30, 30), (150, 6))  # bars of 48: beats 2, 3 to 5, then 13
    assert empty_beat_rate(score) == 11 / 16
    assert empty_measure_rate(score) == 1 / 4
    assert empty_measure_rate(track((0, 48), (96, 12))) == 1 / 3  # a note that ends on the line
    assert empty_measure_rate(track((0, 49), (96, 12))) == 0


def test_beats_are_quarters_in_any_metre():
    score = track((0, 12), (42, 6), metres=((0, 7, 8),))  # bars of 42 ticks: 84 in all are 7 quarters
    assert empty_beat_rate(score) == 5 / 7
    assert empty_measure_rate(score) == 0
    assert empty_beat_rate(track((0, 12), metres=((0, 3, 8),))) == 1 / 2  # 18 ticks: the second quarter is cut short


def test_groove_by_hand():
    score = track((0, 6), (24, 6), (48, 6), (72, 6), (84, 6), (96, 6))  # 0 24 | 0 24 36 | 0
    assert groove_consistency(score) == pytest.approx(1 - (1 + 2) / 2 / 48)
    assert groove_similarity(score) == pytest.approx(1 - (1 + 2 + 1) / 3 / 48)
    assert groove_similarity(score, steps=16) == pytest.approx(1 - (1 + 2 + 1) / 3 / 64)  # Wu and Yang's 64 a bar


def test_onsets_in_a_bar_count_once_and_drums_count():
    score = track((0, 6), (0, 9), (48, 6))
    score.tracks.append(TrackTick("", 0, True))
    score.tracks[1].notes.append(NoteTick(36, 6, 38, 80))
    assert groove_consistency(score) == pytest.approx(1 - 1 / 48)


def test_only_bars_of_one_length_are_compared():
    # 4/4: 0 | 3/4: 0 12 | 3/4: 0 | 4/4: 0 24
    score = track((0, 6), (48, 6), (60, 6), (84, 6), (120, 6), (144, 6), metres=((0, 4, 4), (48, 3, 4), (120, 4, 4)))
    assert groove_consistency(score) == pytest.approx(1 - 1 / 36)
    assert groove_similarity(score) == pytest.approx(1 - (1 / 36 + 1 / 48) / 2)


def test_similarity_of_all_pairs_agrees_with_pairs():
    rng = np.random.default_rng(0)
    score = track(*((int(t), 3) for t in rng.integers(0, 480, 60)), (479, 1))
    groove = np.zeros((10, 48), bool)
    starts = score.tracks[0].notes.numpy()["time"]
    groove[starts // 48, starts % 48] = True
    slow = [1 - (groove[i] ^ groove[j]).mean() for i, j in combinations(range(10), 2)]
    assert groove_similarity(score) == pytest.approx(np.mean(slow))
    assert groove_consistency(score) == pytest.approx(np.mean([1 - (a ^ b).mean() for a, b in pairwise(groove)]))


def test_played_a_little_off_the_grid_is_the_same_groove():
    exact = Score(480)
    exact.tracks.append(TrackTick("", 0, False))
    for start in (0, 960, 1920, 2880):
        exact.tracks[0].notes.append(NoteTick(start, 400, 60, 80))
    loose = exact.copy()
    for note, shift in zip(loose.tracks[0].notes, (5, -12, -7, 18), strict=True):
        note.time += shift
    assert groove_consistency(loose) == groove_consistency(exact) == 1


def test_drum_patterns_by_hand():
    assert drum_pattern_consistency(track((0, 1), (3, 1), (4, 1), (5, 1), (9, 1), drum=True)) == 3 / 5
    assert drum_pattern_consistency(track((0, 1), (4, 1), (8, 1), (9, 1), drum=True)) == 3 / 4
    assert isnan(drum_pattern_consistency(track((0, 1))))


def test_notes_a_second():
    score = track((0, 12), (12, 12), (48, 12))  # two bars of four quarters
    score.tempos.append(TempoTick(0, qpm=60))
    assert notes_per_second(score) == pytest.approx(3 / 8)


def test_one_bar_and_none():
    figures = rhythm(track((0, 12)))
    assert list(figures) == list(FIGURES)
    assert isnan(figures["groove_consistency"])
    assert isnan(figures["groove_similarity"])
    assert figures["empty_beat_rate"] == 3 / 4
    nothing = rhythm(Score(12))
    assert (nothing["notes_per_second"], nothing["empty_beat_rate"], nothing["empty_measure_rate"]) == (0, 1, 1)
