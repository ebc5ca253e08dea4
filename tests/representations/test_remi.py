from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from symusic.core import NoteTick as Note
from symusic.core import TempoTick as Tempo
from symusic.core import TrackTick as Track

from ritornello.errors import MusicError
from ritornello.music.bars import bars, tempo_by_bar
from ritornello.music.score import Score, read
from ritornello.representations import build
from ritornello.representations.grid import lay
from ritornello.representations.remi import CONFIGS
from tests.representations.drawn import GENERAL, PAPER, SIX, make_score, make_tokens, names_of, scores, sequences
from tests.songs import make_song

# ---- by hand ---------------------------------------------------------------------------------------------------------


def two_bars() -> Score:
    """In C major: a melody, a chord held for a bar, a drum on the second beat; then a lone note a little late."""
    score = make_score((0, 240, 72, 100), (1920 + 485, 480, 79, 3))
    piano, drums = Track("piano", 0), Track("drums", 0, True)
    for pitch in (60, 64):
        piano.notes.append(Note(0, 1920, pitch, 70))
    drums.notes.append(Note(480, 1, 36, 127))
    for track in (piano, drums):
        score.tracks.append(track)
    return score


def test_two_bars_by_hand():
    tokens = SIX.encode(two_bars())
    assert names_of(SIX, tokens) == (
        "BOS Bar Tempo_120.0 "
        "Position_0 Instrument_melody Pitch_72 Duration_6 Velocity_100 "
        "Instrument_piano Pitch_64 Duration_48 Velocity_68 Pitch_60 Duration_48 Velocity_68 "
        "Position_12 Instrument_drums Drum_36 Duration_1 Velocity_124 "
        "Bar Tempo_120.0 Position_12 Instrument_melody Pitch_79 Duration_12 Velocity_4 EOS"
    )
    assert tokens.bars.tolist() == [0] * 20 + [1] * 8
    assert tokens.positions.tolist() == [0] * 3 + [1] * 12 + [13] * 5 + [0] * 2 + [13] * 5 + [0]
    assert (tokens.ids.dtype, tokens.bars.dtype, tokens.positions.dtype) == (np.int16, np.int32, np.int16)
    assert tokens.attributes.shape == (2, 0)
    assert tokens.meta == {
        **{"representation": "museformer", "transposition": 0, "key": "C major", "metre": "4/4", "tempo": 120.0},
        **{"bars": 2, "leading_bars": 0, "notes": 5, "duplicates": 0, "tempo_clipped": 0},
    }


def test_two_bars_decoded_by_hand():
    score = SIX.decode(SIX.encode(two_bars()))
    assert score.ticks_per_quarter == 12
    assert [(t.name, t.program, t.is_drum) for t in score.tracks] == [
        *(("melody", 80, False), ("drums", 0, True), ("piano", 0, False))
    ]
    notes = [[(n.time, n.duration, n.pitch, n.velocity) for n in track.notes] for track in score.tracks]
    assert notes == [
        [(0, 6, 72, 100), (60, 12, 79, 4)],
        [(12, 1, 36, 124)],
        [(0, 48, 60, 68), (0, 48, 64, 68)],
    ]
    assert [(t.time, t.qpm) for t in score.tempos] == [(0, 120.0)]
    assert [(t.time, t.numerator, t.denominator) for t in score.time_signatures] == [(0, 4, 4)]


def test_general_mode_keeps_programs_metres_and_leading_bars():
    score = make_score((1440 * 2, 720, 60, 64), program=73, metres=[(0, 3, 4), (1440 * 2, 7, 8)])
    tokens = GENERAL.encode(score)
    assert names_of(GENERAL, tokens) == (
        "BOS Bar Metre_3/4 Tempo_120.0 Bar Metre_3/4 Tempo_120.0 Bar Metre_7/8 Tempo_120.0 "
        "Position_0 Instrument_73 Pitch_60 Duration_18 Velocity_66 EOS"
    )
    assert (tokens.meta["transposition"], tokens.meta["metre"], tokens.meta["bars"]) == (0, "3/4", 3)


