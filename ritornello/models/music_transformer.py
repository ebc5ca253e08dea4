"""Music Transformer (Huang et al. 2018): full attention that knows how far back each token lies, trained on chunks.

A learned vector for every distance is added to each key (Eq. 3), by the memory-efficient skewing (section 3.4.1).
Songs are too long to train on whole: as in the Museformer paper (section 4.1), training cuts them into chunks, each on
its own, while scoring and writing attend to the whole song. Distances that no chunk has are taken for its longest one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ritornello.layers.ring import RingCache
from ritornello.layers.transformer import CausalAttention, pieces, relative_scores, segments
from ritornello.models.sequence import SequenceConfig, SequenceLM


class Config(SequenceConfig):
    """What a Music Transformer is."""

    bar_and_beat: bool = False
    """The method's own positions are its distances."""
    chunk: int = 2048
    """Tokens of the chunks it is trained on (section 4.2 of its paper: crops of 2,048)."""


class RelativeAttention(CausalAttention):
    """Causal attention with learned vectors for distances 0 to `chunk` - 1, each head its own."""

    def __init__(self, config: Config) -> None:
        super().__init__(config.width, config.heads)
        size = config.width // config.heads
        self.chunk = config.chunk
        self.distance = nn.Parameter(torch.randn(config.heads, config.chunk, size) * size**-0.5)

    def mix(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        time = queries.shape[2]
        length = min(self.chunk, time) if self.training else time
        q, k, v = (segments(x, length).transpose(1, 2) for x in (queries, keys, values))
        distances = self.distance[:, torch.arange(length, device=q.device).clamp(max=self.chunk - 1)]
        mixed = []
        for p in pieces(length):
            queries = q[..., p, :] * q.shape[-1] ** -0.5
            scores = relative_scores(queries, queries, k[..., : p.stop, :], distances[:, : p.stop])
            mixed.append(scores.softmax(-1) @ v[..., : p.stop, :])
        return torch.cat(mixed, dim=-2).transpose(1, 2).flatten(2, 3)[:, :, :time]

    def recall(self, query: Tensor, key: Tensor, value: Tensor, layer: int, memory: RingCache) -> Tensor:
        by_distance = query[:, :, None] * query.shape[-1] ** -0.5 @ self.distance.transpose(-1, -2)
        back = memory.distance.clamp(max=self.chunk - 1)[:, None].expand(-1, self.heads, -1)
        return memory.attend(layer, query, key, value, by_distance[:, :, 0].gather(2, back))


class MusicTransformer(SequenceLM):
    """Music Transformer: see the module's docstring."""

    config: Config

    def attention(self) -> CausalAttention:
        return RelativeAttention(self.config)

    def memory(self, rows: int, layers: int, heads: int, size: int, like: Tensor) -> RingCache:
        return RingCache(rows, layers, heads, size, self.config.chunk, like, grows=True)
