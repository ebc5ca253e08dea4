"""The scape plot against its slow form, and structureness of songs whose form is known."""

from __future__ import annotations

from math import isnan

import numpy as np
import pytest
from symusic.core import NoteTick, TempoTick, TimeSignatureTick, TrackTick

from ritornello.evaluate.structureness import (
    FIGURES,
    MOST_BEATS,
    beat_chroma,
    beat_edges,
    enhance,
    scape_plot,
    self_similarity,
    structureness,
)
from ritornello.music.score import Score
from tests.evaluate.songs import song

NAMES = list(FIGURES)


def slow_fitness(similarity: np.ndarray, start: int, m: int) -> float:
    """Fitness of one segment by trying, beat by beat, to let a copy end there or not."""
    n = len(similarity)
    best = [(0.0, 0)] * (n + 1)  # total similarity, copies
    for j in range(1, n + 1):
        best[j] = best[j - 1]
        if j >= m:
            gain = sum(similarity[j - m + k, start + k] for k in range(m))
            total, copies = best[j - m]
            if total + gain > best[j][0]:
                best[j] = (total + gain, copies + 1)
    total, copies = best[n]
    score, coverage = (total - m) / (copies * m), (copies * m - m) / n
    return 2 * score * coverage / (score + coverage) if score + coverage > 0 else 0.0


def test_agrees_with_its_slow_form():
    rng = np.random.default_rng(0)
    for n in (2, 5, 12, 21):
        similarity = np.where(rng.random((n, n)) < 0.5, rng.random((n, n)), -2)
        similarity = np.maximum(similarity, similarity.T)
        np.fill_diagonal(similarity, 1)
        lengths, fitness = scape_plot(similarity)
        assert lengths == list(range(1, n // 2 + 1))
        for m, row in zip(lengths, fitness, strict=True):
            assert row == pytest.approx([slow_fitness(similarity, s, m) for s in range(n - m + 1)])


def test_fitness_by_hand():
    """Four beats that come three times in fourteen: copies alike by (12 - 4) / 12, covering (12 - 4) / 14."""
    similarity = np.full((14, 14), -2.0)
    for offset in (0, 4, 8):
        for i in range(12 - offset):
            similarity[i, i + offset] = similarity[i + offset, i] = 1
    np.fill_diagonal(similarity, 1)
    lengths, fitness = scape_plot(similarity)
    score, coverage = 8 / 12, 8 / 14
    assert fitness[lengths.index(4)][0] == pytest.approx(2 * score * coverage / (score + coverage))
    assert fitness[lengths.index(4)][10] == 0  # beats 10 to 13: nothing like them


def test_long_segments_are_tried_at_fewer_lengths():
    lengths, _ = scape_plot(np.eye(90))
    assert lengths == [*range(1, 17), *range(18, 33, 2), 36, 40, 44]


def test_enhancement_keeps_a_quarter():
    similarity = np.arange(16.0).reshape(4, 4) / 15
    kept = enhance(similarity)
    assert (kept == -2).sum() == 9  # 12 below the threshold, less three on the diagonal
    assert np.diagonal(kept).tolist() == [1, 1, 1, 1]
    assert kept[3, 0] == pytest.approx((12 - 11.25) / 3.75)


def test_chroma_by_hand():
    score = Score(12)
    score.tracks.append(TrackTick("", 0, False))
    score.tracks.append(TrackTick("", 0, True))
    for start, duration, pitch in ((0, 18, 60), (6, 6, 64), (12, 12, 72)):
        score.tracks[0].notes.append(NoteTick(start, duration, pitch, 80))
    score.tracks[1].notes.append(NoteTick(0, 48, 40, 80))
    edges = beat_edges(score)
    assert edges.tolist() == [0, 12, 24, 36, 48]
    chroma = beat_chroma(score, edges)
    assert chroma[:, 0].tolist() == [12, 6 + 12, 0, 0]
    assert chroma[:, 4].tolist() == [6, 0, 0, 0]
    assert chroma.sum() == 36


def test_beats_fit_bars_of_any_metre_and_are_bounded():
    score = Score(12)
    score.tracks.append(TrackTick("", 0, False))
    score.tracks[0].notes.append(NoteTick(48 + 42, 6, 60, 80))
    for start, numerator, denominator in ((0, 4, 4), (48, 7, 8), (90, 1, 8)):
        score.time_signatures.append(TimeSignatureTick(start, numerator, denominator))
    assert beat_edges(score).tolist() == [0, 12, 24, 36, 48, 58, 69, 79, 90, 96]
    score.tracks[0].notes.append(NoteTick(12 * 5000, 6, 60, 80))
    edges = beat_edges(score)
    assert len(edges) - 1 <= MOST_BEATS
    assert edges[-1] >= 12 * 5000


def test_transposed_repeats_count_and_silence_is_like_nothing():
    once = np.eye(12)[[0, 4, 7, 11, 2]]
    chroma = np.concatenate([once, np.roll(once, 3, axis=1), np.zeros((1, 12))])
    alike = self_similarity(chroma, smooth=3)
    assert alike[0, 5] == alike[4, 9] == pytest.approx(1)  # forwards, backwards
    assert alike == pytest.approx(alike.T)
    assert self_similarity(chroma, smooth=1)[10].max() == 0


def patterned(form: str, tempo: float = 120) -> Score:
    """Eight bars of made-up melody for each letter, equal for equal letters, over other chords for each."""
    rng = np.random.default_rng(1)
    parts = {letter: rng.integers(0, 12, (64, 2)) for letter in sorted(set(form))}
    score = Score(12)
    score.tempos.append(TempoTick(0, qpm=tempo))
    score.tracks.append(TrackTick("", 0, False))
    for place, letter in enumerate(form):
        for i, (low, high) in enumerate(parts[letter].tolist()):
            start = (64 * place + i) * 6
            score.tracks[0].notes.append(NoteTick(start, 6, 60 + low, 80))
            score.tracks[0].notes.append(NoteTick(start, 6, 60 + high, 80))
    return score


def test_form_is_told_from_its_absence():
    with_form, without = structureness(patterned("abab")), structureness(patterned("abcd"))
    assert with_form[NAMES[2]] > 0.4 > 0.3 > without[NAMES[2]]
    assert all(0 <= value <= 1 for figures in (with_form, without) for value in figures.values())


def test_spans_are_in_seconds():
    """Halves of 16 bars, 32 quarters: 16 s at 120 a minute, 6.4 s at 300, where nothing of 15 s can come back."""
    fast = structureness(patterned("aa", 300))
    assert fast[NAMES[2]] == 0
    assert fast[NAMES[0]] > 0.4
    assert structureness(patterned("aa", 120))[NAMES[2]] > 0.4


def test_drums_alone_one_bar_and_nothing():
    for nothing in (song(drums="abab"), Score(12)):
        assert all(isnan(value) for value in structureness(nothing).values())
    assert structureness(song(melody="a")) == dict.fromkeys(FIGURES, 0)
