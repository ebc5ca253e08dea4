"""Music that comes again with changes: it has as many as are asked for."""

from __future__ import annotations

import pytest
import torch

from ritornello.representations import build
from ritornello.sampling.form import FREE, Origin, Return
from ritornello.sampling.page import APART
from ritornello.sampling.returning import LOST, SELDOM, Returning
from tests.sampling.test_form import song_of
from tests.sampling.test_returning import heard
from tests.sampling.wellformed import Deaf

CHORDS = {"piano": [(0, 67), (0, 64), (0, 60), (24, 72)], "melody": [(12, 80)]}


@pytest.mark.parametrize("alike", [0.3, 0.6, 0.9])
def test_a_note_comes_again_as_often_as_those_left_still_have_to(alike: float):
    """Else the chord has another note or none, as the model would have it. What one was played for comes no more."""
    vocabulary = build("museformer").vocabulary
    id, notes = vocabulary.id, [*vocabulary.range("Pitch"), *vocabulary.range("Drum")]
    piano, length, velocity = (
        id("Instrument", "piano"),
        vocabulary.range("Duration")[3],
        vocabulary.range("Velocity")[3],
    )
    song, origin = song_of([CHORDS, {}]), Origin(None, {piano: Return(0, alike)})
    asked = alike + LOST * (1 - alike)
    whole = 4 * 2 * asked / (1 + asked)  # how many of four are the same, where so many are of all that either has

    def after(*keys: int, place: int = 0, nats: float = 3.0) -> torch.Tensor:
        """What may come when the piano has played these, of two chords the first; probabilities."""
        player = Returning(Deaf(vocabulary, seed=1), vocabulary, [[FREE, origin]], nats)
        cache = player.cache(1)
        for token, bar, position in zip(song.ids.tolist(), song.bars.tolist(), song.positions.tolist(), strict=True):
            heard(player, cache, token, bar, position)
        heard(player, cache, id("Position", 0), 1, 1)
        logits = heard(player, cache, piano, 1, 1)
        for key in keys:
            for token in (id("Pitch", key), length, velocity):
                cache.keep([0, 0])  # the same of a copy
                logits = heard(player, cache, token, 1, 1)
        if place:
            heard(player, cache, id("Position", place), 1, place + 1)
            logits = heard(player, cache, piano, 1, place + 1)
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


def test_a_note_that_comes_again_is_as_long_and_as_loud_though_others_change():
    vocabulary = build("museformer").vocabulary
    id = vocabulary.id
    piano = id("Instrument", "piano")
    song = song_of([{"piano": [(0, 60)]}, {}])
    player = Returning(Deaf(vocabulary, spread=0.0), vocabulary, [[FREE, Origin(None, {piano: Return(0, 0.5)})]], 3.0)
    cache = player.cache(1)
    for token, bar, place in zip(song.ids.tolist(), song.bars.tolist(), song.positions.tolist(), strict=True):
        heard(player, cache, token, bar, place)
    length, velocity = vocabulary.range("Duration")[3], vocabulary.range("Velocity")[3]
    for token, position in ((id("Position", 0), 0), (piano, 1)):
        heard(player, cache, token, 1, position)
    assert float(heard(player, cache, id("Pitch", 60), 1, 1)[length]) == APART * 3.0
    assert float(heard(player, cache, length, 1, 1)[velocity]) == APART * 3.0


def test_what_another_note_was_played_for_comes_again_in_the_next_bar():
    vocabulary = build("museformer").vocabulary
    id = vocabulary.id
    piano = id("Instrument", "piano")
    song = song_of([{"piano": [(0, 60)]}, {"piano": [(0, 72)]}, {}])
    form = [FREE, *[Origin(None, {piano: Return(0, 0.5)})] * 2]
    player = Returning(Deaf(vocabulary, spread=0.0), vocabulary, [form], 3.0)
    cache = player.cache(1)
    for token, bar, place in zip(song.ids.tolist(), song.bars.tolist(), song.positions.tolist(), strict=True):
        logits = heard(player, cache, token, bar, place)
    assert int(logits.argmax()) == id("Position", 0)
