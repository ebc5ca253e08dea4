"""Transformer-XL (Dai et al. 2019): segments that also see the segment before, without a gradient between them.

Segments are counted from the start of what is read (a song, or in training a crop of one). A segment's memory is what
each layer's attention got for the previous one, so it needs no loop: layer by layer, all segments are computed at once.
Positions are relative: sinusoids of the distance, and two learned biases (section 3.3). Nothing depends on a song's
length: beyond the trained length it goes on as before; a token sees the `segment` tokens before its own segment.
"""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ritornello.layers.positions import sinusoids
from ritornello.layers.ring import RingCache
from ritornello.layers.transformer import CausalAttention, pieces, relative_scores, segments, with_previous
from ritornello.models.sequence import SequenceConfig, SequenceLM


class Config(SequenceConfig):
    """What a Transformer-XL is."""

    bar_and_beat: bool = False
    """The method's own positions are its distances."""
    segment: int = 512
    """Tokens of a segment, and of the memory."""


class RecurrentAttention(CausalAttention):
    """Attention to the own segment so far and the whole one before it, which learns nothing from this one."""

    def __init__(self, config: Config) -> None:
        super().__init__(config.width, config.heads)
        size = config.width // config.heads
        self.segment = config.segment
        self.position = nn.Linear(config.width, config.width, bias=False)
        # u and v of the paper; of three dimensions, since they are vectors, not matrices to be orthogonalised.
        self.content_bias, self.position_bias = (nn.Parameter(torch.zeros(config.heads, 1, size)) for _ in "uv")

    def forward(self, x: Float[Tensor, "rows time width"]) -> Float[Tensor, "rows time width"]:
        q, k, v = map(self.split, self.project(x))
        if not torch.is_grad_enabled():
            return self.join(self.mix(q, k, v))
        _, past_k, past_v = map(self.split, self.project(x.detach()))
        return self.join(self._mix(q, k, v, past_k, past_v))

    def mix(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        return self._mix(queries, keys, values, keys, values)

    def _mix(self, queries: Tensor, keys: Tensor, values: Tensor, past_keys: Tensor, past_values: Tensor) -> Tensor:
        """The past is the same in value; the projections learn from it, what was projected does not."""
        time, length = queries.shape[2], min(self.segment, queries.shape[2])
        q, k, v, past_k, past_v = (segments(x, length) for x in (queries, keys, values, past_keys, past_values))
        k, v = with_previous(k, past_k), with_previous(v, past_v)
        distances = self.distances(2 * length)[:, None]
        scale, mixed = q.shape[-1] ** -0.5, []
        for p in pieces(length):
            sources = length + p.stop
            by_content, by_position = (
                (q[..., p, :] + bias[:, None]) * scale for bias in (self.content_bias, self.position_bias)
            )
            scores = relative_scores(by_content, by_position, k[..., :sources, :], distances[..., :sources, :])
            scores[:, :, 0, :, :length] = float("-inf")  # before the song there is nothing
            mixed.append(scores.softmax(-1) @ v[..., :sources, :])
        return torch.cat(mixed, dim=-2).flatten(2, 3)[:, :, :time]

    def distances(self, count: int) -> Float[Tensor, "heads count size"]:
        """The keys that stand for distances 0 to count - 1."""
        place = torch.arange(count, device=self.position.weight.device)
        projected = self.position(sinusoids(place, self.position.in_features))
        return projected.unflatten(1, (self.heads, -1)).transpose(0, 1)

    def recall(self, query: Tensor, key: Tensor, value: Tensor, layer: int, memory: SegmentMemory) -> Tensor:
        scale = query.shape[-1] ** -0.5
        bias = scale * (query[:, :, None] + self.position_bias) @ memory.relative[layer].mT
        bias = bias[:, :, 0].gather(2, memory.distance[:, None].expand(-1, self.heads, -1))
        reach = self.segment + memory.place % self.segment
        return memory.attend(layer, query + self.content_bias[:, 0], key, value, bias, reach)


class SegmentMemory(RingCache):
    """Keys and values of two segments; and the keys that stand for distances, which do not change in writing."""

    relative: list[Float[Tensor, "heads distances size"]]


class TransformerXL(SequenceLM):
    """Transformer-XL: see the module's docstring."""

    config: Config

    def attention(self) -> CausalAttention:
        return RecurrentAttention(self.config)

    @torch.no_grad()
    def memory(self, rows: int, layers: int, heads: int, size: int, like: Tensor) -> SegmentMemory:
        memory = SegmentMemory(rows, layers, heads, size, 2 * self.config.segment, like)
        attentions = [cast(RecurrentAttention, block.attention) for block in self.layers]
        memory.relative = [attention.distances(2 * self.config.segment) for attention in attentions]
        return memory
