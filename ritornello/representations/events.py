"""The grammar: notes, bars and chords ⇄ a sequence of events, all at once.

    song := BOS bar+ EOS
    bar  := Bar [Metre] Tempo { Position { Instrument { Pitch|Drum Duration Velocity }+ }+ }*
    bar  := Bar [Metre] Tempo { Position [Chord] { Pitch Duration Velocity }* }*

The first is Museformer's (paper section 3.1), for many instruments; the second MuseMorphose's, for one. The vocabulary
says which. `Bar` begins a bar, so that whatever is chosen first in a bar is chosen as a part of it. A bar has its tempo
once; an onset its position once; an instrument is named once at a position, in the order of the vocabulary; its notes
come from high to low, no pitch twice. Metre is there only where the vocabulary has metres; without them all bars are in
4/4. A chord stands at a beat, where it changes; a position has a chord or a note, and the last bar has a note.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ritornello.errors import MusicError
from ritornello.representations.grid import Grid, beat_length, starts_of
from ritornello.representations.vocabulary import BOS, EOS, Vocabulary

FOLLOWS = {
    "BOS": {"Bar"},
    "Bar": {"Metre", "Tempo"},
    "Metre": {"Tempo"},
    "Tempo": {"Bar", "Position", "EOS"},
    "Position": {"Instrument", "Chord", "Pitch"},
    "Chord": {"Pitch", "Position", "Bar", "EOS"},
    "Instrument": {"Pitch", "Drum"},
    "Pitch": {"Duration"},
    "Drum": {"Duration"},
    "Duration": {"Velocity"},
    "Velocity": {"Pitch", "Drum", "Instrument", "Position", "Bar", "EOS"},
}


@dataclass(frozen=True, eq=False)
class Notes:
    """The n notes of a song in the order in which they are written: by onset, instrument, falling pitch."""

    onsets: NDArray[np.int64]  # [n], in steps
    instruments: NDArray[np.int64]  # [n]: place among the vocabulary's instruments
    pitches: NDArray[np.int64]  # [n]
    durations: NDArray[np.int64]  # [n]: place among the vocabulary's durations
    velocities: NDArray[np.int64]  # [n]: place among the vocabulary's velocities


@dataclass(frozen=True, eq=False)
class Chords:
    """Where the chord changes, and to what: c of them, by onset."""

    onsets: NDArray[np.int64]  # [c], in steps, each at a beat
    labels: NDArray[np.int64]  # [c]: place among the vocabulary's chords


NO_CHORDS = Chords(np.zeros(0, np.int64), np.zeros(0, np.int64))


class Events:
    """The grammar with one vocabulary, which must have families of one of the two kinds above, in that order."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        families = vocabulary.families
        self._first = {family: vocabulary.range(family).start for family in families}
        self._index = {family: i for i, family in enumerate(families)}
        self._named = "Instrument" in families
        self._drums = vocabulary.labels("Instrument").index("drums") if self._named else -1
        self._tempos = np.array(vocabulary.labels("Tempo"), np.float64)
        self._metres = self._metre_index = None
        self._follows = np.array([[after in FOLLOWS.get(before, ()) for after in families] for before in families])
        if self._named:
            self._follows[self._index["Position"], self._index["Pitch"]] = False
        if "Metre" in families:
            self._follows[self._index["Bar"], self._index["Tempo"]] = False
            metres = [tuple(map(int, str(label).split("/"))) for label in vocabulary.labels("Metre")]
            self._metres, self._metre_index = np.array(metres), {metre: i for i, metre in enumerate(metres)}
        self._head = 2 if self._metres is None else 3  # tokens of a bar before its first note

    def nearest_tempos(self, tempos: NDArray[np.float64]) -> NDArray[np.int64]:
        """The place of the nearest tempo (by ratio) among the vocabulary's, for each of `tempos`."""
        return np.searchsorted(np.sqrt(self._tempos[1:] * self._tempos[:-1]), tempos)

    def write(
        self, notes: Notes, grid: Grid, chords: Chords = NO_CHORDS
    ) -> tuple[NDArray[np.int16], NDArray[np.int32], NDArray[np.int16]]:
        """Notes (as `Notes` orders them), chords and bars (from step 0) → ids, bars, positions of every token, as in
        `Tokens`.

        Every note, chord and bar knows how many tokens it makes; their running sums are the places to put them.
        """
        first, bars = self._first, len(grid)
        onsets = np.concatenate([chords.onsets, notes.onsets])
        order = np.argsort(onsets, kind="stable")  # a chord before the notes at its beat
        onsets, is_chord = onsets[order], order < len(chords.onsets)
        bar = np.searchsorted(grid.starts, onsets, "right") - 1
        position = onsets - grid.starts[bar]
        new_position = np.diff(onsets, prepend=-1) != 0
        counts = np.where(is_chord, 1, 3) + new_position
        if self._named:  # there are no chords then
            new_instrument = new_position | (np.diff(notes.instruments, prepend=-1) != 0)
            counts += new_instrument
        ends = np.cumsum(counts)
        last = ends + self._head * (bar + 1)  # place of each one's last token; BOS is at 0
        before = np.searchsorted(onsets, grid.starts)
        begins = 1 + self._head * np.arange(bars + 1) + np.append(0, ends)[before]  # of each bar, and of EOS

        ids = np.empty(begins[-1] + 1, np.int16)
        ids[0], ids[-1] = BOS, EOS
        ids[begins[:-1]] = first["Bar"]
        if self._metre_index is not None:
            ids[begins[:-1] + 1] = [first["Metre"] + self._metre_index[n, d] for n, d in grid.metres.tolist()]
        ids[begins[:-1] + self._head - 1] = first["Tempo"] + self.nearest_tempos(grid.tempos)
        ids[(last - counts + 1)[new_position]] = first["Position"] + position[new_position]
        velocity = last[~is_chord]
        ids[velocity] = first["Velocity"] + notes.velocities
        ids[velocity - 1] = first["Duration"] + notes.durations
        if self._named:
            keys = np.where(notes.instruments == self._drums, first["Drum"], first["Pitch"])
            ids[velocity[new_instrument] - 3] = first["Instrument"] + notes.instruments[new_instrument]
        else:
            keys = first["Pitch"]
        ids[velocity - 2] = keys + notes.pitches
        if len(chords.onsets):
            ids[last[is_chord]] = first["Chord"] + chords.labels

        bar_of = np.empty(len(ids), np.int32)
        bar_of[0], bar_of[-1] = 0, bars - 1
        bar_of[1:-1] = np.repeat(np.arange(bars), np.diff(begins))
        of_notes = np.ones(len(ids), bool)
        of_notes[[0, -1]] = False
        of_notes[np.add.outer(begins[:-1], np.arange(self._head))] = False
        positions = np.zeros(len(ids), np.int16)
        positions[of_notes] = np.repeat(position + 1, counts)
        return ids, bar_of, positions

    def read(self, ids: NDArray[np.integer]) -> tuple[Notes, Grid, Chords]:
        """The inverse of `write`. A draft without EOS, and a part of a song that starts with Bar, are taken too.

        Raises: MusicError, if the events do not follow the grammar; it names the first that does not.
        """
        ids = self._body(np.asarray(ids, np.int64))
        index, first = self._index, self._first
        family = self.vocabulary.family_of[ids]
        bars, positions = (np.cumsum(family == index[f]) - 1 for f in ("Bar", "Position"))

        place = np.flatnonzero(family == index["Bar"])
        metres = np.full((len(place), 2), 4) if self._metres is None else self._metres[ids[place + 1] - first["Metre"]]
        tempos = self._tempos[ids[place + self._head - 1] - first["Tempo"]]
        grid = Grid(starts_of(metres), metres, tempos)

        place = np.flatnonzero(family == index["Position"])
        position, bar = ids[place] - first["Position"], bars[place]
        onset = grid.starts[bar] + position
        self._require(position < np.diff(grid.starts)[bar], ids, place, "lies outside its bar")
        self._require(_rises(onset), ids, place, "does not come after the position before it")

        place = np.flatnonzero((family == index["Pitch"]) | (family == index.get("Drum", -1)))
        instruments, at = self._instruments(ids, family, positions, place)
        pitch = ids[place] - np.where(family[place] == index["Pitch"], first["Pitch"], first.get("Drum", 0))
        self._require(_rises(at * 128 - pitch), ids, place, "is not lower than the key before it")
        return (
            Notes(
                onsets=onset[positions[place]],
                instruments=instruments,
                pitches=pitch,
                durations=ids[place + 1] - first["Duration"],
                velocities=ids[place + 2] - first["Velocity"],
            ),
            grid,
            self._chords(ids, family, grid, bars, positions, onset),
        )

    def _instruments(
        self, ids: NDArray[np.int64], family: NDArray[np.int8], positions: NDArray[np.int64], notes: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The instrument of the notes at these places, and the count of the group of falling pitches each is in: that
        of the instrument at a position; without instruments, 0 and the position."""
        if not self._named:
            return np.zeros(len(notes), np.int64), positions[notes]
        place = np.flatnonzero(family == self._index["Instrument"])
        named, at = ids[place] - self._first["Instrument"], positions[place]
        self._require(_rises(at * self.vocabulary.size + named), ids, place, "is not after the instrument before it")
        group = (np.cumsum(family == self._index["Instrument"]) - 1)[notes]
        is_drum = family[notes] == self._index["Drum"]
        self._require(is_drum == (named[group] == self._drums), ids, notes, "is not what its instrument plays")
        return named[group], group

    def _chords(
        self,
        ids: NDArray[np.int64],
        family: NDArray[np.int8],
        grid: Grid,
        bars: NDArray[np.int64],
        positions: NDArray[np.int64],
        onset: NDArray[np.int64],
    ) -> Chords:
        """The chords, each at a beat and unlike the one before."""
        if "Chord" not in self._index:
            return NO_CHORDS
        place = np.flatnonzero(family == self._index["Chord"])
        lengths = np.array([beat_length(metre) for metre in map(tuple, grid.metres.tolist())])
        onsets, bar, labels = onset[positions[place]], bars[place], ids[place] - self._first["Chord"]
        self._require((onsets - grid.starts[bar]) % lengths[bar] == 0, ids, place, "does not stand at a beat")
        self._require(np.diff(labels, prepend=-1) != 0, ids, place, "is the chord that sounds already")
        return Chords(onsets, labels)

    def _body(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The bars alone, without BOS, EOS and PAD. Raises MusicError where an event may not follow the one before."""
        self._require((ids >= 0) & (ids < self.vocabulary.size), ids, np.arange(len(ids)), "is not in the vocabulary")
        ids = np.trim_zeros(ids, "b")  # PAD is 0
        ids = ids[int(ids[:1].tolist() == [BOS]) : len(ids) - int(ids[-1:].tolist() == [EOS])]
        if not len(ids):
            raise MusicError(
                "There is no bar among the tokens, and a song has at least one; generate or encode it again."
            )
        family = self.vocabulary.family_of[ids]
        before, after = (np.concatenate(pair) for pair in (([BOS], family), (family, [EOS])))  # they are families, too
        self._require(self._follows[before, after], np.append(ids, EOS), np.arange(len(after)), "is out of place")
        return ids

    def _require(
        self, right: NDArray[np.bool_], ids: NDArray[np.int64], places: NDArray[np.int64], problem: str
    ) -> None:
        """Raise MusicError about the token at the first of `places` that is not `right`."""
        if right.all():
            return
        place = int(places[np.argmin(right)])
        id = int(ids[place])
        name = self.vocabulary.name(id) if 0 <= id < self.vocabulary.size else "of no event"
        raise MusicError(
            f"Token {place} of the bars (id {id}, {name}) {problem}; they are damaged or of another representation."
        )


def _rises(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Bool[n]: whether each value is above the one before it."""
    return np.diff(values, prepend=values[:1] - 1) > 0
