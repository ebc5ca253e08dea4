"""The mean of several runs' weights is a run of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ritornello.cli import main
from ritornello.data.prepare import prepare
from ritornello.layers.transformer import deepened
from ritornello.run import DataConfig, Run, RunConfig
from ritornello.train.loop import TrainConfig
from tests.families import VARIANTS
from tests.songs import write_songs


def make_run(folder: Path, seed: int, data: str = "", **model: int) -> Run:
    config = RunConfig(
        family="museformer",
        representation="museformer",
        model={**VARIANTS["museformer-shipped"], **model},
        data=DataConfig(folders=(data,) if data else ()),
        train=TrainConfig(seed=seed, precision="float32"),
    )
    run = Run.create(config, folder)
    run.save()
    return run


def test_each_counts_by_its_share(tmp_path: Path):
    first, second, third = (make_run(tmp_path / str(seed), seed) for seed in range(3))
    expected = {
        name: 0.5 * tensor + 0.3 * second.model.state_dict()[name] + 0.2 * third.model.state_dict()[name]
        for name, tensor in first.model.state_dict().items()
        if tensor.is_floating_point()
    }
    first.average([second, third], (0.5, 0.3, 0.2))
    for name, tensor in expected.items():
        torch.testing.assert_close(first.model.state_dict()[name], tensor)


def test_a_shallower_run_counts_as_the_deeper_one_that_it_grows_into(tmp_path: Path):
    deep, shallow = make_run(tmp_path / "deep", 0, layers=4), make_run(tmp_path / "shallow", 1, layers=2)
    before = {name: tensor.clone() for name, tensor in deep.model.state_dict().items()}
    grown = deepened(shallow.model.state_dict(), before)
    deep.average([shallow])
    weights = deep.model.state_dict()
    for name in ("blocks.3.contract.weight", "blocks.0.attention.query.weight"):
        torch.testing.assert_close(weights[name], (before[name] + grown[name]) / 2)


def test_the_verb_keeps_the_mean_and_says_how_it_does_on_validation_songs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    write_songs(tmp_path / "midi", 100)
    prepare(str(tmp_path / "midi"), tmp_path / "tokens", "museformer", workers=1)
    first, second = (make_run(tmp_path / str(seed), seed, str(tmp_path / "tokens")) for seed in range(2))
    out = tmp_path / "mean"
    names = [str(run.folder) for run in (first, second)]
    assert main(["average", *names, "--shares", "0.75", "0.25", "-o", str(out), "--half"]) == 0
    said = capsys.readouterr().out
    assert "The mean of 2 runs" in said
    assert "valid perplexity" in said
    assert load_file(out / "model.safetensors")["head.weight"].dtype == torch.float16
    first.average([second], (0.75, 0.25))
    torch.testing.assert_close(
        Run.open(out).model.state_dict()["head.weight"], first.model.state_dict()["head.weight"], atol=1e-3, rtol=1e-3
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["0"], "a mean is of two runs or more"),
        (["0", "1", "--shares", "0.7", "0.7"], "shares = 0.7 0.7: should be 2 numbers above 0"),
        (["0", "1", "--shares", "1.0"], "shares = 1.0: should be 2 numbers above 0"),
        (["0", "1", "--shares", "1.5", "-0.5"], "above 0"),
        (["0", "wide"], "wide: its weights are not those of a model like"),
        (["deep", "0"], ""),
        (["0", "nowhere"], "nowhere is neither a run's folder"),
        (["0", "1", "-o", "1"], "is a run already"),
    ],
)
def test_what_has_no_mean_is_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
):
    monkeypatch.chdir(tmp_path)
    for seed in range(2):
        make_run(tmp_path / str(seed), seed, layers=2)
    make_run(tmp_path / "wide", 0, layers=2, width=64)
    make_run(tmp_path / "deep", 0, layers=3)
    failed = main(["average", *([] if "-o" in arguments else ["-o", "mean"]), *arguments])
    assert failed == (2 if message else 0)
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == bool(message)
    assert not message or not (tmp_path / "mean").exists()
