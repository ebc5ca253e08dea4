"""What followed when a song last said what it has just said: a memory of the whole song that costs no attention.

After every token, the 1, 2, 4 … 64 tokens up to it are looked for in what came before, and the most recent place of
the longest match is taken. The token behind that place is a guess at what comes next (an n-gram of the song itself;
compare the cache of Kuhn and De Mori, 1990). Some tokens may be passed over in looking, such as how long and how loud
notes are: a tune is then known again when it is played otherwise. A guess depends on past tokens alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy

import numpy as np
from numpy.typing import NDArray

LENGTHS = (1, 2, 4, 8, 16, 32, 64)
"""Tokens that must agree, shortest first. Each is twice the last, so that its hash is made of two of the last one's."""

_ALL = 2**64
_FACTOR = 0x9E3779B97F4A7C15  # any odd number with many ones: a hash is a polynomial in it, modulo 2^64
_FACTORS = [pow(_FACTOR, length, _ALL) for length in LENGTHS]
_SINCE = 0xD6E8FEB86659FD93  # likewise


def recall(ids: NDArray[np.integer], passed: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of every token of a song: the token behind the place recalled, and how many of LENGTHS agree there.

    ids:     [n].
    passed:  [vocabulary]: which tokens are passed over. How many of them stand at the end must agree.
    Returns: two arrays [n], 0 and 0 where nothing agrees.
    """
    ids = np.asarray(ids, np.int64)
    looked_at = ~passed[ids]
    places = np.flatnonzero(looked_at)
    newest = np.cumsum(looked_at) - 1  # of the tokens looked at, the last one up to each token
    since = (np.arange(len(ids)) - places[newest]).astype(np.uint64) * np.uint64(_SINCE)
    followed, depth = np.zeros_like(ids), np.zeros_like(ids)
    hashes = ids[places].astype(np.uint64)  # of the `length` tokens up to each, from the first that has as many
    for level, (length, factor) in enumerate(zip(LENGTHS, _FACTORS, strict=True), 1):
        if not len(hashes):
            break
        enough = np.flatnonzero(newest >= length - 1)
        keys = hashes[newest[enough] - length + 1] + since[enough]
        order = np.argsort(keys, kind="stable")
        again = keys[order[1:]] == keys[order[:-1]]
        here, last = enough[order[1:][again]], enough[order[:-1][again]]
        followed[here], depth[here] = ids[last + 1], level
        hashes = hashes[length:] + np.uint64(factor) * hashes[:-length]
    return followed, depth


class Memory:
    """The same for a song that is being written, a token at a time."""

    def __init__(self, passed: NDArray[np.bool_], ids: Iterable[int] = ()) -> None:
        self._passed = passed.tolist()
        self._looked_at = self._since = 0
        self._hashes: list[list[int]] = [[] for _ in LENGTHS]
        self._keys: list[int] = []  # of what the song ends with
        self._behind: list[dict[int, int]] = [{} for _ in LENGTHS]  # key → the token behind its most recent place
        for id in ids:
            self.add(id)

    def add(self, id: int) -> tuple[int, int]:
        """What `recall` gives for this token."""
        for key, behind in zip(self._keys, self._behind, strict=False):
            behind[key] = id
        if self._passed[id]:
            self._since += 1
        else:
            self._since = 0
            self._look_at(id)
        offset = self._since * _SINCE
        self._keys = [(hashes[-1] + offset) % _ALL for hashes in self._hashes if hashes]
        for level in range(len(self._keys), 0, -1):
            if (found := self._behind[level - 1].get(self._keys[level - 1])) is not None:
                return found, level
        return 0, 0

    def copy(self) -> Memory:
        other = copy(self)
        other._hashes = [list(hashes) for hashes in self._hashes]
        other._behind = [dict(behind) for behind in self._behind]
        return other

    def _look_at(self, id: int) -> None:
        hash = id
        for length, factor, hashes in zip(LENGTHS, _FACTORS, self._hashes, strict=True):
            hashes.append(hash)
            earlier = self._looked_at - 2 * length + 1  # where the hash of the `length` tokens before those is kept
            if earlier < 0:
                break
            hash = (hash + factor * hashes[earlier]) % _ALL
        self._looked_at += 1
