"""Longformer (Beltagy et al. 2020) as a language model: each token attends to the last `window` tokens of its song.

Neither this method nor its window knows bars, so the input says where a token stands: bar and position embeddings, as
Museformer's. Nothing depends on a song's length: beyond the trained length it goes on as before, seeing `window` tokens
a layer, `layers` × `window` in all.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ritornello.layers.ring import RingCache
from ritornello.layers.transformer import CausalAttention, pieces, segments, with_previous
from ritornello.models.sequence import SequenceConfig, SequenceLM


class Config(SequenceConfig):
    """What a Longformer is."""

    window: int = 1024
    """Tokens that a token sees, itself included (section 3.1: the sliding window, only backwards)."""


class WindowAttention(CausalAttention):
    """Sliding-window attention, by blocks as long as the window: a block sees itself and the one before."""

    def __init__(self, config: Config) -> None:
        super().__init__(config.width, config.heads)
        self.window = config.window

    def mix(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        time, length = queries.shape[2], min(self.window, queries.shape[2])
        q, k, v = (segments(x, length) for x in (queries, keys, values))
        q, k, v = (x.flatten(0, 1) for x in (q, with_previous(k, k), with_previous(v, v)))
        mixed = []
        for p in pieces(length):
            sources = slice(p.start, length + p.stop)  # what the first of the piece sees, to the last itself
            place = torch.arange(sources.start, sources.stop, device=q.device)
            back = length + place[: p.stop - p.start, None] - place
            mask = ((back >= 0) & (back < self.window)).repeat(q.shape[1], 1, 1)
            mask[0, :, : length - p.start] = False  # before the song there is nothing
            mixed.append(
                F.scaled_dot_product_attention(q[..., p, :], k[..., sources, :], v[..., sources, :], mask[None])
            )
        return torch.cat(mixed, dim=-2).unflatten(0, (-1, queries.shape[1])).flatten(2, 3)[:, :, :time]

    def recall(self, query: Tensor, key: Tensor, value: Tensor, layer: int, memory: RingCache) -> Tensor:
        return memory.attend(layer, query, key, value)


class Longformer(SequenceLM):
    """Longformer: see the module's docstring."""

    config: Config

    def attention(self) -> CausalAttention:
        return WindowAttention(self.config)

    def memory(self, rows: int, layers: int, heads: int, size: int, like: Tensor) -> RingCache:
        return RingCache(rows, layers, heads, size, self.config.window, like)
