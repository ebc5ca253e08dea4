"""When music plays: the field's metrics of rhythm, of one song each, in any metre.

Names and definitions are MusPy's (Dong et al. 2020) and those of Wu and Yang 2020 (The Jazz Transformer on the Front
Line, section 5); tests hold them against MusPy on the same files. What all have in common: drums count; shares are
from 0 to 1; the song goes from tick 0 to the end of the bar in which the last note begins (`music.bars`); what a song
lacks is nan.

Where MusPy is left:
- A note that ends on a beat or bar line does not sound in what follows (in MusPy it does), and the end of the song
  adds no beat or bar (in MusPy it does where the last note ends on a line).
- Grooves are compared at 12 steps a quarter, whatever the file's ticks. MusPy compares at the file's ticks: the finer
  they are, the nearer to 1 the value, so its values compare only at one resolution. Wu and Yang have 64 steps a bar.
- Metres may change: bars are compared with those of their own length.
"""

from __future__ import annotations

import numpy as np

from ritornello.evaluate.notes import STEPS, Ints, notes_of, place, to_steps
from ritornello.music.bars import bars
from ritornello.music.score import Score, seconds

NAN = float("nan")

FIGURES = {
    "notes_per_second": "notes a second",
    "empty_beat_rate": "quarters in which nothing sounds, share",
    "empty_measure_rate": "bars in which nothing sounds, share",
    "groove_consistency": "groove consistency: of neighbouring bars",
    "groove_similarity": "grooving-pattern similarity: of any two bars",
    "drum_pattern_consistency": "drum notes on the sixteenths, or on the triplets, whichever fits",
}


def rhythm(score: Score) -> dict[str, float]:
    """The FIGURES of one song."""
    return {
        "notes_per_second": notes_per_second(score),
        "empty_beat_rate": empty_beat_rate(score),
        "empty_measure_rate": empty_measure_rate(score),
        "groove_consistency": groove_consistency(score),
        "groove_similarity": groove_similarity(score),
        "drum_pattern_consistency": drum_pattern_consistency(score),
    }


def notes_per_second(score: Score) -> float:
    """Notes over the song's length in seconds, by its tempo map."""
    return float(len(notes_of(score)) / seconds(score, int(bars(score).starts[-1])))


def empty_beat_rate(score: Score) -> float:
    """Share of the song's quarters, counted from its start in any metre, in which no note sounds."""
    quarter, end = score.ticks_per_quarter, int(bars(score).starts[-1])
    return _untouched(score, quarter * np.arange(-(-end // quarter) + 1))


def empty_measure_rate(score: Score) -> float:
    """Share of bars in which no note sounds; one that is held from an earlier bar does."""
    return _untouched(score, bars(score).starts)


def groove_consistency(score: Score, steps: int = STEPS) -> float:
    """1 - the mean share of steps in which the onsets of neighbouring bars differ (normalised Hamming distance).

    Only neighbours of equal length count; nan where there are none. `steps` of a quarter.
    """
    distances = []
    for bar, groove in _grooves(score, steps):
        neighbours = np.flatnonzero(np.diff(bar) == 1)
        distances.append((groove[neighbours] != groove[neighbours + 1]).mean(axis=1))
    together = np.concatenate(distances)
    return float(1 - together.mean()) if len(together) else NAN


def groove_similarity(score: Score, steps: int = STEPS) -> float:
    """Grooving-pattern similarity (Wu and Yang 2020, 5.2): as `groove_consistency`, but over any two bars.

    All pairs of bars of one length count (the authors draw 1,000); nan where there are none. Their 64 steps a bar of
    4/4 are `steps=16`.
    """
    differ, pairs = 0.0, 0
    for bar, groove in _grooves(score, steps):
        with_onset, count = groove.sum(axis=0, dtype=np.int64), len(bar)
        differ += float((with_onset * (count - with_onset)).sum() / groove.shape[1])
        pairs += count * (count - 1) // 2
    return 1 - differ / pairs if pairs else NAN


def drum_pattern_consistency(score: Score) -> float:
    """Share of drum notes on a sixteenth, or on an eighth triplet (a third of a quarter), whichever is more.

    Onsets count to the nearest twelfth of a quarter. nan without drums.
    """
    notes = notes_of(score)
    step = to_steps(notes.start[notes.drum], score.ticks_per_quarter) % STEPS
    return float(max((step % 3 == 0).mean(), (step % 4 == 0).mean())) if len(step) else NAN


def _untouched(score: Score, edges: Ints) -> float:
    """Share of the stretches between `edges` (in ticks, from 0 on) in which nothing sounds."""
    notes, count = notes_of(score), len(edges) - 1
    first, last = (np.clip(np.searchsorted(edges, t, "right") - 1, 0, count - 1) for t in (notes.start, notes.end - 1))
    sounding = np.cumsum(np.bincount(first, minlength=count + 1) - np.bincount(last + 1, minlength=count + 1))
    return float((sounding[:-1] == 0).mean())


def _grooves(score: Score, steps: int) -> list[tuple[Ints, np.ndarray]]:
    """For each length that bars have: the bars, int64[n] ascending, and at which steps notes begin, bool[n, length]."""
    notes, edges = notes_of(score), to_steps(bars(score).starts, score.ticks_per_quarter, steps)
    lengths = np.diff(edges)
    bar, step = place(score, notes.start, edges, steps)
    result = []
    for length in np.unique(lengths[lengths > 0]).tolist():
        chosen = np.flatnonzero(lengths == length)
        groove = np.zeros((len(lengths), length), bool)
        here = lengths[bar] == length
        groove[bar[here], step[here]] = True
        result.append((chosen, groove[chosen]))
    return result
