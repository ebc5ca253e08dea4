"""Music that comes again with changes: it has as many as are asked for."""

from __future__ import annotations

import pytest
import torch

from ritornello.representations import build
from ritornello.sampling.form import FREE, Origin, Return
from ritornello.sampling.page import APART
from ritornello.sampling.returning import CORE, LENGTHS, LOST, SELDOM, Returning, chance
from tests.sampling.test_form import song_of
from tests.sampling.test_returning import heard
from tests.sampling.wellformed import Deaf

VOCABULARY = build("museformer").vocabulary
PIANO = VOCABULARY.id("Instrument", "piano")
CHORDS = {"piano": [(0, 67), (0, 64), (0, 60), (24, 72)], "melody": [(12, 80)]}


def shares(alike: float) -> tuple[float, float]:
    """Of an instrument's notes how many are the same, where so many are of all that either bar has; and as high."""
    asked = alike + LOST * (1 - alike)
    same = 2 * asked / (1 + asked)
    return same, 1 - (1 - LENGTHS) * (1 - same)


@pytest.mark.parametrize("alike", [0.3, 0.6, 0.9])
def test_a_note_comes_again_as_often_as_those_left_still_have_to(alike: float):
    """Else the chord has another note or none, as the model would have it. What one was played for comes no more."""
    id, notes = VOCABULARY.id, [*VOCABULARY.range("Pitch"), *VOCABULARY.range("Drum")]
    length, velocity = VOCABULARY.range("Duration")[3], VOCABULARY.range("Velocity")[3]
    song, origin = song_of([CHORDS, {}]), Origin(None, {PIANO: Return(0, alike)})
    whole = 4 * shares(alike)[1]

    def after(*keys: int, place: int = 0, nats: float = 3.0) -> torch.Tensor:
        """What may come when the piano has played these, of two chords the first; probabilities."""
        player = Returning(Deaf(VOCABULARY, seed=1), VOCABULARY, [[FREE, origin]], nats)
        cache = player.cache(1)
        for token, bar, position in zip(song.ids.tolist(), song.bars.tolist(), song.positions.tolist(), strict=True):
            heard(player, cache, token, bar, position)
        heard(player, cache, id("Position", 0), 1, 1)
        logits = heard(player, cache, PIANO, 1, 1)
        for key in keys:
            for token in (id("Pitch", key), length, velocity):
                cache.keep([0, 0])  # the same of a copy
                logits = heard(player, cache, token, 1, 1)
        if place:
            heard(player, cache, id("Position", place), 1, place + 1)
            logits = heard(player, cache, PIANO, 1, place + 1)
        return logits.softmax(0)

    def due(same: int, left: int) -> float:
        return min(max((whole - same) / left, SELDOM), 1 - SELDOM)

    for keys, key, share in (
        ((), 67, due(0, 4)),
        ((67,), 64, due(1, 3)),
        ((67, 64), 60, due(2, 2)),
        ((69,), 64, due(0, 3)),  # for 67, though it is above
        ((69, 65), 60, due(0, 2)),
        ((62,), 60, due(0, 2)),  # 64 is passed as well
    ):
        said = after(*keys)
        assert float(said[id("Pitch", key)]) == pytest.approx(share, rel=1e-4)
        said[id("Pitch", key)] = 0.0
        deaf = after(*keys, nats=0.0)
        deaf[id("Pitch", key)] = 0.0
        assert float(said[notes].sum() / said.sum()) == pytest.approx(float(deaf[notes].sum() / deaf.sum()), rel=1e-4)
    assert float(after(67, place=24)[id("Pitch", 72)]) == pytest.approx(due(1, 1), rel=1e-4)


class Sketch:
    """A song of bars, and then of the first one again with changes, still empty; by a model of no opinion."""

    def __init__(self, *bars: list[tuple[int, int]], alike: float, again: int = 1) -> None:
        form = [*[FREE] * len(bars), *[Origin(None, {PIANO: Return(0, alike)})] * again]
        self.player = Returning(Deaf(VOCABULARY, spread=0.0), VOCABULARY, [form], 3.0)
        self.cache, self.bar = self.player.cache(1), len(bars)
        song = song_of([*({"piano": notes} for notes in bars), {}])
        for token, bar, place in zip(song.ids.tolist(), song.bars.tolist(), song.positions.tolist(), strict=True):
            heard(self.player, self.cache, token, bar, place)

    def after(self, place: int, *ids: int) -> torch.Tensor:
        """Logits when the piano has begun to play these tokens at a place."""
        logits = heard(self.player, self.cache, VOCABULARY.id("Position", place), self.bar, place + 1)
        for id in (PIANO, *ids):
            logits = heard(self.player, self.cache, id, self.bar, place + 1)
        return logits


def note(key: int, steps: int = 3) -> tuple[int, int, int]:
    return VOCABULARY.id("Pitch", key), VOCABULARY.range("Duration")[steps], VOCABULARY.range("Velocity")[3]


