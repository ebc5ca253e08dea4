"""What one bar of a song with a form is to have again, and who is to play in it: what `Returning` goes by."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ritornello.representations.vocabulary import Vocabulary
from ritornello.sampling.form import Origin, Return

HEAD = ("BOS", "Bar", "Metre", "Tempo")
NOTE = ("Position", "Chord", "Instrument", "Pitch", "Duration", "Velocity")
STAGES = {name: i for i, name in enumerate(HEAD + NOTE)}  # the order in which a bar has them (see `grammar`)
STAGES["Drum"] = STAGES["Pitch"]

QUARTER, NEAR = 12, 0.25  # positions that have one harmony; what a mean quarter of the bar counts beside it
APART = 3.0  # how many times as much music gains that an instrument plays again by itself: others may pull it elsewhere
WHOLE = 2.0  # and how many times as much as that, where it does without changes
VARIED = 0.99  # up to here music comes again with changes

Place = tuple[int, int, int, int]
"""Where a token stands in its bar: position, instrument, note from the highest down, stage. They rise through a bar."""
Bar = tuple[list[Place], list[int]]
"""The tokens of a bar, and where each stands."""


@dataclass
class Page:
    """What a bar is to have again, in order: places, tokens, how much each is to be as it was; and who is free."""

    places: list[Place] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    alike: list[float] = field(default_factory=list)
    end: float = 0.0
    """How much the bar is to end where this ends."""
    free: list[int] = field(default_factory=list)
    """Instrument tokens whose music does not come again."""
    own: Mapping[int, Return | None] = field(default_factory=dict)
    """Where the music of instruments has been before, and how much it is to be as there; None where it is to be new."""
    notes: dict[int, list[Place]] = field(default_factory=dict)
    """Their notes among the places."""
    foreign: Float[Tensor, "quarters pitches"] | None = None
    """How little each Pitch token is in its harmony, 0 to 1."""
    resting: list[int] = field(default_factory=list)
    """Instrument tokens that are not to play."""
    awaited: set[int] = field(default_factory=set)
    """Those that are, but have nothing to come again."""
    grid: Mapping[int, frozenset[int]] = field(default_factory=dict)
    """Where instruments begin notes: at all, or in the bar that one plays again without changes."""
    ambitus: Mapping[int, range] = field(default_factory=dict)
    """The keys of instruments."""
    closed: Float[Tensor, " positions"] | None = None
    """1 for Position tokens at which none of those that are to play begins notes at all, else 0."""

    def asked(self, instrument: int) -> float:
        """How much an instrument is to be as in any earlier bar."""
        part = self.own.get(instrument)
        return part.alike if part else 0.0


class Pages:
    """Makes the page of a bar from the bars before it and where it comes from."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        families = {name: vocabulary.range(name) for name in vocabulary.families}
        self.positions, self.instruments = families["Position"], families.get("Instrument", range(0))
        self.classes = {id: int(key) % 12 for id, key in labelled(vocabulary, "Pitch")}
        self.lengths = {id: int(steps) for id, steps in labelled(vocabulary, "Duration")}

    def of(self, bars: Sequence[Bar], origin: Origin, guests: Collection[int]) -> Page:
        """What the next bar is to have again: of each instrument what it played in its own bar of origin.

        guests:  Instrument tokens that play although the form has no place for them.
        """
        parts = {one: origin.of(one) for one in self.instruments}
        parts |= {one: Return(part.bar, _weight(part.alike)) for one, part in origin.own.items() if part}
        again = self._again(bars, origin, parts)
        resting = [one for one in self.instruments if origin.own and one not in origin.own and one not in guests]
        notes = {one: [p for p in again if p[1] == one and p[3] == STAGES["Pitch"]] for one in origin.own}
        same = [one for one, part in origin.own.items() if part and part.alike > VARIED and notes[one]]
        return Page(
            places=list(again),
            ids=[id for id, _ in again.values()],
            alike=[alike for _, alike in again.values()],
            end=max((part.alike for part in (origin.whole, *parts.values()) if part), default=0.0),
            free=[one for one, part in parts.items() if part is None and one not in resting],
            own=origin.own,
            notes=notes,
            foreign=self._foreign(bars, origin.harmony),
            resting=resting,
            awaited=set(origin.own) - {place[1] for place in again},
            grid={**origin.grid, **{one: frozenset(place[0] for place in notes[one]) for one in same}},
            ambitus=origin.ambitus,
            closed=self._closed({one: where for one, where in origin.grid.items() if one not in resting}),
        )

    def _again(
        self, bars: Sequence[Bar], origin: Origin, parts: Mapping[int, Return | None]
    ) -> dict[Place, tuple[int, float]]:
        """Where a token comes again: which, and how much it is to. In order."""
        found: dict[Place, tuple[int, float]] = {}
        for bar in {part.bar for part in (origin.whole, *parts.values()) if part}:
            for place, id in zip(*bars[bar], strict=True):
                part = parts.get(place[1], origin.whole)
                if part and part.bar == bar and not (parts and place[3] == STAGES["Position"]):
                    ends = place[1] in origin.own and place[3] > STAGES["Pitch"]  # a note is as long and as loud
                    found[place] = (id, max(part.alike, APART) if ends else part.alike)
        for place, (_, alike) in list(found.items()):  # those positions at which somebody plays again
            if parts and place[3] == STAGES["Instrument"]:
                position = (place[0], -1, -1, STAGES["Position"])
                known = found.get(position, (0, 0.0))[1]
                found[position] = (self.positions[place[0] - 1], max(alike, known))
        return dict(sorted(found.items()))

    def _closed(self, grid: Mapping[int, frozenset[int]]) -> Float[Tensor, " positions"] | None:
        """1 where none of these instruments begins notes, else 0; None, if nothing is known of any."""
        open_ = frozenset().union(*grid.values())
        return torch.tensor([float(place + 1 not in open_) for place in range(len(self.positions))]) if grid else None

    def _foreign(self, bars: Sequence[Bar], harmony: Return | None) -> Float[Tensor, "quarters pitches"] | None:
        """How little each key is in the bar that a harmony comes from, by the notes of its pitch class that sound."""
        heard = torch.zeros(-(-len(self.positions) // QUARTER), 12)
        places, ids = bars[harmony.bar] if harmony else ([], [])
        for (position, *_), id, after in zip(places, ids, ids[1:], strict=False):
            if id in self.classes:
                first, last = position - 1, position - 2 + self.lengths.get(after, 1)
                heard[first // QUARTER : last // QUARTER + 1, self.classes[id]] += 1
        if not heard.any():
            return None
        heard += NEAR * heard[heard.any(1)].mean(0)
        share = heard / heard.amax(1, keepdim=True)
        return 1 - share.sqrt()[:, list(self.classes.values())]


def _weight(alike: float) -> float:
    return APART * alike * (WHOLE if alike > VARIED else 1.0)


def labelled(vocabulary: Vocabulary, family: str) -> Iterator[tuple[int, Any]]:
    """The ids of a family and what they stand for."""
    return zip(vocabulary.range(family), vocabulary.labels(family), strict=True)
