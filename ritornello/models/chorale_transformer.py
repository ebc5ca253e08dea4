"""Four voices, strictly one after another: a Transformer over steps of time, and a small network over the voices.

At every sixteenth four voices move or hold (see `representations.voices`). Most of what decides a voice's next note is
near: where all voices stand, how they came there, where in the bar we are. So each token is read with a picture of that
state, made of plain facts (`State`). Only whole steps go through attention (`layers.plain`), a quarter of the work of
attending token by token; what it says of the past, and the picture of the present, give the next voice's note.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn

from ritornello.data.augment import draw, room, transpose
from ritornello.data.batch import TokenBatch
from ritornello.layers.plain import Block
from ritornello.layers.positions import rotary_angles
from ritornello.layers.ring import RingCache
from ritornello.models.base import DecoderConfig, DecoderLM, FactEmbedding, Packed
from ritornello.representations.vocabulary import Vocabulary
from ritornello.representations.voices import RANGES
from ritornello.sampling.autoregress import Token

VOICES = 4
AGES = (1, 2, 3, 4, 6, 8, 12, 16, 24)  # steps since a note began, as classes: age >= each of these
LEAP = 9  # larger steps of a voice look alike
POSITIONS = 25  # steps of the longest bar, and 0


class Config(DecoderConfig):
    """What a chorale Transformer is."""

    layers: int = 3
    width: int = 192
    heads: int = 4
    feedforward: int = 768
    dropout: float = 0.2
    voice_layers: int = Field(2, ge=1)
    """Feed-forward layers of the network that says the next voice's note."""
    transpose: int = Field(6, ge=0, le=11)
    """In training every song is moved by up to so many semitones, as far as the voices' ranges (`RANGES`) allow."""


@dataclass
class State:
    """What is known when a token has been read, one row a token: the last line of the score.

    pitch:   what sounds in each voice slot, as a Pitch's place in its family + 2; 1 for a rest, 0 for nothing yet.
    age:     steps since it began, 0 if in this step.
    move:    by how many semitones it moved when it began, within ± LEAP; 0 where one of the two is no pitch.
    slot:    tokens of this step read so far, less one; complete: this was the step's last token.
    key:     the Key's place in its family + 1, 0 if not told; metre: the Metre's.
    """

    pitch: Int[Tensor, "tokens 4"]
    age: Int[Tensor, "tokens 4"]
    move: Int[Tensor, "tokens 4"]
    slot: Int[Tensor, " tokens"]
    complete: Bool[Tensor, " tokens"]
    key: Int[Tensor, " tokens"]
    metre: Int[Tensor, " tokens"]

    def of(self, index: Tensor) -> State:
        """Those of some tokens."""
        return State(*(getattr(self, f.name)[index] for f in fields(self)))


