"""Temperature, top-k, top-p, min-p and the draw itself."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ritornello.sampling.logits import Dice, lean, min_p, pick, seeded, temperature, top_k, top_p

LOGITS = torch.tensor([[0.5, 0.25, 0.15, 0.1, 0.0], [0.1, 0.15, 0.25, 0.5, 0.0]]).log()


def kept(logits: torch.Tensor) -> list[list[int]]:
    return [row.isfinite().nonzero().flatten().tolist() for row in logits]


def test_temperature_scales_log_odds():
    hot = temperature(2.0)(LOGITS).softmax(-1)
    assert hot[0, 0] / hot[0, 1] == pytest.approx(math.sqrt(2))
    assert torch.equal(temperature(1.0)(LOGITS), LOGITS)


@pytest.mark.parametrize(("k", "expected"), [(1, [[0], [3]]), (3, [[0, 1, 2], [1, 2, 3]]), (9, [[0, 1, 2, 3]] * 2)])
def test_top_k(k: int, expected: list[list[int]]):
    assert kept(top_k(k)(LOGITS)) == expected


def test_top_k_of_some_tokens_leaves_the_others():
    assert kept(top_k(1, range(1, 3))(LOGITS)) == [[0, 1, 3], [0, 2, 3]]
    assert kept(top_k(1, range(0, 2))(LOGITS)) == [[0, 2, 3], [1, 2, 3]]
    assert kept(top_k(2, range(0, 2))(LOGITS)) == kept(LOGITS)


@pytest.mark.parametrize(("p", "expected"), [(0.01, [[0], [3]]), (0.6, [[0, 1], [2, 3]]), (1.0, [[0, 1, 2, 3]] * 2)])
def test_top_p(p: float, expected: list[list[int]]):
    assert kept(top_p(p)(LOGITS)) == expected


def test_min_p():
    assert kept(min_p(0.3)(LOGITS)) == [[0, 1, 2], [1, 2, 3]]
    assert kept(min_p(0.0)(LOGITS)) == kept(LOGITS)
    assert kept(min_p(0.9)(LOGITS)) == [[0], [3]]


def test_lean_adds():
    assert lean(torch.tensor([0.0, 0.0, 0.0, math.log(5), 0.0]))(LOGITS)[0, 3] == pytest.approx(math.log(0.5))


def test_pick_follows_the_distribution():
    rows = 20_000
    dice = Dice(seeded([3]))
    thrown = torch.cat([dice.throw() for _ in range(rows)])
    drawn = pick(LOGITS[:1].expand(rows, -1), thrown).bincount(minlength=5) / rows
    assert torch.allclose(drawn, LOGITS[0].exp(), atol=0.012)  # more than three standard deviations


@given(
    st.floats(0, 1, exclude_max=True),
    st.lists(st.sampled_from([-math.inf, -80.0, 0.0, 3.0]), min_size=1, max_size=9),
)
def test_pick_never_draws_what_is_forbidden(thrown: float, logits: list[float]):
    if max(logits) == -math.inf:
        logits[0] = 0.0
    token = pick(torch.tensor([logits]), torch.tensor([thrown], dtype=torch.float64))
    assert logits[token] > -math.inf


def test_a_row_of_dice_depends_on_its_own_seed_alone():
    together, alone = Dice(seeded([5, 6, 7])), Dice(seeded([6]))
    for _ in range(Dice.BLOCK + 10):
        assert together.throw()[1] == alone.throw()[0]
