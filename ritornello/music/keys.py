"""The key of a score, and the shift that brings it to C major or A minor and back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from symusic.core import KeySignatureTickList, NoteTickList

from ritornello.errors import MusicError
from ritornello.music.score import Score

Mode = Literal["major", "minor"]
NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
KEY_TEXT = re.compile(r"([A-Ga-g])\s*(#{1,2}|b{1,2}|♯|♭)?[\s:-]*((?i:major|minor|maj|min)|m|M)?")

# How much each pitch class, counted from the tonic, speaks for a major and for a minor key: logistic regression over
# the 24 keys on POP909-CL's hand-corrected keys (benchmarks/keys.py). Krumhansl-like profiles tell a key from its
# relative far worse in pop songs (65 % of those songs right, these 88 %).
MAJOR = np.array([23.6, 5.0, 1.7, -9.7, 15.3, 2.0, -16.0, 23.2, -4.6, -5.7, -25.8, -5.4])
MINOR = np.array([26.5, -19.0, 1.7, 12.2, -6.3, -1.6, -7.7, 19.6, -1.7, -25.8, -0.2, 0.8])


@dataclass(frozen=True)
class Key:
    """A tonic pitch class (0 = C) and a mode."""

    tonic: int
    mode: Mode

    def __post_init__(self) -> None:
        if self.tonic not in range(12) or self.mode not in ("major", "minor"):
            raise MusicError(f"a key is a tonic of 0 to 11 and a mode, major or minor; not {self.tonic}, {self.mode!r}")

    def __str__(self) -> str:
        return f"{NAMES[self.tonic]} {self.mode}"

    @classmethod
    def parse(cls, text: str) -> Key:
        """Read "F# minor", "Bb", "a minor", "Ebm", "C:maj". Without a mode it is major.

        Raises:
            MusicError: the text is no key.
        """
        match = KEY_TEXT.fullmatch(text.strip())
        if not match:
            raise MusicError(f'"{text}" is no key; write a tonic and a mode, such as "F# minor" or "Eb major"')
        letter, accidental, mode = match.groups()
        accidental = (accidental or "").replace("♯", "#").replace("♭", "b")
        shift = accidental.count("#") - accidental.count("b")
        minor = mode is not None and (mode == "m" or mode.lower().startswith("min"))
        return cls((LETTERS[letter.upper()] + shift) % 12, "minor" if minor else "major")

    def transposed(self, semitones: int) -> Key:
        """The same mode on a tonic `semitones` higher."""
        return Key((self.tonic + semitones) % 12, self.mode)


def pitch_classes(score: Score) -> NDArray[np.float64]:
    """How long each pitch class sounds, drums left out, as shares: float64[12], sum 1; zeros without pitched notes.

    A note counts for at most two quarters, so that held pads do not outweigh the tune.
    """
    weights = np.zeros(12)
    for track in score.tracks:
        if not track.is_drum and len(track.notes):
            notes = track.notes.numpy()
            length = np.clip(notes["duration"] / score.ticks_per_quarter, 1 / 12, 2.0)
            weights += np.bincount(notes["pitch"].astype(np.int64) % 12, weights=length, minlength=12)
    total = weights.sum()
    return weights / total if total else weights


def find_key(score: Score) -> Key:
    """The key of the whole score, from how long each pitch class sounds; C major without pitched notes."""
    return best_key(pitch_classes(score))


def best_key(shares: NDArray[np.float64]) -> Key:
    """The key whose profile fits the pitch-class shares float64[12] best; C major for all zeros."""
    if not shares.any():
        return Key(0, "major")
    scores = [profile @ np.roll(shares, -tonic) for profile in (MAJOR, MINOR) for tonic in range(12)]
    mode, tonic = divmod(int(np.argmax(scores)), 12)
    return Key(tonic, "minor" if mode else "major")


def transposition_to_c(key: Key) -> int:
    """Semitones, in -6..5, that bring the key to C major or A minor."""
    home = 0 if key.mode == "major" else 9
    return (home - key.tonic + 6) % 12 - 6


def transpose(score: Score, semitones: int) -> Score:
    """A copy of the score with every pitched note `semitones` higher and its key signatures moved along; drums and
    everything else as they are.

    Reversible: transposing back gives the score again. So no note is ever folded into another octave; where one would
    leave MIDI's range that is an error, and `fitting` finds a shift that can be done. (Key signatures come back spelt
    with at most six flats or five sharps: C sharp major as D flat major.)

    Raises:
        MusicError: a note would leave the pitches 0 to 127.
    """
    result = score.copy()
    if semitones == 0:
        return result
    low, high = pitch_range(score)
    if low + semitones < 0 or high + semitones > 127:
        raise MusicError(
            f"the score cannot be transposed by {semitones:+d} semitones: its pitches are {low} to {high}, "
            "and MIDI has 0 to 127; choose a smaller transposition"
        )
    for track in result.tracks:
        if not track.is_drum and len(track.notes):
            notes = track.notes.numpy()
            pitch = (notes["pitch"] + semitones).astype(notes["pitch"].dtype)
            track.notes = NoteTickList.from_numpy(notes["time"], notes["duration"], pitch, notes["velocity"])
    signs = score.key_signatures.numpy()
    sharps = (signs["key"].astype(np.int64) + 7 * semitones + 6) % 12 - 6
    result.key_signatures = KeySignatureTickList.from_numpy(signs["time"], sharps.astype(np.int8), signs["tonality"])
    return result


def fitting(score: Score, semitones: int) -> int:
    """The shift that `transpose` can do with these notes and that is `semitones` up to octaves: itself, an octave up or
    an octave down; 0 where none fits."""
    low, high = pitch_range(score)
    choices = (semitones, semitones - 12, semitones + 12)
    return next((shift for shift in choices if low + shift >= 0 and high + shift <= 127), 0)


def pitch_range(score: Score) -> tuple[int, int]:
    """Lowest and highest pitch, drums left out; (60, 60) without pitched notes."""
    pitches = [track.notes.numpy()["pitch"] for track in score.tracks if not track.is_drum and len(track.notes)]
    if not pitches:
        return 60, 60
    together = np.concatenate(pitches)
    return int(together.min()), int(together.max())
