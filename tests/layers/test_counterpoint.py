"""Parallel fifths and octaves."""

from __future__ import annotations

import torch

from ritornello.layers.counterpoint import parallels


def test_parallels_by_hand():
    """Soprano and bass in octaves, alto a fifth above the bass: all moving up a step; the tenor stays."""
    cells = torch.tensor([[[25, 27, 29], [20, 22, 22], [16, 16, 16], [13, 15, 13]]])
    wrong = parallels(cells)[0]
    assert wrong[:, 0].tolist() == [True, True, False, True]
    assert wrong[:, 1].tolist() == [True, True, False, True]
    assert wrong[:, 2].tolist() == [False, False, False, False]