class Facts:
    """Token ids → states, states → ones and zeros: everything here is counted, nothing learned."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.rest, self.bar = vocabulary.id("Rest"), vocabulary.id("Bar")
        self.pitches, self.keys, self.metres = map(vocabulary.range, ("Pitch", "Key", "Metre"))
        self.lowest = int(vocabulary.labels("Pitch")[0])
        self.pairs = [(a, b) for a in range(VOICES) for b in range(a)]
        kinds = len(self.pitches) + 2
        # One block of ones and zeros a fact, in the order of `ones`
        sizes = [kinds] * VOICES + [13] * VOICES + [len(AGES) + 1] * VOICES + [2 * LEAP + 2] * VOICES
        sizes += [13] * len(self.pairs) + [POSITIONS, VOICES + 1, len(self.keys) + 1, len(self.metres) + 1]
        self.starts = [sum(sizes[:i]) for i in range(len(sizes))]
        self.size = sum(sizes)

    def sounds(self, ids: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """The `State.pitch` that a token begins; 0 for one that begins nothing."""
        is_pitch = (ids >= self.pitches.start) & (ids < self.pitches.stop)
        return torch.where(is_pitch, ids - self.pitches.start + 2, (ids == self.rest).long())

    @staticmethod
    def tells(ids: Int[Tensor, " n"], family: range) -> Int[Tensor, " n"]:
        """The `State.key` or `State.metre` that a token tells, or 0."""
        return torch.where((ids >= family.start) & (ids < family.stop), ids - family.start + 1, 0)

    @staticmethod
    def moved(before: Tensor, after: Tensor) -> Tensor:
        """Semitones from one `State.pitch` to another, within ± LEAP; 0 where one is no pitch."""
        return ((after - before) * ((before > 1) & (after > 1))).clamp(-LEAP, LEAP)

    def states(self, packed: Packed) -> State:
        """The state after every token of a batch."""
        place = torch.arange(len(packed.ids), device=packed.ids.device)
        new = torch.ones_like(packed.real[packed.real])  # a row or step begins
        new[1:] = False
        for field in (packed.rows, packed.bars, packed.positions):
            new[1:] |= field[1:] != field[:-1]
        slot = (place - torch.where(new, place, 0).cummax(0).values).clamp(max=VOICES - 1)
        sounds, time = self.sounds(packed.ids), (new & (packed.positions > 0)).cumsum(0)  # in steps
        row_start = torch.searchsorted(packed.rows, packed.rows)  # rows rise: where each token's row begins

        def latest(events: Tensor) -> tuple[Tensor, Tensor]:
            """The last of these tokens in each token's row, and whether there is one."""
            last = torch.where(events, place, -1).cummax(0).values
            return last.clamp(min=0), last >= row_start

        def voice(v: int) -> tuple[Tensor, Tensor, Tensor]:
            last, there = latest((sounds > 0) & (slot == v))
            before = (last - 1).clamp(min=0)
            there_before = there & there[before] & (last > row_start)
            pitch = sounds[last] * there
            previous = sounds[last[before]] * there_before
            return pitch, (time - time[last]) * there, self.moved(previous, pitch)

        def told(family: range) -> Tensor:
            tells = self.tells(packed.ids, family)
            last, there = latest(tells > 0)
            return tells[last] * there

        pitch, age, move = (torch.stack(part, 1) for part in zip(*map(voice, range(VOICES)), strict=True))
        complete = (slot == VOICES - 1) | (packed.ids == self.bar)
        return State(pitch, age, move, slot, complete, told(self.keys), told(self.metres))

    def ones(self, state: State, positions: Int[Tensor, " n"]) -> Float[Tensor, "n size"]:
        """What is known, as ones and zeros."""
        key = state.key[:, None] - 1
        voiced = state.pitch > 1
        degree = torch.where(voiced, (state.pitch - 2 + self.lowest - key) % 12 * (key >= 0), 12)
        ages = torch.tensor(AGES, device=positions.device)
        parts = [state.pitch, degree, torch.searchsorted(ages, state.age, right=True), state.move + LEAP]
        pairs = [
            torch.where(voiced[:, a] & voiced[:, b], (state.pitch[:, b] - state.pitch[:, a]) % 12, 12)
            for a, b in self.pairs
        ]
        slot = torch.where(state.complete, VOICES, state.slot)
        index = torch.cat([*parts, *(x[:, None] for x in (*pairs, positions, slot, state.key, state.metre))], 1)
        index = index + torch.tensor(self.starts, device=index.device)
        return torch.zeros(len(index), self.size, device=index.device).scatter_(1, index, 1.0)


