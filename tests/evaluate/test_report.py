"""The whole evaluation: plain JSON, a table that a card can hold, and pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from ritornello.evaluate.measure import measure
from ritornello.evaluate.ngram import yardsticks
from ritornello.evaluate.report import evaluate, markdown, tables
from ritornello.music.score import Score
from ritornello.representations.base import Tokens
from ritornello.representations.vocabulary import Vocabulary
from tests.evaluate.songs import song

VOCABULARY = Vocabulary({"Bar": (), "Pitch": range(20)})


def tokens(rng: np.random.Generator) -> Tokens:
    ids = np.concatenate([[1], np.tile([3, *rng.integers(4, 24, 5)], 8), [2]]).astype(np.int16)
    bars = np.concatenate([[0], np.repeat(np.arange(8), 6), [7]]).astype(np.int32)
    return Tokens(ids, bars, np.zeros(len(ids), np.int16), np.zeros((8, 0), np.int16))


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict:
    rng = np.random.default_rng(0)
    songs = [tokens(rng) for _ in range(12)]
    patterns = ["".join(rng.choice(list("abc-"), 44)) for _ in range(6)]
    return evaluate(
        {
            "ours": (song(melody=p, bass="a" * 44) for p in patterns[:3]),
            "theirs": [song(melody=patterns[3], drums="ab" * 22)],
        },
        [song(melody=p, drums="aab-" * 11) for p in patterns[4:]],
        yardsticks([s.ids for s in songs[:10]], VOCABULARY.size),
        songs[10:],
        VOCABULARY,
        cuts=(8, 40),
        longest=None,
        pictures=tmp_path_factory.getbasetemp() / "figures",
    )


def test_is_json_with_every_part(result: dict):
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert list(result) == ["likelihood", "songs", "structure", "texture", "pitch", "rhythm", "structureness", "range"]
    assert result["songs"] == {"ours": 3, "theirs": 1, "human": 2}
    assert list(result["likelihood"]) == ["4-gram", "4-gram with copying"]
    assert result["range"]["bass, lowest pitch"]["theirs"] is None  # it has no bass
    assert result["range"]["bass, lowest pitch"]["ours"]["median"] == 60
    assert result["texture"]["bars"]["ours"]["median"] == 44


def test_tables_hold_the_trap_beside_the_error(result: dict):
    text = markdown(result)
    for name in ("ours", "theirs", "human", "no repetition", "4-gram with copying", "perplexity at 40", "nats a note"):
        assert name in text
    free = result["structure"]["ours"]["melody"]["repetition_free"]
    assert f"| no repetition | {100 * free:.1f} | 0.0 |" in text
    widths = {line.count("|") for line in text.split("**")[2].strip().splitlines()}
    assert len(widths) == 1


def test_tables_for_the_terminal(result: dict):
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for table in tables(result):
        console.print(table)
    assert "no repetition" in console.export_text()


def test_figure_3_is_drawn_for_both(result: dict, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.getbasetemp() / "figures"
    for tracks in ("melody", "all"):
        assert (folder / f"similarity-{tracks}.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in Path(folder).iterdir()) == ["similarity-all.png", "similarity-melody.png"]


def test_every_group_has_its_table(result: dict):
    text = markdown(result)
    for title in ("Texture", "Pitch", "Rhythm", "Structureness", "Range"):
        assert f"**{title}: medians of songs, and quartiles**" in text
    assert "| scale consistency: notes in the scale that fits best |" in text
    assert "Originality" not in text  # nothing was known


def test_measured_songs_do_as_well_as_scores(result: dict):
    songs = [song(melody="abab" * 11, bass="a" * 44), song(melody="ab-c" * 11)]
    human = [song(melody="abca" * 11)]
    assert evaluate({"ours": [measure(s) for s in songs]}, map(measure, human)) == evaluate({"ours": songs}, human)


def test_without_human_songs_their_column_is_left_out():
    result = evaluate({"ours": [song(melody="abab", drums="aaaa")]})
    assert result["songs"] == {"ours": 1, "human": 0}
    assert result["structure"]["ours"]["melody"]["similarity_error"]["value"] is None
    assert result["structure"]["ours"]["melody"]["peaks"]["4"]["value"] is None
    assert "human" not in markdown(result)
    assert "no repetition" not in markdown(result)


@pytest.mark.parametrize("odd", [Score(12), song(drums="abab"), song(melody="a")], ids=["empty", "drums", "one bar"])
def test_songs_that_lack_what_is_measured(odd: Score):
    result = evaluate({"odd": [odd]}, [song(melody="abab" * 11)])
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert "| odd |" in markdown(result)


def test_rare_instruments_stay_out_of_the_table():
    songs = [song(melody="abab"), *(song(bass="abab") for _ in range(4))]
    result = evaluate({"ours": songs}, songs)
    assert result["range"]["melody, lowest pitch"]["ours"]["songs"] == 1
    assert "bass, lowest pitch" in markdown(result)
    assert "melody, lowest pitch" not in markdown(result)


def test_nothing_given_is_nothing_measured():
    assert evaluate() == {}
    assert markdown({}) == "\n"
