"""The four voices of a chorale, highest first: what they are called, where they sing, and what grates between them."""

from __future__ import annotations

VOICES = ("soprano", "alto", "tenor", "bass")
RANGES = ((60, 81), (52, 74), (46, 69), (36, 66))  # lowest and highest key of each in Bach
DISSONANT = (1, 2, 6, 10, 11)  # semitones, less octaves: seconds, sevenths, the tritone
