"""Piano rolls: Score ⇄ Roll, held against the obvious form note by note."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from symusic.core import NoteTick, TempoTick, TimeSignatureTick, TrackTick

from ritornello.errors import MusicError
from ritornello.music.bars import bars
from ritornello.music.score import Score
from ritornello.representations import build
from ritornello.representations.base import HELD, ONSET, SILENT, Roll
from ritornello.representations.pianoroll import VOICES

chorale, pianoroll = build("chorale"), build("pianoroll")


def make_score(tracks: dict[str, list[tuple[int, int, int]]], metres=((0, 4, 4),)) -> Score:
    """Tracks of (time, duration, pitch), 8 ticks a quarter."""
    score = Score(8)
    for metre in metres:
        score.time_signatures.append(TimeSignatureTick(*metre))
    for name, notes in tracks.items():
        track = TrackTick(name, 0, False)
        for time, duration, pitch in notes:
            track.notes.append(NoteTick(time, duration, pitch, 90))
        score.tracks.append(track)
    return score


notes = st.lists(
    st.tuples(st.integers(0, 200), st.integers(1, 40), st.integers(0, 127)), min_size=1, max_size=30, unique=True
)
metres = st.sampled_from([((0, 4, 4),), ((0, 3, 4),), ((0, 1, 4), (8, 4, 4)), ((0, 6, 8), (48, 5, 16)), ((0, 3, 8),)])


def sounding(score: Score, voices: bool) -> dict[tuple[str, int], set[tuple[int, int]]]:
    """By (voice, step) the (pitch, onset) that sounds: the obvious form, a step at a time, in exact arithmetic."""
    found: dict[tuple[str, int], set[tuple[int, int]]] = {}
    for track in score.tracks:
        kept: dict[tuple[int, int], int] = {}
        for note in track.notes:
            ticks = score.ticks_per_quarter // 4  # of a sixteenth: 2, or 1 where a roll was decoded
            begin, end = ((2 * t + ticks) // (2 * ticks) for t in (note.time, note.end))
            where = begin, note.pitch
            kept[where] = max(kept.get(where, 0), max(end, begin + 1))
        for step in range(max(kept.values())):
            latest: dict[int, int] = {}
            for begin, pitch in kept:
                if begin <= step:
                    latest[pitch if not voices else 0] = max(latest.get(pitch if not voices else 0, 0), begin)
            here = [(p, b) for (b, p), end in kept.items() if b <= step < end and latest[p if not voices else 0] == b]
            if voices and here:
                top = max(p for b, p in kept if b == here[0][1])
                here = [(p, b) for p, b in here if p == top]
            if here:
                found[track.name, step] = set(here)
    return found


@given(st.dictionaries(st.sampled_from(VOICES), notes, min_size=1, max_size=4), metres)
@settings(max_examples=60, deadline=None)
def test_voices_come_back_as_they_sounded(parts, changes):
    score = make_score(parts, changes)
    roll = chorale.encode(score)
    expected = sounding(score, voices=True)
    shift = min(step for _, step in expected) - first_step(roll)  # empty bars before the first note are left out
    assert shift in (bars(score).starts // 2).tolist()
    assert sounding(chorale.decode(roll), voices=True) == {
        (name, step - shift): {(p, b - shift) for p, b in here} for (name, step), here in expected.items()
    }


def first_step(roll: Roll) -> int:
    return int(np.flatnonzero(roll.cells.any(axis=(0, 2)))[0])


@given(notes, metres)
@settings(max_examples=60, deadline=None)
def test_piano_rolls_come_back_as_they_sounded(part, changes):
    score = make_score({"": part}, changes)
    roll = pianoroll.encode(score)
    expected = sounding(score, voices=False)
    shift = min(step for _, step in expected) - first_step(roll)
    assert sounding(pianoroll.decode(roll), voices=False) == {
        (name, step - shift): {(p, b - shift) for p, b in here} for (name, step), here in expected.items()
    }


@given(
    st.dictionaries(st.sampled_from(VOICES), notes, min_size=1, max_size=4),
    metres,
    st.sampled_from([chorale, pianoroll]),
)
@settings(max_examples=60, deadline=None)
def test_a_roll_decoded_is_encoded_again_as_itself(parts, changes, representation):
    roll = representation.encode(make_score(parts, changes))
    again = representation.encode(representation.decode(roll))
    np.testing.assert_array_equal(again.cells, roll.cells)
    np.testing.assert_array_equal(again.bars, roll.bars)
    assert again.meta["notes"] == roll.meta["notes"]


def test_every_step_is_a_rest_an_onset_or_held():
    score = make_score({"Soprano": [(0, 8, 72), (8, 8, 72), (24, 2, 74)], "Bass": [(0, 26, 48)]})
    cells = chorale.encode(score).cells
    assert cells.shape == (4, 13, 128)
    assert cells[0, :, 72].tolist() == [ONSET, HELD, HELD, HELD, ONSET, HELD, HELD, HELD, *[SILENT] * 5]
    assert cells[0, :, 74].tolist() == [*[SILENT] * 12, ONSET]
    assert cells[3, :, 48].tolist() == [ONSET, *[HELD] * 12]
    assert cells.astype(bool).sum() == 8 + 1 + 13


def test_a_pickup_is_a_short_bar_and_downbeats_are_real():
    line = [(4 * i, 4, 60 + i) for i in range(20)]  # eighths
    roll = chorale.encode(make_score({"Soprano": line}, metres=((0, 1, 4), (8, 3, 4))))
    assert np.bincount(roll.bars).tolist() == [4, 12, 12, 12]
    assert roll.meta["metre"] == "3/4"
    score = chorale.decode(roll)
    assert [(m.time, m.numerator, m.denominator) for m in score.time_signatures] == [(0, 1, 4), (4, 3, 4)]


def test_a_voice_sings_one_note_at_a_time():
    score = make_score({"Soprano": [(0, 32, 60), (8, 8, 64), (8, 4, 67)]})
    (track,) = chorale.normalise(score).tracks
    assert [(n.time, n.duration, n.pitch) for n in track.notes] == [(0, 4, 60), (4, 2, 67)]


def test_voices_without_names_are_told_by_their_height():
    score = make_score({f"part {p}": [(0, 8, p)] for p in (48, 72, 60, 66)})
    assert [t.notes[0].pitch for t in chorale.decode(chorale.encode(score)).tracks] == [72, 66, 60, 48]
    score = make_score({f"part {p}": [(0, 8, p)] for p in (48, 72, 60, 66, 50)})
    with pytest.raises(MusicError, match="5 parts"):
        chorale.encode(score)


def test_tempo_transposition_and_programs_come_back():
    score = make_score({"Bass": [(0, 8, 50)]})
    score.tempos.append(TempoTick(0, qpm=66))
    score.tracks[0].program = 43
    roll = chorale.encode(score)
    back = chorale.decode(Roll(np.roll(roll.cells, 3, axis=2), roll.bars, {**roll.meta, "transposition": 3}))
    assert back.tempos[0].qpm == pytest.approx(66)
    assert (back.tracks[0].name, back.tracks[0].program, back.tracks[0].notes[0].pitch) == ("Bass", 43, 50)


def test_drums_alone_are_no_roll():
    score = make_score({"Drums": [(0, 8, 36)]})
    score.tracks[0].is_drum = True
    with pytest.raises(MusicError, match="no notes"):
        pianoroll.encode(score)
