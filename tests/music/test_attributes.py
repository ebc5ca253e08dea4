"""Bar attributes worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from symusic.core import NoteTick, TimeSignatureTick, TrackTick

from ritornello.errors import MusicError
from ritornello.music.attributes import bar_attributes, class_bounds, classes
from ritornello.music.score import Score

NAN = np.nan


def add(score: Score, name: str, program: int, *notes: tuple[float, float, int, int], is_drum: bool = False) -> None:
    """A track of (onset, duration in quarters, pitch, velocity)."""
    track = TrackTick(name, program, is_drum)
    for onset, duration, pitch, velocity in notes:
        ticks = score.ticks_per_quarter
        track.notes.append(NoteTick(round(onset * ticks), round(duration * ticks), pitch, velocity))
    score.tracks.append(track)


@pytest.mark.parametrize("tpq", [48, 480, 1000])
def test_by_hand(tpq: int) -> None:
    """Three bars of 4/4: a half note and two notes on one sixteenth; held over into the empty second; one in the third.

    Bar 0 begins notes at 3 of its 16 sixteenths (0, 4, 12, of which the drums have one of their own). The half note
    sounds 8 sixteenths, the two notes at the fourth beat 4 each: 16 in 16. They sound through bar 1 for 4 quarters, two
    at once, and 1 more quarter in bar 2, beside a sixteenth.
    """
    score = Score(tpq)
    add(score, "melody", 80, (0, 2, 72, 100), (3, 6, 76, 80))
    add(score, "", 0, (3, 6, 48, 60), (8, 0.25, 50, 40))
    add(score, "", 0, (1, 0.1, 36, 120), is_drum=True)
    found = bar_attributes(score)
    np.testing.assert_allclose(found["rhythmic_intensity"], [3 / 16, 0, 1 / 16])
    np.testing.assert_allclose(found["polyphony"], [1, 2, (8 + 1) / 16])
    np.testing.assert_allclose(found["notes"], [4, 0, 1])
    np.testing.assert_allclose(found["lowest"], [48, NAN, 50])
    np.testing.assert_allclose(found["highest"], [76, NAN, 50])
    np.testing.assert_allclose(found["velocity"], [90, NAN, 40])
    np.testing.assert_allclose(found["density melody"], [0.5, 0, 0])
    np.testing.assert_allclose(found["density acoustic grand piano"], [0.25, 0, 0.25])
    np.testing.assert_allclose(found["density drums"], [0.25, 0, 0])


def test_other_metres() -> None:
    """6/8 has 12 sixteenths: onsets on all of them are an intensity of 1; then 5/4 with one note all along."""
    score = Score(96)
    score.time_signatures.append(TimeSignatureTick(0, 6, 8))
    score.time_signatures.append(TimeSignatureTick(3 * 96, 5, 4))
    add(score, "", 30, *((k / 4, 0.25, 60, 64) for k in range(12)), (3, 5, 40, 64))
    found = bar_attributes(score)
    np.testing.assert_allclose(found["rhythmic_intensity"], [1, 1 / 20])
    np.testing.assert_allclose(found["polyphony"], [1, 1])
    np.testing.assert_allclose(found["density distorted guitar"], [4, 1 / 5])


def test_nothing() -> None:
    found = bar_attributes(Score(480))
    assert {name: values.tolist() for name, values in found.items() if name in ("notes", "polyphony")} == {
        "notes": [0],
        "polyphony": [0],
    }
    assert np.isnan(found["velocity"]).all()


def test_a_note_just_before_the_bar_line_belongs_to_the_next_bar() -> None:
    score = Score(480)
    add(score, "", 0, (0, 1, 60, 64), (3.98, 1, 62, 64), (6, 1, 64, 64))
    np.testing.assert_allclose(bar_attributes(score)["notes"], [1, 2])
    np.testing.assert_allclose(bar_attributes(score)["rhythmic_intensity"], [1 / 16, 2 / 16])


@given(
    st.lists(
        st.tuples(st.integers(0, 4000), st.integers(0, 3000), st.integers(0, 127), st.integers(1, 127), st.booleans()),
        max_size=30,
    )
)
def test_any_score(notes) -> None:
    score = Score(100)
    for is_drum in (False, True):
        chosen = [(t / 100, d / 100, p, v) for t, d, p, v, drum in notes if drum == is_drum]
        add(score, "", 0, *chosen, is_drum=is_drum)
    found = bar_attributes(score)
    assert found["notes"].sum() == len(notes)
    assert ((found["rhythmic_intensity"] >= 0) & (found["rhythmic_intensity"] <= 1)).all()
    assert (found["polyphony"] >= 0).all()
    assert (np.isnan(found["velocity"]) == (found["notes"] == 0)).all()
    pitched = ~np.isnan(found["lowest"])
    assert (found["lowest"][pitched] <= found["highest"][pitched]).all()
    assert len({len(values) for values in found.values()}) == 1


# ---- classes ---------------------------------------------------------------------------------------------------------


def test_classes_by_the_paper_s_bounds() -> None:
    """The reference's bounds of rhythmic intensity on sixteenths: 0 to 3 onsets are class 0, 4 class 1, 11 class 7."""
    bounds = [0.20, 0.25, 0.32, 0.38, 0.44, 0.50, 0.63]
    found = classes(np.arange(17) / 16, bounds)
    assert found.tolist() == [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 6, 7, 7, 7, 7, 7, 7]


def test_bounds_of_evenly_spread_values_are_octiles() -> None:
    values = np.arange(800)
    bounds = class_bounds(values)
    assert bounds.tolist() == [99, 199, 299, 399, 499, 599, 699]
    assert np.bincount(classes(values, bounds)).tolist() == [100] * 8


def test_bounds_leave_no_class_empty_where_one_value_is_frequent() -> None:
    """Six of ten bars share a value; plain octiles would all be that value."""
    values = np.repeat([1, 2, 3, 4, 5, 6, 7, 8, 9], [5, 5, 5, 60, 5, 5, 5, 5, 5])
    bounds = class_bounds(values)
    assert (np.diff(bounds) > 0).all()
    assert np.bincount(classes(values, bounds), minlength=8).min() > 0


@given(st.lists(st.integers(0, 40), min_size=30, max_size=200), st.integers(2, 8))
def test_bounds_make_as_many_classes_as_asked(values: list[int], count: int) -> None:
    if len(set(values)) < count:
        with pytest.raises(MusicError, match=f"no {count} classes"):
            class_bounds(values, count)
        return
    found = classes(values, class_bounds(values, count))
    assert sorted(set(found.tolist())) == list(range(count))
    assert (np.diff(found[np.argsort(values)]) >= 0).all()
