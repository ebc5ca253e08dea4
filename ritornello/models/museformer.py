"""Museformer (Yu et al. 2022): a Transformer with fine- and coarse-grained attention over the bars of a song.

A token attends to all tokens of the structure-related bars (1, 2, 4, 8 … bars ago) and to one summary of each other
earlier bar. Section numbers are the paper's. The defaults are the paper's configuration; `configs/` holds the one that
ships, which turns positions into rotations, carries the last tokens along, and knows how many bars are left.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask
from typing_extensions import Self

from ritornello.data.batch import TokenBatch
from ritornello.layers import flexible
from ritornello.layers.attention import masked_attention, related_mask, summary_mask
from ritornello.layers.barwise import BarPlan, aggregate, summarise
from ritornello.layers.cache import BarCache, BarWindow, gone_on_with
from ritornello.layers.habits import Habits, Memory
from ritornello.layers.positions import angles_at, rotary_angles, rotate, sinusoids
from ritornello.layers.transformer import Heads, PreNormBlock
from ritornello.models.base import DecoderConfig, DecoderLM, Packed
from ritornello.representations.vocabulary import Vocabulary
from ritornello.sampling.autoregress import Token


class Config(DecoderConfig):
    """What a Museformer is."""

    offsets: tuple[int, ...] = (1, 2, 4, 8, 12, 16, 24, 32)
    """The structure-related bars, as distances back from the current bar (section 3.3)."""
    fine: bool = True
    """Off: no earlier bar is seen whole, only through its summary (section 4.3, last ablation)."""
    coarse: bool = True
    """Off: no summaries (section 4.3, "w/o coarse-grained")."""
    positions: Literal["embedded", "rotary"] = "embedded"
    """Bar and beat embeddings joined to the input (section 3.2), or queries and keys turned by bar and position."""
    habits: bool = False
    """Lean towards what each instrument did before in the same context (`layers/habits.py`)."""
    dense: bool = False
    """Compute attention under n × n masks instead of bar by bar: the oracle. Same values, quadratic cost."""

    @property
    def planned(self) -> bool:
        """What has habits keeps them, and needs to be told where music is new."""
        return self.habits

    @property
    def few(self) -> int:
        """With habits, eight would be so few that songs run in circles."""
        return 12 if self.habits else super().few


@dataclass
class Context:
    """What the layers share about one batch: the plan of attention, and every token's and summary's place."""

    packed: Packed
    plan: BarPlan
    token_angles: tuple[Tensor, Tensor] | None
    summary_angles: tuple[Tensor, Tensor] | None
    blocks: BlockMask | None  # on a GPU: the plan as FlexAttention wants it
    record: list[tuple[Tensor, Tensor, Tensor, Tensor]] = field(default_factory=list)


class FineCoarseAttention(Heads):
    """FC-attention (section 3.2): summarise each bar, then aggregate fine and coarse context for each token."""

    def __init__(self, config: Config) -> None:
        super().__init__(config.width, config.heads)
        self.config = config
        # Keys and values of the updated summaries (Eq. 3): projections of their own, as in the reference.
        if config.coarse:
            self.summary_key, self.summary_value = (nn.Linear(config.width, config.width, bias=False) for _ in "kv")

    def project_summary(self, updated: Float[Tensor, "s heads size"]) -> tuple[Tensor, Tensor]:
        flat, shape = updated.flatten(1), updated.shape
        return self.summary_key(flat).view(shape), self.summary_value(flat).view(shape)

    def forward(self, x: Float[Tensor, "tokens_and_summaries width"], context: Context) -> Tensor:
        count = len(context.packed.ids)
        q, k, v = self.project(x)
        token, summary = slice(0, count), slice(count, None)
        if context.token_angles and context.summary_angles:
            angles = [torch.cat(pair) for pair in zip(context.token_angles, context.summary_angles, strict=True)]
            q, k = rotate(q, *angles), rotate(k, *angles)
        if self.config.coarse:
            updated = self._summarise(q[summary], k[summary], v[summary], k[token], v[token], context)
            summary_key, summary_value = self.project_summary(updated)
            if context.summary_angles:
                summary_key = rotate(summary_key, *context.summary_angles)
        else:
            updated = summary_key = summary_value = q[summary]  # empty: there are no summaries
        context.record.append((k[token], v[token], summary_key, summary_value))
        mixed = self._aggregate(q[token], k[token], v[token], summary_key, summary_value, context)
        return self.out(torch.cat([mixed, updated]).flatten(1))

    def _summarise(self, q: Tensor, own_k: Tensor, own_v: Tensor, k: Tensor, v: Tensor, context: Context) -> Tensor:
        if not self.config.dense:
            return summarise(q, own_k, own_v, k, v, context.plan.lengths)
        plan, packed = context.plan, context.packed
        of_bar = (plan.summary_rows[:, None] == packed.rows) & (plan.summary_bars[:, None] == packed.bars)
        itself = torch.eye(len(q), dtype=torch.bool, device=q.device)
        return masked_attention(q, torch.cat([k, own_k]), torch.cat([v, own_v]), torch.cat([of_bar, itself], 1))

    def _aggregate(self, q: Tensor, k: Tensor, v: Tensor, sk: Tensor, sv: Tensor, context: Context) -> Tensor:
        config, plan, packed = self.config, context.plan, context.packed
        if context.blocks is not None:
            return flexible.attend(q, k, v, sk, sv, context.blocks)
        if not config.dense:
            return aggregate(q, k, v, sk, sv, plan)
        mask = related_mask(packed.rows, packed.bars, config.offsets, config.fine)
        if config.coarse:
            seen = (packed.rows, packed.bars, plan.summary_rows, plan.summary_bars, config.offsets, config.fine)
            mask = torch.cat([mask, summary_mask(*seen)], dim=1)
        return masked_attention(q, torch.cat([k, sk]), torch.cat([v, sv]), mask)


class Block(PreNormBlock):
    """A block around FC-attention, over tokens and summaries alike."""

    attention: FineCoarseAttention

    def __init__(self, config: Config) -> None:
        super().__init__(FineCoarseAttention(config), config.width, config.feedforward, config.dropout, config.layers)

    def forward(self, x: Float[Tensor, "n width"], context: Context) -> Float[Tensor, "n width"]:
        x = x + self.dropout(self.attention(self.attention_norm(x), context))
        return x + self.feedforward(x)


class Places:
    """What a bar and a position add to the paper's input projection (section 3.2), worked out when first come to.

    The projection is linear: that of a token's embedding joined to its place is the sum of both projections.
    """

    def __init__(self, place: nn.Linear) -> None:
        self.weight, self.bias = place.weight[:, place.out_features :], place.bias
        self.known: dict[tuple[int, int], Tensor] = {}

    def __call__(self, bars: list[int], positions: list[int]) -> Float[Tensor, "rows width"]:
        return torch.stack([self._at(*place) for place in zip(bars, positions, strict=True)])

    def _at(self, bar: int, position: int) -> Float[Tensor, " width"]:
        if (bar, position) not in self.known:
            number = torch.tensor([bar, position], device=self.bias.device)
            sines = torch.cat([sinusoids(number[:1], 256), sinusoids(number[1:], 128)], dim=1)
            self.known[bar, position] = (sines @ self.weight.T)[0] + self.bias
        return self.known[bar, position]


class Cache(BarCache):
    """What the songs that are being written have behind them, and where their next tokens may stand."""

    def __init__(self, bars: BarCache, places: Places | None, heard: list[Memory]) -> None:
        super().__init__(bars.songs, bars.carried, bars.joined, bars.step)
        self.places = places
        self.heard = heard  # of each song, where the model has habits

    def keep(self, rows: list[int]) -> None:
        super().keep(rows)
        self.heard = gone_on_with(self.heard, rows) if self.heard else []

    def join(self, other: Self) -> None:
        super().join(other)
        self.heard = [*self.heard, *other.heard]


class Museformer(DecoderLM):
    """Museformer: see the module's docstring. Raises ConfigError where width is no multiple of heads."""

    config: Config
    divisible = True

    def __init__(self, config: Config, vocabulary: Vocabulary) -> None:
        super().__init__(config, vocabulary)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.summary = nn.Parameter(torch.randn(config.width) * 0.1) if config.coarse else None
        self.habits = Habits(vocabulary) if config.habits else None
        if config.positions == "embedded":
            # Section 3.2: bar (256) and beat (128) embeddings are concatenated, then projected.
            self.place = nn.Linear(config.width + 256 + 128, config.width)
            self.summary_place = nn.Linear(config.width + 256, config.width) if config.coarse else None

    @property
    def layers(self) -> list[Block]:
        return cast(list[Block], list(self.blocks))

    def contextualise(self, packed: Packed) -> Float[Tensor, "tokens width"]:
        return self._run(packed)[0]

    def predict(self, packed: Packed) -> Float[Tensor, "tokens vocabulary"]:
        logits = super().predict(packed)
        return self.habits(logits, packed.songs()) if self.habits else logits

    def _run(self, packed: Packed) -> tuple[Float[Tensor, "tokens width"], Context]:
        config = self.config
        plan = BarPlan.make(packed.rows, packed.bars, config.offsets, config.coarse, config.fine)
        x = self._input(self.embedding(packed), packed.bars, packed.positions)
        summaries = self._summary_input(plan.summary_bars) if config.coarse else x[:0]
        blocks = None
        if x.is_cuda and not config.dense:
            blocks = flexible.block_mask(plan, packed.rows, packed.bars, config.offsets, config.fine)
        context = Context(packed, plan, *self._angles(packed, plan), blocks)
        x = torch.cat([x, summaries])
        for block in self.layers:
            x = block(x, context)
        return x[: len(packed.ids)], context

    def _input(self, x: Tensor, bars: Int[Tensor, " n"], positions: Int[Tensor, " n"]) -> Float[Tensor, "n width"]:
        if self.config.positions == "rotary":
            return x
        return self.place(torch.cat([x, sinusoids(bars, 256), sinusoids(positions, 128)], dim=1))

    def _summary_input(self, bars: Int[Tensor, " n"]) -> Float[Tensor, "n width"]:
        assert self.summary is not None
        x = self.summary.expand(len(bars), -1)
        if self.config.positions == "rotary":
            return x
        return self.summary_place(torch.cat([x, sinusoids(bars, 256)], dim=1))  # pyright: ignore[reportOptionalCall]

    def _angles(
        self, packed: Packed, plan: BarPlan
    ) -> tuple[tuple[Tensor, Tensor] | None, tuple[Tensor, Tensor] | None]:
        if self.config.positions == "embedded":
            return None, None
        size = self.config.width // self.config.heads
        of_summaries = plan.summary_bars if self.config.coarse else plan.summary_bars[:0]
        return (
            rotary_angles(packed.bars, packed.positions, size),
            rotary_angles(of_summaries, torch.zeros_like(of_summaries), size),
        )

    # Writing: one token at a time, with a cache of what can still be reached.

    @torch.no_grad()
    def cache(self, rows: int) -> Cache:
        config, like = self.config, self.head.weight.detach()
        step = self.compiled_step(self.layers, config.heads)
        like = like.to(step.cache_dtype) if step else like
        sizes = (config.layers, config.heads, config.width // config.heads, config.offsets if config.fine else ())
        joined = [block.attention.joined().detach() for block in self.layers]
        carried, places = self.embedding.nothing(rows), None
        if config.positions == "embedded" and not config.recall:  # what is recalled is in no table
            carried.table = carried.table @ self.place.weight[:, : config.width].T
            places = Places(self.place)
        bars = BarCache([BarWindow(*sizes, like) for _ in range(rows)], carried, joined, step)
        return Cache(bars, places, [Memory(self.habits.events) for _ in range(rows)] if self.habits else [])

    @torch.no_grad()
    def prefill(self, batch: TokenBatch, cache: Cache) -> Float[Tensor, "rows vocabulary"]:
        """Read prompts at once into an empty cache; logits of the token after each row's last."""
        packed = Packed(batch)
        hidden, context = self._run(packed)
        tokens = torch.stack([torch.stack([k, v]) for k, v, _, _ in context.record]).transpose(2, 3)
        summaries = torch.stack([torch.stack([k, v]) for _, _, k, v in context.record]).transpose(2, 3)
        cache.read(context.plan, tokens, summaries if self.config.coarse else None)
        cache.carried = self.embedding.carried(packed, cache.carried)
        logits = self.head(self.norm(hidden[batch.lengths.cumsum(0) - 1]))
        if self.habits is None:
            return logits
        cache.heard = [Memory(self.habits.events, np.concatenate(song)) for song in packed.songs()]
        return self.habits.following(logits, cache.heard)

    @torch.no_grad()
    def advance(self, token: Token, cache: Cache) -> Float[Tensor, "rows vocabulary"]:
        """Write one token in every row; logits of the next. The cost does not grow with the songs' length."""
        bars, positions = token.bars.tolist(), token.positions.tolist()
        cache.enter(bars, lambda song: self._finish_bar(song, cache))
        x, cache.carried = self.embedding.following(token, cache.carried)
        x = x + cache.places(bars, positions) if cache.places else self._input(x, token.bars, token.positions)
        angles = None
        if self.config.positions == "rotary":
            angles = angles_at(bars, positions, self.config.width // self.config.heads, x.device)
        logits = cache.step(x, cache.songs, angles) if cache.step else self.plain_step(x, cache, angles)
        cache.advance()
        if self.habits is None:
            return logits
        for memory, id in zip(cache.heard, token.ids.tolist(), strict=True):
            memory.add(id)
        return self.habits.following(logits, cache.heard)

    def plain_step(
        self, x: Tensor, cache: BarCache, angles: tuple[Tensor, Tensor] | None, added: Tensor | float = 0.0
    ) -> Tensor:
        """What the compiled step computes (see `Step.__call__`), by PyTorch."""
        for layer, block in enumerate(self.layers):
            x = x + added
            q, k, v = block.attention.project(block.attention_norm(x), cache.joined[layer])
            if angles:
                q, k = rotate(q, *angles), rotate(k, *angles)
            x = x + block.attention.out(cache.attend(layer, q, k, v).flatten(1))
            x = x + block.feedforward(x)
        return self.head(self.norm(x))

    def _finish_bar(self, song: BarWindow, cache: BarCache) -> Float[Tensor, "layers 2 heads 1 size"] | None:
        """The summary of the bar that a song has just completed (Eq. 2), through all layers."""
        if not self.config.coarse:
            return None
        bar = torch.tensor([song.bar], device=self.head.weight.device)
        x, own = self._summary_input(bar), song.own_bar().to(self.head.weight.dtype)
        angles = None
        if self.config.positions == "rotary":
            angles = rotary_angles(bar, torch.zeros_like(bar), self.config.width // self.config.heads)
        kept = []
        for layer, block in enumerate(self.layers):
            q, k, v = block.attention.project(block.attention_norm(x), cache.joined[layer])
            if angles:
                q, k = rotate(q, *angles), rotate(k, *angles)
            keys = torch.cat([own[layer, 0].transpose(0, 1), k])
            values = torch.cat([own[layer, 1].transpose(0, 1), v])
            updated = masked_attention(q, keys, values, torch.ones(1, len(keys), dtype=torch.bool, device=q.device))
            summary_key, summary_value = block.attention.project_summary(updated)
            kept.append(torch.stack([rotate(summary_key, *angles) if angles else summary_key, summary_value]))
            x = x + block.attention.out(updated.flatten(1))
            x = x + block.feedforward(x)
        return torch.stack(kept).transpose(2, 3)
