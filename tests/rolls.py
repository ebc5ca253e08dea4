"""Chorales made here, for tests that need some: four voices in quarters over four chords."""

from __future__ import annotations

import numpy as np

from ritornello.music.score import Score
from ritornello.representations import build
from ritornello.representations.base import HELD, ONSET, Roll

SCALE = np.array([0, 2, 4, 5, 7, 9, 11])


def make_roll(seed: int = 0, bars: int = 4, steps: int = 16) -> Roll:
    """Four voices, a note a quarter, bars of `steps` sixteenths: chords of a major scale in close position."""
    rng = np.random.default_rng(seed)
    tonic, quarters = 60 + int(rng.integers(-3, 4)), bars * steps // 4
    degrees = rng.choice([0, 3, 4, 5], quarters)
    cells = np.zeros((4, bars * steps, 128), np.uint8)
    for quarter, degree in enumerate(degrees):
        for voice, step in enumerate((4, 2, 0, -7)):
            octave, place = divmod(int(degree) + step, 7)
            key = tonic + 12 * octave + int(SCALE[place])
            cells[voice, 4 * quarter, key] = ONSET
            cells[voice, 4 * quarter + 1 : 4 * quarter + 4, key] = HELD
    return Roll(cells, (np.arange(bars * steps) // steps).astype(np.int32), {"tempo": 80.0})


def make_chorale(seed: int = 0, bars: int = 10, voices: int = 4) -> Score:
    """The same as a score, of the first so many voices."""
    roll = make_roll(seed, bars)
    score = build("chorale").decode(roll)
    for track in list(score.tracks)[voices:]:
        score.tracks.remove(track)
    return score
