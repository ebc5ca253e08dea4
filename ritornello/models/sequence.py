"""The baselines' shell: Museformer's tokens, embeddings, sizes and feed-forward networks around another attention.

A family supplies the attention alone: songs are plain sequences to it, without bars.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ritornello.data.batch import TokenBatch
from ritornello.layers.positions import sinusoids
from ritornello.layers.transformer import Block, CausalAttention, Memory
from ritornello.models.base import Carried, DecoderConfig, DecoderLM, Packed
from ritornello.representations.vocabulary import Vocabulary
from ritornello.sampling.autoregress import Token


class SequenceConfig(DecoderConfig):
    """Sizes as Museformer's, so that two models differ in their attention alone."""

    bar_and_beat: bool = True
    """Join Museformer's embeddings of bar and position (section 3.2 of its paper) to the input."""


@dataclass
class SequenceCache:
    """What the attentions remember of each row, and what the embedding needs of earlier tokens."""

    memory: Memory
    carried: Carried

    def keep(self, rows: list[int]) -> None:
        """Go on with these rows only, in this order."""
        self.memory.keep(rows)
        self.carried = self.carried.keep(rows)


class SequenceLM(DecoderLM):
    """Pre-norm blocks over songs as plain sequences; a family says what its `attention` and its `memory` are."""

    config: SequenceConfig

    def __init__(self, config: SequenceConfig, vocabulary: Vocabulary) -> None:
        super().__init__(config, vocabulary)
        sizes = (config.width, config.feedforward, config.dropout, config.layers)
        self.blocks = nn.ModuleList(Block(self.attention(), *sizes) for _ in range(config.layers))
        self.place = nn.Linear(config.width + 256 + 128, config.width) if config.bar_and_beat else None

    def attention(self) -> CausalAttention:
        """The attention of one layer."""
        raise NotImplementedError

    def memory(self, rows: int, layers: int, heads: int, size: int, like: Tensor) -> Memory:
        """An empty memory for `rows` songs, of the kind and place of the tensor `like`."""
        raise NotImplementedError

    @property
    def layers(self) -> list[Block]:
        return cast(list[Block], list(self.blocks))

    def contextualise(self, packed: Packed) -> Float[Tensor, "tokens width"]:
        x = self._rectangle(packed)
        for block in self.layers:
            x = block(x)
        return x[packed.real[:, : x.shape[1]]]

    def _rectangle(self, packed: Packed) -> Float[Tensor, "rows time width"]:
        """The input, songs padded on the right: batches hold songs of like length."""
        x = self._input(self.embedding(packed), packed.bars, packed.positions)
        real = packed.real[:, : int(packed.lengths.max())]
        return x.new_zeros((*real.shape, x.shape[1])).masked_scatter(real[..., None], x)

    def _input(self, x: Tensor, bars: Int[Tensor, " n"], positions: Int[Tensor, " n"]) -> Float[Tensor, "n width"]:
        if self.place is None:
            return x
        return self.place(torch.cat([x, sinusoids(bars, 256), sinusoids(positions, 128)], dim=1))

    # Writing: one token at a time.

    def cache(self, rows: int) -> SequenceCache:
        config, like = self.config, self.head.weight.detach()
        memory = self.memory(rows, config.layers, config.heads, config.width // config.heads, like)
        return SequenceCache(memory, self.embedding.nothing(rows))

    @torch.no_grad()
    def prefill(self, batch: TokenBatch, cache: SequenceCache) -> Float[Tensor, "rows vocabulary"]:
        """Read prompts at once into an empty cache; logits of the token after each row's last."""
        packed = Packed(batch)
        x = self._rectangle(packed)
        for i, block in enumerate(self.layers):
            x = block.read(x, packed.lengths, i, cache.memory)
        cache.carried = self.embedding.carried(packed, cache.carried)
        return self.head(self.norm(x[torch.arange(len(x), device=x.device), packed.lengths - 1]))

    @torch.no_grad()
    def advance(self, token: Token, cache: SequenceCache) -> Float[Tensor, "rows vocabulary"]:
        """Write one token in every row; logits of the next."""
        x, cache.carried = self.embedding.following(token, cache.carried)
        x = self._input(x, token.bars, token.positions)
        for i, block in enumerate(self.layers):
            x = block.write(x, i, cache.memory)
        cache.memory.step()
        return self.head(self.norm(x))
