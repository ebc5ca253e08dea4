"""Nats a frame against numbers worked by hand, on models that can be worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ritornello.data.rolls import collate, window
from ritornello.evaluate.framewise import STEPS, Crop, crops, framewise
from tests.families import make_model
from tests.rolls import make_roll

CLASSES = 5
CROP = Crop(torch.tensor([[0, 1, 1, 2], [3, 3, 4, 4], [2, 2, 2, 2], [1, 0, 1, 0]]), torch.arange(4) % 4)


class Ignorant:
    def logits(self, cells, hidden, beat, keys=1):
        return torch.zeros(*cells.shape, CLASSES)


def test_who_knows_nothing_pays_for_every_class():
    figures = framewise(Ignorant(), [CROP, CROP])
    assert figures["strict"]["value"] == pytest.approx(4 * math.log(CLASSES))
    assert figures["coconet"]["value"] == pytest.approx(13 / 16 * 4 * math.log(CLASSES))  # three cells rest
    assert figures["frames"] == 8


def test_the_model_looks_at_as_many_keys_as_are_asked_for():
    asked = []

    class Asked(Ignorant):
        def logits(self, cells, hidden, beat, keys=1):
            asked.append(keys)
            return super().logits(cells, hidden, beat)

    framewise(Asked(), [CROP], keys=5)
    assert set(asked) == {5}


class Neighbour:
    """Says that a cell is as the one left of it, with p = 0.6, where that is in view; else knows nothing. Where the
    voice above is in view in the same frame, it doubts itself: p = 0.4."""

    def logits(self, cells, hidden, beat, keys=1):
        batch, voices, steps = cells.shape
        p = torch.full((batch, voices, steps, CLASSES), 1 / CLASSES)
        for b in range(batch):
            for v in range(voices):
                for t in range(1, steps):
                    if not hidden[b, v, t - 1]:
                        sure = 0.4 if v and not hidden[b, v - 1, t] else 0.6
                        p[b, v, t] = (1 - sure) / (CLASSES - 1)
                        p[b, v, t, cells[b, v, t - 1]] = sure
        return p.log()


def by_hand(rank: np.ndarray, frame: int, order: np.ndarray, rests_are_free: bool) -> float:
    log, shown = 0.0, set()
    for v in order.tolist():
        truth, left = int(CROP.cells[v, frame]), int(CROP.cells[v, frame - 1])
        if not truth and rests_are_free:
            pass
        elif frame and rank[frame - 1] < rank[frame]:
            sure = 0.4 if v - 1 in shown else 0.6
            log += math.log(sure if truth == left else (1 - sure) / (CLASSES - 1))
        else:
            log += math.log(1 / CLASSES)
        shown.add(v)
    return log


def test_orderings_are_those_said():
    """The same draws, worked out frame by frame."""
    orderings, rng = 3, np.random.default_rng(7)
    assert rng.permutation(4).shape == (4,)  # the frames measured: all
    logs = np.zeros((2, orderings, 4))
    for m in range(orderings):
        rank = rng.permutation(4)
        voices = rng.permuted(np.tile(np.arange(4), (4, 1)), axis=1)
        for free in (False, True):
            logs[int(free), m] = [by_hand(rank, frame, voices[frame], free) for frame in range(4)]
    figures = framewise(Neighbour(), [CROP], orderings, seed=7)
    strict, logs = logs
    assert figures["strict"]["value"] == pytest.approx(-strict.mean())
    # This model's answers inside a frame change nothing but whether a voice is in view: the two differ in the mean only
    assert figures["coconet"]["value"] == pytest.approx(-np.log(np.exp(logs).mean(0)).mean())


class Follower:
    """Two voices; the second is sure to be the first + 1, where it sees the first. The first is 0 with p = 0.9."""

    def logits(self, cells, hidden, beat, keys=1):
        p = torch.full((*cells.shape, CLASSES), 0.1 / (CLASSES - 1))
        p[:, 0, :, 0] = 0.9
        p[:, 1] = 1 / CLASSES
        for b, t in torch.nonzero(~hidden[:, 0]).tolist():
            p[b, 1, t] = 1e-4 / (CLASSES - 1)
            p[b, 1, t, (cells[b, 0, t] + 1) % CLASSES] = 1 - 1e-4
        return p.log()


def test_coconet_hears_its_own_answers():
    """The first voice is not what it thinks: hearing itself, it is wrong about the second, too."""
    crop = Crop(torch.tensor([[3], [4]]), torch.zeros(1, dtype=torch.long))
    first, unknown, right = math.log(0.1 / 4), math.log(1 / 5), math.log(1 - 1e-4)
    wrong = math.log(1e-4 / 4)
    strict, coconet = [], []
    rng = np.random.default_rng(0)
    rng.permutation(1)
    for _ in range(4):
        rng.permutation(1)
        top_first = rng.permuted(np.tile(np.arange(2), (1, 1)), axis=1)[0, 0] == 0
        strict.append(first + (right if top_first else unknown))
        coconet.append(first + (wrong if top_first else unknown))
    assert len(set(strict)) == 2  # both orders came
    figures = framewise(Follower(), [crop], orderings=4, seed=0)
    assert figures["strict"]["value"] == pytest.approx(-np.mean(strict), rel=1e-5)
    assert figures["coconet"]["value"] == pytest.approx(-np.log(np.mean(np.exp(coconet))), rel=1e-5)


def test_some_frames_stand_for_all():
    torch.manual_seed(0)
    crop = Crop(torch.randint(0, CLASSES, (4, 24)), torch.zeros(24, dtype=torch.long))
    figures = framewise(Ignorant(), [crop], frames=5)
    assert figures["frames"] == 5
    assert figures["strict"]["value"] == pytest.approx(4 * math.log(CLASSES))


def test_crops_are_windows_from_a_beat():
    """Of a long piece 128 sixteenths as they stand somewhere in it, of a short one all."""
    model, long, short = make_model("masked_diffusion"), make_roll(0, bars=12), make_roll(1, bars=2)
    found, all_of_it = crops(model, [long, short], seed=3)  # pyright: ignore[reportArgumentType]
    assert found.cells.shape[1] == len(found.beat) == STEPS
    assert int(found.beat[0]) == 0
    wholes = [model.hear(collate([window(long, start, STEPS)]))[0] for start in range(0, len(long) - STEPS + 1, 4)]
    assert any(torch.equal(found.cells, whole) for whole in wholes)
    assert torch.equal(all_of_it.cells, model.hear(collate([short]))[0])
