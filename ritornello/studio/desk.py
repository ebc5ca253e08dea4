"""What the server does with songs that pages send: each task is bytes → an answer, and runs in a worker that may die.

Nothing here knows of files: a song comes in the request's body and goes out in the answer's.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from symusic.core import ControlChangeTick, PitchBendTick, TrackTick

from ritornello.errors import MusicError
from ritornello.facts import facts
from ritornello.music.attributes import bar_attributes
from ritornello.music.audio import RATE, find_synthesizer, render, synthesise
from ritornello.music.bars import bars
from ritornello.music.notation import musicxml
from ritornello.music.score import MusicWarning, Score, parse
from ritornello.music.sheet import Form, Seven, Sheet, notes, read_form
from ritornello.music.similarity import bar_similarity
from ritornello.recipe import Edits, Recipe

Answer = tuple[str, bytes]  # media type, content
JSON = "application/json"

HEADROOM = 2.0  # stems are sent as 16 bits at half their level, since some go over full scale
A_SECOND = 10_000  # ticks: stems come in seconds, and are written at 5,000 ticks a quarter, 120 quarters a minute
MOST_SOUND = 600.0  # seconds of stems in one request, one after another
MOST_BARS = 1_000  # whose similarity is shown: a picture of more would have no pixel for each

Second = Annotated[float, Field(ge=0, le=MOST_SOUND, allow_inf_nan=False)]


def open_midi(data: bytes) -> Answer:
    """A MIDI file → its sheet, what it is in words, and what was left out of it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", MusicWarning)
        score = parse(data, "this file")
    remarks = [str(warning.message) for warning in caught if issubclass(warning.category, MusicWarning)]
    return _json({"sheet": Sheet.of(score).model_dump(), "facts": f"{facts(score)}.", "remarks": remarks})


def midi(data: bytes) -> Answer:
    """A sheet → its MIDI file."""
    return "audio/midi", _score(data).dumps_midi()


def wav(data: bytes) -> Answer:
    """A sheet → its sound, as `ritornello render` makes it."""
    score = _score(data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "song.wav")
        render(score, path)
        return "audio/wav", path.read_bytes()


def look(data: bytes) -> Answer:
    """A sheet → what it is in words, its bars' attributes, and the similarity of every two bars.

    The similarity is base64 of uint8[b, b], 0 to 254 for 0 to 1, and 255 where both bars are empty; "" where the song
    is too long for it.
    """
    score = _score(data)
    grid = bars(score)
    likeness = b""
    if len(grid) <= MOST_BARS:
        similarity = bar_similarity(score)
        likeness = np.where(np.isnan(similarity), 255, np.rint(similarity * 254)).astype(np.uint8).tobytes()
    attributes = {name: np.nan_to_num(values).round(4).tolist() for name, values in bar_attributes(score).items()}
    told = facts(score)
    return _json(
        {
            "words": f"{told}.",
            "facts": asdict(told),
            "bars": len(grid),
            "attributes": attributes,
            "similarity": base64.b64encode(likeness).decode(),
        }
    )


class Stem(Form):
    """A few bars of one track, in seconds from their beginning."""

    program: Seven = 0
    drums: bool = False
    notes: Annotated[list[tuple[Second, Second, Seven, Seven]], Field(max_length=20_000)]
    controls: Annotated[list[tuple[Second, Seven, Seven]], Field(max_length=20_000)] = []
    bends: Annotated[list[tuple[Second, Annotated[int, Field(ge=-8192, le=8191)]]], Field(max_length=20_000)] = []


class Stems(Form):
    stems: Annotated[list[Stem], Field(max_length=256)]


def sound(data: bytes) -> Answer:
    """A few bars → the sound of each of their tracks alone, its last notes ringing out.

    The answer is uint32[1 + k], the number of stems and the frames of each, then int16[frames, 2] of each, little
    endian, at RATE, divided by HEADROOM. A page adds these up: a song's sound is the sum of its stretches' sounds.
    """
    stems = read_form(Stems, data).stems
    heard = [trim(stem) for stem in _play(stems)]
    head = np.array([len(heard), *map(len, heard)], "<u4").tobytes()
    return "application/octet-stream", head + b"".join(stem.tobytes() for stem in heard)


