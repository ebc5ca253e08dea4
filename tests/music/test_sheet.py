"""Sheets: what a page holds is the score, note for note."""

from __future__ import annotations

import pytest
from symusic.core import ControlChangeTick, KeySignatureTick, NoteTick, PitchBendTick, TempoTick, TrackTick

from ritornello.errors import MusicError
from ritornello.music.score import parse
from ritornello.music.sheet import Part, Sheet, read_form
from tests.songs import make_song


def test_a_score_comes_back_byte_for_byte():
    score = make_song(3, 5)
    score.tempos.append(TempoTick(1920, mspq=432_101))
    score.key_signatures.append(KeySignatureTick(0, -3, 1))
    score.tracks[0].controls.append(ControlChangeTick(100, 64, 127))
    score.tracks[0].pitch_bends.append(PitchBendTick(200, -700))
    midi = parse(score.dumps_midi()).dumps_midi()
    sheet = Sheet.of(parse(midi))
    assert sheet.score().dumps_midi() == midi
    assert read_form(Sheet, sheet.model_dump_json()) == sheet


def volume_of(*controls: tuple[int, int, int]) -> Part:
    score = make_song(0, 1)
    for control in controls:
        score.tracks[0].controls.append(ControlChangeTick(*control))
    return Sheet.of(parse(score.dumps_midi())).parts[0]


def test_a_plain_volume_is_the_parts_and_a_fade_stays_one():
    assert volume_of().volume == 100
    assert (volume_of((0, 7, 80)).volume, volume_of((0, 7, 80)).controls) == (80, [])
    fade = volume_of((0, 7, 80), (500, 7, 90))
    assert (fade.volume, fade.controls) == (100, [(0, 7, 80), (500, 7, 90)])


def test_a_volume_that_was_set_is_written():
    sheet = Sheet.of(make_song(0, 1))
    quiet = sheet.model_copy(update={"parts": [part.model_copy(update={"volume": 50}) for part in sheet.parts]})
    assert [part.volume for part in Sheet.of(quiet.score()).parts] == [50] * 4


def test_empty_tracks_are_left_out():
    score = make_song(0, 1)
    score.tracks.append(TrackTick("silence", 5, False))
    assert len(Sheet.of(score).parts) == 4


def test_what_no_file_may_hold_is_refused():
    crowd = [(0, 10, 60, 90)] * 300
    with pytest.raises(MusicError, match="the song"):
        Sheet(parts=[Part(notes=crowd)]).score()
    with pytest.raises(MusicError, match="no notes"):
        Sheet().score()


def test_notes_at_the_edges():
    score = Sheet(ticks=12, parts=[Part(notes=[(0, 1, 0, 1), (5, 1, 127, 127)])]).score()
    assert list(score.tracks[0].notes) == [NoteTick(0, 1, 0, 1), NoteTick(5, 1, 127, 127)]
