"""How full bars are to be: notes a bar that are asked for, and which of several candidates comes nearest."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from ritornello.representations.vocabulary import Vocabulary

Span = tuple[int, int]
_WISH = re.compile(r"\s*(?:(\d+)(?:\s*-\s*(\d+))?\s*:)?\s*(\d+)(?:\s*-\s*(\d+))?\s*")


def densities(wish: str, bars: int | None = None) -> list[tuple[Span, Span]]:
    """ "20-60" → of all bars; "1-8:10-30,9-16:40" → of some: first and last bar, from 1, and fewest and most notes.

    Raises: ValueError for anything else, or for bars beyond `bars`.
    """
    found = []
    for piece in wish.split(","):
        match = _WISH.fullmatch(piece)
        if not match:
            raise ValueError(f"density = {wish!r}: {piece!r} should be notes a bar, as in 20-60 or 1-8:10-30.")
        first, last, fewest, most = (int(number) if number else None for number in match.groups())
        span = (first or 1, last or first or bars or 2**31)
        notes = (fewest or 0, fewest or 0) if most is None else (fewest or 0, most)
        if first == 0 or span[0] > span[1] or notes[0] > notes[1]:
            raise ValueError(f"density = {wish!r}: {piece!r} should rise, and bars are counted from 1.")
        if bars is not None and span[1] > bars:
            raise ValueError(f"density = {wish!r}: {piece!r} should lie within the song's {bars} bars.")
        found.append((span, notes))
    return found


class Fullness:
    """How good candidates of a bar are (`candidates.Judgement`): 0 within what is asked, below it the further off.

    Among equals the first is kept, so that a bar that is as it should be is what the model would have written.

    wishes:  as `densities` gives them; of a bar that several name, the last counts.
    """

    def __init__(self, vocabulary: Vocabulary, wishes: Sequence[tuple[Span, Span]]) -> None:
        self.wishes = wishes
        self.is_note = np.zeros(vocabulary.size, bool)
        for family in ("Pitch", "Drum"):
            if family in vocabulary.families:
                self.is_note[vocabulary.range(family).start : vocabulary.range(family).stop] = True

    @property
    def last(self) -> int:
        """The last bar, counted from 1, of which something is asked."""
        return max(last for (_, last), _ in self.wishes)

    def __call__(self, song: int, bar: int, drafts: Sequence[Int[np.ndarray, "3 time"]]) -> list[float]:
        asked = [notes for (first, last), notes in self.wishes if first <= bar + 1 <= last]
        if not asked:
            return [0.0] * len(drafts)
        fewest, most = asked[-1]
        counts = (int(self.is_note[draft[0, draft[1] == bar]].sum()) for draft in drafts)
        return [-abs(math.log((1 + count) / (1 + min(max(count, fewest), most)))) for count in counts]