@dataclass
class Walk:
    """The state of songs that are being written, one row a song, and where each of them is."""

    state: State
    bars: Int[Tensor, " rows"]
    positions: Int[Tensor, " rows"]

    @staticmethod
    def fresh(rows: int, device: torch.device) -> Walk:
        """Nothing has been read."""
        zeros = torch.zeros(rows, dtype=torch.long, device=device)
        voices = zeros[:, None].expand(-1, VOICES)
        return Walk(State(voices, voices, voices, zeros - 1, zeros > 0, zeros, zeros), zeros - 1, zeros)

    def follow(self, facts: Facts, ids: Tensor, bars: Tensor, positions: Tensor) -> Walk:
        """After one more token in every row: what `Facts.states` says of whole songs, one token at a time."""
        old = self.state
        same = (bars == self.bars) & (positions == self.positions)
        slot = torch.where(same, old.slot + 1, 0).clamp(max=VOICES - 1)
        sounds, key, metre = facts.sounds(ids), facts.tells(ids, facts.keys), facts.tells(ids, facts.metres)
        here = torch.arange(VOICES, device=ids.device) == slot[:, None]
        begins = here & (sounds > 0)[:, None]
        age = old.age + (~same & (positions > 0))[:, None] * (old.pitch > 0)
        state = State(
            torch.where(begins, sounds[:, None], old.pitch),
            torch.where(begins, 0, age),
            torch.where(begins, facts.moved(old.pitch, sounds[:, None]), old.move),
            slot,
            (slot == VOICES - 1) | (ids == facts.bar),
            torch.where(key > 0, key, old.key),
            torch.where(metre > 0, metre, old.metre),
        )
        return Walk(state, bars, positions)

    def of(self, rows: list[int]) -> Walk:
        index = torch.tensor(rows, dtype=torch.long, device=self.bars.device)
        return Walk(self.state.of(index), self.bars[index], self.positions[index])


@dataclass
class Cache:
    """Songs that are being written: keys and values of their steps, where their voices are, and what is thought."""

    memory: RingCache
    walk: Walk
    past: Float[Tensor, "rows width"]

    def keep(self, rows: list[int]) -> None:
        """Go on with only these rows, in this order."""
        self.memory.keep(rows)
        self.walk, self.past = self.walk.of(rows), self.past[rows]


class Picture(FactEmbedding):
    """The state after every token, as a vector."""

    def __init__(self, config: Config, vocabulary: Vocabulary) -> None:
        facts = Facts(vocabulary)
        super().__init__(facts.size, config)
        self.facts = facts

    def forward(self, packed: Packed, state: State) -> Float[Tensor, "tokens width"]:
        return self.one(state, packed.positions, packed.countdown)

    def one(self, state: State, positions: Tensor, countdown: Tensor) -> Float[Tensor, "n width"]:
        return self._sum(self.facts.ones(state, positions), countdown)


