"""Perplexity and nats a note, by hand on two tiny songs, and the intervals around them."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ritornello.data.batch import TokenBatch
from ritornello.errors import MusicError
from ritornello.evaluate.bootstrap import interval, median_interval
from ritornello.evaluate.likelihood import Likelihood, likelihood
from ritornello.representations.base import Tokens
from ritornello.representations.vocabulary import Vocabulary

VOCABULARY = Vocabulary({"Bar": (), "Pitch": range(4), "Drum": range(2), "Duration": range(1, 3)})
BAR, PITCH, DRUM, DURATION = (VOCABULARY.range(name).start for name in ("Bar", "Pitch", "Drum", "Duration"))


def song(*bars: list[int]) -> Tokens:
    ids = [1, *(token for bar in bars for token in (BAR, *bar)), 2]
    of = [0, *(i for i, bar in enumerate(bars) for _ in range(len(bar) + 1)), len(bars) - 1]
    bare = np.zeros(len(ids), np.int16)
    return Tokens(np.array(ids, np.int16), np.array(of, np.int32), bare, np.zeros((len(bars), 0), np.int16))


class Known(nn.Module):
    """Says that every token costs as many nats as its family's place; remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[TokenBatch] = []

    def token_nats(self, batch: TokenBatch) -> Tensor:
        self.seen.append(batch)
        assert not self.training
        nats = torch.from_numpy(VOCABULARY.family_of.astype(np.float32))[batch.ids]
        nats[:, 0] = 0
        return nats


SHORT = song([PITCH, DURATION])  # BOS Bar Pitch Duration EOS: nats 3 + 4 + 6 + 2
LONG = song([DRUM, DURATION, PITCH + 1, DURATION], [])  # BOS Bar Drum Dur Pitch Dur Bar EOS: 3 + 5 + 6 + 4 + 6 + 3 + 2


def test_figures_by_hand():
    figures = likelihood({"known": Known()}, [SHORT, LONG], VOCABULARY, cuts=(3, 6), longest=100)["known"]
    assert figures["songs"] == 2
    assert figures["tokens"] == 4 + 7
    assert (figures["notes"], figures["bars"]) == (3, 3)
    # At 3 tokens: Bar Pitch of one song, Bar Drum of the other. BOS is the first of the three.
    assert figures["perplexity"]["3"]["value"] == pytest.approx(np.exp((3 + 4 + 3 + 5) / 4))
    # At 6: all 4 of the short song, weighted by tokens, and 5 of the long one.
    assert figures["perplexity"]["6"]["value"] == pytest.approx(np.exp((15 + 24) / 9))
    assert [figures["perplexity"][at]["songs_as_long"] for at in ("3", "6")] == [2, 1]
    assert figures["nats_per_token"]["value"] == pytest.approx(44 / 11)
    assert figures["nats_per_note"]["value"] == pytest.approx(44 / 3)
    assert figures["nats_per_bar"]["value"] == pytest.approx(44 / 3)
    assert figures["families"]["Duration"] == pytest.approx(
        {"nats_per_token": 6, "share_of_tokens": 3 / 11, "share_of_nats": 18 / 44}
    )
    assert sum(family["share_of_nats"] for family in figures["families"].values()) == pytest.approx(1)
    assert "PAD" not in figures["families"]
    json.dumps(figures, allow_nan=False)


def test_reads_no_further_than_asked_and_one_song_at_a_time():
    model = Known()
    figures = likelihood({"known": model}, iter([LONG, SHORT]), VOCABULARY, cuts=(3,), longest=4)["known"]
    assert [tuple(batch.ids.shape) for batch in model.seen] == [(1, 4), (1, 4)]
    assert figures["tokens"] == 6
    whole = likelihood({"known": Known()}, [LONG], VOCABULARY, cuts=(3,), longest=None)["known"]
    assert whole["tokens"] == 7


def test_nobody_is_told_how_many_bars_are_left():
    model = Known()
    likelihood({"known": model}, [LONG], VOCABULARY, cuts=(3,), longest=None)
    assert (model.seen[0].countdown == 0).all()


def test_says_what_is_missing():
    with pytest.raises(MusicError, match="without a held-out song"):
        likelihood({"known": Known()}, [], VOCABULARY)
    with pytest.raises(MusicError, match="5,120 tokens needs as many"):
        Likelihood(VOCABULARY, cuts=(1024, 5120), longest=2000)


def test_intervals_hold_the_figure_and_depend_on_the_seed_alone():
    rng = np.random.default_rng(3)
    above, below = rng.normal(10, 2, 40), np.full(40, 5.0)
    low, high = interval([above, below], np.divide, seed=1)
    assert low < above.sum() / below.sum() < high
    assert interval([above, below], np.divide, seed=1) == [low, high]
    assert interval([above, below], np.divide, seed=2) != [low, high]
    # The mean of 40 numbers of standard deviation 2, over 5: 90 % lies within 1.645 standard errors on either side.
    assert (high - low) / 2 == pytest.approx(1.645 * above.std() / np.sqrt(40) / 5, rel=0.15)


@pytest.mark.parametrize("measure", [lambda x: interval([x, x], np.divide), median_interval])
def test_intervals_of_one_song_and_of_none(measure: Callable[[np.ndarray], list[float]]):
    one = measure(np.array([2.0]))
    assert one[0] == one[1]
    assert np.isnan(measure(np.zeros(0))).all()
