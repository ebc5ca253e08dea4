"""MuseMorphose (Wu and Yang 2021): a latent for every bar of a song, and a decoder that plays by them.

A Transformer reads each bar by itself and says where in a latent space the bar lies (μ, σ). A causal Transformer writes
the song again under segment-level conditions: in bar k it is told c_k = [z_k; rhythm class; polyphony class]. Ask for
other classes and the song keeps its notes' drift but changes its feel. Section numbers are the paper's.

What differs from the reference, each a setting where it can be: norms come first, positions turn queries and keys (by
bar and place in it), the decoder sees the last `window` bars, so that a token costs the same in the first bar of a song
and in the last, and `progress` tells it how far the bar has come towards what is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import Self

from ritornello.data.batch import TokenBatch, collate
from ritornello.layers.barwise import BarPlan, aggregate
from ritornello.layers.cache import BarCache, BarWindow, gone_on_with
from ritornello.layers.latent import AutoregressivePrior, cyclical, gaussian_kl
from ritornello.layers.positions import angles_at, rotary_angles, rotate
from ritornello.layers.segments import Segments, attend_within
from ritornello.layers.texture import Counter, Ruler
from ritornello.layers.transformer import Heads, PreNormBlock
from ritornello.models.base import DecoderConfig, DecoderLM, Packed
from ritornello.models.directed import Directed
from ritornello.music.attributes import class_bounds
from ritornello.representations.base import Tokens
from ritornello.representations.vocabulary import EOS, Vocabulary
from ritornello.sampling.autoregress import Token

CLASSES = 8  # of each attribute (section III-C); one more stands for "as you like"
ATTRIBUTES = 2  # rhythmic intensity, polyphony
FINENESS = (32, 4)  # steps of one in which progress is told: of rhythmic intensity, of polyphony
MOST = 48  # of these steps
MOST_BARS = 512  # that are drawn from the prior for a song that ends where it wants to


class Config(DecoderConfig):
    """What a MuseMorphose is; sizes are the paper's (section IV-B)."""

    layers: int = 12
    encoder_layers: int = 12
    latent: int = Field(128, ge=1)
    """Numbers in a bar's latent."""
    attribute_width: int = Field(64, ge=1)
    """Numbers in which a class is told."""
    conditioning: Literal["in", "pre", "post"] = "in"
    """Where conditions enter the decoder: before every layer, only the first, or after the last (section III-A)."""
    window: int = Field(16, ge=1)
    """Bars before its own that a token of the decoder sees."""
    progress: bool = False
    """Tell the decoder how far the bar has come: its rhythmic intensity and polyphony so far."""
    beta: float = Field(1.0, ge=0)
    """Weight of the KL term; 1 is the evidence lower bound."""
    beta_from: int = Field(10_000, ge=0)
    """Steps without a KL term."""
    beta_cycle: int = Field(5_000, ge=1)
    """Steps of one cycle from then on: β rises during the first half, and stays during the second."""
    free_bits: float = Field(0.25, ge=0)
    """Nats a bar that each number of the latent may hold at no cost."""
    unconditioned: float = Field(0.0, ge=0, lt=1)
    """Share of songs that learn without classes, and as large a share without any condition: what guidance needs."""


