"""A plain Transformer block with rotary positions, over the past or over all.

For sequences of some thousand steps; `barwise` is for longer ones. Positions are rotations (see `positions`), so that a
block knows how far apart two steps are and not where they stand.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ritornello.layers.positions import rotate
from ritornello.layers.ring import RingCache

Angles = tuple[Tensor, Tensor]  # cosine and sine, [..., half a head's size] each


class Block(nn.Module):
    """Attention to oneself and the past, then a feed-forward network, each on a normalised residual."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float, layers: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.feedforward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.expand, self.contract = nn.Linear(width, feedforward), nn.Linear(feedforward, width)
        self.dropout = nn.Dropout(dropout)
        for last in (self.out, self.contract):  # the residual keeps its scale however deep the model
            nn.init.normal_(last.weight, std=0.5 * last.in_features**-0.5 / layers**0.5)

    def forward(
        self,
        x: Float[Tensor, "batch time width"],
        angles: Angles,
        record: list[tuple[Tensor, Tensor]] | None = None,
        causal: bool = True,
    ) -> Float[Tensor, "batch time width"]:
        """All steps at once; with `record`, keys and values [batch, heads, time, size] are left there."""
        q, k, v = self._project(self.attention_norm(x), angles)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        if record is not None:
            record.append((k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        x = x + self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))
        return x + self.feedforward(x)

    def step(
        self, x: Float[Tensor, "rows width"], angles: Angles, cache: RingCache, layer: int
    ) -> Float[Tensor, "rows width"]:
        """One step more in each row."""
        q, k, v = (part[:, 0] for part in self._project(self.attention_norm(x)[:, None], angles))
        x = x + self.out(cache.attend(layer, q, k, v).flatten(1))
        return x + self.feedforward(x)

    def feedforward(self, x: Float[Tensor, "... width"]) -> Float[Tensor, "... width"]:
        return self.dropout(self.contract(F.gelu(self.expand(self.feedforward_norm(x)))))

    def _project(self, x: Float[Tensor, "batch time width"], angles: Angles) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, [batch, time, heads, size] each; queries and keys turned by their place."""
        batch, time, width = x.shape
        qkv = self.qkv(x).view(batch * time, 3, self.heads, width // self.heads)
        q, k = (rotate(qkv[:, i], *angles).view(batch, time, self.heads, -1) for i in (0, 1))
        return q, k, qkv[:, 2].reshape(batch, time, self.heads, -1)
