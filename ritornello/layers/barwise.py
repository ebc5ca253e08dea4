"""Fine- and coarse-grained attention computed bar by bar: exact, and without any tensor of n × n.

All songs of a batch lie packed one after another. A bar's tokens share one set of keys (related bars, summaries, the
bar itself), so each bar is one dense product; only the bar's own block needs a causal mask. Lengths are rounded up so
that the matrix kernels meet few shapes: a bar's block simply reads on into what follows it, and what it reads is masked
or thrown away.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

_ROUND = 32  # bars and key counts are rounded up to a multiple of this


@dataclass(frozen=True)
class Bar:
    """One bar of the packed batch: its tokens [start, stop), and the runs of tokens and of summaries that it sees."""

    start: int
    stop: int
    token_runs: tuple[tuple[int, int], ...]
    summary_runs: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class BarPlan:
    """Who attends to whom, as host integers: made once for a batch, used by every layer.

    `rows` and `bars` are those of the tokens; one summary for each (row, bar) that occurs, in order.
    """

    steps: tuple[Bar, ...]
    lengths: Int[Tensor, " summaries"]
    summary_rows: Int[Tensor, " summaries"]
    summary_bars: Int[Tensor, " summaries"]

    @staticmethod
    def make(
        rows: Int[Tensor, " tokens"],
        bars: Int[Tensor, " tokens"],
        offsets: tuple[int, ...],
        coarse: bool = True,
        fine: bool = True,
    ) -> BarPlan:
        row, bar = rows.cpu().numpy(), bars.cpu().numpy()
        change = np.flatnonzero((np.diff(row) != 0) | (np.diff(bar) != 0)) + 1
        starts = np.concatenate([[0], change])
        stops = np.concatenate([change, [len(bar)]])
        steps: list[Bar] = []
        first = 0  # the row's first segment
        for i, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
            if row[start] != row[starts[first]]:
                first = i
            earlier = np.arange(first, i)
            whole = np.isin(bar[start] - bar[starts[earlier]], offsets) if fine else np.zeros(len(earlier), bool)
            fine_runs = _runs([(int(starts[j]), int(stops[j])) for j in earlier[whole]])
            coarse_runs = _runs([(int(j), int(j) + 1) for j in earlier[~whole]]) if coarse else ()
            steps.append(Bar(start, stop, fine_runs, coarse_runs))
        device = rows.device
        return BarPlan(
            tuple(steps),
            torch.as_tensor(stops - starts, device=device),
            torch.as_tensor(row[starts], device=device),
            torch.as_tensor(bar[starts], device=device),
        )


def _runs(spans: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Join spans that touch: fewer, longer copies."""
    joined: list[tuple[int, int]] = []
    for start, stop in spans:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return tuple(joined)


def summarise(
    queries: Float[Tensor, "summaries heads size"],
    own_keys: Float[Tensor, "summaries heads size"],
    own_values: Float[Tensor, "summaries heads size"],
    keys: Float[Tensor, "tokens heads size"],
    values: Float[Tensor, "tokens heads size"],
    lengths: Int[Tensor, " summaries"],
) -> Float[Tensor, "summaries heads size"]:
    """Summarisation (Eq. 2): each summary attends to its bar's tokens and to itself; a softmax over each segment."""
    scale = queries.shape[-1] ** -0.5
    of_token = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
    scores = (queries[of_token] * keys).sum(-1).float() * scale
    own_scores = (queries * own_keys).sum(-1).float() * scale
    highest = torch.segment_reduce(scores.detach(), "max", lengths=lengths, axis=0).maximum(own_scores.detach())
    weights = (scores - highest[of_token]).exp()
    own_weights = (own_scores - highest).exp()
    total = torch.zeros_like(own_weights).index_add(0, of_token, weights) + own_weights
    weighted = torch.zeros_like(own_values, dtype=torch.float32).index_add(
        0, of_token, (weights[..., None] * values).float()
    )
    return ((weighted + own_weights[..., None] * own_values) / total[..., None]).to(queries.dtype)


