"""How surprised a model that fills in cells is by held-out chorales, in nats a frame: Coconet's Algorithm 1.

A piece is cut to a crop of 128 sixteenths. Its frames (a frame: the four voices at one step) are revealed in a random
order. A frame is predicted in view of the true frames before it in that order, its voices one after another in a random
order of their own. So far this is a likelihood: `strict`.

The figures published as "Coconet's protocol" (0.57 nats a frame: Huang et al., 2017, Table 1) differ in three things,
all kept here under `coconet`:
- inside a frame the model hears its own most likely voices in place of the true ones: no likelihood of the frame;
- a frame's probability is the mean over the orderings (M = 5), so that its nats are
  log M - logsumexp_m log p_m, which is at most the mean of the orderings' nats;
- a silent cell costs nothing: their evaluation adds up the logarithms of the cells that sound.

The rest of the time grid is known: how a step stands in its beat. Each of the four cells of a frame is one of the
model's classes (pitches and a rest), whether it is held or struck.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ritornello.data.rolls import BEAT, RollBatch, beats, collate, starts, window
from ritornello.evaluate.bootstrap import interval
from ritornello.representations.base import Roll

REST = 0  # class of a silent cell
STEPS = 128  # of a crop
FRAMES = 8  # that are measured of each crop, where nothing else is asked: all of them take an hour


class Filler(Protocol):
    """What can say what hidden cells are."""

    def logits(
        self,
        cells: Int[Tensor, "batch voices steps"],
        hidden: Bool[Tensor, "batch voices steps"],
        beat: Tensor,
        keys: int = 1,
    ) -> Float[Tensor, "batch voices steps classes"]:
        """Of every cell, in view of those that are not hidden alone; of several keys, the mean of what it says."""
        ...


@runtime_checkable
class FillerOfRolls(Filler, Protocol):
    """And what the cells of a piano roll are to it."""

    def hear(self, batch: RollBatch) -> Int[Tensor, "batch voices steps"]:
        """The class of every cell; REST where it is silent."""
        ...


@dataclass(frozen=True)
class Crop:
    """A crop of one piece."""

    cells: Int[Tensor, "voices steps"]
    beat: Int[Tensor, " steps"]


def crops(model: FillerOfRolls, rolls: Sequence[Roll], device: str = "cpu", seed: int = 0) -> list[Crop]:
    """One crop of every piece, from a random beat; of shorter pieces all there is."""
    rng = np.random.default_rng(seed)
    found = []
    for roll in rolls:
        batch = collate([window(roll, int(rng.choice(starts(roll, STEPS, hop=BEAT))), STEPS)]).to(device)
        found.append(Crop(model.hear(batch)[0], beats(batch)[0]))
    return found


@torch.no_grad()
def framewise(
    model: Filler,
    crops: Sequence[Crop],
    orderings: int = 5,
    frames: int | None = None,
    keys: int = 1,
    batch: int = 64,
    seed: int = 0,
) -> dict[str, Any]:
    """{"coconet": …, "strict": …, "frames": …, "pieces": …}: nats a frame, with bootstrap intervals over pieces.

    frames:  measure so many frames of each crop, drawn evenly (the same for all orderings); None measures all. The mean
             is the same, its interval wider: a frame costs `orderings` × voices × 2 × keys passes over the crop.
    keys:    in how many the model looks at a crop.
    """
    rng = np.random.default_rng(seed)
    nats: dict[str, list[float]] = {"coconet": [], "strict": []}
    count = 0
    for crop in crops:
        steps = crop.cells.shape[1]
        chosen = np.sort(rng.permutation(steps)[: frames or steps])
        logs: dict[str, list[np.ndarray]] = {name: [] for name in nats}
        for _ in range(orderings):
            rank = rng.permutation(steps)
            voices = rng.permuted(np.tile(np.arange(len(crop.cells)), (len(chosen), 1)), axis=1)
            for name, own in (("coconet", True), ("strict", False)):
                logs[name].append(_frames(model, crop, rank, chosen, voices, own, keys, batch))
        nats["coconet"].append(float(-(np.logaddexp.reduce(logs["coconet"]) - np.log(orderings)).mean()))
        nats["strict"].append(float(-np.mean(logs["strict"])))
        count += len(chosen)
    ones = np.ones(len(crops))
    return {
        "pieces": len(crops),
        "frames": count,
        "orderings": orderings,
        **{
            name: {
                "value": float(np.mean(values)),
                "interval": interval([np.array(values), ones], np.divide, seed),
            }
            for name, values in nats.items()
        },
    }


def _frames(
    model: Filler,
    crop: Crop,
    rank: np.ndarray,
    chosen: np.ndarray,
    voices: np.ndarray,
    own: bool,
    keys: int,
    batch: int,
) -> np.ndarray:
    """log p of each chosen frame, float64[frames]: a sheet a frame, with the frames of lower rank in view."""
    result = []
    for begin in range(0, len(chosen), batch):
        frame = torch.from_numpy(chosen[begin : begin + batch])
        order = torch.from_numpy(voices[begin : begin + batch])
        sheets = torch.arange(len(frame))
        cells = crop.cells.cpu().expand(len(frame), -1, -1).clone()
        ranks = torch.from_numpy(rank)
        hidden = (ranks >= ranks[frame][:, None])[:, None].expand_as(cells).clone()
        truth = crop.cells.cpu()[:, frame].T
        log = torch.zeros(len(frame), dtype=torch.float64)
        device = crop.cells.device
        for place in range(order.shape[1]):
            voice = order[:, place]
            beat = crop.beat.expand(len(frame), -1)
            logits = model.logits(cells.to(device), hidden.to(device), beat, keys).cpu()
            here = logits[sheets, voice, frame].double().log_softmax(-1)
            paid = here[sheets, truth[sheets, voice]]
            log += torch.where(truth[sheets, voice] == REST, 0, paid) if own else paid
            cells[sheets, voice, frame] = here.argmax(-1) if own else truth[sheets, voice]
            hidden[sheets, voice, frame] = False
        result.append(log.numpy())
    return np.concatenate(result)