# ---- what is rounded -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tick", "step"), [(19, 0), (20, 1), (59, 1), (60, 2), (1900, 48)])
def test_onsets_go_to_the_nearest_step_half_up(tick: int, step: int):
    decoded = GENERAL.decode(GENERAL.encode(make_score((tick, 40, 60, 64))))
    assert decoded.tracks[0].notes[0].time == step


@pytest.mark.parametrize(
    ("name", "steps", "kept"),
    [
        *(("museformer", *pair) for pair in ((0, 1), (13, 14), (17, 18), (25, 24), (119, 96), (120, 144), (999, 192))),
        *(("museformer-paper", *pair) for pair in ((13, 14), (49, 48), (50, 52), (192, 192), (9999, 2944))),
        *(("remi", *pair) for pair in ((95, 95), (97, 96), (98, 100), (9999, 1536))),
    ],
)
def test_durations_go_to_the_nearest_that_can_be_said(name: str, steps: int, kept: int):
    representation = build(name)
    decoded = representation.decode(representation.encode(make_score((0, steps * 40, 60, 64))))
    assert decoded.tracks[0].notes[0].duration == kept


def test_a_duration_is_rounded_once():
    """12.6 steps are nearer to 12 than to 14, though rounded to 13 first they would go to 14."""
    decoded = SIX.decode(SIX.encode(make_score((0, 504, 60, 64))))
    assert decoded.tracks[0].notes[0].duration == 12


@pytest.mark.parametrize("name", CONFIGS)
def test_whole_notes_and_common_values_are_exact(name: str):
    durations = build(name).vocabulary.labels("Duration")
    assert {1, 2, 3, 4, 6, 8, 9, 12, 18, 24, 36, 48, 72, 96, 192} <= set(durations)
    assert list(durations) == sorted(set(durations))


def test_notes_that_fall_together_become_the_longest_and_loudest():
    score = make_score((0, 480, 60, 30), (5, 240, 60, 100), (0, 240, 61, 64))
    tokens = GENERAL.encode(score)
    decoded = GENERAL.decode(tokens)
    assert [(n.pitch, n.duration, n.velocity) for n in decoded.tracks[0].notes] == [(61, 6, 66), (60, 12, 102)]
    assert tokens.meta["duplicates"] == 1
    assert decoded == GENERAL.normalise(score)


@given(st.floats(15, 480))
def test_a_tempo_is_at_most_half_a_percent_off(tempo: float):
    decoded = SIX.decode(SIX.encode(make_score((0, 480, 60, 64), tempo=tempo)))
    assert abs(decoded.tempos[0].qpm / tempo - 1) < 0.005


def test_the_tempo_of_a_bar_is_its_true_mean():
    """Half a bar at 60 and half at 120 take 3 seconds: 80 quarters a minute."""
    score = make_score((0, 480, 60, 64), tempo=60)
    score.tempos.append(Tempo(960, qpm=120))
    assert GENERAL.encode(score).meta["tempo"] == 80.0


def test_tempos_out_of_range_are_clipped_and_counted():
    tokens = SIX.encode(make_score((0, 480, 60, 64), tempo=900))
    assert SIX.decode(tokens).tempos[0].qpm == 480
    assert tokens.meta["tempo_clipped"] == 1
    assert tokens.meta["tempo"] == pytest.approx(900, abs=0.01)


# ---- key, bars and metres --------------------------------------------------------------------------------------------


def in_key(tonic: int) -> Score:
    degrees = (0, 2, 4, 5, 7, 9, 11, 12, 7, 4, 0)
    return make_score(*((i * 480, 480, tonic + degree, 64) for i, degree in enumerate(degrees)))


