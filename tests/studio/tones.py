"""Systems of tones in place of music: quick to make, short to hear, and told apart by their pitch alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import wavfile

from ritornello.studio.listening import ListeningTest, Order, make

RATE = 44_100
SECONDS = 1.5
SYSTEMS = ("ours", "theirs", "human")


def write_tone(path: Path, frequency: float, level: float = 0.3, seconds: float = SECONDS) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE)
    wavfile.write(path, RATE, np.rint(wave * 32767).astype(np.int16))


def write_systems(folder: Path, pieces: int = 4) -> dict[str, Path]:
    """A folder of tones for each system; each system has its own loudness."""
    for s, system in enumerate(SYSTEMS):
        for piece in range(pieces):
            write_tone(folder / system / f"{system}-{piece}.wav", 220 * (s + 1) + 20 * piece, 0.05 * 3**s)
    return {system: folder / system for system in SYSTEMS}


def make_test(folder: Path, groups: int = 2, heard: float = 0.5, seed: int | None = 0, **said) -> ListeningTest:
    """A test in folder/test."""
    order = Order(
        systems=write_systems(folder),
        **{"stretch": ("seconds", 0, 60), "groups": groups, "pieces": None, "heard": heard, "seed": seed}
        | {"title": "Tones"}
        | said,
    )
    for _ in make(order, folder / "test"):
        pass
    return ListeningTest.open(folder / "test")
