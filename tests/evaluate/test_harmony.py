"""Harmony of four voices, against chords and moves counted by hand."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from ritornello.evaluate.harmony import REST, figures, measure, table, voices
from ritornello.representations import build
from tests.rolls import make_chorale, make_roll

C = (72, 67, 64, 48)  # c e g c


def share(name: str, *frames: tuple[int, int, int, int]) -> float:
    count, of = measure(np.array(frames))[name]
    return count / of


@pytest.mark.parametrize(
    ("chord", "triad", "seventh"),
    [
        (C, True, False),
        ((72, 67, 63, 48), True, False),  # minor
        ((72, 66, 63, 48), True, False),  # diminished
        ((72, 68, 64, 48), True, False),  # augmented
        ((72, 67, 60, 48), False, False),  # no third
        ((71, 65, 62, 43), False, True),  # g b d f
        ((69, 66, 63, 48), False, True),  # fully diminished
        ((72, 65, 62, 48), False, False),  # c d f
    ],
)
def test_chords(chord, triad: bool, seventh: bool):
    assert share("full_triads", chord) == triad
    assert share("sevenths", chord) == seventh


def test_a_frame_with_a_rest_is_no_chord():
    assert measure(np.array([(72, 67, 64, REST)]))["full_triads"] == (0, 0)
    assert figures([np.array([(72, 67, 64, REST)])])["full_triads"]["value"] is None


def test_dissonant_pairs():
    assert share("dissonant_pairs", C) == 0
    assert share("dissonant_pairs", (71, 65, 62, 43)) == pytest.approx(2 / 6)  # the tritone b f, the seventh g f
    assert measure(np.array([(61, 60, REST, REST)]))["dissonant_pairs"] == (1, 1)


def test_spacing_crossing_and_range():
    assert share("crossings", C, (67, 72, 64, 48)) == 0.5
    assert share("wide", C, (79, 66, 64, 48), (76, 72, 57, 48)) == pytest.approx(2 / 3)
    assert share("wide", (72, 67, 64, 40)) == 0  # the bass may be far away
    assert share("out_of_range", C, (90, 67, 64, 20)) == 2 / 8


def test_motion():
    frames = [C, C, (74, 67, 64, 48), (79, 67, 64, REST)]
    assert share("held", *frames) == 9 / 12
    assert share("stepwise", *frames) == 0.5  # a tone, then a fourth; going silent is no move


@pytest.mark.parametrize(
    ("before", "after", "fifths", "octaves"),
    [
        ((67, 60), (69, 62), 1, 0),
        ((79, 60), (81, 62), 1, 0),  # a twelfth
        ((72, 60), (74, 62), 0, 1),
        ((67, 60), (55, 48), 1, 0),  # downwards, an octave
        ((67, 60), (67, 62), 0, 0),  # oblique
        ((67, 60), (62, 67), 0, 0),  # contrary
        ((67, 60), (68, 62), 0, 0),  # to a tritone
    ],
)
def test_parallels(before, after, fifths: int, octaves: int):
    found = measure(np.array([(*before, REST, REST), (*after, REST, REST)]))
    assert found["fifths"][0] == fifths
    assert found["octaves"][0] == octaves
    assert found["fifths"][1] == (before[0] != after[0] and before[1] != after[1])


def test_scale_share_is_of_the_best_key():
    assert share("scale", C, (73, 67, 64, 48)) == 7 / 8


def test_pieces_are_pooled_and_put_side_by_side():
    good, bad = np.array([C] * 3), np.array([(72, 67, 60, 48)])
    found = figures([good, bad])
    assert found["full_triads"]["value"] == 0.75
    assert found["pieces"] == 2
    low, high = found["full_triads"]["interval"]
    assert low <= 0.75 <= high
    _, columns, rows = table({"Bach": found, "ours": figures([bad])})
    assert columns == ["", "Bach", "ours"]
    assert next(row for row in rows if row[0] == "full triads")[2].startswith("0.000")


def test_voices_of_a_roll_are_those_of_its_score():
    roll = make_roll(3, bars=2)
    piece = voices(roll)
    for track, line in zip(make_chorale(3, bars=2).tracks, piece.T, strict=True):
        for note in track.notes:
            assert (line[note.time : note.end] == note.pitch).all()
    assert voices(build("chorale").encode(make_chorale(3, 2, voices=2)))[:, 2:].max() == REST
    with pytest.raises(ValueError, match="expected keys"):
        measure(piece[:, :3])


def test_the_published_figures_of_the_corpus_come_back():
    """Bach's training chorales, counted before by another program."""
    path = Path(os.environ.get("RITORNELLO_DATA", "../shared/data"), "jsb_chorales", "json", "Jsb16thSeparated.json")
    if not path.exists():
        pytest.skip(f"{path} is not on this machine")
    found = figures([np.array(piece, np.int64) for piece in json.loads(path.read_text())["train"]])
    expected = {
        "full_triads": 0.657, "sevenths": 0.167, "dissonant_pairs": 0.100, "crossings": 0.024, "wide": 0.013,
        "out_of_range": 0.0, "held": 0.780, "stepwise": 0.742, "fifths": 0.80, "octaves": 0.61, "scale": 0.937,
    }  # fmt: skip
    assert {name: found[name]["value"] for name in expected} == pytest.approx(expected, abs=0.005)
