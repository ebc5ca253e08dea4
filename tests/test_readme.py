"""The README is true: every command in it runs, in its order, from the shipped weights. Only sizes are made smaller."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ritornello.cli import VERBS
from tests.songs import write_songs

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(<!-- not tested: [^\n]+ -->\n)?```(bash|python)\n(.*?)```", re.DOTALL)
SMALLER = {
    "bars=16": "bars=2",
    "--bars 16": "--bars 4",
    "--prompt-bars 8": "--prompt-bars 2",
    "--bars 24": "--bars 4",
    "A4 A4 B8 A4": "A1 B1 A1",
    '--bars 8 --density "1-4:10-20,5-8:50-80,5-8:melody 2-9"': "--bars 2 --density '1:10-20,2:50-80,2:melody 2'",
    "--bars 8": "--bars 2",
    "train.steps=2000": "train.steps=1 --set train.stages='[[0, 64, 64]]'",
}


def blocks(language: str) -> list[str]:
    """The blocks in a language, less those that say why they are not tested and the first, which installs."""
    return [text for reason, kind, text in BLOCK.findall(README)[1:] if kind == language and not reason]


def smaller(text: str) -> str:
    for large, small in SMALLER.items():
        text = text.replace(large, small)
    return text


def run(command: list[str], folder: Path) -> str:
    """Run to its end, with our own commands first on the path. Returns what it printed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a reader stands: the repository's settings, and MIDI files of one's own."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    write_songs(tmp_path / "my-midi-files", 60, bars=8)
    return tmp_path


def test_it_opens_with_the_two_commands_a_newcomer_needs():
    first = BLOCK.findall(README)[0][2].splitlines()
    assert [line.split("#")[0].strip() for line in first] == ["make song", "make test"]


@pytest.mark.parametrize("target", ["song", "test", "check"])
def test_make_knows_what_it_names(target: str):
    assert shutil.which("make"), "make is needed"
    told = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr


def test_make_song_is_the_verb():
    told = subprocess.run(
        ["make", "--no-print-directory", "-n", "song"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip().endswith("ritornello song")


def test_every_size_that_is_made_smaller_is_there():
    text = "".join(blocks("bash") + blocks("python"))
    assert [size for size in SMALLER if size not in text] == []


def test_every_verb_is_shown():
    assert [verb for verb in VERBS if verb != "song" and f"ritornello {verb} " not in README] == []


def test_the_map_names_what_is_there():
    parts = re.findall(r"^[├└]── ([\w.]+/?) ", README, re.MULTILINE)
    assert len(parts) > 8
    assert [part for part in parts if not (ROOT / "ritornello" / part).exists()] == []


def test_python_as_shown(folder: Path):
    (text,) = blocks("python")
    assert "2 bars" in run([sys.executable, "-c", smaller(text)], folder)
    assert {"a.mid", "a.wav", "a.png"} <= {path.name for path in folder.iterdir()}


def test_commands_as_shown(folder: Path):
    for text in blocks("bash"):
        run(["bash", "-euo", "pipefail", "-c", smaller(text)], folder)
    for name in ("night.mid", "morning.mid", "night.wav", "mine.mid", "tokens/mine/report.md"):
        assert (folder / name).exists(), name
    assert len(list((folder / "takes").glob("*.mid"))) == 2
