"""Forms: which bars come again, as letters such as "AABA" say it, or as it is in a song that there is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int

from ritornello.music.similarity import BarSets, bar_similarity
from ritornello.representations.base import Tokens
from ritornello.representations.vocabulary import Vocabulary

SECTION = 8  # bars, where nothing else is said
ALIKE = 0.3  # from here on a bar of a song is an earlier one again
HARMONIES, AROUND = 0.9, (-1, 0, 1, 2)  # the same of its harmony, together with that of the bars around it


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


class Return(NamedTuple):
    """Where something has been before."""

    bar: int
    alike: float = 1.0
    """How much it is as it was there: 0 to 1."""


@dataclass(frozen=True)
class Origin:
    """Where the music of a bar has been before."""

    whole: Return | None = None
    """None: nothing is asked of it."""
    own: Mapping[int, Return | None] = field(default_factory=dict)
    """Of Instrument tokens that do not come from where the whole bar does; None: it is to be new."""
    harmony: Return | None = None
    """Where its pitch classes have been before; None: nothing is asked of them."""
    grid: Mapping[int, frozenset[int]] = field(default_factory=dict)
    """Where in a bar (`Tokens.positions`) an Instrument token's notes begin; of others nothing is asked."""
    ambitus: Mapping[int, range] = field(default_factory=dict)
    """The keys of an Instrument token from the lowest to the highest; of others nothing is asked."""

    def of(self, instrument: int) -> Return | None:
        return self.own.get(instrument, self.whole)


FREE = Origin()


def origins(parts: Sequence[tuple[str, int]]) -> list[Origin]:
    """For every bar where it came first: its place in its letter's first section."""
    first: dict[str, list[int]] = {}
    found: list[Origin] = []
    for letter, length in parts:
        here = range(len(found), len(found) + length)
        known = first.setdefault(letter, [])
        found += [Origin(Return(known[i])) if i < len(known) else FREE for i in range(length)]
        known += here[len(known) :]
    return found


def form_of(song: Tokens, vocabulary: Vocabulary) -> list[Origin]:
    """The form of a song: for each instrument in a bar, the first of the earlier bars that its notes are most like.

    Below `ALIKE` they are new. The rests of an instrument come again with the whole bar: from the one that all its
    notes are most like. A bar's harmony is that of the first earlier bar whose pitch classes are much the same, as are
    those of the bars around both. All bars have one grid, where each instrument begins notes at all, and one ambitus.

    Raises: MusicError for more bars than `music.similarity` compares.
    """
    whole: list[Return | None] = []
    own: list[dict[int, Return | None]] = [{} for _ in range(int(song.bars[-1]) + 1)]
    for instrument, alike in likeness(song, vocabulary):
        found = _returns(alike)
        if instrument is None:
            whole = found
        else:
            for bar in np.flatnonzero(alike.diagonal()).tolist():
                own[bar][instrument] = found[bar]
    harmonies, grid, ambitus = _harmonies(song, vocabulary), _grid(song, vocabulary), _ambitus(song, vocabulary)
    return [Origin(*parts, grid, ambitus) for parts in zip(whole, own, harmonies, strict=True)]


def likeness(song: Tokens, vocabulary: Vocabulary) -> Iterator[tuple[int | None, Float64[np.ndarray, "bars bars"]]]:
    """How much every two bars are alike (Museformer's Equation 4), 0 to 1: in all, then in each instrument, its token.

    A bar without notes is like none, itself included.
    """
    bar, instrument, _, note = _notes(song, vocabulary)
    numbered = instrument * (note.max(initial=0) + 1) + note
    for one in (None, *np.unique(instrument[instrument >= 0]).tolist()):
        some = slice(None) if one is None else instrument == one
        kinds, number = np.unique(numbered[some], return_inverse=True)
        pairs = np.unique(np.stack([bar[some], number]), axis=1)
        sets = BarSets(int(song.bars[-1]) + 1, pairs[0], pairs[1], len(kinds))
        yield one, bar_similarity(sets, empty=0.0)


def _notes(song: Tokens, vocabulary: Vocabulary) -> Int[np.ndarray, "4 notes"]:
    """Of every note the bar, the Instrument token (-1 without), its own, and a number: equal where place, key and
    length are."""
    families = {name: vocabulary.range(name) for name in vocabulary.families}
    is_note = np.isin(song.ids, [id for name in ("Pitch", "Drum") for id in families.get(name, ())])
    begins = np.where(np.isin(song.ids, families.get("Instrument", ())), np.arange(len(song)), -1)
    said = np.maximum.accumulate(begins)
    instrument = np.where(said < 0, -1, song.ids[said]).astype(np.int64)
    after = np.append(song.ids[1:], 0)
    length = np.where(np.isin(after, families.get("Duration", ())), after, 0).astype(np.int64)
    number = (song.positions.astype(np.int64) * vocabulary.size + song.ids) * vocabulary.size + length
    return np.stack([song.bars, instrument, song.ids, number])[:, is_note]


def _returns(alike: Float64[np.ndarray, "bars bars"]) -> list[Return | None]:
    """For every bar the first of the earlier ones that it is most like, where it is like one."""
    before = np.tril(alike, -1)
    best, most = before.argmax(1), before.max(1)
    return [Return(int(b), float(m)) if m >= ALIKE else None for b, m in zip(best, most, strict=True)]


def _grid(song: Tokens, vocabulary: Vocabulary) -> dict[int, frozenset[int]]:
    """Of every instrument the positions of its onsets."""
    instruments = set(song.ids.tolist()).intersection(
        vocabulary.range("Instrument") if "Instrument" in vocabulary.families else ()
    )
    return {one: frozenset(song.positions[song.ids == one].tolist()) for one in instruments}


def _ambitus(song: Tokens, vocabulary: Vocabulary) -> dict[int, range]:
    """Of every instrument the keys from its lowest to its highest."""
    _, instrument, note, _ = _notes(song, vocabulary)
    pitches = vocabulary.range("Pitch")
    instrument, note = np.stack([instrument, note])[:, np.isin(note, pitches)]
    keys = np.array(vocabulary.labels("Pitch"), np.int64)[note - pitches.start]
    its = {one: keys[instrument == one] for one in np.unique(instrument[instrument >= 0]).tolist()}
    return {one: range(int(those.min()), int(those.max()) + 1) for one, those in its.items()}


def _harmonies(song: Tokens, vocabulary: Vocabulary) -> list[Return | None]:
    """For every bar the first of the earlier ones with its harmony: the mean cosine of counts of pitch classes."""
    count, pitches = int(song.bars[-1]) + 1, vocabulary.range("Pitch")
    pitched = (song.ids >= pitches.start) & (song.ids < pitches.stop)
    chroma = np.zeros((count, 12))
    keys = np.array(vocabulary.labels("Pitch"), np.int64)[song.ids[pitched] - pitches.start]
    np.add.at(chroma, (song.bars[pitched], keys % 12), 1.0)
    chroma /= np.maximum(np.linalg.norm(chroma, axis=1, keepdims=True), 1e-9)
    alike, pairs = np.zeros((2, count, count))
    for k in AROUND:
        here, there = slice(max(-k, 0), count - max(k, 0)), slice(max(k, 0), count + min(k, 0))
        alike[here, here] += chroma[there] @ chroma[there].T
        pairs[here, here] += 1
    alike = np.tril(alike / pairs, -1)
    first = (alike >= HARMONIES).argmax(1)
    found = [(int(bar), float(alike[i, bar])) for i, bar in enumerate(first)]
    return [Return(*pair) if pair[1] >= HARMONIES else None for pair in found]