@pytest.mark.parametrize("tonic", range(60, 72))
def test_six_instruments_are_in_c_and_come_back(tonic: int):
    tokens = SIX.encode(in_key(tonic))
    shift = tokens.meta["transposition"]
    assert -6 <= shift <= 5
    assert (tonic + shift) % 12 == 0
    assert SIX.vocabulary.name(tokens.ids[5]) == f"Pitch_{tonic + shift}"
    assert SIX.decode(tokens).tracks[0].notes[0].pitch == tonic
    assert GENERAL.encode(in_key(tonic)).meta["transposition"] == 0


def test_a_shift_that_leaves_the_keys_takes_another_octave():
    low = in_key(2)  # D major from the third lowest key on: down 2 fits
    assert SIX.encode(low).meta["transposition"] == -2
    high = in_key(115)  # G major up to the highest key: up 5 does not fit, down 7 does
    assert SIX.encode(high).meta["transposition"] == -7
    assert SIX.decode(SIX.encode(high)) == SIX.normalise(high)


def test_generated_keys_outside_0_to_127_come_back_by_octaves():
    names = "BOS Bar Tempo_120.0 Position_0 Instrument_melody Pitch_127 Duration_1 Velocity_100 EOS"
    tokens = replace(make_tokens(SIX, names), meta={"transposition": -5})
    assert SIX.decode(tokens).tracks[0].notes[0].pitch == 120


def test_six_instruments_leave_out_empty_bars_at_both_ends():
    score = make_score((3840, 480, 60, 64), (7680, 480, 60, 64))
    tokens = SIX.encode(score)
    assert (tokens.meta["leading_bars"], tokens.meta["bars"]) == (2, 3)
    assert [n.time for n in SIX.decode(tokens).tracks[0].notes] == [0, 96]


@pytest.mark.parametrize(
    ("metres", "message"),
    [
        ([(0, 3, 4)], "Bar 1 is in 3/4, and 'museformer' holds 4/4 only; use a general model"),
        ([(0, 4, 4), (1920, 6, 8)], "Bar 2 is in 6/8"),
        ([(0, 4, 4), (1000, 3, 4), (1000 + 40, 4, 4)], "Bar 1 is cut short to 2.08 quarters"),
    ],
)
def test_six_instruments_refuse_other_metres(metres, message: str):
    score = make_score((0, 480, 60, 64), (4000, 480, 60, 64), metres=metres)
    for work in (SIX.encode, SIX.normalise):
        with pytest.raises(MusicError, match=message):
            work(score)


def test_two_halves_are_as_long_as_four_quarters():
    score = make_score((0, 480, 60, 64), metres=[(0, 2, 2)])
    decoded = SIX.decode(SIX.encode(score))
    assert decoded.time_signatures[0].numerator == 4
    assert decoded == SIX.normalise(score)


@pytest.mark.parametrize("representation", [SIX, GENERAL])
@pytest.mark.parametrize("score", [Score(480), make_score()])
def test_no_notes_no_song(representation, score: Score):
    with pytest.raises(MusicError, match="has no notes"):
        representation.encode(score)


def metre_names(score: Score) -> list[str]:
    tokens = GENERAL.encode(score)
    assert GENERAL.decode(tokens) == GENERAL.normalise(score)
    return [name[6:] for name in names_of(GENERAL, tokens).split() if name.startswith("Metre")]


def test_cut_bars_are_named_by_their_length():
    metres = [(0, 4, 4), (960, 3, 4), (960 + 280, 5, 4)]
    assert metre_names(make_score((960 + 280, 480, 60, 64), metres=metres)) == ["2/4", "7/48", "5/4"]


def test_bars_of_broken_length_keep_their_metre():
    score = make_score((180 * 3, 60, 60, 64), metres=[(0, 3, 32)])
    assert metre_names(score) == ["3/32"] * 4
    assert bars(GENERAL.decode(GENERAL.encode(score))).starts.tolist() == [0, 5, 9, 14, 18]


def test_long_bars_are_split_alike():
    score = make_score((480 * 20, 480, 60, 64), metres=[(0, 17, 4)])
    assert metre_names(score) == ["8/4", "9/4", "8/4"]


