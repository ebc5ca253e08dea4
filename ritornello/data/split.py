"""Training, validation and test songs, so that no song meets its own near-duplicate on the other side.

Two files are the same music if they were exported twice, transposed, played at another tempo or given other
instruments. `sketch` reduces a song to MinHash values (Broder, 1997) of two sets of short passages that none of this
changes; `clusters` joins songs whose sets overlap; `assign` deals whole clusters to the splits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ritornello.music.score import Score

HASHES = 126  # MinHash values per set of passages: the standard error of an overlap of 0.35 is 0.04
ROWS = 2  # consecutive values that must agree before two songs are compared at all: 99 % are at an overlap of 0.3
OVERLAP = 0.35  # of either set of passages (Jaccard), from which on two songs are one piece of music
FEWEST = 24  # passages that a song needs for its overlap with another to mean anything
SHARES = {"test": 0.03, "valid": 0.02, "train": 0.95}

UInt64 = NDArray[np.uint64]


@dataclass(frozen=True)
class Sketch:
    """What near-duplicates of a song have in common.

    content: equal for songs that agree note for note up to transposition, tempo and instruments.
    hashes:  uint32[2, HASHES]: MinHash of the passages by beat and by onset; all zero where there are too few.
    """

    content: str
    hashes: NDArray[np.uint32]


def sketch(score: Score) -> Sketch:
    """The sketch of a score in ticks.

    By beat: the pitch classes that begin in each of four beats in a row. This survives wrong, missing and added notes
    elsewhere, and uneven playing. By onset: the pitch classes of eight onsets in a row, repetitions left out, wherever
    they stand. This survives a shifted or differently barred copy, and one in half or double time.
    """
    time, pitch, drum = _notes(score)
    content = _content(time, pitch, drum)
    time, pitch = time[~drum], pitch[~drum]
    hashes = np.zeros((2, HASHES), np.uint32)
    if len(time):
        beats = _masks(np.floor(time - time[0] + 1 / 8).astype(np.int64), pitch)
        grid = np.unique(np.round(time * 24).astype(np.int64), return_inverse=True)[1]
        onsets = _masks(grid, pitch)
        onsets = onsets[np.append(True, onsets[1:] != onsets[:-1])]
        hashes[0] = _minhash(_passages(beats, 4, distinct=3))
        hashes[1] = _minhash(_passages(onsets, 8, distinct=4))
    return Sketch(content, hashes)


def clusters(sketches: Sequence[Sketch], given: Sequence[str | None] | None = None) -> NDArray[np.int64]:
    """Int64[songs]: for each song the lowest index of a song that is the same music.

    Songs for which a corpus says what they belong to (`given`) are joined by that alone; the others by their sketches.
    Deterministic, and the same partition for any order of songs.
    """
    parents = np.arange(len(sketches))
    given = given if given is not None else [None] * len(sketches)
    _join_equal(parents, [(i, name) for i, name in enumerate(given) if name is not None])
    free = np.array([i for i, name in enumerate(given) if name is None], np.int64)
    _join_equal(parents, [(int(i), sketches[i].content) for i in free])
    if len(free):
        hashes = np.stack([sketches[i].hashes for i in free])
        for kind in (0, 1):
            _join_similar(parents, free, hashes[:, kind])
    return np.array([_root(parents, i) for i in range(len(parents))], np.int64)


def assign(
    sketches: Sequence[Sketch], labels: NDArray[np.int64], given: Sequence[str | None] | None = None
) -> list[str]:
    """The split of each song: "train", "valid" or "test", in the shares of SHARES, one for a whole cluster.

    Each song draws a number from its own content, which its near-duplicates nearly always draw too, and a cluster takes
    the highest. So no file's split depends on other, different files; and a copy that is added later may at most move
    its cluster towards training: nothing that was trained on ever becomes a test.
    """
    given = given if given is not None else [None] * len(sketches)
    draws = np.array([_draw(sketch, name) for sketch, name in zip(sketches, given, strict=True)])
    highest = np.zeros(len(draws))
    np.maximum.at(highest, labels, draws)
    bounds = np.cumsum(list(SHARES.values()))[:-1]
    names = list(SHARES)
    return [names[i] for i in np.searchsorted(bounds, highest[labels], side="right")]


# ---- a song's passages -----------------------------------------------------------------------------------------------


def _notes(score: Score) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    """Onset in quarters, pitch, and whether it is a drum, of all notes by onset."""
    tracks = [(track.notes.numpy(), track.is_drum) for track in score.tracks if len(track.notes)]
    time = np.concatenate([notes["time"] for notes, _ in tracks]) / score.ticks_per_quarter
    pitch = np.concatenate([notes["pitch"] for notes, _ in tracks]).astype(np.int64)
    drum = np.concatenate([np.full(len(notes["time"]), is_drum) for notes, is_drum in tracks])
    order = np.argsort(time, kind="stable")
    return time[order], pitch[order], drum[order]


def _content(time: NDArray[np.float64], pitch: NDArray[np.int64], drum: NDArray[np.bool_]) -> str:
    grid = np.round((time - time[0]) * 12).astype(np.int64)
    lowest = pitch[~drum].min() if (~drum).any() else 0
    height = np.where(drum, pitch, 256 + pitch - lowest)
    notes = np.unique(np.stack([grid, height], axis=1), axis=0)
    return hashlib.blake2b(notes.astype("<i8").tobytes(), digest_size=16).hexdigest()


def _masks(slots: NDArray[np.int64], pitch: NDArray[np.int64]) -> NDArray[np.int64]:
    """Int64[slots]: the pitch classes that begin in each slot, as 12 bits."""
    present = np.unique(slots * 12 + pitch % 12)
    return np.bincount(present // 12, weights=2.0 ** (present % 12)).astype(np.int64)


def _passages(masks: NDArray[np.int64], length: int, distinct: int) -> UInt64:
    """One number for each different passage of `length` slots with at least `distinct` different contents.

    Transposition turns all 12 bits of every slot by the same amount; the least of the 12 hashes is the same for all.
    """
    if len(masks) < length:
        return np.zeros(0, np.uint64)
    windows = np.lib.stride_tricks.sliding_window_view(masks, length)
    sorted_windows = np.sort(windows, axis=1)
    contents = 1 + (np.diff(sorted_windows, axis=1) != 0).sum(axis=1) - (sorted_windows[:, 0] == 0)
    windows = np.unique(windows[contents >= distinct], axis=0)
    turn = np.arange(12)[:, None, None]
    turned = ((windows << turn) | (windows >> (12 - turn))) & 0xFFF  # [12, windows, length]
    value = np.zeros(turned.shape[:2], np.uint64)
    for column in range(length):
        value = _mix(value ^ turned[:, :, column].astype(np.uint64))
    return np.unique(value.min(axis=0))


def _minhash(passages: UInt64) -> NDArray[np.uint32]:
    """Uint32[HASHES]: the least of all passages under each of HASHES hash functions; zeros for too few passages."""
    if len(passages) < FEWEST:
        return np.zeros(HASHES, np.uint32)
    salts = _mix(np.arange(1, HASHES + 1, dtype=np.uint64))
    return (_mix(passages[:, None] ^ salts) >> np.uint64(32)).min(axis=0).astype(np.uint32)


def _mix(value: UInt64) -> UInt64:
    """SplitMix64's finaliser: every bit of the result depends on every bit of the value."""
    with np.errstate(over="ignore"):
        value = value + np.uint64(0x9E3779B97F4A7C15)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return value ^ (value >> np.uint64(31))


