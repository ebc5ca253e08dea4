"""How full bars are to be: what the words mean, and which candidate is kept."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ritornello.representations import build
from ritornello.sampling.density import Fullness, Wish, densities

VOCABULARY = build("museformer").vocabulary
EVERY = (1, 2**31)


@pytest.mark.parametrize(
    ("wish", "bars", "expected"),
    [
        ("20-60", None, [Wish(*EVERY, 20, 60)]),
        ("40", 16, [Wish(1, 16, 40, 40)]),
        ("1-8:10-30, 9-16:40", 16, [Wish(1, 8, 10, 30), Wish(9, 16, 40, 40)]),
        ("0-90,3:0", None, [Wish(*EVERY, 0, 90), Wish(3, 3, 0, 0)]),
        ("melody 2-9,1-8 : Bass 4", None, [Wish(*EVERY, 2, 9, "melody"), Wish(1, 8, 4, 4, "bass")]),
        ("4:lead 1 (square) 5", None, [Wish(4, 4, 5, 5, "lead 1 (square)")]),
    ],
)
def test_words_become_numbers(wish: str, bars: int | None, expected: list):
    assert densities(wish, bars) == expected


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ("full", "'full' should be notes a bar, as in 20-60"),
        ("melody", "'melody' should be notes a bar"),
        ("melody 1:5", "should be notes a bar"),
        ("", "should be notes a bar"),
        ("60-20", "'60-20' should rise"),
        ("8-4:10", "should rise"),
        ("0-4:10", "bars are counted from 1"),
        ("9-20:10", "'9-20:10' should lie within the song's 16 bars"),
    ],
)
def test_other_words_are_one_sentence(wish: str, message: str):
    with pytest.raises(ValueError, match=message):
        densities(wish, 16)


def draft(*notes: int) -> np.ndarray:
    """Bars of so many notes, drums and others in turn."""
    families = [VOCABULARY.range("Pitch")[60], VOCABULARY.range("Drum")[36]]
    bars = [
        [
            VOCABULARY.id("Bar"),
            *(token for i in range(count) for token in (families[i % 2], VOCABULARY.range("Duration")[0])),
        ]
        for count in notes
    ]
    ids = np.concatenate(bars)
    of = np.repeat(np.arange(len(bars)), [len(bar) for bar in bars])
    return np.stack([ids, of, np.ones_like(of)])


def test_the_nearest_is_best_and_within_all_are_equal():
    judge = Fullness(VOCABULARY, densities("10-20"))
    found = judge(0, 1, [draft(15, count) for count in (4, 10, 13, 20, 43)])
    assert found == pytest.approx([-math.log(11 / 5), 0, 0, 0, -math.log(44 / 21)])
    assert int(np.argmax(found)) == 1  # the first that is as it should be


def test_a_bar_is_asked_what_was_said_of_it_last():
    judge = Fullness(VOCABULARY, densities("10-20,2:0"))
    assert judge(0, 0, [draft(12)]) == [0]
    assert judge(0, 1, [draft(12, 12)])[0] == pytest.approx(-math.log(13))
    assert Fullness(VOCABULARY, densities("5:3"))(0, 0, [draft(12), draft(1)]) == [0, 0]


def test_of_an_instrument_only_its_own_notes_count():
    tokens = [VOCABULARY.id("Bar")]
    for name, family, notes in (("melody", "Pitch", 3), ("drums", "Drum", 5), ("bass", "Pitch", 2)):
        tokens += [VOCABULARY.id("Instrument", name), *[VOCABULARY.range(family)[40]] * notes]
    bar = np.stack([tokens, np.zeros(len(tokens), int), np.zeros(len(tokens), int)])
    wishes = "10,melody 7,drums 5,2:bass 90"
    named = {name: [VOCABULARY.id("Instrument", name)] for name in ("melody", "drums", "bass")}
    assert Fullness(VOCABULARY, densities(wishes), named)(0, 0, [bar]) == pytest.approx([-math.log(8 / 4)])
