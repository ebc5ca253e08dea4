"""Latents: the divergence from the standard normal, how its weight comes and goes, and a prior over their sequences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


def gaussian_kl(mean: Float[Tensor, "*n d"], log_variance: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
    """KL(N(μ, σ²) ‖ N(0, 1)) of every number, in nats."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def cyclical(step: int, begin: int, cycle: int) -> float:
    """0 before `begin`; then cycles: from 0 to 1 over their first half, 1 over the second (Fu et al. 2019)."""
    if step < begin:
        return 0.0
    return min(1.0, 2 * ((step - begin) % cycle) / cycle)


class AutoregressivePrior(nn.Module):
    """A Gaussian first-order autoregression over vectors u of `size` numbers, one a bar: a prior over whole songs.

        u_t = m + v_t + η,  v_0 ~ N(0, S),  v_t = A v_{t-1} + ε,  ε ~ N(0, Q),  η ~ N(0, diag n²)

    Fitted by moments: S the covariance of a bar, A = C S⁻¹ with C that of a bar and the one before, Q = S - A S Aᵀ; n
    is what an encoder's own σ adds to each bar. Until it is fitted, bars are independent standard normals.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("carry", torch.zeros(size, size))
        self.register_buffer("first", torch.eye(size))  # Cholesky factor of S
        self.register_buffer("step", torch.eye(size))  # of Q
        self.register_buffer("noise", torch.zeros(size))
        self.mean: Tensor
        self.carry: Tensor
        self.first: Tensor
        self.step: Tensor
        self.noise: Tensor

    def fit(self, songs: Iterable[Sequence[tuple[Float[Tensor, "bars size"], Float[Tensor, "bars size"]]]]) -> None:
        """From the bars of whole songs, in batches: means of u, and the variances about them."""
        size = len(self.mean)
        count = pairs = 0
        total, noise = torch.zeros(2, size, dtype=torch.float64)
        square, product = torch.zeros(2, size, size, dtype=torch.float64)
        before, after = torch.zeros(2, size, dtype=torch.float64)
        for batch in songs:
            for mean, variance in batch:
                u = mean.double().cpu()
                count, pairs = count + len(u), pairs + len(u) - 1
                total += u.sum(0)
                noise += variance.double().cpu().sum(0)
                square += u.T @ u
                product += u[1:].T @ u[:-1]
                before, after = before + u[:-1].sum(0), after + u[1:].sum(0)
        if pairs < 2:
            return
        m = total / count
        covariance = square / count - m[:, None] * m
        follows = product / pairs - (after / pairs)[:, None] * (before / pairs)
        spread = covariance.diagonal().mean()
        regular = covariance + (1e-3 * spread + 1e-9) * torch.eye(size, dtype=torch.float64)
        carry = torch.linalg.solve(regular, follows.T).T
        rest = regular - carry @ regular @ carry.T
        self.mean.copy_(m)
        self.carry.copy_(carry)
        self.first.copy_(_factor(regular))
        self.step.copy_(_factor(rest))
        self.noise.copy_((noise / count).sqrt())

    def draw(
        self, bars: int, seed: int, after: Float[Tensor, "before size"] | None = None
    ) -> Float[Tensor, "bars size"]:
        """The vectors of a new song, or of the bars that come `after` others. The same seed, the same song."""
        rolled = torch.randn((2, bars, len(self.mean)), generator=torch.Generator().manual_seed(seed))
        mean, carry, first, step = (x.cpu().float() for x in (self.mean, self.carry, self.first, self.step))
        last = None if after is None else after[-1].float() - mean
        path = []
        for moved in rolled[0]:
            last = first @ moved if last is None else carry @ last + step @ moved
            path.append(last)
        return mean + torch.stack(path) + self.noise.cpu() * rolled[1] if path else rolled[0]


def _factor(covariance: Tensor) -> Tensor:
    """Cholesky factor of the nearest matrix whose eigenvalues are not below a millionth of the largest."""
    values, vectors = torch.linalg.eigh(0.5 * (covariance + covariance.T))
    values = values.clamp(min=1e-6 * float(values.max()))
    return torch.linalg.cholesky(vectors @ torch.diag(values) @ vectors.T)
