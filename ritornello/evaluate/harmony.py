"""How four voices go together: chords, dissonance, spacing, the motion of voices, parallels.

A frame is a step of a sixteenth; a pair is two voices of one frame that both sound. `measure` counts one piece, and
`figures` adds pieces up: every figure is a share of all frames, pairs or moves of all pieces, so that long pieces weigh
more; only `scale` is a mean of pieces. The intervals are bootstrapped over pieces.

    full_triads      frames of four voices whose pitch classes are exactly those of a major, minor, diminished or
                     augmented triad
    sevenths         frames of four voices that are a dominant, minor, major, half or fully diminished seventh chord
    dissonant_pairs  pairs a second, a seventh or a tritone apart, or octaves more
    crossings        frames of four voices in which one is above the voice above it
    wide             frames of four voices with more than an octave from soprano to alto or from alto to tenor
    out_of_range     sounding cells outside what Bach asks of the voice (RANGES)
    held             cells that are the cell before (a note that goes on or is struck again, a rest that lasts)
    stepwise         moves of a voice from one note to another that are of one or two semitones
    fifths, octaves  of a thousand pairs that both move: those that move in one direction from a fifth to a fifth (from
                     octave or unison to octave or unison)
    scale            share of cells in the major scale that holds most of the piece's
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ritornello.evaluate.bootstrap import interval
from ritornello.evaluate.tables import Cells
from ritornello.music.choir import DISSONANT, RANGES
from ritornello.representations.base import SILENT, Roll

FIGURES = {
    "full_triads": "full triads",
    "sevenths": "seventh chords",
    "dissonant_pairs": "dissonant pairs",
    "crossings": "voices crossed",
    "wide": "S-A or A-T over an octave",
    "out_of_range": "out of range",
    "held": "held cells",
    "stepwise": "stepwise moves",
    "fifths": "parallel fifths of 1,000",
    "octaves": "parallel octaves of 1,000",
    "scale": "in the best major scale",
}
REST = -1
MAJOR = np.array([0, 2, 4, 5, 7, 9, 11])
PER_THOUSAND = ("fifths", "octaves")
Voices = NDArray[np.int64]  # [steps, 4]: the sounding key of soprano, alto, tenor, bass; REST for none


def _chords(*shapes: Sequence[int]) -> NDArray[np.int64]:
    """All transpositions of chords, as 12 bits each."""
    return np.unique([sum(1 << (tone + root) % 12 for tone in shape) for shape in shapes for root in range(12)])


TRIADS = _chords((0, 4, 7), (0, 3, 7), (0, 3, 6), (0, 4, 8))
SEVENTHS = _chords((0, 4, 7, 10), (0, 3, 7, 10), (0, 4, 7, 11), (0, 3, 6, 10), (0, 3, 6, 9))


def voices(roll: Roll) -> Voices:
    """The voices of a chorale; of several keys in one voice the highest."""
    sounding = roll.cells != SILENT  # [tracks, steps, 128]
    highest = 127 - sounding[:, :, ::-1].argmax(axis=2)
    return np.where(sounding.any(axis=2), highest, REST).T


def measure(piece: Voices) -> dict[str, tuple[float, float]]:
    """(how many, of how many) for every figure of one piece. Raises ValueError where there are not four voices."""
    if piece.ndim != 2 or piece.shape[1] != 4 or not len(piece):
        raise ValueError(f"expected keys [steps, 4], got {piece.shape}")
    sounding = piece != REST
    frames = piece[sounding.all(axis=1)]
    chord = np.bitwise_or.reduce(1 << frames % 12, axis=1) if len(frames) else np.zeros(0, np.int64)
    spacing = frames[:, :-1] - frames[:, 1:]
    before, after = piece[:-1], piece[1:]
    moved = (before != after) & sounding[:-1] & sounding[1:]
    limits = np.array(RANGES).T
    outside = ((piece < limits[0]) | (piece > limits[1])) & sounding
    classes = np.bincount(piece[sounding] % 12, minlength=12)
    scale = max(classes[(tonic + MAJOR) % 12].sum() for tonic in range(12)) / max(1, classes.sum())
    return {
        "full_triads": (np.isin(chord, TRIADS).sum(), len(frames)),
        "sevenths": (np.isin(chord, SEVENTHS).sum(), len(frames)),
        "dissonant_pairs": _dissonance(piece, sounding),
        "crossings": ((spacing < 0).any(axis=1).sum(), len(frames)),
        "wide": ((spacing[:, :2] > 12).any(axis=1).sum(), len(frames)),
        "out_of_range": (outside.sum(), sounding.sum()),
        "held": ((before == after).sum(), before.size),
        "stepwise": ((moved & (np.abs(after - before) <= 2)).sum(), moved.sum()),
        **_parallels(before, after, moved),
        "scale": (float(scale), 1),
    }


def _dissonance(piece: Voices, sounding: NDArray[np.bool_]) -> tuple[float, float]:
    found = pairs = 0
    for a, b in combinations(range(4), 2):
        both = sounding[:, a] & sounding[:, b]
        interval = np.abs(piece[both, a] - piece[both, b]) % 12
        found, pairs = found + int(np.isin(interval, DISSONANT).sum()), pairs + int(both.sum())
    return found, pairs


def _parallels(before: Voices, after: Voices, moved: NDArray[np.bool_]) -> dict[str, tuple[float, float]]:
    fifths = octaves = pairs = 0
    for a, b in combinations(range(4), 2):
        both = moved[:, a] & moved[:, b]
        steps = (after - before)[both][:, [a, b]]
        along = np.sign(steps[:, 0]) == np.sign(steps[:, 1])
        first, second = ((frames[both, a] - frames[both, b]) % 12 for frames in (before, after))
        kept = along & (first == second)
        fifths, octaves = fifths + int((kept & (first == 7)).sum()), octaves + int((kept & (first == 0)).sum())
        pairs += int(both.sum())
    return {"fifths": (fifths, pairs), "octaves": (octaves, pairs)}


def figures(pieces: Iterable[Voices], seed: int = 0) -> dict[str, Any]:
    """{figure: {value, interval}}, and {"pieces": ..., "frames": of four voices}; None where nothing was counted."""
    counts = [measure(piece) for piece in pieces]
    result: dict[str, Any] = {"pieces": len(counts), "frames": int(sum(found["full_triads"][1] for found in counts))}
    for name in FIGURES:
        rows = np.array([found[name] for found in counts], float).reshape(-1, 2)
        scale = 1000 if name in PER_THOUSAND else 1
        result[name] = _share(rows, seed, scale)
    return result


def _share(rows: NDArray[np.float64], seed: int, scale: float) -> dict[str, Any]:
    found, of = rows.sum(axis=0).tolist()
    if not of:
        return {"value": None, "interval": [None, None]}
    return {
        "value": scale * found / of,
        "interval": interval((rows[:, 0], rows[:, 1]), lambda a, b: scale * a / b, seed),
    }


def table(systems: Mapping[str, Mapping[str, Any]]) -> Cells:
    """Systems side by side, a row a figure."""
    rows = [["pieces", *(f"{found['pieces']:,}" for found in systems.values())]]
    for name, title in FIGURES.items():
        rows.append([title, *(_cell(found[name], 2 if name in PER_THOUSAND else 3) for found in systems.values())])
    return "Harmony of four voices: shares, with 5 to 95 % of bootstrap resamples of pieces", ["", *systems], rows


def _cell(found: Mapping[str, Any], digits: int) -> str:
    if found["value"] is None:
        return "–"
    low, high = found["interval"]
    return f"{found['value']:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
