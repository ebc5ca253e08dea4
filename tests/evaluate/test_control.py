"""Fidelity, diversity and control, against numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from symusic.core import NoteTick, TimeSignatureTick, TrackTick

from ritornello.evaluate.control import (
    Profiles,
    control,
    diversity,
    fidelity,
    likeness,
    partial_spearman,
    profiles,
    similarity,
    spearman,
)
from ritornello.music.score import Score


def piano(*notes: tuple[int, int], metre: tuple[int, int] = (4, 4)) -> Score:
    """A score of (onset in sixteenths, pitch)."""
    score = Score(480)
    score.time_signatures.append(TimeSignatureTick(0, *metre))
    track = TrackTick("piano", 0, False)
    for onset, pitch in notes:
        track.notes.append(NoteTick(120 * onset, 120, pitch, 64))
    score.tracks.append(track)
    return score


def test_profiles_by_hand():
    """Bar 1: C and E together, then C an octave up on the second beat; bar 2 empty; bar 3: G on its last sixteenth."""
    found = profiles(piano((0, 60), (0, 64), (4, 72), (47, 67)))
    assert found.chroma.shape == (3, 12)
    assert found.groove.shape == (3, 16)
    assert [np.flatnonzero(row).tolist() for row in found.chroma] == [[0, 4], [], [7]]
    assert found.chroma[0, 0] == 2
    assert [np.flatnonzero(row).tolist() for row in found.groove] == [[0, 4], [], [15]]
    assert found.groove[0, 0] == 2


def test_profiles_have_the_bars_asked_for_and_the_metre_s_sixteenths():
    found = profiles(piano((0, 60), (11, 60), metre=(6, 8)), count=3)
    assert found.chroma.sum(1).tolist() == [2, 0, 0]
    assert found.groove.shape == (3, 12)
    assert profiles(piano((0, 60), (16, 60)), count=1).chroma.shape == (1, 12)


def test_drums_have_a_groove_and_no_chroma():
    score = piano((0, 60))
    drums = TrackTick("drums", 0, True)
    drums.notes.append(NoteTick(480, 120, 36, 64))
    score.tracks.append(drums)
    found = profiles(score)
    assert found.chroma.sum() == 1
    assert np.flatnonzero(found.groove[0]).tolist() == [0, 4]


def test_similarity_by_hand():
    """The same; at a right angle; (1, 1, 0) and (1, 0, 0) are at 45 degrees; one empty; both empty."""
    one = [[1, 2, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0]]
    other = [[2, 4, 0], [0, 3, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(similarity(one, other), [100, 0, 100 / np.sqrt(2), 0, np.nan])
    np.testing.assert_allclose(similarity([[1.0]], [[1.0, 0.0]]), [100])
    with pytest.raises(ValueError, match="2 and 1"):
        similarity([[1.0], [1.0]], [[1.0]])


def test_fidelity_and_diversity_by_hand():
    source = Profiles(np.array([[1.0, 0], [1, 0]]), np.array([[1.0, 0], [0, 1]]))
    same = Profiles(source.chroma, source.groove)
    other = Profiles(np.array([[0.0, 1], [1, 0]]), np.array([[0.0, 1], [1, 0]]))
    assert likeness(source, other) == {"chroma": 50, "groove": 0}
    assert fidelity(source, [same, other]) == {"chroma": 75, "groove": 50}
    assert diversity([same, other]) == {"chroma": 50, "groove": 0}
    assert diversity([same, same, other]) == pytest.approx({"chroma": 200 / 3, "groove": 100 / 3})
    assert np.isnan(diversity([same])["chroma"])


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=30))
def test_spearman_is_scipy_s(pairs: list[tuple[int, int]]):
    one, other = np.array(pairs).T
    if len(set(one)) == 1 or len(set(other)) == 1:
        assert np.isnan(spearman(one, other))
    else:
        assert spearman(one, other) == pytest.approx(float(stats.spearmanr(one, other)[0]), abs=1e-12)  # pyright: ignore


def test_partial_spearman_takes_out_what_a_third_explains():
    """Two that follow a third and nothing else have no partial correlation, though a plain one."""
    rng = np.random.default_rng(0)
    third = rng.normal(size=4000)
    one, other = third + rng.normal(size=4000), third + rng.normal(size=4000)
    assert spearman(one, other) > 0.4
    assert abs(partial_spearman(one, other, third)) < 0.05
    assert np.isnan(partial_spearman(third, other, third))


def test_control_by_hand():
    """Rhythm is obeyed to the letter; polyphony is always one class too high, and rises with rhythm alone."""
    rhythm = np.array([0, 1, 2, 3, 4, 5, 6, 7])
    polyphony = np.array([3, 3, 3, 3, 2, 2, 2, 2])
    asked = np.stack([rhythm, polyphony], 1)
    measured = np.stack([rhythm / 8, rhythm + 0.5], 1)
    figures = control(asked, measured, np.stack([rhythm, polyphony + 1], 1))
    assert figures["rhythm"]["correlation"] == pytest.approx(1)
    assert figures["rhythm"]["leak"] == pytest.approx(1)
    assert (figures["rhythm"]["exact"], figures["rhythm"]["near"]) == (1, 1)
    expected = float(stats.spearmanr(polyphony, rhythm)[0])  # pyright: ignore
    assert figures["polyphony"]["correlation"] == pytest.approx(expected)
    assert figures["polyphony"]["leak"] == pytest.approx(-expected)
    assert (figures["polyphony"]["exact"], figures["polyphony"]["near"]) == (0, 1)


def test_leaks_that_were_asked_for_are_told_from_others():
    """Both classes are asked for together, and each attribute obeys its own alone: a leak, but no partial one."""
    rng = np.random.default_rng(1)
    rhythm = rng.integers(0, 8, 4000)
    polyphony = np.clip(rhythm + rng.integers(-2, 3, 4000), 0, 7)
    asked = np.stack([rhythm, polyphony], 1)
    figures = control(asked, asked + rng.normal(size=asked.shape), asked)
    for name in ("rhythm", "polyphony"):
        assert figures[name]["leak"] > 0.5
        assert figures[name]["leak_partial"] < 0.08
