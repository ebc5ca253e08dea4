"""Does something come back, and over how long? The structureness indicators of Wu and Yang 2020 (section 5.4).

The fitness of a segment (Müller, Jiang and Grosche 2013) says how well copies of it explain the whole piece: the
harmonic mean of how alike the copies are and of how much of the piece they cover, both without the trivial copy, the
segment itself. The fitness of all segments is the piece's scape plot, and an indicator its maximum over the segments
of 3 to 8, of 8 to 15, or of 15 and more seconds: repetition of short, middle and long span.

The authors render audio and compare spectra at 2 Hz. Here the score itself is compared, by beats:

1. Every bar is cut into as many equal beats as it has quarters (rounded, at least one; so bars of any metre stay
   aligned). A beat is a vector of how long each pitch class sounds in it; drums are left out.
2. Two beats are as alike as the cosine of their vectors, smoothed over `SMOOTH` beats forwards and backwards, the
   highest over the twelve transpositions: so a repeat in another key counts. A beat is exactly like itself.
3. As in the authors' code: the `KEPT` highest quarter of all similarities is stretched to 0 .. 1, all others become
   `PENALTY`.
4. The best family of paths (copies that do not overlap, of the highest total similarity) is found for every segment.
   A score's repeats run at one speed, so paths are straight, and the search is exact by dynamic programming; the
   authors' paths may bend, because performances do.

So values compare with others of this module, not with those published for audio. Because step 3 is relative, music
that never repeats does not score 0; hold a figure against human songs'. Segments of more than 16, 32, 64 ... beats are
tried at every second, fourth, eighth ... length, and of a song of more than `MOST_BEATS` beats neighbouring ones are
taken together, which bounds the time (about 0.1 s a song). A song too short for a segment has 0, as in the authors'
code; one without pitched notes nan.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ritornello.evaluate.notes import notes_of
from ritornello.music.bars import bars
from ritornello.music.score import Score, seconds

SPANS = {"short": (3.0, 8.0), "middle": (8.0, 15.0), "long": (15.0, np.inf)}  # seconds
KEPT = 0.25  # share of similarities that count
PENALTY = -2.0  # what the others become
SMOOTH = 4  # beats
MOST_BEATS = 1024
NAN = float("nan")

FIGURES = {
    f"structureness_{name}": f"structureness, {name} span ({low:g} to {high:g} s)"
    if high < np.inf
    else f"structureness, {name} span ({low:g} s and more)"
    for name, (low, high) in SPANS.items()
}

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def structureness(score: Score) -> dict[str, float]:
    """The FIGURES of one song, 0 to 1: the indicators of short, middle and long span."""
    edges = beat_edges(score)
    chroma = beat_chroma(score, edges)
    if not chroma.any():
        return dict.fromkeys(FIGURES, NAN)
    lengths, fitness = scape_plot(enhance(self_similarity(chroma)))
    clock = seconds(score, edges)
    best = dict.fromkeys(FIGURES, 0.0)
    for length, row in zip(lengths, fitness, strict=True):
        span = clock[length:] - clock[: len(clock) - length]  # of the segment that starts at each beat
        for figure, (low, high) in zip(FIGURES, SPANS.values(), strict=True):
            best[figure] = max(best[figure], float(row[(span >= low) & (span <= high)].max(initial=0)))
    return best


def beat_edges(score: Score) -> Ints:
    """Where each beat begins and the last one ends, in ticks: int64[n + 1], n at most MOST_BEATS."""
    starts = bars(score).starts
    lengths = np.diff(starts)
    beats = np.maximum(np.floor(lengths / score.ticks_per_quarter + 0.5).astype(np.int64), 1)
    bar = np.repeat(np.arange(len(beats)), beats)
    nth = np.arange(len(bar)) - np.repeat(np.cumsum(beats) - beats, beats)
    edges = np.append(starts[bar] + nth * lengths[bar] // beats[bar], starts[-1])
    together = -(-(len(edges) - 1) // MOST_BEATS)
    return np.unique(np.append(edges[:-1:together], edges[-1]))


def beat_chroma(score: Score, edges: Ints) -> Floats:
    """[n, 12]: ticks that each pitch class sounds between neighbouring edges, drums left out."""
    notes = notes_of(score).pitched
    chroma = np.zeros((len(edges) - 1, 12))
    for pitch_class in range(12):
        here = notes.only(notes.pitch % 12 == pitch_class)
        # A note sounds before t for min(t, end) - min(t, start) ticks: sum that over notes, then take differences
        before = _clipped_sum(here.end, edges) - _clipped_sum(here.start, edges)
        chroma[:, pitch_class] = np.diff(before)
    return chroma


def _clipped_sum(values: Ints, limits: Ints) -> Ints:
    """[len(limits)]: the sum over values of min(value, limit)."""
    values = np.sort(values)
    below = np.searchsorted(values, limits, "right")
    return np.append(0, np.cumsum(values))[below] + (len(values) - below) * limits


def self_similarity(chroma: Floats, smooth: int = SMOOTH) -> Floats:
    """[n, n], 0 to 1, step 2 above. A silent beat is like no other."""
    length = np.linalg.norm(chroma, axis=1, keepdims=True)
    unit = np.divide(chroma, length, out=np.zeros_like(chroma), where=length > 0)
    result = np.zeros((len(unit), len(unit)))
    for shift in range(12):
        alike = unit @ np.roll(unit, shift, axis=1).T
        forwards = _along_diagonals(alike, smooth)
        backwards = _along_diagonals(alike[::-1, ::-1], smooth)[::-1, ::-1]
        np.maximum(result, np.maximum(forwards, backwards), out=result)
    return result


def _along_diagonals(alike: Floats, smooth: int) -> Floats:
    """The mean of each entry and those that follow on its diagonal, `smooth` in all or as many as there are."""
    n = len(alike)
    total, count = alike.copy(), np.ones((n, n))
    for ahead in range(1, min(smooth, n)):
        total[:-ahead, :-ahead] += alike[ahead:, ahead:]
        count[:-ahead, :-ahead] += 1
    return total / count


def enhance(similarity: Floats) -> Floats:
    """Step 3: what is above the threshold from 0 to 1, what is not PENALTY, and the main diagonal 1."""
    threshold, highest = float(np.quantile(similarity, 1 - KEPT)), float(similarity.max())
    stretched = (similarity - threshold) / (highest - threshold) if highest > threshold else np.ones_like(similarity)
    result = np.where(similarity >= threshold, stretched, PENALTY)
    np.fill_diagonal(result, 1)
    return result


def scape_plot(similarity: Floats) -> tuple[list[int], list[Floats]]:
    """The fitness of segments: their lengths in beats, and for each the fitness by the beat they start at.

    Only lengths up to half the piece: a longer segment has no copy beside itself, and fitness 0.
    """
    n = len(similarity)
    lengths = [m for m in range(1, n // 2 + 1) if m % (1 << max((m - 1).bit_length() - 4, 0)) == 0]
    # Sums along diagonals from the upper and left edge, so that any stretch of a diagonal is one subtraction
    sums = np.zeros((n + 1, n + 1))
    for i in range(n):
        sums[i + 1, 1:] = sums[i, :-1] + similarity[i]
    return lengths, [_fitness(sums[m:, m:] - sums[:-m, :-m], m, n) for m in lengths]


def _fitness(gain: Floats, m: int, n: int) -> Floats:
    """Fitness of each segment of m of n beats; gain[i, s] is the similarity of beats i ... to s ..., summed over m.

    best[j] is the highest total of copies that end by beat j: either it is best[j - 1], or a copy ends at j. Blocks of
    m beats are worked out at once, because a copy that ends in a block begins in the one before. A copy is counted by
    walking back from the end.
    """
    segments = gain.shape[1]
    best = np.zeros((n + 1, segments))
    for first in range(m, n + 1, m):
        last = min(first + m, n + 1)
        ending = best[first - m : last - m] + gain[first - m : last - m]
        ending[0] = np.maximum(ending[0], best[first - 1])
        np.maximum.accumulate(ending, axis=0, out=best[first:last])
    # Where the best family that ends by each beat has its last copy end: 0 where it has none
    rises = np.zeros((n + 1, segments), np.int32)
    rises[1:] = np.where(best[1:] > best[:-1], np.arange(1, n + 1, dtype=np.int32)[:, None], 0)
    np.maximum.accumulate(rises, axis=0, out=rises)
    copies, columns = np.zeros(segments), np.arange(segments)
    end = rises[n]
    while end.any():
        copies += end > 0
        end = np.where(end > 0, rises[np.maximum(end - m, 0), columns], 0)
    covered = copies * m
    score = np.maximum(best[n] - m, 0) / np.maximum(covered, 1)
    coverage = np.maximum(covered - m, 0) / n
    total = score + coverage
    return np.divide(2 * score * coverage, total, out=np.zeros(segments), where=total > 0)
