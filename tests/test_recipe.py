"""Recipes: the same bytes again, from the page's JSON alone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from ritornello.api import load
from ritornello.cli import main
from ritornello.errors import ConfigError
from ritornello.music.score import read
from ritornello.music.sheet import Part, Sheet
from ritornello.recipe import Edits, Recipe, ask, files, perform, read_recipe
from ritornello.studio import desk
from tests.songs import make_song

WISHES = {"bars": 3, "seed": 5, "count": 2}


@pytest.fixture(scope="module")
def stages():
    """Two takes of three bars, bar by bar, as a page is told of them."""
    player = load("museformer")
    return [[Sheet.of(song.score) for song in stage.songs] for stage in perform(player, "compose", ask_for(WISHES))]


def ask_for(wishes: dict, songs: dict | None = None):
    return ask(load("museformer").run.config, "compose", wishes, songs or {})


def recipe_of(written: Sheet, now: Sheet, folder: Path, **told) -> Path:
    asked = {
        "model": "museformer",
        "wishes": WISHES,
        "written": written.model_dump(),
        "sheet": now.model_dump(),
        **told,
    }
    path = folder / "song.json"
    path.write_bytes(desk.recipe(json.dumps(asked).encode())[1])
    return path


def written_again(path: Path, capsys: pytest.CaptureFixture[str]) -> bytes:
    assert main(["generate", "--recipe", str(path), "-o", str(path.with_suffix(".mid"))]) == 0
    assert "note:" not in capsys.readouterr().err
    return path.with_suffix(".mid").read_bytes()


def edited(sheet: Sheet) -> Sheet:
    """One note less, one moved, another instrument, softer, slower."""
    _, second, *rest = sheet.parts[0].notes
    moved = (second[0] + 6, *second[1:])
    part = sheet.parts[0].model_copy(update={"notes": sorted([moved, *rest]), "program": 40, "volume": 77})
    return sheet.model_copy(update={"parts": [part, *sheet.parts[1:]], "tempos": [(0, 750_000)]})


def test_each_take_is_written_again_edited_or_not(stages, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for take, sheet in enumerate(stages[-1]):
        for now in (sheet, edited(sheet)):
            path = recipe_of(sheet, now, tmp_path, take=take)
            assert written_again(path, capsys) == now.score().dumps_midi()


def test_a_song_that_was_stopped_stops_there_again(stages, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    sheet = stages[0][0]
    path = recipe_of(sheet, sheet, tmp_path, bars=1)
    assert written_again(path, capsys) == sheet.score().dumps_midi()
    assert sheet != stages[-1][0]


def test_what_it_began_with_is_in_the_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    prompt = Sheet.of(make_song(1, 2))
    midi = prompt.score().dumps_midi()
    (tmp_path / "prompt.mid").write_bytes(midi)
    wishes = {"bars": 3, "seed": 1}
    *_, last = perform(load("museformer"), "compose", ask_for(wishes, {"prompt": tmp_path / "prompt.mid"}))
    sheet = Sheet.of(last.songs[0].score)
    path = recipe_of(sheet, sheet, tmp_path, wishes=wishes, songs={"prompt": prompt.model_dump()})
    assert written_again(path, capsys) == sheet.score().dumps_midi()


def test_an_unedited_recipe_is_what_generate_writes(stages, tmp_path: Path):
    """The page's MIDI file and the command line's are one, but for the order of what begins together."""
    assert main(["generate", "--bars", "3", "--seed", "5", "--count", "2", "-o", str(tmp_path)]) == 0
    for take, sheet in enumerate(stages[-1]):
        assert read(tmp_path / f"song-{5 + take}.mid").dumps_midi() == sheet.score().dumps_midi()


def test_another_song_is_told(stages, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = recipe_of(stages[-1][0], stages[-1][0], tmp_path)
    told = json.loads(path.read_text()) | {"sha256": hashlib.sha256(b"another").hexdigest(), "weights": "0" * 64}
    path.write_text(json.dumps(told))
    assert main(["generate", "--recipe", str(path), "-o", str(tmp_path / "a.mid")]) == 0
    told = capsys.readouterr().err
    assert "other weights" in told
    assert "another song came" in told


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is no recipe"),
        ('{"model": "museformer", "prompt": "/etc/passwd"}', "prompt"),
        ('{"model": "no such model"}', "no such model"),
        ('{"model": "museformer", "wishes": {"bars": 0}}', "bars = 0"),
        ('{"model": "museformer", "wishes": {"prompt": "/etc/passwd"}}', "not the name of a file"),
        ('{"model": "museformer", "songs": {"key": ""}}', "takes no such song"),
        ('{"model": "museformer", "songs": {"prompt": "@"}}', "no MIDI file in base64"),
        ('{"model": "museformer", "verb": "fly"}', "cannot do that"),
    ],
)
def test_a_bad_recipe_is_one_sentence(content: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "bad.json"
    path.write_text(content)
    assert main(["generate", "--recipe", str(path), "-o", str(tmp_path / "a.mid")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "a.mid").exists()


def test_a_recipe_that_is_not_there(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_recipe(tmp_path / "none.json")


def test_edits_are_what_was_changed_and_no_more():
    before = Sheet(parts=[Part(notes=[(0, 1, 60, 90), (0, 1, 60, 90), (5, 1, 61, 90)]), Part(notes=[(0, 1, 40, 90)])])
    after = before.model_copy(update={"parts": [Part(notes=[(0, 1, 60, 90), (5, 2, 61, 90)]), before.parts[1]]})
    edits = Edits.between(before, after)
    assert edits.parts[0].removed == [(0, 1, 60, 90), (5, 1, 61, 90)]
    assert edits.parts[0].added == [(5, 2, 61, 90)]
    assert set(edits.parts) == {0}
    assert edits.apply(before) == after
    assert Edits.between(before, before) == Edits()


def test_edits_of_another_song_are_refused():
    one, two = Sheet(parts=[Part()]), Sheet(parts=[Part(), Part()])
    with pytest.raises(ConfigError, match="other tracks"):
        Edits.between(one, two)
    edits = Edits.between(two, two.model_copy(update={"parts": [Part(), Part(program=9)]}))
    with pytest.raises(ConfigError, match="track 2"):
        edits.apply(one)


def test_files_are_ours_alone(tmp_path: Path):
    assert files({"../../etc/passwd": ""}, tmp_path) == {"../../etc/passwd": tmp_path / "song-1.mid"}


def test_a_recipe_reads_back():
    recipe = Recipe(model="museformer", wishes=WISHES, take=1)
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
