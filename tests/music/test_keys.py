"""Keys read, found and transposed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from symusic.core import KeySignatureTick, NoteTick, TempoTick, TrackTick

from ritornello.errors import MusicError
from ritornello.music.keys import Key, find_key, fitting, pitch_classes, transpose, transposition_to_c
from ritornello.music.score import Score, read

KEYS = [Key(tonic, mode) for mode in ("major", "minor") for tonic in range(12)]


def score_of(pitches: list[int], drums: tuple[int, ...] = (), duration: int = 480) -> Score:
    """Notes one after the other, a quarter each at 480 ticks a quarter."""
    score = Score(480)
    for program, is_drum, notes in ((0, False, pitches), (0, True, drums)):
        track = TrackTick("", program, is_drum)
        for k, pitch in enumerate(notes):
            track.notes.append(NoteTick(k * 480, duration, pitch, 90))
        score.tracks.append(track)
    return score


# ---- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("C", Key(0, "major")),
        ("a minor", Key(9, "minor")),
        ("F# minor", Key(6, "minor")),
        ("F♯ Minor", Key(6, "minor")),
        ("Gb", Key(6, "major")),
        ("bb major", Key(10, "major")),
        ("Ebm", Key(3, "minor")),
        ("Cb:maj", Key(11, "major")),
        ("  G#-min ", Key(8, "minor")),
        ("B# MAJOR", Key(0, "major")),
    ],
)
def test_parse(text: str, key: Key) -> None:
    assert Key.parse(text) == key


@pytest.mark.parametrize("text", ["", "H minor", "C dorian", "C# # major", "minor", "440"])
def test_parse_refuses(text: str) -> None:
    with pytest.raises(MusicError, match="is no key; write"):
        Key.parse(text)


@pytest.mark.parametrize("key", KEYS)
def test_names_are_read_back(key: Key) -> None:
    assert Key.parse(str(key)) == key


def test_a_key_is_checked() -> None:
    with pytest.raises(MusicError, match="tonic of 0 to 11"):
        Key(12, "major")


# ---- finding --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tonic", range(12))
def test_cadences(tonic: int) -> None:
    """I IV V I and i iv V i, drums or none."""
    major = [0, 4, 7, 5, 9, 12, 7, 11, 14, 0, 4, 7]
    minor = [0, 3, 7, 5, 8, 12, 7, 11, 14, 0, 3, 7]
    for steps, key in ((major, Key(tonic, "major")), (minor, Key(tonic, "minor"))):
        assert find_key(score_of([60 + tonic + step for step in steps], drums=(36,) * 40)) == key


def test_no_pitched_notes() -> None:
    assert find_key(score_of([], drums=(38, 42))) == Key(0, "major")
    assert find_key(Score(480)) == Key(0, "major")


def test_pitch_classes_by_hand() -> None:
    """C and G for a quarter, C an octave up for eight quarters, which count as two: 3/4 and 1/4."""
    score = score_of([60, 67])
    score.tracks[0].notes.append(NoteTick(960, 8 * 480, 72, 90))
    assert pitch_classes(score) == pytest.approx([0.75, 0, 0, 0, 0, 0, 0, 0.25, 0, 0, 0, 0])


@given(st.lists(st.integers(36, 84), min_size=3, max_size=30), st.integers(-12, 12))
def test_the_key_moves_with_the_music(pitches: list[int], semitones: int) -> None:
    score = score_of(pitches)
    scores = pitch_classes(score), pitch_classes(transpose(score, semitones))
    assert np.roll(scores[0], semitones) == pytest.approx(scores[1])


def test_corrected_keys_of_pop909(corpus) -> None:
    """88 % are right over the whole set (benchmarks/keys.py); of a few, most."""
    right = 0
    files = corpus("pop909_cl", 20)
    for path in files:
        score = read(path)
        sign = score.key_signatures[0]
        true = Key((7 * sign.key + 9 * sign.tonality) % 12, "minor" if sign.tonality else "major")
        right += find_key(score) == true
    assert right >= 0.7 * len(files)


# ---- transposing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", KEYS)
def test_transposition_to_c(key: Key) -> None:
    semitones = transposition_to_c(key)
    assert -6 <= semitones <= 5
    assert key.transposed(semitones) == (Key(0, "major") if key.mode == "major" else Key(9, "minor"))


def test_transposition_by_hand() -> None:
    assert [transposition_to_c(Key.parse(text)) for text in ("C", "Am", "D", "B", "F#", "F", "Ebm", "Em")] == [
        *(0, 0, -2, 1, -6, -5, -6, 5),
    ]


def test_transpose_by_hand() -> None:
    score = score_of([60, 127 - 3], drums=(36, 127))
    score.key_signatures.append(KeySignatureTick(0, 1, 1))  # E minor
    score.tempos.append(TempoTick(0, 500_000))
    up = transpose(score, 3)
    assert [note.pitch for note in up.tracks[0].notes] == [63, 127]
    assert [note.pitch for note in up.tracks[1].notes] == [36, 127]
    assert (up.key_signatures[0].key, up.key_signatures[0].tonality) == (-2, 1)  # G minor
    assert up.tempos == score.tempos
    assert [note.pitch for note in score.tracks[0].notes] == [60, 124]


@given(
    st.lists(st.integers(12, 115), max_size=20),
    st.lists(st.integers(0, 127), max_size=5),
    st.integers(-12, 12),
    st.integers(-6, 5),
    st.integers(0, 1),
)
def test_transposing_is_reversible(pitches, drums, semitones, sharps, tonality) -> None:
    score = score_of(pitches, drums=tuple(drums))
    score.key_signatures.append(KeySignatureTick(0, sharps, tonality))
    moved = transpose(score, semitones)
    assert transpose(moved, -semitones) == score
    assert (moved == score) == (semitones == 0 or (semitones % 12 == 0 and not pitches))


def test_out_of_range() -> None:
    score = score_of([2, 60])
    with pytest.raises(MusicError, match="by -3 semitones: its pitches are 2 to 60"):
        transpose(score, -3)
    assert fitting(score, -3) == 9
    assert fitting(score, -2) == -2
    assert fitting(score_of([125]), 5) == -7
    assert fitting(score_of([3, 124]), 5) == 0
