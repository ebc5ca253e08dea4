"""Many scores together: a look at each, and what they add up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ritornello.facts import Facts, facts
from ritornello.music.attributes import bar_attributes
from ritornello.music.score import Score
from ritornello.music.similarity import INTERVALS, per_song, structure_offsets

ATTRIBUTES = ("rhythmic_intensity", "polyphony", "notes")  # those that every score has
BLOCKS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, eq=False)
class Look:
    """One score: what it is, what its bars are like, how alike they are."""

    facts: Facts
    attributes: dict[str, NDArray[np.float64]]  # [bars] each
    sums: NDArray[np.float64]  # [T] similarity of bars t apart, summed over pairs (similarity.interval_sums)
    pairs: NDArray[np.int64]  # [T] how many pairs


def look(score: Score) -> Look:
    """Everything that a survey needs of a score with at least one note."""
    attributes = bar_attributes(score)
    return Look(facts(score), {name: attributes[name] for name in ATTRIBUTES}, *per_song(score))


@dataclass(eq=False)
class Survey:
    """Looks, one after another; their similarities are summed, so that long songs weigh more (Equation 5)."""

    songs: list[Facts] = field(default_factory=list)
    attributes: dict[str, list[NDArray[np.float64]]] = field(default_factory=lambda: {name: [] for name in ATTRIBUTES})
    sums: NDArray[np.float64] = field(default_factory=lambda: np.zeros(INTERVALS))
    pairs: NDArray[np.int64] = field(default_factory=lambda: np.zeros(INTERVALS, np.int64))

    def add(self, look: Look) -> None:
        self.songs.append(look.facts)
        for name, values in look.attributes.items():
            self.attributes[name].append(values)
        self.sums, self.pairs = self.sums + look.sums, self.pairs + look.pairs

    @property
    def distribution(self) -> NDArray[np.float64]:
        """L_t for t = 1 ... T, float64[T]; nan where no song has two bars t apart."""
        return np.divide(self.sums, self.pairs, out=np.full(INTERVALS, np.nan), where=self.pairs > 0)

    def similarity(self) -> dict[str, Any]:
        """JSON-able: the similarity distribution and the structure-related offsets that follow from it."""
        values = [None if np.isnan(value) else round(float(value), 5) for value in self.distribution]
        return {"distribution": values, "structure_offsets": list(structure_offsets(self.distribution))}

    def summary(self) -> dict[str, Any]:
        """JSON-able: quartiles of numbers, and in how many songs each metre, key and instrument occurs."""
        numbers = {name: [getattr(song, name) for song in self.songs] for name in ("bars", "seconds", "notes", "tempo")}
        return {
            "songs": len(self.songs),
            "quartiles_of_songs": {name: quartiles(values) for name, values in numbers.items()},
            "quartiles_of_bars": {name: quartiles(np.concatenate(v)) for name, v in self.attributes.items() if v},
            "metres": _songs_with(song.metres for song in self.songs),
            "keys": _songs_with([song.key] for song in self.songs),
            "instruments": _songs_with(song.instruments for song in self.songs),
            "similarity": self.similarity(),
        }


def quartiles(values: ArrayLike) -> list[float]:
    """First quartile, median, third quartile; empty without values."""
    values = np.asarray(values, np.float64)
    return [round(float(q), 3) for q in np.quantile(values, (0.25, 0.5, 0.75))] if len(values) else []


def sparkline(values: ArrayLike) -> str:
    """Numbers as a row of blocks, the highest full; blank for nan."""
    heights = np.nan_to_num(np.asarray(values, np.float64))
    steps = np.ceil(heights / max(float(heights.max(initial=0)), 1e-9) * (len(BLOCKS) - 1)).astype(int)
    return "".join(BLOCKS[step] for step in steps)


def _songs_with(things: Iterable[Iterable[str]]) -> dict[str, int]:
    return dict(Counter(thing for song in things for thing in set(song)).most_common())
