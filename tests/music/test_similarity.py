"""Equations 4 to 6 on numbers worked by hand, and the offsets that follow."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from symusic.core import NoteTick, TimeSignatureTick, TrackTick

from ritornello.errors import MusicError
from ritornello.music.score import Score
from ritornello.music.similarity import (
    bar_sets,
    bar_similarity,
    per_song,
    similarity_distribution,
    similarity_error,
    structure_offsets,
)

NAN = np.nan
Note = tuple[int, float, float, int]  # bar, onset in it and duration in quarters, pitch


def score_of(*notes: Note, tpq: int = 480, program: int = 0) -> Score:
    """One track in 4/4."""
    score = Score(tpq)
    track = TrackTick("", program, False)
    for bar, onset, duration, pitch in notes:
        track.notes.append(NoteTick(round((4 * bar + onset) * tpq), round(duration * tpq), pitch, 80))
    score.tracks.append(track)
    return score


A, B, C, D = (0.0, 1.0, 60), (1.0, 1.0, 62), (2.0, 0.5, 64), (3.0, 1.0, 60)


def bars_of(*contents: tuple) -> list[Note]:
    return [(bar, *note) for bar, notes in enumerate(contents) for note in notes]


FORM = bars_of((A, B), (A, C, D), (), (A, B))
TABLE = [
    [1.0, 0.25, 0.0, 1.0],
    [0.25, 1.0, 0.0, 0.25],
    [0.0, 0.0, NAN, 0.0],
    [1.0, 0.25, 0.0, 1.0],
]


@pytest.mark.parametrize("tpq", [24, 480, 1024])
def test_equation_4(tpq: int) -> None:
    """A B | A C D | nothing | A B: bars 0 and 1 share A of A B C D."""
    np.testing.assert_allclose(bar_similarity(score_of(*FORM, tpq=tpq)), TABLE)


def test_what_two_empty_bars_have() -> None:
    assert bar_similarity(score_of(*FORM), empty=1.0)[2, 2] == 1
    np.testing.assert_equal(bar_similarity(Score(480)), [[NAN]])


def test_equation_5() -> None:
    """One apart: 1/4, 0, 0; two: 0, 1/4; three: 1. An empty bar beside a filled one counts, as 0."""
    sums, counts = per_song(score_of(*FORM), 5)
    np.testing.assert_allclose(sums, [0.25, 0.25, 1, 0, 0])
    assert counts.tolist() == [3, 2, 1, 0, 0]


def test_equation_5_is_over_pairs_not_songs() -> None:
    """A second song of two equal bars adds one pair of 1 to the three pairs one apart."""
    songs = [score_of(*FORM), score_of(*bars_of((C,), (C,)))]
    np.testing.assert_allclose(similarity_distribution(songs, 4), [1.25 / 4, 0.125, 1, NAN])


def test_empty_pairs_are_left_out() -> None:
    """A | - | - | A: one apart 0, (left out), 0."""
    song = score_of(*bars_of((A,), (), (), (A,)))
    assert per_song(song, 3)[1].tolist() == [2, 2, 1]
    sums, counts = per_song(song, 3, empty=1.0)
    assert (sums.tolist(), counts.tolist()) == ([1, 0, 1], [3, 2, 1])


def test_equation_6() -> None:
    assert similarity_error([0.5, 0.2, 0.4], [0.4, 0.4, 0.4]) == pytest.approx(0.1)
    assert similarity_error([0.5, NAN], [0.4, 0.4]) == pytest.approx(0.1)
    assert np.isnan(similarity_error([NAN], [0.1]))


def test_what_makes_notes_equal() -> None:
    """Another pitch, duration, onset or instrument makes another note; a tick of another grid or velocity does not."""
    for other in ((0.0, 1.0, 61), (0.0, 0.75, 60), (0.25, 1.0, 60)):
        assert bar_similarity(score_of(*bars_of((A,), (other,))))[0, 1] == 0
    late = score_of((0, 0, 1, 60), (1, 1 / 60, 1 + 1 / 60, 60))
    late.tracks[0].notes[1].velocity = 3
    assert bar_similarity(late)[0, 1] == 1
    two = score_of(*bars_of((A, B)))
    two.tracks.append(score_of((1, *A), (1, *B), program=40).tracks[0])
    assert bar_similarity(two)[0, 1] == 0


def test_doublings_count_once() -> None:
    np.testing.assert_allclose(bar_similarity(score_of(*bars_of((A, A, B), (A,))))[0, 1], 0.5)


def test_some_tracks() -> None:
    score = score_of(*bars_of((A,), (A,)))
    score.tracks.append(score_of((0, *B), (1, *C), program=40).tracks[0])
    assert bar_similarity(score, tracks=[0])[0, 1] == 1
    assert bar_similarity(score, tracks=[1])[0, 1] == 0
    assert bar_similarity(score)[0, 1] == pytest.approx(1 / 3)
    assert np.isnan(bar_similarity(score, tracks=[])).all()


def test_changes_of_metre() -> None:
    """Bars of 3/4 and then 4/4: onsets count from the bar line."""
    score = Score(480)
    score.tracks.append(TrackTick("", 0, False))
    score.time_signatures.append(TimeSignatureTick(0, 3, 4))
    score.time_signatures.append(TimeSignatureTick(3 * 480, 4, 4))
    for quarter in (1, 3 + 1, 7 + 1):
        score.tracks[0].notes.append(NoteTick(quarter * 480, 480, 60, 80))
    np.testing.assert_allclose(bar_similarity(score), np.ones((3, 3)))


def test_an_onset_just_before_the_bar_line_is_on_it() -> None:
    early = score_of((0, *A), (1, -0.02, 1.0, 60))
    sets = bar_sets(early)
    assert sets.bar.tolist() in ([0, 1], [0, 0])
    assert bar_similarity(score_of((0, *A), (1, -0.02, 1.0, 60), (1, 2, 1, 50)))[0, 1] == 0.5


NOTES = st.lists(
    st.tuples(
        st.integers(0, 7), st.integers(0, 15).map(lambda k: k / 4), st.sampled_from([0.25, 1.0]), st.integers(60, 63)
    ),
    max_size=40,
)


@given(NOTES)
@settings(max_examples=60)
def test_any_score(notes: list[Note]) -> None:
    """Symmetric, 0 to 1, 1 on the diagonal of filled bars, and what plain sets give."""
    found = bar_similarity(score_of(*notes))
    sets = [{note[1:] for note in notes if note[0] == bar} for bar in range(len(found))]
    for i, one in enumerate(sets):
        for j, other in enumerate(sets):
            expected = len(one & other) / len(one | other) if one | other else NAN
            np.testing.assert_allclose(found[i, j], expected)


def test_fast() -> None:
    """250 bars of 40 notes."""
    rng = np.random.default_rng(0)
    notes = [(bar, k / 10, 0.5, int(rng.integers(40, 80))) for bar in range(250) for k in range(40)]
    score = score_of(*notes)
    bar_similarity(score)
    begin = time.process_time()
    bar_similarity(score)
    assert time.process_time() - begin < 0.5


def test_too_many_bars() -> None:
    with pytest.raises(MusicError, match="4,101 bars is too large"):
        bar_similarity(score_of((4100, *A)))


# ---- offsets --------------------------------------------------------------------------------------------------------

# L_1 .. L_40 in per cent of every sixtieth Lakh song, as merge_six gives it: its melody, and all its tracks
MELODY = [
    *(4.2, 8.8, 3.0, 12.8, 2.4, 4.6, 1.9, 11.6, 1.8, 3.4, 1.5, 6.1, 1.7, 3.2, 1.7, 8.8, 2.3, 3.2, 1.8, 5.7),
    *(2.2, 3.0, 2.2, 6.7, 2.0, 3.7, 1.6, 6.6, 2.1, 3.7, 1.7, 10.2, 2.1, 4.5, 1.6, 5.8, 2.1, 3.2, 1.7, 7.7),
]
ALL = [
    *(26.4, 30.8, 22.3, 33.9, 20.5, 24.5, 19.6, 31.3, 19.0, 21.8, 18.0, 25.1, 17.9, 21.1, 17.9, 27.2, 18.0, 20.6),
    *(17.3, 23.1, 17.5, 20.3, 17.9, 25.3, 17.8, 21.1, 17.3, 24.1, 17.6, 20.8, 17.6, 27.4, 18.1, 21.2, 17.3, 23.2),
    *(17.5, 19.9, 17.3, 24.9),
]


@pytest.mark.parametrize("distribution", [MELODY, ALL])
def test_the_papers_offsets(distribution: list[float]) -> None:
    assert structure_offsets(distribution) == (1, 2, 4, 8, 12, 16, 24, 32)


def test_other_forms() -> None:
    threes = [0.9 if t % 3 == 0 else 0.1 for t in range(1, 41)]
    assert structure_offsets(threes, 5) == (1, 3, 6, 9, 12)
    falling = np.linspace(1, 0, 40)
    assert structure_offsets(falling, 4) == (1, 2, 3, 4)
    assert structure_offsets([0.5, NAN]) == (1, 2)
    assert structure_offsets([]) == ()
    assert max(structure_offsets(MELODY, 12, longest=16)) == 16
