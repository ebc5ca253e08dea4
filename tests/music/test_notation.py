"""MusicXML: what is written adds up, and is what was played."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from symusic.core import NoteTick, TempoTick, TimeSignatureTick, TrackTick

from ritornello.music.notation import QUARTER, musicxml
from ritornello.music.score import Score
from tests.songs import make_song

Q = 480


def score_of(*notes: tuple[float, float, int], metre: tuple[int, int] = (4, 4), drums: bool = False) -> Score:
    """Onset and length in quarters, pitch."""
    score = Score(Q)
    score.time_signatures.append(TimeSignatureTick(0, *metre))
    score.tempos.append(TempoTick(0, qpm=100))
    track = TrackTick("", 0, drums)
    for onset, length, pitch in notes:
        track.notes.append(NoteTick(round(onset * Q), max(round(length * Q), 1), pitch, 90))
    score.tracks.append(track)
    score.sort(inplace=True)
    return score


def measures(score: Score) -> list[list[ET.Element]]:
    """The measures of each part."""
    return [part.findall("measure") for part in ET.fromstring(musicxml(score)).findall("part")]


def read(measure: ET.Element) -> list[tuple[int, int, str]]:
    """(onset, duration, what) of each note of a measure with one voice: what is a pitch's name, or "rest"."""
    at, found = 0, []
    for note in measure.findall("note"):
        length = int(note.findtext("duration", ""))
        if note.find("chord") is not None:
            at -= length
        step, alter = note.findtext("pitch/step"), int(note.findtext("pitch/alter", "0"))
        name = f"{step}{'#' * alter}{'b' * -alter}{note.findtext('pitch/octave')}" if step else "rest"
        found.append((at, length, name))
        at += length
    return found


def notes_of(*notes: tuple[float, float, int], **settings) -> list[tuple[int, int, str]]:
    (part,) = measures(score_of(*notes, **settings))
    return read(part[0])


def test_quarters_are_quarters():
    scale = [(0, 12, "C4"), (12, 12, "E4"), (24, 12, "G4"), (36, 12, "C5")]
    assert notes_of(*[(beat, 0.95, pitch) for beat, pitch in enumerate([60, 64, 67, 72])]) == scale


def test_a_short_gap_is_no_rest_and_a_long_one_is():
    assert notes_of((0, 0.7, 60), (1, 3, 62)) == [(0, 12, "C4"), (12, 36, "D4")]
    assert notes_of((0, 0.3, 60), (1, 3, 62)) == [(0, 3, "C4"), (3, 9, "rest"), (12, 36, "D4")]
    assert notes_of((0, 1, 60), (2, 2, 62)) == [(0, 12, "C4"), (12, 12, "rest"), (24, 24, "D4")]


def test_what_begins_together_is_a_chord():
    assert notes_of((0, 4, 60), (0, 4, 64), (0, 4, 67)) == [(0, 48, "C4"), (0, 48, "E4"), (0, 48, "G4")]


def test_triplets_are_told_from_sixteenths():
    thirds = notes_of(*[(i / 3, 0.33, 60) for i in range(3)], (1, 3, 62))
    assert [length for _, length, _ in thirds] == [4, 4, 4, 36]
    (part,) = measures(score_of(*[(i / 3, 0.33, 60) for i in range(3)], (1, 3, 62)))
    assert [n.findtext("time-modification/actual-notes") for n in part[0].findall("note")] == ["3", "3", "3", None]
    assert [t.get("type") for t in part[0].iter("tuplet")] == ["start", "stop"]
    fourths = notes_of(*[(i / 4, 0.25, 60) for i in range(4)], (1, 3, 62))
    assert [length for _, length, _ in fourths] == [3, 3, 3, 3, 36]


def test_a_note_over_a_bar_line_is_tied():
    (part,) = measures(score_of((3, 3, 60)))
    assert read(part[0])[-1] == (36, 12, "C4")
    assert read(part[1])[0] == (0, 24, "C4")
    assert [tie.get("type") for tie in part[0].iter("tie")] == ["start"]
    assert [tie.get("type") for tie in part[1].iter("tie")] == ["stop"]


