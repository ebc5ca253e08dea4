"""What a training may be asked for."""

from __future__ import annotations

import pytest

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
