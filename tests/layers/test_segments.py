from __future__ import annotations

import torch

from ritornello.layers.attention import masked_attention
from ritornello.layers.segments import Segments, attend_within


def test_bars_are_counted_through_the_batch_and_from_each_rows_first():
    rows = torch.tensor([0, 0, 0, 0, 1, 1, 1])
    bars = torch.tensor([4, 4, 5, 6, 6, 6, 7])
    segments = Segments.make(rows, bars)
    assert segments.of.tolist() == [0, 0, 1, 2, 3, 3, 4]
    assert segments.rows.tolist() == [0, 0, 0, 1, 1]
    assert segments.bars.tolist() == [0, 1, 2, 0, 1]


def test_attention_stays_within_the_segment():
    torch.manual_seed(0)
    of = torch.tensor([0, 0, 0, 1, 2, 2])
    place = torch.tensor([0, 1, 2, 0, 0, 1])
    q, k, v = torch.randn(3, 6, 2, 4)
    expected = masked_attention(q, k, v, of[:, None] == of)
    torch.testing.assert_close(attend_within(q, k, v, of, place, torch.tensor([3, 1, 2])), expected)
