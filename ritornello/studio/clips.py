"""Pieces of music, MIDI or WAV, as clips that differ in nothing but the music.

All clips of a test are the same stretch of their pieces, are played by the same synthesizer, have the same loudness
(`music.audio.loudness`: ITU-R BS.1770), the same number of samples and channels, and no metadata. Where a piece ends
before the stretch does, silence follows. Listeners fetch them as MP3 of a constant bitrate, which every browser plays:
a seventh of a WAV's bytes, and of the same number of bytes for all.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy import signal

from ritornello.errors import ListeningError, MusicError
from ritornello.music.audio import RATE, Synthesizer, loudness, master, synthesise
from ritornello.music.bars import bars
from ritornello.music.score import Score, read, seconds, write_bytes

MIDI, WAV = (".mid", ".midi"), (".wav",)
FADE_IN, FADE_OUT = 0.01, 1.0  # seconds; the second only where the stretch cuts music off
MATCHED = 0.2  # LU: clips farther apart than this are brought to the quietest
SHORTEST, LONGEST = 1.0, 600.0  # seconds of a clip
MOST_BYTES = 2**29  # of a WAV file: fifty minutes of stereo in 16 bit
BITRATE = 192  # kbit/s of MP3's 32 to 320: listeners do not hear it from the original


@dataclass(frozen=True)
class Stretch:
    """Which part of every piece is heard: bars first to last, counted from 1, or seconds."""

    unit: str  # "bars" or "seconds"
    first: float
    last: float

    def __str__(self) -> str:
        return f"{self.unit} {self.first:g} to {self.last:g}"

    @classmethod
    def parse(cls, unit: str, text: str) -> Stretch:
        """From "1-32" (bars, both heard) or "0-60" (seconds); a single number is how many from the start."""
        low, dash, high = text.partition("-")
        try:
            number = int if unit == "bars" else float
            first, last = (number(low), number(high)) if dash else (number(unit == "bars"), number(low))
        except ValueError:
            first, last = 0, -1
        if not ((unit == "bars" and 1 <= first <= last) or (unit == "seconds" and 0 <= first < last < float("inf"))):
            example = "--bars 1-32" if unit == "bars" else "--seconds 0-60"
            raise ListeningError(f"--{unit} {text} is no stretch of music; say it such as {example}.")
        return cls(unit, first, last)

    def of(self, score: Score) -> tuple[float, float]:
        """Where it begins and ends in a score, in seconds; at most where the score's last bar ends."""
        starts = seconds(score, bars(score).starts)
        if self.unit == "seconds":
            return self.first, min(self.last, float(starts[-1]))
        first, last = (min(int(bar), len(starts) - 1) for bar in (self.first - 1, self.last))
        return float(starts[first]), float(starts[last])


def pieces(folder: Path) -> list[Path]:
    """The MIDI files of a folder, or where it has none its WAV files, by name.

    Raises ListeningError where it is no folder or has neither.
    """
    if not folder.is_dir():
        raise ListeningError(f"{folder} is no folder; a system is a folder of MIDI or WAV files.")
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    for kinds in (MIDI, WAV):
        found = [path for path in files if path.suffix.lower() in kinds]
        if found:
            return found
    raise ListeningError(f"{folder} holds no MIDI or WAV file; a system is a folder of them.")


def length(piece: Path, stretch: Stretch) -> float:
    """How long this piece's music within the stretch is, in seconds. Raises ListeningError where there is none."""
    start, end = _place(piece, stretch)
    if end - start < SHORTEST:
        raise ListeningError(
            f"{piece} has {max(end - start, 0):.1f} s of music in {stretch}, and at least {SHORTEST:g} is needed; "
            "choose another stretch or leave the piece out."
        )
    return end - start


