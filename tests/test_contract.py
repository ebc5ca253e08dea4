"""What every family must do, whatever it is inside."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ritornello.generate_rolls import generate_rolls
from ritornello.layers.transformer import deepened
from ritornello.models import family
from ritornello.representations import build
from ritornello.run import Run, RunConfig
from ritornello.sampling.autoregress import Token
from tests.families import (
    EVERY,
    ROLLS,
    SMALL,
    VARIANTS,
    batch_for,
    make_batch,
    make_config,
    make_model,
    make_rolls,
    make_used,
    representation_of,
)

PLACED = ("ids", "bars", "positions", "countdown")

# Every family


@pytest.mark.parametrize("variant", EVERY)
def test_loss_is_finite_and_reaches_every_parameter(variant: str):
    """Each player moves something of its own, and together they move everything that learns."""
    model = make_model(variant)
    reached: dict[str, set[str]] = {}
    for player in model.players:
        model.zero_grad(set_to_none=True)
        loss = model.loss(batch_for(variant), 0, player)["loss"]
        loss.backward()
        assert loss.isfinite()
        reached[player] = {
            name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0
        }
        assert not any(reached[player] & reached[other] for other in reached if other != player)
    learning = {name for name, p in make_model(variant).named_parameters() if p.requires_grad}
    assert learning - set().union(*reached.values()) == set()


@pytest.mark.parametrize("variant", EVERY)
def test_saved_and_opened_is_equal(variant: str, tmp_path):
    run = Run.create(RunConfig.from_dict(make_config(variant)), tmp_path / "run")
    run.save()
    opened = Run.open(tmp_path / "run")
    before, after = run.model.state_dict(), opened.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert opened.wishes is run.wishes


# Those of tokens


@pytest.mark.parametrize("variant", VARIANTS)
def test_overfits_a_batch(variant: str):
    model, batch = make_model(variant), tokens_for(variant, (40,))
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    losses = []
    while not losses or losses[-1] >= 0.1 * losses[0]:
        assert len(losses) < 150
        loss = model.loss(batch)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())


def tokens_for(variant: str, lengths: tuple[int, ...] = (90, 60)) -> Any:
    return make_batch(lengths, representation=representation_of(variant))


def future_gradient(model: Any, batch: Any) -> float:
    """Largest gradient of any logit with respect to the input of any later token."""
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
    assert future_gradient(make_model(variant), tokens_for(variant, (60,))) == 0.0


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_future_changes_nothing(variant: str):
    """What is counted from the tokens, and not learned, looks back only, too."""
    model = make_model(variant).eval()
    one, other = tokens_for(variant, (60,)), make_batch((60,), 7, representation_of(variant))
    mixed = replace(one, **{f: torch.cat([getattr(one, f)[:, :35], getattr(other, f)[:, 35:]], 1) for f in PLACED})
    with torch.no_grad():
        torch.testing.assert_close(model(one)[:, :35], model(mixed)[:, :35], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("variant", [v for v in VARIANTS if not v.startswith(("musemorphose", "chorale"))])
def test_a_deeper_model_begins_as_the_shallower_one(variant: str):
    """It computes the same, and its new layers learn."""
    shallow, deep, batch = make_model(variant), make_model(variant, 1, layers=5), tokens_for(variant)
    deep.load_state_dict(deepened(shallow.state_dict(), deep.state_dict()))
    shallow.eval(), deep.eval()
    loss = deep.loss(batch)["loss"]
    torch.testing.assert_close(loss, shallow.loss(batch)["loss"], atol=1e-5, rtol=1e-5)
    loss.backward()
    still = [name for name, p in deep.named_parameters() if name.startswith("blocks.") and not p.grad.abs().sum()]
    assert {name.split(".")[1] for name in still} == {"1", "3", "4"}  # copies of blocks 0, 1 and 1: new
    assert not any(name.endswith(("out.weight", "contract.weight")) for name in still)


def test_a_planted_leak_is_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ritornello.layers.barwise._causal", lambda width, *_: torch.zeros(width, width))
    assert future_gradient(make_model("museformer"), make_batch((60,))) > 0.0


@pytest.mark.parametrize("writing", ["plain", "float32"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_cached_equals_uncached(variant: str, writing: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ritornello.layers.cache.ROOM", 16)  # so that it must grow, as in a long song
    model = make_used(variant)
    model.writing = writing
    batch = tokens_for(variant)
    batch = replace(batch, lengths=torch.tensor([60, 60]), ids=batch.ids.clamp(min=1)[:, :60])
    batch = replace(batch, **{f: getattr(batch, f)[:, :60] for f in ("bars", "positions", "countdown")})
    advances_as_at_once(model, model.cache(2), batch)


@pytest.mark.parametrize("writing", ["plain", "float32"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_prefill_equals_advancing(variant: str, writing: str):
    """Prompts of unequal length are read at once, then continued."""
    model = make_used(variant)
    model.writing = writing
    batch = tokens_for(variant, (60, 60))
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
        logits = model.advance(Token(*_column(batch, places)), cache)
        for row, place in enumerate(places):
            torch.testing.assert_close(logits[row], expected[row, place], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("writing", ["plain", "float32"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_row_that_is_kept_twice_goes_on_by_itself(variant: str, writing: str):
    """Its copies hear different tokens from then on, and neither hears the other's."""
    model = make_used(variant)
    model.writing = writing
    batch = tokens_for(variant, (60, 60))
    order, start = [1, 0, 1], 31
    cache = model.cache(2)
    model.prefill(replace(batch, lengths=torch.tensor([start, start])), cache)
    cache.keep(order)
    after = replace(batch, **{f: getattr(batch, f)[order] for f in PLACED}, lengths=torch.tensor([60, 60, 60]))
    after.ids[2, start:] = after.ids[1, start:]
    assert (after.ids[2] != after.ids[0]).any()
    advances_as_at_once(model, cache, after, start)


