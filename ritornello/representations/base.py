"""What every representation is: Score ⇄ arrays, and the encoded form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ritornello.music.score import Score
from ritornello.representations.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class Tokens:
    """One encoded song of n tokens and b bars."""

    ids: NDArray[np.int16]  # [n]
    bars: NDArray[np.int32]  # [n]: the musical bar of every token, from 0; BOS is in the first bar, EOS in the last
    positions: NDArray[np.int16]  # [n]: 0 for what belongs to the whole bar, else the onset's step in the bar + 1
    attributes: NDArray[np.int16]  # [b, k]: a row per bar; k may be 0
    meta: dict[str, Any] = field(default_factory=dict)  # JSON-able: transposition, key, what was dropped …

    def __len__(self) -> int:
        return len(self.ids)


class Representation(Protocol):
    """Score ⇄ Tokens. `decode(encode(score)) == normalise(score)`, note for note, for every score it accepts."""

    @property
    def name(self) -> str: ...

    @property
    def vocabulary(self) -> Vocabulary: ...

    def encode(self, score: Score) -> Tokens:
        """Raises MusicError where the representation cannot hold the score."""
        ...

    def decode(self, tokens: Tokens) -> Score:
        """Raises MusicError where the tokens are not well-formed."""
        ...

    def normalise(self, score: Score) -> Score:
        """What the representation keeps of a score: the nearest it can say."""
        ...
