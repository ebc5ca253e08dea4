"""Does music come back as human music does? Similarity of bars by their interval, and bars that return note for note.

The measure is the Museformer paper's: the mean similarity L_t of bars that lie t bars apart (Equations 4 and 5, section
3.3) and its distance from that of human songs, the similarity error (Equation 6, T = 40), on the melody, as in the
paper's Figure 3, and on all tracks.

What the paper leaves open is settled so (and in `music.similarity`): two empty bars are no pair, an empty and a filled
one have similarity 0. L_t is the mean over all pairs of bars of all songs, so a long song weighs more than a short one;
the bootstrap draws whole songs. Of bars that repeat, only those with notes count; one whose counterpart is empty
differs from it. A song without a track named "melody" has no pairs and no bars on the melody. Where one side has no
pair at all, what would need it is nan.

The trap: human similarities are small, so music that never repeats anything errs by no more than their mean, which on
the melody is little. Hence `repetition_free` stands beside every error, and the peaks and the share of literal
repeats beside both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ritornello.evaluate.bootstrap import interval
from ritornello.music.score import Score
from ritornello.music.similarity import INTERVALS, bar_sets, bar_similarity, interval_sums, similarity_error

PEAKS = (4, 8, 16, 32)
REPEATS = (1, 2, 4, 8, 16)
TRACKS = ("melody", "all")

Array = NDArray[np.float64]
Row = tuple[Array, NDArray[np.int64], list[int], list[int]]


@dataclass(frozen=True)
class Structure:
    """What is counted in each of n songs, for one choice of tracks; sums, so that songs can be drawn again."""

    similar: Array  # [n, 40]: sum of l over pairs of bars t apart
    pairs: Array  # [n, 40]: how many pairs
    repeated: Array  # [n, 6]: bars that hold notes and are identical to the bar 1, 2, 4, 8, 16 before; to any before
    bars: Array  # [n, 6]: bars that hold notes and lie so far into the song that there is such a bar

    def __len__(self) -> int:
        return len(self.similar)

    def distribution(self, songs: Any = slice(None)) -> Array:
        """Equation 5 over all songs or a selection: [40]; nan where no two bars lie so far apart."""
        return _mean(self.similar[songs].sum(0), self.pairs[songs].sum(0))


def structure(scores: Iterable[Score]) -> dict[str, Structure]:
    """What is counted in songs, on the melody and on all tracks. Scores are read one at a time."""
    return gather([count(score) for score in scores])


def gather(songs: Sequence[Mapping[str, Row]]) -> dict[str, Structure]:
    """What `count` found in each song, as arrays."""
    shapes = ((-1, INTERVALS), (-1, INTERVALS), (-1, len(REPEATS) + 1), (-1, len(REPEATS) + 1))
    return {
        tracks: Structure(
            *(np.array([song[tracks][i] for song in songs], float).reshape(shape) for i, shape in enumerate(shapes))
        )
        for tracks in TRACKS
    }


def count(score: Score) -> dict[str, Row]:
    """A row of each array of Structure, on the melody and on all tracks: one song's sums."""
    return {tracks: _count(score, tracks) for tracks in TRACKS}


def _count(score: Score, tracks: str) -> Row:
    chosen = None if tracks == "all" else [i for i, track in enumerate(score.tracks) if track.name == tracks]
    sets = bar_sets(score, chosen)
    similarity = bar_similarity(sets)
    filled = np.bincount(sets.bar, minlength=sets.count) > 0
    repeated = [int((similarity.diagonal(t) == 1).sum()) for t in REPEATS]  # two empty bars are nan, not 1
    bars = [int(filled[t:].sum()) for t in REPEATS]
    repeated.append(int((np.tril(similarity, -1) == 1).any(axis=1).sum()))
    bars.append(int(filled[1:].sum()))
    return *interval_sums(similarity), repeated, bars


def compare(generated: Mapping[str, Structure], human: Mapping[str, Structure], seed: int = 0) -> dict[str, Any]:
    """Figures of generated songs beside human ones for each choice of tracks; `report` has the keys."""
    return {tracks: _compare(generated[tracks], human[tracks], seed) for tracks in TRACKS}


def _compare(generated: Structure, human: Structure, seed: int) -> dict[str, Any]:
    ours, theirs = generated.distribution(), human.distribution()

    def error(similar: Array, pairs: Array) -> Array:
        return np.array([similarity_error(row, theirs) for row in _mean(similar, pairs)])

    return {
        "similarity_error": {
            "value": similarity_error(ours, theirs),
            "interval": interval([generated.similar, generated.pairs], error, seed),
        },
        "repetition_free": similarity_error(np.zeros(INTERVALS), theirs),
        "human_error": _human_error(human, len(generated), seed),
        "distribution": ours.tolist(),
        "human_distribution": theirs.tolist(),
        "peaks": {str(t): _peak(generated, human, t, seed) for t in PEAKS},
        "repeats": {name: _repeat(generated, human, i, seed) for i, name in enumerate([*map(str, REPEATS), "any"])},
    }


def _peak(generated: Structure, human: Structure, t: int, seed: int) -> dict[str, Any]:
    """L_t and how far it rises above the mean of L_{t-1} and L_{t+1}, which music that is merely uniform does not."""
    ours, theirs = generated.distribution(), human.distribution()
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
        errors.append(similarity_error(human.distribution(some), human.distribution(rest)))
    low, middle, high = np.quantile(errors, [0.05, 0.5, 0.95])
    return {"value": float(middle), "interval": [float(low), float(high)]}


def _mean(total: Any, count: Any) -> Any:
    """Total by count, nan where nothing was counted."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.divide(total, count)