def _play(stems: list[Stem]) -> list[np.ndarray]:
    """Each stem's sound, int16[n, 2]. All are played in one go, one after another, since a large SoundFont takes longer
    to load than to play."""
    score, starts = Score(A_SECOND // 2), [0.0]
    for stem in stems:
        track, at = TrackTick("", stem.program, stem.drums), starts[-1]
        rows = np.array(stem.notes, float).reshape(-1, 4)
        times, durations = np.rint((rows[:, 0] + at) * A_SECOND), np.maximum(np.rint(rows[:, 1] * A_SECOND), 1)
        track.notes = notes(times, durations, rows[:, 2], rows[:, 3])
        for second, number, value in stem.controls:
            track.controls.append(ControlChangeTick(round((second + at) * A_SECOND), number, value))
        for second, value in stem.bends:
            track.pitch_bends.append(PitchBendTick(round((second + at) * A_SECOND), value))
        score.tracks.append(track)
        starts.append(at + (rows[:, :2].sum(1).max() + RING if len(rows) else 0.0))
        if starts[-1] > MOST_SOUND:
            raise MusicError(f"more than {MOST_SOUND:.0f} seconds of sound were asked for at once; ask for fewer bars.")
    if starts[-1] == 0:
        return [np.zeros((0, 2), np.int16)] * len(stems)
    played = synthesise(score, find_synthesizer())
    edges = [round(start * RATE) for start in starts]
    cut = [played[start:end] for start, end in pairwise(edges)]
    return [np.clip(np.rint(piece * (32767 / HEADROOM)), -32768, 32767).astype("<i2") for piece in cut]


RING = 2.0  # seconds for a stem's last notes


def trim(sound: np.ndarray) -> np.ndarray:
    """Without the silence at its end."""
    loud = np.flatnonzero(np.abs(sound).max(axis=1, initial=0) > 8)
    return sound[: loud[-1] + 1] if len(loud) else sound[:0]


class Job(Form):
    """What a page wants a model to do."""

    model: str = Field(max_length=200)
    verb: Annotated[str, Field(max_length=20)] = "compose"
    wishes: dict[str, Any] = {}
    songs: dict[Annotated[str, Field(max_length=50)], Sheet] = {}
    """For wishes that are files: the page has no files, it has sheets."""


def job(data: bytes) -> Answer:
    """A job → the same, its sheets as MIDI files (in base64)."""
    asked = read_form(Job, data)
    return _json({**asked.model_dump(exclude={"songs"}), "songs": _in_base64(asked.songs)})


class Written(Form):
    """A song and how it came to be."""

    model: str = Field(max_length=200)
    verb: Annotated[str, Field(max_length=20)] = "compose"
    weights: Annotated[str, Field(max_length=100)] = ""
    wishes: dict[str, Any] = {}
    songs: dict[Annotated[str, Field(max_length=50)], Sheet] = {}
    take: Annotated[int, Field(ge=0)] = 0
    bars: Annotated[int | None, Field(ge=1)] = None
    written: Sheet
    """As the model left it."""
    sheet: Sheet
    """As it is now."""


def recipe(data: bytes) -> Answer:
    """A written song → its recipe."""
    told = read_form(Written, data)
    made = Recipe(
        **told.model_dump(include={"model", "verb", "weights", "wishes", "take", "bars"}),
        songs=_in_base64(told.songs),
        edits=Edits.between(told.written, told.sheet),
        sha256=hashlib.sha256(told.sheet.score().dumps_midi()).hexdigest(),
    )
    return JSON, made.model_dump_json(indent=1).encode()


def _in_base64(songs: Mapping[str, Sheet]) -> dict[str, str]:
    return {name: base64.b64encode(sheet.score().dumps_midi()).decode() for name, sheet in songs.items()}


def to_musicxml(data: bytes) -> Answer:
    """A sheet → MusicXML."""
    return "application/vnd.recordare.musicxml+xml", musicxml(_score(data)).encode()


PAGE = {"pageWidth": 2100, "pageHeight": 2970, "scale": 36, "footer": "none", "header": "none", "svgViewBox": True}
MOST_PAGES = 120


def engrave(data: bytes) -> Answer:
    """A sheet → the pages of its score, as SVG. Raises MusicError where it is too long or cannot be drawn."""
    import verovio  # here, because only this needs its fonts

    verovio.enableLog(verovio.LOG_OFF)
    toolkit = verovio.toolkit()
    toolkit.setOptions(PAGE)
    if not toolkit.loadData(musicxml(_score(data))):
        raise MusicError("this song cannot be drawn as a score; take the MusicXML into a notation program.")
    if (count := toolkit.getPageCount()) > MOST_PAGES:
        raise MusicError(
            f"the score has {count} pages, at most {MOST_PAGES} are drawn here; take the MusicXML instead."
        )
    return _json({"pages": [toolkit.renderToSVG(page) for page in range(1, count + 1)]})


TASKS: dict[str, Callable[[bytes], Answer]] = {
    "open_midi": open_midi,
    "midi": midi,
    "wav": wav,
    "musicxml": to_musicxml,
    "engrave": engrave,
    "look": look,
    "recipe": recipe,
    "sound": sound,
    "job": job,
}


def _score(data: bytes) -> Score:
    return read_form(Sheet, data).score()


def _json(value: Any) -> Answer:
    return JSON, json.dumps(value).encode()
