"""A training that is killed goes on to bit-identical weights; a broken checkpoint is survived."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ritornello.data.dataset import TokenDataset
from ritornello.data.prepare import prepare
from ritornello.errors import ConfigError
from ritornello.music.bars import bars
from ritornello.music.score import read
from ritornello.run import DataConfig, Run, RunConfig
from ritornello.train.loop import TrainConfig
from ritornello.training import load_checkpoint, train_run
from tests.families import VARIANTS
from tests.songs import write_songs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small prepared corpus of songs made here."""
    root = tmp_path_factory.mktemp("corpus")
    write_songs(root / "midi", 40)
    prepare(str(root / "midi"), root / "tokens", "museformer", workers=1)
    return root / "tokens"


def make_config(folder: Path, steps: int = 12) -> RunConfig:
    settings = TrainConfig(
        optimizer="muon", warmup=3, schedule="trapezoid", cooldown=4, lr=1e-3, precision="float32", steps=steps,
        stages=((0, 128, 256), (6, 256, 512)), save_every=2, validate_every=100, log_every=1,
    )  # fmt: skip
    model = {**VARIANTS["museformer-shipped"], "dropout": 0.1}
    return RunConfig(
        family="museformer", representation="museformer", model=model,
        data=DataConfig(folders=(str(folder),)), train=settings,
    )  # fmt: skip


PROGRAM = """
import sys, torch
from pathlib import Path
from ritornello.music.bars import bars
from ritornello.music.score import read
from ritornello.run import RunConfig
from ritornello.training import train_run
torch.set_num_threads(1)
train_run(RunConfig.from_toml(sys.argv[1]), Path(sys.argv[2]))
"""


def spawn(config: Path, run: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen([sys.executable, "-c", PROGRAM, str(config), str(run)], env=environment)


def test_a_training_begins_with_the_weights_of_another_run(folder: Path, tmp_path: Path):
    """What the other run lacks, and what its own seed gives, stays as it is; sizes that differ are named."""
    config = make_config(folder, steps=0)
    fewer = config.model_copy(update={"model": {**config.model, "recall": False}})
    first = train_run(fewer, tmp_path / "first").model.state_dict()
    Run.create(fewer, tmp_path / "first").save()
    other = make_config(folder, steps=1).model_copy(update={"begin_with": str(tmp_path / "first")})
    still = other.model_copy(update={"train": other.train.model_copy(update={"lr": 0.0, "seed": 5})})
    begun = train_run(still, tmp_path / "second").model.state_dict()
    assert all(torch.equal(begun[name], first[name]) for name in first)
    assert begun.keys() - first.keys() == {name for name in begun if name.startswith("embedding.recalled.")}
    layers = make_config(folder).model["layers"]
    deep = still.model_copy(update={"model": {**still.model, "layers": layers + 1}})
    grown = train_run(deep, tmp_path / "deep").model.state_dict()
    new = f"blocks.{layers}."  # above the others, as they spread
    assert all(torch.equal(grown[name], first[name]) for name in first)
    assert not grown[f"{new}contract.weight"].any()
    assert not grown[f"{new}attention.out.weight"].any()
    wide = still.model_copy(update={"model": {**still.model, "width": 64}})
    with pytest.raises(ConfigError, match=r"begin_with = .*first.*size mismatch"):
        train_run(wide, tmp_path / "third")


def test_killed_and_resumed_is_bit_identical(folder: Path, tmp_path: Path):
    (tmp_path / "config.toml").write_text(make_config(folder).to_toml())
    assert spawn(tmp_path / "config.toml", tmp_path / "whole").wait(120) == 0
    process = spawn(tmp_path / "config.toml", tmp_path / "killed")
    deadline = time.time() + 60
    while not (tmp_path / "killed" / "checkpoint.previous.safetensors").exists() and time.time() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL
    assert spawn(tmp_path / "config.toml", tmp_path / "killed").wait(120) == 0
    for name in ("model.safetensors", "checkpoint.safetensors"):
        whole, killed = load_file(tmp_path / "whole" / name), load_file(tmp_path / "killed" / name)
        assert whole.keys() == killed.keys()
        assert all(torch.equal(whole[key], killed[key]) for key in whole)


def test_a_broken_checkpoint_falls_back_to_the_one_before(folder: Path, tmp_path: Path, capsys):
    config = make_config(folder, steps=6)
    train_run(config, tmp_path / "run")
    newest = tmp_path / "run" / "checkpoint.safetensors"
    newest.write_bytes(newest.read_bytes()[:1000])
    assert load_checkpoint(Run.create(config, tmp_path / "run"), []) == 4
    assert "trying the one before" in capsys.readouterr().out


def test_training_learns(folder: Path, tmp_path: Path):
    config = make_config(folder, steps=40)
    config = config.model_copy(update={"train": config.train.model_copy(update={"sample_every": 40})})
    run = train_run(config, tmp_path / "run")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines if '"loss"' in line]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:2])
    assert len(TokenDataset(str(folder), "train")) > 0
    assert not run.model.training
    assert len(bars(read(tmp_path / "run" / "samples" / "0000040.mid"))) == 16
