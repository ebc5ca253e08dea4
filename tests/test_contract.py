"""What every family must do, whatever it is inside."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from ritornello.run import Run, RunConfig
from tests.families import SMALL, VARIANTS, make_batch, make_model


@pytest.mark.parametrize("variant", VARIANTS)
def test_loss_is_finite_and_reaches_every_parameter(variant: str):
    model = make_model(variant)
    loss = model.loss(make_batch())["loss"]
    loss.backward()
    assert loss.isfinite()
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_overfits_a_batch(variant: str):
    model, batch = make_model(variant), make_batch((40,))
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    first = model.loss(batch)["loss"].item()
    for _ in range(150):
        model.loss(batch)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert model.loss(batch)["loss"].item() < 0.1 * first


def future_gradient(model: Any) -> float:
    """Largest gradient of any logit with respect to the input of any later token."""
    batch = make_batch((60,))
    inputs: list[torch.Tensor] = []

    def keep(_module, _inputs, output):
        inputs.append(output.detach().requires_grad_())
        return inputs[0]

    handle = model.embedding.register_forward_hook(keep)
    logits = model(batch)[0]
    handle.remove()
    worst = 0.0
    for t in range(len(logits) - 1):
        (gradient,) = torch.autograd.grad(logits[t].square().sum(), inputs[0], retain_graph=True)
        worst = max(worst, gradient[t + 1 :].abs().max().item())
    return worst


@pytest.mark.parametrize("variant", VARIANTS)
def test_future_gradient_is_exactly_zero(variant: str):
    assert future_gradient(make_model(variant)) == 0.0


def test_a_planted_leak_is_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ritornello.layers.barwise._causal", lambda width, *_: torch.zeros(width, width))
    assert future_gradient(make_model("museformer")) > 0.0


@pytest.mark.parametrize("writing", ["plain", "float32"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_cached_equals_uncached(variant: str, writing: str):
    model = make_model(variant).eval()
    model.writing = writing
    batch = make_batch()
    batch = replace(batch, lengths=torch.tensor([60, 60]), ids=batch.ids.clamp(min=1)[:, :60])
    batch = replace(batch, **{f: getattr(batch, f)[:, :60] for f in ("bars", "positions", "countdown")})
    with torch.no_grad():
        expected = model(batch)
    cache = model.cache(2)
    for t in range(60):
        logits = model.advance(*_column(batch, [t, t]), cache)
        torch.testing.assert_close(logits, expected[:, t], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("writing", ["plain", "float32"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_prefill_equals_advancing(variant: str, writing: str):
    """Prompts of unequal length are read at once, then continued."""
    model = make_model(variant).eval()
    model.writing = writing
    batch = make_batch((60, 60))
    with torch.no_grad():
        expected = model(batch)
    starts = [25, 31]
    prompt = replace(batch, lengths=torch.tensor(starts))
    cache = model.cache(2)
    first = model.prefill(prompt, cache)
    for row, start in enumerate(starts):
        torch.testing.assert_close(first[row], expected[row, start - 1], atol=1e-4, rtol=1e-4)
    for t in range(25):
        places = [start + t for start in starts]
        logits = model.advance(*_column(batch, places), cache)
        for row, place in enumerate(places):
            torch.testing.assert_close(logits[row], expected[row, place], atol=1e-4, rtol=1e-4)


def _column(batch, places: list[int]) -> list[torch.Tensor]:
    fields = (batch.ids, batch.bars, batch.positions, batch.countdown)
    return [torch.stack([field[row, place] for row, place in enumerate(places)]) for field in fields]


@pytest.mark.parametrize("variant", VARIANTS)
def test_padding_changes_nothing(variant: str):
    model = make_model(variant).eval()
    batch = make_batch((90, 60))
    alone = replace(batch, **{f: getattr(batch, f)[1:, :60] for f in ("ids", "bars", "positions", "countdown")})
    alone = replace(alone, lengths=torch.tensor([60]))
    with torch.no_grad():
        torch.testing.assert_close(model(batch)[1, :60], model(alone)[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", SMALL)
def test_saved_and_opened_is_equal(name: str, tmp_path):
    run = Run.create(RunConfig(family=name, representation="museformer", model=SMALL[name]), tmp_path / "run")
    run.save()
    opened = Run.open(tmp_path / "run")
    batch = make_batch()
    run.model.eval()
    with torch.no_grad():
        torch.testing.assert_close(run.model(batch), opened.model(batch), atol=0, rtol=0)
