"""Prepared piano rolls → songs, windows of songs, and batches of windows: what dataset.py and batch.py are for tokens.

`Windows` is a pure function of (seed, step), as `Batches` is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int64, UInt8
from torch import Tensor

from ritornello.data.shards import ROLL_ARRAYS, load_shard, roll_of
from ritornello.errors import MusicError
from ritornello.representations.base import SILENT, Roll

SPLITS = ("train", "valid", "test")
BEAT = 4  # steps
KEYS = range(-5, 7)  # semitones that bring a song into each of the twelve keys


@dataclass(frozen=True)
class RollBatch:
    """`batch` rolls or windows of rolls, each padded at its end to `steps`.

    cells:    representations.base.SILENT (also padding), HELD or ONSET.
    bars:     the musical bar of every step; padding repeats the row's last bar.
    lengths:  steps of each row without padding.
    """

    cells: UInt8[Tensor, "batch tracks steps 128"]
    bars: Int64[Tensor, "batch steps"]
    lengths: Int64[Tensor, " batch"]

    def __len__(self) -> int:
        return len(self.lengths)

    def to(self, device: torch.device | str) -> RollBatch:
        return RollBatch(*(getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)))


def collate(rolls: Sequence[Roll]) -> RollBatch:
    """Pad rolls to the longest. Raises ValueError for no rolls or an empty one."""
    lengths = [len(roll) for roll in rolls]
    if not lengths or min(lengths) == 0:
        raise ValueError(f"a batch needs at least one roll, and every roll a step; the lengths are {lengths}")
    steps = max(lengths)
    cells = np.stack([np.pad(roll.cells, ((0, 0), (0, steps - len(roll)), (0, 0))) for roll in rolls])
    bars = np.stack([np.pad(roll.bars.astype(np.int64), (0, steps - len(roll)), "edge") for roll in rolls])
    return RollBatch(*map(torch.from_numpy, (cells, bars, np.array(lengths, np.int64))))


def unbatch(batch: RollBatch, meta: Sequence[Mapping[str, Any]] | None = None) -> list[Roll]:
    """The rows of a batch without their padding; row i carries meta[i]."""
    cells, bars = batch.cells.cpu().numpy(), batch.bars.cpu().numpy().astype(np.int32)
    return [
        Roll(cells[row, :, :length], bars[row, :length], dict(meta[row]) if meta else {})
        for row, length in enumerate(batch.lengths.tolist())
    ]


def beats(batch: RollBatch) -> Int64[Tensor, "batch steps"]:
    """Every step's place in its beat: steps since the bar line, from the end of a first bar that is an upbeat."""
    steps = torch.arange(batch.bars.shape[1], device=batch.bars.device)
    line = F.pad(batch.bars[:, 1:] != batch.bars[:, :-1], (1, 0))
    since = steps - torch.where(line, steps, 0).cummax(1).values
    first = torch.where(line.any(1), line.to(torch.uint8).argmax(1), 0)[:, None]
    return torch.where(steps < first, steps - first, since) % BEAT


# ---- from disk -------------------------------------------------------------------------------------------------------


class RollDataset(Sequence[Roll]):
    """The songs of one split (or of all, split=None) of prepared folders, all of them in memory: 100,000 steps of a
    chorale take 50 MB.

    Raises MusicError where a folder is not a prepared corpus of rolls, or was made for another representation.
    """

    def __init__(
        self, folders: Path | str | Sequence[Path | str], split: str | None = "train", representation: str | None = None
    ) -> None:
        folders = [folders] if isinstance(folders, (str, Path)) else list(folders)
        if split is not None and split not in SPLITS:
            raise MusicError(f"There is no split called {split!r}; the splits are {', '.join(SPLITS)}.")
        self.rolls: list[Roll] = []
        for folder in map(Path, folders):
            made = json.loads(_text(folder, "corpus.json")).get("representation")
            representation = representation or made
            if made != representation:
                raise MusicError(
                    f"{folder} was prepared for {made!r}, and {representation!r} is expected; run `ritornello prepare` "
                    f"with --representation {representation}."
                )
            shards: dict[str, dict[str, np.ndarray]] = {}
            for song in map(json.loads, _text(folder, "songs.jsonl").splitlines()):
                if "steps" not in song:
                    raise MusicError(f"{folder} holds tokens, where rolls are expected; prepare it for this model.")
                if split is not None and song["split"] != split:
                    continue
                if song["shard"] not in shards:
                    shards[song["shard"]] = load_shard(folder / "shards" / song["shard"], ROLL_ARRAYS)
                meta = {**song["meta"], "file": song["file"]}
                self.rolls.append(roll_of(shards[song["shard"]], song["row"], meta))

    def __len__(self) -> int:
        return len(self.rolls)

    def __getitem__(self, index: int) -> Roll:  # type: ignore[override]
        return self.rolls[index]


def _text(folder: Path, name: str) -> str:
    try:
        return (folder / name).read_text(encoding="utf-8")
    except OSError as error:
        raise MusicError(
            f"{folder} is not a prepared corpus: it has no readable {name}; make one with `ritornello prepare`."
        ) from error


# ---- windows ---------------------------------------------------------------------------------------------------------


def window(roll: Roll, start: int, steps: int) -> Roll:
    """Steps start : start + steps of a roll (fewer at its end), its bars counted from 0, its place in meta["start"]."""
    bars = roll.bars[start : start + steps]
    return Roll(roll.cells[:, start : start + steps], bars - bars[0], {**roll.meta, "start": start})


