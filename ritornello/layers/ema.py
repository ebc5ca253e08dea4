"""A running mean of a module's weights: what a GAN or a diffusion model plays with."""

from __future__ import annotations

from copy import deepcopy
from typing import Generic, TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


class Ema(nn.Module, Generic[M]):
    """Holds `mean`, a copy of a module whose weights follow the module's own; no gradient reaches it.

    After n updates the mean forgets with min(decay, (1 + n) / (10 + n)), so that it does not remember how things began.
    """

    def __init__(self, module: M, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.mean: M = deepcopy(module).requires_grad_(False).eval()
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def update(self, module: M) -> None:
        """Move towards the module's weights; its buffers (running statistics) are taken as they are."""
        n = int(self.updates)
        keep = min(self.decay, (1 + n) / (10 + n))
        self.updates += 1
        for mean, now in zip(self.mean.parameters(), module.parameters(), strict=True):
            mean.lerp_(now, 1 - keep)
        for mean, now in zip(self.mean.buffers(), module.buffers(), strict=True):
            mean.copy_(now)

    def train(self, mode: bool = True) -> Ema[M]:
        """The mean is for playing: it stays in evaluation mode."""
        return super().train(False)
