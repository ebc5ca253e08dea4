"""Attention computed bar by bar equals attention under n × n masks, in values and in gradients, and leaks nothing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ritornello.layers.attention import masked_attention, related_mask, summary_mask
from ritornello.layers.barwise import BarPlan, aggregate, summarise

OFFSETS = (1, 2, 4, 8)


def song_places(lengths: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and bars of packed songs, given the tokens of every bar of every song."""
    rows = [row for row, song in enumerate(lengths) for length in song for _ in range(length)]
    bars = [bar for song in lengths for bar, length in enumerate(song) for _ in range(length)]
    return torch.tensor(rows), torch.tensor(bars)


def both_forms(lengths: list[list[int]], coarse: bool, fine: bool) -> list[list[torch.Tensor]]:
    """[outputs and gradients] of the bar-by-bar form, then of the dense form, on the same random input."""
    rows, bars = song_places(lengths)
    plan = BarPlan.make(rows, bars, OFFSETS, coarse, fine)
    summaries = len(plan.lengths) if coarse else 0
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(n, 2, 8, generator=generator) for n in (len(rows),) * 3 + (summaries,) * 2]
    upstream = torch.randn(len(rows), 2, 8, generator=generator)

    def dense(q, k, v, sk, sv):
        mask = related_mask(rows, bars, OFFSETS, fine)
        if coarse:
            seen = summary_mask(rows, bars, plan.summary_rows, plan.summary_bars, OFFSETS, fine)
            mask = torch.cat([mask, seen], 1)
        return masked_attention(q, torch.cat([k, sk]), torch.cat([v, sv]), mask)

    results = []
    for attention in (lambda q, k, v, sk, sv: aggregate(q, k, v, sk, sv, plan), dense):
        leaves = [x.clone().requires_grad_() for x in inputs]
        out = attention(*leaves)
        results.append([out, *torch.autograd.grad(out, leaves, upstream)])
    return results


@pytest.mark.parametrize(("coarse", "fine"), [(True, True), (False, True), (True, False)])
def test_aggregate_equals_dense(coarse: bool, fine: bool):
    lengths = [[5, 40, 1, 33, 64, 7, 12, 3, 90, 31, 32, 2], [70, 3, 20]]
    for fast, slow in zip(*both_forms(lengths, coarse, fine), strict=True):
        torch.testing.assert_close(fast, slow, atol=1e-4, rtol=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=14), min_size=1, max_size=3))
def test_aggregate_equals_dense_for_any_bars(lengths: list[list[int]]):
    for fast, slow in zip(*both_forms(lengths, True, True), strict=True):
        torch.testing.assert_close(fast, slow, atol=1e-4, rtol=1e-4)


def test_crop_keeps_musical_distances():
    """Bars are numbers, not places: a crop that begins at bar 30 sees the same distances."""
    rows, bars = song_places([[3, 4, 5, 6]])
    plain = BarPlan.make(rows, bars, OFFSETS)
    late = BarPlan.make(rows, bars + 30, OFFSETS)
    assert plain.steps == late.steps


def test_summarise_equals_dense():
    rows, bars = song_places([[5, 1, 33], [7, 2]])
    plan = BarPlan.make(rows, bars, OFFSETS)
    count = len(plan.lengths)
    inputs = [torch.randn(n, 2, 8) for n in (count, count, count, len(rows), len(rows))]
    of_bar = (plan.summary_rows[:, None] == rows) & (plan.summary_bars[:, None] == bars)
    mask = torch.cat([of_bar, torch.eye(count, dtype=torch.bool)], 1)

    def dense(q, own_k, own_v, k, v):
        return masked_attention(q, torch.cat([k, own_k]), torch.cat([v, own_v]), mask)

    results = []
    for attention in (lambda q, ok, ov, k, v: summarise(q, ok, ov, k, v, plan.lengths), dense):
        leaves = [x.clone().requires_grad_() for x in inputs]
        out = attention(*leaves)
        results.append([out, *torch.autograd.grad(out.square().sum(), leaves)])
    for fast, slow in zip(*results, strict=True):
        torch.testing.assert_close(fast, slow, atol=1e-4, rtol=1e-4)


def test_bfloat16_stays_close():
    rows, bars = song_places([[50, 60, 20, 80]])
    plan = BarPlan.make(rows, bars, OFFSETS)
    q, k, v, sk, sv = (torch.randn(n, 2, 8) for n in (len(rows),) * 3 + (len(plan.lengths),) * 2)
    exact = aggregate(q, k, v, sk, sv, plan)
    rough = aggregate(q.bfloat16(), k.bfloat16(), v.bfloat16(), sk.bfloat16(), sv.bfloat16(), plan).float()
    assert (exact - rough).abs().max() < 0.05