def starts(roll: Roll, steps: int, bar: int | None = None, hop: int | None = None) -> np.ndarray:
    """Where windows of so many steps may start, int64[n]: at bar lines, or at every beat that is `hop` steps apart.

    bar:  take only windows all of whose bars are of so many steps (a last one may go on behind the window).
    hop:  steps between starts, counted from each bar line; by default only the bar lines.

    A roll that is shorter than the window has one start, its beginning, unless `bar` forbids it.
    """
    lines = np.flatnonzero(np.append(True, roll.bars[1:] != roll.bars[:-1]))
    lengths = np.diff(np.append(lines, len(roll)))
    found = (
        lines
        if hop is None
        else np.concatenate([np.arange(a, a + n, hop) for a, n in zip(lines, lengths, strict=True)])
    )
    found = found[found + steps <= len(roll)]
    if bar is not None:
        odd = np.cumsum(np.append(0, np.repeat(lengths != bar, lengths)))  # steps so far in bars of another length
        reach = np.minimum(found + steps, len(roll))
        return found[odd[reach] == odd[found]]
    return found if len(found) else np.zeros(1, np.int64)


def transpose(roll: Roll, semitones: int) -> Roll:
    """A roll so many semitones higher. What would leave the keyboard is left out."""
    cells = np.zeros_like(roll.cells)
    low, high = max(0, semitones), 128 + min(0, semitones)
    cells[:, :, low:high] = roll.cells[:, :, low - semitones : high - semitones]
    return replace(
        roll, cells=cells, meta={**roll.meta, "transposition": roll.meta.get("transposition", 0) + semitones}
    )


def ranges(rolls: Sequence[Roll]) -> np.ndarray:
    """The lowest and highest key that each track uses, int64[tracks, 2]; (128, -1) for a track that never sounds."""
    found = np.stack([_range(roll) for roll in rolls])
    return np.stack([found[:, :, 0].min(axis=0), found[:, :, 1].max(axis=0)], axis=1)


def _range(roll: Roll) -> np.ndarray:
    keys = roll.cells.max(axis=1) > SILENT  # [tracks, 128]
    low, high = keys.argmax(axis=1), 127 - keys[:, ::-1].argmax(axis=1)
    return np.where(keys.any(axis=1)[:, None], np.stack([low, high], axis=1), (128, -1))


class Windows:
    """Training batches: lists of windows. `windows[step]` needs nothing but (seed, step).

    An epoch takes every window once (see `starts`), in an order drawn anew. Each is transposed into one of the twelve
    keys that keep all of its tracks within what the dataset uses of them. A rank gets every `world_size`-th row.
    """

    def __init__(
        self,
        dataset: Sequence[Roll],
        steps: int,
        steps_per_batch: int,
        bar: int | None = None,
        hop: int | None = None,
        transposed: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.places = [(i, int(s)) for i, roll in enumerate(dataset) for s in starts(roll, steps, bar, hop)]
        if not self.places:
            kind = f" with bars of {bar} sixteenths" if bar else ""
            raise MusicError(f"There is nothing to train on: no song of {steps} steps{kind} is in the training split.")
        self.rows = steps_per_batch // steps
        if self.rows < world_size:
            raise MusicError(
                f"A batch of {steps_per_batch} steps cannot give each of {world_size} processes a window of {steps}; "
                f"set the stage's batch (train.stages) to {steps * world_size} or more."
            )
        self.dataset, self.steps, self.transposed = dataset, steps, transposed
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.ranges = ranges(dataset)
        self._order = (-1, np.zeros(0, np.int64))

    def __len__(self) -> int:
        """Steps in an epoch."""
        return -(-len(self.places) // self.rows)

    def __getitem__(self, step: int) -> list[Roll]:
        """This rank's windows of global step `step` (any number from 0)."""
        return [self._draw(step, row) for row in range(self.rank, self.rows, self.world_size)]

    def _draw(self, step: int, row: int) -> Roll:
        epoch, place = divmod(step * self.rows + row, len(self.places))
        if self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng([self.seed, epoch]).permutation(len(self.places)))
        song, start = self.places[self._order[1][place]]
        found = window(self.dataset[song], start, self.steps)
        if not self.transposed:
            return found
        return transpose(found, int(np.random.default_rng([self.seed, step, row]).choice(shifts(found, self.ranges))))


def shifts(roll: Roll, ranges: np.ndarray) -> list[int]:
    """The semitones of KEYS by which a roll can be transposed with every track within its range; 0 is always one."""
    own = _range(roll)
    sounding = own[:, 1] >= 0
    down = int((ranges[sounding, 0] - own[sounding, 0]).max(initial=-127))
    up = int((ranges[sounding, 1] - own[sounding, 1]).min(initial=127))
    return [shift for shift in KEYS if shift == 0 or down <= shift <= up]


def spread(
    dataset: Sequence[Roll], steps: int, count: int | None = None, bar: int | None = None, hop: int | None = None
) -> list[Roll]:
    """The same windows every time, for validation: `count` of them, evenly over the dataset, or all; none overlap."""
    found = []
    for roll in dataset:
        free = 0
        for start in starts(roll, steps, bar, hop).tolist():
            if start >= free:
                found.append(window(roll, start, steps))
                free = start + steps
    if count is None or count >= len(found):
        return found
    return [found[i * len(found) // count] for i in range(count)]
