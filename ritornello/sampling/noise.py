"""Random numbers for several pieces at once, of which each is the one that its own seed gives alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Generator, Tensor


class Noise:
    """Row i of everything drawn comes from a generator of its own, seeded with seeds[i]."""

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.generators = [Generator().manual_seed(seed) for seed in seeds]
        self.device = device

    def __len__(self) -> int:
        return len(self.generators)

    def normal(self, *shape: int) -> Float[Tensor, "rows ..."]:
        """Standard normal numbers."""
        return self._draw(torch.randn, shape)

    def uniform(self, *shape: int) -> Float[Tensor, "rows ..."]:
        """Numbers in [0, 1)."""
        return self._draw(torch.rand, shape)

    def _draw(self, draw: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        return torch.stack([draw(shape, generator=generator) for generator in self.generators]).to(self.device)
