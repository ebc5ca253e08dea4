"""Small callables on logits [rows, vocabulary], applied one after another before a token is drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

Processor = Callable[[Tensor], Tensor]
"""Logits [rows, vocabulary] -> logits of the same shape; -inf marks what may not be drawn."""


def temperature(value: float) -> Processor:
    """Divide log-probabilities by `value`: below 1 surer, above 1 bolder."""
    return lambda logits: logits if value == 1 else logits / value


def top_k(k: int, of: range | None = None) -> Processor:
    """Keep the k likeliest tokens (ties with the k-th stay), or the k likeliest `of` these and all the others."""

    def keep(logits: Tensor) -> Tensor:
        some = logits if of is None else logits[..., of.start : of.stop]
        if k >= some.shape[-1]:
            return logits
        kept = some.masked_fill(some < some.topk(k, dim=-1).values[..., -1:], -math.inf)
        return kept if of is None else torch.cat([logits[..., : of.start], kept, logits[..., of.stop :]], -1)

    return keep


def top_p(p: float) -> Processor:
    """Nucleus sampling (Holtzman et al. 2020): keep the likeliest tokens until their probabilities reach p."""

    def keep(logits: Tensor) -> Tensor:
        ordered, ids = logits.sort(dim=-1, descending=True)
        shares = (ordered - ordered[..., :1]).exp()
        shares = shares / shares.sum(-1, keepdim=True)
        drop = shares.cumsum(-1) - shares >= p  # those before it hold as much
        drop[..., 0] = False
        return logits.masked_fill(torch.zeros_like(drop).scatter(-1, ids, drop), -math.inf)

    return keep


def min_p(p: float) -> Processor:
    """Keep tokens at least p times as likely as the likeliest (Nguyen et al. 2024)."""
    least = math.log(p) if p > 0 else -math.inf
    return lambda logits: logits.masked_fill(logits < logits.amax(-1, keepdim=True) + least, -math.inf)


def lean(weights: Float[Tensor, " vocabulary"]) -> Processor:
    """Add a constant to the logit of each token: some are asked for more, some less."""
    return lambda logits: logits + weights.to(logits.device)


class Dice:
    """One stream of uniform numbers a row, each from the row's own generator.

    The t-th number of a row depends on its seed alone, not on what else is in the batch or where the model runs.
    """

    BLOCK = 256  # numbers drawn at once: a call for every row at every step would cost more than all the rest

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self.generators = list(generators)
        self.used = self.BLOCK
        self.block = torch.empty(0)

    def throw(self, device: torch.device | str = "cpu") -> Float64[Tensor, " rows"]:
        """The next number in [0, 1) for each row."""
        if self.used == self.BLOCK:
            rows = [torch.rand(self.BLOCK, generator=g, dtype=torch.float64) for g in self.generators]
            self.block, self.used = torch.stack(rows, 1).to(device), 0
        self.used += 1
        return self.block[self.used - 1]


def pick(logits: Float[Tensor, "rows vocabulary"], thrown: Float64[Tensor, " rows"]) -> Int64[Tensor, " rows"]:
    """Draw a token for each row by inverting the cumulative distribution at the row's number.

    A token at -inf is never drawn, and each row must have one that is not.
    """
    # Not softmax, which spreads even a few rows over threads: at this size waking one costs more than the work
    reached = (logits - logits.amax(-1, keepdim=True)).exp().cumsum(-1, dtype=torch.float64)
    goal = thrown[:, None] * reached[:, -1:]
    return torch.searchsorted(reached, goal, right=True)[:, 0]


def seeded(seeds: Sequence[int]) -> list[torch.Generator]:
    """A generator for each seed."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]
