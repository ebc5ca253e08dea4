"""Bootstrap over songs: how far a figure would move with other songs of the same kind.

Songs, not tokens or bars, are drawn with replacement, because what one song holds is not independent. The same seed and
the same number of songs always draw the same songs, so that two systems measured on the same songs are compared fairly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.9  # intervals are the 5th to the 95th percentile
RESAMPLES = 1000


def draws(songs: int, seed: int = 0, resamples: int = RESAMPLES) -> NDArray[np.float64]:
    """[resamples, songs]: how often each song is drawn in each resample; every row sums to `songs`."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(songs, np.full(songs, 1 / songs), size=resamples).astype(np.float64)


def interval(
    parts: Sequence[ArrayLike],
    figure: Callable[..., NDArray[np.float64]],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> list[float]:
    """[low, high] of `figure(*sums)`, where sums are the parts ([songs, ...] each) summed over the songs of a resample.

    `figure` gets arrays with a leading axis of resamples and returns one number for each. Resamples for which it is not
    a number (no song drawn has what it needs) do not count; [nan, nan] where there is no song.
    """
    arrays = [np.asarray(part, np.float64) for part in parts]
    if len(arrays[0]) == 0:
        return [float("nan"), float("nan")]
    counts = draws(len(arrays[0]), seed, resamples)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = figure(*(np.tensordot(counts, array, axes=1) for array in arrays))
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return [float("nan"), float("nan")]
    tail = (1 - LEVEL) / 2
    return [float(x) for x in np.quantile(values, [tail, 1 - tail])]


def median_interval(values: ArrayLike, seed: int = 0, resamples: int = RESAMPLES) -> list[float]:
    """[low, high] of the median of one number a song; songs without it (nan) do not count."""
    numbers = np.asarray(values, np.float64)
    numbers = numbers[np.isfinite(numbers)]
    if len(numbers) == 0:
        return [float("nan"), float("nan")]
    drawn = np.random.default_rng(seed).choice(numbers, (resamples, len(numbers)))
    tail = (1 - LEVEL) / 2
    return [float(x) for x in np.quantile(np.median(drawn, axis=1), [tail, 1 - tail])]
