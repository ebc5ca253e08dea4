"""Multi-head attention under any mask: the slow, obvious form that every fast form is tested against."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def masked_attention(
    queries: Float[Tensor, "targets heads size"],
    keys: Float[Tensor, "sources heads size"],
    values: Float[Tensor, "sources heads size"],
    mask: Bool[Tensor, "targets sources"],
) -> Float[Tensor, "targets heads size"]:
    """softmax(Q Kᵀ / √size) V over the pairs where `mask` is true (Museformer, Eq. 1). Every target needs a source."""
    scores = torch.einsum("thd,shd->hts", queries, keys) / queries.shape[-1] ** 0.5
    weights = scores.masked_fill(~mask, float("-inf")).softmax(dim=-1)
    return torch.einsum("hts,shd->thd", weights, values)


def related_mask(
    rows: Int[Tensor, " tokens"], bars: Int[Tensor, " tokens"], offsets: tuple[int, ...], fine: bool = True
) -> Bool[Tensor, "tokens tokens"]:
    """Fine-grained attention (Eq. 3): a token sees its own bar up to itself, and the bars `offsets` before, whole."""
    order = torch.arange(len(bars), device=bars.device)
    distance = bars[:, None] - bars[None, :]
    own = (distance == 0) & (order[None, :] <= order[:, None])
    related = _among(distance, offsets) if fine else torch.zeros_like(own)
    return (rows[:, None] == rows[None, :]) & (own | related)


def summary_mask(
    rows: Int[Tensor, " tokens"],
    bars: Int[Tensor, " tokens"],
    summary_rows: Int[Tensor, " summaries"],
    summary_bars: Int[Tensor, " summaries"],
    offsets: tuple[int, ...],
    fine: bool = True,
) -> Bool[Tensor, "tokens summaries"]:
    """Coarse-grained attention (Eq. 3): a token sees the summaries of all earlier bars that it does not see whole."""
    distance = bars[:, None] - summary_bars[None, :]
    seen_whole = _among(distance, offsets) if fine else torch.zeros_like(distance, dtype=torch.bool)
    return (rows[:, None] == summary_rows[None, :]) & (distance > 0) & ~seen_whole


def _among(distance: Int[Tensor, "a b"], offsets: tuple[int, ...]) -> Bool[Tensor, "a b"]:
    return torch.isin(distance, torch.tensor(offsets, device=distance.device))
