"""The one training loop: every family goes through it, on one process or on many."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal, Protocol

import torch
import torch.distributed as dist
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from ritornello.train.optim import OptimConfig, learning_rate


def multiplies_bfloat16() -> bool:
    """Whether there are instructions for it, in a GPU or the processor; without them it is slower than float32."""
    found = torch.cpu.get_capabilities()
    return torch.cuda.is_available() or found.get("avx512_bf16", found.get("bf16", False))


class TrainConfig(OptimConfig):
    """How long, on what, and how a training goes."""

    steps: NonNegativeInt = 100_000
    stages: tuple[tuple[int, int, int], ...] = ((0, 4096, 8192),)
    """(from step, tokens of a crop, tokens of a batch): short crops first, longer ones when there is more to learn. In
    bars instead where data.crops says so. Of piano rolls: (from step, steps of a window, steps of a batch)."""
    precision: Literal["float32", "bfloat16"] = Field(
        default_factory=lambda: "bfloat16" if multiplies_bfloat16() else "float32"
    )
    """By default the faster one on this machine."""
    seed: int = 0
    log_every: PositiveInt = 20
    validate_every: PositiveInt = 500
    save_every: PositiveInt = 200
    sample_every: NonNegativeInt = 0
    """Steps between samples that are written on the way; 0 for none."""


class Trainable(Protocol):
    """What the loop asks of a model (an nn.Module): a loss for each of its players."""

    players: ClassVar[dict[str, int]]

    def loss(self, batch: Any, step: int, player: str) -> dict[str, Tensor]: ...
    def after(self, step: int) -> None: ...
    def train(self) -> Any: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...


def train(
    model: Trainable,
    optimizers: list[torch.optim.Optimizer],
    batch_at: Callable[[int], Any],
    config: TrainConfig,
    start: int = 0,
) -> Iterator[dict[str, float]]:
    """Train from step `start` to `config.steps`; yields after each step what it measured.

    `batch_at(step)` gives this process's batch of a step, on the model's device, with a `lengths` tensor. Everything
    random in a step follows from (seed, step, process), so a run that stops and goes on is the run that never stopped.
    A model with `players` (a GAN) is moved by each of them in turn, as many times as `players` says.
    """
    model.train()
    device = next(model.parameters()).device
    many = dist.is_available() and dist.is_initialized()
    for step in range(start, config.steps):
        began, cpu_began = time.perf_counter(), time.process_time()
        torch.manual_seed(_mix(config.seed, step, dist.get_rank() if many else 0))
        lr = learning_rate(config, step, config.steps)
        batch = batch_at(step)
        measured: dict[str, float] = {}
        norm = torch.zeros(())
        for player, times in model.players.items():
            for _ in range(times):
                with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                    terms = model.loss(batch, step, player)
                terms["loss"].backward()
                moved = [p for p in model.parameters() if p.grad is not None]
                if many:
                    _average([p.grad for p in moved if p.grad is not None])
                norm = nn.utils.clip_grad_norm_(moved, config.clip or float("inf"))
                for optimizer in optimizers:
                    for group in optimizer.param_groups:
                        group["lr"] = lr
                    optimizer.step()
                    optimizer.zero_grad(set_to_none=True)
                measured |= {name: float(value.detach()) for name, value in terms.items()}
        model.after(step)
        tokens = int(batch.lengths.sum()) * (dist.get_world_size() if many else 1)
        took = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu_began}
        yield {"step": step + 1, **measured, "lr": lr, "norm": float(norm), "tokens": tokens, **took}


def _average(gradients: list[Tensor]) -> None:
    """Replace each gradient by its mean over all processes, by one exchange."""
    flat = torch.cat([g.reshape(-1) for g in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def _mix(seed: int, step: int, rank: int) -> int:
    """One number for (seed, step, rank), far apart for neighbours."""
    return (seed * 1_000_003 + step * 7_919 + rank * 104_729) % 2**63
