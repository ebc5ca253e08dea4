"""Which of several candidates of a bar is played: what meets the classes best, then what is most like the source."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray

from ritornello.layers.texture import sixteenths
from ritornello.models.musemorphose import MuseMorphose
from ritornello.representations.base import Tokens

Floats = NDArray[np.float64]


class Judge:
    """How good candidates of a song's bar are (`sampling.candidates`): the classes that they miss, each counted as
    often as it is far off, weigh more than any likeness; among equals it is the mean of two cosines, that of the notes
    on each pitch class and that of the notes at each sixteenth, with the source's bar.

    sources:  of every song; where one has no notes, likeness says nothing.
    classes:  [bars, 2] that are asked of each; -1 as the model likes.
    """

    def __init__(
        self,
        model: MuseMorphose,
        sources: Sequence[Tokens],
        classes: Int[np.ndarray, "songs bars 2"] | Sequence[Int[np.ndarray, "bars 2"]],
    ) -> None:
        self.model, self.classes = model, classes
        self.pitches = model.vocabulary.range("Pitch")
        self.sources = []
        for source in sources:
            ends = np.searchsorted(source.bars, np.arange(int(source.bars[-1]) + 2))
            bars = [self._onsets(source.ids[i:j], source.positions[i:j]) for i, j in pairwise(ends)]
            self.sources.append(bars if any(chroma.any() for chroma, _ in bars) else None)

    def __call__(self, song: int, bar: int, drafts: Sequence[Int[np.ndarray, "3 time"]]) -> Floats:
        asked = self.classes[song][bar]
        missed = np.where(asked < 0, 0, abs(self._reached(drafts) - asked)).sum(1)
        source = self.sources[song]
        if source is None:
            return -missed.astype(np.float64)
        own = (self._onsets(*draft[:, np.searchsorted(draft[1], bar) :][[0, 2]]) for draft in drafts)
        return (
            np.array([np.mean([_cosine(a, b) for a, b in zip(source[bar], one, strict=True)]) for one in own]) - missed
        )

    def _reached(self, drafts: Sequence[Int[np.ndarray, "3 time"]]) -> Int[np.ndarray, "candidates 2"]:
        """The classes of the last bar of each draft."""
        rows = np.repeat(np.arange(len(drafts)), [draft.shape[1] for draft in drafts])
        ids, bars, positions = np.concatenate(drafts, axis=1)
        last = np.append(np.flatnonzero(np.diff(rows)), len(rows) - 1)
        texture = self.model.ruler.texture(ids, rows, bars, positions)[last]
        return self.model.classify(torch.from_numpy(1000 * texture).round().to(self.model.bounds)).cpu().numpy()

    def _onsets(self, ids: Int[np.ndarray, " n"], positions: Int[np.ndarray, " n"]) -> tuple[Floats, Floats]:
        """Of a bar: notes on each of the twelve pitch classes, and at each sixteenth (at most 64)."""
        note = (ids >= self.pitches.start) & (ids < self.pitches.stop)
        chroma = np.bincount((ids[note] - self.pitches.start) % 12, minlength=12)
        groove = np.bincount(np.minimum(sixteenths(positions[note] - 1), 63), minlength=64)
        return chroma.astype(np.float64), groove.astype(np.float64)


def _cosine(one: Floats, other: Floats) -> float:
    """1 where both are silent, 0 where one is."""
    if not one.any() and not other.any():
        return 1.0
    return float(one @ other / max(np.linalg.norm(one) * np.linalg.norm(other), 1e-12))
