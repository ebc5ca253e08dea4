"""What may come next in a melody and in four voices: the grammars of `representations.melody` and `.voices`.

Both have the interface of `grammar.Grammar`: rows, max_tokens, ids; read, advance, mask, place; done, length, bars. In
both, everything that is no matter of taste follows from the tokens so far: a bar line comes when the bar is full, and a
song asked to have N bars ends when N bars are full.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ritornello.errors import ConfigError
from ritornello.representations import melody, voices
from ritornello.representations.vocabulary import BOS, EOS, Vocabulary
from ritornello.sampling.grammar import place


class StrictGrammar:
    """Where each of `rows` songs stands. A subclass says what its tokens do (`_follow`) and allow (`_allow`).

    bars:        exact number of bars of every song; None: each ends where it wants to.
    max_tokens:  tokens of a song at most, EOS included.
    key, metre:  the only Key (Metre) token allowed, None for any.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        rows: int = 1,
        *,
        bars: int | None = None,
        max_tokens: int = 20_480,
        key: int | None = None,
        metre: int | None = None,
    ) -> None:
        self.vocabulary, self.rows, self.total, self.max_tokens = vocabulary, rows, bars, max_tokens
        self.wanted = {"Key": key, "Metre": metre}
        self.ids = np.arange(vocabulary.size, dtype=np.int16)
        self.range = {name: vocabulary.range(name) for name in vocabulary.families}
        self.bar = self.range["Bar"].start  # the token that begins a bar
        self.length = np.zeros(rows, np.int64)
        self.bars = np.full(rows, -1)
        self.positions = np.zeros(rows, np.int64)
        self.last = np.zeros(rows, np.int64)  # token of each row, 0 before the first

    def read(self, prompt: np.ndarray) -> None:
        """Follow a prompt, Int[rows, time], padded on the right. Raises ConfigError, if nothing may follow it."""
        for ids in prompt.T:
            self.advance(ids)
        if (self.length >= self.max_tokens).any():
            raise ConfigError(f"max_tokens = {self.max_tokens}: the prompt has as many; ask for more.")

    def advance(self, ids: np.ndarray) -> None:
        """Follow one token of each row, Int[rows]; PAD (0) leaves a row as it is."""
        for row in np.flatnonzero(ids).tolist():
            id = int(ids[row])
            self.length[row] += 1
            self.last[row] = id
            if id == self.bar:
                self.bars[row] += 1
            self.positions[row] = 0
            self._follow(row, id)

    def mask(self) -> np.ndarray:
        """Bool[rows, vocabulary]: True where a token may come next. A row that has ended may only be padded."""
        legal = np.zeros((self.rows, len(self.ids)), bool)
        for row, last in enumerate(self.last.tolist()):
            if last in (0, EOS):
                legal[row, BOS if last == 0 else 0] = True
            elif last == BOS:
                self._one(legal[row], "Key")
            else:
                self._allow(row, legal[row])
        return legal

    @property
    def done(self) -> np.ndarray:
        """Bool[rows]: which songs have ended."""
        return self.last == EOS

    def place(self) -> np.ndarray:
        """Int64[3, rows]: bar, position and countdown of each row's last token, as in a TokenBatch."""
        return place(self.bars, self.positions, self.total)

    def _one(self, legal: np.ndarray, family: str) -> None:
        """Allow a family, or of it the one that is wanted."""
        wanted = self.wanted.get(family)
        legal[list(self.range[family]) if wanted is None else wanted] = True

    def _line(self, row: int, legal: np.ndarray) -> None:
        """The bar is full: a bar line or the end."""
        more = self.bars[row] + 1 < self.total if self.total is not None else True
        legal[self.bar] = more and self.length[row] + self._shortest < self.max_tokens
        legal[EOS] = self.total is None or not more or not legal[self.bar]

    _shortest = 4
    """Tokens that a bar needs at least, and EOS."""

    def _follow(self, row: int, id: int) -> None:
        raise NotImplementedError

    def _allow(self, row: int, legal: np.ndarray) -> None:
        raise NotImplementedError


