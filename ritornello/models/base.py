"""What every model is (`Model`), the shell that the token models share (`DecoderLM`), and the models of piano rolls
(`RollModel`), each with what one may ask of it (`Controls`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Int64
from pydantic import Field, model_validator
from torch import Tensor, nn
from typing_extensions import Self

from ritornello.config import Config
from ritornello.data.batch import TokenBatch
from ritornello.data.rolls import RollBatch
from ritornello.layers import step
from ritornello.layers.cache import gone_on_with
from ritornello.layers.recall import LENGTHS, Memory, recall
from ritornello.layers.step import Precision, Step
from ritornello.layers.transformer import PreNormBlock
from ritornello.representations.base import Roll, Tokens
from ritornello.representations.vocabulary import Vocabulary
from ritornello.sampling.autoregress import Token
from ritornello.sampling.noise import Noise

COUNTDOWN = 32  # bars left in the song are told up to this many; 0 means not known


class Model(nn.Module):
    """A model can be wrong: `loss` says how much, and `players` who moves how often in one training step."""

    players: ClassVar[dict[str, int]] = {"model": 1}

    def loss(self, batch: Any, step: int = 0, player: str = "model") -> dict[str, Tensor]:
        """Named terms of a batch; "loss" is what training makes small, the others are logged."""
        raise NotImplementedError

    def begin(self, songs: Sequence[Any]) -> None:
        """Take from a corpus what is known before the first step, such as the bounds between classes."""

    def conclude(self, songs: Iterable[Sequence[Tokens]]) -> None:
        """Fit to a corpus, given in batches, what follows from the trained weights, such as a prior over latents."""

    def after(self, step: int) -> None:
        """What is done once the weights have moved in training step `step`: a running mean of them, for example."""


class Controls(Config):
    """What a musician may ask of any model of piano rolls; a family adds its own. Flags are made of it."""

    seed: int = Field(0, ge=0, lt=2**31)
    """The same seed and wishes give the same piece; of several pieces, the next ones have the next seeds."""
    count: int = Field(1, ge=1, le=1024)
    """How many pieces, in one batch."""
    tempo: float = Field(80.0, ge=10, le=400)
    """Quarters a minute."""

    @property
    def files(self) -> tuple[Path, ...]:
        """MIDI files that `RollModel.sample` is to be given as rolls."""
        return ()


class RollModel(Model):
    """A model of piano rolls, such as a VAE, a GAN or a diffusion model. It can play, too: `sample`.

    A family's module holds its `Config`, its `Controls` and its model class, made as `model(config, tracks)`.
    """

    window: int | None = None
    """Steps of the windows that it learns from, where these are fixed; else the training's stages say."""
    bar: int | None = None
    """It learns only from bars of so many steps; None for any."""
    hop: int | None = None
    """Steps between the places where windows may start, from every bar line; None for bar lines only."""

    def measure(self, batch: RollBatch) -> dict[str, Tensor]:
        """Named figures of held-out windows, means over them. By default the loss's terms."""
        with torch.no_grad():
            return self.loss(batch, 2**31, next(iter(self.players)))

    def sample(self, controls: Any, noise: Noise, rolls: Sequence[Roll] = ()) -> Iterator[RollBatch]:
        """Drafts of len(noise) pieces, the last of which are the pieces. `rolls` are those of `controls.files`.

        Row i depends on nothing but the controls, the rolls and row i of the noise. Raises ConfigError for a wish that
        cannot be met.
        """
        raise NotImplementedError


class DecoderConfig(Config):
    """Size of a token model. The defaults are the paper's (section 4.1)."""

    layers: int = 4
    width: int = 512
    heads: int = 8
    feedforward: int = 2048
    dropout: float = 0.1
    carry: int = 0
    """Previous tokens whose embeddings (and the current instrument's) are added to a token's own; 0 as in the paper."""
    countdown: bool = False
    """Tell the model how many bars are left, where that is known: songs then end when they are asked to."""
    recall: bool = False
    """Tell the model what followed when the song last said what it has just said (`layers/recall.py`)."""

    @property
    def faithful(self) -> float:
        """Nats that a token gains by coming again, where a form is asked for; a song that recalls needs fewer."""
        return 2.0 if self.recall else 4.0

    @property
    def planned(self) -> bool:
        """Whether a song for which no form is asked has that of one by people."""
        return False

    @property
    def few(self) -> int:
        """Likeliest tokens that a song without a form is drawn from, as in the paper: so music comes back by itself."""
        return 8

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.width % (2 * self.heads):
            raise ValueError(f"width = {self.width} should be a multiple of twice the {self.heads} heads")
        return self


