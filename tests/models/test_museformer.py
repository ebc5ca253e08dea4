"""Museformer against its dense oracle, and what its attention can and cannot see."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ritornello.data.batch import collate, unbatch
from ritornello.data.dataset import cut
from ritornello.models import family
from ritornello.models.base import Packed
from ritornello.models.museformer import Config, Museformer
from ritornello.representations import build
from ritornello.run import RunConfig
from tests.families import VARIANTS, make_batch, make_model


@pytest.mark.parametrize("variant", [variant for variant in VARIANTS if variant.startswith("museformer")])
def test_bar_by_bar_equals_dense(variant: str):
    """Values and gradients of the whole model, padded batch included."""
    vocabulary, batch = build("museformer").vocabulary, make_batch()
    fast = make_model(variant)
    slow = Museformer(Config.from_dict({**VARIANTS[variant], "dense": True}), vocabulary)
    slow.load_state_dict(fast.state_dict())
    for model in (fast, slow):
        torch.manual_seed(1)  # the same songs are told their length
        model.loss(batch)["loss"].backward()
    torch.testing.assert_close(fast(batch), slow(batch), atol=1e-4, rtol=1e-4)
    for (name, p), (_, q) in zip(fast.named_parameters(), slow.named_parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, atol=1e-4, rtol=1e-4, msg=name)


def sees(model: Museformer, target: int, source: int) -> bool:
    """Whether the input of token `source` changes the attention output of token `target` in a single layer."""
    batch = make_batch((60,))
    inputs: list[torch.Tensor] = []

    def keep(_module, _inputs, output):
        inputs.append(output.detach().requires_grad_())
        return inputs[0]

    handle = model.embedding.register_forward_hook(keep)
    logits = model(batch)[0, target]
    handle.remove()
    (gradient,) = torch.autograd.grad(logits.square().sum(), inputs[0])
    return bool(gradient[source].abs().max() > 0)


def one_layer(**settings) -> Museformer:
    torch.manual_seed(0)
    small = {"layers": 1, "width": 32, "heads": 2, "feedforward": 64, "dropout": 0.0, "offsets": (1, 3)}
    return Museformer(Config(**{**small, **settings}), build("museformer").vocabulary)


def test_a_bar_s_first_token_uses_its_own_related_bars():
    """Bars have 9 tokens here. Token 36 opens bar 4: related are bars 3 and 1, not bars 2 and 0 (bar 3's own)."""
    model = one_layer(coarse=False)
    assert [sees(model, 36, source) for source in (4, 12, 22, 30)] == [False, True, False, True]


def test_coarse_attention_sees_the_other_bars():
    model = one_layer(coarse=True)
    assert all(sees(model, 36, source) for source in (4, 12, 22, 30))


def test_without_fine_only_summaries_are_seen():
    model = one_layer(fine=False, coarse=False)
    assert not any(sees(model, 36, source) for source in (4, 12, 22, 30))


def test_width_must_be_a_multiple_of_heads():
    from ritornello.errors import ConfigError

    with pytest.raises(ConfigError, match="heads"):
        Config.from_dict({"width": 30, "heads": 4})


CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_file_of_settings_is_a_family_s(path: Path):
    settings = RunConfig.from_toml(path)
    family(settings.family)[0].Config.from_dict(settings.model)


@pytest.mark.parametrize(
    ("flag", "changed"),
    [
        ("model.coarse=false", {"coarse": False}),
        ("model.fine=false", {"fine": False}),
        ("model.offsets=[1, 2, 3, 4, 5, 6, 7, 8]", {"offsets": (1, 2, 3, 4, 5, 6, 7, 8)}),
    ],
)
def test_an_ablation_is_one_flag(flag: str, changed: dict[str, Any]):
    """Section 4.3, from the paper's configuration."""
    assert flag in (CONFIGS / "museformer-paper.toml").read_text()
    settings = RunConfig.from_toml(CONFIGS / "museformer-paper.toml", [flag])
    assert Config.from_dict(settings.model) == Config(**changed)


def test_a_crop_recalls_what_stands_before_it():
    """The last bars of a song embed the same with the song before them as in the whole song."""
    (whole,) = unbatch(make_batch((90,)))
    embedding = make_model("museformer-shipped").embedding
    crop = cut(whole, 45, 90)
    expected = embedding(Packed(collate([whole])))[45:]
    found, forgetful = (embedding(Packed(collate([c]))) for c in (crop, replace(crop, past=crop.past[:0])))
    torch.testing.assert_close(found[2:], expected[2:])  # the two tokens carried along are not of the past
    assert not torch.allclose(forgetful[2:], expected[2:])