@pytest.mark.parametrize("variant", [variant for variant in VARIANTS if make_model(variant).divisible])
def test_a_row_that_is_set_aside_comes_back(variant: str):
    model, batch, start = make_used(variant), tokens_for(variant, (60, 60)), 31
    cache = model.cache(2)
    model.prefill(replace(batch, lengths=torch.tensor([start, start])), cache)
    aside = cache.part([0])
    cache.keep([1])
    cache.join(aside)
    turned = replace(batch, **{f: getattr(batch, f)[[1, 0]] for f in PLACED})
    advances_as_at_once(model, cache, turned, start)


def advances_as_at_once(model, cache, batch, start: int = 0) -> None:
    """Token by token from `start` on, equally long songs get the logits that they get all at once."""
    with torch.no_grad():
        expected = model(batch)
    rows, length = batch.ids.shape
    for t in range(start, length):
        logits = model.advance(Token(*_column(batch, [t] * rows)), cache)
        torch.testing.assert_close(logits, expected[:, t], atol=1e-4, rtol=1e-4)


def _column(batch, places: list[int]) -> list[torch.Tensor]:
    fields = (batch.ids, batch.bars, batch.positions, batch.countdown)
    return [torch.stack([field[row, place] for row, place in enumerate(places)]) for field in fields]


@pytest.mark.parametrize("variant", VARIANTS)
def test_padding_changes_nothing(variant: str):
    model = make_used(variant)
    batch = tokens_for(variant)
    alone = replace(batch, **{f: getattr(batch, f)[1:, :60] for f in ("ids", "bars", "positions", "countdown")})
    alone = replace(alone, lengths=torch.tensor([60]))
    with torch.no_grad():
        torch.testing.assert_close(model(batch)[1, :60], model(alone)[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", SMALL)
def test_opened_says_the_same(name: str, tmp_path):
    representation = representation_of(name)
    run = Run.create(RunConfig(family=name, representation=representation, model=SMALL[name]), tmp_path / "run")
    run.save()
    opened = Run.open(tmp_path / "run")
    batch = tokens_for(name)
    run.model.eval()
    with torch.no_grad():
        torch.testing.assert_close(run.model(batch), opened.model(batch), atol=0, rtol=0)


# Those of piano rolls


def controls_of(variant: str, **wishes: Any) -> Any:
    return family(variant.split("-")[0])[0].Controls(**wishes)


def play(variant: str, **wishes: Any) -> list[Any]:
    model, representation = make_model(variant), build(ROLLS[variant][0])
    return list(generate_rolls(model, representation, controls_of(variant, **wishes)))


@pytest.mark.parametrize("variant", [v for v in ROLLS if len(make_model(v).players) == 1])
def test_a_model_of_rolls_overfits_a_batch(variant: str):
    model, batch = make_model(variant), make_rolls(2)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-2)
    torch.manual_seed(0)
    losses = []
    while not losses or np.mean(losses[-10:]) >= 0.2 * losses[0]:
        assert len(losses) < 200
        loss = model.loss(batch, len(losses))["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())


@pytest.mark.parametrize("variant", ROLLS)
def test_the_same_seed_is_the_same_piece(variant: str):
    """Also in another batch: a piece is its own seed's."""
    together, alone, other = (play(variant, seed=s, count=n)[-1] for s, n in ((5, 3), (6, 1), (7, 1)))
    assert together.done
    for name in ("cells", "bars"):
        torch.testing.assert_close(getattr(together.rolls[1], name), getattr(alone.rolls[0], name), atol=0, rtol=0)
    assert (alone.rolls[0].cells != other.rolls[0].cells).any()


@pytest.mark.parametrize("variant", ROLLS)
def test_a_piece_is_a_score_of_the_tempo_asked_for(variant: str, tmp_path):
    drafts = play(variant, tempo=99.0)
    assert [draft.done for draft in drafts] == [False] * (len(drafts) - 1) + [True]
    assert drafts[-1].bars > 0
    (song,) = drafts[-1].songs()
    assert song.score.tempos[0].qpm == pytest.approx(99, abs=0.01)


@pytest.mark.parametrize("variant", ROLLS)
def test_held_out_windows_are_measured(variant: str):
    """Without leaving gradients behind, and the same twice."""
    model, batch = make_model(variant).eval(), make_rolls()
    figures = []
    for _ in range(2):
        torch.manual_seed(0)
        figures.append({name: float(value) for name, value in model.measure(batch).items()})
    assert figures[0] == figures[1]
    assert all(p.grad is None for p in model.parameters())
