"""What a training may be asked for."""

from __future__ import annotations

import pytest
import torch

from ritornello.errors import ConfigError
from ritornello.train.loop import TrainConfig


@pytest.mark.parametrize("name", ["log_every", "validate_every", "save_every"])
@pytest.mark.parametrize("value", [0, -1])
def test_intervals_that_never_come_are_one_sentence(name: str, value: int):
    with pytest.raises(ConfigError, match=rf"{name} = {value}\b.*greater than 0"):
        TrainConfig.from_dict({name: value})


@pytest.mark.parametrize("name", ["steps", "sample_every"])
def test_no_steps_and_no_samples_on_the_way_can_be_asked_for_but_not_fewer(name: str):
    assert TrainConfig.from_dict({name: 0}).model_dump()[name] == 0
    with pytest.raises(ConfigError, match=rf"{name} = -1\b.*greater than or equal to 0"):
        TrainConfig.from_dict({name: -1})


@pytest.mark.parametrize(
    ("processor", "gpu", "precision"),
    [
        ({"avx512_bf16": True}, False, "bfloat16"),
        ({"avx512_bf16": False}, False, "float32"),
        ({"bf16": True}, False, "bfloat16"),
        ({}, False, "float32"),
        ({"avx512_bf16": False}, True, "bfloat16"),
    ],
)
def test_precision_is_by_default_what_the_machine_multiplies(
    monkeypatch: pytest.MonkeyPatch, processor: dict[str, bool], gpu: bool, precision: str
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: processor)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert TrainConfig().precision == precision
    assert TrainConfig(precision="float32").precision == "float32"
