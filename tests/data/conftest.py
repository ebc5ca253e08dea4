"""Small songs made here: a melody, chords, a bass and drums, drawn from a seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import symusic

from ritornello.music.score import Score


def make_song(
    seed: int,
    bars: int = 16,
    transpose: int = 0,
    tpq: int = 480,
    qpm: float = 120.0,
    programs: tuple[int, int, int] = (80, 0, 33),
    stretch: float = 1.0,
    shift: float = 0.0,
) -> Any:
    """A song in 4/4. The seed alone decides its notes; `stretch` makes all of them longer, `shift` is in quarters."""
    rng = np.random.default_rng(seed)
    score: Any = Score(tpq)  # symusic's type stubs know fewer ways to fill a score than there are
    score.time_signatures.append(symusic.TimeSignature(0, 4, 4))
    score.tempos.append(symusic.Tempo(0, qpm=qpm))
    onsets = np.sort(rng.choice(bars * 8, bars * 5, replace=False)) / 2  # eighths
    melody = 72 + rng.integers(-7, 8, len(onsets))
    roots = 48 + rng.integers(0, 12, bars)
    half_bars = np.arange(bars * 2) * 2.0
    chords = np.repeat(np.repeat(roots, 2), 3) + np.tile([0, 4, 7], bars * 2)
    parts = [
        ("lead", programs[0], False, onsets, melody + transpose, 0.5),
        ("chords", programs[1], False, np.repeat(half_bars, 3), chords + transpose, 2.0),
        ("bass", programs[2], False, half_bars, np.repeat(roots, 2) - 12 + transpose, 1.0),
        ("drums", 0, True, np.arange(bars * 4.0), np.tile([36, 38], bars * 2), 0.25),
    ]
    for name, program, is_drum, time, pitch, duration in parts:
        track: Any = symusic.Track(name, program, is_drum)
        ticks = np.round((time * stretch + shift) * tpq).astype(np.int32)
        lengths = np.full(len(ticks), round(duration * stretch * tpq), np.int32)
        velocity = np.full(len(ticks), 90, np.int8)
        track.notes = symusic.Note.from_numpy(ticks, lengths, pitch.astype(np.int8), velocity, "tick")
        score.tracks.append(track)
    return score


@pytest.fixture(scope="session")
def song() -> Callable[..., Any]:
    return make_song
