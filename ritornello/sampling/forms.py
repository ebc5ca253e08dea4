"""Forms of songs by people, for songs of which no form is asked: `forms.npz`, made by `benchmarks/forms.py --write`.

A form is not music: it says who plays in which bar, which earlier one each of them is like, and how much, where the
chords were before, at which places of a bar each instrument begins notes, and from which to which key it goes.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int16, UInt8

from ritornello.representations.vocabulary import Vocabulary
from ritornello.sampling.form import Origin, Return

FILE = Path(__file__).with_name("forms.npz")
INSTRUMENTS = ("melody", "drums", "bass", "guitar", "piano", "strings")
NEW, ABSENT = -1, -2  # in place of a bar: there is none; an instrument without notes, which does as the whole bar


class Packed(NamedTuple):
    """A form in arrays. Parts of a bar are its whole, its harmony and each of `INSTRUMENTS`."""

    where: Int16[np.ndarray, "bars parts"]  # bars of origin
    alike: UInt8[np.ndarray, "bars parts"]  # per cent of likeness
    grid: Bool[np.ndarray, "instruments places"]
    ambitus: Int16[np.ndarray, "instruments 2"]  # the lowest key and the one above the highest; alike: no keys


def fits(vocabulary: Vocabulary) -> bool:
    """Whether songs of this vocabulary can have these forms: they have the same instruments."""
    return "Instrument" in vocabulary.families and set(vocabulary.labels("Instrument")) == set(INSTRUMENTS)


def drawn(seed: int, bars: int | None, vocabulary: Vocabulary) -> list[Origin]:
    """A form that the seed chooses: of a song with as many bars, if there is one, else of one with the most.

    Seeds that follow each other choose different ones, until all have been.
    """
    forms = load(FILE)
    wanted = min(bars or 0, max(len(form.where) for form in forms))
    fit = [form for form in forms if len(form.where) >= wanted]
    return unpack(fit[seed % len(fit)], vocabulary)[:bars]


def pack(form: list[Origin], vocabulary: Vocabulary) -> Packed:
    """A form in arrays. Its bars should have one grid and one ambitus."""
    columns = {id: column for column, id in enumerate(_ids(vocabulary), 2)}
    where = np.full((len(form), 2 + len(columns)), ABSENT, np.int16)
    alike = np.zeros(where.shape, np.uint8)
    for bar, origin in enumerate(form):
        own = {columns[id]: part for id, part in origin.own.items()}
        for column, part in {0: origin.whole, 1: origin.harmony, **own}.items():
            where[bar, column], alike[bar, column] = (part.bar, round(100 * part.alike)) if part else (NEW, 0)
    grid = np.zeros((len(columns), 1 + len(vocabulary.range("Position"))), bool)
    for id, places in form[0].grid.items():
        grid[columns[id] - 2, list(places)] = True
    ambitus = np.zeros((len(columns), 2), np.int16)
    for id, keys in form[0].ambitus.items():
        ambitus[columns[id] - 2] = keys.start, keys.stop
    return Packed(where, alike, grid, ambitus)


def unpack(packed: Packed, vocabulary: Vocabulary) -> list[Origin]:
    """The inverse of `pack`, to the nearest per cent."""
    form, ids = [], _ids(vocabulary)
    rows = zip(ids, packed.grid, strict=True)
    grid = {id: frozenset(np.flatnonzero(row).tolist()) for id, row in rows if row.any()}
    keys = zip(ids, (range(*ends) for ends in packed.ambitus.tolist()), strict=True)
    ambitus = {id: those for id, those in keys if those}
    for bars, shares in zip(packed.where.tolist(), packed.alike.tolist(), strict=True):
        whole, harmony, *own = [Return(b, s / 100) if b >= 0 else None for b, s in zip(bars, shares, strict=True)]
        there = {id: part for id, part, b in zip(ids, own, bars[2:], strict=True) if b != ABSENT}
        form.append(Origin(whole, there, harmony, grid, ambitus))
    return form


def _ids(vocabulary: Vocabulary) -> list[int]:
    return [vocabulary.id("Instrument", name) for name in INSTRUMENTS]


def save(path: Path, forms: list[Packed]) -> None:
    """Write packed forms."""
    where, alike, grid, ambitus = zip(*forms, strict=True)
    bars = [len(one) for one in where]
    np.savez_compressed(
        path, where=np.concatenate(where), alike=np.concatenate(alike), grid=grid, ambitus=ambitus, bars=bars
    )


@lru_cache(1)
def load(path: Path) -> list[Packed]:
    """What `save` wrote."""
    with np.load(path, allow_pickle=False) as kept:
        ends = np.cumsum(kept["bars"])[:-1]
        parts = np.split(kept["where"], ends), np.split(kept["alike"], ends), kept["grid"], kept["ambitus"]
        return [Packed(*form) for form in zip(*parts, strict=True)]
