"""Bars and positions as a sequence of events: Museformer's grammar (its section 3.1), for six instruments or for all.

    song := BOS bar+ EOS
    bar  := Bar [Metre] Tempo { Position { Instrument { Pitch|Drum Duration Velocity }+ }+ }*

Twelve positions a quarter. A bar has its tempo once; an onset its position once; an instrument is named once at a
position, in the order of the vocabulary; its notes come from high to low, no pitch twice. `Bar` begins a bar, so that
whatever is chosen first in a bar is chosen as a part of it. Metre is there only where the vocabulary has metres.

What is rounded, and how: onsets, bar lines and durations to the nearest that can be said, ties up; velocities to the
middle of their bin; the tempo of a bar (its time-true mean) to the nearest 1/72 octave, at most 0.49 % off. Notes of one
instrument that begin at one step on one pitch become one: the longest, the loudest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor, log2
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from symusic import Note, Track

from ritornello.config import Config
from ritornello.errors import MusicError
from ritornello.music.keys import find_key, transposition_to_c
from ritornello.music.score import Score
from ritornello.music.tracks import DRUM, SIX, merge_six
from ritornello.representations.base import Tokens
from ritornello.representations.grid import LONGEST, STEPS, WHOLE, Grid, all_metres, empty_score, lay, starts_of
from ritornello.representations.vocabulary import BOS, EOS, PAD, Vocabulary

TEMPOS = tuple(round(120 * 2 ** (k / 72), 3) for k in range(-216, 145))  # 15 to 480 quarters a minute
METRES = all_metres()
METRE_INDEX = {metre: i for i, metre in enumerate(METRES)}
FOLLOWS = {
    "BOS": {"Bar"},
    "Bar": {"Metre", "Tempo"},
    "Metre": {"Tempo"},
    "Tempo": {"Bar", "Position", "EOS"},
    "Position": {"Instrument"},
    "Instrument": {"Pitch", "Drum"},
    "Pitch": {"Duration"},
    "Drum": {"Duration"},
    "Duration": {"Velocity"},
    "Velocity": {"Pitch", "Drum", "Instrument", "Position", "Bar", "EOS"},
}
MOST_BARS = 32_767  # of one song: bars are stored in 16 bits


class RemiConfig(Config):
    """Which events there are."""

    name: str
    six: bool = False
    """Museformer's six instruments, its 4/4 and its shift to C major / A minor; else every program, metre and key."""
    durations: tuple[int, ...]
    """What a note can last, in steps of a twelfth of a quarter, rising."""
    velocities: int = Field(32, ge=1, le=128)
    """Equal bins of 0..127."""


def _ranges(*parts: tuple[int, int, int]) -> tuple[int, ...]:
    """Each part: first, last, step."""
    return tuple(step for first, last, by in parts for step in range(first, last + 1, by))


CONFIGS = {
    config.name: config
    for config in (
        # 94 % of the durations of Lakh songs as they are; the others 0.4 % of an octave off in the mean
        RemiConfig(
            name="museformer",
            six=True,
            durations=(*range(1, 13), 14, 15, 16, 18, 20, 21, 23, 24, 27, 30, 33, 36, 42, 48, 54, 60, 72, 96, 144, 192),
            velocities=16,
        ),
        # As fine as the paper's (each twelve codes are twice as wide as those before, up to 61 bars), and whole notes exact
        RemiConfig(
            name="museformer-paper",
            six=True,
            durations=_ranges(
                *((1, 12, 1), (14, 48, 2), (52, 96, 4), (104, 192, 8)),
                *((208, 384, 16), (416, 768, 32), (832, 1536, 64), (1664, 2944, 128)),
            ),
        ),
        RemiConfig(
            name="remi",
            durations=_ranges((1, 96, 1), (100, 192, 4), (204, 384, 12), (408, 768, 24), (816, 1536, 48)),
        ),
    )
}


@dataclass(frozen=True, eq=False)
class Notes:
    """The n notes of a song, sorted as they are written: by onset, instrument, falling pitch."""

    onsets: NDArray[np.int64]  # [n], in steps
    instruments: NDArray[np.int64]  # [n]: place in the vocabulary's instruments
    pitches: NDArray[np.int64]  # [n]
    durations: NDArray[np.int64]  # [n]: place in the config's durations
    velocities: NDArray[np.int64]  # [n]: bin


