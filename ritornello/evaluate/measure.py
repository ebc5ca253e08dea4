"""Everything that is measured of one song, by itself; and what the figures of many songs add up to.

`measure` needs neither a model nor other songs, so songs can be measured one at a time, in other processes; `report`
puts them together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ritornello.evaluate import originality, pitch, rhythm, structureness, texture
from ritornello.evaluate.bootstrap import median_interval
from ritornello.evaluate.originality import Lines
from ritornello.evaluate.structure import Row, count
from ritornello.music.score import Score
from ritornello.music.tracks import SIX, SURE, find_melody


@dataclass(frozen=True)
class Group:
    """Figures that stand in one table: what measures them in a song, and each by name with what it is in words."""

    title: str
    figures: Mapping[str, str]
    of: Callable[[Score], dict[str, float]] | None = None  # None: not of a song by itself


GROUPS = {
    "texture": Group("Texture", texture.FIGURES, texture.texture),
    "pitch": Group("Pitch", pitch.FIGURES, pitch.pitch),
    "rhythm": Group("Rhythm", rhythm.FIGURES, rhythm.rhythm),
    "structureness": Group("Structureness", structureness.FIGURES, structureness.structureness),
    "originality": Group("Originality", originality.FIGURES),
    "range": Group("Range", {}, texture.ranges),
}


@dataclass(frozen=True, eq=False)
class Measured:
    """One song in numbers."""

    figures: dict[str, dict[str, float]]  # by group
    structure: dict[str, Row]  # for structure.gather
    lines: dict[str, Lines]  # for originality


def measure(score: Score) -> Measured:
    """Measure a song. Raises MusicError where it has more bars than a table of similarities can hold."""
    score = with_lead(score)
    figures = {name: group.of(score) for name, group in GROUPS.items() if group.of}
    return Measured(figures, count(score), originality.lines(score))


def with_lead(score: Score) -> Score:
    """The score with its melody track named "melody", where none is and `find_melody` is sure of one.

    A song of the six instruments stays as it is: if it has no melody, it has none.
    """
    names = {track.name for track in score.tracks if len(track.notes)}
    if "melody" in names or names <= set(SIX):
        return score
    index, confidence = find_melody(score)
    if index is None or confidence < SURE:
        return score
    score = score.copy()
    score.tracks[index].name = "melody"
    return score


def summary(songs: Sequence[Mapping[str, float]], seed: int = 0) -> dict[str, dict[str, Any]]:
    """Per figure: median over the songs that have it, its bootstrap interval, quartiles, highest, and how many have it.

    A figure that no song has is left out.
    """
    names = dict.fromkeys(name for song in songs for name in song)
    result = {}
    for name in names:
        values = np.array([song.get(name, np.nan) for song in songs])
        values = values[np.isfinite(values)]
        if len(values):
            result[name] = {
                "median": float(np.median(values)),
                "interval": median_interval(values, seed),
                "quartiles": [float(x) for x in np.quantile(values, [0.25, 0.75])],
                "highest": float(values.max()),
                "songs": len(values),
            }
    return result
