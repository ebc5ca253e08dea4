"""`ritornello evaluate --task restyle`, on models that have learned nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ritornello.cli import main
from ritornello.models.musemorphose import MuseMorphose
from ritornello.music.score import write
from ritornello.representations import build
from ritornello.run import Run, RunConfig
from tests.families import SMALL
from tests.songs import make_piano

PIANO = build("musemorphose")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, a language model for its fluency, another that reads other tokens, and a prepared corpus."""
    home = tmp_path_factory.mktemp("home")
    config = RunConfig(family="musemorphose", representation="musemorphose", model=SMALL["musemorphose"])
    run = Run.create(config, home / "run")
    assert isinstance(run.model, MuseMorphose)
    run.model.begin([PIANO.encode(make_piano(seed, 30)) for seed in range(6)])
    run.save()
    for name, representation in (("judge", "musemorphose"), ("stranger", "museformer")):
        config = RunConfig(family="museformer", representation=representation, model=SMALL["museformer"])
        Run.create(config, home / name).save()
    lines = ["path,split"]
    for seed in range(3):
        write(make_piano(seed, 12), home / "mine" / f"{seed}.mid")
        lines.append(f"{seed}.mid,{'train' if seed == 0 else 'test'}")
    (home / "mine" / "MANIFEST.csv").write_text("\n".join(lines) + "\n")
    out = str(home / "tokens")
    flags = ["--representation", "musemorphose", "-o", out, "--workers", "1"]
    assert main(["prepare", str(home / "mine"), *flags]) == 0
    return home


def flags(home: Path, *more: str) -> list[str]:
    place = ["--run", str(home / "run"), "--tokens", str(home / "tokens")]
    return ["evaluate", "--task", "restyle", *place, "--bars", "2,4,96", "--variants", "2", *more]


def test_figures_of_every_length_there_is(home: Path, capsys: pytest.CaptureFixture[str]):
    assert main(flags(home, "--fluency", str(home / "judge"), "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"2", "4"}  # no piece has 96 bars
    row = told["4"]
    assert (row["pieces"], row["results"], row["bars"], row["as_many_bars"]) == (2, 4, 16, 1)
    assert set(row["control"]) == {"rhythm", "polyphony"}
    assert 1 < row["fluency"]["sources"] < 10_000
    assert 0 <= row["fidelity"]["groove"] <= 100


def test_the_same_seed_gives_the_same_figures(home: Path, capsys: pytest.CaptureFixture[str]):
    told = []
    for _ in range(2):
        assert main(flags(home, "--md", "--insist", "0")) == 0
        told.append(capsys.readouterr().out)
    assert told[0] == told[1]
    assert "rhythm: ρ" in told[0]


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (["--bars", "8,zero"], "bars = 8,zero: should be a number of bars, or several"),
        (["--fluency", "stranger"], "it reads 'museformer', and the pieces are in 'musemorphose'"),
    ],
)
def test_wishes_that_cannot_be_met_are_one_sentence(
    home: Path, wish: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(home)
    assert main([*flags(home), *wish]) == 2
    assert message in capsys.readouterr().err
