"""Songs made here, in which passages come back: for trying out a whole experiment where there is no corpus.

A song is a row of sections of eight bars in a form such as AABA; each is two phrases of four bars that differ in their
last bar. Every melody, chord and bass line is drawn from the song's own seed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from symusic.core import NoteTick, TempoTick, TimeSignatureTick, TrackTick

from ritornello.music.score import Score, write

QUARTER, BAR = 480, 1920  # ticks
FORMS = ("AABA", "AABB", "ABAB", "ABAC")  # and again
SCALE = (0, 2, 4, 5, 7, 9, 11)
PROGRAMS = {"Melody": (73, False), "Bass": (33, False), "Piano": (0, False), "Drums": (0, True)}

Notes = list[tuple[str, int, int, int]]  # track, onset in the bar, duration, pitch


def write_songs(folder: Path, count: int, bars: int = 48) -> None:
    """Write `count` different songs as MIDI files, unless they are there."""
    for seed in range(count):
        path = folder / f"{seed:04d}.mid"
        if not path.exists():
            write(make_song(seed, bars), path)


def make_song(seed: int, bars: int = 48) -> Score:
    """A song of `bars` bars in 4/4: melody, bass, piano and drums."""
    rng = np.random.default_rng(seed)
    score = Score(QUARTER)
    score.tempos.append(TempoTick(0, qpm=float(rng.integers(70, 160))))
    score.time_signatures.append(TimeSignatureTick(0, 4, 4))
    tracks = {name: TrackTick(name, program, is_drum) for name, (program, is_drum) in PROGRAMS.items()}
    form = FORMS[int(rng.integers(len(FORMS)))]
    sections = {name: _section(rng) for name in sorted(set(form))}
    for bar in range(bars):
        section = sections[form[bar // 8 % len(form)]]
        for name, onset, duration, pitch in section[bar % 8]:
            tracks[name].notes.append(NoteTick(bar * BAR + onset, duration, pitch, 90))
    for track in tracks.values():
        score.tracks.append(track)
    return score


def _section(rng: np.random.Generator) -> list[Notes]:
    """Eight bars: a phrase of four, and the phrase again with another last bar."""
    phrase = [_bar(rng) for _ in range(4)]
    return [*phrase, *phrase[:3], _bar(rng)]


def _bar(rng: np.random.Generator) -> Notes:
    degree = int(rng.choice([0, 3, 4, 5]))
    chord = [SCALE[(degree + step) % 7] for step in (0, 2, 4)]
    notes: Notes = [("Piano", 0, BAR - 60, 60 + tone) for tone in chord]
    notes += [("Bass", beat * QUARTER, QUARTER - 60, 36 + chord[0]) for beat in (0, 2)]
    notes += [("Drums", beat * QUARTER, 120, 36 if beat % 2 == 0 else 38) for beat in range(4)]
    onsets = np.sort(rng.choice(8, int(rng.integers(3, 6)), replace=False)) * QUARTER // 2
    ends = np.append(onsets[1:], BAR)
    pitches = 72 + np.array(SCALE)[rng.integers(0, 7, len(onsets))]
    return notes + [("Melody", int(a), int(b - a), int(p)) for a, b, p in zip(onsets, ends, pitches, strict=True)]
