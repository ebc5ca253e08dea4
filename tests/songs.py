"""Songs made here, for tests that need a corpus: melody, bass, piano and drums over four chords, each different."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from symusic.core import NoteTick as Note
from symusic.core import TempoTick as Tempo
from symusic.core import TimeSignatureTick as TimeSignature
from symusic.core import TrackTick as Track

from ritornello.music.score import Score, write


def make_song(seed: int = 0, bars: int = 16) -> Score:
    """A song of `bars` bars in 4/4, 480 ticks a quarter, that repeats its chords every four bars."""
    rng = np.random.default_rng(seed)
    score = Score(480)
    score.tempos.append(Tempo(0, qpm=float(rng.integers(70, 160))))
    score.time_signatures.append(TimeSignature(0, 4, 4))
    tracks = {"Melody": (73, False), "Bass": (33, False), "Piano": (0, False), "Drums": (0, True)}
    made = {name: Track(name, program, is_drum) for name, (program, is_drum) in tracks.items()}
    roots = rng.choice([0, 2, 4, 5, 7, 9], 4)
    for bar in range(bars):
        start, root = bar * 1920, 48 + int(roots[bar % 4])
        for beat in range(4):
            at = start + beat * 480
            made["Bass"].notes.append(Note(at, 460, root - 12, 90))
            made["Drums"].notes.append(Note(at, 120, 36 if beat % 2 == 0 else 38, 100))
            pitch = root + 24 + int(rng.choice([0, 2, 4, 5, 7]))
            made["Melody"].notes.append(Note(at, int(rng.choice([240, 480])), pitch, 100))
        for third in (0, 4, 7):
            made["Piano"].notes.append(Note(start, 1900, root + 12 + third, 70))
    for track in made.values():
        score.tracks.append(track)
    return score


def write_songs(folder: Path, count: int, bars: int = 16) -> list[Path]:
    """Write `count` different songs as MIDI files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"song{i:03d}.mid" for i in range(count)]
    for seed, path in enumerate(paths):
        write(make_song(seed, bars), path)
    return paths


def make_piano(seed: int = 0, bars: int = 16, metre: tuple[int, int] = (4, 4)) -> Score:
    """A piano piece at 480 ticks a quarter: every bar has its own number of onsets and of notes, some held over."""
    rng = np.random.default_rng(seed)
    score = Score(480)
    score.tempos.append(Tempo(0, qpm=float(rng.integers(70, 160))))
    score.time_signatures.append(TimeSignature(0, *metre))
    track = Track("piano", 0, False)
    length = 1920 * metre[0] // metre[1]
    for bar in range(bars):
        places = length // 120
        onsets = np.sort(rng.choice(places, rng.integers(1, places + 1), replace=False))
        for onset in onsets.tolist():
            for pitch in rng.choice(np.arange(36, 84), rng.integers(1, 4), replace=False).tolist():
                duration = int(rng.choice([120, 240, 480, 960, 1920]))
                track.notes.append(Note(bar * length + onset * 120, duration, pitch, int(rng.integers(40, 110))))
    score.tracks.append(track)
    return score
