"""How full bars are to be: notes a bar, of all or of an instrument, and which of several candidates comes nearest."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from ritornello.representations.vocabulary import Vocabulary

_WISH = re.compile(r"\s*(?:(\d+)(?:\s*-\s*(\d+))?\s*:)?\s*(?:([A-Za-z].*?)\s+)?(\d+)(?:\s*-\s*(\d+))?\s*")


class Wish(NamedTuple):
    """Notes that some bars are to have."""

    first: int
    last: int
    """Bars, counted from 1."""
    fewest: int
    most: int
    instrument: str | None = None
    """Whose notes; None: all."""


def densities(wish: str, bars: int | None = None) -> list[Wish]:
    """ "20-60" → of all bars; "1-8:10-30,9-16:40" → of some; "1-8:melody 2-9" → of the melody alone.

    Raises: ValueError for anything else, or for bars beyond `bars`.
    """
    found = []
    for piece in wish.split(","):
        match = _WISH.fullmatch(piece)
        if not match:
            raise ValueError(f"density = {wish!r}: {piece!r} should be notes a bar, as in 20-60 or 1-8:bass 2-8.")
        first, last, fewest, most = (int(number) if number else None for number in match.group(1, 2, 4, 5))
        least = fewest or 0
        asked = Wish(first or 1, last or first or bars or 2**31, least, least if most is None else most)
        if match[3]:
            asked = asked._replace(instrument=match[3].lower())
        if first == 0 or asked.first > asked.last or asked.fewest > asked.most:
            raise ValueError(f"density = {wish!r}: {piece!r} should rise, and bars are counted from 1.")
        if bars is not None and asked.last > bars:
            raise ValueError(f"density = {wish!r}: {piece!r} should lie within the song's {bars} bars.")
        found.append(asked)
    return found


class Fullness:
    """How good candidates of a bar are (`candidates.Judgement`): 0 within what is asked, below it the further off.

    Among equals the first is kept, so that a bar that is as it should be is what the model would have written.

    wishes:       as `densities` gives them; of those that name a bar for the same instrument the last counts.
    instruments:  the Instrument tokens of every instrument that the wishes name.
    """

    def __init__(
        self, vocabulary: Vocabulary, wishes: Sequence[Wish], instruments: Mapping[str, Sequence[int]] | None = None
    ) -> None:
        self.wishes = wishes
        self.is_note, self.is_instrument = np.zeros((2, vocabulary.size), bool)
        for kind, families in ((self.is_note, ("Pitch", "Drum")), (self.is_instrument, ("Instrument",))):
            for family in families:
                if family in vocabulary.families:
                    kind[vocabulary.range(family).start : vocabulary.range(family).stop] = True
        self.plays: dict[str | None, Bool[np.ndarray, " vocabulary"]] = {None: np.ones(vocabulary.size, bool)}
        for name, tokens in (instruments or {}).items():
            self.plays[name] = np.isin(np.arange(vocabulary.size), tokens)

    @property
    def last(self) -> int:
        """The last bar, counted from 1, of which something is asked."""
        return max(wish.last for wish in self.wishes)

    def __call__(self, song: int, bar: int, drafts: Sequence[Int[np.ndarray, "3 time"]]) -> list[float]:
        asked = {wish.instrument: wish for wish in self.wishes if wish.first <= bar + 1 <= wish.last}
        bars = [draft[0, draft[1] == bar] for draft in drafts]
        return [-sum(self._far(wish, tokens) for wish in asked.values()) for tokens in bars]

    def _far(self, wish: Wish, tokens: Int[np.ndarray, " time"]) -> float:
        """How far a bar is from what is asked, as the logarithm of how many times as many notes it should have."""
        begins = np.maximum.accumulate(self.is_instrument[tokens] * np.arange(len(tokens)))  # who plays: said before
        count = int((self.is_note[tokens] & self.plays[wish.instrument][tokens[begins]]).sum())
        return abs(math.log((1 + count) / (1 + min(max(count, wish.fewest), wish.most))))
