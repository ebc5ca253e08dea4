"""What `prepare` does to one file, in a worker: read it, decide whether it is worth learning from, encode it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatch
from functools import cached_property

import numpy as np
from pydantic import Field
from symusic.core import TimeSignatureTick

from ritornello.config import Config
from ritornello.data.corpora import SOURCES, Entry
from ritornello.data.shards import MOST_BARS
from ritornello.data.split import Sketch, sketch
from ritornello.data.workers import Failure
from ritornello.errors import MusicError
from ritornello.music.bars import Bars, bars
from ritornello.music.score import MusicWarning, Score, parse
from ritornello.representations import build
from ritornello.representations.base import ONSET, Representation, Roll, Tokens
from ritornello.representations.pianoroll import ROLLS

STEPS = 12  # the grid that songs are quantised to, in steps a quarter
ON_GRID = np.isin(np.arange(STEPS), (0, 3, 6, 9, 4, 8))  # sixteenths and eighth triplets


class Filters(Config):
    """Which songs are kept. Every file that is not is named in the report, with the reason."""

    files: str | None = None
    """Only files whose name in the corpus fits this pattern, such as "mutopia/*"; none for all."""
    fewest_bars: int = Field(8, ge=1)
    most_bars: int = Field(512, ge=1, le=MOST_BARS)
    fewest_notes: int = Field(100, ge=1)
    metre: str | None = Field(None, pattern=r"^[1-9]\d?/[1-9]\d?$")
    """Such as "4/4": the only metre that may occur; none for any."""
    least_on_grid: float = Field(0.75, ge=0, le=1)
    """Share of onsets that fall on a sixteenth or an eighth triplet, once rounded to a twelfth of a quarter; by chance
    it is a half. Less means that the song was played freely, and its bar lines mean nothing."""
    most_empty_bars: float = Field(0.25, ge=0, le=1)
    """Share of bars, from the first note to the last, in which nothing begins."""
    least_melody: float = Field(0.0, ge=0, le=1)
    """How sure the choice of the melody track must be (see music.tracks.find_melody), where the representation needs
    one: from 0.5 on it is right nine times in ten."""
    most_tokens: int | None = Field(None, ge=1)
    fewest_parts: int = Field(1, ge=1)
    """Tracks of a piano roll that must have notes."""
    drop_copies: bool = True
    """Keep only the first of songs that agree note for note, up to transposition, tempo and instruments."""

    @classmethod
    def for_representation(cls, name: str) -> Filters:
        """The filters that fit a representation: six tracks are in 4/4 throughout, and have a lead; rolls may be short,
        and a chorale has all of its voices."""
        if name in ("voices", "melody"):
            return cls(fewest_bars=2, fewest_notes=16)
        if name in ROLLS:
            return cls(fewest_bars=2, fewest_notes=16, fewest_parts=len(ROLLS[name].tracks))
        return cls(metre="4/4", least_melody=0.4) if name.startswith("museformer") else cls()


@dataclass(frozen=True)
class Encoded:
    """An accepted song."""

    song: Tokens | Roll
    notes: int
    bars: int
    sketch: Sketch = field(repr=False)


@dataclass(frozen=True)
class Encoder:
    """A corpus's entry → the song as tokens or a roll, or why it is dropped."""

    representation: str
    filters: Filters
    corpus: str = ""

    def __call__(self, entry: Entry) -> Encoded | Failure:
        """Reads, judges and encodes; what the reader warned of goes to meta["warnings"]."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", MusicWarning)
            outcome = self._encode(entry)
        if caught and isinstance(outcome, Encoded):
            said = [str(warning.message) for warning in caught]
            return replace(outcome, song=replace(outcome.song, meta={**outcome.song.meta, "warnings": said}))
        return outcome

    def _encode(self, entry: Entry) -> Encoded | Failure:
        if self.filters.files and not fnmatch(entry.name, self.filters.files):
            return Failure("not asked for", f"does not fit {self.filters.files}")
        if entry.data is None:
            return Failure("cannot be read", entry.problem or "has no content")
        try:
            score = self._music(rebarred(parse(entry.data, entry.name), entry.metres))
        except MusicError as error:
            return Failure("cannot be read", str(error))
        if dropped := judge(score, self.filters):
            return dropped
        try:
            song: Tokens | Roll = self._built.encode(score)
        except MusicError as error:
            return Failure("does not fit the representation", str(error))
        if dropped := judge_encoded(song, self.filters):
            return dropped
        notes = int((song.cells == ONSET).sum()) if isinstance(song, Roll) else self._count_notes(song.ids)
        return Encoded(song, notes, int(song.meta.get("bars", int(song.bars[-1]) + 1)), sketch(score))

    def _music(self, score: Score) -> Score:
        source = SOURCES.get(self.corpus)
        return source.music(score) if source and source.music else score

    @cached_property
    def _built(self) -> Representation:
        return build(self.representation)

    @cached_property
    def _count_notes(self) -> Callable[[np.ndarray], int]:
        vocabulary = self._built.vocabulary
        is_note = np.zeros(vocabulary.size, bool)
        for family in {"Pitch", "Drum"} & set(vocabulary.families):
            is_note[list(vocabulary.range(family))] = True
        return lambda ids: int(is_note[ids].sum())

    def __getstate__(self) -> dict[str, object]:
        return {own.name: getattr(self, own.name) for own in fields(self)}  # the rest is built anew in each worker


def rebarred(score: Score, metres: Sequence[tuple[int, str]]) -> Score:
    """A score with other metres: (sixteenths from the start, metre from there on); as it is where there are none."""
    if metres:
        score.time_signatures.clear()
    for step, metre in metres:
        beats, unit = (int(part) for part in metre.split("/"))
        score.time_signatures.append(TimeSignatureTick(step * score.ticks_per_quarter // 4, beats, unit))
    return score


def judge(score: Score, filters: Filters) -> Failure | None:
    """Why a song is dropped before it is encoded, or None."""
    grid = bars(score)
    onsets = np.concatenate([track.notes.numpy()["time"] for track in score.tracks])
    sounding = np.unique(grid.of(onsets))  # bars in which something begins
    first, count = int(sounding[0]), int(sounding[-1] - sounding[0]) + 1
    if not filters.fewest_bars <= count <= filters.most_bars:
        reason = "too short" if count < filters.fewest_bars else "too long"
        return Failure(reason, f"has {count} bars; {filters.fewest_bars} to {filters.most_bars} are wanted")
    if len(onsets) < filters.fewest_notes:
        return Failure("too few notes", f"has {len(onsets)} notes; at least {filters.fewest_notes} are wanted")
    if dropped := _judge_metre(grid, first, count, filters.metre):
        return dropped
    steps = np.round(onsets * (STEPS / score.ticks_per_quarter)).astype(np.int64) % STEPS
    on_grid = float(ON_GRID[steps].mean())
    if on_grid < filters.least_on_grid:
        detail = f"has {on_grid:.0%} of its notes on sixteenths and triplets; {filters.least_on_grid:.0%} are wanted"
        return Failure("played off the grid", detail)
    empty = 1 - len(sounding) / count
    if empty > filters.most_empty_bars:
        detail = f"has {empty:.0%} empty bars; {filters.most_empty_bars:.0%} at most are wanted"
        return Failure("too many empty bars", detail)
    return None


def _judge_metre(grid: Bars, first: int, count: int, metre: str | None) -> Failure | None:
    """Looks at the bars from the first note to the last: what stands before is often a bar of settings."""
    if metre is None:
        return None
    beats, unit = (int(number) for number in metre.split("/"))
    found = grid.metres[first : first + count]
    other = np.flatnonzero(found[:, 0] * unit != beats * found[:, 1])  # 2/2 is as long as 4/4
    if not len(other):
        return None
    example = "{}/{}".format(*found[other[0]])
    detail = (
        f"has {len(other)} of {count} bars in another metre than {metre}; bar {first + other[0] + 1} is in {example}"
    )
    return Failure("in another metre", detail)


def judge_encoded(song: Tokens | Roll, filters: Filters) -> Failure | None:
    """Why a song is dropped once it is encoded, or None."""
    if filters.most_tokens is not None and len(song) > filters.most_tokens:
        detail = f"makes {len(song):,} tokens; at most {filters.most_tokens:,} are wanted"
        return Failure("too many tokens", detail)
    if song.bars[-1] >= MOST_BARS:
        return Failure("too long", f"has {song.bars[-1] + 1:,} bars; at most {MOST_BARS:,} can be stored")
    if isinstance(song, Roll) and (parts := int(song.cells.any(axis=(1, 2)).sum())) < filters.fewest_parts:
        return Failure("too few parts", f"has {parts} parts; at least {filters.fewest_parts} are wanted")
    sure = song.meta.get("melody_confidence")
    if sure is not None and sure < filters.least_melody:
        detail = f"has a melody found with a confidence of {sure:.2f}; {filters.least_melody:.2f} is wanted"
        return Failure("melody unclear", detail)
    return None
