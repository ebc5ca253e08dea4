"""Schedules by hand, and which optimizer moves what."""

from __future__ import annotations

import pytest
import torch

from ritornello.train.optim import OptimConfig, learning_rate, make_optimizers
from tests.families import make_model


def test_inverse_square_root():
    config = OptimConfig(lr=1.0, warmup=100)
    assert learning_rate(config, 49, 1000) == pytest.approx(0.5)
    assert learning_rate(config, 99, 1000) == pytest.approx(1.0)
    assert learning_rate(config, 399, 1000) == pytest.approx(0.5)


def test_trapezoid():
    config = OptimConfig(lr=1.0, warmup=10, cooldown=20, schedule="trapezoid")
    assert learning_rate(config, 4, 100) == pytest.approx(0.5)
    assert learning_rate(config, 50, 100) == pytest.approx(1.0)
    assert learning_rate(config, 90, 100) == pytest.approx(0.5)
    assert learning_rate(config, 99, 100) == pytest.approx(0.05)


def test_every_parameter_has_one_optimizer():
    model = make_model("museformer-shipped")
    adamw, muon = make_optimizers(dict(model.named_parameters()), OptimConfig(optimizer="muon"))
    matrices = [p for group in muon.param_groups for p in group["params"]]
    others = [p for group in adamw.param_groups for p in group["params"]]
    assert isinstance(muon, torch.optim.Muon)
    assert {id(p) for p in matrices} | {id(p) for p in others} == {id(p) for p in model.parameters()}
    assert len(matrices) + len(others) == len(list(model.parameters()))
    assert all(p.ndim == 2 for p in matrices)
    assert any(p is model.head.weight for p in others)
