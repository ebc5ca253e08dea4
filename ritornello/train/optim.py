"""Optimizers and learning-rate schedules."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from ritornello.config import Config


class OptimConfig(Config):
    """How weights move. The defaults are the paper's (section 4.1)."""

    optimizer: Literal["adamw", "muon"] = "adamw"
    """muon: orthogonalised momentum for the matrices of the blocks, AdamW for everything else."""
    lr: float = 5e-4
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-9
    weight_decay: float = 0.01
    clip: float = 1.0
    """Largest norm of the whole gradient; 0 leaves it alone."""
    schedule: Literal["inverse-sqrt", "trapezoid"] = "inverse-sqrt"
    """inverse-sqrt: rises over `warmup` steps, then falls with 1/√step. trapezoid: rises, stays, falls to zero."""
    warmup: int = 16_000
    cooldown: int = 0
    """Steps of the trapezoid's fall, before the last step."""


def learning_rate(config: OptimConfig, step: int, steps: int) -> float:
    """Learning rate of `step` (from 0) in a training of `steps`."""
    rise = min(1.0, (step + 1) / max(config.warmup, 1))
    if config.schedule == "inverse-sqrt":
        return config.lr * min(rise, (max(config.warmup, 1) / (step + 1)) ** 0.5)
    return config.lr * min(rise, (steps - step) / config.cooldown if config.cooldown else 1.0)


def make_optimizers(parameters: dict[str, nn.Parameter], config: OptimConfig) -> list[torch.optim.Optimizer]:
    """The optimizers that together move `parameters`.

    Muon takes the matrices inside the blocks (`*blocks.*` with two dimensions): those map vectors to vectors.
    Embeddings, norms and the output layer are AdamW's.
    """

    def is_matrix(name: str) -> bool:
        return config.optimizer == "muon" and "blocks." in name and parameters[name].ndim == 2

    matrices = [p for name, p in parameters.items() if is_matrix(name)]
    others = [p for name, p in parameters.items() if not is_matrix(name)]
    made: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(others, config.lr, config.betas, config.eps, config.weight_decay)
    ]
    if matrices:
        made.append(
            torch.optim.Muon(matrices, config.lr, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw")
        )
    return made
