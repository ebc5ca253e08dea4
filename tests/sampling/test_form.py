"""Forms that are asked for: what the words mean, and what the form of a song is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ritornello.representations import build
from ritornello.representations.base import Tokens
from ritornello.sampling.form import FREE, Origin, Return, form_of, origins, sections


@pytest.mark.parametrize(
    ("form", "bars", "expected"),
    [
        ("AABA", None, [("A", 8), ("A", 8), ("B", 8), ("A", 8)]),
        ("aaba", 16, [("A", 4), ("A", 4), ("B", 4), ("A", 4)]),
        ("A8 B16 A", None, [("A", 8), ("B", 16), ("A", 8)]),
        ("A8-B16-A4", 28, [("A", 8), ("B", 16), ("A", 4)]),
        ("A4BA", 16, [("A", 4), ("B", 8), ("A", 4)]),
        (" A 2, B ", None, [("A", 2), ("B", 8)]),
    ],
)
def test_words_become_sections(form: str, bars: int | None, expected: list[tuple[str, int]]):
    assert sections(form, bars) == expected


@pytest.mark.parametrize(
    ("form", "bars", "message"),
    [
        ("AABA", 30, "form = 'AABA' does not fill 30 bars: ask for a multiple of 4, or leave bars out"),
        ("A8 B16", 32, "ask for 24, or"),
        ("A8 B C", 11, "a multiple of 2 more than 8"),
        ("A8 B C", 9, "a multiple of 2 more than 8"),
        ("AABA", 2, "a multiple of 4"),
        ("A0 B8", None, "should be letters"),
        ("8A", None, "should be letters"),
        ("A+B", None, "should be letters"),
        ("A" + 5000 * " " + "!", None, "should be letters"),
        ("", None, "should be letters"),
    ],
)
def test_a_form_that_is_none_is_one_sentence(form: str, bars: int | None, message: str):
    with pytest.raises(ValueError, match=message):
        sections(form, bars)


def test_bars_come_from_where_they_were_first():
    form = origins([("A", 2), ("B", 1), ("A", 3), ("A", 3), ("B", 1)])
    assert [origin.whole and origin.whole.bar for origin in form] == [None, None, None, 0, 1, None, 0, 1, 5, 2]
    assert all(not origin.own and (origin.whole is None or origin.whole.alike == 1) for origin in form)


def song_of(bars: list[dict[str, list[tuple[int, int]]]]) -> Tokens:
    """A song of bars in which instruments have notes: (place in the bar, key), of one length and velocity."""
    vocabulary = build("museformer").vocabulary
    ending = [vocabulary.range("Duration")[3], vocabulary.range("Velocity")[3]]
    song = [(0, 0, 1)]  # bar, position, id
    for bar, parts in enumerate(bars):
        song += [(bar, 0, vocabulary.id("Bar")), (bar, 0, vocabulary.range("Tempo")[4])]
        for place in sorted({place for notes in parts.values() for place, _ in notes}):
            ids = [vocabulary.id("Position", place)]
            for name in [name for name in vocabulary.labels("Instrument") if name in parts]:
                for key in [key for at, key in parts[str(name)] if at == place]:
                    note = vocabulary.id("Drum" if name == "drums" else "Pitch", key)
                    ids += [vocabulary.id("Instrument", name), note, *ending]
            song += [(bar, place + 1, id) for id in ids]
    number, position, id = np.array(song).T
    return Tokens(
        id.astype(np.int16), number.astype(np.int32), position.astype(np.int16), np.zeros((len(bars), 0), np.int16)
    )


BEAT, TUNE, OTHER = [(0, 36), (24, 38)], [(0, 60), (12, 62), (24, 64), (36, 65)], [(0, 70), (12, 71)]


def test_the_form_of_a_song_is_where_each_instrument_was_before():
    vocabulary = build("museformer").vocabulary
    melody, drums, bass = (vocabulary.id("Instrument", name) for name in ("melody", "drums", "bass"))
    song = [
        {"drums": BEAT, "melody": TUNE},
        {"drums": BEAT, "melody": OTHER},
        {"drums": BEAT, "melody": TUNE},
        {"melody": [*TUNE[:3], (40, 66)], "bass": [*OTHER, (24, 72), (36, 73)]},
        {},
    ]
    form = form_of(song_of(song), vocabulary)
    assert [replace(origin, harmony=None, grid={}, ambitus={}) for origin in form] == [
        Origin(None, {drums: None, melody: None}),
        Origin(None, {drums: Return(0), melody: None}),  # of 8 notes 2 are in both: too few
        Origin(Return(0), {drums: Return(0), melody: Return(0)}),
        Origin(None, {melody: Return(0, 3 / 5), bass: None}),  # 3 of 11
        FREE,
    ]
    grid = {melody: frozenset({1, 13, 25, 37, 41}), drums: frozenset({1, 25}), bass: frozenset({1, 13, 25, 37})}
    ambitus = {melody: range(60, 72), bass: range(70, 74)}  # drums have no keys
    assert all((origin.grid, origin.ambitus) == (grid, ambitus) for origin in form)


def test_the_harmony_of_a_bar_is_where_its_chords_were_before():
    """Whatever plays them, and how: chords that come in the same order count, a single one that happens to does not."""
    vocabulary = build("museformer").vocabulary
    chords = [(0, 4, 7), (2, 5, 9), (7, 11, 2), (9, 0, 4)]
    block = [{"piano": [(0, 48 + key) for key in chord], "drums": BEAT} for chord in chords]
    broken = [{"bass": [(12 * i, 24 + key) for i, key in enumerate(chord)]} for chord in chords]
    other = [{"melody": [(0, 61), (24, 66), (36, 70)]}, broken[2], {"melody": [(0, 63), (12, 68), (36, 73)]}]
    form = form_of(song_of([*block, *broken, *other, {}, *block]), vocabulary)
    found = [origin.harmony and origin.harmony.bar for origin in form]
    assert found[:4] == [None] * 4
    assert found[5] == 1  # of its neighbours those around differ
    assert found[8:12] == [None] * 4
    assert found[13:15] == [1, 2]
    assert all(origin.harmony is None or origin.harmony.alike >= 0.9 for origin in form)
