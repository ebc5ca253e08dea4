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
    past: NDArray[np.int16] = field(default_factory=lambda: np.zeros(0, np.int16))
    """[m]: of a crop, the ids that stand before it in its song, where they are kept."""

    def __len__(self) -> int:
        return len(self.ids)


SILENT, HELD, ONSET = 0, 1, 2  # what a cell of a Roll can be


@dataclass(frozen=True, eq=False)
class Roll:
    """One encoded song of n steps of a sixteenth: what every key of every track does at every step."""

    cells: NDArray[np.uint8]  # [tracks, n, 128]: SILENT, HELD (goes on sounding) or ONSET
    bars: NDArray[np.int32]  # [n]: the musical bar of every step, from 0; a pickup is a bar, shorter than the others
    meta: dict[str, Any] = field(default_factory=dict)  # JSON-able: tempo, metre, programs, transposition …

    def __len__(self) -> int:
        return len(self.bars)


class Representation(Protocol):
    """Score ⇄ Tokens or Roll: `decode(encode(score)) == normalise(score)`, note for note, for all that it accepts."""

    @property
    def name(self) -> str: ...

    @property
    def vocabulary(self) -> Vocabulary:
        """What the ids of Tokens mean. That of a Roll has no events."""
        ...

    def encode(self, score: Score) -> Any:
        """Tokens or a Roll. Raises MusicError where the representation cannot hold the score."""
        ...

    def decode(self, encoded: Any, /) -> Score:
        """Raises MusicError where the Tokens are not well-formed; a Roll always is."""
        ...

    def normalise(self, score: Score) -> Score:
        """What the representation keeps of a score: the nearest it can say."""
        ...