def make(piece: Path, stretch: Stretch, duration: float, out: Path, synthesizer: Synthesizer | None) -> None:
    """Write the clip of a piece: 44.1 kHz, stereo, 16 bit, `duration` seconds. MIDI needs a synthesizer.

    Raises ListeningError where the piece cannot be read or its stretch is silent.
    """
    start, end = _place(piece, stretch)
    if piece.suffix.lower() in MIDI:
        assert synthesizer is not None, "MIDI needs a synthesizer"
        sound = _cut(synthesise(_until(read(piece), end), synthesizer), start, start + duration)
        music = end - start + 1.0  # its last notes may ring
    else:
        sound, music = _cut(_read_wav(piece), start, start + duration), end - start
    sound[: round(FADE_IN * RATE)] *= np.linspace(0, 1, round(FADE_IN * RATE), dtype=np.float32)[:, None]
    fade = round(FADE_OUT * RATE)
    ends = min(len(sound), round(music * RATE))
    sound[ends:] = 0
    sound[max(ends - fade, 0) : ends] *= np.cos(np.linspace(0, np.pi / 2, fade))[-min(fade, ends) :, None] ** 2
    if loudness(sound) == float("-inf"):
        raise ListeningError(f"{piece} is silent in the stretch that is heard; choose another or leave the piece out.")
    _write(master(sound), out)


def level(files: Sequence[Path]) -> list[float]:
    """Bring clips to one loudness, that of the quietest, where mastering could not; their loudness, LUFS, after it."""
    found = [loudness(_read_wav(file)) for file in files]
    target = min(found)
    for i, file in enumerate(files):
        if found[i] - target > MATCHED:
            _write(_read_wav(file) * np.float32(10 ** ((target - found[i]) / 20)), file)
            found[i] = loudness(_read_wav(file))
    return found


def encode(sound: Path, out: Path) -> None:
    """A clip as listeners fetch it: MP3, from WAV."""
    file = io.BytesIO()
    soundfile.write(
        file,
        _read_wav(sound),
        RATE,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode="CONSTANT",
        compression_level=(320 - BITRATE) / (320 - 32),
    )
    write_bytes(file.getvalue(), out)


def _place(piece: Path, stretch: Stretch) -> tuple[float, float]:
    """Where the stretch begins and ends in a piece, in seconds; at most where its music ends."""
    if piece.suffix.lower() in MIDI:
        try:
            return stretch.of(read(piece))
        except MusicError as error:
            raise ListeningError(str(error)) from None
    if stretch.unit == "bars":
        raise ListeningError(f"{piece} is sound, in which bars are not marked; give --seconds instead of --bars.")
    return stretch.first, min(stretch.last, len(_read_wav(piece)) / RATE)


def _until(score: Score, end: float) -> Score:
    """A score without the notes that begin after `end` seconds, which nobody would hear."""
    for track in score.tracks:
        onsets = seconds(score, track.notes.numpy()["time"])
        track.notes = type(track.notes)(note for note, onset in zip(track.notes, onsets, strict=True) if onset < end)
    return score


def _cut(sound: NDArray[np.float32], start: float, end: float) -> NDArray[np.float32]:
    """From `start` to `end` seconds, with silence where there is no more sound."""
    first, count = round(start * RATE), round((end - start) * RATE)
    part = sound[first : first + count]
    return np.concatenate([part, np.zeros((count - len(part), 2), np.float32)])


def _read_wav(path: Path) -> NDArray[np.float32]:
    """A WAV file as float32[n, 2] at RATE; one channel is heard on both sides, of more than two the first two are.

    Raises ListeningError where it cannot be read or lasts too long.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it holds more than {MOST_BYTES:,} bytes; cut it")
        read, rate = soundfile.read(path, dtype="float32", always_2d=True)
        sound = np.asarray(read[:, [0, min(1, read.shape[1] - 1)]], np.float32)
        if not np.isfinite(sound).all():
            raise ValueError("it has samples that are no numbers")
        if rate != RATE:
            common = np.gcd(rate, RATE)
            sound = signal.resample_poly(sound, RATE // common, rate // common).astype(np.float32)
    except (OSError, ValueError, soundfile.LibsndfileError) as error:
        raise ListeningError(f"{path} cannot be read as a WAV file: {error}; export it again.") from None
    return sound


def _write(sound: NDArray[np.float32], path: Path) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.rint(sound * 32767).astype(np.int16), RATE, format="WAV", subtype="PCM_16")
    write_bytes(file.getvalue(), path)
