"""Forms that are asked for: what the words mean, and that what comes again is what it was, as firmly as is asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ritornello.representations import build
from ritornello.representations.base import Tokens
from ritornello.sampling.autoregress import Token, autoregress
from ritornello.sampling.form import Returning, origins, sections
from ritornello.sampling.grammar import Grammar
from ritornello.sampling.logits import seeded
from tests.sampling.test_autoregress import begin, songs
from tests.sampling.wellformed import Deaf, fault


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
    assert origins([("A", 2), ("B", 1), ("A", 3), ("A", 3), ("B", 1)]) == [-1, -1, -1, 0, 1, -1, 0, 1, 5, 2]


FORM = origins([("A", 2), ("B", 1), ("A", 2), ("C", 1)])  # a last bar must sound


def written(name: str, nats: float, seeds: range = range(4), origins_: list[int] = FORM) -> list[Tokens]:
    vocabulary = build(name).vocabulary
    grammar = Grammar(vocabulary, len(seeds), bars=len(FORM), max_tokens=9000)
    player = Returning(Deaf(vocabulary), vocabulary, origins_, nats)
    *_, last = autoregress(player, begin(len(seeds), len(FORM)), grammar, [], seeded(seeds))
    for song in songs(last):
        assert fault(vocabulary, song.ids, len(FORM)) is None
    return songs(last)


def bar(song: Tokens, number: int) -> list[int]:
    return song.ids[(song.bars == number) & (song.ids > 2)].tolist()


@pytest.mark.parametrize("name", ["museformer", "remi"])
def test_who_is_most_faithful_copies(name: str):
    lengths = build(name).vocabulary.range("Duration")  # which may be cut: no note outlasts the song
    for song in written(name, 1000.0):
        bars = [[id for id in bar(song, number) if id not in lengths] for number in range(5)]
        assert bars[3:] == bars[:2]
        assert bars[2] != bars[0]


def test_who_is_not_faithful_writes_as_ever():
    free, formless = written("museformer", 0.0), written("museformer", 1000.0, origins_=[-1] * len(FORM))
    assert [song.ids.tolist() for song in free] == [song.ids.tolist() for song in formless]


def test_the_more_faithful_the_more_alike():
    def alike(song: Tokens) -> float:
        one, other = (
            set(zip(song.positions[song.bars == b].tolist(), song.ids[song.bars == b].tolist(), strict=True))
            for b in (0, 3)
        )
        return len(one & other) / len(one | other)

    shares = [np.mean([alike(song) for song in written("museformer", nats, range(12))]) for nats in (0, 6, 12)]
    assert shares[0] + 0.1 < shares[1] < shares[2] - 0.1, shares


def test_a_song_depends_on_its_seed_alone():
    """Songs that end earlier leave the batch; the others remember their own bars."""
    together = written("museformer", 3.0, range(6))
    for seed in (2, 5):
        assert together[seed].ids.tolist() == written("museformer", 3.0, range(seed, seed + 1))[0].ids.tolist()


def test_what_is_pushed_is_the_next_thing_in_the_bar_of_origin():
    """After a place that the origin has too, what follows there; after another, the first thing behind it."""
    vocabulary = build("museformer").vocabulary
    player = Returning(Deaf(vocabulary, spread=0.0), vocabulary, [-1, 0], 5.0)
    id = vocabulary.id
    head = [id("Bar"), vocabulary.range("Tempo")[4]]
    piano, bass = id("Instrument", "piano"), id("Instrument", "bass")
    low, high = id("Pitch", 50), id("Pitch", 62)
    duration, velocity = vocabulary.range("Duration")[3], vocabulary.range("Velocity")[5]
    first = [*head, id("Position", 12), piano, high, duration, velocity, low, duration, velocity]
    places = [0, 0, *[13] * 8]
    # the same bar again, with another note first and a bass later on
    between, later = id("Pitch", 57), id("Position", 24)
    second = [*head, id("Position", 12), piano, between, duration, velocity, low, duration, velocity, later, bass]
    expected = [*first[1:4], high, None, None, low, duration, velocity, "end", None, None]
    cache = player.cache(1)
    for token, place in zip(first, places, strict=True):
        heard(player, cache, token, 0, place)
    for token, place, wanted in zip(second, [*places, 25, 25], expected, strict=True):
        logits = heard(player, cache, token, 1, place)
        pushed = np.flatnonzero(logits.numpy()).tolist()
        if wanted == "end":
            assert pushed == [2, id("Bar")]
        elif wanted is not None:
            assert pushed == [wanted]


def heard(player: Returning, cache, id: int, bar: int, position: int):
    one = torch.tensor([id])
    return player.advance(Token(one, torch.tensor([bar]), torch.tensor([position]), one * 0), cache)[0]