def test_beams_hold_beats_together():
    (part,) = measures(score_of(*[(i / 2, 0.5, 60) for i in range(8)]))
    assert [beam.text for beam in part[0].iter("beam")] == ["begin", "end"] * 4
    (part,) = measures(score_of((0, 0.75, 60), (0.75, 0.25, 62), (1, 3, 60)))
    assert [(beam.get("number"), beam.text) for beam in part[0].iter("beam")] == [
        ("1", "begin"),
        ("1", "end"),
        ("2", "backward hook"),
    ]


def test_names_follow_the_key():
    flat = [(beat, 1, pitch) for beat, pitch in enumerate([65, 69, 72, 70, 65, 69, 70, 65])]
    assert [name for *_, name in notes_of(*flat)] == ["F4", "A4", "C5", "Bb4"]
    sharp = [(beat, 1, pitch) for beat, pitch in enumerate([62, 66, 69, 73, 62, 66, 69, 62])]
    assert [name for *_, name in notes_of(*sharp)] == ["D4", "F#4", "A4", "C#5"]


def test_a_wide_part_has_two_staves():
    (part,) = measures(score_of((0, 4, 40), (0, 2, 76), (2, 2, 79)))
    assert part[0].findtext("attributes/staves") == "2"
    assert {note.findtext("staff") for note in part[0].findall("note")} == {"1", "2"}


def test_drums_stand_where_drummers_look_for_them():
    (part,) = measures(score_of((0, 0.1, 36), (0, 0.1, 42), (1, 0.1, 38), drums=True))
    heads = [(n.findtext("unpitched/display-step"), n.findtext("notehead")) for n in part[0].findall("note")][:3]
    assert heads == [("F", None), ("G", "x"), ("C", None)]
    assert part[0].findtext("attributes/clef/sign") == "percussion"


def test_a_tempo_is_shown_once():
    (part,) = measures(score_of(*[(beat, 1, 60) for beat in range(12)]))
    assert [mark.text for measure in part for mark in measure.iter("per-minute")] == ["100"]


def test_names_are_escaped():
    score = score_of((0, 1, 60))
    score.tracks[0].name = "<b>&"
    assert ET.fromstring(musicxml(score, "a < b")).findtext("part-list/score-part/part-name") == "<b>&"


def check_sums(score: Score) -> None:
    """In every bar of every part each voice is as long as the bar, and every length has a name."""
    for part in measures(score):
        for measure in part:
            total = dict.fromkeys({note.findtext("voice") for note in measure.findall("note")}, 0)
            for note in measure.findall("note"):
                whole = note.find("rest") is not None and note.find("rest").get("measure")  # pyright: ignore
                assert whole or note.findtext("type"), ET.tostring(note)
                if note.find("chord") is None:
                    total[note.findtext("voice")] += int(note.findtext("duration", ""))
            backup = sum(int(b.findtext("duration", "")) for b in measure.findall("backup"))
            assert len(set(total.values())) == 1
            assert backup == (len(total) - 1) * next(iter(total.values()))


@pytest.mark.parametrize("seed", range(3))
def test_bars_add_up(seed: int):
    check_sums(make_song(seed, 6))


METRES: Sequence[tuple[int, int]] = [(4, 4), (3, 4), (2, 4), (6, 8), (12, 8), (7, 8), (5, 4), (2, 2)]
NOTES = st.lists(
    st.tuples(st.integers(0, 30 * 48), st.integers(1, 8 * 48), st.integers(30, 90)), min_size=1, max_size=40
)


@settings(max_examples=60, deadline=None)
@given(NOTES, st.sampled_from(METRES), st.booleans())
def test_bars_add_up_whatever_is_played(notes: list[tuple[int, int, int]], metre: tuple[int, int], drums: bool):
    score = score_of(*[(onset / 48, length / 48, pitch) for onset, length, pitch in notes], metre=metre, drums=drums)
    check_sums(score)
    (part,) = measures(score)
    length = QUARTER * 4 * metre[0] // metre[1]
    for measure in part:
        if measure.find("backup") is None:
            assert sum({at: n for at, n, _ in read(measure)}.values()) == length
