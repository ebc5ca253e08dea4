"""What followed when a song last said the same."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ritornello.layers.recall import LENGTHS, Memory, recall

PASSED = np.array([False, False, False, True])
NONE = np.zeros(10, bool)
# Few different tokens and copied stretches, so that long matches occur.
songs = st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=40), min_size=1, max_size=6).map(
    lambda parts: [1, *(id for part in parts for id in part * 2 + parts[0])]
)


def slow(ids: list[int], passed: np.ndarray) -> list[tuple[int, int]]:
    """By comparing with every earlier place."""

    def said(end: int, length: int) -> tuple[list[int], int] | None:
        """The `length` tokens looked at up to a place, and how many that are passed over stand behind them."""
        places = [t for t in range(end + 1) if not passed[ids[t]]]
        return ([ids[t] for t in places[-length:]], end - places[-1]) if len(places) >= length else None

    found = []
    for t in range(len(ids)):
        matches = [
            (ids[last + 1], depth)
            for depth, length in enumerate(LENGTHS, 1)
            for last in range(t)
            if said(t, length) is not None and said(last, length) == said(t, length)
        ]
        found.append(max(enumerate(matches), key=lambda m: (m[1][1], m[0]), default=(0, (0, 0)))[1])
    return found


@settings(max_examples=40, deadline=None)
@given(songs, st.sampled_from([PASSED, NONE]))
def test_recall_is_what_comparing_every_place_gives(ids: list[int], passed: np.ndarray):
    assert list(zip(*(part.tolist() for part in recall(np.array(ids), passed)), strict=True)) == slow(ids, passed)


@given(songs, st.sampled_from([PASSED, NONE]))
def test_a_song_being_written_recalls_the_same(ids: list[int], passed: np.ndarray):
    memory = Memory(passed, ids[:10])
    followed, depth = recall(np.array(ids), passed)
    assert [memory.add(id) for id in ids[10:]] == list(zip(followed[10:], depth[10:], strict=True))


def test_worked_by_hand():
    followed, depth = recall(np.array([1, 2, 3, 4, 5, 1, 2, 3, 4, 6, 2, 3, 4, 6]), NONE)
    assert depth.tolist() == [0, 0, 0, 0, 0, 1, 2, 2, 3, 0, 1, 2, 2, 3]  # 1, 2 and 4 tokens agree
    assert followed[[5, 6, 7, 8, 10, 13]].tolist() == [2, 3, 4, 5, 3, 2]


def test_what_is_passed_over_may_differ():
    """4 and 5 are passed over: after 1 2 comes 3, whether a 4 or a 5 stands between."""
    passed = np.isin(np.arange(10), [4, 5])
    followed, depth = recall(np.array([1, 4, 2, 4, 3, 1, 5, 2, 5]), passed)
    assert (followed[-1], depth[-1]) == (3, 2)
    assert recall(np.array([1, 4, 2, 4, 3, 1, 5, 2, 5]), NONE)[1][-1] == 1
