"""The masks, against a slow and obvious reader of the same grammar."""

from __future__ import annotations

import numpy as np
import pytest

from ritornello.errors import ConfigError
from ritornello.representations import build
from ritornello.representations.vocabulary import Vocabulary
from ritornello.sampling.grammar import Grammar
from tests.sampling.wellformed import fault, split, walk
from tests.songs import make_song

BOS, EOS = 1, 2


@pytest.fixture(params=["museformer", "remi", "musemorphose"])
def vocabulary(request: pytest.FixtureRequest) -> Vocabulary:
    return build(request.param).vocabulary


def families(vocabulary: Vocabulary, ids) -> list[str]:
    return [family for family, _ in split(vocabulary, ids)]


@pytest.mark.parametrize("bars", [None, 3])
@pytest.mark.parametrize("seed", range(3))
def test_masks_are_what_the_reader_accepts(vocabulary: Vocabulary, bars: int | None, seed: int):
    rng = np.random.default_rng(seed)
    song = walk(Grammar(vocabulary, bars=bars), vocabulary, rng, [BOS], steps=80)
    for length in rng.integers(1, len(song), 12):
        prefix = song[:length]
        grammar = Grammar(vocabulary, bars=bars)
        grammar.read(np.array([prefix]))
        accepted = [i for i in range(3, vocabulary.size) if not fault(vocabulary, [*prefix, i], bars)]
        accepted += [EOS] * (fault(vocabulary, [*prefix, EOS], bars) is None)
        if bars == 3 and families(vocabulary, prefix).count("Bar") == 3:
            accepted = [i for i in accepted if vocabulary.name(i) != "Bar"]
        assert sorted(accepted) == np.flatnonzero(grammar.mask()[0]).tolist()


@pytest.mark.parametrize("bars", [1, 2, 7, 40])
def test_exactly_the_bars_asked_and_no_more_tokens_than_allowed(vocabulary: Vocabulary, bars: int):
    rng = np.random.default_rng(bars)
    for budget in (8 * bars + 2, 20 * bars, 60 * bars):
        grammar = Grammar(vocabulary, bars=bars, max_tokens=budget)
        song = walk(grammar, vocabulary, rng, [BOS], steps=budget)
        assert song[-1] == EOS
        assert len(song) <= budget
        assert families(vocabulary, song).count("Bar") == bars
        assert families(vocabulary, song)[-2] == "Velocity"  # the last bar is not empty
        assert fault(vocabulary, song, bars) is None


def test_bars_share_the_budget(vocabulary: Vocabulary):
    """A song that would rather go on in each bar for ever does not leave its last bars starved."""
    bars, budget = 20, 2000
    grammar = Grammar(vocabulary, bars=bars, max_tokens=budget)
    song = [BOS]
    grammar.read(np.array([song]))
    while not grammar.done[0]:
        legal = np.flatnonzero(grammar.mask()[0])
        song.append(int(legal[-1]))  # Bar and EOS come before all other tokens that may stand where they do
        grammar.advance(np.array(song[-1:]))
    sizes = np.diff(np.flatnonzero(np.array(families(vocabulary, [*song[:-1], song[1]])) == "Bar"))
    assert len(sizes) == bars
    assert sizes.max() <= 1.5 * budget / bars
    assert sizes.min() >= 8


@pytest.mark.parametrize("budget", [10, 11, 12, 13, 14, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 300])
def test_a_song_without_a_number_of_bars_ends_within_its_budget(vocabulary: Vocabulary, budget: int):
    for seed in range(4):
        grammar = Grammar(vocabulary, max_tokens=budget)
        song = walk(grammar, vocabulary, np.random.default_rng(seed), [BOS], steps=budget)
        assert song[-1] == EOS
        assert len(song) <= budget
        assert fault(vocabulary, song) is None


def test_rows_do_not_touch_each_other(vocabulary: Vocabulary):
    songs = [
        walk(Grammar(vocabulary, bars=4), vocabulary, np.random.default_rng(seed), [BOS], 20 + 30 * seed)
        for seed in range(4)
    ]
    together = Grammar(vocabulary, 4, bars=4)
    together.read(np.array([song + [0] * (max(map(len, songs)) - len(song)) for song in songs]))
    for row, song in enumerate(songs):
        alone = Grammar(vocabulary, bars=4)
        alone.read(np.array([song]))
        assert (together.mask()[row] == alone.mask()[0]).all()
        assert (together.place()[:, row] == alone.place()[:, 0]).all()


def test_place_is_bar_position_and_countdown(vocabulary: Vocabulary):
    song = walk(Grammar(vocabulary, bars=3), vocabulary, np.random.default_rng(1), [BOS], 400)
    grammar, bar, position = Grammar(vocabulary, bars=3), 0, 0
    for index, (family, value) in enumerate(split(vocabulary, song)):
        grammar.advance(np.array(song[index : index + 1]))
        bar += family == "Bar" and index > 1
        position = int(value) + 1 if family == "Position" else 0 if family in ("Bar", "EOS") else position
        assert grammar.place()[:, 0].tolist() == [bar, position, 3 - bar]


def test_an_ended_song_is_padded(vocabulary: Vocabulary):
    grammar = Grammar(vocabulary, bars=1)
    walk(grammar, vocabulary, np.random.default_rng(0), [BOS], 4000)
    before = grammar.place()
    assert np.flatnonzero(grammar.mask()[0]).tolist() == [0]
    grammar.advance(np.array([0]))
    assert np.flatnonzero(grammar.mask()[0]).tolist() == [0]
    assert (grammar.place() == before).all()


