"""Scores as piano rolls on a grid of sixteenths: four voices (`chorale`), or all instruments as one (`pianoroll`).

What is rounded, and how: onsets, ends and bar lines to the nearest step, ties up; a note lasts a step at least. Where a
note begins on a key, or in a voice, that still sounds, the earlier one ends; of notes of one voice that begin together
the highest stays. Velocities, drums and all tempos but the first are left out. Empty bars before the first note are
left out too. The roll ends with its last note, wherever in the bar that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from symusic.core import NoteTick, TempoTick, TimeSignatureTick, TrackTick

from ritornello.errors import MusicError
from ritornello.music.bars import bars, tempo_by_bar
from ritornello.music.score import Score
from ritornello.representations.base import HELD, ONSET, SILENT, Roll
from ritornello.representations.vocabulary import Vocabulary

STEPS = 4  # of a quarter
VOICES = ("Soprano", "Alto", "Tenor", "Bass")
CHOIR = 52  # General MIDI's choir aahs
VELOCITY = 80
MOST_STEPS = 100_000  # of one song


@dataclass(frozen=True)
class RollConfig:
    """Which tracks a roll has."""

    name: str
    tracks: tuple[str, ...]
    program: int
    """What they are played by where the song does not say."""
    monophonic: bool
    """One note a track at a time."""


ROLLS = {
    config.name: config
    for config in (
        RollConfig("chorale", VOICES, CHOIR, monophonic=True),
        RollConfig("pianoroll", ("",), 0, monophonic=False),
    )
}
Line = list[tuple[int, int, int]]  # (onset, pitch, end) of every note, in steps and in this order


class PianoRoll:
    """Score ⇄ Roll."""

    vocabulary = Vocabulary({})

    def __init__(self, config: RollConfig) -> None:
        self.config = config

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def tracks(self) -> int:
        return len(self.config.tracks)

    # ---- Score → Roll ------------------------------------------------------------------------------------------------

    def encode(self, score: Score) -> Roll:
        """Score → Roll, with in `meta`: bars, notes, tempo and metre (of the first whole bar), programs, tracks.

        Voices are told by their names where these are Soprano, Alto, Tenor and Bass, or else by how high they lie.

        Raises: MusicError, if there are no notes, too many steps, or more parts than voices.
        """
        parts = self._parts([t for t in score.tracks if not t.is_drum and len(t.notes)])
        if not any(parts):
            raise MusicError(f"The song has no notes that {self.name!r} can hold; choose another file.")
        lines = [_line([note for track in part for note in track.notes], score.ticks_per_quarter) for part in parts]
        grid = bars(score)
        starts = _steps(grid.starts, score.ticks_per_quarter)
        starts = np.append(starts, 2 * starts[-1] - starts[-2])  # one bar more: a last onset may round to its line
        first = int(np.searchsorted(starts, min(line[0][0] for line in lines if line), "right")) - 1
        start, end = int(starts[first]), max(end for line in lines for _, _, end in line)
        if end - start > MOST_STEPS:
            raise MusicError(f"The song lasts {end - start:,} sixteenths, and at most {MOST_STEPS:,} are held; cut it.")
        cells = np.zeros((self.tracks, end - start, 128), np.uint8)
        for track, line in zip(cells, lines, strict=True):
            for onset, pitch, stop in line:  # what still sounds there is cut by what begins
                track[onset - start :, slice(None) if self.config.monophonic else pitch] = SILENT
                track[onset - start : stop - start, pitch] = HELD
                track[onset - start, pitch] = ONSET
        cells = cells[:, : int(np.flatnonzero(cells.any(axis=(0, 2)))[-1]) + 1]
        of_bar = _bar_of_steps(starts[first:] - start, cells.shape[1])
        whole = min(first, len(grid) - 1)  # the first whole bar
        whole += int(len(grid) > whole + 1 and (grid.metres[whole] != grid.metres[whole + 1]).any())
        meta = {
            "bars": int(of_bar[-1]) + 1,
            "notes": int((cells == ONSET).sum()),
            "tempo": round(float(tempo_by_bar(score, grid)[whole]), 3),
            "metre": "{}/{}".format(*grid.metres[whole]),
            "programs": [part[0].program if part else self.config.program for part in parts],
            "tracks": self.tracks,
        }
        return Roll(cells, of_bar, meta)

    def _parts(self, tracks: Sequence[TrackTick]) -> list[list[TrackTick]]:
        """The score's tracks by the roll's."""
        if not self.config.monophonic:
            return [list(tracks)]
        if len(tracks) > self.tracks:
            raise MusicError(
                f"The song has {len(tracks)} parts, and {self.name!r} holds {self.tracks} voices; keep "
                f"{self.tracks} of them, or use --representation pianoroll."
            )
        by_name = {name.lower(): [t for t in tracks if t.name.strip().lower() == name.lower()] for name in VOICES}
        if all(len(found) <= 1 for found in by_name.values()) and sum(map(len, by_name.values())) == len(tracks):
            return list(by_name.values())
        falling = sorted(tracks, key=lambda t: -float(t.notes.numpy()["pitch"].mean()))
        return [[t] for t in falling] + [[] for _ in range(self.tracks - len(falling))]

    # ---- Roll → Score ------------------------------------------------------------------------------------------------

    def decode(self, roll: Roll) -> Score:
        """Roll → Score at 4 ticks a quarter, a track for each of the roll's that sounds.

        Any roll will do, such as a window of a song: a cell that is held without having begun begins there. In a voice
        the highest of several keys counts. meta["transposition"] (semitones that were added) is taken back.
        """
        score = Score(STEPS)
        score.tempos.append(TempoTick(0, qpm=float(roll.meta.get("tempo", 120))))
        _write_metres(score, roll.bars, str(roll.meta.get("metre", "4/4")))
        programs = roll.meta.get("programs") or [self.config.program] * self.tracks
        shift = int(roll.meta.get("transposition", 0))
        for name, program, cells in zip(self.config.tracks, programs, roll.cells, strict=True):
            track = TrackTick(name, int(program), False)
            for onset, pitch, end in notes_of(_highest(cells) if self.config.monophonic else cells):
                if 0 <= pitch - shift < 128:
                    track.notes.append(NoteTick(onset, end - onset, pitch - shift, VELOCITY))
            if len(track.notes):
                score.tracks.append(track)
        return score

    def normalise(self, score: Score) -> Score:
        """What a roll keeps of a score. Raises MusicError where `encode` does."""
        return self.decode(self.encode(score))


def notes_of(cells: NDArray[np.uint8]) -> Line:
    """The notes of one track, uint8[steps, 128]."""
    padded = np.pad(cells, ((1, 1), (0, 0)))
    begins = (padded[1:-1] == ONSET) | ((padded[1:-1] == HELD) & (padded[:-2] == SILENT))
    stops = (padded[1:-1] != SILENT) & (padded[2:] != HELD)
    pitch, onset = np.nonzero(begins.T)
    _, last = np.nonzero(stops.T)  # of every key's notes in turn, as many as begin
    return sorted(zip(onset.tolist(), pitch.tolist(), (last + 1).tolist(), strict=True))


def _line(notes: Sequence[NoteTick], ticks_per_quarter: int) -> Line:
    times = np.array([(note.time, note.end) for note in notes], np.int64).reshape(-1, 2)
    onsets, ends = _steps(times, ticks_per_quarter).T
    ends = np.maximum(ends, onsets + 1)
    return sorted(zip(onsets.tolist(), (note.pitch for note in notes), ends.tolist(), strict=True))


def _steps(ticks: NDArray[np.integer], ticks_per_quarter: int) -> NDArray[np.int64]:
    """Ticks to the nearest step, half up."""
    return (np.asarray(ticks, np.int64) * (2 * STEPS) + ticks_per_quarter) // (2 * ticks_per_quarter)


def _bar_of_steps(starts: NDArray[np.int64], steps: int) -> NDArray[np.int32]:
    """The bar of each of so many steps, from 0, int32[steps]. Behind the last bar more of its kind follow."""
    starts = np.unique(starts)
    length = int(starts[-1] - starts[-2]) if len(starts) > 1 else 4 * STEPS
    starts = np.append(starts, np.arange(starts[-1] + length, steps + length, length))
    return (np.searchsorted(starts, np.arange(steps), "right") - 1).astype(np.int32)


def _highest(cells: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One track with only the highest sounding key of every step."""
    sounding = cells != SILENT
    highest = 127 - sounding[:, ::-1].argmax(axis=1)
    return np.where(sounding & (np.arange(128) == highest[:, None]), cells, SILENT)


