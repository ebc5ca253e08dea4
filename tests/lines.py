"""Tokens of one voice and of four, made here, for tests that need some."""

from __future__ import annotations

import numpy as np

from ritornello.representations import melody, voices
from ritornello.representations.base import Tokens


def make_melody(seed: int = 0, events: int = 80, metre: str = "3/4") -> Tokens:
    """Random notes and some rests, of an eighth of a quarter and more."""
    rng = np.random.default_rng(seed)
    pitch = np.where(rng.random(events) < 0.1, melody.REST, rng.integers(40, 70, events))
    pitch[-1] = 50
    return melody.write(np.stack([pitch, rng.choice([3, 6, 8, 12, 24, 100], events)], 1), metre, {"tempo": 80.0})


def make_grid(seed: int = 0, steps: int = 36, rests: float = 0.02) -> np.ndarray:
    """Four voices that hold, move and rarely rest at random; the first chord sounds."""
    rng = np.random.default_rng(seed)
    low, high = np.array(voices.RANGES)[[0, 2, 3, 1]].T
    grid = np.where(rng.random((steps, 4)) < 0.7, voices.HOLD, rng.integers(low, high + 1, (steps, 4)))
    grid[rng.random((steps, 4)) < rests] = voices.REST
    grid[[0, -1]] = low + 5
    return grid


def make_voices(seed: int = 0, steps: int = 36) -> Tokens:
    """The same as tokens, in one metre or another."""
    return voices.write(make_grid(seed, steps), list(voices.METRES)[seed % len(voices.METRES)], {"tempo": 80.0})
