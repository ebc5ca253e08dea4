"""Rules of how voices move that several models keep while they write."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ritornello.music.choir import DISSONANT


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


def faults(cells: Int[Tensor, "batch voices steps"]) -> Float[Tensor, " batch"]:
    """How far a piece is from what is taught: two for every cell in parallels, one for every move of a voice by more
    than a whole tone, one for eight steps in which two voices are dissonant.

    cells:  as for `parallels`.
    """
    sounding = cells > 0
    leaps = (cells.diff().abs() > 2) & sounding[..., 1:] & sounding[..., :-1]
    dissonant = torch.zeros(len(cells), device=cells.device)
    kinds = torch.tensor(DISSONANT, device=cells.device)
    for a in range(cells.shape[1]):
        for b in range(a):
            both = sounding[:, a] & sounding[:, b]
            dissonant += (torch.isin((cells[:, a] - cells[:, b]).abs() % 12, kinds) & both).sum(1)
    return 2 * parallels(cells).sum((1, 2)) + leaps.sum((1, 2)) + dissonant / 8
