"""A MuseMorphose at play: it is told what every bar is to be, and held to it as firmly as is asked."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ritornello.data.batch import TokenBatch
from ritornello.layers.texture import Counter, Ruler, sixteenths
from ritornello.representations.vocabulary import EOS, Vocabulary
from ritornello.sampling.autoregress import Token

if TYPE_CHECKING:
    from ritornello.models.musemorphose import Cache, MuseMorphose


@dataclass
class DirectedCache:
    """The model's cache, rows without classes behind those with them where there is guidance; and the classes."""

    inner: Cache
    classes: Int[Tensor, "rows bars 2"]
    copies: int

    def keep(self, rows: list[int]) -> None:
        self.inner.keep(self._inside(rows))
        self.classes = self.classes[rows]

    def part(self, rows: list[int]) -> DirectedCache:
        return DirectedCache(self.inner.part(self._inside(rows)), self.classes[rows], self.copies)

    def join(self, other: DirectedCache) -> None:
        own, others = len(self.classes), len(other.classes)
        self.inner.join(other.inner)
        ends = np.cumsum([0, *[own] * self.copies, *[others] * self.copies]).tolist()
        blocks = [list(range(i, j)) for i, j in pairwise(ends)]  # each cache's copies one after another
        self.inner.keep([row for copy in range(self.copies) for row in blocks[copy] + blocks[self.copies + copy]])
        self.classes = torch.cat([self.classes, other.classes])

    def _inside(self, rows: list[int]) -> list[int]:
        return [copy * len(self.classes) + row for copy in range(self.copies) for row in rows]


class Directed:
    """What the token loop plays with: a model, and latents and classes of the bars of every row.

    latents, classes:  of each row's bars from 0 on; a class of -1 is "as you like". Later bars are like the last.
    guidance:  classifier-free guidance (Ho and Salimans 2021) towards the classes: log-probabilities without classes
               plus `guidance` times what the classes change of them. 1 is the model as it is; other values take twice
               the work, and weights that learned without classes too (`unconditioned`).
    insist:    nats by which a token falls that would leave the classes (`Insistence`).
    """

    def __init__(
        self,
        model: MuseMorphose,
        latents: Float[Tensor, "rows bars latent"],
        classes: Int[Tensor, "rows bars 2"],
        guidance: float = 1.0,
        insist: float = 0.0,
    ) -> None:
        self.model, self.latents, self.classes, self.guidance = model, latents, classes, guidance
        self.insistence = Insistence(model.vocabulary, model.ruler, model.bounds.cpu().numpy(), insist)

    def cache(self, rows: int) -> DirectedCache:
        assert rows == len(self.latents), "a row of latents for every song"
        cache = self.model.cache(rows * self._copies)
        self.model.direct(cache, self._copied(self.latents), self._copied(self.classes, -1))
        return DirectedCache(cache, self.classes, self._copies)

    def prefill(self, batch: TokenBatch, cache: DirectedCache) -> Float[Tensor, "rows vocabulary"]:
        batch = replace(batch, **{f.name: self._copied(getattr(batch, f.name)) for f in fields(TokenBatch)})
        return self._directed(self.model.prefill(batch, cache.inner), cache)

    def advance(self, token: Token, cache: DirectedCache) -> Float[Tensor, "rows vocabulary"]:
        return self._directed(self.model.advance(Token(*map(self._copied, token)), cache.inner), cache)

    @property
    def _copies(self) -> int:
        return 1 if self.guidance == 1 else 2

    def _copied(self, x: Tensor, second: int | None = None) -> Tensor:
        """The rows, and once more where there is guidance, filled with `second` if that is given."""
        if self._copies == 1:
            return x
        return torch.cat([x, x if second is None else torch.full_like(x, second)])

    def _directed(self, logits: Tensor, cache: DirectedCache) -> Float[Tensor, "rows vocabulary"]:
        if self._copies == 2:
            told, untold = logits.log_softmax(-1).chunk(2)
            logits = untold + self.guidance * (told - untold)
        if self.insistence.nats:
            classes = cache.classes.tolist()
            falls = [self.insistence.falls(c, row) for c, row in zip(cache.inner.counters, classes, strict=False)]
            logits = logits - torch.from_numpy(np.stack(falls)).to(logits.device)
        return logits


class Insistence:
    """Which tokens would leave the classes that are asked for, given how far the bar has come.

    Too few onsets so far: ending the bar, and skipping more of it than can be spared. Enough: another onset. Too little
    sounds: ending the bar. Enough: more notes at an onset, and notes longer than the class can take. It is only `nats`
    that these tokens lose, so what the model is very sure of happens all the same.
    """

    def __init__(self, vocabulary: Vocabulary, ruler: Ruler, bounds: np.ndarray, nats: float) -> None:
        self.nats = nats
        ends = np.pad(bounds, ((0, 0), (1, 1)), constant_values=((-1.0, 1e6),))
        self.least, self.most = ends[:, :-1], ends[:, 1:]  # of each attribute and class, in thousandths
        self.size = vocabulary.size
        self.bar, self.position, self.pitch, self.duration = (
            slice(r.start, r.stop) for r in map(vocabulary.range, ("Bar", "Position", "Pitch", "Duration"))
        )
        self.steps = ruler.duration[self.duration]
        self.places = np.arange(self.position.stop - self.position.start)

    def falls(self, counter: Counter, classes: list[list[int]]) -> np.ndarray:
        """Float32[vocabulary]: nats that each token loses after what `counter` has read."""
        falls = np.zeros(self.size, np.float32)
        if counter.bar < 0:
            return falls
        rhythm, polyphony = classes[min(counter.bar, len(classes) - 1)]
        counter.open()
        length = counter.end - counter.start
        fewest, most = self._bounds(0, rhythm, length)
        least, loudest = self._bounds(1, polyphony, length)
        missing = max(fewest - counter.onsets, 0)
        place = sixteenths(counter.begin + self.places)
        skips = (counter.end - place < missing) & (place > counter.last) & (missing > 0)
        again = place > counter.last if counter.onsets >= most else np.zeros_like(skips)
        falls[self.position] += self.nats * (skips | again)
        if missing > 0 or counter.sounding < least:
            falls[self.bar] += self.nats
            falls[EOS] += self.nats
        room = loudest - counter.sounding - missing
        if room < 1 and counter.onsets:
            falls[self.pitch] += self.nats
        if counter.at > 0:
            onset = min(max(sixteenths(counter.begin + counter.at - 1), counter.start), counter.end - 1)
            stop = np.maximum(sixteenths(counter.begin + counter.at - 1 + self.steps), onset + 1)
            lasts = np.minimum(stop, counter.end) - onset
            falls[self.duration] += self.nats * ((lasts > room) & (lasts > 1))
        return falls

    def _bounds(self, attribute: int, chosen: int, length: int) -> tuple[int, float]:
        """Fewest and most (onsets, or sixteenths that sound) of a bar of `length` sixteenths in a class."""
        if chosen < 0:
            return 0, float("inf")
        # thousandths are rounded: n / length is above a bound b where rint(1000 n / length) > b
        fewest = int(np.floor((self.least[attribute, chosen] + 0.5) * length / 1000)) + 1
        most = int(np.floor((self.most[attribute, chosen] + 0.5) * length / 1000))
        return max(fewest, 0), max(most, 0)
