"""The bars of a packed batch, each for itself: which tokens are theirs, and attention that stays inside them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Segments:
    """The bars of all rows, one after another."""

    of: Int[Tensor, " tokens"]  # every token's bar, counted through the batch
    rows: Int[Tensor, " segments"]
    bars: Int[Tensor, " segments"]  # from the first bar of the row on

    @staticmethod
    def make(rows: Int[Tensor, " tokens"], bars: Int[Tensor, " tokens"]) -> Segments:
        begins = torch.ones_like(rows, dtype=torch.bool)
        begins[1:] = (rows[1:] != rows[:-1]) | (bars[1:] != bars[:-1])
        rows, bars = rows[begins], bars[begins]
        first = bars[torch.searchsorted(rows, rows)]
        return Segments(begins.cumsum(0) - 1, rows, bars - first)


def attend_within(
    queries: Float[Tensor, "tokens heads size"],
    keys: Float[Tensor, "tokens heads size"],
    values: Float[Tensor, "tokens heads size"],
    of: Int[Tensor, " tokens"],
    place: Int[Tensor, " tokens"],
    lengths: Int[Tensor, " segments"],
) -> Float[Tensor, "tokens heads size"]:
    """Attention of every token to all tokens of its own segment: segments side by side, padded to the longest."""
    longest = int(lengths.max())
    shape = (len(lengths), longest)
    slot = of * longest + place
    padded = [x.new_zeros((shape[0] * longest, *x.shape[1:])).index_copy(0, slot, x) for x in (queries, keys, values)]
    q, k, v = (x.unflatten(0, shape).transpose(1, 2) for x in padded)
    real: Bool[Tensor, "segments longest"] = torch.arange(longest, device=of.device) < lengths[:, None]
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    scores = scores.masked_fill(~real[:, None, None], float("-inf"))
    return (scores.softmax(-1, dtype=v.dtype) @ v).transpose(1, 2).flatten(0, 1)[slot]
