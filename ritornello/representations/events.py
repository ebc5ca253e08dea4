"""Museformer's grammar: notes and bars ⇄ a sequence of events (paper section 3.1), all notes at once.

    song := BOS bar+ EOS
    bar  := Bar [Metre] Tempo { Position { Instrument { Pitch|Drum Duration Velocity }+ }+ }*

`Bar` begins a bar, so that whatever is chosen first in a bar is chosen as a part of it. A bar has its tempo once; an
onset its position once; an instrument is named once at a position, in the order of the vocabulary; its notes come from
high to low, no pitch twice. Metre is there only where the vocabulary has metres; without them all bars are in 4/4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ritornello.errors import MusicError
from ritornello.representations.grid import Grid, starts_of
from ritornello.representations.vocabulary import BOS, EOS, Vocabulary

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


@dataclass(frozen=True, eq=False)
class Notes:
    """The n notes of a song in the order in which they are written: by onset, instrument, falling pitch."""

    onsets: NDArray[np.int64]  # [n], in steps
    instruments: NDArray[np.int64]  # [n]: place among the vocabulary's instruments
    pitches: NDArray[np.int64]  # [n]
    durations: NDArray[np.int64]  # [n]: place among the vocabulary's durations
    velocities: NDArray[np.int64]  # [n]: place among the vocabulary's velocities


class Events:
    """The grammar with one vocabulary, which must have the families above in that order."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        families = vocabulary.families
        self._first = {family: vocabulary.range(family).start for family in families}
        self._index = {family: i for i, family in enumerate(families)}
        self._drums = vocabulary.labels("Instrument").index("drums")
        self._tempos = np.array(vocabulary.labels("Tempo"), np.float64)
        self._metres = self._metre_index = None
        self._follows = np.array([[after in FOLLOWS.get(before, ()) for after in families] for before in families])
        if "Metre" in families:
            self._follows[self._index["Bar"], self._index["Tempo"]] = False
            metres = [tuple(map(int, str(label).split("/"))) for label in vocabulary.labels("Metre")]
            self._metres, self._metre_index = np.array(metres), {metre: i for i, metre in enumerate(metres)}
        self._head = 2 if self._metres is None else 3  # tokens of a bar before its first note

    def nearest_tempos(self, tempos: NDArray[np.float64]) -> NDArray[np.int64]:
        """The place of the nearest tempo (by ratio) among the vocabulary's, for each of `tempos`."""
        return np.searchsorted(np.sqrt(self._tempos[1:] * self._tempos[:-1]), tempos)

    def write(self, notes: Notes, grid: Grid) -> tuple[NDArray[np.int16], NDArray[np.int32], NDArray[np.int16]]:
        """Notes (as `Notes` orders them) and bars (from step 0) → ids, bars, positions of every token, as in `Tokens`.

        Every note and bar knows how many tokens it makes; their running sums are the places to put them.
        """
        first, bars = self._first, len(grid)
        bar = np.searchsorted(grid.starts, notes.onsets, "right") - 1
        position = notes.onsets - grid.starts[bar]
        new_position = np.diff(notes.onsets, prepend=-1) != 0
        new_instrument = new_position | (np.diff(notes.instruments, prepend=-1) != 0)
        counts = 3 + new_position + new_instrument
        ends = np.cumsum(counts)
        velocity = ends + self._head * (bar + 1)  # place of each note's last token; BOS is at 0
        notes_before = np.searchsorted(notes.onsets, grid.starts)
        begins = 1 + self._head * np.arange(bars + 1) + np.append(0, ends)[notes_before]  # of each bar, and of EOS

        ids = np.empty(begins[-1] + 1, np.int16)
        ids[0], ids[-1] = BOS, EOS
        ids[begins[:-1]] = first["Bar"]
        if self._metre_index is not None:
            ids[begins[:-1] + 1] = [first["Metre"] + self._metre_index[n, d] for n, d in grid.metres.tolist()]
        ids[begins[:-1] + self._head - 1] = first["Tempo"] + self.nearest_tempos(grid.tempos)
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
        return ids, bar_of, positions

    def read(self, ids: NDArray[np.integer]) -> tuple[Notes, Grid]:
        """The inverse of `write`. A draft without EOS, and a part of a song that starts with Bar, are taken too.

        Raises: MusicError, if the events do not follow the grammar; it names the first that does not.
        """
        ids = self._body(np.asarray(ids, np.int64))
        index, first = self._index, self._first
        family = self.vocabulary.family_of[ids]
        bars, positions, instruments = (np.cumsum(family == index[f]) - 1 for f in ("Bar", "Position", "Instrument"))

        place = np.flatnonzero(family == index["Bar"])
        metres = np.full((len(place), 2), 4) if self._metres is None else self._metres[ids[place + 1] - first["Metre"]]
        tempos = self._tempos[ids[place + self._head - 1] - first["Tempo"]]
        grid = Grid(starts_of(metres), metres, tempos)

        place = np.flatnonzero(family == index["Position"])
        position, bar = ids[place] - first["Position"], bars[place]
        onset = grid.starts[bar] + position
        self._require(position < np.diff(grid.starts)[bar], ids, place, "lies outside its bar")
        self._require(_rises(onset), ids, place, "does not come after the position before it")

        place = np.flatnonzero(family == index["Instrument"])
        instrument, at = ids[place] - first["Instrument"], positions[place]
        self._require(
            _rises(at * self.vocabulary.size + instrument), ids, place, "is not after the instrument before it"
        )

        place = np.flatnonzero((family == index["Pitch"]) | (family == index["Drum"]))
        drum, of = family[place] == index["Drum"], instruments[place]
        pitch = ids[place] - np.where(drum, first["Drum"], first["Pitch"])
        self._require(drum == (instrument[of] == self._drums), ids, place, "is not what its instrument plays")
        self._require(_rises(of * 128 - pitch), ids, place, "is not lower than the key before it")
        return Notes(
            onsets=onset[at[of]],
            instruments=instrument[of],
            pitches=pitch,
            durations=ids[place + 1] - first["Duration"],
            velocities=ids[place + 2] - first["Velocity"],
        ), grid

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