def aggregate(
    queries: Float[Tensor, "tokens heads size"],
    keys: Float[Tensor, "tokens heads size"],
    values: Float[Tensor, "tokens heads size"],
    summary_keys: Float[Tensor, "summaries heads size"],
    summary_values: Float[Tensor, "summaries heads size"],
    plan: BarPlan,
) -> Float[Tensor, "tokens heads size"]:
    """Aggregation (Eq. 3): each token attends to its related bars, summaries of the others, and its own bar so far."""
    scaled = queries * queries.shape[-1] ** -0.5
    tail = queries.new_zeros((_ROUND, *queries.shape[1:]))  # the last bar's block reads on into this
    tokens = torch.stack([torch.cat([keys, tail]), torch.cat([values, tail])]).transpose(1, 2)
    summaries = torch.stack([summary_keys, summary_values]).transpose(1, 2)
    padded = torch.cat([scaled, tail]).transpose(0, 1)
    with torch.autocast(queries.device.type, enabled=False):
        out = _Aggregate.apply(padded.contiguous(), tokens.contiguous(), summaries.contiguous(), plan)
    return out.transpose(0, 1)  # pyright: ignore[reportOptionalMemberAccess]


class _Aggregate(torch.autograd.Function):
    """Attention of all bars: [heads, tokens + tail, size] queries, [2, heads, …, size] keys and values."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, tokens: Tensor, summaries: Tensor, plan: BarPlan) -> Tensor:
        out = torch.empty_like(queries[:, :-_ROUND])
        kept: list[Tensor] = []
        for bar in plan.steps:
            sources, pad = _gather(bar, tokens, summaries)
            width = _rounded(bar.stop - bar.start)
            scores = torch.bmm(queries[:, bar.start : bar.start + width], sources[0].transpose(1, 2))
            scores[..., :pad] = float("-inf")
            scores[..., -width:] += _causal(width, scores.dtype, scores.device)
            weights = scores.softmax(dim=-1)
            out[:, bar.start : bar.stop] = torch.bmm(weights, sources[1])[:, : bar.stop - bar.start]
            if any(ctx.needs_input_grad):
                kept += [sources, weights]
        ctx.plan = plan
        ctx.save_for_backward(queries, tokens, summaries, *kept)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        queries, tokens, summaries, *kept = ctx.saved_tensors
        gradient = gradients[0]
        to_queries, to_tokens, to_summaries = map(torch.zeros_like, (queries, tokens, summaries))
        for i, bar in enumerate(ctx.plan.steps):
            sources, weights = kept[2 * i], kept[2 * i + 1]
            length, width = bar.stop - bar.start, _rounded(bar.stop - bar.start)
            upstream = gradient.new_zeros((gradient.shape[0], width, gradient.shape[2]))
            upstream[:, :length] = gradient[:, bar.start : bar.stop]
            to_weights = torch.bmm(upstream, sources[1].transpose(1, 2))
            to_scores = torch.ops.aten._softmax_backward_data(to_weights, weights, -1, weights.dtype)
            to_queries[:, bar.start : bar.stop] = torch.bmm(to_scores, sources[0])[:, :length]
            to_sources = torch.empty_like(sources)
            torch.bmm(to_scores.transpose(1, 2), queries[:, bar.start : bar.start + width], out=to_sources[0])
            torch.bmm(weights.transpose(1, 2), upstream, out=to_sources[1])
            _scatter(bar, to_sources, to_tokens, to_summaries)
        return to_queries, to_tokens, to_summaries, None


def _gather(bar: Bar, tokens: Tensor, summaries: Tensor) -> tuple[Tensor, int]:
    """Keys and values [2, heads, sources, size] that the bar sees: padding, related bars, summaries, the bar itself."""
    others = sum(b - a for a, b in bar.token_runs + bar.summary_runs)
    pad = _rounded(others) - others
    width = _rounded(bar.stop - bar.start)
    pieces = [tokens[:, :, -_ROUND : -_ROUND + pad]]
    pieces += [tokens[:, :, a:b] for a, b in bar.token_runs]
    pieces += [summaries[:, :, a:b] for a, b in bar.summary_runs]
    pieces.append(tokens[:, :, bar.start : bar.start + width])
    return torch.cat(pieces, dim=2), pad


def _scatter(bar: Bar, sources: Tensor, tokens: Tensor, summaries: Tensor) -> None:
    """Add the gradients of the gathered keys and values back to where they came from: the mirror of `_gather`."""
    place = _rounded(sum(b - a for a, b in bar.token_runs + bar.summary_runs))
    place -= sum(b - a for a, b in bar.token_runs + bar.summary_runs)
    for target, runs in ((tokens, bar.token_runs), (summaries, bar.summary_runs)):
        for a, b in runs:
            target[:, :, a:b] += sources[:, :, place : place + b - a]
            place += b - a
    tokens[:, :, bar.start : bar.stop] += sources[:, :, place : place + bar.stop - bar.start]


def _rounded(length: int) -> int:
    return -(-length // _ROUND) * _ROUND


@lru_cache(maxsize=256)
def _causal(width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.full((width, width), float("-inf"), dtype=dtype, device=device).triu(1)
