"""Rules of how voices move that several models keep while they write."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def parallels(cells: Int[Tensor, "batch voices steps"]) -> Bool[Tensor, "batch voices steps"]:
    """Cells that make parallel fifths or octaves with another voice, and those that they come from.

    cells:  pitches, from any lowest one on, greater than 0; 0 is a rest.
    """
    wrong = torch.zeros_like(cells, dtype=torch.bool)
    move = (cells[..., 1:] - cells[..., :-1]) * ((cells[..., 1:] > 0) & (cells[..., :-1] > 0))
    for a in range(cells.shape[1]):
        for b in range(a):
            interval = (cells[:, a] - cells[:, b]).abs() % 12
            kept = (interval[:, 1:] == interval[:, :-1]) & ((interval[:, 1:] == 0) | (interval[:, 1:] == 7))
            parallel = kept & (move[:, a] * move[:, b] > 0)
            for voice in (a, b):
                wrong[:, voice, 1:] |= parallel
                wrong[:, voice, :-1] |= parallel
    return wrong