class Packed:
    """A batch without its padding: every field is one number a token, songs one after another."""

    def __init__(self, batch: TokenBatch) -> None:
        self.real = torch.arange(batch.ids.shape[1], device=batch.ids.device) < batch.lengths[:, None]
        self.ids: Int[Tensor, " tokens"] = batch.ids[self.real]
        self.bars: Int[Tensor, " tokens"] = batch.bars[self.real]
        self.positions: Int[Tensor, " tokens"] = batch.positions[self.real]
        self.countdown: Int[Tensor, " tokens"] = batch.countdown[self.real]
        self.rows: Int[Tensor, " tokens"] = torch.repeat_interleave(
            torch.arange(len(batch.lengths), device=batch.ids.device), batch.lengths
        )
        self.lengths = batch.lengths
        self.past = batch.past

    def before(self, steps: int) -> Int[Tensor, " tokens"]:
        """The token `steps` earlier in the same song, PAD (0) where there is none."""
        shifted = F.pad(self.ids, (steps, 0))[: len(self.ids)]
        earlier = F.pad(self.rows, (steps, 0), value=-1)[: len(self.rows)]
        return torch.where(earlier == self.rows, shifted, 0)

    def songs(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of every song, on the CPU: the ids that stand before it, where these are known, and its own."""
        own = self.ids.cpu().split(self.lengths.tolist())
        return [(past[past > 0], ids.numpy()) for past, ids in zip(self.past.cpu().numpy(), own, strict=True)]

    def current(self, ids: range) -> Int[Tensor, " tokens"]:
        """The last token out of `ids` in the token's own song, bar and position; PAD (0) where there is none."""
        inside = (self.ids >= ids.start) & (self.ids < ids.stop)
        last = torch.where(inside, torch.arange(len(self.ids), device=self.ids.device), 0).cummax(0).values
        same = inside[last]
        for place in (self.rows, self.bars, self.positions):
            same = same & (place[last] == place)
        return torch.where(same, self.ids[last], 0)


@dataclass
class Carried:
    """What the embedding of songs' next tokens needs: a table, and their last tokens."""

    table: Float[Tensor, "entries width"]
    """All that a token's embedding is a sum of, the tables of `TokenEmbedding` one below another."""
    last: Int64[np.ndarray, "fields rows"]
    """The current instrument with the bar and position it plays in, and the last tokens, newest first."""
    memories: list[list[Memory]]
    """Of every way to recall: a memory for each row."""

    def keep(self, rows: list[int]) -> Carried:
        """Of these rows only, in this order."""
        return Carried(self.table, self.last[:, rows], [gone_on_with(way, rows) for way in self.memories])

    def join(self, other: Carried) -> Carried:
        """The other's rows behind these."""
        memories = [[*own, *others] for own, others in zip(self.memories, other.memories, strict=True)]
        return Carried(self.table, np.concatenate([self.last, other.last], axis=1), memories)


class Recalled(nn.Module):
    """The embedding of what a song recalls (see `recall`), passing over some tokens: as far as it can be trusted."""

    def __init__(self, passed: np.ndarray, width: int) -> None:
        super().__init__()
        self.passed = passed
        self.token = _embedding(len(passed), width, 0.01)  # so small that it can join a trained model
        self.trust = nn.Parameter(torch.ones(len(LENGTHS) + 1, width))

    def forward(self, packed: Packed) -> Float[Tensor, "tokens width"]:
        songs = []
        for past, ids in packed.songs():
            songs.append(np.stack(recall(np.concatenate([past, ids]), self.passed))[:, -len(ids) :])
        return self._sum(torch.from_numpy(np.concatenate(songs, axis=1)))

    def following(self, ids: list[int], memories: list[Memory]) -> Float[Tensor, "rows width"]:
        """`forward` of one more token of every song."""
        return self._sum(torch.tensor([memory.add(id) for memory, id in zip(memories, ids, strict=True)]).T)

    def _sum(self, found: Int[Tensor, "2 n"]) -> Float[Tensor, "n width"]:
        followed, depth = found.to(self.trust.device)
        return self.token(followed) * self.trust[depth]


class TokenEmbedding(nn.Module):
    """A token's embedding, plus what it carries along: previous tokens, current instrument, bars left."""

    def __init__(self, config: DecoderConfig, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.instruments = vocabulary.range("Instrument") if "Instrument" in vocabulary.families else range(0)
        self.token = _embedding(vocabulary.size, config.width)
        self.previous = nn.ModuleList(_embedding(vocabulary.size, config.width) for _ in range(config.carry))
        self.instrument = _embedding(vocabulary.size, config.width) if config.carry and self.instruments else None
        self.countdown = _embedding(COUNTDOWN + 1, config.width) if config.countdown else None
        self.recalled = nn.ModuleList(Recalled(p, config.width) for p in _passed(vocabulary) if config.recall)
        self._starts = np.cumsum([0] + [table.num_embeddings for table in self.tables])[:-1, None]

    def forward(self, packed: Packed) -> Float[Tensor, "tokens width"]:
        x: Tensor = self.token(packed.ids)
        for steps, table in enumerate(self.previous, 1):
            x = x + table(packed.before(steps))
        if self.instrument is not None:
            x = x + self.instrument(packed.current(self.instruments))
        if self.countdown is not None:
            x = x + self.countdown(packed.countdown.clamp(max=COUNTDOWN))
        return sum((way(packed) for way in self.recalled), x)

    # While writing, a token at a time: the same in one look into one table.

    @property
    def tables(self) -> list[nn.Embedding]:
        """What is looked up for a token: itself, the tokens before it, the current instrument, the bars left."""
        own = [self.token, *self.previous, self.instrument, self.countdown]
        return cast(list[nn.Embedding], [table for table in own if table is not None])

    def nothing(self, rows: int) -> Carried:
        """What `rows` songs carry before their first token."""
        table = torch.cat([table.weight.detach() for table in self.tables])
        last = np.zeros((3 + len(self.previous), rows), np.int64)
        return Carried(table, last, [[Memory(way.passed) for _ in range(rows)] for way in self._ways])

    def carried(self, packed: Packed, nothing: Carried) -> Carried:
        """What songs that carried nothing carry after these tokens."""
        fields = [packed.current(self.instruments), packed.bars, packed.positions]
        fields += [packed.before(steps) for steps in range(len(self.previous))]
        last = torch.stack(fields)[:, packed.lengths.cumsum(0) - 1].cpu().numpy()
        songs = [np.concatenate(song).tolist() for song in packed.songs()]
        memories = [[Memory(way.passed, ids) for ids in songs] for way in self._ways]
        return Carried(nothing.table, last, memories)

    def following(self, token: Token, carried: Carried) -> tuple[Float[Tensor, "rows width"], Carried]:
        """One more token of every song: `forward` of it alone, and what is carried on."""
        told = torch.stack(token).cpu().numpy()
        ids, at, countdown = told[0], told[1:3], told[3]
        new = (ids >= self.instruments.start) & (ids < self.instruments.stop)
        place, previous = np.where(new, told[:3], carried.last[:3]), carried.last[3:]
        looked_up = [ids, *previous]
        if self.instrument is not None:
            looked_up.append(place[0] * (place[1:] == at).all(0))
        if self.countdown is not None:
            looked_up.append(np.minimum(countdown, COUNTDOWN))
        index = torch.from_numpy(np.array(looked_up) + self._starts).to(carried.table.device)
        x = F.embedding(index, carried.table).sum(0)
        for way, memories in zip(self._ways, carried.memories, strict=True):
            x = x + way.following(ids.tolist(), memories)
        last = np.concatenate([place, ids[None], previous])[: len(carried.last)]
        return x, Carried(carried.table, last, carried.memories)

    @property
    def _ways(self) -> list[Recalled]:
        return cast(list[Recalled], list(self.recalled))


class FactEmbedding(nn.Module):
    """What is known when a token has been read, as ones and zeros, and how many bars are left: a vector."""

    def __init__(self, facts: int, config: DecoderConfig) -> None:
        super().__init__()
        self.facts_in = nn.Linear(facts, config.width)
        nn.init.normal_(self.facts_in.weight, std=0.1)
        self.countdown = _embedding(COUNTDOWN + 1, config.width) if config.countdown else None

    def _sum(self, ones: Float[Tensor, "n facts"], countdown: Int[Tensor, " n"]) -> Float[Tensor, "n width"]:
        x = self.facts_in(ones)
        return x if self.countdown is None else x + self.countdown(countdown.clamp(max=COUNTDOWN))


def _passed(vocabulary: Vocabulary) -> list[np.ndarray]:
    """The two ways to recall: by all tokens, and by those that do not say how long or how loud a note is."""
    passed = np.zeros((2, vocabulary.size), bool)
    for family in ("Duration", "Velocity"):
        if family in vocabulary.families:
            passed[1, vocabulary.range(family).start : vocabulary.range(family).stop] = True
    return list(passed)


def _embedding(count: int, width: int, std: float = 0.1) -> nn.Embedding:
    table = nn.Embedding(count, width)
    nn.init.normal_(table.weight, std=std)
    return table


class DecoderLM(Model):
    """The shell of the token models: embed, contextualise, predict the next token.

    A family supplies `contextualise` (its blocks over packed tokens) and its cache (`cache`, `prefill`, `advance`).
    """

    temperature: ClassVar[float] = 1.0
    """At which it writes, where no other is asked for."""
    divisible: ClassVar[bool] = False
    """Whether rows of its cache can be set aside and come back, as `sampling.candidates` asks."""

    def __init__(self, config: DecoderConfig, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.config, self.vocabulary = config, vocabulary
        self.embedding = TokenEmbedding(config, vocabulary)
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, vocabulary.size)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    writing: Precision | Literal["plain"] = "plain"
    """How tokens are computed while writing: by PyTorch, or by the compiled step, with its precision."""

    def compiled_step(self, blocks: Sequence[PreNormBlock], heads: int) -> Step | None:
        """The compiled step for these blocks, where it is asked for and can be had."""
        sizes = (self.config.width, heads, self.config.feedforward)
        if self.writing == "plain" or self.head.weight.is_cuda or not step.supports(*sizes) or not step.available():
            return None
        return Step(blocks, self.norm, self.head, heads, self.writing)

    def contextualise(self, packed: Packed) -> Float[Tensor, "tokens width"]:
        raise NotImplementedError

    def predict(self, packed: Packed) -> Float[Tensor, "tokens vocabulary"]:
        """Logits of the token after each token."""
        return self.head(self.norm(self.contextualise(packed)))

    def player(self, prompt: TokenBatch, seeds: Sequence[int], bars: int | None) -> Any:
        """Who writes on after these prompts, a song a seed: the model itself, where it needs to be told nothing."""
        return self

    def cache(self, rows: int) -> Any:
        raise NotImplementedError

    def prefill(self, batch: TokenBatch, cache: Any) -> Float[Tensor, "rows vocabulary"]:
        raise NotImplementedError

    def advance(self, token: Token, cache: Any) -> Float[Tensor, "rows vocabulary"]:
        raise NotImplementedError

    def forward(self, batch: TokenBatch) -> Float[Tensor, "batch time vocabulary"]:
        """Logits of the token after each token; zero on padding."""
        packed = Packed(batch)
        logits = self.predict(packed)
        return logits.new_zeros((*batch.ids.shape, logits.shape[-1])).masked_scatter(packed.real[..., None], logits)

    def token_nats(self, batch: TokenBatch) -> Float[Tensor, "batch time"]:
        """-log p of every token given those before it; 0 for each song's first token and for padding.

        The model is not told how many bars are left: these are the honest figures.
        """
        packed = Packed(batch)
        packed.countdown = torch.zeros_like(packed.countdown)
        nats = batch.ids.new_zeros(batch.ids.shape, dtype=torch.float32)
        predicted = packed.real.clone()
        predicted[:, 0] = False
        return nats.masked_scatter(predicted, self._nats(packed))

    def loss(self, batch: TokenBatch, step: int = 0, player: str = "model") -> dict[str, Tensor]:
        """Mean nats a token. In training half of the songs, drawn at random, are not told how many bars are left."""
        packed = Packed(batch)
        told = torch.rand(len(batch.lengths), device=packed.ids.device) < 0.5 if self.training else batch.lengths < 0
        packed.countdown = packed.countdown * told[packed.rows]
        return {"loss": self._nats(packed).mean()}

    def _nats(self, packed: Packed) -> Float[Tensor, " predicted"]:
        follows = packed.rows[1:] == packed.rows[:-1]
        return F.cross_entropy(self.predict(packed)[:-1][follows].float(), packed.ids[1:][follows], reduction="none")
