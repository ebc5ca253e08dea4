"""Forms of songs by people, for songs of which no form is asked: `forms.npz`, made by `benchmarks/forms.py --write`.

A form is not music: it says who plays in which bar, which earlier one each of them is like, and how much, and where the
chords were before.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Int16, UInt8
from numpy.typing import NDArray

from ritornello.representations.vocabulary import Vocabulary
from ritornello.sampling.form import Origin, Return

FILE = Path(__file__).with_name("forms.npz")
INSTRUMENTS = ("melody", "drums", "bass", "guitar", "piano", "strings")
NEW, ABSENT = -1, -2  # in place of a bar: there is none; an instrument without notes, which does as the whole bar


def fits(vocabulary: Vocabulary) -> bool:
    """Whether songs of this vocabulary can have these forms: they have the same instruments."""
    return "Instrument" in vocabulary.families and set(vocabulary.labels("Instrument")) == set(INSTRUMENTS)


def drawn(seed: int, bars: int | None, vocabulary: Vocabulary) -> list[Origin]:
    """A form that the seed chooses: of a song with as many bars, if there is one, else of one with the most."""
    forms = load(FILE)
    wanted = min(bars or 0, max(len(where) for where, _ in forms))
    fit = [form for form in forms if len(form[0]) >= wanted]
    return unpack(*fit[np.random.default_rng(seed).integers(len(fit))], vocabulary)[:bars]


def pack(form: list[Origin], vocabulary: Vocabulary) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Of every bar, its harmony and each of `INSTRUMENTS`: [bars, 2 + 6] bars of origin, and per cent of likeness."""
    columns = {id: column for column, id in enumerate(_ids(vocabulary), 2)}
    where = np.full((len(form), 2 + len(columns)), ABSENT, np.int16)
    alike = np.zeros(where.shape, np.uint8)
    for bar, origin in enumerate(form):
        own = {columns[id]: part for id, part in origin.own.items()}
        for column, part in {0: origin.whole, 1: origin.harmony, **own}.items():
            where[bar, column], alike[bar, column] = (part.bar, round(100 * part.alike)) if part else (NEW, 0)
    return where, alike


def unpack(
    where: Int16[np.ndarray, "bars parts"], alike: UInt8[np.ndarray, "bars parts"], vocabulary: Vocabulary
) -> list[Origin]:
    """The inverse of `pack`, to the nearest per cent."""
    form = []
    for bars, shares in zip(where.tolist(), alike.tolist(), strict=True):
        whole, harmony, *own = [Return(b, s / 100) if b >= 0 else None for b, s in zip(bars, shares, strict=True)]
        there = {id: part for id, part, b in zip(_ids(vocabulary), own, bars[2:], strict=True) if b != ABSENT}
        form.append(Origin(whole, there, harmony))
    return form


def _ids(vocabulary: Vocabulary) -> list[int]:
    return [vocabulary.id("Instrument", name) for name in INSTRUMENTS]


def save(path: Path, forms: list[tuple[NDArray[np.int16], NDArray[np.uint8]]]) -> None:
    """Write packed forms."""
    where, alike = (np.concatenate(parts) for parts in zip(*forms, strict=True))
    np.savez_compressed(path, where=where, alike=alike, bars=[len(where) for where, _ in forms])


@lru_cache(1)
def load(path: Path) -> list[tuple[NDArray[np.int16], NDArray[np.uint8]]]:
    """What `save` wrote."""
    with np.load(path, allow_pickle=False) as kept:
        ends = np.cumsum(kept["bars"])[:-1]
        return list(zip(np.split(kept["where"], ends), np.split(kept["alike"], ends), strict=True))
