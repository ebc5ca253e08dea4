"""How far a bar has come: by hand, as one goes, and against what is measured of whole bars."""

from __future__ import annotations

import numpy as np
import pytest

from ritornello.layers.texture import Counter, Ruler
from ritornello.representations import build
from ritornello.representations.base import Tokens
from tests.songs import make_piano

PIANO = build("musemorphose")
RULER = Ruler(PIANO.vocabulary)


def token(family: str, label: float | str | None = None) -> int:
    return PIANO.vocabulary.id(family, label)


def texture(song: Tokens) -> np.ndarray:
    rows = np.zeros(len(song.ids), np.int64)
    return RULER.texture(song.ids.astype(np.int64), rows, song.bars.astype(np.int64), song.positions.astype(np.int64))


def test_by_hand():
    """Two bars of 2/4, eight sixteenths each: a half note that is held over, then two notes at one onset."""
    metre = token("Metre", "2/4")
    note = [(token("Pitch", 60), 1), (token("Duration", 24), 1), (PIANO.vocabulary.range("Velocity")[9], 1)]
    first = [(token("Bar"), 0), (metre, 0), (token("Position", 12), 13)]
    first += [(id, 13) for id, _ in note]
    second = [(token("Bar"), 0), (metre, 0), (token("Position", 0), 1), *note, *note]
    ids, positions = np.array(first + second).T
    bars = np.repeat([0, 1], [len(first), len(second)])
    reached = RULER.texture(ids, 0 * bars, bars, positions)
    # the half note starts at sixteenth 4 of 8: 4 sound in its bar, 4 are held over
    expected = [[0, 0], [0, 0], [0, 0], [0, 0], [1 / 8, 4 / 8], [1 / 8, 4 / 8]]
    expected += [[0, 0], [0, 0], [0, 4 / 8], [0, 4 / 8], [1 / 8, 12 / 8], [1 / 8, 12 / 8]]
    expected += [[1 / 8, 12 / 8], [1 / 8, 20 / 8], [1 / 8, 20 / 8]]
    assert np.allclose(reached, expected)


@pytest.mark.parametrize("metre", [(4, 4), (3, 4), (7, 8)])
def test_at_its_last_token_a_bar_has_its_attributes(metre: tuple[int, int]):
    song = PIANO.encode(make_piano(3, bars=12, metre=metre))
    reached = texture(song)
    last = np.searchsorted(song.bars, np.arange(12), "right") - 1
    last[-1] -= 1  # not EOS
    assert np.abs(1000 * reached[last] - song.attributes).max() <= 0.5


def test_a_crop_and_a_second_song_start_anew():
    song = PIANO.encode(make_piano(3, bars=6))
    inside = song.bars >= 2
    crop = Tokens(song.ids[inside], song.bars[inside], song.positions[inside], song.attributes)
    fields = [
        np.concatenate([getattr(song, f), getattr(crop, f)]).astype(np.int64) for f in ("ids", "bars", "positions")
    ]
    rows = np.repeat([0, 1], [len(song.ids), len(crop.ids)])
    both = RULER.texture(fields[0], rows, fields[1], fields[2])
    assert np.array_equal(both, np.concatenate([texture(song), texture(crop)]))


@pytest.mark.parametrize("metre", [(4, 4), (5, 8)])
def test_counting_as_one_goes_is_the_same(metre: tuple[int, int]):
    song = PIANO.encode(make_piano(5, bars=10, metre=metre))
    counter = Counter(RULER)
    counted = [counter.read(*map(int, place)) for place in zip(song.ids, song.bars, song.positions, strict=True)]
    assert np.allclose(counted, texture(song), atol=1e-6)