# ---- there and back --------------------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(scores(metres=True))
def test_general_round_trip(score: Score):
    tokens = GENERAL.encode(score)
    decoded, kept = GENERAL.decode(tokens), GENERAL.normalise(score)
    assert decoded == kept
    assert bars(decoded).starts.tolist() == lay(score).starts.tolist()
    again = GENERAL.encode(decoded)
    assert again.ids.tolist() == tokens.ids.tolist()
    assert again.meta["duplicates"] == 0


@settings(max_examples=30, deadline=None)
@given(scores(metres=False), st.sampled_from([SIX, PAPER]))
def test_six_round_trip(score: Score, representation):
    for track in score.tracks:
        track.program %= 40  # of which every one has a place among the six
    tokens = representation.encode(score)
    decoded = representation.decode(tokens)
    assert decoded == representation.normalise(score)
    assert representation.decode(representation.encode(decoded)) == decoded


@settings(max_examples=40, deadline=None)
@given(scores(metres=True))
def test_nothing_is_further_off_than_rounding(score: Score):
    decoded = GENERAL.decode(GENERAL.encode(score))
    kept = {
        (track.is_drum or track.program, note.pitch, note.time): note
        for track in decoded.tracks
        for note in track.notes
    }
    for track in score.tracks:
        for note in track.notes:
            onset = note.time * 12 / score.ticks_per_quarter
            found = [kept.get((track.is_drum or track.program, note.pitch, int(onset) + i)) for i in (0, 1)]
            near = [other for other in found if other and abs(other.time - onset) <= 0.5]
            assert near
            duration = min(note.duration * 12 / score.ticks_per_quarter, 1536)
            assert any(n.duration >= 0.9 * duration - 0.5 and n.velocity >= note.velocity - 2 for n in near)
    grid, kept_grid = bars(score), bars(decoded)
    true, said = tempo_by_bar(score, grid), tempo_by_bar(decoded, kept_grid)
    # A bar that is cut, or no whole number of ticks, is another stretch of a tempo that changes in it
    same = kept_grid.starts[1] * score.ticks_per_quarter == grid.starts[1] * decoded.ticks_per_quarter
    if len(true) == len(said) == 1 and same and 15 <= true[0] <= 480:
        assert abs(said[0] / true[0] - 1) < 0.005


@settings(max_examples=60, deadline=None)
@given(sequences())
def test_every_well_formed_song_is_music(names: str):
    """What a model may write is a Score that says the same."""
    tokens = GENERAL.encode(GENERAL.decode(make_tokens(GENERAL, names)))
    assert names_of(GENERAL, tokens) == names


# ---- drafts and damage -----------------------------------------------------------------------------------------------

NOTE = "Position_0 Instrument_melody Pitch_60 Duration_1 Velocity_100"


@pytest.mark.parametrize(
    ("names", "notes"),
    [
        (f"BOS Bar Tempo_120.0 {NOTE}", 1),  # a draft
        (f"Bar Tempo_120.0 {NOTE} EOS", 1),  # a part of a song
        (f"BOS Bar Tempo_120.0 {NOTE} EOS PAD PAD", 1),
        ("BOS Bar Tempo_120.0 Bar Tempo_120.0 EOS", 0),
    ],
)
def test_drafts_and_parts_are_decoded(names: str, notes: int):
    assert SIX.decode(make_tokens(SIX, names)).note_num() == notes


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("", "no bar"),
        ("BOS EOS PAD", "no bar"),
        ("BOS Tempo_120.0 EOS", r"Token 0 of the bars .* Tempo_120.0\) is out of place"),
        ("BOS Bar EOS", "EOS.* out of place"),
        ("BOS Bar Tempo_120.0 Position_0", "EOS.* out of place"),
        (f"BOS Bar Tempo_120.0 EOS Bar Tempo_120.0 {NOTE}", r"Token 3 .* out of place"),
        (f"BOS Bar Tempo_120.0 PAD {NOTE}", "PAD.* out of place"),
        (f"BOS Bar Tempo_120.0 {NOTE} Duration_1", "Duration_1.* out of place"),
        (f"BOS Bar Tempo_120.0 {NOTE} {NOTE}", "Position_0.* does not come after"),
        (f"BOS Bar Tempo_120.0 {NOTE} Instrument_melody Pitch_3 Duration_1 Velocity_4", "is not after the instrument"),
        (f"BOS Bar Tempo_120.0 {NOTE} Pitch_60 Duration_1 Velocity_4", "Pitch_60.* is not lower"),
        (f"BOS Bar Tempo_120.0 {NOTE} Drum_60 Duration_1 Velocity_4", "Drum_60.* is not what its instrument plays"),
        (
            "BOS Bar Tempo_120.0 Position_0 Instrument_drums Pitch_60 Duration_1 Velocity_4",
            "is not what its instrument",
        ),
    ],
)
def test_ill_formed_tokens_are_refused(names: str, message: str):
    with pytest.raises(MusicError, match=message):
        SIX.decode(make_tokens(SIX, names))