class Block(PreNormBlock):
    """A block in two halves, around whichever attention the encoder, the decoder or writing computes."""

    attention: Heads

    def __init__(self, config: Config, layers: int) -> None:
        heads = Heads(config.width, config.heads)
        super().__init__(heads, config.width, config.feedforward, config.dropout, layers)

    def project(
        self, x: Float[Tensor, "n width"], angles: tuple[Tensor, Tensor], joined: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, [n, heads, size] each, turned by where the tokens stand."""
        q, k, v = self.attention.project(self.attention_norm(x), joined)
        return rotate(q, *angles), rotate(k, *angles), v

    def attended(self, x: Float[Tensor, "n width"], mixed: Float[Tensor, "n heads size"]) -> Float[Tensor, "n width"]:
        """What the block makes of x and of the heads' result."""
        x = x + self.dropout(self.attention.out(mixed.flatten(1)))
        return x + self.feedforward(x)


class Cache(BarCache):
    """What the songs that are being written have behind them, and what they are told of the bars to come."""

    def __init__(self, bars: BarCache, told: Float[Tensor, "rows bars width"], counters: list[Counter]) -> None:
        super().__init__(bars.songs, bars.carried, bars.joined, bars.step)
        self.told, self.counters = told, counters

    def keep(self, rows: list[int]) -> None:
        super().keep(rows)
        self.told = self.told[rows]
        self.counters = gone_on_with(self.counters, rows)

    def join(self, other: Self) -> None:
        super().join(other)
        self.told = torch.cat([self.told, other.told])
        self.counters = [*self.counters, *other.counters]


class MuseMorphose(DecoderLM):
    """MuseMorphose: see the module's docstring.

    Without conditions (`forward`, `token_nats`, an untouched cache) it is a plain language model, as far as it has
    learned to be one (`unconditioned`).
    """

    config: Config
    divisible = True

    def __init__(self, config: Config, vocabulary: Vocabulary) -> None:
        super().__init__(config, vocabulary)
        self.encoder_blocks = nn.ModuleList(Block(config, config.encoder_layers) for _ in range(config.encoder_layers))
        self.blocks = nn.ModuleList(Block(config, config.layers) for _ in range(config.layers))
        self.encoder_norm = nn.LayerNorm(config.width)
        self.to_mean, self.to_log_variance = (nn.Linear(config.width, config.latent) for _ in range(2))
        self.classes = nn.ModuleList(nn.Embedding(CLASSES + 1, config.attribute_width) for _ in range(ATTRIBUTES))
        self.condition = nn.Linear(config.latent + ATTRIBUTES * config.attribute_width, config.width, bias=False)
        nn.init.normal_(self.condition.weight, std=0.02)
        self.pre = nn.Linear(config.width, config.width) if config.conditioning == "pre" else None
        self.progress = None
        if config.progress:
            self.progress = nn.ModuleList(nn.Embedding(MOST, config.width) for _ in range(ATTRIBUTES))
            for table in self.progress:
                nn.init.normal_(cast(nn.Embedding, table).weight, std=0.1)
        self.ruler = Ruler(vocabulary)
        # Not learned by gradient: the bounds between classes, in thousandths, and the prior that songs are drawn from.
        self.register_buffer("bounds", torch.zeros(ATTRIBUTES, CLASSES - 1))
        self.bounds: Tensor
        self.prior = AutoregressivePrior(config.latent + ATTRIBUTES)

    @property
    def decoder_blocks(self) -> list[Block]:
        return cast(list[Block], list(self.blocks))

    # What the corpus decides

    def begin(self, songs: Sequence[Tokens]) -> None:
        """Take the bounds between classes from the bars of a corpus: as many bars in each class as in any other."""
        values = np.concatenate([songs[i].attributes for i in range(len(songs))])
        self.bounds.copy_(torch.from_numpy(np.stack([class_bounds(column, CLASSES) for column in values.T])))

    @torch.no_grad()
    def conclude(self, songs: Iterable[Sequence[Tokens]]) -> None:
        """Fit the prior over the bars of whole songs (batches of them): mean, spread, and how a bar follows another."""
        device = self.bounds.device
        self.prior.fit(self._paths(collate(batch).to(device)) for batch in songs)

    def _paths(self, batch: TokenBatch) -> list[tuple[Tensor, Tensor]]:
        """Of each song, [latent and attributes] of its bars, and the variances that the encoder adds to them."""
        packed = Packed(batch)
        segments = Segments.make(packed.rows, packed.bars)
        mean, log_variance = self._encode(packed, segments)
        attributes = batch.attributes[segments.rows, segments.bars].float() / 1000
        values = torch.cat([mean, attributes], 1)
        noise = torch.cat([log_variance.exp(), torch.zeros_like(attributes)], 1)
        return [(values[segments.rows == row], noise[segments.rows == row]) for row in range(len(batch))]

    def classify(self, attributes: Int[Tensor, "*bars 2"]) -> Int[Tensor, "*bars 2"]:
        """Attributes in thousandths → classes 0 to 7: how many bounds lie below (section III-C)."""
        return (attributes[..., None] > self.bounds).sum(-1)

    # The encoder

    @torch.no_grad()
    def encode(self, batch: TokenBatch) -> tuple[Float[Tensor, "rows bars latent"], Float[Tensor, "rows bars latent"]]:
        """Mean and standard deviation of every bar's latent, from each row's first bar on; 0 past its last."""
        packed = Packed(batch)
        segments = Segments.make(packed.rows, packed.bars)
        mean, log_variance = self._encode(packed, segments)
        shape = (len(batch), int(segments.bars.max()) + 1, self.config.latent)
        result = mean.new_zeros((2, *shape))
        result[:, segments.rows, segments.bars] = torch.stack([mean, (0.5 * log_variance).exp()])
        return result[0], result[1]

    def _encode(self, packed: Packed, segments: Segments) -> tuple[Tensor, Tensor]:
        """Mean and log variance of every segment's latent, [segments, latent] (section III-B), in float32."""
        inside = packed.ids > EOS  # a song's first and last token are no part of its bars
        of = segments.of[inside]
        lengths = torch.bincount(of, minlength=len(segments.rows))
        place = torch.arange(len(of), device=of.device) - (lengths.cumsum(0) - lengths)[of]
        x = self.embedding.token(packed.ids[inside])
        at = torch.zeros_like(of)
        angles = rotary_angles(at, packed.positions[inside], self.config.width // self.config.heads)
        for block in cast(list[Block], list(self.encoder_blocks)):
            q, k, v = block.project(x, angles)
            x = block.attended(x, attend_within(q, k, v, of, place, lengths))
        summary = self.encoder_norm(x[lengths.cumsum(0) - lengths])
        with torch.autocast(x.device.type, enabled=False):
            summary = summary.float()
            return self.to_mean(summary), self.to_log_variance(summary).clamp(-12, 4)

    # The decoder

    def tell(self, latents: Float[Tensor, "*bars latent"], classes: Int[Tensor, "*bars 2"]) -> Tensor:
        """What the decoder is told of each bar, [*bars, width]. A class of -1 is "as you like"."""
        classes = torch.where(classes < 0, CLASSES, classes)
        told = [table(classes[..., i]) for i, table in enumerate(self.classes)]
        return self.condition(torch.cat([latents, *told], dim=-1))

    def untold(self, *shape: int) -> tuple[Tensor, Tensor]:
        """Latents and classes that say nothing."""
        device = self.head.weight.device
        latents = torch.zeros((*shape, self.config.latent), device=device)
        return latents, torch.full((*shape, ATTRIBUTES), -1, device=device)

    def contextualise(self, packed: Packed) -> Float[Tensor, "tokens width"]:
        told = self.tell(*self.untold(1)).expand(len(packed.ids), -1)
        return self._decode(packed, told)

    def _decode(self, packed: Packed, told: Float[Tensor, "tokens width"], record: list | None = None) -> Tensor:
        texture = None
        if self.progress is not None:
            fields = (packed.ids, packed.rows, packed.bars, packed.positions)
            texture = torch.from_numpy(self.ruler.texture(*(f.cpu().numpy() for f in fields))).to(packed.ids.device)
        x = self._input(self.embedding(packed), texture, told)
        plan = BarPlan.make(packed.rows, packed.bars, self._reach, coarse=False)
        angles = rotary_angles(packed.bars, packed.positions, self.config.width // self.config.heads)
        for block in self.decoder_blocks:
            x = self._told_within(x, told)
            q, k, v = block.project(x, angles)
            if record is not None:
                record.append(torch.stack([k, v]))
            x = block.attended(x, aggregate(q, k, v, q[:0], q[:0], plan))
        return self._told_after(x, told)

    @property
    def _reach(self) -> tuple[int, ...]:
        return tuple(range(1, self.config.window + 1))

    def _input(self, x: Tensor, texture: Tensor | None, told: Tensor) -> Tensor:
        if self.progress is not None and texture is not None:
            for table, values, fineness in zip(self.progress, texture.unbind(-1), FINENESS, strict=True):
                x = x + table((values * fineness).round().long().clamp(max=MOST - 1))
        return x if self.pre is None else self.pre(x) + told  # = W [x; c], written as a sum

    def _told_within(self, x: Tensor, told: Tensor) -> Tensor:
        return x + told if self.config.conditioning == "in" else x

    def _told_after(self, x: Tensor, told: Tensor) -> Tensor:
        return x + told if self.config.conditioning == "post" else x

    def loss(self, batch: TokenBatch, step: int = 0, player: str = "model") -> dict[str, Tensor]:
        """-ELBO a token, with β and free bits λ (section III-D), over T predicted tokens and B bars:

            1/T Σ_t -log p(x_t | x_<t, c) + β B/T Σ_d max(λ, KL_d),  KL_d the mean over the B bars.

        At β = 1 and λ = 0 this is the bound itself, divided by T. (The reference has the mean over the D = 128
        numbers d in place of their sum, and no B/T: its β is ours times D B / T, with 80 tokens a bar 1.6.)
        """
        packed = Packed(batch)
        packed.countdown = torch.zeros_like(packed.countdown)
        segments = Segments.make(packed.rows, packed.bars)
        mean, log_variance = self._encode(packed, segments)
        latents, classes = mean, torch.full((len(segments.rows), ATTRIBUTES), -1, device=mean.device)
        if batch.attributes.shape[-1]:
            classes = self.classify(batch.attributes[segments.rows, segments.bars])
        told_latent = torch.ones(len(mean), dtype=torch.bool, device=mean.device)
        if self.training:
            latents = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
            drawn = torch.rand(len(batch), device=mean.device)[segments.rows]
            told_latent = drawn >= self.config.unconditioned
            classes = torch.where((drawn >= 2 * self.config.unconditioned)[:, None], classes, -1)
        told = self.tell(latents * told_latent[:, None], classes)[segments.of]
        hidden = self.norm(self._decode(packed, told))
        follows = packed.rows[1:] == packed.rows[:-1]
        logits = self.head(hidden[:-1][follows]).float()
        nats = F.cross_entropy(logits, packed.ids[1:][follows])
        divergence = gaussian_kl(mean, log_variance)
        divergence = (divergence * told_latent[:, None]).sum(0) / told_latent.sum().clamp(min=1)
        beta = self.config.beta * cyclical(step, self.config.beta_from, self.config.beta_cycle)
        cost = told_latent.sum() / len(logits) * divergence.clamp(min=self.config.free_bits).sum()
        return {"loss": nats + beta * cost, "nats": nats, "kl_a_bar": divergence.sum(), "beta": nats.new_tensor(beta)}

    # Writing: one token at a time, with a cache of what can still be reached.

    def cache(self, rows: int) -> Cache:
        config, like = self.config, self.head.weight.detach()
        step = None if config.conditioning == "post" else self.compiled_step(self.decoder_blocks, config.heads)
        like = like.to(step.cache_dtype) if step else like
        sizes = (config.layers, config.heads, config.width // config.heads, self._reach)
        joined = [block.attention.joined().detach() for block in self.decoder_blocks]
        bars = BarCache([BarWindow(*sizes, like) for _ in range(rows)], self.embedding.nothing(rows), joined, step)
        told = self.tell(*self.untold(rows, 1)).detach()
        return Cache(bars, told, [Counter(self.ruler) for _ in range(rows)])

    @torch.no_grad()
    def direct(
        self, cache: Cache, latents: Float[Tensor, "rows bars latent"], classes: Int[Tensor, "rows bars 2"]
    ) -> None:
        """Say what the bars are to be, from bar 0 on; a song's later bars are told what its last one here is."""
        cache.told = self.tell(latents, classes)

    @torch.no_grad()
    def player(self, prompt: TokenBatch, seeds: Sequence[int], bars: int | None) -> Directed:
        """What the bars of new songs are to be is drawn from the prior, after those that the prompt has complete."""
        count = bars or MOST_BARS
        complete = int(prompt.bars[0, -1])
        begun = [None] * len(seeds)
        if complete:
            begun = [path[0][:complete].cpu() for path in self._paths(prompt)]
        paths = [
            torch.cat([*([] if own is None else [own]), self.prior.draw(count - complete, seed, own)])
            for own, seed in zip(begun, seeds, strict=True)
        ]
        drawn = torch.stack(paths).to(prompt.ids.device)
        latents, attributes = drawn.split([self.config.latent, ATTRIBUTES], -1)
        return Directed(self, latents, self.classify((1000 * attributes).round().long()))

    @torch.no_grad()
    def prefill(self, batch: TokenBatch, cache: Cache) -> Float[Tensor, "rows vocabulary"]:
        """Read prompts at once into an empty cache; logits of the token after each row's last."""
        packed = Packed(batch)
        told = cache.told[packed.rows, packed.bars.clamp(max=cache.told.shape[1] - 1)]
        record: list[Tensor] = []
        hidden = self._decode(packed, told, record)
        plan = BarPlan.make(packed.rows, packed.bars, (), coarse=False)
        cache.read(plan, torch.stack(record).transpose(2, 3), None)
        tokens = torch.stack([packed.rows, packed.ids, packed.bars, packed.positions], 1)
        for row, *token in tokens.tolist():
            cache.counters[row].read(*token)
        cache.carried = self.embedding.carried(packed, cache.carried)
        return self.head(self.norm(hidden[batch.lengths.cumsum(0) - 1]))

    @torch.no_grad()
    def advance(self, token: Token, cache: Cache) -> Float[Tensor, "rows vocabulary"]:
        """Write one token in every row; logits of the next. The cost does not grow with the songs' length."""
        ids, bars, positions, _ = token
        place = torch.stack([ids, bars, positions], 1).tolist()
        cache.enter([bar for _, bar, _ in place])
        reached = [counter.read(*token) for counter, token in zip(cache.counters, place, strict=True)]
        texture = torch.tensor(reached, device=ids.device)
        rows = torch.arange(len(ids), device=ids.device)
        told = cache.told[rows, bars.clamp(max=cache.told.shape[1] - 1)]
        x, cache.carried = self.embedding.following(token, cache.carried)
        x = self._input(x, texture, told)
        angles = angles_at(bars.tolist(), positions.tolist(), self.config.width // self.config.heads, x.device)
        if cache.step:
            logits = cache.step(x, cache.songs, angles, told if self.config.conditioning == "in" else None)
        else:
            logits = self._plain_step(x, told, angles, cache)
        cache.advance()
        return logits

    def _plain_step(self, x: Tensor, told: Tensor, angles: tuple[Tensor, Tensor], cache: Cache) -> Tensor:
        """What the compiled step computes, by PyTorch."""
        for layer, block in enumerate(self.decoder_blocks):
            x = self._told_within(x, told)
            q, k, v = block.project(x, angles, cache.joined[layer])
            x = block.attended(x, cache.attend(layer, q, k, v))
        return self.head(self.norm(self._told_after(x, told)))
