"""The numbers of a song, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from symusic.core import NoteTick, TempoTick, TrackTick

from ritornello.evaluate.texture import ranges, texture
from ritornello.music.score import Score
from tests.evaluate.songs import song


def test_figures_by_hand():
    score = song(melody="a-ac", drums="aa-a", bass="a--b")  # two notes a bar each
    score.tempos.append(TempoTick(0, qpm=60))
    figures = texture(score)
    assert figures["bars"] == 4
    assert figures["seconds"] == pytest.approx(16)
    assert figures["notes_per_bar"] == (6 + 2 + 2 + 6) / 4
    assert figures["density_spread"] == pytest.approx(2 / 4)
    assert figures["empty_bars"] == 0
    assert figures["bars_without_lead"] == 1 / 4
    assert figures["bars_without_drums"] == 1 / 4
    assert figures["instruments"] == 3
    assert figures["longest_note"] == 2
    assert figures["stuck_notes"] == 0
    assert figures["repeated_bars"] == 0  # melody and drums, drums, melody, all: four different bars


def test_ranges_by_instrument():
    score = song(melody="ac", drums="ab", bass="bd")
    assert ranges(score) == {
        "melody, lowest pitch": 60,
        "melody, highest pitch": 62,
        "bass, lowest pitch": 61,
        "bass, highest pitch": 63,
    }
    score.tracks[0].name = "Solo"  # a name of its own: General MIDI's name of the program
    assert set(ranges(score)) >= {"square lead, lowest pitch"}
    assert ranges(Score(12)) == {}


def test_empty_repeated_and_static_bars():
    figures = texture(song(melody="ab--aac"))
    assert figures["empty_bars"] == 2 / 7
    assert figures["repeated_bars"] == 2 / 5  # both later a's, of five bars with notes
    assert figures["static_bars"] == 1 / 4  # b, a, a, c: a follows a once; two empty bars are not the same again


def test_a_song_that_lost_its_lead_and_one_without_named_tracks():
    assert texture(song(bass="aa", drums="aa"))["bars_without_lead"] == 1
    score = song(melody="aa")
    score.tracks[0].name = "Violin I"
    assert np.isnan(texture(score)["bars_without_lead"])


def test_a_note_that_hangs():
    score = Score(480)
    track = TrackTick("piano", 0)
    track.notes.append(NoteTick(0, 480 * 30, 60, 80))
    track.notes.append(NoteTick(0, 480, 64, 80))
    score.tracks.append(track)
    figures = texture(score)
    assert figures["longest_note"] == 30
    assert figures["stuck_notes"] == 0.5


def test_drums_alone_have_no_harmony():
    figures = texture(song(drums="ab"))
    assert np.isnan(figures["longest_note"])
    assert np.isnan(figures["stuck_notes"])
    assert figures["bars_without_drums"] == 0
