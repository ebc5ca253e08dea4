from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ritornello.data.batch import TokenBatch, collate, unbatch
from ritornello.representations.base import Tokens

BOS, EOS = 1, 2


def tokens(ids: list[int], at: list[int], /, **meta: object) -> Tokens:
    positions = np.arange(len(ids), dtype=np.int16)
    attributes = np.zeros((max(at) + 1, 0), np.int16)
    return Tokens(np.array(ids, np.int16), np.array(at, np.int32), positions, attributes, meta)


def test_padding_and_countdown_by_hand():
    whole = tokens([BOS, 3, 9, 3, EOS], [0, 0, 0, 1, 1], bars=2)
    crop = tokens([3, 9], [5, 6], bars=8)
    batch = collate([whole, crop])
    assert batch.ids.tolist() == [[1, 3, 9, 3, 2], [3, 9, 0, 0, 0]]
    assert batch.bars.tolist() == [[0, 0, 0, 1, 1], [5, 6, 6, 6, 6]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 4], [0, 1, 0, 0, 0]]
    assert batch.countdown.tolist() == [[2, 2, 2, 1, 1], [3, 2, 0, 0, 0]]
    assert batch.lengths.tolist() == [5, 2]
    assert batch.real.tolist() == [[True] * 5, [True, True, False, False, False]]
    assert all(t.dtype == torch.int64 for t in (batch.ids, batch.bars, batch.positions, batch.countdown, batch.lengths))


def test_countdown_without_a_known_length():
    ends = tokens([BOS, 3, 3, EOS], [0, 0, 1, 1])
    cut_off = tokens([BOS, 3, 3, 9], [0, 0, 1, 1])
    assert collate([ends, cut_off]).countdown.tolist() == [[2, 2, 1, 1], [0, 0, 0, 0]]


def test_countdown_never_falls_below_zero():
    assert collate([tokens([3, 3, 3], [1, 2, 3], bars=3)]).countdown.tolist() == [[2, 1, 0]]


def test_unbatch_returns_what_was_collated():
    songs = [tokens([BOS, 3, 9, 3, EOS], [0, 0, 0, 1, 1], bars=2), tokens([3, 9], [5, 6], bars=8)]
    back = unbatch(collate(songs))
    for one, other in zip(songs, back, strict=True):
        for name in ("ids", "bars", "positions"):
            assert np.array_equal(getattr(one, name), getattr(other, name))
            assert getattr(one, name).dtype == getattr(other, name).dtype
        assert other.meta == one.meta
    assert unbatch(collate(songs), [{"key": "C major"}, {}])[0].meta == {"key": "C major"}


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one song"):
        collate([])
    one, nothing = tokens([1], [0]), np.zeros(0, np.int16)
    with pytest.raises(ValueError, match="lengths are"):
        collate([one, Tokens(nothing, nothing.astype(np.int32), nothing, one.attributes)])


def test_to_keeps_everything():
    batch = collate([tokens([1, 2], [0, 0])])
    assert batch.to("cpu").ids.equal(batch.ids)
    assert len(batch) == 1


def test_attributes_are_those_of_the_bars_in_the_crop():
    rows = np.array([[10 * bar, -bar] for bar in range(8)], np.int16)
    whole = replace(tokens([BOS, 3, 9, 3, EOS], [0, 0, 0, 1, 1], bars=2), attributes=rows[:2])
    crop = replace(tokens([3, 9, 3, 3], [5, 5, 6, 7], bars=8), attributes=rows)
    batch = collate([whole, crop])
    assert batch.attributes.tolist() == [[[0, 0], [10, -1], [0, 0]], [[50, -5], [60, -6], [70, -7]]]
    first, second = unbatch(batch)
    assert np.array_equal(first.attributes, whole.attributes)
    assert np.array_equal(second.attributes[5:], crop.attributes[5:])
    assert not second.attributes[:5].any()
    assert batch.to("cpu").attributes.equal(batch.attributes)


def test_attributes_that_nobody_gives_have_no_columns():
    batch = collate([tokens([1, 2], [0, 0]), tokens([3], [4])])
    assert batch.attributes.shape == (2, 0, 0)
    bare = TokenBatch(batch.ids, batch.bars, batch.positions, batch.countdown, batch.lengths)
    assert bare.attributes.shape == (2, 0, 0)
    assert [song.attributes.shape for song in unbatch(bare)] == [(1, 0), (5, 0)]


def test_what_stands_before_a_crop_is_padded_on_the_left():
    whole, crop = tokens([BOS, 3, 9], [0, 0, 0]), replace(tokens([3, 9], [5, 5]), past=np.array([7, 8], np.int16))
    batch = collate([whole, crop, replace(crop, past=crop.past[1:])])
    assert batch.past.tolist() == [[0, 0], [7, 8], [0, 8]]
    assert batch.to("cpu").past.equal(batch.past)
    assert collate([whole]).past.shape == (1, 0)
