"""Pitch and rhythm against MusPy 0.5.0 on the same MIDI files: its values, pinned, and MusPy itself where it is there.

No note of these songs ends on a beat or bar line, and the last one ends in the last quarter of the last bar: so the
two agree on what is empty too. `test_where_we_leave_muspy` shows what differs elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from pathlib import Path
from random import Random
from typing import Any

import pytest
from symusic.core import NoteTick, TrackTick

from ritornello.evaluate.pitch import (
    pitch_class_entropy,
    pitch_classes_used,
    pitch_entropy,
    pitch_in_scale_rate,
    pitch_range,
    pitches_used,
    polyphony,
    polyphony_rate,
    scale_consistency,
)
from ritornello.evaluate.rhythm import (
    drum_pattern_consistency,
    empty_beat_rate,
    empty_measure_rate,
    groove_consistency,
)
from ritornello.music.keys import Key
from ritornello.music.score import Score, read, write

QUARTER = 12

OURS = {
    "n_pitches_used": pitches_used,
    "n_pitch_classes_used": pitch_classes_used,
    "pitch_range": pitch_range,
    "pitch_entropy": pitch_entropy,
    "pitch_class_entropy": pitch_class_entropy,
    "scale_consistency": scale_consistency,
    "pitch_in_scale_rate(0, major)": lambda score: pitch_in_scale_rate(score, Key(0, "major")),
    "pitch_in_scale_rate(9, minor)": lambda score: pitch_in_scale_rate(score, Key(9, "minor")),
    "polyphony": polyphony,
    "polyphony_rate": lambda score: polyphony_rate(score, at_least=3),  # MusPy's threshold=2 means more than two
    "drum_pattern_consistency": drum_pattern_consistency,
    "empty_beat_rate": empty_beat_rate,
    "empty_measure_rate": empty_measure_rate,
    "groove_consistency": groove_consistency,
}


def made(seed: int, bars: int, busy: float) -> Score:
    """A song of random notes for three instruments and drums, doublings and overlaps among them, with empty bars."""
    chance = Random(seed).random  # the same numbers in every version of Python

    def one_of(choices: Sequence[int]) -> int:
        return choices[int(chance() * len(choices))]

    score = Score(QUARTER)
    for name, program, drum, low in (
        ("a", 0, False, 50),
        ("b", 48, False, 60),
        ("c", 33, False, 36),
        ("d", 0, True, 35),
    ):
        track = TrackTick(name, program, drum)
        for beat in range(4 * bars):
            if beat // 4 % 4 in (1, 2) or chance() > busy:
                continue
            start = beat * QUARTER + one_of((0, 3, 4, 6, 9))
            end = min(start + one_of(range(2, 30)), 48 * bars - 1)
            end -= end % QUARTER == 0
            track.notes.append(NoteTick(start, end - start, low + one_of((0, 2, 4, 5, 7, 9, 10, 12)), 80))
        track.notes.append(NoteTick(48 * bars - QUARTER, QUARTER - 1, low, 80))
        score.tracks.append(track)
    return score


SONGS = {"dense": (1, 12, 0.9), "sparse": (2, 20, 0.3), "short": (3, 5, 0.6)}
PINNED = {  # of MusPy 0.5.0, in the order of SONGS
    "n_pitches_used": (22.0, 17.0, 15.0),
    "n_pitch_classes_used": (9.0, 8.0, 9.0),
    "pitch_range": (36.0, 36.0, 36.0),
    "pitch_entropy": (4.3172011288, 3.9364626752, 3.7622673907),
    "pitch_class_entropy": (2.8708744214, 2.7411033852, 2.6744608685),
    "scale_consistency": (0.9411764706, 0.9756097561, 0.8695652174),
    "pitch_in_scale_rate(0, major)": (0.8823529412, 0.9756097561, 0.8695652174),
    "pitch_in_scale_rate(9, minor)": (0.8823529412, 0.9756097561, 0.8695652174),
    "polyphony": (3.2712418301, 1.5362318841, 2.1832061069),
    "polyphony_rate": (0.3808695652, 0.0427528676, 0.1757322176),
    "drum_pattern_consistency": (0.8421052632, 0.6363636364, 0.6),
    "empty_beat_rate": (0.3958333333, 0.45, 0.3),
    "empty_measure_rate": (0.25, 0.3, 0.2),
    "groove_consistency": (0.821969697, 0.9199561404, 0.859375),
}


@pytest.fixture(params=list(SONGS))
def song(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[int, Path]:
    """The place of a song in PINNED, and its MIDI file."""
    path = tmp_path / "song.mid"
    write(made(*SONGS[request.param]), path)
    return list(SONGS).index(request.param), path


def test_agrees_with_muspys_values(song: tuple[int, Path]):
    index, path = song
    score = read(path)
    assert {name: metric(score) for name, metric in OURS.items()} == pytest.approx(
        {name: values[index] for name, values in PINNED.items()}, abs=1e-9
    )


def test_the_pinned_values_are_muspys(song: tuple[int, Path]):
    muspy: Any = pytest.importorskip("muspy")
    index, path = song
    music = muspy.read_midi(path)
    scales = {"pitch_in_scale_rate(0, major)": (0, "major"), "pitch_in_scale_rate(9, minor)": (9, "minor")}
    bar = 4 * music.resolution
    for name, values in PINNED.items():
        if name in scales:
            value = muspy.pitch_in_scale_rate(music, *scales[name])
        elif name in ("empty_measure_rate", "groove_consistency"):
            value = getattr(muspy, name)(music, bar)
        else:
            value = getattr(muspy, name)(music)
        assert value == pytest.approx(values[index], abs=1e-9), name


def test_where_we_leave_muspy():
    """A bar of two half notes, an empty one, and the first again. In MusPy the notes also sound in the beat and the bar
    that they end at, and a last beat and bar follow: 3 of 13 beats are empty and no bar; and the range of drums alone
    is -127. Its groove consistency rises with the resolution: here 0.958 at 12 ticks a quarter, 0.999 at 480."""
    score = Score(QUARTER)
    score.tracks.append(TrackTick("a", 0, False))
    for start in (0, 24, 96, 120):
        score.tracks[0].notes.append(NoteTick(start, 24, 60, 80))
    assert empty_beat_rate(score) == 4 / 12
    assert empty_measure_rate(score) == 1 / 3
    score.tracks[0].is_drum = True
    assert isnan(pitch_range(score))
    assert groove_consistency(score) == pytest.approx(1 - 2 / 48)
    fine = score.resample(480)
    assert groove_consistency(fine) == groove_consistency(score)