@pytest.mark.parametrize("name", ["museformer", "remi"])
def test_restrictions(name: str):
    vocabulary = build(name).vocabulary
    tempo, instruments = vocabulary.range("Tempo")[3], vocabulary.range("Instrument")[2:4]
    ranges = dict.fromkeys(instruments, (40, 52))
    grammar = Grammar(vocabulary, bars=6, tempo=tempo, instruments=list(instruments), ranges=ranges)
    song = walk(grammar, vocabulary, np.random.default_rng(0), [BOS], 3000)
    by_family = {family: {id for id in song if id in vocabulary.range(family)} for family in vocabulary.families}
    assert by_family["Tempo"] == {tempo}
    assert by_family["Instrument"] == set(instruments)
    assert by_family["Drum"] == set()
    assert {int(value) for _, value in split(vocabulary, by_family["Pitch"])} <= set(range(40, 53))


def test_keys_can_be_bounded_without_instruments():
    vocabulary = build("musemorphose").vocabulary
    song = walk(Grammar(vocabulary, bars=9, keys=(40, 52)), vocabulary, np.random.default_rng(0), [BOS], 3000)
    keys = {int(value) for family, value in split(vocabulary, song) if family == "Pitch"}
    assert keys
    assert keys <= set(range(40, 53))
    assert fault(vocabulary, song, 9) is None
    with pytest.raises(ConfigError, match=r"0\.\.127"):
        Grammar(vocabulary, keys=(60, 128))


def test_chords_stand_at_beats_and_never_follow_themselves():
    """Of a walk through bars of many metres; and the same chord is allowed again after another one."""
    vocabulary = build("musemorphose").vocabulary
    grammar, rng, song = Grammar(vocabulary, bars=40), np.random.default_rng(3), [BOS]
    positions = vocabulary.range("Position")
    grammar.read(np.array([song]))
    while not grammar.done[0]:
        legal = np.flatnonzero(grammar.mask()[0])
        families = vocabulary.family_of[legal]
        choices = legal[families == rng.choice(np.unique(families))]
        if choices[0] in positions and len(at_beats := choices[(choices - positions.start) % 6 == 0]):
            choices = at_beats
        song.append(int(rng.choice(choices)))
        grammar.advance(np.array(song[-1:]))
    assert fault(vocabulary, song, 40) is None
    chords = [value for family, value in split(vocabulary, song) if family == "Chord"]
    assert len(chords) > 5
    start = [BOS, vocabulary.id("Bar"), vocabulary.id("Metre", "6/8"), vocabulary.id("Tempo", 120.0)]
    beat, c, g = vocabulary.id("Position", 18), vocabulary.id("Chord", "C"), vocabulary.id("Chord", "G7")
    for ids, allowed in (
        ([vocabulary.id("Position", 0)], {"C": True, "G7": True}),
        ([vocabulary.id("Position", 12)], {"C": False, "G7": False}),
        ([vocabulary.id("Position", 0), c, beat], {"C": False, "G7": True}),
        ([vocabulary.id("Position", 0), c, beat, g, *start[1:], vocabulary.id("Position", 0)], {"C": True}),
    ):
        grammar = Grammar(vocabulary)
        grammar.read(np.array([[*start, *ids]]))
        for label, may in allowed.items():
            assert grammar.mask()[0, vocabulary.id("Chord", label)] == may


def test_metre_can_be_held():
    vocabulary = build("remi").vocabulary
    metre = next(id for id in vocabulary.range("Metre") if vocabulary.name(id).endswith("3/4"))
    song = walk(Grammar(vocabulary, bars=5, metre=metre), vocabulary, np.random.default_rng(0), [BOS], 3000)
    assert {id for id in song if id in vocabulary.range("Metre")} == {metre}
    assert fault(vocabulary, song, 5) is None


@pytest.mark.parametrize("most", [0, 2])
def test_empty_bars_in_a_row(vocabulary: Vocabulary, most: int):
    song = walk(Grammar(vocabulary, bars=60, empty_bars=most), vocabulary, np.random.default_rng(0), [BOS], 9000)
    run = longest = 0
    for family in families(vocabulary, song)[1:-1]:
        run = run + 1 if family == "Bar" else 0 if family in ("Pitch", "Drum") else run
        longest = max(longest, run - 1)
    assert longest == most


def test_impossible_wishes_are_one_sentence(vocabulary: Vocabulary):
    with pytest.raises(ConfigError, match=r"max_tokens = 100 .* at least 514"):
        Grammar(vocabulary, bars=64, max_tokens=100)
    with pytest.raises(ConfigError, match="at least one"):
        Grammar(vocabulary, instruments=[])
    with pytest.raises(ConfigError, match=r"0\.\.127"):
        Grammar(vocabulary, ranges={3: (60, 50)})
    grammar = Grammar(vocabulary, bars=2, max_tokens=200)
    with pytest.raises(ConfigError, match="too few"):
        walk(grammar, vocabulary, np.random.default_rng(0), [BOS] + [vocabulary.id("Bar")] * 199, 1)


@pytest.mark.parametrize("name", ["museformer", "remi", "musemorphose"])
def test_written_music_is_never_forbidden(name: str):
    representation = build(name)
    song = representation.encode(make_song(1, bars=8)).ids.astype(np.int64)
    grammar = Grammar(representation.vocabulary, max_tokens=2 * len(song), empty_bars=0)
    for id in song:
        assert id == BOS or grammar.mask()[0, id], representation.vocabulary.name(int(id))
        grammar.advance(np.array([id]))
    assert grammar.done.all()