class Remi:
    """Score ⇄ Tokens by the grammar above."""

    def __init__(self, config: RemiConfig) -> None:
        self.config = config
        self.longest = WHOLE if config.six else LONGEST  # of a bar, in steps
        self.programs = list(SIX.values()) if config.six else [*range(DRUM), DRUM]
        self.durations = np.array(config.durations)
        self.velocities = (np.arange(config.velocities) * 256 + 128) // (2 * config.velocities)  # middles of the bins
        instruments = list(SIX) if config.six else [*range(DRUM), "drums"]
        metres = {} if config.six else {"Metre": [f"{n}/{d}" for n, d in METRES]}
        self.vocabulary = Vocabulary(
            {
                "Bar": (),
                **metres,
                "Tempo": TEMPOS,
                "Position": range(self.longest),
                "Instrument": instruments,
                "Pitch": range(128),
                "Drum": range(128),
                "Duration": config.durations,
                "Velocity": self.velocities.tolist(),
            }
        )
        families = self.vocabulary.families
        self._first = {family: self.vocabulary.range(family).start for family in families}
        self._index = {family: i for i, family in enumerate(families)}
        self._follows = np.array([[after in FOLLOWS.get(before, ()) for after in families] for before in families])
        if not config.six:
            self._follows[self._index["Bar"], self._index["Tempo"]] = False
        self._head = 2 if config.six else 3  # tokens of a bar before its notes
        self._drums = self.programs.index(DRUM)

    @property
    def name(self) -> str:
        return self.config.name

    # ---- Score → Tokens ----------------------------------------------------------------------------------------------

    def encode(self, score: Score) -> Tokens:
        """Score → Tokens.

        `meta` says what the tokens do not: "transposition" (semitones added to reach C major / A minor, which `decode`
        takes back), "key", "bars", "leading_bars" (empty ones left out before the first, six instruments only; empty
        bars at the end are left out too), "tempo" (the first bar's true one) and "metre", "duplicates" (notes that fell
        together), "merged" (what became of the tracks), "tempo_clipped" (bars slower or faster than the tempos).

        Raises: MusicError, if there are no notes, too many bars, or a metre that the vocabulary does not have.
        """
        parts, meta = self._parts(score)
        notes, meta["duplicates"] = self._notes(parts)
        grid = self._grid(score, *notes.onsets[[0, -1]].tolist(), meta)
        notes = replace(notes, onsets=notes.onsets - grid.starts[0])
        if self.config.six:
            notes = self._to_c(parts, notes, meta)
        grid = replace(grid, starts=grid.starts - grid.starts[0])
        return self._write(notes, grid, meta)

    def _parts(self, score: Score) -> tuple[Score, dict[str, Any]]:
        """The score with only tracks that have an instrument here, and what that took."""
        meta: dict[str, Any] = {"representation": self.name, "transposition": 0}
        if self.config.six and not all(SIX.get(track.name) == _program(track) for track in score.tracks):
            score, report = merge_six(score)
            meta["merged"] = str(report)
        if score.note_num() == 0:
            raise MusicError("The song has no notes that this representation can hold; choose another file.")
        return score, meta

    def _notes(self, parts: Score) -> tuple[Notes, int]:
        """The notes of all tracks, rounded, sorted and unique, and how many fell together with another."""
        tracks = [(self.programs.index(_program(track)), track.notes.numpy()) for track in parts.tracks]
        time, duration, pitch, velocity = (
            np.concatenate([notes[name] for _, notes in tracks]).astype(np.int64)
            for name in ("time", "duration", "pitch", "velocity")
        )
        instrument = np.repeat([index for index, _ in tracks], [len(notes["time"]) for _, notes in tracks])
        per_quarter = parts.ticks_per_quarter
        onset = (time * (2 * STEPS) + per_quarter) // (2 * per_quarter)
        # A duration is nearer to the next code from the middle between the two on
        middles = self.durations[1:] + self.durations[:-1]
        code = np.searchsorted(-(-middles * per_quarter // (2 * STEPS)), duration, "right")
        # One number a note, in whose order they are written: sorting numbers is far quicker than sorting rows
        packed = (((onset << 8 | instrument) << 7 | (127 - pitch)) << 8 | code) << 7 | velocity
        packed.sort()
        note = packed >> 15
        last = np.append(note[1:] != note[:-1], True)  # of those that fall together: the longest
        loudness = packed & 127
        if not last.all():
            loudness = np.maximum.reduceat(loudness, np.append(0, np.flatnonzero(last)[:-1] + 1))
            packed, note = packed[last], note[last]
        notes = Notes(
            onsets=note >> 15,
            instruments=note >> 7 & 255,
            pitches=127 - (note & 127),
            durations=packed >> 7 & 255,
            velocities=loudness * self.config.velocities >> 7,
        )
        return notes, len(last) - len(note)

    def _grid(self, score: Score, first: int, last: int, meta: dict[str, Any]) -> Grid:
        """The bars that are written; `first` and `last` are steps of onsets. Six instruments: from the first bar with a
        note to the last, all of them in 4/4."""
        grid = lay(score)
        if self.config.six:
            begin, end = (np.searchsorted(grid.starts, [first, last], "right") - 1).tolist()
            grid = Grid(grid.starts[begin : end + 2], grid.metres[begin : end + 1], grid.tempos[begin : end + 1])
            wrong = np.flatnonzero(np.diff(grid.starts) != WHOLE)
            if len(wrong):
                raise MusicError(
                    f"Bar {begin + wrong[0] + 1} is in {'{}/{}'.format(*grid.metres[wrong[0]])}, and {self.name!r} holds "
                    "4/4 only; use a general model (--representation remi)."
                )
            meta["leading_bars"] = begin
        if len(grid) > MOST_BARS:
            raise MusicError(f"The song has {len(grid):,} bars, and at most {MOST_BARS:,} can be written; split it.")
        outside = (grid.tempos < TEMPOS[0]) | (grid.tempos > TEMPOS[-1])
        meta |= {"bars": len(grid), "tempo": round(float(grid.tempos[0]), 3), "tempo_clipped": int(outside.sum())}
        meta["metre"] = "{}/{}".format(*grid.metres[0])
        return grid

    def _to_c(self, parts: Score, notes: Notes, meta: dict[str, Any]) -> Notes:
        """In C major or A minor, by another octave (or not at all) where that would leave 0..127; drums as they are."""
        key = find_key(parts)
        meta["key"] = str(key)
        shift = transposition_to_c(key)
        tuned = notes.instruments != self._drums
        pitches = notes.pitches[tuned]
        if not len(pitches):
            return notes
        low, high = int(pitches.min()), int(pitches.max())
        meta["transposition"] = next((s for s in (shift, shift - 12, shift + 12) if low + s >= 0 and high + s <= 127), 0)
        return replace(notes, pitches=notes.pitches + meta["transposition"] * tuned)

    def _write(self, notes: Notes, grid: Grid, meta: dict[str, Any]) -> Tokens:
        """Count every note's and bar's tokens, so that each knows its place; then put them there."""
        first, bars = self._first, len(grid)
        bar = np.searchsorted(grid.starts, notes.onsets, "right") - 1
        position = notes.onsets - grid.starts[bar]
        new_position = np.append(True, notes.onsets[1:] != notes.onsets[:-1])
        new_instrument = np.append(True, notes.instruments[1:] != notes.instruments[:-1]) | new_position
        counts = 3 + new_position + new_instrument
        ends = np.cumsum(counts)  # tokens of the notes up to each
        velocity = ends + self._head * (bar + 1)  # place of each note's last token; BOS is at 0
        notes_before = np.searchsorted(notes.onsets, grid.starts)
        begins = 1 + self._head * np.arange(bars + 1) + np.append(0, ends)[notes_before]  # place of each Bar, and of EOS

        ids = np.empty(begins[-1] + 1, np.int16)
        ids[0], ids[-1] = BOS, EOS
        ids[begins[:-1]] = first["Bar"]
        if not self.config.six:
            ids[begins[:-1] + 1] = [first["Metre"] + METRE_INDEX[n, d] for n, d in grid.metres.tolist()]
        tempos = np.rint(72 * np.log2(grid.tempos / TEMPOS[0])).astype(np.int64)
        ids[begins[:-1] + self._head - 1] = first["Tempo"] + np.clip(tempos, 0, len(TEMPOS) - 1)
        keys = np.where(notes.instruments == self._drums, first["Drum"], first["Pitch"])
        ids[velocity] = first["Velocity"] + notes.velocities
        ids[velocity - 1] = first["Duration"] + notes.durations
        ids[velocity - 2] = keys + notes.pitches
        ids[velocity[new_instrument] - 3] = first["Instrument"] + notes.instruments[new_instrument]
        ids[velocity[new_position] - 4] = first["Position"] + position[new_position]

        bar_of = np.empty(len(ids), np.int32)
        bar_of[0], bar_of[-1] = 0, bars - 1
        bar_of[1:-1] = np.repeat(np.arange(bars), np.diff(begins))
        of_notes = np.ones(len(ids), bool)
        of_notes[[0, -1]] = False
        of_notes[np.add.outer(begins[:-1], np.arange(self._head))] = False
        positions = np.zeros(len(ids), np.int16)
        positions[of_notes] = np.repeat(position + 1, counts)
        return Tokens(ids, bar_of, positions, np.zeros((bars, 0), np.int16), meta)

    # ---- Tokens → Score ----------------------------------------------------------------------------------------------

    def decode(self, tokens: Tokens) -> Score:
        """Tokens → Score at 12 ticks a quarter, a track an instrument, in the order of the vocabulary.

        Taken as it is: a song, a draft that has no EOS yet, a part of a song that starts with Bar; PAD at the end.
        meta["transposition"] is taken back; keys that this drives out of 0..127 come back by octaves.

        Raises: MusicError, if the tokens do not follow the grammar; it names the first that does not.
        """
        ids = self._body(np.asarray(tokens.ids).astype(np.int64))
        family = self.vocabulary.family_of[ids]
        first, count = self._first, {name: np.cumsum(family == self._index[name]) for name in ("Bar", "Position", "Instrument")}

        bar = np.flatnonzero(family == self._index["Bar"])
        metres = np.full((len(bar), 2), 4) if self.config.six else np.array(METRES)[ids[bar + 1] - first["Metre"]]
        starts = starts_of(metres)
        tempos = np.take(TEMPOS, ids[bar + self._head - 1] - first["Tempo"])
        score = empty_score(Grid(starts, metres, tempos))

        place = np.flatnonzero(family == self._index["Position"])
        position, of = ids[place] - first["Position"], count["Bar"][place] - 1
        onset = starts[of] + position
        self._require(position < np.diff(starts)[of], ids, place, "lies outside its bar")
        self._require(_rising(onset), ids, place, "does not come after the position before it")

        place = np.flatnonzero(family == self._index["Instrument"])
        instrument, at = ids[place] - first["Instrument"], count["Position"][place] - 1
        self._require(_rising(at * 256 + instrument), ids, place, "does not come after the instrument before it")

        place = np.flatnonzero((family == self._index["Pitch"]) | (family == self._index["Drum"]))
        drum, of = family[place] == self._index["Drum"], count["Instrument"][place] - 1
        pitch = ids[place] - np.where(drum, first["Drum"], first["Pitch"])
        self._require(drum == (instrument[of] == self._drums), ids, place, "is not what its instrument plays")
        self._require(_rising(of * 128 - pitch), ids, place, "is not lower than the key before it")
        notes = Notes(
            onsets=onset[at[of]],
            instruments=instrument[of],
            pitches=np.where(drum, pitch, _inside(pitch - int(tokens.meta.get("transposition", 0)))),
            durations=self.durations[ids[place + 1] - first["Duration"]],
            velocities=self.velocities[ids[place + 2] - first["Velocity"]],
        )
        for index in np.unique(notes.instruments).tolist():
            score.tracks.append(self._track(notes, index))
        return score

    def _body(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The bars alone: without BOS, EOS and PAD. Raises MusicError where one event may not follow another."""
        self._require((ids >= 0) & (ids < self.vocabulary.size), ids, None, "is no id of the vocabulary")
        ids = ids[: len(ids) - int(np.argmax(np.append(ids[::-1] != PAD, True)))]
        ids = ids[int(len(ids) > 0 and ids[0] == BOS) : len(ids) - int(len(ids) > 0 and ids[-1] == EOS)]
        if not len(ids):
            raise MusicError(f"There is no bar among the tokens; a song of {self.name!r} has at least one.")
        family = self.vocabulary.family_of[ids]
        before = np.append(self._index["BOS"], family[:-1])
        self._require(self._follows[before, family], ids, None, "may not stand where it does")
        self._require(self._follows[family[-1:], self._index["EOS"]], ids, np.array([len(ids) - 1]), "cannot be the last")
        return ids

    def _require(self, right: NDArray[np.bool_], ids: NDArray[np.int64], places: NDArray[np.int64] | None, what: str) -> None:
        if right.all():
            return
        wrong = int(np.argmin(right))
        place = wrong if places is None else int(places[wrong])
        id = int(ids[place])
        name = self.vocabulary.name(id) if 0 <= id < self.vocabulary.size else "unknown"
        raise MusicError(f"Token {place}, {id} ({name}), {what}; these are not tokens of {self.name!r}, or they are damaged.")

    def _track(self, notes: Notes, index: int) -> Track:
        """The track of one instrument, notes sorted by (time, duration, pitch)."""
        mine = np.flatnonzero(notes.instruments == index)
        mine = mine[np.lexsort((notes.pitches[mine], notes.durations[mine], notes.onsets[mine]))]
        track = self._empty_track(index)
        columns = (notes.onsets, notes.durations, notes.pitches, notes.velocities)
        kinds = (np.int32, np.int32, np.int8, np.int8)
        track.notes = Note.from_numpy(*(column[mine].astype(kind) for column, kind in zip(columns, kinds, strict=True)), "Tick")
        return track

    def _empty_track(self, index: int) -> Track:
        program = self.programs[index]
        name = str(self.vocabulary.labels("Instrument")[index]) if self.config.six or program == DRUM else ""
        return Track(name, 0 if program == DRUM else program, program == DRUM)

    # ---- what a Score keeps ------------------------------------------------------------------------------------------

    def normalise(self, score: Score) -> Score:
        """The score that `decode(encode(score))` gives, found note by note. Raises MusicError where `encode` does."""
        parts, _ = self._parts(score)
        kept: dict[tuple[int, int, int], tuple[int, int]] = {}
        for track in parts.tracks:
            instrument = self.programs.index(_program(track))
            for note in track.notes:
                onset = _nearest_step(note.time, parts.ticks_per_quarter)
                exact = Fraction(note.duration * STEPS, parts.ticks_per_quarter)
                duration = min(self.config.durations, key=lambda steps, exact=exact: (abs(steps - exact), -steps))
                where = instrument, onset, note.pitch
                longest, loudest = kept.get(where, (0, 0))
                kept[where] = max(longest, duration), max(loudest, note.velocity)
        onsets = [onset for _, onset, _ in kept]
        grid = self._grid(score, min(onsets), max(onsets), {})
        start = int(grid.starts[0])
        tempos = [min(TEMPOS, key=lambda tempo, true=true: abs(log2(tempo / true))) for true in grid.tempos.tolist()]
        kept_score = empty_score(Grid(grid.starts - start, grid.metres, np.array(tempos)))
        for index in sorted({instrument for instrument, _, _ in kept}):
            track = self._empty_track(index)
            for (instrument, onset, pitch), (duration, loudness) in kept.items():
                if instrument == index:
                    middle = min(self.velocities.tolist(), key=lambda middle, loud=loudness: (abs(middle - loud), -middle))
                    track.notes.append(Note(onset - start, duration, pitch, middle))
            kept_score.tracks.append(track.sort())
        return kept_score


def _program(track: Track) -> int:
    return DRUM if track.is_drum else track.program


def _nearest_step(ticks: int, ticks_per_quarter: int) -> int:
    return floor(Fraction(ticks * STEPS, ticks_per_quarter) + Fraction(1, 2))


def _rising(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Bool[n]: whether each value is above the one before it."""
    return np.diff(values, prepend=values[:1] - 1) > 0


def _inside(pitches: NDArray[np.int64]) -> NDArray[np.int64]:
    """Keys below 0 and above 127 moved by as many octaves as they need."""
    up, down = -(np.minimum(pitches, 0) // 12), -((127 - np.maximum(pitches, 127)) // 12)
    return pitches + 12 * (up - down)
