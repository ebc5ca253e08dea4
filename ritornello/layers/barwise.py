"""Fine- and coarse-grained attention computed bar by bar: exact, and without any tensor of n × n.

All songs of a batch lie packed one after another. A bar's tokens share one set of keys (related bars, summaries, the
bar itself), so each bar is one dense product; only the bar's own block needs a causal mask. Lengths are rounded up so
that the matrix kernels meet few shapes: a bar's block simply reads on into what follows it, and what it reads is masked
or thrown away.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

_NEAR = 400_000  # weights that are computed at a time, of as many heads as that are: they stay near the processor
# Targets and sources of a bar are rounded up to multiples of these; coarsely where oneDNN multiplies, which compiles
# and keeps a kernel for every shape.
_COARSE = (32, 64)
_GRAINS = {torch.float32: (8, 8)}


@dataclass(frozen=True)
class Bar:
    """One bar of the packed batch: its tokens [start, stop), and the runs of tokens and of summaries that it sees."""

    start: int
    stop: int
    token_runs: tuple[tuple[int, int], ...]
    summary_runs: tuple[tuple[int, int], ...]

    @property
    def others(self) -> int:
        """How many sources it sees besides its own tokens."""
        return sum(b - a for a, b in self.token_runs + self.summary_runs)


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
    with torch.autocast(queries.device.type, enabled=False):
        out = _Aggregate.apply(queries, keys, values, summary_keys, summary_values, plan)
    return out  # pyright: ignore[reportReturnType]


class _Aggregate(torch.autograd.Function):
    """Attention of all bars. Nothing of a bar is kept for the way back but the output: its weights are computed again,
    so memory is that of the inputs and their gradients."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        *tensors, plan = inputs
        out = torch.empty_like(tensors[0])
        work = _Workspace(plan, tensors)
        for bar in plan.steps:
            work.enter(bar)
            for heads in work.groups:
                mixed = torch.bmm(work.weigh(heads), work.sources[1, heads])
                out[bar.start : bar.stop, heads] = mixed[:, : bar.stop - bar.start].transpose(0, 1)
        ctx.plan = plan
        ctx.save_for_backward(*tensors)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        tensors, (gradient,) = ctx.saved_tensors, gradients
        totals = [torch.zeros_like(tensor) for tensor in tensors]
        work = _Workspace(ctx.plan, tensors)
        scale = tensors[0].shape[-1] ** -0.5
        for bar in ctx.plan.steps:
            work.enter(bar)
            length = bar.stop - bar.start
            to_sources = torch.empty_like(work.sources)
            for heads in work.groups:
                weights, queries, (keys, values) = work.weigh(heads), work.queries[heads], work.sources[:, heads]
                upstream = torch.zeros_like(queries)
                upstream[:, :length] = gradient[bar.start : bar.stop, heads].transpose(0, 1)
                torch.bmm(weights.transpose(1, 2), upstream, out=to_sources[1, heads])
                to_scores = torch.bmm(upstream, values.transpose(1, 2))
                torch.ops.aten._softmax_backward_data.out(to_scores, weights, -1, weights.dtype, grad_input=to_scores)
                torch.bmm(to_scores.transpose(1, 2), queries, out=to_sources[0, heads])
                to_queries = torch.bmm(to_scores, keys)[:, :length].transpose(0, 1)
                torch.mul(to_queries, scale, out=totals[0][bar.start : bar.stop, heads])
            _scatter(bar, to_sources[:, :, work.pad :], totals)
        return *totals, None


class _Workspace:
    """Room for one bar's sources and weights, used for all bars in turn: as much as the largest bar needs."""

    def __init__(self, plan: BarPlan, tensors: Sequence[Tensor]) -> None:
        self.tensors = tensors
        queries = tensors[0]
        tokens, heads, size = queries.shape
        self.scale = size**-0.5
        of_targets, of_sources = _GRAINS.get(queries.dtype, _COARSE)
        widths = [min(_rounded(bar.stop - bar.start, of_targets), tokens - bar.start) for bar in plan.steps]
        counts = [_rounded(bar.others + width, of_sources) for bar, width in zip(plan.steps, widths, strict=True)]
        self.sizes = dict(zip(plan.steps, zip(widths, counts, strict=True), strict=True))
        self._sources = queries.new_empty(2 * heads * size * max(counts))
        most = max(w * c for w, c in zip(widths, counts, strict=True))
        self._weights = queries.new_empty(max(most, min(_NEAR, heads * most)))
        self.nothing = queries.new_zeros((of_sources, heads, size))

    def enter(self, bar: Bar) -> None:
        """Gather what a bar sees (`sources` [2, heads, sources, size]: padding, related bars, summaries, its own) and
        its `queries` [heads, targets, size], scaled."""
        queries, keys, values, summary_keys, summary_values = self.tensors
        _, heads, size = queries.shape
        self.width, count = self.sizes[bar]
        self.pad = count - bar.others - self.width
        together = max(1, _NEAR // (self.width * count))
        self.groups = [slice(first, min(first + together, heads)) for first in range(0, heads, together)]
        self.sources = self._sources[: 2 * heads * count * size].view(2, heads, count, size)
        for target, of_tokens, of_summaries in ((0, keys, summary_keys), (1, values, summary_values)):
            pieces = [self.nothing[: self.pad]]
            pieces += [of_tokens[a:b] for a, b in bar.token_runs]
            pieces += [of_summaries[a:b] for a, b in bar.summary_runs]
            pieces.append(of_tokens[bar.start : bar.start + self.width])
            torch.cat([piece.transpose(0, 1) for piece in pieces], dim=1, out=self.sources[target])
        self.queries = (queries[bar.start : bar.start + self.width] * self.scale).transpose(0, 1).contiguous()

    def weigh(self, heads: slice) -> Float[Tensor, "heads targets sources"]:
        """The weights of some heads, until the next are asked for."""
        queries, keys = self.queries[heads], self.sources[0, heads]
        shape = (len(queries), self.width, keys.shape[1])
        scores = self._weights[: math.prod(shape)].view(shape)
        torch.bmm(queries, keys.transpose(1, 2), out=scores)
        scores[..., : self.pad] = float("-inf")
        scores[..., -self.width :] += _causal(self.width, scores.dtype, scores.device)
        return torch.softmax(scores, dim=-1, out=scores)


def _scatter(bar: Bar, sources: Tensor, totals: Sequence[Tensor]) -> None:
    """Add the gradients of the gathered keys and values back to where they came from: the mirror of `enter`."""
    place = 0
    places = [(1, run) for run in bar.token_runs] + [(3, run) for run in bar.summary_runs]
    for first, (a, b) in [*places, (1, (bar.start, bar.stop))]:
        for i in range(2):
            totals[first + i][a:b] += sources[i, :, place : place + b - a].transpose(0, 1)
        place += b - a


def _rounded(length: int, grain: int) -> int:
    return -(-length // grain) * grain


@lru_cache(maxsize=256)
def _causal(width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.full((width, width), float("-inf"), dtype=dtype, device=device).triu(1)
