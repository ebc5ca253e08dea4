"""How well a piece that was restyled obeys, and how much of it is left: MuseMorphose's measures (section V).

All are over bars. A bar's chroma is how many notes begin on each of the twelve pitch classes, its groove how many begin
at each of its sixteenths; two bars are as alike as the cosine of the angle between them, times 100.

- fidelity: bars of the result beside the same bars of the source; high where the piece is still to be heard.
- diversity: bars of one result beside the same bars of another from the same source; low where they differ.
- control: Spearman's rank correlation of the class that was asked of a bar with the attribute that it has; its leak is
  that of the class asked for one attribute with the other one, without sign; and how often the class is met.

The paper gives these names and the cosine; what follows is ours. A bar in which nothing begins on both sides counts
for nothing, on one side as 0. Drums have no chroma.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from ritornello.music.bars import bars
from ritornello.music.score import Score

SIXTEENTHS = 4  # of a quarter
ATTRIBUTES = ("rhythm", "polyphony")

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Profiles:
    """What begins in each of b bars: chroma[b, 12] and groove[b, sixteenths of the longest bar], counts of onsets."""

    chroma: Floats
    groove: Floats


def profiles(score: Score, count: int | None = None) -> Profiles:
    """Chroma and groove of the first `count` bars of a score (by default of all); bars beyond its last are empty."""
    grid = bars(score)
    total = max(len(grid), count or 0)
    quarter = score.ticks_per_quarter
    widest = -(-int(np.diff(grid.starts).max()) * SIXTEENTHS // quarter)
    chroma, groove = np.zeros((total, 12)), np.zeros((total, max(widest, 1)))
    for track in score.tracks:
        notes = track.notes.numpy()
        # to the nearest sixteenth first, half up, since that may be in the next bar
        onset = (notes["time"].astype(np.int64) * 2 * SIXTEENTHS + quarter) // (2 * quarter)
        starts = (grid.starts * 2 * SIXTEENTHS + quarter) // (2 * quarter)
        bar = np.clip(np.searchsorted(starts, onset, "right") - 1, 0, len(grid) - 1)
        np.add.at(groove, (bar, np.minimum(onset - starts[bar], groove.shape[1] - 1)), 1)
        if not track.is_drum:
            np.add.at(chroma, (bar, notes["pitch"].astype(np.int64) % 12), 1)
    return Profiles(chroma[:count], groove[:count])


def similarity(one: ArrayLike, other: ArrayLike) -> Floats:
    """Cosine of every row with the same row of the other, times 100: float64[b]; 0 where one row is all zeros, nan
    where both are. Rows are filled up with zeros to the same width.

    Raises: ValueError where they have different numbers of rows.
    """
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if len(a) != len(b):
        raise ValueError(f"bars are compared one by one; there are {len(a)} and {len(b)}")
    width = max(a.shape[1], b.shape[1])
    a, b = (np.pad(x, ((0, 0), (0, width - x.shape[1]))) for x in (a, b))
    sizes = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    cosine = (a * b).sum(1) / np.maximum(sizes[0] * sizes[1], 1e-12)
    return np.where((sizes[0] == 0) & (sizes[1] == 0), np.nan, 100 * np.clip(cosine, 0, 1))


def likeness(one: Profiles, other: Profiles) -> dict[str, float]:
    """Mean similarity of the bars of two songs in chroma and in groove, 0 to 100; nan where no bar sounds."""
    return {name: mean(similarity(getattr(one, name), getattr(other, name))) for name in ("chroma", "groove")}


def fidelity(source: Profiles, results: Sequence[Profiles]) -> dict[str, float]:
    """Mean likeness of results to their source."""
    return _average([likeness(source, result) for result in results])


def diversity(results: Sequence[Profiles]) -> dict[str, float]:
    """Mean likeness of every two results of one source; nan for fewer than two."""
    return _average([likeness(one, other) for one, other in combinations(results, 2)])


def spearman(one: ArrayLike, other: ArrayLike) -> float:
    """Spearman's rank correlation, ties sharing their mean rank; nan where either does not vary."""
    a, b = (rankdata(np.asarray(x, np.float64)) for x in (one, other))
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else float("nan")


def partial_spearman(one: ArrayLike, other: ArrayLike, given: ArrayLike) -> float:
    """Spearman's correlation of two once a third is held constant; nan where a rank follows from it."""
    ab, ac, bc = spearman(one, other), spearman(one, given), spearman(other, given)
    rest = (1 - ac**2) * (1 - bc**2)
    return float((ab - ac * bc) / np.sqrt(rest)) if rest > 1e-12 else float("nan")


def control(asked: Ints, measured: Floats, reached: Ints) -> dict[str, dict[str, float]]:
    """How the bars obey, for each attribute.

    Args:
        asked: int[bars, 2], the classes asked for: rhythm, polyphony.
        measured: float[bars, 2], the attributes of the result.
        reached: int[bars, 2], their classes.

    Returns:
        {attribute: figures}, where the figures are

        correlation: Spearman of the class asked for and the attribute measured; 1 is best.
        leak: |Spearman| of the class asked for and the *other* attribute, as in the paper; 0 is best.
        leak_partial: the same, the other class asked for held constant: what leaks though nobody asked for it. Where
            both classes were asked for together (busy bars are full bars), the plain leak is not 0 even without one.
        exact, near: share of bars whose class is the one asked for, or at most one beside it.
    """
    figures = {}
    for k, name in enumerate(ATTRIBUTES):
        missed = np.abs(reached[:, k] - asked[:, k])
        figures[name] = {
            "correlation": spearman(asked[:, k], measured[:, k]),
            "leak": abs(spearman(asked[:, k], measured[:, 1 - k])),
            "leak_partial": abs(partial_spearman(asked[:, k], measured[:, 1 - k], asked[:, 1 - k])),
            "exact": mean(missed == 0),
            "near": mean(missed <= 1),
        }
    return figures


def mean(values: ArrayLike) -> float:
    """Mean of what is not nan; nan where nothing is left."""
    numbers = np.asarray(values, np.float64)
    numbers = numbers[np.isfinite(numbers)]
    return float(numbers.mean()) if len(numbers) else float("nan")


def _average(figures: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: mean([one[name] for one in figures]) for name in ("chroma", "groove")}
