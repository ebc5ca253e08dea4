"""Does music come back as human music does? Similarity of bars by their interval, and bars that return note for note.

The measure is the Museformer paper's: the mean similarity L_t of bars that lie t bars apart (Equations 4 and 5, section
3.3) and its distance from that of human songs, the similarity error (Equation 6, T = 40), on the melody, as in the
paper's Figure 3, and on all tracks. The conventions for empty bars are those of `music.similarity`.

The trap: human similarities are small, so music that never repeats anything errs by no more than their mean, which on
the melody is little. Hence `repetition_free` stands beside every error, and the peaks and the share of literal
repeats beside both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ritornello.errors import MusicError
from ritornello.evaluate.bootstrap import interval
from ritornello.music.score import Score
from ritornello.music.similarity import bar_similarity

T = 40  # intervals, in bars
PEAKS = (4, 8, 16, 32)
REPEATS = (1, 2, 4, 8, 16)
TRACKS = ("melody", "all")

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Structure:
    """What is counted in each of n songs, for one choice of tracks; sums, so that songs can be drawn again."""

    similar: Array  # [n, T]: sum of l over pairs of bars t apart
    pairs: Array  # [n, T]: how many pairs
    repeated: Array  # [n, 6]: bars that hold notes and are identical to the bar 1, 2, 4, 8, 16 before; to any before
    bars: Array  # [n, 6]: bars that hold notes and have such a bar before them, empty or not

    def __len__(self) -> int:
        return len(self.similar)


def structure(scores: Iterable[Score]) -> dict[str, Structure]:
    """What is counted in songs, on the melody and on all tracks. Scores are read one at a time."""
    counted = {tracks: [] for tracks in TRACKS}
    for score in scores:
        for tracks in TRACKS:
            counted[tracks].append(_count(score, tracks))
    return {
        tracks: Structure(*(np.array(columns, np.float64) for columns in zip(*rows, strict=True)))
        if rows
        else Structure(*(np.zeros((0, n)) for n in (T, T, len(REPEATS) + 1, len(REPEATS) + 1)))
        for tracks, rows in counted.items()
    }


def compare(generated: Mapping[str, Structure], human: Mapping[str, Structure], seed: int = 0) -> dict[str, Any]:
    """Figures of generated songs beside human ones for each choice of tracks; `report` has the keys.

    Raises MusicError where there is no song on one side, or none of several bars.
    """
    return {tracks: _compare(generated[tracks], human[tracks], tracks, seed) for tracks in TRACKS}


def _compare(generated: Structure, human: Structure, tracks: str, seed: int) -> dict[str, Any]:
    for songs, whose in ((generated, "generated"), (human, "human")):
        if not songs.pairs.any():
            what = "with a track named melody" if tracks == "melody" else "of more than one bar"
            raise MusicError(f"Structure needs {whose} songs {what}; there are none among {len(songs)}.")
    ours, theirs = _mean(generated.similar.sum(0), generated.pairs.sum(0)), _mean(human.similar.sum(0), human.pairs.sum(0))

    def error(similar: Array, pairs: Array) -> Array:
        return similarity_error(_mean(similar, pairs), theirs)

    return {
        "similarity_error": {
            "value": float(similarity_error(ours, theirs)),
            "interval": interval([generated.similar, generated.pairs], error, seed),
        },
        "repetition_free": float(similarity_error(np.zeros(T), theirs)),
        "human_error": _human_error(human, len(generated), seed),
        "distribution": ours.tolist(),
        "human_distribution": theirs.tolist(),
        "peaks": {str(t): _peak(generated, human, t, seed) for t in PEAKS},
        "repeats": {name: _repeat(generated, human, i, seed) for i, name in enumerate([*map(str, REPEATS), "any"])},
    }


def _peak(generated: Structure, human: Structure, t: int, seed: int) -> dict[str, Any]:
    """L_t and how far it rises above the mean of L_{t-1} and L_{t+1}, which music that is merely uniform does not."""
    ours, theirs = (_mean(songs.similar.sum(0), songs.pairs.sum(0)) for songs in (generated, human))
    return {
        "value": float(ours[t - 1]),
        "interval": interval([generated.similar[:, t - 1], generated.pairs[:, t - 1]], _mean, seed),
        "human": float(theirs[t - 1]),
        "rise": float(ours[t - 1] - (ours[t - 2] + ours[t]) / 2),
        "human_rise": float(theirs[t - 1] - (theirs[t - 2] + theirs[t]) / 2),
    }


def _repeat(generated: Structure, human: Structure, i: int, seed: int) -> dict[str, Any]:
    return {
        "value": float(_mean(generated.repeated[:, i].sum(), generated.bars[:, i].sum())),
        "interval": interval([generated.repeated[:, i], generated.bars[:, i]], _mean, seed),
        "human": float(_mean(human.repeated[:, i].sum(), human.bars[:, i].sum())),
    }


def _human_error(human: Structure, count: int, seed: int, draws: int = 200) -> dict[str, Any]:
    """What real songs score: of `count` human songs (half of them at most) against the others, over random draws."""
    count = min(count, len(human) // 2)
    if count == 0:
        return {"value": float("nan"), "interval": [float("nan")] * 2}
    rng = np.random.default_rng(seed)
    errors = []
    for _ in range(draws):
        order = rng.permutation(len(human))
        some, rest = order[:count], order[count:]
        sides = [_mean(human.similar[side].sum(0), human.pairs[side].sum(0)) for side in (some, rest)]
        errors.append(similarity_error(sides[0], sides[1]))
    low, middle, high = np.quantile(errors, [0.05, 0.5, 0.95])
    return {"value": float(middle), "interval": [float(low), float(high)]}


def _mean(total: Any, count: Any) -> Any:
    """Total by count, nan where nothing was counted."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.divide(total, count)
