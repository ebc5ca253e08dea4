"""Songs of which some tokens are settled beforehand: metre and tempo of every bar, or whole bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ritornello.representations.vocabulary import Vocabulary
from ritornello.sampling.grammar import END, NEW_BAR, Grammar


@dataclass(frozen=True)
class Settled:
    """What a bar holds after its Bar token: these ids first; nothing else where `whole`."""

    ids: Sequence[int]
    whole: bool = False


class ScriptedGrammar(Grammar):
    """A grammar that follows a script: for every row, what is settled of each of its bars.

    All rows have as many bars as their scripts, which must be equally many. Other wishes are those of `Grammar`.
    """

    _STATE = (*Grammar._STATE, "began")

    def __init__(self, vocabulary: Vocabulary, script: Sequence[Sequence[Settled]], **wishes: Any) -> None:
        """Raises ValueError for scripts of different length."""
        counts = {len(bars) for bars in script}
        if len(counts) != 1:
            raise ValueError(f"the scripts of one batch should have equally many bars; they have {sorted(counts)}")
        self.script = script
        self.began = np.zeros(len(script), np.int64)  # tokens when the current bar began, its Bar included
        super().__init__(vocabulary, len(script), bars=counts.pop(), **wishes)

    def mask(self) -> np.ndarray:
        legal = super().mask()
        for row in np.flatnonzero((self.bars >= 0) & ~self.done).tolist():
            settled, place = self.script[row][self.bars[row]], int(self.length[row] - self.began[row])
            if place < len(settled.ids):
                legal[row] = self.ids == settled.ids[place]
            elif settled.whole:
                legal[row] &= (self.family == NEW_BAR) | (self.family == END)
        return legal

    def _after_bar(self, rows, ids: np.ndarray) -> None:
        super()._after_bar(rows, ids)
        self.began[rows] = self.length[rows]
