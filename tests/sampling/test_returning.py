"""What a form asks for while a song is written: what comes again is what it was, and what is new is new."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from ritornello.representations import build
from ritornello.representations.base import Tokens
from ritornello.representations.vocabulary import Vocabulary
from ritornello.sampling.autoregress import Token, autoregress
from ritornello.sampling.form import FREE, Origin, Return, origins
from ritornello.sampling.grammar import Grammar
from ritornello.sampling.logits import seeded
from ritornello.sampling.page import APART, WHOLE
from ritornello.sampling.returning import (
    AWAITED,
    COPIED,
    FOREIGN,
    OFFBEAT,
    OUTSIDE,
    RESTING,
    STALE,
    Returning,
)
from tests.sampling.test_autoregress import begin, songs
from tests.sampling.test_form import BEAT, song_of
from tests.sampling.wellformed import NEXT, Deaf, fault

FORM = origins([("A", 2), ("B", 1), ("A", 2), ("C", 1)])  # a last bar must sound


def written(name: str, nats: float, seeds: range = range(4), origins_: list[Origin] = FORM) -> list[Tokens]:
    vocabulary = build(name).vocabulary
    grammar = Grammar(vocabulary, len(seeds), bars=len(FORM), max_tokens=9000)
    player = Returning(Deaf(vocabulary), vocabulary, [origins_] * len(seeds), nats)
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
    parts = Origin(None, dict.fromkeys(build("museformer").vocabulary.range("Instrument"), Return(0, 0.5)))
    formless = written("museformer", 1000.0, origins_=[FREE] * len(FORM))
    for form in (FORM, [FREE, *[parts] * (len(FORM) - 1)]):
        free = written("museformer", 0.0, origins_=form)
        assert [song.ids.tolist() for song in free] == [song.ids.tolist() for song in formless]


def test_the_more_faithful_the_more_alike():
    def alike(song: Tokens) -> float:
        one, other = (
            set(zip(song.positions[song.bars == b].tolist(), song.ids[song.bars == b].tolist(), strict=True))
            for b in (0, 3)
        )
        return len(one & other) / len(one | other)

    shares = [np.mean([alike(song) for song in written("museformer", nats, range(5))]) for nats in (0, 6, 12)]
    assert shares[0] + 0.1 < shares[1] < shares[2] - 0.1, shares


def test_a_song_depends_on_its_seed_alone():
    """Songs that end earlier leave the batch; the others remember their own bars."""
    together = written("museformer", 3.0, range(4))
    for seed in (1, 3):
        assert together[seed].ids.tolist() == written("museformer", 3.0, range(seed, seed + 1))[0].ids.tolist()


def test_what_is_pushed_is_the_next_thing_in_the_bar_of_origin():
    """After a place that the origin has too, what follows there; after another, the first thing behind it."""
    vocabulary = build("museformer").vocabulary
    player = Returning(Deaf(vocabulary, spread=0.0), vocabulary, [[FREE, Origin(Return(0))]], 5.0)
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


def test_new_music_is_as_likely_beside_music_that_comes_again():
    """What a free instrument may play before the next token that comes again gains as much as that."""
    vocabulary = build("museformer").vocabulary
    id, range_ = vocabulary.id, vocabulary.range
    melody, drums, bass, piano = (id("Instrument", name) for name in ("melody", "drums", "bass", "piano"))
    song = song_of([{"drums": BEAT, "bass": [(0, 40)], "melody": [(6, 60)]}, {}])
    origin = Origin(None, {drums: Return(0, 0.995), bass: Return(0, 1.0), melody: None, piano: None})
    grid = {drums: {1, 25}, bass: {1}}  # where what comes again begins
    player = Returning(Deaf(vocabulary, spread=0.0), vocabulary, [[FREE, origin]], 6.0)
    cache = player.cache(1)
    for token, place in zip(song.ids[song.bars == 0], song.positions[song.bars == 0], strict=True):
        heard(player, cache, int(token), 0, int(place))
    free, resting = {melody, piano}, {id("Instrument", "guitar"), id("Instrument", "strings")}
    notes = {*range_("Pitch"), *range_("Drum")}
    duration, velocity = range_("Duration")[3], range_("Velocity")[3]
    positions = set(range_("Position"))
    first, second, between = (id("Position", place) for place in (0, 24, 10))

    def family(token: int) -> str:
        return vocabulary.name(token).partition("_")[0]

    most, whole = 0.995 * WHOLE * APART * 6.0, WHOLE * APART * 6.0
    told = [  # token, position, what gains by how much
        (range_("Tempo")[4], 0, {first}, whole),  # bass and drums come again at the first place
        (first, 1, {i for i in free if i < drums} | {drums}, most),
        (drums, 1, {id("Drum", 36)}, most),
        (id("Drum", 36), 1, {duration}, most),
        (duration, 1, {velocity}, most),
        (velocity, 1, {i for i in free if drums < i < bass} | {bass}, whole),
        (bass, 1, {id("Pitch", 40)}, whole),
        (id("Pitch", 40), 1, {duration}, whole),
        (duration, 1, {velocity}, whole),
        (velocity, 1, {p for p in positions if first < p <= second} | {i for i in free if i > bass}, most),
        (between, 11, free, most),
        (piano, 11, notes, most),
        (id("Pitch", 60), 11, set(), most),
        (duration, 11, set(), most),
        (velocity, 11, {p for p in positions if between < p <= second} | {i for i in free if i > piano} | notes, most),
        (second, 25, {i for i in free if i < drums} | {drums}, most),
        (drums, 25, {id("Drum", 38)}, most),
        (id("Drum", 38), 25, {duration}, most),
        (duration, 25, {velocity}, most),
        (velocity, 25, {p for p in positions if p > second} | {i for i in free if i > drums} | {2, id("Bar")}, whole),
    ]
    awaited, playing = {melody, piano}, 0
    for token, position, gains, nats in told:
        logits = heard(player, cache, token, 1, position)
        awaited.discard(token)
        playing = token if family(token) == "Instrument" else 0 if family(token) == "Position" else playing
        if playing in free:  # whether its chord has another note is as likely as ever
            assert odds_of_a_note(logits, vocabulary) == pytest.approx(odds_of_a_note(logits * 0, vocabulary), abs=1e-5)
            logits[[*notes]], gains = 0.0, gains - notes
        pushed = {int(i): float(logits[i]) for i in np.flatnonzero(logits)}
        expected = Counter(dict.fromkeys(gains, nats))
        if "Instrument" in NEXT[family(token)]:
            expected.update(dict.fromkeys(resting, -RESTING * 6.0) | dict.fromkeys(awaited, AWAITED * 6.0))
            expected.update(dict.fromkeys([one for one in grid if position not in grid[one]], -OFFBEAT * 6.0))
        possible = {i: gain for i, gain in pushed.items() if family(i) in NEXT[family(token)]}
        assert possible == pytest.approx(dict(expected))


def test_new_music_loses_what_its_instrument_lately_played_in_the_same_place():
    """By the share of the last eight bars; another instrument, or one of which nothing is asked, loses nothing.

    That there is a note at all stays as likely.
    """
    vocabulary = build("museformer").vocabulary
    id = vocabulary.id
    melody, piano = id("Instrument", "melody"), id("Instrument", "piano")
    first = {"melody": [(0, 50)], "piano": [(0, 50)]}
    then = {"melody": [(0, 60), (0, 57), (12, 60)], "piano": [(0, 60)]}
    song = song_of([first, *[then] * 3, *[{"melody": [(0, 62)]}] * 5, {}])
    position, pitches = id("Position", 0), [id("Pitch", key) for key in (60, 57, 62)]
    for own, told, gains in (
        (
            {melody: None},
            [position, melody],
            dict.fromkeys(pitches[:2], -3 / 8) | {pitches[2]: -5 / 8},
        ),
        ({melody: None}, [position, piano], {}),
        ({}, [position, melody], {}),
    ):
        player = Returning(Deaf(vocabulary, spread=0.0), vocabulary, [[FREE] * 9 + [Origin(None, own)]], 3.0)
        cache = player.cache(1)
        for token, bar, place in zip(song.ids.tolist(), song.bars.tolist(), song.positions.tolist(), strict=True):
            heard(player, cache, token, bar, place)
        logits = [heard(player, cache, token, 9, 1) for token in told][-1]
        if told[-1] == melody:
            assert odds_of_a_note(logits, vocabulary) == pytest.approx(odds_of_a_note(logits * 0, vocabulary), abs=1e-5)
        behind = (logits - logits[id("Drum", 36)])[[*vocabulary.range("Pitch")]].tolist()
        pushed = {id: loss for id, loss in zip(vocabulary.range("Pitch"), behind, strict=True) if loss}
        assert pushed == pytest.approx({token: STALE * 3.0 * share for token, share in gains.items()}, rel=1e-5)


@pytest.mark.parametrize("asked", [None, Return(0, 1.0)])
def test_what_has_become_too_much_of_a_copy_loses_what_would_go_on_as_the_copied_bar(asked: Return | None):
    """By the share of its notes that are those of the bar, beyond what is asked; a copy of any earlier bar counts."""
    vocabulary = build("museformer").vocabulary
    id = vocabulary.id
    melody = id("Instrument", "melody")
    notes = [{"melody": [(0, 60), (12, 62), (24, 64)]}, {"melody": [(0, 48), (12, 62), (24, 65)]}]
    song = song_of([*notes, *[{"melody": [(36, 50)]}] * 8, {}])
    player = Returning(Deaf(vocabulary, spread=0.0), vocabulary, [[FREE] * 10 + [Origin(None, {melody: asked})]], 3.0)
    cache = player.cache(1)
    for token, bar, place in zip(song.ids.tolist(), song.bars.tolist(), song.positions.tolist(), strict=True):
        heard(player, cache, token, bar, place)
    losses = []
    for place, key in ((0, 60), (12, 62), (24, None)):
        heard(player, cache, id("Position", place), 10, place + 1)
        logits = heard(player, cache, melody, 10, place + 1)
        pushed = logits - logits[id("Pitch", 100)]
        losses.append(tuple(round(float(pushed[id("Pitch", other)]) / -3.0, 4) for other in (60, 48, 62, 64, 65)))
        if key:
            heard(player, cache, id("Pitch", key), 10, place + 1)
    alike = asked.alike if asked else 0.0
    loss = [COPIED * max(share - alike, 0.0) / max(1 - alike, 0.01) for share in (1 / 2, 2 / 3, 1 / 3)]
    gain = WHOLE * APART * alike
    expected = [
        (-gain, 0, 0, 0, 0),  # nothing is copied yet
        (0, 0, loss[0] - gain, 0, 0),  # one note of one, with the next to come: half
        (0, 0, 0, loss[1] - gain, loss[2]),  # two of the first bar, and one of the second
    ]
    assert losses == [pytest.approx(row, abs=1e-3) for row in expected]


def test_instruments_rest_and_play_where_they_do_in_the_form():
    """But those that are asked for, where the form never has them, and all where nothing is asked of a bar."""
    vocabulary = build("museformer").vocabulary
    melody, drums, bass, *others = vocabulary.range("Instrument")
    form = [FREE, Origin(None, {drums: None}), Origin(None, {melody: None})]
    player = Returning(Deaf(vocabulary, spread=0.0), vocabulary, [form], 3.0, (melody, drums, bass))
    cache = player.cache(1)
    for bar, playing, lost in ((0, set(), set()), (1, {drums}, {melody, *others}), (2, {melody}, {drums, *others})):
        logits = heard(player, cache, vocabulary.id("Position", 0), bar, 1).numpy()
        pushed = {int(i): float(logits[i]) for i in np.flatnonzero(logits)}
        assert pushed == dict.fromkeys(lost, -RESTING * 3.0) | dict.fromkeys(playing, AWAITED * 3.0)


def test_an_instrument_that_did_not_play_where_it_comes_from_is_awaited():
    vocabulary = build("museformer").vocabulary
    melody, piano = (vocabulary.id("Instrument", name) for name in ("melody", "piano"))
    song = song_of([{"piano": [(24, 60)]}, {}])
    form = [FREE, Origin(None, {melody: Return(0), piano: Return(0)})]
    player = Returning(Deaf(vocabulary, spread=0.0), vocabulary, [form], 3.0)
    cache = player.cache(1)
    for token, bar, place in zip(song.ids.tolist(), song.bars.tolist(), song.positions.tolist(), strict=True):
        heard(player, cache, token, bar, place)
    logits = heard(player, cache, vocabulary.id("Position", 24), 1, 25)
    assert logits[[melody, piano]].tolist() == [AWAITED * 3.0, WHOLE * APART * 3.0]


def test_songs_that_part_in_a_bar_remember_their_own_notes():
    """Each goes on as one that had been alone: what the other plays from there on is no copy, and nothing stale."""
    vocabulary = build("museformer").vocabulary
    melody, bar = vocabulary.id("Instrument", "melody"), vocabulary.id("Bar")
    new = Origin(None, {melody: None})
    song = song_of([{"melody": [(0, 60), (12, 62)]}, {}])
    before = [*zip(song.ids.tolist(), song.bars.tolist(), song.positions.tolist(), strict=True)]
    before += [(vocabulary.id("Position", 0), 1, 1), (melody, 1, 1)]

    def after(key: int) -> list[tuple[int, int, int]]:
        there = [(vocabulary.id("Position", 12), 1, 13), (melody, 1, 13)]
        return [
            (vocabulary.id("Pitch", key), 1, 1),
            *there,
            (bar, 2, 0),
            (vocabulary.id("Position", 0), 2, 1),
            (melody, 2, 1),
        ]

    def logits(parts: list[list[tuple[int, int, int]]]) -> torch.Tensor:
        player = Returning(Deaf(vocabulary, spread=0.0), vocabulary, [[FREE, new, new]], 3.0)
        cache = player.cache(1)
        for token in before:
            heard(player, cache, *token)
        cache.keep([0] * len(parts))
        zeros, said = torch.zeros(len(parts), dtype=torch.long), []
        for step in zip(*parts, strict=True):
            ids, bars, positions = torch.tensor(step).T
            said.append(player.advance(Token(ids, bars, positions, zeros), cache))
        return torch.stack(said, dim=1)

    together = logits([after(60), after(48)])
    torch.testing.assert_close(together[:1], logits([after(60)]))
    torch.testing.assert_close(together[1:], logits([after(48)]))
    assert not torch.equal(together[0], together[1])


def test_songs_that_part_in_a_bar_wait_for_their_own_instruments():
    """One row becomes two; what one plays from there on the other has not played."""
    vocabulary = build("museformer").vocabulary
    melody, drums, *_ = vocabulary.range("Instrument")
    player = Returning(Deaf(vocabulary, spread=0.0), vocabulary, [[Origin(None, {melody: None, drums: None})]], 3.0)
    cache = player.cache(1)
    heard(player, cache, vocabulary.id("Position", 0), 0, 1)
    cache.keep([0, 0])
    zeros = torch.zeros(2, dtype=torch.long)
    logits = player.advance(Token(torch.tensor([melody, drums]), zeros, zeros + 1, zeros), cache)
    assert logits[:, [melody, drums]].tolist() == [[0.0, AWAITED * 3.0], [AWAITED * 3.0, 0.0]]


@pytest.mark.parametrize(
    ("place", "counts"),  # of C, E and G; those of the mean quarter that has notes count a quarter beside them
    [(6, (1 + 0.25, 0.125, 2 + 0.25)), (18, (1 + 0.25, 1 + 0.125, 0.25)), (30, (1.0, 0.5, 1.0))],
)
def test_keys_lose_the_more_the_less_they_are_in_the_harmony_of_the_quarter(
    place: int, counts: tuple[float, float, float]
):
    """Unless the instrument plays what it did, without changes; that there is a note at all stays as likely."""
    vocabulary = build("museformer").vocabulary
    id, pitches = vocabulary.id, vocabulary.range("Pitch")
    bass, piano, melody = (id("Instrument", name) for name in ("bass", "piano", "melody"))
    song = song_of([{"bass": [(0, 24), (12, 28)], "piano": [(0, 67), (0, 79)], "drums": BEAT}, {}])
    low = int(np.flatnonzero(song.ids == id("Pitch", 24))[0])
    song.ids[low + 1] = id("Duration", 14)  # it sounds in the second quarter, too
    origin = Origin(None, {bass: Return(0), piano: Return(0, 0.6), melody: None}, Return(0))
    shares = np.zeros(12)
    shares[[0, 4, 7]] = np.array(counts) / max(counts)

    def after(playing: int, origin: Origin) -> torch.Tensor:
        player = Returning(Deaf(vocabulary, spread=0.0), vocabulary, [[FREE, origin]], 3.0)
        cache = player.cache(1)
        for token, bar, position in zip(song.ids.tolist(), song.bars.tolist(), song.positions.tolist(), strict=True):
            heard(player, cache, token, bar, position)
        heard(player, cache, id("Position", place), 1, place + 1)
        return heard(player, cache, playing, 1, place + 1)

    for playing, new in ((melody, True), (piano, True), (bass, False)):
        logits, free = after(playing, origin), after(playing, replace(origin, harmony=None))
        assert odds_of_a_note(logits, vocabulary) == pytest.approx(odds_of_a_note(free, vocabulary), abs=1e-5)
        lost = (logits[id("Drum", 36)] - logits[pitches.start : pitches.stop]).tolist()
        assert lost == pytest.approx(
            [FOREIGN * 3.0 * new * (1 - shares[key % 12] ** 0.5) for key in range(128)], abs=1e-5
        )


def test_notes_lose_where_their_instrument_begins_none():
    """Where nobody does that plays in the bar, at once, and the other places gain what those lose."""
    vocabulary = build("museformer").vocabulary
    id, places = vocabulary.id, vocabulary.range("Position")
    melody, drums, bass, piano = (id("Instrument", name) for name in ("melody", "drums", "bass", "piano"))
    grid = {melody: frozenset({1, 25}), bass: frozenset({1, 13}), drums: frozenset({7})}
    origin = Origin(None, {melody: None, bass: None, piano: None}, grid=grid)  # of the piano nothing is known
    player = Returning(Deaf(vocabulary, spread=0.0), vocabulary, [[origin]], 3.0)
    cache = player.cache(1)
    heard(player, cache, id("Bar"), 0, 0)
    logits = heard(player, cache, vocabulary.range("Tempo")[4], 0, 0)
    open_ = [places[place - 1] for place in (1, 13, 25)]
    closed = sorted(set(places) - set(open_))
    assert (logits[open_[0]] - logits[closed]).tolist() == pytest.approx([OFFBEAT * 3.0] * len(closed))
    assert logits[open_].unique().numel() == 1
    of_places = logits[places.start : places.stop]
    assert float(of_places.logsumexp(0)) == pytest.approx(np.log(len(places)))  # as likely as ever
    logits = heard(player, cache, places[12], 0, 13)
    awaited = AWAITED * 3.0
    assert logits[[melody, bass, piano]].tolist() == pytest.approx([awaited - OFFBEAT * 3.0, awaited, awaited])


def test_keys_lose_that_their_instrument_does_not_have():
    """That there is a note at all stays as likely; of an instrument of which nothing is known nothing is asked."""
    vocabulary = build("museformer").vocabulary
    id, pitches = vocabulary.id, vocabulary.range("Pitch")
    bass, piano = (id("Instrument", name) for name in ("bass", "piano"))
    origin = Origin(None, {bass: None, piano: None}, ambitus={bass: range(28, 46)})
    player = Returning(Deaf(vocabulary, spread=0.0), vocabulary, [[origin]], 3.0)
    cache = player.cache(1)
    heard(player, cache, id("Position", 0), 0, 1)
    logits = heard(player, cache, bass, 0, 1)
    assert odds_of_a_note(logits, vocabulary) == pytest.approx(odds_of_a_note(logits * 0, vocabulary), abs=1e-5)
    lost = (logits[id("Drum", 36)] - logits[pitches.start : pitches.stop]).tolist()
    assert lost == pytest.approx([0.0 if 28 <= key < 46 else OUTSIDE * 3.0 for key in range(128)])
    logits = heard(player, cache, piano, 0, 1)
    assert logits[pitches.start : pitches.stop].unique().numel() == 1


def odds_of_a_note(logits: torch.Tensor, vocabulary: Vocabulary) -> float:
    notes = [*vocabulary.range("Pitch"), *vocabulary.range("Drum")]
    others = sorted(set(range(vocabulary.size)) - set(notes))
    return float(logits[notes].logsumexp(0) - logits[others].logsumexp(0))


def heard(player: Returning, cache, id: int, bar: int, position: int):
    """Logits of the last row."""
    one = torch.ones(len(cache.rows), dtype=torch.long)
    return player.advance(Token(one * id, one * bar, one * position, one * 0), cache)[-1]
