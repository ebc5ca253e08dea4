"""Music Transformer (Huang et al. 2018): full attention that knows how far back each token lies, trained on chunks.

A learned vector for every distance is added to each key (Eq. 3), by the memory-efficient skewing (section 3.4.1).
Songs are too long to train on whole: as in the Museformer paper (section 4.1), training cuts them into chunks, each on
its own, while scoring and writing attend to the whole song. Distances that no chunk has are taken for its longest one.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ritornello.layers.ring import RingCache
from ritornello.layers.transformer import CausalAttention, segments, skew
from ritornello.models.sequence import SequenceConfig, SequenceLM

QUERIES = 512  # that meet the whole song at a time, where it is not cut


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
        if self.training:
            q, k, v = (segments(x, min(self.chunk, time)).transpose(1, 2) for x in (queries, keys, values))
            return self._attend(q, k, v).transpose(1, 2).flatten(2, 3)[:, :, :time]
        pieces = [slice(start, min(start + QUERIES, time)) for start in range(0, time, QUERIES)]
        mixed = [self._attend(queries[:, :, p], keys[:, :, : p.stop], values[:, :, : p.stop]) for p in pieces]
        return torch.cat(mixed, dim=2)

    def _attend(
        self,
        q: Float[Tensor, "*batch heads targets size"],
        k: Float[Tensor, "*batch heads sources size"],
        v: Float[Tensor, "*batch heads sources size"],
    ) -> Float[Tensor, "*batch heads targets size"]:
        """Attention where the last target stands on the last source."""
        targets, sources = q.shape[-2], k.shape[-2]
        q = q * q.shape[-1] ** -0.5
        back = torch.arange(sources - 1, -1, -1, device=q.device).clamp(max=self.chunk - 1)
        scores = q @ k.transpose(-1, -2) + skew(q @ self.distance[:, back].transpose(-1, -2))
        future = torch.ones(targets, sources, dtype=torch.bool, device=q.device).triu(1 + sources - targets)
        return scores.masked_fill(future, float("-inf")).softmax(-1) @ v

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
