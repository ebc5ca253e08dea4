"""What a musician may ask of a piece, and what that makes of each bar."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ritornello.config import Config
from ritornello.errors import ConfigError
from ritornello.models.musemorphose import CLASSES

ATTRIBUTES = ("rhythm", "polyphony")
Ints = NDArray[np.int64]


class Manner(Config):
    """How a song is played again."""

    seed: int = Field(0, ge=0, lt=2**31)
    """The same seed and wishes give the same song; of several variants, the next ones have the next seeds."""
    temperature: float = Field(1.0, gt=0, le=10)
    """Below 1 surer, above 1 bolder."""
    top_k: int = Field(0, ge=0)
    """Draw from the k likeliest tokens only; 0: from all."""
    top_p: float = Field(0.9, gt=0, le=1)
    """Draw from the likeliest tokens that together reach this probability."""
    variety: float = Field(0.0, ge=0, le=4)
    """How far from what the piece is, in the standard deviations that the model has of it."""
    guidance: float = Field(1.0, ge=0, le=10)
    """How strongly the classes steer; 1 is what was learned, more takes twice the time."""
    insist: float = Field(3.0, ge=0, le=100)
    """Nats that a note loses where it would leave the class that is asked for; 0 leaves it all to the model."""
    candidates: int = Field(4, ge=1, le=16)
    """How many candidates of every bar are written: the one is kept that meets the classes best, and among these the
    one most like the source."""


class Restyle(Manner):
    """What a musician may ask of a piece. Classes go from 0 (calm, thin) to 7 (busy, full)."""

    rhythm: str | None = None
    """Rhythmic intensity: "+2" and "-1" shift the class of every bar, "5" sets it; by bars: "1-8:2,9-16:+1". Several
    wishes between slashes, "-2/0/+2", make a song each."""
    polyphony: str | None = None
    """The same for how many notes sound at once."""
    schedule: Path | None = None
    """A CSV file with the columns bar, rhythm, polyphony: a bar or range of bars, and what "rhythm" would say."""
    bars: str | None = None
    """Which bars are played again, such as "5-8,13"; the others stay as they are. By default all."""
    count: int = Field(1, ge=1, le=64)
    """How many variants of each, in one batch."""

    def takes(self) -> list[Restyle]:
        """The wishes between slashes, one by one. Raises ConfigError where rhythm has more or fewer than polyphony."""
        rhythm, polyphony = ((wish or "").split("/") for wish in (self.rhythm, self.polyphony))
        if min(len(rhythm), len(polyphony)) > 1 and len(rhythm) != len(polyphony):
            raise ConfigError(
                f"rhythm = {self.rhythm} has {len(rhythm)} wishes and polyphony = {self.polyphony} {len(polyphony)}: "
                "give one of them, or as many of both."
            )
        count = max(len(rhythm), len(polyphony))
        both = zip(rhythm * (count // len(rhythm)), polyphony * (count // len(polyphony)), strict=True)
        return [self.model_copy(update={"rhythm": r or None, "polyphony": p or None}) for r, p in both]

    def asks(self) -> str:
        """In short."""
        said = [f"{name} {wish}" for name, wish in zip(ATTRIBUTES, (self.rhythm, self.polyphony), strict=True) if wish]
        return ", ".join(said) or (f"as in {self.schedule.name}" if self.schedule else "again")


class Interpolate(Manner):
    """What lies between two pieces."""

    steps: int = Field(5, ge=2, le=64)
    """How many songs, the first and the last like the pieces themselves."""


# Words → classes


def plan(wishes: Restyle, own: Ints) -> Ints:
    """The classes that are asked of every bar, [bars, 2], given those that it has. Raises: ConfigError."""
    asked = own.copy()
    for column, (name, wish) in enumerate(zip(ATTRIBUTES, (wishes.rhythm, wishes.polyphony), strict=True)):
        for span, value in _wishes(name, wish, len(own)):
            asked[span, column] = _changed(name, value, own[span, column])
    for line, row in _rows(wishes.schedule):
        where = f"{wishes.schedule}, line {line}"
        span = _span(where, row.get("bar") or "", len(own))
        for column, name in enumerate(ATTRIBUTES):
            if value := (row.get(name) or "").strip():
                asked[span, column] = _changed(f"{where}: {name}", value, own[span, column])
    return asked


def _wishes(name: str, wish: str | None, count: int) -> Iterator[tuple[slice, str]]:
    """ "+2" → all bars; "1-8:2,9-16:+1" → its parts."""
    for piece in (wish or "").split(","):
        place, colon, value = piece.strip().rpartition(":")
        if value:
            yield (_span(f"{name} = {wish}", place, count) if colon else slice(0, count)), value.strip()


def _span(where: str, text: str, count: int) -> slice:
    """ "5" or "5-8", counted from 1 → bars counted from 0."""
    found = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+))?\s*", text)
    if not found:
        raise ConfigError(f"{where}: {text.strip()!r} should be a bar or a range of bars, such as 5 or 5-8.")
    first, last = int(found[1]), int(found[2] or found[1])
    if not 1 <= first <= last <= count:
        raise ConfigError(f"{where}: bars {text.strip()} should lie within the piece's bars, 1 to {count}.")
    return slice(first - 1, last)


def _changed(where: str, value: str, own: Ints) -> Ints:
    """ "+2" and "-1" shift, "5" sets."""
    if not re.fullmatch(r"[+-]?\d", value) or not (-CLASSES < int(value) < CLASSES):
        raise ConfigError(f"{where}: {value!r} should be a class from 0 to {CLASSES - 1}, or a shift such as +2 or -1.")
    if value[0] in "+-":
        return np.clip(own + int(value), 0, CLASSES - 1)
    return np.full_like(own, int(value))


def chosen_bars(text: str | None, count: int) -> NDArray[np.bool_]:
    chosen = np.full(count, text is None)
    for piece in (text or "").split(","):
        if piece.strip():
            chosen[_span(f"bars = {text}", piece, count)] = True
    if not chosen.any():
        raise ConfigError(f"bars = {text!r} should name at least one bar, such as 5-8,13.")
    return chosen


def _rows(path: Path | None) -> Iterator[tuple[int, dict[str, str]]]:
    if path is None:
        return
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"schedule = {path} cannot be read: {reason}.") from error
    reader = csv.DictReader(text.splitlines(), skipinitialspace=True)
    columns = reader.fieldnames or []
    if "bar" not in columns or not set(columns) <= {"bar", *ATTRIBUTES}:
        raise ConfigError(f"schedule = {path}: its columns should be bar, rhythm, polyphony; they are {columns}.")
    yield from ((reader.line_num, row) for row in reader)
