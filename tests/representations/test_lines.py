"""One voice and four voices as tokens: what is kept, what is left out, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from symusic.core import NoteTick, TimeSignatureTick, TrackTick

from ritornello.errors import MusicError
from ritornello.music.score import Score
from ritornello.representations import build, melody, voices
from ritornello.representations.base import Roll, Tokens
from tests.lines import make_grid, make_melody
from tests.rolls import make_chorale, make_roll


def notes_of(score: Score) -> list[list[tuple[int, int, int]]]:
    return [sorted((n.time, n.duration, n.pitch) for n in track.notes) for track in score.tracks]


def score_of(*notes: tuple[int, int, int], metre: tuple[int, int] = (3, 4)) -> Score:
    """(onset, duration, pitch) at 24 ticks a quarter."""
    score = Score(24)
    score.time_signatures.append(TimeSignatureTick(0, *metre))
    track = TrackTick("", 42, False)
    for onset, duration, pitch in notes:
        track.notes.append(NoteTick(onset, duration, pitch, 80))
    score.tracks.append(track)
    return score


# Four voices


@pytest.mark.parametrize("metre", voices.METRES)
@pytest.mark.parametrize("steps", [16, 36, 37, 47])
def test_a_grid_comes_back(steps: int, metre: str):
    grid, bar = make_grid(3, steps), voices.METRES[metre]
    tokens = voices.write(grid, metre)
    back, upbeat, found = voices.read(tokens.ids)
    np.testing.assert_array_equal(back, grid)
    assert (upbeat, found) == (steps % bar, metre)
    assert len(tokens.ids) == len(tokens.bars) == len(tokens.positions) == 5 + 4 * steps + -(-steps // bar)
    assert tokens.positions.max() == min(bar, tokens.positions[-2])  # the last bar is full


def test_a_chorale_in_three_is_written_in_three():
    roll = make_roll(2, 5, steps=12)
    score = build("chorale").decode(Roll(roll.cells, roll.bars, {**roll.meta, "metre": "3/4"}))
    tokens = build("voices").encode(score)
    assert (tokens.meta["metre"], tokens.meta["bars"]) == ("3/4", 5)
    again = build("voices").decode(tokens)
    assert notes_of(again) == notes_of(score)
    assert (again.time_signatures[0].numerator, again.time_signatures[0].denominator) == (3, 4)


def test_bars_are_counted_from_the_end():
    tokens = voices.write(make_grid(0, 36))
    first = tokens.positions[tokens.bars == 0]
    assert first[first > 0].tolist() == np.repeat([13, 14, 15, 16], 4).tolist()
    assert tokens.bars[-1] == 2


@pytest.mark.parametrize("seed", range(3))
def test_a_chorale_comes_back_note_for_note(seed: int):
    score = make_chorale(seed)
    representation = build("voices")
    assert notes_of(representation.decode(representation.encode(score))) == notes_of(representation.normalise(score))
    assert notes_of(representation.normalise(score)) == notes_of(build("chorale").decode(make_roll(seed, 10)))


def test_the_key_of_a_chorale_is_its_own():
    tokens = build("voices").encode(make_chorale(1))
    assert voices.VOCABULARY.name(int(tokens.ids[1])) == f"Key_{tokens.meta['key']}"


def test_held_and_sounding_are_inverse():
    pitches = np.random.default_rng(0).integers(60, 63, (50, 4))
    np.testing.assert_array_equal(voices.sounding(voices.held(pitches)), pitches)


def test_tokens_out_of_place_are_named():
    ids = voices.write(make_grid()).ids.copy()
    ids[7], ids[4] = ids[4], ids[7]
    with pytest.raises(MusicError, match=r"Token 4 .* out of place: expected Bar"):
        voices.read(ids)


def test_a_choir_does_not_sing_that():
    score = make_chorale()
    score.shift_pitch(30, inplace=True)
    with pytest.raises(MusicError, match="what a choir sings"):
        build("voices").encode(score)


# One voice


@pytest.mark.parametrize("metre", ["3/4", "6/8", "2/2"])
def test_a_line_comes_back(metre: str):
    tokens = make_melody(2, metre=metre)
    line, back = melody.read(tokens.ids)
    again = melody.write(line, back)
    np.testing.assert_array_equal(again.ids, tokens.ids)
    np.testing.assert_array_equal(again.positions, tokens.positions)
    score = build("melody").decode(Tokens(tokens.ids, tokens.bars, tokens.positions, tokens.attributes, {}))
    assert notes_of(score) == notes_of(build("melody").normalise(score))


def test_a_held_note_is_not_struck_again():
    """A half note over two quarters below, then a note on top of one that still sounds."""
    score = score_of((0, 48, 60), (0, 24, 48), (24, 24, 50), (48, 24, 52), (60, 12, 64))
    assert notes_of(build("melody").normalise(score)) == [[(0, 48, 60), (48, 12, 52), (60, 12, 64)]]
    assert build("melody").encode(score).meta["left_out"] == 2


def test_rests_and_a_note_over_the_bar_line():
    tokens = build("melody").encode(score_of((0, 12, 60), (24, 72, 62), (100, 4, 64)))
    names = [melody.VOCABULARY.name(int(id)) for id in tokens.ids[3:]]
    events = ["Bar", "Pitch_60", "Duration_12", "Rest", "Duration_12", "Pitch_62", "Duration_72"]
    assert names == [*events, "Bar", "Rest", "Duration_4", "Pitch_64", "Duration_4", "EOS"]
    assert tokens.positions[-3] == 100 - 72 + 1


def test_empty_bars_before_the_first_note_are_left_out():
    score = score_of((72 + 24, 24, 60), (120, 24, 62))
    assert notes_of(build("melody").normalise(score)) == [[(24, 24, 60), (48, 24, 62)]]


def test_a_change_of_metre_is_refused():
    score = score_of((0, 24, 60), (72, 24, 62), (144, 24, 60))
    score.time_signatures.append(TimeSignatureTick(72, 4, 4))
    with pytest.raises(MusicError, match="in 3/4 and in 4/4"):
        build("melody").encode(score)
