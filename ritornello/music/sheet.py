"""A song as the page holds it: JSON of plain numbers, which becomes a Score and comes from one, note for note."""

from __future__ import annotations

from typing import Annotated, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from symusic.core import (
    ControlChangeTick,
    KeySignatureTick,
    NoteTickList,
    PitchBendTick,
    TempoTick,
    TimeSignatureTick,
    TrackTick,
)

from ritornello.errors import MusicError
from ritornello.music.score import LIMITS, Score, parse

Tick = Annotated[int, Field(ge=0, lt=2**31)]
Seven = Annotated[int, Field(ge=0, le=127)]
AnyForm = TypeVar("AnyForm", bound="Form")
VOLUME, DEFAULT_VOLUME = 7, 100  # the channel volume, and what it is where a file says nothing


class Form(BaseModel):
    """What comes from a page: closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Part(Form):
    """One track."""

    name: Annotated[str, Field(max_length=200)] = ""
    program: Seven = 0
    drums: bool = False
    volume: Seven = DEFAULT_VOLUME
    notes: Annotated[list[tuple[Tick, Tick, Seven, Seven]], Field(max_length=LIMITS.notes)] = []
    """Time, duration, pitch, velocity; in this order."""
    controls: Annotated[list[tuple[Tick, Seven, Seven]], Field(max_length=LIMITS.notes)] = []
    """Time, number, value."""
    bends: Annotated[list[tuple[Tick, Annotated[int, Field(ge=-8192, le=8191)]]], Field(max_length=LIMITS.notes)] = []
    """Time, value."""


class Sheet(Form):
    """A song."""

    ticks: Annotated[int, Field(ge=1, le=32767)] = 480
    """A quarter."""
    tempos: Annotated[list[tuple[Tick, Annotated[int, Field(ge=1, lt=2**24)]]], Field(max_length=LIMITS.changes)] = []
    """Time, microseconds a quarter."""
    metres: Annotated[list[tuple[Tick, int, int]], Field(max_length=LIMITS.changes)] = []
    """Time, numerator, denominator."""
    keys: Annotated[list[tuple[Tick, int, int]], Field(max_length=LIMITS.changes)] = []
    """Time, sharps (flats below 0), 0 for major or 1 for minor."""
    parts: Annotated[list[Part], Field(max_length=LIMITS.tracks)] = []

    @staticmethod
    def of(score: Score) -> Sheet:
        """A score's sheet. Lyrics, markers and empty tracks are left out."""
        return Sheet.model_construct(
            ticks=score.ticks_per_quarter,
            tempos=_rows(score.tempos.numpy(), "time", "mspq"),
            metres=_rows(score.time_signatures.numpy(), "time", "numerator", "denominator"),
            keys=_rows(score.key_signatures.numpy(), "time", "key", "tonality"),
            parts=[_part(track) for track in score.tracks if len(track.notes)],
        )

    def score(self) -> Score:
        """The score, seen by the same guard as a MIDI file. Raises MusicError for what no MIDI file may hold."""
        if not any(part.notes for part in self.parts):
            raise MusicError("the song holds no notes.")
        score = Score(self.ticks)
        for time, tempo in self.tempos:
            score.tempos.append(TempoTick(time, mspq=tempo))
        for time, numerator, denominator in self.metres:
            if not (1 <= numerator <= 255 and 1 <= denominator <= 64):
                raise MusicError(
                    f"the song has a metre of {numerator}/{denominator}, where one such as 4/4 is expected."
                )
            score.time_signatures.append(TimeSignatureTick(time, numerator, denominator))
        for time, sharps, mode in self.keys:
            if abs(sharps) <= 7 and mode in (0, 1):
                score.key_signatures.append(KeySignatureTick(time, sharps, mode))
        for part in self.parts:
            score.tracks.append(track_of(part))
        return parse(score.dumps_midi(), "the song")


def read_form(kind: type[AnyForm], data: bytes | str) -> AnyForm:
    """A form from JSON. Raises MusicError: one sentence about the first thing that is wrong."""
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "what the page sent"
        raise MusicError(f"{place}: {first['msg'].removeprefix('Value error, ')}.") from None


def _part(track: TrackTick) -> Part:
    controls = _rows(track.controls.numpy(), "time", "number", "value")
    volumes = [row for row in controls if row[1] == VOLUME]
    first = min(track.notes.numpy()["time"].tolist(), default=0)
    volume = DEFAULT_VOLUME
    if len(volumes) == 1 and volumes[0][0] <= first:  # a plain volume, not a fade
        volume = volumes[0][2]
        controls = [row for row in controls if row[1] != VOLUME]
    return Part.model_construct(
        name=track.name[:200],
        program=track.program,
        drums=track.is_drum,
        volume=volume,
        notes=sorted(_rows(track.notes.numpy(), "time", "duration", "pitch", "velocity")),
        controls=controls,
        bends=_rows(track.pitch_bends.numpy(), "time", "value"),
    )


def _rows(columns: dict[str, np.ndarray], *names: str) -> list:
    rows = np.stack([columns[name].astype(np.int64) for name in names], axis=1)
    return list(map(tuple, rows.tolist()))


def track_of(part: Part) -> TrackTick:
    """The track of a part."""
    track = TrackTick(part.name, part.program, part.drums)
    if part.volume != DEFAULT_VOLUME:
        track.controls.append(ControlChangeTick(0, VOLUME, part.volume))
    for time, number, value in part.controls:
        track.controls.append(ControlChangeTick(time, number, value))
    for time, value in part.bends:
        track.pitch_bends.append(PitchBendTick(time, value))
    columns = np.array(part.notes, np.int64).reshape(-1, 4).T
    track.notes = notes(*columns)
    return track


def notes(times: ArrayLike, durations: ArrayLike, pitches: ArrayLike, velocities: ArrayLike) -> NoteTickList:
    """symusic's list of these notes."""
    return NoteTickList.from_numpy(
        np.ascontiguousarray(times, np.int32),
        np.ascontiguousarray(durations, np.int32),
        np.ascontiguousarray(pitches, np.int8),
        np.ascontiguousarray(velocities, np.int8),
    )
