"""POP909-CL: annotations are no music, and say where bars begin."""

from __future__ import annotations

import numpy as np
import pytest
from symusic.core import NoteTick as Note
from symusic.core import TempoTick as Tempo
from symusic.core import TrackTick as Track

from ritornello.data.annotated import pop909_cl
from ritornello.data.corpora import SOURCES
from ritornello.errors import MusicError
from ritornello.music.score import Score


def annotated(first: int) -> Score:
    """A piano part from tick 480 on, and chords by the bar from `first` on, one of them of half a bar in its middle."""
    score = Score(480)
    score.tempos.append(Tempo(0, qpm=90))
    piano, chords = Track("piano", 0), Track("MIDI 01", 0)
    for beat in range(1, 20):
        piano.notes.append(Note(480 * beat, 480, 60, 64))
    for bar in range(4):
        for pitch in (48, 52, 55):
            chords.notes.append(Note(first + 1920 * bar, 1920 if bar else 960, pitch, 90))
    for pitch in (50, 53, 57):
        chords.notes.append(Note(first + 960, 960, pitch, 90))
    score.tracks.append(piano)
    score.tracks.append(chords)
    return score


@pytest.mark.parametrize(("first", "later"), [(0, 0), (1920, 0), (480, 1440), (1680, 240)])
def test_the_piano_alone_is_left_and_barred_by_its_chords(first: int, later: int):
    score = annotated(first)
    music = SOURCES["pop909_cl"].music
    assert music is not None
    found = music(score)
    assert [track.name for track in found.tracks] == ["piano"]
    np.testing.assert_array_equal(
        found.tracks[0].notes.numpy()["time"], score.tracks[0].notes.numpy()["time"] + np.int32(later)
    )
    assert found.tempos[0].qpm == pytest.approx(90)
    assert len(score.tracks) == 2


@pytest.mark.parametrize(("kept", "missing"), [(0, "chords"), (1, "the piano")])
def test_a_file_without_one_of_them_is_refused(kept: int, missing: str):
    score = annotated(0)
    del score.tracks[1 - kept]
    with pytest.raises(MusicError, match=f"no track of {missing}"):
        pop909_cl(score)
