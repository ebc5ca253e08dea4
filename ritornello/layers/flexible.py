"""Fine- and coarse-grained attention on a GPU: one FlexAttention kernel for all bars, told which blocks it may skip.

Keys are those of the music's tokens, filled up to whole blocks, then those of the summaries: a region of their own, so
that blocks are either needed by many pairs or by none. Which blocks a block of queries needs follows from the bars'
runs; within a block that is needed in part, a pair counts if the places of its two ends say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from ritornello.layers.barwise import Bar, BarPlan

BLOCK = 128  # queries and keys of a block


def block_mask(
    plan: BarPlan,
    rows: Int[Tensor, " tokens"],
    bars: Int[Tensor, " tokens"],
    offsets: tuple[int, ...],
    fine: bool = True,
    block: int = BLOCK,
) -> BlockMask:
    """Who attends to whom, for `attend`: made once for a batch, used by every layer, on the device of `rows`."""
    filling = -len(rows) % block
    has_summaries = any(bar.summary_runs for bar in plan.steps)
    others = (plan.summary_rows, plan.summary_bars) if has_summaries else (rows[:0], rows[:0])
    source_row = torch.cat([F.pad(rows, (0, filling), value=-1), others[0]])
    source_bar = torch.cat([F.pad(bars, (0, filling)), others[1]])
    is_summary = torch.arange(len(source_row), device=rows.device) >= len(rows) + filling
    whole = torch.zeros(max(offsets, default=0) + 2, dtype=torch.bool, device=rows.device)  # by distance in bars
    whole[list(offsets) if fine else []] = True

    def allowed(batch: Tensor, head: Tensor, target: Tensor, source: Tensor) -> Tensor:
        distance = bars[target] - source_bar[source]
        related = whole[distance.clamp(0, len(whole) - 1)]
        of_token = related | ((distance == 0) & (source <= target))
        seen = torch.where(is_summary[source], (distance > 0) & ~related, of_token)
        return seen & (rows[target] == source_row[source])

    needed, full = _blocks(plan, len(rows), len(source_row), block)
    lists = [x.to(rows.device) for table in (needed & ~full, full) for x in _listed(table)]
    return BlockMask.from_kv_blocks(
        *lists, BLOCK_SIZE=block, mask_mod=allowed, seq_lengths=(len(rows), len(source_row))
    )


def attend(
    queries: Float[Tensor, "tokens heads size"],
    keys: Float[Tensor, "tokens heads size"],
    values: Float[Tensor, "tokens heads size"],
    summary_keys: Float[Tensor, "summaries heads size"],
    summary_values: Float[Tensor, "summaries heads size"],
    mask: BlockMask,
) -> Float[Tensor, "tokens heads size"]:
    """Aggregation (Eq. 3), as `barwise.aggregate`, under `block_mask`'s mask."""
    tokens, sources = mask.seq_lengths
    filling = -tokens % mask.BLOCK_SIZE[1]
    summaries = sources - tokens - filling  # none where the mask has none
    k, v = (
        torch.cat([F.pad(own, (0, 0, 0, 0, 0, filling)), other[:summaries].to(own.dtype)])
        for own, other in ((keys, summary_keys), (values, summary_values))
    )
    attention = _compiled() if queries.is_cuda else flex_attention
    q, k, v = (x.transpose(0, 1)[None] for x in (queries, k, v))
    out: Any = attention(q, k, v, block_mask=mask)
    return out[0].transpose(0, 1)


@cache
def _compiled() -> Any:
    return torch.compile(flex_attention)


def _blocks(
    plan: BarPlan, tokens: int, sources: int, block: int
) -> tuple[Bool[np.ndarray, "targets sources"], Bool[np.ndarray, "targets sources"]]:
    """For each pair of blocks, whether any of its pairs counts, and whether all do."""
    first_summary = tokens + -tokens % block
    pairs = np.zeros((-(-tokens // block), -(-sources // block)), np.int64)
    causal = np.zeros(pairs.shape, bool)  # on a bar's own diagonal: needed, never full
    for bar in plan.steps:
        targets, of_target = _shares(bar.start, bar.stop, block)
        for start, stop in _spans(bar, first_summary):
            places, of_source = _shares(start, stop, block)
            pairs[targets, places] += of_target[:, None] * of_source
        pairs[targets, targets] += np.tril(of_target[:, None] * of_target, -1)
        causal[range(*targets.indices(len(pairs))), range(*targets.indices(len(pairs)))] = True
    return (pairs > 0) | causal, pairs == block * block


def _spans(bar: Bar, first_summary: int) -> Iterator[tuple[int, int]]:
    """The runs of sources that all of a bar's tokens see."""
    yield from bar.token_runs
    for start, stop in bar.summary_runs:
        yield first_summary + start, first_summary + stop


def _shares(start: int, stop: int, block: int) -> tuple[slice, Int[np.ndarray, " blocks"]]:
    """The blocks that [start, stop) touches, and how much of it lies in each."""
    touched = slice(start // block, -(-stop // block))
    edges = np.arange(touched.start, touched.stop + 1) * block
    return touched, np.diff(edges.clip(start, stop))


def _listed(table: Bool[np.ndarray, "targets sources"]) -> tuple[Tensor, Tensor]:
    """A table as FlexAttention wants it: how many blocks each target block has, and which, those first."""
    counts = torch.from_numpy(table.sum(1).astype(np.int32))
    order = torch.from_numpy(np.argsort(~table, axis=1, kind="stable").astype(np.int32))
    return counts[None, None], order[None, None]