class MelodyGrammar(StrictGrammar):
    """One voice; see `representations.melody`. Where the number of bars is given, no note outlasts the last."""

    def __init__(self, vocabulary: Vocabulary, rows: int = 1, *, lowest: int = 0, highest: int = 127, **wishes) -> None:
        """`lowest` and `highest`: the pitches that may be played."""
        super().__init__(vocabulary, rows, **wishes)
        self.now = np.zeros(rows, np.int64)  # steps since the first bar line
        self.bar_length = np.full(rows, melody.bar_length("4/4"))
        first = self.range["Pitch"].start
        self.pitches = slice(first + lowest, first + highest + 1)

    def _follow(self, row: int, id: int) -> None:
        name = self.vocabulary.families[self.vocabulary.family_of[id]]
        label = id - self.range[name].start
        if name == "Metre":
            self.bar_length[row] = melody.bar_length(melody.METRES[label])
        elif name in ("Pitch", "Rest", "Duration"):
            self.positions[row] = self.now[row] - self.bars[row] * self.bar_length[row] + 1
            if name == "Duration":
                self.now[row] += label + 1

    def _allow(self, row: int, legal: np.ndarray) -> None:
        last = int(self.last[row])
        end = (self.bars[row] + 1) * self.bar_length[row]  # of the bar
        if last in self.range["Key"]:
            self._one(legal, "Metre")
        elif last in self.range["Metre"]:
            legal[self.bar] = True
        elif last in self.range["Pitch"] or last == self.range["Rest"].start:
            rest = melody.LONGEST
            if self.total is not None:
                rest = min(rest, self.total * self.bar_length[row] - self.now[row])
            if self.length[row] + 4 + self._shortest > self.max_tokens:  # the song must end: so must the bar
                legal[self.range["Duration"].start + min(max(end - self.now[row], 1), rest) - 1] = True
            else:
                legal[self.range["Duration"].start : self.range["Duration"].start + rest] = True
        elif self.now[row] < end:
            legal[self.pitches] = True
            legal[self.range["Rest"].start] = True
            legal[EOS] = self.total is None and last in self.range["Duration"]  # after an upbeat, the last bar is short
        else:
            self._line(row, legal)


class VoicesGrammar(StrictGrammar):
    """Four voices; see `representations.voices`. All four sound in every step, each within its range.

    strict:  no parallel fifths and octaves: no two voices move in one direction from a fifth to a fifth, or from an
             octave or unison to another. A voice that may go nowhere holds.
    """

    _shortest = 4 * max(voices.METRES.values()) + 2

    def __init__(self, vocabulary: Vocabulary, rows: int = 1, *, strict: bool = True, **wishes) -> None:
        super().__init__(vocabulary, rows, **wishes)
        self.strict = strict
        self.step = np.zeros(rows, np.int64)  # steps of the bar that are complete, an upbeat's missing ones counted
        self.slot = np.zeros(rows, np.int64)  # voices of this step that are written
        self.bar_length = np.full(rows, voices.METRES["4/4"])  # steps
        self.upbeat = np.zeros(rows, np.int64)
        self.now = np.full((rows, 4), voices.REST)  # what sounds in each slot, and what did in the step before
        self.before = np.full((rows, 4), voices.REST)

    def _follow(self, row: int, id: int) -> None:
        pitches = self.range["Pitch"]
        if id in self.range["Metre"]:
            self.bar_length[row] = list(voices.METRES.values())[id - self.range["Metre"].start]
        elif id in self.range["Upbeat"]:
            self.upbeat[row] = id - self.range["Upbeat"].start
        elif id == self.bar:
            self.step[row] = -self.upbeat[row] % self.bar_length[row] if self.bars[row] == 0 else 0
        elif id in pitches or id in (self.range["Hold"].start, self.range["Rest"].start):
            slot = int(self.slot[row])
            if slot == 0:
                self.before[row] = self.now[row]
            if id != self.range["Hold"].start:
                self.now[row, slot] = id - pitches.start + voices.LOW if id in pitches else voices.REST
            self.positions[row] = self.step[row] + 1
            self.slot[row] = (slot + 1) % 4
            self.step[row] += slot == 3

    def _allow(self, row: int, legal: np.ndarray) -> None:
        last, slot = int(self.last[row]), int(self.slot[row])
        if last in self.range["Key"]:
            self._one(legal, "Metre")
        elif last in self.range["Metre"]:
            legal[self.range["Upbeat"].start : self.range["Upbeat"].start + self.bar_length[row]] = True
        elif last in self.range["Upbeat"]:
            legal[self.bar] = True
        elif slot == 0 and self.step[row] == self.bar_length[row] and last != self.bar:
            self._line(row, legal)
        else:
            was = int(self.before[row, slot] if slot else self.now[row, 0])
            legal[self.range["Hold"].start] = was != voices.REST
            pitches = np.arange(voices.RANGES[slot][0], voices.RANGES[slot][1] + 1)
            fine = pitches != was
            if self.strict:
                others = [(int(self.before[row, other]), int(self.now[row, other])) for other in range(slot)]
                fine &= ~parallels(pitches, was, others)
            legal[self.range["Pitch"].start + pitches[fine] - voices.LOW] = True
            if not legal.any():  # only where the very first chord has no other
                legal[self.range["Pitch"].start + pitches - voices.LOW] = True


def parallels(pitches: np.ndarray, was: int, others: Sequence[tuple[int, int]]) -> np.ndarray:
    """Bool[n]: whether going from pitch `was` to each of `pitches` makes parallel fifths or octaves with a voice that
    went (from, to); REST is no pitch."""
    wrong = np.zeros(len(pitches), bool)
    for start, end in others:
        perfect = abs(was - start) % 12
        if min(start, end, was) >= 0 and start != end and perfect in (0, 7):
            same_way = np.sign(pitches - was) == np.sign(end - start)
            wrong |= same_way & (np.abs(pitches - end) % 12 == perfect)
    return wrong
