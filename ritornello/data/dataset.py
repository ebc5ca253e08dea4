"""Prepared tokens on disk → songs, crops of songs, and batches of crops.

A prepared folder (see `prepare`) holds plain `.npy` arrays; they are memory-mapped, so a corpus of any size opens at
once and only what is read is loaded. `Batches` is a pure function of (seed, step): a run that was killed goes on at
step k with exactly the batches that it would have seen, on one machine or on many.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ritornello.data.shards import load_shard
from ritornello.errors import MusicError
from ritornello.representations.base import Tokens

SPLITS = ("train", "valid", "test")


class TokenDataset(Sequence[Tokens]):
    """The songs of one split (or of all, split=None) of one prepared folder, or of several one after the other.

    Raises MusicError where a folder is not a prepared corpus, or where two were made with different vocabularies.
    """

    def __init__(self, folder: Path | str | Sequence[Path | str], split: str | None = "train") -> None:
        folders = [folder] if isinstance(folder, (str, Path)) else list(folder)
        if split is not None and split not in SPLITS:
            raise MusicError(f"There is no split called {split!r}; the splits are {', '.join(SPLITS)}.")
        self.folders = [Path(f) for f in folders]
        self.split = split
        self._shards: dict[tuple[int, str], dict[str, np.ndarray]] = {}
        self.songs: list[dict[str, Any]] = []  # the lines of songs.jsonl, and which folder each came from
        vocabularies = set()
        for number, path in enumerate(self.folders):
            vocabularies.add(_text(path, "vocabulary.json"))
            for line in _text(path, "songs.jsonl").splitlines():
                song = json.loads(line)
                if "tokens" not in song:
                    raise MusicError(f"{path} holds piano rolls, where tokens are expected; prepare it for this model.")
                if split is None or song["split"] == split:
                    self.songs.append({**song, "folder": number})
        if len(vocabularies) > 1:
            names = ", ".join(map(str, self.folders))
            raise MusicError(f"{names} were prepared with different vocabularies; prepare them with the same one.")

    def __len__(self) -> int:
        return len(self.songs)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Int64[songs]: tokens of each song."""
        return np.array([song["tokens"] for song in self.songs], np.int64)

    def __getitem__(self, index: int) -> Tokens:  # type: ignore[override]
        """Song `index`, whole; ids are a view into the file on disk, and meta has "file" and "bars"."""
        song = self.songs[index]
        shard = self._shard(song["folder"], song["shard"])
        row = song["row"]
        tokens = slice(*shard["token_offsets"][row : row + 2])
        bars = slice(*shard["bar_offsets"][row : row + 2])
        return Tokens(
            ids=shard["ids"][tokens],
            bars=shard["bars"][tokens].astype(np.int32),
            positions=shard["positions"][tokens],
            attributes=shard["attributes"][bars],
            meta={**song["meta"], "file": song["file"], "bars": song["bars"]},
        )

    def spread(self, count: int) -> list[Tokens]:
        """`count` songs at even distances, or all where there are fewer."""
        return [self[i] for i in evenly(len(self), count)]

    def _shard(self, folder: int, name: str) -> dict[str, np.ndarray]:
        """The arrays of one shard, mapped when first asked for."""
        key = (folder, name)
        if key not in self._shards:
            self._shards[key] = load_shard(self.folders[folder] / "shards" / name)
        return self._shards[key]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_shards": {}}  # another process maps the files anew


