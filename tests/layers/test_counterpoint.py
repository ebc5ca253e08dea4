"""Parallel fifths and octaves."""

from __future__ import annotations

import torch

from ritornello.layers.counterpoint import faults, parallels


def test_parallels_by_hand():
    """Soprano and bass in octaves, alto a fifth above the bass: all moving up a step; the tenor stays."""
    cells = torch.tensor([[[25, 27, 29], [20, 22, 22], [16, 16, 16], [13, 15, 13]]])
    wrong = parallels(cells)[0]
    assert wrong[:, 0].tolist() == [True, True, False, True]
    assert wrong[:, 1].tolist() == [True, True, False, True]
    assert wrong[:, 2].tolist() == [False, False, False, False]


def test_faults_by_hand():
    parallel = torch.tensor([[[25, 27, 27], [20, 22, 22], [16, 16, 16], [13, 15, 15]]])
    assert faults(parallel) == 2 * 6 + 6 / 8  # then a second, a seventh and a tritone sound for two steps
    leap = torch.tensor([[[25, 32, 34], [0, 0, 0], [0, 0, 0], [13, 13, 13]]])
    assert faults(leap) == 1
    rest = torch.tensor([[[25, 25, 25, 25], [23, 23, 23, 21], [0, 0, 24, 0], [13, 13, 13, 13]]])
    assert faults(rest) == (2 + 2 + 5 + 0) / 8  # after a rest a voice begins, and does not leap
