"""One song in numbers, and many together."""

from __future__ import annotations

import pytest

from ritornello.evaluate.measure import GROUPS, measure, summary, with_lead
from ritornello.music.score import Score
from tests.evaluate.songs import song
from tests.songs import make_song


def test_every_figure_is_explained():
    figures = measure(song(melody="abca", drums="aaaa", bass="abab")).figures
    for name, found in figures.items():
        if name != "range":
            assert list(found) == list(GROUPS[name].figures)
    names = [name for group in GROUPS.values() for name in group.figures]
    assert len(names) == len(set(names))


def test_the_lead_is_found_where_no_track_is_named_so():
    score = make_song()
    score.tracks[0].name = "Track 1"
    for track in score.tracks:
        track.name = track.name.replace("Melody", "Flute")
    before = [track.name for track in score.tracks]
    assert [track.name for track in with_lead(score).tracks].count("melody") == 1
    assert with_lead(score).tracks[0].name == "melody"
    assert [track.name for track in score.tracks] == before  # ours is a copy
    assert len(measure(score).lines["melody"].codes) > 0


@pytest.mark.parametrize("score", [song(bass="abab", piano="abcd"), song(melody="ab"), song(drums="aa"), Score(12)])
def test_the_six_stay_as_they_are(score: Score):
    assert with_lead(score) is score


def test_summary_leaves_out_what_is_missing():
    table = summary([{"a": 1.0}, {"a": 3.0, "b": float("nan")}, {"a": 8.0, "b": 2.0, "c": float("nan")}])
    assert table["a"]["median"] == 3
    assert table["a"]["quartiles"] == [2, 5.5]
    assert table["a"]["highest"] == 8
    assert table["a"]["songs"] == 3
    assert table["b"] == {"median": 2, "interval": [2, 2], "quartiles": [2, 2], "highest": 2, "songs": 1}
    assert "c" not in table