def evenly(length: int, count: int) -> list[int]:
    """`count` of `length` places at even distances, or all where there are fewer."""
    count = min(count, length)
    return [i * length // count for i in range(count)]


def _text(folder: Path, name: str) -> str:
    try:
        return (folder / name).read_text(encoding="utf-8")
    except OSError as error:
        raise MusicError(
            f"{folder} is not a prepared corpus: it has no readable {name}; make one with `ritornello prepare`."
        ) from error


def crop(tokens: Tokens, length: int, rng: np.random.Generator, from_start: float = 0.25) -> Tokens:
    """At most `length` tokens of a song, from the start of a bar.

    With probability `from_start` the crop is the song's beginning, with BOS; else it starts with the Bar token of a
    bar drawn evenly from those that leave `length` tokens to the end, and the first that does not (so that endings are
    seen). Bars stay absolute; meta["bars"] is the whole song's, meta["crop"] the first token's place in it.
    """
    n = len(tokens.ids)
    begin = 0
    if n > length and rng.random() >= from_start:
        # A new bar starts where Tokens.bars changes. Bar 0 belongs to the song's start, which has its own share.
        starts = np.flatnonzero(tokens.bars[1:] != tokens.bars[:-1]) + 1
        choices = np.searchsorted(starts, n - length, side="left") + 1
        if len(starts):
            begin = int(starts[rng.integers(min(choices, len(starts)))])
    return cut(tokens, begin, begin + length)


def cut(tokens: Tokens, begin: int, end: int) -> Tokens:
    """Tokens begin:end of a song, with the song's own count of bars in meta where it is known."""
    meta = {**tokens.meta, "crop": begin}
    if "bars" not in meta and len(tokens.attributes):
        meta["bars"] = len(tokens.attributes)
    window = slice(begin, end)
    return replace(
        tokens,
        ids=tokens.ids[window],
        bars=tokens.bars[window],
        positions=tokens.positions[window],
        meta=meta,
        past=np.concatenate([tokens.past, tokens.ids[:begin]]),
    )


class Batches:
    """Training batches: lists of crops of like length. `batches[step]` needs nothing but (seed, step).

    In one epoch a song of n tokens is visited ceil(n / crop_length) times, so that every token of the corpus is seen
    about equally often. Visits of like length (to an eighth of crop_length) make a batch of at most `tokens_per_batch`
    tokens, padding counted; the order of songs, the batches they fall in, the order of the batches and the crops are
    drawn anew each epoch. A rank gets every `world_size`-th row, so that the batch of a step as a whole is the same on
    one device and on many.
    """

    BUCKETS = 8

    def __init__(
        self,
        dataset: Sequence[Tokens],
        tokens_per_batch: int,
        crop_length: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        from_start: float = 0.25,
    ) -> None:
        if len(dataset) == 0:
            raise MusicError("There is no song to train on: the training split is empty.")
        if tokens_per_batch < crop_length * world_size:
            raise MusicError(
                f"A batch of {tokens_per_batch} tokens cannot give each of {world_size} processes a crop of "
                f"{crop_length} tokens; set the stage's batch (train.stages) to {crop_length * world_size} or more."
            )
        self.dataset, self.crop_length, self.from_start = dataset, crop_length, from_start
        self.seed, self.rank, self.world_size = seed, rank, world_size
        lengths = _lengths(dataset)
        visits = -(-lengths // crop_length)
        self._songs = np.repeat(np.arange(len(lengths)), visits)
        step = max(1, -(-crop_length // self.BUCKETS))
        buckets = -(-np.minimum(lengths, crop_length) // step)  # 1, 2 … BUCKETS
        self._bucket = buckets[self._songs]
        self._rows = {int(b): tokens_per_batch // min(int(b) * step, crop_length) for b in np.unique(buckets)}
        self._planned = (0, self._make_plan(0))
        self.per_epoch = len(self._planned[1])

    def __len__(self) -> int:
        """Steps in an epoch."""
        return self.per_epoch

    def __getitem__(self, step: int) -> list[Tokens]:
        """This rank's crops of global step `step` (any number from 0)."""
        epoch, place = divmod(step, self.per_epoch)
        if self._planned[0] != epoch:
            self._planned = (epoch, self._make_plan(epoch))
        songs = self._planned[1][place]
        return [
            crop(
                self.dataset[int(songs[row])],
                self.crop_length,
                np.random.default_rng([self.seed, step, row]),
                self.from_start,
            )
            for row in range(self.rank, len(songs), self.world_size)
        ]

    def since(self, step: int = 0) -> Iterator[list[Tokens]]:
        """batches[step], batches[step + 1], … without end."""
        while True:
            yield self[step]
            step += 1

    def _make_plan(self, epoch: int) -> list[np.ndarray]:
        """The songs of every batch of an epoch. Every epoch has as many batches: the buckets' sizes do not change."""
        rng = np.random.default_rng([self.seed, epoch])
        batches: list[np.ndarray] = []
        left = np.zeros(0, np.int64)
        largest = max(self._rows)
        for bucket, rows in sorted(self._rows.items()):
            songs = np.concatenate([left, rng.permutation(self._songs[self._bucket == bucket])])
            if bucket == largest and len(songs) % rows:  # the last batch is filled up from the first
                songs = np.resize(songs, -(-len(songs) // rows) * rows)
            full = len(songs) // rows * rows
            batches += list(songs[:full].reshape(-1, rows))
            left = songs[full:]  # what fills no batch joins the next longer ones
        return [batches[i] for i in rng.permutation(len(batches))]


class BarBatches:
    """Training batches: lists of crops of `crop_bars` whole bars each. `batches[step]` needs nothing but (seed, step).

    In one epoch a song of b bars is visited ceil(b / crop_bars) times. With probability `from_start` a crop is the
    song's beginning; else its first bar is drawn evenly from those that leave `crop_bars` to the end. A shorter song is
    taken whole. `change` is done to every crop, with a random generator of its own: a transposition, for example.
    """

    def __init__(
        self,
        dataset: Sequence[Tokens],
        bars_per_batch: int,
        crop_bars: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        from_start: float = 0.125,
        change: Callable[[Tokens, np.random.Generator], Tokens] | None = None,
    ) -> None:
        if len(dataset) == 0:
            raise MusicError("There is no song to train on: the training split is empty.")
        if bars_per_batch < crop_bars * world_size:
            raise MusicError(
                f"A batch of {bars_per_batch} bars cannot give each of {world_size} processes a crop of {crop_bars} "
                f"bars; set the stage's batch (train.stages) to {crop_bars * world_size} or more."
            )
        self.dataset, self.crop_bars, self.from_start, self.change = dataset, crop_bars, from_start, change
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self._songs = np.repeat(np.arange(len(dataset)), -(-_bar_counts(dataset) // crop_bars))
        self._rows = bars_per_batch // crop_bars
        self._planned = (-1, self._songs)

    def __len__(self) -> int:
        """Steps in an epoch."""
        return -(-len(self._songs) // self._rows)

    def __getitem__(self, step: int) -> list[Tokens]:
        """This rank's crops of global step `step` (any number from 0)."""
        epoch, place = divmod(step, len(self))
        if self._planned[0] != epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(self._songs)
            self._planned = (epoch, np.resize(order, len(self) * self._rows))  # the last batch is filled up
        songs = self._planned[1][place * self._rows : (place + 1) * self._rows]
        return [
            self._crop(self.dataset[int(songs[row])], np.random.default_rng([self.seed, step, row]))
            for row in range(self.rank, len(songs), self.world_size)
        ]

    def _crop(self, tokens: Tokens, rng: np.random.Generator) -> Tokens:
        latest = int(tokens.bars[-1]) + 1 - self.crop_bars
        first = 0 if latest <= 0 or rng.random() < self.from_start else int(rng.integers(latest + 1))
        begin, end = np.searchsorted(tokens.bars, [first, first + self.crop_bars]).tolist()
        part = cut(tokens, begin, end)
        return part if self.change is None else self.change(part, rng)


def whole_songs(
    dataset: Sequence[Tokens], tokens_per_batch: int, max_length: int, songs: int | None = None
) -> list[list[Tokens]]:
    """The same batches every time, for validation: songs from their beginning, cut at `max_length` tokens.

    `songs` takes that many, spread evenly over the dataset. Songs of like length share a batch; a song longer than
    `tokens_per_batch` has one for itself.
    """
    lengths = np.minimum(_lengths(dataset), max_length)
    chosen = np.arange(len(lengths))
    if songs is not None and songs < len(lengths):
        chosen = np.linspace(0, len(lengths) - 1, songs).round().astype(np.int64)
    batches: list[list[int]] = []
    for song in chosen[np.argsort(lengths[chosen], kind="stable")]:
        # Lengths rise, so the newest song is the longest of its batch.
        if batches and (len(batches[-1]) + 1) * lengths[song] <= tokens_per_batch:
            batches[-1].append(int(song))
        else:
            batches.append([int(song)])
    return [[cut(dataset[i], 0, max_length) for i in batch] for batch in batches]


def _bar_counts(dataset: Sequence[Tokens]) -> np.ndarray:
    if isinstance(dataset, TokenDataset):
        return np.array([song["bars"] for song in dataset.songs], np.int64)
    return np.array([int(tokens.bars[-1]) + 1 for tokens in dataset], np.int64)


def _lengths(dataset: Sequence[Tokens]) -> np.ndarray:
    if isinstance(dataset, TokenDataset):
        return dataset.lengths
    return np.array([len(tokens.ids) for tokens in dataset], np.int64)