@pytest.mark.parametrize("alike", [0.3, 0.6, 0.9])
def test_half_of_the_changes_are_of_how_long_notes_are(alike: float):
    pitch, duration, _ = note(60)
    said = Sketch([(0, 60)], alike=alike).after(0, pitch).softmax(0)
    same, kept = shares(alike)
    assert float(said[duration]) == pytest.approx(same / kept, rel=1e-4)
    assert (1 - kept) / (1 - same) == pytest.approx(0.5)


@pytest.mark.parametrize("steps", [3, 5])
def test_a_note_that_comes_again_is_as_loud(steps: int):
    pitch, duration, velocity = note(60, steps)
    assert float(Sketch([(0, 60)], alike=0.5).after(0, pitch, duration)[velocity]) == APART * 3.0


def test_what_has_come_again_before_does_so_rather():
    said = Sketch([(0, 72), (24, 60)], [(0, 71), (24, 60)], alike=0.3).after(0).softmax(0)
    kept = 2 * shares(0.3)[1]
    assert float(said[note(72)[0]]) == pytest.approx(chance([1, 2**CORE], kept), rel=1e-4)
    assert chance([1, 2**CORE], kept) < 0.8 * kept / 2


def test_what_has_been_of_another_length_before_is_so_rather():
    """The note at 0 was longer in the second bar, so it is so in the third rather than the one at 24."""
    song = Sketch([(0, 72), (24, 60)], alike=0.3, again=2)
    song.cache.keep([0, 0])
    song.after(0, *note(72, 5))
    song.after(24, *note(60))
    song.bar += 1
    heard(song.player, song.cache, VOCABULARY.id("Bar"), song.bar, 0)
    pitch, duration, _ = note(72)
    said = song.after(0, pitch).softmax(0)
    same, kept = shares(0.3)
    expected = chance([0.5**CORE, 1.0], 2 * same / kept)
    assert float(said[duration]) == pytest.approx(expected, rel=1e-4)
    assert expected < 0.8 * same / kept
    assert max(known.total() for known in song.cache.rows[0].lengths.values()) == 2  # what a copy plays does not count


def test_a_new_note_makes_up_for_one_that_has_not_come():
    """Where 60 has not come under 67 at first, 67 is still to come after 70; else it is not."""
    bar = [(0, 67), (0, 60), (24, 67), (24, 60)]
    for first, due in (((67,), 67), ((67, 60), 60)):
        song = Sketch(bar, alike=0.9)
        song.after(0, *(token for key in first for token in note(key)))
        said = song.after(24, *note(70)).softmax(0)
        assert int(said.argmax()) == note(due)[0]


def test_as_many_notes_are_new_as_are_lost():
    """Between two notes there may be others, as likely as the second; no more, where as many have been."""
    places = VOCABULARY.range("Position")
    bar = [(at, 60) for at in (0, 3, 6, 12, 18, 24, 36)]
    for alike, lost, new in ((0.3, (), True), (0.9, (), False), (0.9, (18,), True)):
        song = Sketch(bar, alike=alike)
        for at in (0, 3, 6, 12, 18, 24):
            if at not in lost:
                logits = song.after(at, *note(60))
        assert (float(logits[places[30]]) == float(logits[places[36]])) == new
        assert float(logits[places[36]]) > float(logits[places[40]]) == 0.0
        assert float(song.after(30, *note(62))[places[33]]) == 0.0


@pytest.mark.parametrize(
    ("weights", "count", "expected"),
    [
        ([1, 1, 1, 1], 2, 0.5),
        ([1, 3], 1, 0.25),
        ([3, 1], 1, 0.75),
        ([8, 1, 1], 2, 1.0),  # 8 of 10 by 2 is more than 1
        ([1, 8, 1], 2, 0.5),  # one of the two is surely the second
        ([1, 1], 3, 1.0),
        ([1, 1], 0, 0.0),
        ([2], 0.4, 0.4),
    ],
)
def test_chances_are_in_proportion_to_weights(weights: list[float], count: float, expected: float):
    assert chance(weights, count) == pytest.approx(expected)


def test_chances_of_all_are_as_many_as_are_taken():
    weights = [5.0, 1.0, 1.0, 0.2, 30.0, 2.0]
    taken = [chance([weights[i], *weights[:i], *weights[i + 1 :]], 2.5) for i in range(len(weights))]
    assert sum(taken) == pytest.approx(2.5)
    assert max(taken) == 1.0


def test_what_another_note_was_played_for_comes_again_in_the_next_bar():
    song = Sketch([(0, 60)], alike=0.5, again=2)
    song.after(0, *note(72))
    song.bar += 1
    logits = heard(song.player, song.cache, VOCABULARY.id("Bar"), song.bar, 0)
    assert int(logits.argmax()) == VOCABULARY.id("Position", 0)