def test_a_position_outside_its_bar_is_refused():
    note = "Instrument_5 Pitch_60 Duration_1 Velocity_66"
    with pytest.raises(MusicError, match=r"Position_36.* outside its bar"):
        GENERAL.decode(make_tokens(GENERAL, f"BOS Bar Metre_3/4 Tempo_120.0 Position_36 {note} EOS"))
    with pytest.raises(MusicError, match=r"Tempo_120.0.* out of place"):
        GENERAL.decode(make_tokens(GENERAL, f"BOS Bar Tempo_120.0 Position_0 {note} EOS"))


@pytest.mark.parametrize("id", [-1, 723, 30_000])
def test_ids_outside_the_vocabulary_are_refused(id: int):
    tokens = make_tokens(SIX, f"BOS Bar Tempo_120.0 {NOTE} EOS")
    ids = np.where(np.arange(len(tokens)) == 5, id, tokens.ids)
    with pytest.raises(MusicError, match="is not in the vocabulary"):
        SIX.decode(replace(tokens, ids=ids))


# ---- songs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONFIGS)
def test_a_song_of_many_tracks(name: str):
    representation, score = build(name), make_song(seed=1)
    tokens = representation.encode(score)
    assert representation.decode(tokens) == representation.normalise(score)
    assert json.loads(json.dumps(tokens.meta)) == tokens.meta
    assert tokens.meta["bars"] == len(tokens.attributes) == tokens.bars[-1] + 1 == 16
    pitched = sum(len(track.notes) for track in score.tracks if not track.is_drum)
    assert tokens.meta["notes"] == (pitched if name == "musemorphose" else score.note_num())


def test_merging_says_what_it_did_and_is_done_once():
    tokens = SIX.encode(make_song(seed=1))
    decoded = SIX.decode(tokens)
    assert {"merged", "melody_confidence"} <= tokens.meta.keys()
    again = SIX.encode(decoded)
    assert not {"merged", "melody_confidence"} & again.meta.keys()
    assert [t.name for t in decoded.tracks] == ["melody", "drums", "bass", "piano"]
    assert again.ids.tolist() == tokens.ids.tolist()


def test_an_unknown_representation_is_named():
    with pytest.raises(MusicError, match="'museform'; choose from museformer, museformer-paper, musemorphose, remi"):
        build("museform")


@pytest.mark.parametrize(
    ("name", "corpus_name", "count"),
    [("remi", "open_multitrack", 8), ("remi", "jsb_chorales", 8), ("museformer", "pop909", 4)],
)
def test_real_music_round_trip(corpus, name: str, corpus_name: str, count: int):
    representation = build(name)
    for path in corpus(corpus_name, count):
        score = read(path)
        if name == "museformer":
            score.time_signatures.clear()
        assert representation.decode(representation.encode(score)) == representation.normalise(score)
