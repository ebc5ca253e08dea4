"""One voice: a decoder-only Transformer over notes and their durations (see `representations.melody`).

The duration is drawn after the note and knows it. Positions are rotations by bar and place in the bar, so that what a
token sees is how far back things lie: a piece may be longer than any that was learned from. The corpus is small, so
everything that repeats in music is made plain on the way in: a token is read together with the last notes as degrees of
the key and as intervals, their durations, and the place in the bar where the next event begins (`Place`). In training
every piece is moved into other keys.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import cast

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from ritornello.data.augment import draw, room, transpose
from ritornello.data.batch import TokenBatch
from ritornello.layers.plain import Block
from ritornello.layers.positions import rotary_angles
from ritornello.layers.ring import RingCache
from ritornello.models.base import DecoderConfig, DecoderLM, FactEmbedding, Packed
from ritornello.representations.melody import STEPS, bar_length
from ritornello.representations.vocabulary import Vocabulary
from ritornello.sampling.autoregress import Token

PITCHES, DURATIONS = 5, 3  # last ones that a token is read with
LEAP = 19  # larger intervals look alike
GRID = 6  # steps of a sixteenth: places in the bar are told as a sixteenth and what is left
RANGE = (31, 86)  # pitches that training moves pieces within; the cello suites use 36 to 79


class Config(DecoderConfig):
    """What a melody Transformer is."""

    layers: int = 3
    width: int = 128
    heads: int = 4
    feedforward: int = 512
    dropout: float = 0.3
    transpose: int = Field(6, ge=0, le=11)
    """In training every piece is moved by up to so many semitones."""


@dataclass
class Place:
    """Where a token leaves us, one row a token.

    pitches:    the last notes, newest first: a Pitch's place in its family + 1; 0 for none.
    durations:  the last events' durations in steps, newest first; 0 for none.
    beat:       the place in the bar where the event in hand begins, or where the next will.
    kind:       the token's family.
    key, metre: their place in their family + 1; 0 for not told.
    """

    pitches: Int[Tensor, "tokens pitches"]
    durations: Int[Tensor, "tokens durations"]
    beat: Int[Tensor, " tokens"]
    kind: Int[Tensor, " tokens"]
    key: Int[Tensor, " tokens"]
    metre: Int[Tensor, " tokens"]

    def of(self, index: Tensor) -> Place:
        """Those of some tokens."""
        return Place(*(getattr(self, f.name)[index] for f in fields(self)))


class Facts(nn.Module):
    """Token ids → places, places → ones and zeros: everything here is counted, nothing learned."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.ranges = {name: vocabulary.range(name) for name in ("Key", "Metre", "Pitch", "Duration")}
        self.family_of: Tensor
        self.bar_lengths: Tensor
        families = torch.from_numpy(vocabulary.family_of.astype("int64"))
        self.register_buffer("family_of", families, persistent=False)
        lengths = [1, *(bar_length(str(metre)) for metre in vocabulary.labels("Metre"))]
        self.register_buffer("bar_lengths", torch.tensor(lengths), persistent=False)
        longest = max(lengths) // GRID + 1
        notes = len(self.ranges["Pitch"]) + 1
        lasting = len(self.ranges["Duration"]) + 1
        self.sizes = [notes] + [13] * PITCHES + [2 * LEAP + 2] * (PITCHES - 1) + [lasting] * DURATIONS
        self.sizes += [longest, GRID, STEPS, len(vocabulary.families), len(self.ranges["Key"]) + 1, len(lengths)]
        self.size = sum(self.sizes)

    def label(self, ids: Tensor, family: str) -> Tensor:
        """A token's place in a family + 1, or 0 if it is of another."""
        ids_of = self.ranges[family]
        return torch.where((ids >= ids_of.start) & (ids < ids_of.stop), ids - ids_of.start + 1, 0)

    def places(self, packed: Packed) -> Place:
        """The place after every token of a batch."""
        start = torch.searchsorted(packed.rows, packed.rows)  # rows rise: where each token's row begins

        def last(family: str, count: int) -> Tensor:
            """The last `count` labels of a family at every token, newest first, [tokens, count]."""
            labels = self.label(packed.ids, family)
            found = torch.nonzero(labels > 0)[:, 0]
            so_far = (labels > 0).long().cumsum(0)
            index = so_far[:, None] - 1 - torch.arange(count, device=labels.device)
            if not len(found):
                return torch.zeros_like(index)
            token = found[index.clamp(min=0)]
            return torch.where((index >= 0) & (token >= start[:, None]), labels[token], 0)

        key, metre = (last(family, 1)[:, 0] for family in ("Key", "Metre"))
        durations = last("Duration", DURATIONS)
        beat = self.beat(packed.ids, packed.positions, durations[:, 0], metre)
        return Place(last("Pitch", PITCHES), durations, beat, self.family_of[packed.ids], key, metre)

    def beat(self, ids: Tensor, positions: Tensor, duration: Tensor, metre: Tensor) -> Tensor:
        """See `Place.beat`. A Bar token stands at 0, though the next event may begin later: its note still sounds."""
        ended = self.label(ids, "Duration") > 0
        return ((positions - 1).clamp(min=0) + duration * ended) % self.bar_lengths[metre]

    def ones(self, place: Place) -> Float[Tensor, "n size"]:
        """What is known, as ones and zeros."""
        pitches, key = place.pitches, place.key[:, None] - 1
        degrees = torch.where((pitches > 0) & (key >= 0), (pitches - 1 - key) % 12, 12)
        new, old = pitches[:, :-1], pitches[:, 1:]
        intervals = torch.where((new > 0) & (old > 0), (new - old).clamp(-LEAP, LEAP) + LEAP, 2 * LEAP + 1)
        beat = place.beat[:, None]
        parts = [pitches[:, :1], degrees, intervals, place.durations, beat // GRID, beat % GRID, beat % STEPS]
        index = torch.cat([*parts, torch.stack([place.kind, place.key, place.metre], 1)], 1)
        starts = torch.tensor([sum(self.sizes[:i]) for i in range(len(self.sizes))], device=index.device)
        return torch.zeros(len(index), self.size, device=index.device).scatter_(1, index + starts, 1.0)


class Picture(FactEmbedding):
    """The place after every token, as a vector."""

    def __init__(self, config: Config, vocabulary: Vocabulary) -> None:
        facts = Facts(vocabulary)
        super().__init__(facts.size, config)
        self.facts = facts

    def forward(self, packed: Packed) -> Float[Tensor, "tokens width"]:
        return self.one(self.facts.places(packed), packed.countdown)

    def one(self, place: Place, countdown: Int[Tensor, " n"]) -> Float[Tensor, "n width"]:
        return self._sum(self.facts.ones(place), countdown)


@dataclass
class Cache:
    """Pieces that are being written: keys and values of their tokens, and where each stands."""

    memory: RingCache
    place: Place

    def keep(self, rows: list[int]) -> None:
        """Go on with only these rows, in this order."""
        self.memory.keep(rows)
        self.place = self.place.of(torch.tensor(rows, dtype=torch.long, device=self.place.key.device))


class MelodyTransformer(DecoderLM):
    """See the module's docstring."""

    config: Config

    def __init__(self, config: Config, vocabulary: Vocabulary) -> None:
        super().__init__(config, vocabulary)
        self.embedding = Picture(config, vocabulary)
        self.dropout = nn.Dropout(config.dropout)
        sizes = (config.width, config.heads, config.feedforward, config.dropout, config.layers)
        self.blocks = nn.ModuleList(Block(*sizes) for _ in range(config.layers))

    @property
    def layers(self) -> list[Block]:
        return cast(list[Block], list(self.blocks))

    def loss(self, batch: TokenBatch, step: int = 0, player: str = "model") -> dict[str, Tensor]:
        """Mean nats a token; in training, of pieces in other keys."""
        if self.training and self.config.transpose:
            pitch = self.embedding.facts.label(batch.ids, "Pitch") - 1
            low = torch.where(pitch < 0, 127, pitch).amin(1, keepdim=True)
            lowest, highest = torch.tensor(RANGE, device=pitch.device)[:, None]
            shift = draw(*room(low, pitch.amax(1, keepdim=True), lowest, highest, self.config.transpose))
            batch = transpose(batch, self.vocabulary, shift)
        return super().loss(batch, step, player)

    def contextualise(self, packed: Packed) -> Float[Tensor, "tokens width"]:
        return self._run(packed)[packed.real]

    def _run(
        self, packed: Packed, record: list[tuple[Tensor, Tensor]] | None = None
    ) -> Float[Tensor, "rows time width"]:
        picture = self.dropout(self.embedding(packed))
        x = picture.new_zeros(*packed.real.shape, picture.shape[1]).masked_scatter(packed.real[..., None], picture)
        place = torch.zeros(2, *packed.real.shape, dtype=torch.long, device=x.device)
        place[:, packed.real] = torch.stack([packed.bars, packed.positions])
        angles = self._angles(*place.flatten(1))
        for block in self.layers:
            x = block(x, angles, record)
        return x

    def _angles(self, bars: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        return rotary_angles(bars, positions, self.config.width // self.config.heads)

    # Writing: one token at a time.

    def cache(self, rows: int) -> Cache:
        config, like = self.config, self.head.weight.detach()
        none = torch.zeros(rows, dtype=torch.long, device=like.device)
        place = Place(none[:, None].expand(-1, PITCHES), none[:, None].expand(-1, DURATIONS), none, none, none, none)
        size = config.width // config.heads
        return Cache(RingCache(rows, config.layers, config.heads, size, 256, like, grows=True), place)

    @torch.no_grad()
    def prefill(self, batch: TokenBatch, cache: Cache) -> Float[Tensor, "rows vocabulary"]:
        """Read prompts at once into an empty cache; logits of the token after each row's last."""
        packed, record = Packed(batch), []
        x = self._run(packed, record)
        for layer, (keys, values) in enumerate(record):
            cache.memory.fill(layer, keys, values, batch.lengths)
        cache.place = self.embedding.facts.places(packed).of(batch.lengths.cumsum(0) - 1)
        return self.head(self.norm(x[torch.arange(len(x), device=x.device), batch.lengths - 1]))

    @torch.no_grad()
    def advance(self, token: Token, cache: Cache) -> Float[Tensor, "rows vocabulary"]:
        """Write one token in every row; logits of the next."""
        cache.place = self._follow(token.ids, token.positions, cache.place)
        x = self.embedding.one(cache.place, token.countdown)
        angles = self._angles(token.bars, token.positions)
        for layer, block in enumerate(self.layers):
            x = block.step(x, angles, cache.memory, layer)
        cache.memory.step()
        return self.head(self.norm(x))

    def _follow(self, ids: Tensor, positions: Tensor, old: Place) -> Place:
        """The place after one more token: what `Facts.places` says of whole pieces, one token at a time."""
        facts = self.embedding.facts
        pitch, duration, key, metre = (facts.label(ids, name) for name in ("Pitch", "Duration", "Key", "Metre"))

        def push(new: Tensor, last: Tensor) -> Tensor:
            return torch.where((new > 0)[:, None], torch.cat([new[:, None], last[:, :-1]], 1), last)

        durations = push(duration, old.durations)
        metre = torch.where(metre > 0, metre, old.metre)
        beat = facts.beat(ids, positions, durations[:, 0], metre)
        key = torch.where(key > 0, key, old.key)
        return Place(push(pitch, old.pitches), durations, beat, facts.family_of[ids], key, metre)
