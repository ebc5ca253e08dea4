"""One piano with chords and bar attributes: MuseMorphose's grammar."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from symusic.core import NoteTick as Note
from symusic.core import TrackTick as Track

from ritornello.errors import MusicError
from ritornello.music import chords
from ritornello.music.attributes import bar_attributes
from ritornello.music.score import Score, read
from ritornello.representations import build
from ritornello.representations.grid import all_metres, beats, lay
from ritornello.representations.remi import transposable, transpose
from tests.representations.drawn import make_score, make_tokens, names_of, scores
from tests.songs import make_song

PIANO = build("musemorphose")
VOCABULARY = PIANO.vocabulary
NOTE = "Pitch_60 Duration_12 Velocity_66"


def two_chords() -> Score:
    """A bar of C major and a bar of 3/4 in F major, both with their fifths below."""
    score = make_score(name="piano", program=0, metres=[(0, 4, 4), (1920, 3, 4)])
    for time, length, pitches in ((0, 1920, (48, 55, 64, 72)), (1920, 1440, (53, 60, 69, 77))):
        for pitch in pitches:
            score.tracks[0].notes.append(Note(time, length, pitch, 64))
    return score


def test_by_hand():
    tokens = PIANO.encode(two_chords())
    notes = [
        " ".join(f"Pitch_{pitch} Duration_{length} Velocity_66" for pitch in pitches)
        for length, pitches in ((48, (72, 64, 55, 48)), (36, (77, 69, 60, 53)))
    ]
    assert names_of(PIANO, tokens) == (
        f"BOS Bar Metre_4/4 Tempo_120.0 Position_0 Chord_C {notes[0]} "
        f"Bar Metre_3/4 Tempo_120.0 Position_0 Chord_F {notes[1]} EOS"
    )
    assert tokens.bars.tolist() == [0] * 18 + [1] * 18
    assert tokens.positions.tolist() == [0] * 4 + [1] * 14 + [0] * 3 + [1] * 14 + [0]
    assert tokens.attributes.tolist() == [[round(1000 / 16), 4000], [round(1000 / 12), 4000]]
    assert tokens.attributes.dtype == np.int16
    assert (tokens.meta["key"], tokens.meta["transposition"], tokens.meta["metre"]) == ("F major", 0, "4/4")
    decoded = PIANO.decode(tokens)
    assert [(t.name, t.program, t.is_drum) for t in decoded.tracks] == [("piano", 0, False)]
    assert [(m.time, m.text) for m in decoded.markers] == [(0, "C"), (48, "F")]


def test_tracks_become_one_piano_and_that_is_said():
    tokens = PIANO.encode(make_song(seed=1))
    assert tokens.meta["merged"] == (
        "Flute, fingered bass, acoustic grand piano became one piano part; 64 drum notes left out."
    )
    decoded = PIANO.decode(tokens)
    again = PIANO.encode(decoded)
    assert "merged" not in again.meta
    assert again.ids.tolist() == tokens.ids.tolist()


def test_drums_alone_are_no_song():
    with pytest.raises(MusicError, match="no notes that 'musemorphose' can hold"):
        PIANO.encode(make_score((0, 480, 36, 64), is_drum=True))


def test_attributes_are_those_of_the_decoded_score():
    tokens = PIANO.encode(make_song(seed=2))
    found = bar_attributes(PIANO.decode(tokens))
    expected = np.stack([found["rhythmic_intensity"], found["polyphony"]], axis=1)
    np.testing.assert_allclose(tokens.attributes / 1000, expected, atol=0.0005)


# ---- there and back --------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(scores(metres=True))
def test_round_trip(score: Score):
    if all(track.is_drum for track in score.tracks):
        score.tracks[0].is_drum = False
    tokens = PIANO.encode(score)
    decoded = PIANO.decode(tokens)
    assert decoded == PIANO.normalise(score)
    assert [(m.time, m.text) for m in decoded.markers] == [(m.time, m.text) for m in PIANO.normalise(score).markers]
    assert len(tokens.attributes) == tokens.bars[-1] + 1
    again = PIANO.encode(decoded)
    assert again.ids.tolist() == tokens.ids.tolist()
    assert again.attributes.tolist() == tokens.attributes.tolist()


@st.composite
def sequences(draw: st.DrawFn) -> str:
    """A well-formed song, whose last bar sounds and is not cut."""
    names, chord = ["BOS"], ""
    count = draw(st.integers(1, 5))
    for bar in range(count):
        last = bar == count - 1
        numerator, unit = draw(st.sampled_from([m for m in all_metres() if not last or m[1] <= 16]))
        tempo = draw(st.sampled_from(VOCABULARY.labels("Tempo")))
        names += ["Bar", f"Metre_{numerator}/{unit}", f"Tempo_{tempo}"]
        length, beat = max(1, 48 * numerator // unit), 18 if unit == 8 and numerator % 3 == 0 else 12
        places = sorted(draw(st.sets(st.integers(0, length - 1), min_size=last, max_size=4)))
        for i, position in enumerate(places):
            names.append(f"Position_{position}")
            choices = [label for label in VOCABULARY.labels("Chord") if label != chord]
            with_chord = position % beat == 0 and draw(st.booleans())
            if with_chord:
                chord = draw(st.sampled_from(choices))
                names.append(f"Chord_{chord}")
            least = 0 if with_chord and not (last and i == 0) else 1
            for pitch in sorted(draw(st.sets(st.integers(0, 127), min_size=least, max_size=3)), reverse=True):
                names.append(f"Pitch_{pitch}")
                names.append(f"Duration_{draw(st.sampled_from(VOCABULARY.labels('Duration')))}")
                names.append(f"Velocity_{draw(st.sampled_from(VOCABULARY.labels('Velocity')))}")
    return " ".join([*names, "EOS"])


@settings(max_examples=60, deadline=None)
@given(sequences())
def test_every_well_formed_song_is_music(names: str):
    """What a model may write is a Score that says the same: its notes, bars and tempos encode to the same tokens, but
    for the chords, which are its markers."""
    score = PIANO.decode(make_tokens(PIANO, names))
    said = names.split()
    assert [marker.text for marker in score.markers] == [name[6:] for name in said if name.startswith("Chord_")]
    again = names_of(PIANO, PIANO.encode(score)).split()
    kept = ("Bar", "Metre", "Tempo", "Pitch", "Duration", "Velocity")
    assert [n for n in again if n.startswith(kept)] == [n for n in said if n.startswith(kept)]


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ("Position_0", "EOS.* out of place"),
        (f"Position_6 Chord_C {NOTE}", "Chord_C.* does not stand at a beat"),
        (f"Position_0 Chord_C {NOTE} Position_12 Chord_C", "Chord_C.* is the chord that sounds already"),
        (f"Position_0 {NOTE} Chord_C", "Chord_C.* out of place"),
        (f"Position_0 {NOTE} {NOTE}", "Pitch_60.* is not lower"),
    ],
)
def test_ill_formed_tokens_are_refused(events: str, message: str):
    with pytest.raises(MusicError, match=message):
        PIANO.decode(make_tokens(PIANO, f"BOS Bar Metre_4/4 Tempo_120.0 {events} EOS"))


@pytest.mark.parametrize(("corpus_name", "count"), [("pop909", 6), ("pop909_cl", 6), ("open_multitrack", 4)])
def test_real_music_round_trip(corpus, corpus_name: str, count: int):
    for path in corpus(corpus_name, count):
        score = read(path)
        assert PIANO.decode(PIANO.encode(score)) == PIANO.normalise(score)


# ---- beats -----------------------------------------------------------------------------------------------------------


def test_beats_of_every_metre():
    """4/4, 6/8, 7/8 and 3/8 in a row: 4, 2, 4 (the last one short) and 1 beats."""
    score = make_score((8000, 480, 60, 64), metres=[(0, 4, 4), (1920, 6, 8), (1920 + 1440, 7, 8), (5040, 3, 8)])
    places, nth = beats(lay(score))
    assert places[:12].tolist() == [0, 12, 24, 36, 48, 66, 84, 96, 108, 120, 126, 144]
    assert nth[:12].tolist() == [0, 1, 2, 3, 0, 1, 0, 1, 2, 3, 0, 0]


# ---- transposition ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("semitones", [-12, -1, 0, 5, 13])
def test_transposed_tokens_are_the_transposed_song(semitones: int):
    score = make_song(seed=3)
    tokens = PIANO.encode(score)
    low, high = transposable(VOCABULARY, tokens.ids)
    assert low <= semitones <= high
    moved = replace(tokens, ids=transpose(VOCABULARY, tokens.ids, semitones))
    expected = PIANO.decode(tokens).tracks[0].notes
    found = PIANO.decode(moved).tracks[0].notes
    assert [n.pitch for n in found] == [n.pitch + semitones for n in expected]
    said = [chords.LABELS.index(m.text) for m in PIANO.decode(tokens).markers]
    now = [chords.LABELS.index(m.text) for m in PIANO.decode(moved).markers]
    assert now == chords.transposed(np.array(said), semitones).tolist()
    assert transpose(VOCABULARY, moved.ids, -semitones).tolist() == tokens.ids.tolist()


def test_a_shift_that_leaves_the_keys_is_refused():
    ids = PIANO.encode(make_score((0, 480, 3, 64), (0, 480, 120, 64))).ids
    assert transposable(VOCABULARY, ids) == (-3, 7)
    with pytest.raises(MusicError, match=r"by -3 to \+7 semitones, not by \+8"):
        transpose(VOCABULARY, ids, 8)


def test_a_track_of_its_own():
    """Only notes decide the keys that a song can take: a chord goes round."""
    tokens = make_tokens(PIANO, f"BOS Bar Metre_4/4 Tempo_120.0 Position_0 Chord_N Position_12 Chord_B {NOTE} EOS")
    moved = make_tokens(PIANO, f"BOS Bar Metre_4/4 Tempo_120.0 Position_0 Chord_N Position_12 Chord_C {NOTE} EOS")
    expected = moved.ids.copy()
    expected[expected == VOCABULARY.id("Pitch", 60)] += 1
    assert transpose(VOCABULARY, tokens.ids, 1).tolist() == expected.tolist()


def test_an_empty_track_is_nothing():
    score = two_chords()
    score.tracks.append(Track("empty", 40, False))
    assert "merged" not in PIANO.encode(score).meta
