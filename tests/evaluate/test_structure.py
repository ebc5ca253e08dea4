"""Similarity error, peaks and repeats, by hand on songs of a few bars."""

from __future__ import annotations

import numpy as np
import pytest

from ritornello.evaluate.structure import compare, structure
from tests.evaluate.songs import song


def test_counts_by_hand():
    counted = structure([song(melody="abab-a", bass="aaaaaa")])
    melody, both = counted["melody"], counted["all"]
    # Pairs at 1: ab ba ab b- -a; none alike. At 2: aa bb a- ba: the empty bar's pair counts as 0.
    assert melody.pairs[0, :6].tolist() == [5, 4, 3, 2, 1, 0]
    assert melody.similar[0, :6].tolist() == [0, 2, 1, 0, 1, 0]
    # Of bars with notes: at 1 b a b a(6th), at 2 a b a(6th), at 4 the 6th, which is an a where the 2nd is a b.
    assert melody.bars[0].tolist() == [4, 3, 1, 0, 0, 4]
    assert melody.repeated[0].tolist() == [0, 2, 0, 0, 0, 3]
    # With the bass: neighbours share its two notes of six (a, b and the bass), or of four (empty melody).
    assert both.similar[0, 0] == pytest.approx(3 * 2 / 6 + 2 * 2 / 4)
    assert both.bars[0].tolist() == [5, 4, 2, 0, 0, 5]
    assert both.repeated[0].tolist() == [0, 2, 0, 0, 0, 3]


def test_two_empty_bars_are_no_pair():
    counted = structure([song(melody="a--a", drums="aaaa")])
    assert counted["melody"].pairs[0, :3].tolist() == [2, 2, 1]
    assert counted["melody"].similar[0, :3].tolist() == [0, 0, 1]


def test_identical_songs_have_no_error():
    songs = [song(melody="abcabcabc" * 5, bass="aabbccddee" * 4), song(melody="abba" * 12)]
    found = compare(structure(songs), structure(songs))
    for figures in found.values():
        assert figures["similarity_error"]["value"] == 0
        assert figures["distribution"] == figures["human_distribution"]
        assert figures["repeats"]["4"]["value"] == figures["repeats"]["4"]["human"]


def test_the_trap_music_that_repeats_nothing_is_told():
    """Its error is the mean human similarity, and that number stands in the report, beside peaks and repeats of 0."""
    human = structure([song(melody="abcdefgh" * 6)])
    unrepeated = structure([song(melody="".join(chr(ord("a") + i) for i in range(48)))])
    figures = compare(unrepeated, human)["melody"]
    assert figures["similarity_error"]["value"] == pytest.approx(5 / 40)  # human bars return at 8, 16 ... 40: L = 1
    assert figures["repetition_free"] == figures["similarity_error"]["value"]
    assert (figures["peaks"]["8"]["value"], figures["peaks"]["8"]["human"]) == (0, 1)
    assert (figures["peaks"]["8"]["rise"], figures["peaks"]["8"]["human_rise"]) == (0, 1)
    assert (figures["peaks"]["4"]["human"], figures["peaks"]["4"]["human_rise"]) == (0, 0)
    assert (figures["repeats"]["8"]["value"], figures["repeats"]["8"]["human"]) == (0, 1)
    assert figures["repeats"]["any"]["human"] == pytest.approx(40 / 47)


def test_uniform_music_has_similarity_but_no_rise():
    figures = compare(structure([song(melody="a" * 48)]), structure([song(melody="abcdefgh" * 6)]))["melody"]
    assert figures["peaks"]["8"]["value"] == 1
    assert figures["peaks"]["8"]["rise"] == 0


def test_intervals_are_those_of_the_seed():
    rng = np.random.default_rng(0)
    songs = [song(melody="".join(rng.choice(list("abcd"), 50))) for _ in range(12)]
    human = structure(songs[:6])
    generated = structure(songs[6:])
    once, again, other = (compare(generated, human, seed)["melody"]["similarity_error"] for seed in (1, 1, 2))
    assert once == again
    assert once["interval"] != other["interval"]
    assert once["interval"][0] < once["interval"][1]


def test_human_error_is_what_real_songs_score():
    rng = np.random.default_rng(0)
    human = structure(song(melody="".join(rng.choice(list("abcd"), 50))) for _ in range(20))
    real = compare(human, human)["melody"]["human_error"]
    assert 0 < real["interval"][0] < real["value"] < real["interval"][1] < 0.1


def test_songs_shorter_than_forty_bars_count_where_they_can():
    figures = compare(structure([song(melody="abab")]), structure([song(melody="abab" * 12)]))["melody"]
    assert figures["similarity_error"]["value"] == 0  # at 1, 2 and 3 bars
    assert np.isnan(figures["distribution"][3:]).all()


def test_what_cannot_be_measured_is_nan():
    """No human song; a song of drums alone, which has no melody; a song of one bar."""
    some, none = structure([song(melody="abab")]), structure([])
    alone = compare(some, none)["melody"]
    assert np.isnan([alone["similarity_error"]["value"], alone["repetition_free"], alone["human_error"]["value"]]).all()
    assert alone["peaks"]["4"]["human"] != alone["peaks"]["4"]["human"]
    assert alone["distribution"][:3] == [0, 1, 0]
    assert alone["repeats"]["2"]["value"] == 1
    for short in (structure([song(drums="abab")])["melody"], structure([song(melody="a")])["all"]):
        figures = compare({"melody": short, "all": short}, some)["all"]
        assert np.isnan([figures["similarity_error"]["value"], *figures["similarity_error"]["interval"]]).all()
        assert np.isnan(figures["repeats"]["any"]["value"])