class VoiceBlock(nn.Module):
    """A feed-forward network on a normalised residual."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width)
        self.expand = nn.Linear(config.width, config.feedforward)
        self.contract = nn.Linear(config.feedforward, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Float[Tensor, "n width"]) -> Float[Tensor, "n width"]:
        return x + self.dropout(self.contract(F.gelu(self.expand(self.norm(x)))))


class ChoraleTransformer(DecoderLM):
    """See the module's docstring."""

    config: Config
    temperature: ClassVar[float] = 0.8  # at 1 it leaves the chord more often than Bach does

    def __init__(self, config: Config, vocabulary: Vocabulary) -> None:
        super().__init__(config, vocabulary)
        self.embedding = Picture(config, vocabulary)
        self.dropout = nn.Dropout(config.dropout)
        sizes = (config.width, config.heads, config.feedforward, config.dropout, config.layers)
        self.blocks = nn.ModuleDict(
            {
                "time": nn.ModuleList(Block(*sizes) for _ in range(config.layers)),
                "voice": nn.ModuleList(VoiceBlock(config) for _ in range(config.voice_layers)),
            }
        )
        self.past = nn.Linear(config.width, config.width)
        self.past_norm = nn.LayerNorm(config.width)

    def loss(self, batch: TokenBatch, step: int = 0, player: str = "model") -> dict[str, Tensor]:
        """Mean nats a token; in training, of songs in other keys."""
        if self.training and self.config.transpose:
            batch = transpose(batch, self.vocabulary, draw(*self._room(Packed(batch))))
        return super().loss(batch, step, player)

    def _room(self, packed: Packed) -> tuple[Tensor, Tensor]:
        """By how many semitones each song can be moved down and up."""
        facts, songs = self.embedding.facts, len(packed.lengths)
        pitch = facts.states(packed).pitch - 2 + facts.lowest
        rows = packed.rows[:, None].expand_as(pitch)
        unheard = pitch < facts.lowest
        low, high = (
            torch.full((songs, VOICES), start, device=pitch.device).scatter_reduce(
                0, rows, torch.where(unheard, start, pitch), reduce
            )
            for start, reduce in ((127, "amin"), (0, "amax"))
        )
        lowest, highest = torch.tensor(RANGES, device=pitch.device).T
        return room(low, high, lowest, highest, self.config.transpose)

    @property
    def layers(self) -> list[Block]:
        return cast(list[Block], list(cast(nn.ModuleList, self.blocks["time"])))

    def contextualise(self, packed: Packed) -> Float[Tensor, "tokens width"]:
        state = self.embedding.facts.states(packed)
        picture = self.dropout(self.embedding(packed, state))
        past, _ = self._past(picture, packed, state.complete)
        return self._next(picture, past)

    def _past(
        self,
        picture: Float[Tensor, "tokens width"],
        packed: Packed,
        complete: Bool[Tensor, " tokens"],
        record: list[tuple[Tensor, Tensor]] | None = None,
    ) -> tuple[Float[Tensor, "tokens width"], Int[Tensor, " rows"]]:
        """What attention makes of the steps complete at each token, zero before the first; and each row's steps."""
        running = complete.long().cumsum(0)
        ends = running[packed.lengths.cumsum(0) - 1]
        before = F.pad(ends, (1, 0))[:-1]
        index, count = running - before[packed.rows] - 1, ends - before
        most = max(int(count.max()), 1)
        flat = packed.rows * most + index.clamp(min=0)
        where = flat[complete]
        x = picture.new_zeros(len(count) * most, picture.shape[1]).index_copy(0, where, picture[complete])
        place = torch.zeros(2, len(x), dtype=torch.long, device=x.device)
        place[:, where] = torch.stack([packed.bars, packed.positions])[:, complete]
        x, angles = x.view(len(count), most, -1), self._angles(*place)
        for block in self.layers:
            x = block(x, angles, record)
        return torch.where((index >= 0)[:, None], x.flatten(0, 1)[flat], 0.0), count

    def _angles(self, bars: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        return rotary_angles(bars, positions, self.config.width // self.config.heads)

    def _next(self, picture: Float[Tensor, "n width"], past: Float[Tensor, "n width"]) -> Float[Tensor, "n width"]:
        x = picture + self.past(self.past_norm(past))
        for block in cast(nn.ModuleList, self.blocks["voice"]):
            x = block(x)
        return x

    # Writing: one token at a time.

    def cache(self, rows: int) -> Cache:
        config, like = self.config, self.head.weight.detach()
        memory = RingCache(rows, config.layers, config.heads, config.width // config.heads, 256, like, grows=True)
        return Cache(memory, Walk.fresh(rows, like.device), like.new_zeros(rows, config.width))

    @torch.no_grad()
    def prefill(self, batch: TokenBatch, cache: Cache) -> Float[Tensor, "rows vocabulary"]:
        """Read prompts at once into an empty cache; logits of the token after each row's last."""
        packed, record = Packed(batch), []
        state = self.embedding.facts.states(packed)
        picture = self.embedding(packed, state)
        past, count = self._past(picture, packed, state.complete, record)
        for layer, (keys, values) in enumerate(record):
            cache.memory.fill(layer, keys, values, count)
        last = packed.lengths.cumsum(0) - 1
        cache.walk = Walk(state.of(last), packed.bars[last], packed.positions[last])
        cache.past = past[last]
        return self.head(self.norm(self._next(picture[last], past[last])))

    @torch.no_grad()
    def advance(self, token: Token, cache: Cache) -> Float[Tensor, "rows vocabulary"]:
        """Write one token in every row; logits of the next."""
        ids, bars, positions, countdown = token
        cache.walk = cache.walk.follow(self.embedding.facts, ids, bars, positions)
        picture = self.embedding.one(cache.walk.state, positions, countdown)
        complete = cache.walk.state.complete
        if bool(complete.any()):
            x, angles = picture, self._angles(bars, positions)
            for layer, block in enumerate(self.layers):
                x = block.step(x, angles, cache.memory, layer)
            cache.memory.step(complete)
            cache.past = torch.where(complete[:, None], x, cache.past)
        return self.head(self.norm(self._next(picture, cache.past)))
