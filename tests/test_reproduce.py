"""The whole comparison at its smallest: the machinery, not the ranking. It is killed on the way, and goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ritornello.cli import main
from ritornello.evaluate.structure import compare, structure
from ritornello.music.score import read
from ritornello.reproduce import SCALES, Experiment
from ritornello.reproduce.scales import FULL, ROWS
from ritornello.reproduce.table import average

TINY = ["reproduce", "table1", "--scale", "tiny"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`ritornello reproduce table1 --scale tiny`, killed in the middle of its second row, then told to go on."""
    folder = tmp_path_factory.mktemp("reproduced") / "tiny"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "MPLBACKEND": "Agg"}
    command = [sys.executable, "-m", "ritornello", *TINY, "-o", str(folder)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    second, deadline = folder / "runs" / "no-coarse-0" / "checkpoint.safetensors", time.time() + 300
    while not second.exists() and process.poll() is None and time.time() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL
    before = (folder / "likelihood" / "museformer-0.json").stat().st_mtime_ns
    assert subprocess.run(command, env=environment, stdout=subprocess.DEVNULL).returncode == 0
    assert (folder / "likelihood" / "museformer-0.json").stat().st_mtime_ns == before  # it was not done again
    return folder


@pytest.fixture(scope="module")
def result(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text())


def test_every_row_has_seen_the_same(result: dict[str, Any]):
    assert list(result["rows"]) == list(ROWS)
    assert len({row["tokens"] for row in result["rows"].values()}) == 1
    assert all(row["cpu_seconds"] > 0 for row in result["rows"].values())
    sizes = {name: row["parameters"] for name, row in result["rows"].items()}
    assert sizes["museformer"] == sizes["nearest-bars"] > sizes["no-coarse"]


def test_every_row_has_learned(result: dict[str, Any]):
    """Of 392 tokens about equally likely, to less than an eighth."""
    for row in result["rows"].values():
        for figure in row["perplexity"].values():
            assert figure["interval"][0] <= figure["value"] <= figure["interval"][1] < 49
    assert set(result["yardsticks"]) == {"4-gram", "4-gram with copying"}


def test_rows_are_models_of_their_own(result: dict[str, Any], folder: Path):
    values = [row["perplexity"]["5120"]["value"] for row in result["rows"].values()]
    assert len(set(values)) == len(values)
    songs = {row: (folder / "songs" / f"{row}-0" / "000.mid").read_bytes() for row in ROWS}
    assert len(set(songs.values())) > len(ROWS) // 2


def test_structure_is_that_of_the_row_s_own_songs(result: dict[str, Any], folder: Path):
    for row in ("museformer", "longformer"):
        paths = sorted((folder / "songs" / f"{row}-0").glob("*.mid"))
        assert len(paths) == SCALES["tiny"].songs
        own = structure(read(path) for path in paths)
        expected = compare(own, own)["all"]["distribution"]
        np.testing.assert_allclose(result["structure"][ROWS[row].title]["all"]["distribution"], expected)


def test_the_report_shows_all_of_it(folder: Path):
    text = (folder / "report.md").read_text()
    for row in ROWS.values():
        assert text.count(f"| {row.title} |") >= 4
    for words in ("PPL (10,240)", "music that repeats nothing", "human songs", "4-gram with copying", "tokens seen"):
        assert words in text
    for name in ("similarity-melody", "similarity-all", "costs"):
        assert (folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_costs_are_of_every_row(result: dict[str, Any]):
    assert len(result["costs"]) == len(ROWS) + 1
    kib = {title: [found[n]["train_bytes"] for n in ("512", "1024")] for title, found in result["costs"].items()}
    assert kib["full attention"][1] > 1.1 * kib["full attention"][0]
    assert kib["Linear Transformer"][1] < 1.1 * kib["Linear Transformer"][0]
    assert all(of["write_seconds"] > 0 for found in result["costs"].values() for of in found.values())


def test_nothing_is_done_twice_and_what_is_lost_is_done_again(folder: Path, capsys: pytest.CaptureFixture[str]):
    songs = sorted((folder / "songs" / "longformer-0").glob("*.mid"))
    first = [song.read_bytes() for song in songs]
    songs[0].unlink()
    (folder / "costs" / f"{FULL}.json").touch()
    stamps = {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("*") if path.is_file()}
    assert main([*TINY, "-o", str(folder), "--rows", "longformer"]) == 0
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert [song.read_bytes() for song in songs] == first
    assert len(json.loads((folder / "report.json").read_text())["rows"]) == len(ROWS)


def test_other_settings_want_another_folder(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert main([*TINY, "-o", str(folder), "--set", "train.steps=3"]) == 2
    assert "other settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--scale", "small"], "--tokens"),
        (["--scale", "small", "--tokens", "nowhere"], "not a prepared corpus"),
        (["--rows", "museformer,lstm"], "'lstm'; there are museformer"),
        (["--seeds", "0"], "1 or more"),
        (["--set", "train.step=1"], "train.steps"),
    ],
)
def test_bad_wishes_are_one_sentence(
    flags: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "table1", "-o", "there", *flags]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "there").exists()


def test_rows_differ_in_attention_alone(tmp_path: Path):
    """At every scale: the same sizes, input and training."""
    for name, scale in SCALES.items():
        (tmp_path / "settings.json").write_text('{"representation": "museformer"}')
        experiment = Experiment(scale, tmp_path, tmp_path)
        configs = [experiment.config(row) for row in ROWS]
        assert all(config.train == configs[0].train and config.data == configs[0].data for config in configs), name
        shared = {key: value for key, value in configs[0].model.items() if key not in ("coarse", "fine", "offsets")}
        assert all(shared.items() <= config.model.items() for config in configs), name


def test_songs_of_all_rows_are_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whatever a model would have by default: a form would write structure into all rows alike."""
    asked = []
    monkeypatch.setattr("ritornello.reproduce.experiment.generate", lambda *wishes: asked.append(wishes[-1]))
    monkeypatch.setattr(
        "ritornello.reproduce.experiment.finish",
        lambda _: [SimpleNamespace(write=lambda path: None)] * asked[-1].count,
    )
    monkeypatch.setattr(Experiment, "train", lambda *_: SimpleNamespace(decoder=None, representation=None))
    Experiment(SCALES["tiny"], tmp_path, tmp_path).written("museformer", 0)
    assert {request.planned for request in asked} == {False}


def test_average_over_seeds():
    seeds = [{"value": 2.0, "interval": [1.0, 4.0]}, {"value": 3.0, "interval": [2.0, 5.0]}]
    assert average(seeds) == {"value": 2.5, "interval": [1.5, 4.5], "seeds": [2.0, 3.0]}