# ---- which songs are one ---------------------------------------------------------------------------------------------


def _join_equal(parents: NDArray[np.int64], keyed: Sequence[tuple[int, str]]) -> None:
    first: dict[str, int] = {}
    for index, key in keyed:
        _union(parents, first.setdefault(key, index), index)


def _join_similar(parents: NDArray[np.int64], songs: NDArray[np.int64], hashes: NDArray[np.uint32]) -> None:
    """Join songs whose MinHash values agree in a share of OVERLAP; compared are those that agree in ROWS in a row."""
    usable = np.flatnonzero(hashes.any(axis=1))
    for start in range(0, HASHES, ROWS):
        band = hashes[usable, start : start + ROWS]
        order = np.lexsort(band.T[::-1])
        edges = np.flatnonzero((np.diff(band[order].astype(np.int64), axis=0) != 0).any(axis=1)) + 1
        for bucket in np.split(usable[order], edges):
            while len(bucket) > 1:  # compare the first with the rest, then what is left among itself
                alike = (hashes[bucket[1:]] == hashes[bucket[0]]).mean(axis=1) >= OVERLAP
                for other in bucket[1:][alike]:
                    _union(parents, int(songs[bucket[0]]), int(songs[other]))
                bucket = bucket[1:][~alike]


def _root(parents: NDArray[np.int64], index: int) -> int:
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = int(parents[index])
    return index


def _union(parents: NDArray[np.int64], one: int, other: int) -> None:
    low, high = sorted((_root(parents, one), _root(parents, other)))
    parents[high] = low


def _draw(song: Sketch, name: str | None) -> float:
    """A number in [0, 1) that depends on the song alone (or on the cluster that its corpus names)."""
    # One MinHash value is the same for two songs with the probability of their overlap, and no matter what is added.
    return draw(name or (f"{song.hashes[0, 0]}" if song.hashes[0].any() else song.content))


def draw(cluster: str) -> float:
    """The number in [0, 1) that a cluster draws by its name; the lowest are for testing."""
    return int.from_bytes(hashlib.blake2b(cluster.encode(), digest_size=8).digest(), "big") / 2**64
