"""FlexAttention's mask and result against attention under n × n masks."""

from __future__ import annotations

import pytest
import torch

from ritornello.layers.attention import masked_attention, related_mask, summary_mask
from ritornello.layers.barwise import BarPlan
from ritornello.layers.flexible import attend, block_mask
from ritornello.models import museformer
from ritornello.models.museformer import Context
from tests.families import make_batch, make_model
from tests.layers.test_barwise import OFFSETS, song_places

SONGS = [[5, 40, 1, 33, 64, 7, 12, 3, 90, 31, 32, 2, 200], [70, 3, 20], [16, 16, 16, 16, 48]]


def both_masks(lengths: list[list[int]], coarse: bool, fine: bool, block: int, device: str = "cpu"):
    """The block mask, its plan, and the dense mask [tokens, tokens + summaries]."""
    rows, bars = (x.to(device) for x in song_places(lengths))
    plan = BarPlan.make(rows, bars, OFFSETS, coarse, fine)
    dense = related_mask(rows, bars, OFFSETS, fine)
    if coarse:
        seen = summary_mask(rows, bars, plan.summary_rows, plan.summary_bars, OFFSETS, fine)
        dense = torch.cat([dense, seen], 1)
    return block_mask(plan, rows, bars, OFFSETS, fine, block), plan, dense


@pytest.mark.parametrize("block", [16, 128])
@pytest.mark.parametrize(("coarse", "fine"), [(True, True), (False, True), (True, False)])
def test_mask_equals_dense(coarse: bool, fine: bool, block: int):
    """The pairs of the blocks that are listed, and of these, where a block is not full, those that are allowed."""
    mask, _, dense = both_masks(SONGS, coarse, fine, block)
    tokens, sources = mask.seq_lengths
    target, source = torch.arange(tokens)[:, None], torch.arange(sources)
    zero = torch.zeros((), dtype=torch.long)
    allowed = mask.mask_mod(zero, zero, target, source)

    def listed(counts: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
        table = torch.zeros(order.shape[-2:], dtype=torch.bool)
        for i, count in enumerate(counts[0, 0].tolist()):
            table[i, order[0, 0, i, :count]] = True
        return table[target // block, source // block]

    assert mask.full_kv_num_blocks is not None
    assert mask.full_kv_indices is not None
    partial, full = listed(mask.kv_num_blocks, mask.kv_indices), listed(mask.full_kv_num_blocks, mask.full_kv_indices)
    found = full | (partial & allowed)
    filled = tokens + -tokens % block
    assert torch.equal(torch.cat([found[:, :tokens], found[:, filled:]], 1), dense)
    assert not found[:, tokens:filled].any()
    assert not (full & partial).any()
    assert block == 128 or not fine or full.any()


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@pytest.mark.filterwarnings("ignore:flex_attention called without")
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)])
@pytest.mark.parametrize(("coarse", "fine"), [(True, True), (False, True), (True, False)])
def test_equals_dense(coarse: bool, fine: bool, device: str):
    """On a GPU in gradients too; FlexAttention has none on a CPU."""
    torch.manual_seed(0)
    mask, plan, dense = both_masks(SONGS, coarse, fine, 128, device)
    summaries = len(plan.lengths) if coarse else 0
    inputs = [torch.randn(n, 2, 16, device=device) for n in (len(dense),) * 3 + (summaries,) * 2]
    upstream = torch.randn(len(dense), 2, 16, device=device)
    results = []
    for attention in (
        lambda q, k, v, sk, sv: attend(q, k, v, sk, sv, mask),
        lambda q, k, v, sk, sv: masked_attention(q, torch.cat([k, sk]), torch.cat([v, sv]), dense),
    ):
        leaves = [x.clone().requires_grad_(device == "cuda") for x in inputs]
        out = attention(*leaves)
        results.append([out, *(torch.autograd.grad(out, leaves, upstream) if device == "cuda" else ())])
    for fast, slow in zip(*results, strict=True):  # a GPU's matrices of float32 may be of shortened factors
        torch.testing.assert_close(fast, slow, atol=1e-4 if device == "cpu" else 2e-2, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_the_model_says_the_same_through_it(monkeypatch: pytest.MonkeyPatch):
    model, batch = make_model("museformer").eval(), make_batch()

    def context(packed, plan, token_angles, summary_angles, _):
        blocks = block_mask(plan, packed.rows, packed.bars, model.config.offsets)
        return Context(packed, plan, token_angles, summary_angles, blocks)

    with torch.no_grad():
        expected = model(batch)
        monkeypatch.setattr(museformer, "Context", context)
        torch.testing.assert_close(model(batch), expected, atol=1e-4, rtol=1e-4)
