"""One shard of prepared songs on disk: plain arrays that can be memory-mapped, and a JSON file that says it is whole.

    00007.ids.npy             int16[tokens]      token ids of all songs of the shard, one song after the other
    00007.bars.npy            int16[tokens]      the musical bar of every token, from 0 in every song
    00007.positions.npy       int16[tokens]
    00007.attributes.npy      int16[bars, k]     a row per bar of every song
    00007.token_offsets.npy   int64[songs + 1]   song r is tokens offsets[r] : offsets[r + 1]
    00007.bar_offsets.npy     int64[songs + 1]
    00007.sketches.npy        uint32[songs, 2, hashes]   for finding near-duplicates (see `split`)
    00007.json                what was accepted and dropped; written last: a shard without it does not count

A shard of piano rolls holds instead

    00007.cells.npy           int32[cells]       what sounds: ((step * tracks + track) * 128 + key) * 2 + (1: onset)
    00007.bars.npy            int16[steps]       the musical bar of every step
    00007.cell_offsets.npy    int64[songs + 1]
    00007.step_offsets.npy    int64[songs + 1]

Files are written under another name and renamed, so that each is either whole or not there.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ritornello.errors import MusicError
from ritornello.representations.base import HELD, ONSET, Roll, Tokens

ROLL_ARRAYS = ("cells", "bars", "cell_offsets", "step_offsets")
ARRAYS = ("ids", "bars", "positions", "attributes", "token_offsets", "bar_offsets")
MOST_BARS = 32_767  # of one song: bars are stored in 16 bits


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a crash at any moment leaves the old one, or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """`value` as JSON, keys in the order given, atomically."""
    write_atomically(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def save_shard(
    stem: Path, songs: Sequence[Tokens | Roll], sketches: Sequence[np.ndarray], record: dict[str, Any]
) -> None:
    """Write the arrays of a shard, then `record` as `<stem>.json`."""
    rolls, tokens = [s for s in songs if isinstance(s, Roll)], [s for s in songs if isinstance(s, Tokens)]
    arrays = _roll_arrays(rolls) if rolls else _token_arrays(tokens)
    if sketches:
        arrays["sketches"] = np.stack(sketches)
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        write_atomically(_path(stem, name), buffer.getvalue())
    write_json(stem.with_name(f"{stem.name}.json"), {**record, "arrays": list(arrays)})


def _token_arrays(songs: Sequence[Tokens]) -> dict[str, np.ndarray]:
    columns = max((song.attributes.shape[1] for song in songs), default=0)
    return {
        "ids": _join([song.ids for song in songs], np.int16),
        "bars": _join([song.bars for song in songs], np.int16),
        "positions": _join([song.positions for song in songs], np.int16),
        "attributes": _join([song.attributes for song in songs], np.int16, (0, columns)),
        "token_offsets": np.cumsum([0, *(len(song.ids) for song in songs)], dtype=np.int64),
        "bar_offsets": np.cumsum([0, *(len(song.attributes) for song in songs)], dtype=np.int64),
    }


def _roll_arrays(songs: Sequence[Roll]) -> dict[str, np.ndarray]:
    flat = [song.cells.transpose(1, 0, 2).reshape(-1) for song in songs]
    cells = [2 * np.flatnonzero(song) + (song[song > 0] == ONSET) for song in flat]
    return {
        "cells": _join(cells, np.int32),
        "bars": _join([song.bars for song in songs], np.int16),
        "cell_offsets": np.cumsum([0, *map(len, cells)], dtype=np.int64),
        "step_offsets": np.cumsum([0, *map(len, songs)], dtype=np.int64),
    }


def roll_of(shard: dict[str, np.ndarray], row: int, meta: dict[str, Any]) -> Roll:
    """Song `row` of a shard of rolls; meta["tracks"] says how many tracks it has."""
    codes = shard["cells"][slice(*shard["cell_offsets"][row : row + 2])]
    bars = shard["bars"][slice(*shard["step_offsets"][row : row + 2])].astype(np.int32)
    cells = np.zeros((len(bars), int(meta["tracks"]), 128), np.uint8)
    cells.reshape(-1)[codes >> 1] = np.where(codes & 1, ONSET, HELD)
    return Roll(np.ascontiguousarray(cells.transpose(1, 0, 2)), bars, meta)


def read_record(stem: Path) -> dict[str, Any] | None:
    """What `<stem>.json` says; None where it is not there or not whole, and the shard is to be made (again)."""
    try:
        return json.loads(stem.with_name(f"{stem.name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def is_whole(stem: Path) -> bool:
    """Whether all arrays that the record of a shard names are there."""
    record = read_record(stem)
    return record is not None and all(_path(stem, name).exists() for name in record.get("arrays", ARRAYS))


def load_shard(stem: Path, names: Sequence[str] = ARRAYS) -> dict[str, np.ndarray]:
    """Map the arrays of one shard into memory. Raises MusicError where one is missing or is no array."""
    arrays = {}
    for name in names:
        try:
            arrays[name] = np.asarray(np.load(_path(stem, name), mmap_mode="r", allow_pickle=False))
        except (OSError, ValueError) as error:
            raise MusicError(
                f"{_path(stem, name)} cannot be read ({error}); run `ritornello prepare` again."
            ) from error
    return arrays


def _path(stem: Path, name: str) -> Path:
    return stem.with_name(f"{stem.name}.{name}.npy")


def _join(parts: list[np.ndarray], dtype: type, empty: tuple[int, ...] = (0,)) -> np.ndarray:
    return np.concatenate([np.zeros(empty, dtype), *(part.astype(dtype) for part in parts)])
