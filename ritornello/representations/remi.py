"""Scores as events (see `events`): Museformer's for six instruments or for all, MuseMorphose's for one piano.

What is rounded, and how: onsets, bar lines and durations to the nearest that can be said, ties up, in twelve steps a
quarter; velocities to the middle of their bin; the tempo of a bar (its time-true mean) to the nearest 1/72 octave, at
most 0.49 % off, within 15 to 480 a minute. Notes of one instrument that begin at one step on one pitch become one: the
longest, the loudest. Bar lines and metres: see `grid`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache
from math import floor, log2
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from symusic import Note
from symusic.core import NoteTick, NoteTickList, TextMetaTick, TrackTick

from ritornello.config import Config
from ritornello.errors import MusicError
from ritornello.music.attributes import texture
from ritornello.music.chords import LABELS as CHORDS
from ritornello.music.chords import recognise
from ritornello.music.chords import transposed as chords_transposed
from ritornello.music.keys import find_key, fitting, transposition_to_c
from ritornello.music.score import Score
from ritornello.music.tracks import DRUM, SIX, merge_piano, merge_six
from ritornello.representations.base import Tokens
from ritornello.representations.events import NO_CHORDS, Chords, Events, Notes
from ritornello.representations.grid import LONGEST, STEPS, WHOLE, Grid, all_metres, beats, empty_score, lay, to_steps
from ritornello.representations.vocabulary import Vocabulary

TEMPOS = tuple(round(120 * 2 ** (k / 72), 3) for k in range(-216, 145))  # 15 to 480 quarters a minute
MOST_BARS = 32_767  # of one song: on disk, bars are 16 bits


class RemiConfig(Config):
    """Which events there are."""

    name: str
    parts: Literal["all", "six", "piano"] = "all"
    """Every program, in any metre and key; Museformer's six instruments, 4/4 only, in C major / A minor; or all pitched
    tracks as one piano part with chords and bar attributes, in any metre and key."""
    durations: tuple[int, ...]
    """What a note can last, in steps, rising from 1."""
    velocities: int = Field(32, ge=1, le=128)
    """Equal bins of 0..127."""


def _durations(*parts: tuple[int, int]) -> tuple[int, ...]:
    """Rising from 1: each part says how far it goes and in steps of what."""
    result: list[int] = []
    for last, step in parts:
        result += range((result[-1] if result else 0) + step, last + 1, step)
    return tuple(result)


# 94 of 100 durations in Lakh songs fall on one of these, and the mean distance is 0.15 steps
COMPACT = (*range(1, 13), 14, 15, 16, 18, 20, 21, 23, 24, 27, 30, 33, 36, 42, 48, 54, 60, 72, 96, 144, 192)

CONFIGS = {
    config.name: config
    for config in (
        RemiConfig(
            name="museformer",
            parts="six",
            durations=COMPACT,
            velocities=16,
        ),
        RemiConfig(  # as fine as the paper's, up to 61 bars, with whole notes exact
            name="museformer-paper",
            parts="six",
            durations=_durations((12, 1), (48, 2), (96, 4), (192, 8), (384, 16), (768, 32), (1536, 64), (2944, 128)),
        ),
        RemiConfig(name="musemorphose", parts="piano", durations=COMPACT),
        RemiConfig(name="remi", durations=_durations((96, 1), (192, 4), (384, 12), (768, 24), (1536, 48))),
    )
}


class Remi:
    """Score ⇄ Tokens. `vocabulary` has the events, with steps, General MIDI programs and bins' middles as labels."""

    def __init__(self, config: RemiConfig) -> None:
        self.config = config
        self.six, self.piano = config.parts == "six", config.parts == "piano"
        self.programs = {"six": tuple(SIX.values()), "piano": (0,)}.get(config.parts, tuple(range(DRUM + 1)))
        self.velocities = tuple((256 * i + 128) // (2 * config.velocities) for i in range(config.velocities))
        instruments = {"Instrument": tuple(SIX) if self.six else (*range(DRUM), "drums")}
        self.vocabulary = Vocabulary(
            {
                "Bar": (),
                **({} if self.six else {"Metre": [f"{n}/{d}" for n, d in all_metres()]}),
                "Tempo": TEMPOS,
                "Position": range(WHOLE if self.six else LONGEST),
                **({"Chord": CHORDS} if self.piano else instruments),
                "Pitch": range(128),
                **({} if self.piano else {"Drum": range(128)}),
                "Duration": config.durations,
                "Velocity": self.velocities,
            }
        )
        self.events = Events(self.vocabulary)

    @property
    def name(self) -> str:
        return self.config.name

    # ---- Score → Tokens ----------------------------------------------------------------------------------------------

    def encode(self, score: Score) -> Tokens:
        """Score → Tokens, with in `meta`:

        bars, notes, tempo (of the first bar, before rounding), metre (of the first bar);
        duplicates:       notes that fell together with another;
        tempo_clipped:    bars slower or faster than any tempo of the vocabulary;
        transposition:    semitones that were added, which `decode` takes back (six instruments; 0 otherwise);
        for six instruments: key (before that), leading_bars (empty ones left out before the first; those at the end
        are left out too), merged and melody_confidence (what became of the tracks; not there if they were the six);
        for the piano: key, merged (a sentence; not there if it was one piano).

        The piano's `attributes` are each bar's rhythmic intensity and polyphony (`music.attributes`) in thousandths.

        Raises: MusicError, if there are no notes, too many bars, or a metre that the vocabulary does not have.
        """
        parts, meta = self._parts(score)
        notes, duplicates = self._notes(parts)
        meta |= {"notes": len(notes.onsets), "duplicates": duplicates}
        grid, about = self._grid(parts if self.piano else score, *notes.onsets[[0, -1]].tolist())
        notes = replace(notes, onsets=notes.onsets - grid.starts[0])
        grid = replace(grid, starts=grid.starts - grid.starts[0])
        if self.config.parts != "all":
            key = find_key(parts)
            shift = fitting(parts, transposition_to_c(key)) if self.six else 0
            meta |= {"key": str(key), "transposition": shift}
            notes = replace(notes, pitches=notes.pitches + shift * self._pitched(notes))
        chords, attributes = NO_CHORDS, np.zeros((len(grid), 0), np.int16)
        if self.piano:
            durations = np.take(self.config.durations, notes.durations)
            chords = find_chords(notes.onsets, durations, notes.pitches, grid)
            attributes = bar_texture(notes.onsets, durations, grid)
        ids, bars, positions = self.events.write(notes, grid, chords)
        return Tokens(ids, bars, positions, attributes, {**meta, **about})

    def _parts(self, score: Score) -> tuple[Score, dict[str, Any]]:
        """The score with only tracks that have an instrument here, and what that took."""
        meta: dict[str, Any] = {"representation": self.name, "transposition": 0}
        if self.six and not all(SIX.get(track.name) == _program(track) for track in score.tracks):
            score, report = merge_six(score)
            meta |= {"merged": str(report), "melody_confidence": round(report.confidence, 3)}
        elif self.piano:
            score, said = merge_piano(score)
            meta |= {"merged": said} if said else {}
        if score.note_num() == 0:
            raise MusicError(f"The song has no notes that {self.name!r} can hold; choose another file.")
        return score, meta

    def _pitched(self, notes: Notes) -> NDArray[np.bool_]:
        """Which notes are not drums."""
        return np.take(self.programs, notes.instruments) != DRUM

    def _notes(self, parts: Score) -> tuple[Notes, int]:
        """The notes of all tracks, rounded, sorted and unique, and how many fell together with another."""
        tracks = [(self.programs.index(_program(track)), track.notes.numpy()) for track in parts.tracks]
        time, duration, pitch, velocity = (
            np.concatenate([notes[name] for _, notes in tracks]).astype(np.int64)
            for name in ("time", "duration", "pitch", "velocity")
        )
        instrument = np.repeat([index for index, _ in tracks], [len(notes["time"]) for _, notes in tracks])
        # A duration is nearer to the next that can be said from the middle between the two on
        per_quarter, durations = parts.ticks_per_quarter, np.array(self.config.durations)
        middles = -(-(durations[1:] + durations[:-1]) * per_quarter // (2 * STEPS))
        code = np.searchsorted(middles, duration, "right")
        # One number a note, in whose order they are written: sorting numbers is far quicker than sorting rows
        onset = to_steps(time, per_quarter)
        packed = (((onset << 8 | instrument) << 7 | (127 - pitch)) << 8 | code) << 7 | velocity
        packed.sort()
        note, loudness = packed >> 15, packed & 127
        last = np.append(note[1:] != note[:-1], True)  # of those that fall together: the longest
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

    def _grid(self, score: Score, first: int, last: int) -> tuple[Grid, dict[str, Any]]:
        """The bars that are written, and about them; `first` and `last` are the steps of the outmost onsets.

        With six instruments: those from the first bar with a note to the last, all of them in 4/4.
        """
        grid, about = lay(score), {}
        if self.six:
            begin, end = (np.searchsorted(grid.starts, [first, last], "right") - 1).tolist()
            grid = Grid(grid.starts[begin : end + 2], grid.metres[begin : end + 1], grid.tempos[begin : end + 1])
            about["leading_bars"] = begin
            wrong = np.flatnonzero(np.diff(grid.starts) != WHOLE)
            if len(wrong):
                beats, unit = grid.metres[wrong[0]].tolist()
                length = f"in {beats}/{unit}" if unit != WHOLE else f"cut short to {beats / STEPS:.2f} quarters"
                raise MusicError(
                    f"Bar {begin + wrong[0] + 1} is {length}, and {self.name!r} holds 4/4 only; use a general model "
                    "(--representation remi)."
                )
            grid = replace(grid, metres=np.full_like(grid.metres, 4))  # 2/2 is as long
        if len(grid) > MOST_BARS:
            raise MusicError(f"The song has {len(grid):,} bars, and at most {MOST_BARS:,} can be written; split it.")
        outside = (grid.tempos < TEMPOS[0]) | (grid.tempos > TEMPOS[-1])
        about |= {"bars": len(grid), "tempo": round(float(grid.tempos[0]), 3), "tempo_clipped": int(outside.sum())}
        return grid, {**about, "metre": "{}/{}".format(*grid.metres[0])}

    # ---- Tokens → Score ----------------------------------------------------------------------------------------------

    def decode(self, tokens: Tokens) -> Score:
        """Tokens → Score at 12 ticks a quarter, a track an instrument, in the order of the vocabulary.

        Chords become markers, which players and notation programs show.

        Taken as they are: a song, a draft without EOS, a part of a song that starts with Bar; padding at the end.
        meta["transposition"] is taken back; keys that this drives out of 0..127 come back by octaves.

        Raises: MusicError, if the tokens do not follow the grammar; it names the first that does not.
        """
        notes, grid, chords = self.events.read(tokens.ids)
        score = empty_score(grid)
        _mark(score, chords)
        pitches = notes.pitches - int(tokens.meta.get("transposition", 0)) * self._pitched(notes)
        pitches += 12 * (-(np.minimum(pitches, 0) // 12) + (127 - np.maximum(pitches, 127)) // 12)
        durations = np.take(self.config.durations, notes.durations)
        velocities = np.take(self.velocities, notes.velocities)
        for index in np.unique(notes.instruments).tolist():
            mine = np.flatnonzero(notes.instruments == index)
            mine = mine[np.lexsort((pitches[mine], durations[mine], notes.onsets[mine]))]
            times = (notes.onsets[mine].astype(np.int32), durations[mine].astype(np.int32))
            columns = (*times, pitches[mine].astype(np.int8), velocities[mine].astype(np.int8))
            track = self._track(index)
            track.notes = cast(NoteTickList, Note.from_numpy(*columns))
            score.tracks.append(track)
        return score

    def _track(self, index: int) -> TrackTick:
        """An empty track of the instrument at this place in the vocabulary."""
        label = "piano" if self.piano else self.vocabulary.labels("Instrument")[index]
        program = self.programs[index]
        return TrackTick(label if isinstance(label, str) else "", program % DRUM, program == DRUM)

    # ---- what is kept of a Score -------------------------------------------------------------------------------------

    def normalise(self, score: Score) -> Score:
        """The score that `decode(encode(score))` gives, found note by note. Raises MusicError where `encode` does."""
        parts, _ = self._parts(score)
        steps = cache(lambda ticks: Fraction(ticks * STEPS, parts.ticks_per_quarter))
        step = cache(lambda ticks: floor(steps(ticks) + Fraction(1, 2)))
        kept: dict[tuple[int, int, int], tuple[int, int]] = {}
        for track in parts.tracks:
            index = self.programs.index(_program(track))
            for note in track.notes:
                where = index, step(note.time), note.pitch
                longest, loudest = kept.get(where, (0, 0))
                kept[where] = max(longest, note.duration), max(loudest, note.velocity)

        onsets = [onset for _, onset, _ in kept]
        grid, _ = self._grid(parts if self.piano else score, min(onsets), max(onsets))
        start = int(grid.starts[0])
        tempos = [min(TEMPOS, key=lambda tempo, true=true: abs(log2(tempo / true))) for true in grid.tempos.tolist()]
        result = empty_score(Grid(grid.starts - start, grid.metres, np.array(tempos)))

        duration = cache(lambda ticks: _nearest(self.config.durations, steps(ticks)))
        velocity = cache(lambda velocity: _nearest(self.velocities, velocity))
        tracks = {index: self._track(index) for index in sorted({index for index, _, _ in kept})}
        for (index, onset, pitch), (longest, loudest) in kept.items():
            tracks[index].notes.append(NoteTick(onset - start, duration(longest), pitch, velocity(loudest)))
        for track in tracks.values():
            result.tracks.append(track.sort())
        if self.piano:
            rows = [(onset - start, duration(longest), pitch) for (_, onset, pitch), (longest, _) in kept.items()]
            onsets, durations, pitches = np.array(rows).T
            placed = replace(grid, starts=grid.starts - start)
            _mark(result, find_chords(onsets, durations, pitches, placed))
        return result


# ---- what the piano has beside its notes -----------------------------------------------------------------------------


def find_chords(
    onsets: NDArray[np.int64], durations: NDArray[np.int64], pitches: NDArray[np.int64], grid: Grid
) -> Chords:
    """The chords of notes in steps (see `music.chords`), at the beats where they change; the first beat has one."""
    places, in_bar = beats(grid)
    labels = recognise(onsets, durations, pitches, places, in_bar)
    changes = np.flatnonzero(np.diff(labels, prepend=-1))
    return Chords(places[changes], labels[changes])


def bar_texture(onsets: NDArray[np.int64], durations: NDArray[np.int64], grid: Grid) -> NDArray[np.int16]:
    """Rhythmic intensity and polyphony of every bar in thousandths, int16[b, 2]."""
    both = np.stack(texture(onsets, durations, grid.starts, STEPS), axis=1)
    return np.minimum(np.rint(1000 * both), 32_767).astype(np.int16)


def transposable(vocabulary: Vocabulary, ids: NDArray[np.integer]) -> tuple[int, int]:
    """The least and the greatest number of semitones by which `transpose` can shift these tokens."""
    pitches = vocabulary.range("Pitch")
    found = ids[(ids >= pitches.start) & (ids < pitches.stop)]
    if not len(found):
        return -127, 127
    return pitches.start - int(found.min()), pitches.stop - 1 - int(found.max())


def transpose(vocabulary: Vocabulary, ids: NDArray[np.int16], semitones: int) -> NDArray[np.int16]:
    """The same tokens so many semitones higher, pitches and chords; drums stay as they are.

    Raises: MusicError, where a pitch would leave 0..127 (see `transposable`).
    """
    low, high = transposable(vocabulary, ids)
    if not low <= semitones <= high:
        raise MusicError(f"These notes can be transposed by {low:+d} to {high:+d} semitones, not by {semitones:+d}.")
    result = ids.copy()
    pitches = vocabulary.range("Pitch")
    result[(ids >= pitches.start) & (ids < pitches.stop)] += semitones
    if "Chord" in vocabulary.families:
        chords = vocabulary.range("Chord")
        is_chord = (ids >= chords.start) & (ids < chords.stop)
        result[is_chord] = chords.start + chords_transposed(ids[is_chord].astype(np.int64) - chords.start, semitones)
    return result


def _mark(score: Score, chords: Chords) -> None:
    """Write chords into a score as markers, which players and notation programs show."""
    for onset, label in zip(chords.onsets.tolist(), chords.labels.tolist(), strict=True):
        score.markers.append(TextMetaTick(onset, CHORDS[label]))


def _program(track: TrackTick) -> int:
    return DRUM if track.is_drum else track.program


def _nearest(choices: Sequence[int], exact: Fraction | int) -> int:
    """The choice nearest to a number; of two equally near the greater."""
    return min(choices, key=lambda choice: (abs(choice - exact), -choice))
