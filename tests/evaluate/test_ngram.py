"""The n-gram yardsticks: true probabilities, the same as a slow form with dictionaries, and copying that copies."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
import torch

from ritornello.data.batch import TokenBatch
from ritornello.errors import MusicError
from ritornello.evaluate.ngram import CopyingNGram, NGram, longest_matches, yardsticks

SIZE = 7


@pytest.fixture
def songs() -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, SIZE - 1, rng.integers(1, 60)) for _ in range(12)]  # token 6 is never seen


class Slow:
    """Witten-Bell as it is written down, one token at a time."""

    def __init__(self, songs: list[np.ndarray], order: int) -> None:
        self.order = order
        self.after: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for song in songs:
            for i in range(1, len(song)):
                for n in range(order):
                    if i >= n:
                        self.after[tuple(song[i - n : i].tolist())][int(song[i])] += 1

    def p(self, token: int, history: tuple[int, ...]) -> float:
        shorter = 1 / SIZE if not history else self.p(token, history[1:])
        counts = self.after.get(history)
        if not counts:
            return shorter
        return (counts[token] + len(counts) * shorter) / (counts.total() + len(counts))

    def song(self, song: np.ndarray) -> list[float]:
        return [self.p(int(song[i]), tuple(song[max(i - self.order + 1, 0) : i].tolist())) for i in range(1, len(song))]


@pytest.mark.parametrize("order", [1, 2, 4])
def test_sorted_arrays_agree_with_dictionaries(songs: list[np.ndarray], order: int):
    fast, slow = NGram(SIZE, order).fit(songs), Slow(songs, order)
    for song in [*songs[:3], np.array([6, 6, 0, 1, 6, 2, 3, 4])]:
        np.testing.assert_allclose(fast.probabilities(song)[1:], slow.song(song), rtol=1e-12)


def test_probabilities_of_every_next_token_sum_to_one(songs: list[np.ndarray]):
    for model in yardsticks(songs, SIZE).values():
        for history in ([0], [6], [1, 2, 3, 1, 2, 3, 1, 2], songs[0].tolist()):
            total = sum(model.probabilities(np.array([*history, token]))[-1] for token in range(SIZE))
            assert total == pytest.approx(1, abs=1e-12)


def test_unseen_tokens_keep_some_probability(songs: list[np.ndarray]):
    assert (NGram(SIZE).fit(songs).probabilities(np.array([0, 6, 6, 6])) > 0).all()


def test_longest_match_is_the_latest_and_the_longest_rung():
    #                0  1  2  3  4  5  6  7  8
    ids = np.array([1, 2, 3, 9, 2, 3, 1, 2, 3])
    guess, rung = longest_matches(ids, (1, 2, 3))
    assert guess.tolist() == [-1, -1, -1, -1, -1, 3, 9, 2, 3]
    assert rung.tolist() == [0, 0, 0, 0, 0, 1, 2, 1, 2]


def test_longest_matches_agree_with_a_search(songs: list[np.ndarray]):
    rungs = (1, 2, 3, 5, 8)
    ids = np.concatenate([songs[0], songs[1], songs[0]]) % 3
    guess, rung = longest_matches(ids, rungs)
    text = ids.tolist()
    for i in range(1, len(text)):
        expected = (-1, 0)
        for r, length in enumerate(rungs, start=1):
            ends = [e for e in range(length, i) if text[e - length : e] == text[i - length : i]] if length <= i else []
            if ends:
                expected = (text[ends[-1]], r)
        assert (guess[i], rung[i]) == expected


def test_copying_makes_repetition_cheap():
    rng = np.random.default_rng(0)
    songs = [np.tile(rng.integers(0, SIZE, 30), 4) for _ in range(20)]
    plain, copying = yardsticks(songs[:-1], SIZE, keep=4).values()
    assert isinstance(copying, CopyingNGram)
    repeated = slice(40, 120)
    nats = [-np.log(model.probabilities(songs[-1])[repeated]).mean() for model in (plain, copying)]
    assert nats[1] < 0.2 < 1 < nats[0]
    assert np.all(np.diff(copying.trust[:4]) > 0)  # a longer match is trusted more


def test_token_nats_of_a_batch(songs: list[np.ndarray]):
    model = NGram(SIZE).fit(songs)
    rows = [songs[0], songs[1][:5]]
    ids = torch.zeros(2, max(map(len, rows)), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.from_numpy(row)
    zeros = torch.zeros_like(ids)
    nats = model.token_nats(TokenBatch(ids, zeros, zeros, zeros, torch.tensor([len(row) for row in rows])))
    assert nats.shape == ids.shape
    assert (nats[:, 0] == 0).all()
    assert (nats[1, 5:] == 0).all()
    np.testing.assert_allclose(nats[1, 1:5].numpy(), -np.log(model.probabilities(rows[1])[1:]), rtol=1e-5)


def test_says_what_it_cannot_do():
    with pytest.raises(MusicError, match="order 9 over 7000 tokens"):
        NGram(7000, 9)
    with pytest.raises(MusicError, match="at least two training songs"):
        yardsticks([np.array([1, 2])], SIZE)
