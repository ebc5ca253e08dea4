"""What training and writing cost: bytes are counted exactly; seconds can only be positive."""

from __future__ import annotations

import numpy as np
import torch

from ritornello.data.batch import unbatch
from ritornello.evaluate.cost import _as_long, _peak_bytes, costs
from tests.families import make_batch, make_model


def test_bytes_alive_at_once_are_counted():
    def work() -> None:
        a = torch.zeros(1000, 250)
        b = a + 1
        del a
        c = b * 2
        del b, c

    assert 0 <= _peak_bytes(work, "cpu") - 2 * 1000 * 250 * 4 < 1000


def test_memory_grows_as_the_attention_says():
    (song,) = unbatch(make_batch((90,)))
    per_token = {}
    for family in ("museformer", "longformer", "linear_transformer", "transformer_xl"):
        found = costs(make_model(family), song, (256, 1024))
        per_token[family] = found["1024"]["train_bytes"] / found["256"]["train_bytes"]
        assert all(figure > 0 for by_length in found.values() for figure in by_length.values())
        assert 0.9 < per_token[family] < 1.1, family  # no tensor grows with the square of the length


def test_a_short_song_begins_anew():
    (song,) = unbatch(make_batch((20,)))
    longer = _as_long(song, 50)
    np.testing.assert_array_equal(longer.ids[20:40], song.ids)
    assert (np.diff(longer.bars) >= 0).all()
    assert longer.bars[20] == song.bars[-1] + 1
