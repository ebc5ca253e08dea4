"""A form that is asked for, such as "AABA": where a letter comes again so does its music, if the model agrees."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ritornello.representations.vocabulary import EOS, Vocabulary

SECTION = 8  # bars, where nothing else is said
HEAD = ("BOS", "Bar", "Metre", "Tempo")
NOTE = ("Position", "Chord", "Instrument", "Pitch", "Duration", "Velocity")
STAGES = {name: i for i, name in enumerate(HEAD + NOTE)}  # the order in which a bar has them (see `grammar`)
STAGES["Drum"] = STAGES["Pitch"]

Place = tuple[int, int, int, int]
"""Where a token stands in its bar: position, instrument, note from the highest down, stage. They rise through a bar."""


def sections(form: str, bars: int | None = None) -> list[tuple[str, int]]:
    """Letters and their bars: "A8 B16 A" → [("A", 8), ("B", 16), ("A", 8)].

    A letter has as many bars as it was last said to have. Letters of which nothing is said share evenly what is left of
    `bars`, or have eight where it is not given.

    Raises: ValueError for anything but letters and numbers, or where the bars do not come out even.
    """
    found = re.findall(r"([A-Za-z])\s*(\d*)", form)
    between = re.sub(r"[A-Za-z]\s*\d*", "", form)
    if not found or between.strip(" ,-") or any(number.startswith("0") for _, number in found):
        raise ValueError(f"form = {form!r}: should be letters, each with its bars or without, as in AABA or A8 B16 A8.")
    said: dict[str, int] = {}
    lengths = []
    for letter, number in found:
        if number:
            said[letter.upper()] = int(number)
        lengths.append((letter.upper(), said.get(letter.upper())))
    open_, given = sum(length is None for _, length in lengths), sum(length or 0 for _, length in lengths)
    left = open_ * SECTION if bars is None else bars - given
    if left < open_ or (left % open_ if open_ else left):
        wanted = " more than ".join([f"a multiple of {open_}"] * bool(open_) + [f"{given}"] * bool(given))
        raise ValueError(f"form = {form!r} does not fill {bars} bars: ask for {wanted}, or leave bars out.")
    return [(letter, length or left // open_) for letter, length in lengths]


def origins(parts: Sequence[tuple[str, int]]) -> list[int]:
    """For every bar the bar in which it came first: its place in its letter's first section; -1 where it is new."""
    first: dict[str, list[int]] = {}
    found: list[int] = []
    for letter, length in parts:
        here = range(len(found), len(found) + length)
        known = first.setdefault(letter, [])
        found += [known[i] if i < len(known) else -1 for i in range(length)]
        known += here[len(known) :]
    return found


@dataclass
class _Row:
    """A song's bars so far, and where in its bar it stands."""

    bars: list[tuple[list[Place], list[int]]] = field(default_factory=list)
    place: Place = (0, -1, -1, 0)


@dataclass
class _Cache:
    inner: Any
    rows: list[_Row]

    def keep(self, rows: list[int]) -> None:
        self.inner.keep(rows)
        self.rows = [deepcopy(self.rows[row]) if row in rows[:i] else self.rows[row] for i, row in enumerate(rows)]

    def part(self, rows: list[int]) -> _Cache:
        return _Cache(self.inner.part(rows), [self.rows[row] for row in rows])

    def join(self, other: _Cache) -> None:
        self.inner.join(other.inner)
        self.rows = [*self.rows, *other.rows]


class Returning:
    """A player (`autoregress.Player`) that lets bars come again: what stood next in the bar of origin gains `nats`.

    "Next" is the first token behind the place that the song has come to, so that a song which has left its origin comes
    back to it. The grammar and what the model is sure of decide all the same: bars come again with small changes.

    vocabulary:  one with positions.
    origins:     for every bar, see `origins`; bars beyond are new.
    """

    def __init__(self, player: Any, vocabulary: Vocabulary, origins: Sequence[int], nats: float) -> None:
        self.player, self.origins, self.nats = player, origins, nats
        self.stages = [STAGES.get(vocabulary.families[family], 0) for family in vocabulary.family_of.tolist()]
        self.note = [0] * vocabulary.size
        for name in ("Pitch", "Drum"):
            if name in vocabulary.families:
                for i, id in enumerate(vocabulary.range(name)):
                    self.note[id] = 127 - i
        self.bar = vocabulary.id("Bar")

    def cache(self, rows: int) -> _Cache:
        return _Cache(self.player.cache(rows), [_Row() for _ in range(rows)])

    def prefill(self, batch: Any, cache: _Cache) -> Float[Tensor, "rows vocabulary"]:
        fields = torch.stack([batch.ids, batch.bars, batch.positions], -1).tolist()
        for row, tokens, length in zip(cache.rows, fields, batch.lengths.tolist(), strict=True):
            for token in tokens[:length]:
                self._read(row, *token)
        return self._pushed(self.player.prefill(batch, cache.inner), cache)

    def advance(self, token: Any, cache: _Cache) -> Float[Tensor, "rows vocabulary"]:
        fields = torch.stack([token.ids, token.bars, token.positions], -1).tolist()
        for row, one in zip(cache.rows, fields, strict=True):
            self._read(row, *one)
        return self._pushed(self.player.advance(token, cache.inner), cache)

    def _read(self, row: _Row, id: int, bar: int, position: int) -> None:
        stage = self.stages[id]
        _, instrument, note, _ = row.place
        if stage <= STAGES["Chord"]:
            instrument = note = -1
        elif stage == STAGES["Instrument"]:
            instrument, note = id, -1
        elif stage == STAGES["Pitch"]:
            note = self.note[id]
        row.place = (position, instrument, note, stage)
        while len(row.bars) <= bar:
            row.bars.append(([], []))
        places, ids = row.bars[bar]
        places.append(row.place)
        ids.append(id)

    def _pushed(self, logits: Tensor, cache: _Cache) -> Float[Tensor, "rows vocabulary"]:
        push = torch.zeros_like(logits)
        for i, row in enumerate(cache.rows):
            bar = len(row.bars) - 1
            origin = self.origins[bar] if bar < len(self.origins) else -1
            if origin >= 0:
                places, ids = row.bars[origin]
                behind = bisect_right(places, row.place)
                push[i, ids[behind : behind + 1] or [self.bar, EOS]] = self.nats
        return logits + push