def _write_metres(score: Score, of_bar: NDArray[np.int32], metre: str) -> None:
    """A metre event wherever bars change their length; `metre` names bars that are as long as it says.

    The last bar may be broken off: where it is shorter than the one before, it is of its kind.
    """
    starts = np.flatnonzero(np.append(True, of_bar[1:] != of_bar[:-1]))
    lengths = np.diff(np.append(starts, len(of_bar))).tolist()
    if len(lengths) > 1 and lengths[-1] < lengths[-2]:
        lengths[-1] = lengths[-2]
    nominal = tuple(int(part) for part in metre.split("/"))
    if len(lengths) == 1 and lengths[0] < _length(nominal):
        lengths = [round(_length(nominal))]
    written = 0
    for start, length in zip(starts.tolist(), lengths, strict=True):
        if length != written:
            score.time_signatures.append(TimeSignatureTick(start, *_metre(length, nominal)))
        written = length


def _length(metre: tuple[int, ...]) -> float:
    """Steps of a bar."""
    return 4 * STEPS * metre[0] / metre[1]


def _metre(steps: int, nominal: tuple[int, ...]) -> tuple[int, int]:
    """A name for a bar of so many steps: `nominal` where it fits, else in quarters, eighths or sixteenths."""
    if steps == _length(nominal):
        return nominal[0], nominal[1]
    unit = next(unit for unit in (4, 8, 16) if 16 % unit == 0 and steps % (16 // unit) == 0)
    return steps * unit // 16, unit
