"""The yardsticks of likelihood: what counting tokens reaches, without and with copying from the song's own past.

A model that learned nothing about music beyond its last tokens must be beaten by far; one that copies literally from
earlier in the same song is the harder mark, because most of music's regularity is repetition. Both answer
`token_nats(batch)` like a model, so that `likelihood` measures them in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ritornello.data.batch import TokenBatch
from ritornello.errors import MusicError

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class _Level:
    """The n-grams of one length as sorted codes (see `_codes`), and their contexts: codes without the last token."""

    grams: Ids
    gram_counts: Ids
    contexts: Ids
    context_counts: Ids
    continuations: Ids  # how many different tokens follow each context


class NGram:
    """Interpolated back-off n-grams with Witten-Bell weights (Witten and Bell 1991; the escape of PPM method C).

    p(w | h) = (c(hw) + d(h) p(w | h')) / (c(h) + d(h)): c counts, d(h) is the number of different tokens seen after h,
    and h' is h without its first token. The recursion ends in 1 / size, so every token has a probability above 0, and
    the probabilities sum to 1. Counting stays inside songs; the first token of a song is context, never predicted.

    Counts are sorted arrays, built with one sort a length: 20 million tokens take about a minute and under 2 GB.
    """

    def __init__(self, size: int, order: int = 4) -> None:
        """`size` of the vocabulary; `order` is the longest n-gram, so order - 1 tokens of context."""
        if order < 1 or size**order >= 2**63:
            raise MusicError(f"n-grams of order {order} over {size} tokens do not fit; choose an order of 1 to 5.")
        self.size, self.order = size, order
        self.levels: list[_Level] = []

    def fit(self, songs: Iterable[NDArray[np.integer]]) -> NGram:
        """Count the n-grams of `songs` (token ids, one array a song)."""
        parts = [np.asarray(song, np.int16) for song in songs]
        ids = np.concatenate(parts) if parts else np.zeros(0, np.int16)
        starts = np.cumsum([0, *map(len, parts)])[:-1]
        place = np.arange(len(ids), dtype=np.int64)
        place -= np.repeat(starts, [len(part) for part in parts])
        # Predicted tokens are those with a predecessor (place >= 1); an n-gram needs n - 1 tokens before its last.
        self.levels = [
            self._level(_codes(ids, n, self.size)[place >= max(n - 1, 1)], n) for n in range(1, self.order + 1)
        ]
        return self

    def _level(self, codes: Ids, n: int) -> _Level:
        grams, counts = np.unique(codes, return_counts=True)
        contexts, first = np.unique(grams // self.size, return_index=True)
        totals = np.add.reduceat(counts, first) if len(first) else counts
        return _Level(grams, counts, contexts, totals, np.diff(np.append(first, len(grams))))

    def probabilities(self, ids: NDArray[np.integer]) -> NDArray[np.float64]:
        """p of every token of a song given those before it, [n]; 1 for the first, which is not predicted."""
        place = np.arange(len(ids))
        p = np.full(len(ids), 1 / self.size)
        for n, level in enumerate(self.levels, start=1):
            codes = _codes(ids, n, self.size)
            seen = _find(level.contexts, codes // self.size, level.context_counts)
            different = _find(level.contexts, codes // self.size, level.continuations)
            together = _find(level.grams, codes, level.gram_counts)
            known = (seen > 0) & (place >= n - 1)
            p = np.where(known, (together + different * p) / np.maximum(seen + different, 1), p)
        p[:1] = 1
        return p

    def token_nats(self, batch: TokenBatch) -> Tensor:
        """Float32[batch, time]: -log p of every token after the first; 0 for the first and for padding."""
        return _token_nats(self, batch)


class CopyingNGram:
    """An n-gram that also copies: what followed the last time that the song's latest tokens occurred in it.

    At every token the longest of `RUNGS` is sought such that this many tokens just before it occur earlier in the song;
    the token after the most recent such place is the guess g. Then p(w) = (1 - a) p_ngram(w) + a [w = g], where the
    trust a depends on the length of the match alone, fitted by maximum likelihood on songs the n-gram did not count.
    """

    RUNGS = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233)
    """Match lengths: each is the sum of the two before, so that a window is named exactly by a pair of shorter ones."""

    def __init__(self, ngram: NGram) -> None:
        self.ngram = ngram
        self.trust = np.zeros(len(self.RUNGS) + 1)  # by rungs climbed; 0 = no match, no copying

    def fit(self, songs: Iterable[NDArray[np.integer]], rounds: int = 30) -> CopyingNGram:
        """Fit the trust in copying on `songs` (token ids) that the n-gram has not seen, by expectation-maximisation."""
        measured = [self._parts(np.asarray(song)) for song in songs]
        if not measured:
            raise MusicError("Copying needs songs to be fitted on; give at least one that was not counted.")
        p, hit, rung = (np.concatenate([part[i][1:] for part in measured]) for i in range(3))
        for r in range(1, len(self.trust)):
            here = rung == r
            if not here.any():
                self.trust[r] = self.trust[r - 1]  # never met: as much as one rung below
                continue
            a = 0.5
            for _ in range(rounds):  # the share of tokens that are better explained by copying
                a = float(np.mean(a * hit[here] / (a * hit[here] + (1 - a) * p[here])))
            self.trust[r] = min(a, 0.9999)
        return self

    def probabilities(self, ids: NDArray[np.integer]) -> NDArray[np.float64]:
        """p of every token of a song given those before it, [n]; 1 for the first, which is not predicted."""
        p, hit, rung = self._parts(ids)
        mixed = (1 - self.trust[rung]) * p + self.trust[rung] * hit
        mixed[:1] = 1
        return mixed

    def token_nats(self, batch: TokenBatch) -> Tensor:
        """Float32[batch, time]: -log p of every token after the first; 0 for the first and for padding."""
        return _token_nats(self, batch)

    def _parts(self, ids: NDArray[np.integer]) -> tuple[NDArray[np.float64], NDArray[np.bool_], Ids]:
        """[n] each: the n-gram's p, whether the copied guess is right, and the rungs the match climbed (0 = none)."""
        guess, rung = longest_matches(ids, self.RUNGS)
        return self.ngram.probabilities(ids), guess == ids, rung


def yardsticks(
    songs: Sequence[NDArray[np.integer]], size: int, order: int = 4, keep: int = 50
) -> dict[str, NGram | CopyingNGram]:
    """Both yardsticks from training songs; one song in `keep` (100 at most) is not counted, for fitting the copying."""
    if len(songs) < 2:
        raise MusicError(f"The n-gram yardsticks need at least two training songs; there are {len(songs)}.")
    kept = set(range(0, len(songs), min(keep, len(songs)))[:100])
    ngram = NGram(size, order).fit(song for i, song in enumerate(songs) if i not in kept)
    return {
        f"{order}-gram": ngram,
        f"{order}-gram with copying": CopyingNGram(ngram).fit(songs[i] for i in sorted(kept)),
    }


def longest_matches(ids: NDArray[np.integer], rungs: Sequence[int]) -> tuple[Ids, Ids]:
    """For every token: the guess (-1 = none) by the longest match of what precedes it, and the rungs climbed, [n] each.

    `rungs` start 1, 2 and go on with sums of the two before. The match may overlap what it predicts from.
    """
    n = len(ids)
    guess, climbed = np.full(n, -1, np.int64), np.zeros(n, np.int64)
    names: dict[int, Ids] = {}  # length → a number for every window, by its first token; equal windows, equal numbers
    for rung, length in enumerate(rungs):
        if length >= n:
            break
        if rung == 0:
            names[length] = np.asarray(ids, np.int64)
        else:  # a window is the rung before followed by the one before that (2 is 1 and 1)
            head, tail = rungs[rung - 1], length - rungs[rung - 1]
            first, second = names[head][: n - length + 1], names[tail][head:]
            names[length] = np.unique(first * (int(second.max()) + 1) + second, return_inverse=True)[1]
        window = names[length]  # window[k] is tokens k .. k + length - 1
        earlier = _previous_equal(window[:-1])  # the window that ends the song precedes no token
        found = earlier >= 0
        target = np.flatnonzero(found) + length
        guess[target] = ids[earlier[found] + length]
        climbed[target] = rung + 1
    return guess, climbed


def _previous_equal(values: Ids) -> Ids:
    """[n]: the index of the last earlier equal value, -1 where there is none."""
    order = np.argsort(values, kind="stable")
    same = values[order][1:] == values[order][:-1]
    previous = np.full(len(values), -1, np.int64)
    previous[order[1:][same]] = order[:-1][same]
    return previous


def _token_nats(yardstick: NGram | CopyingNGram, batch: TokenBatch) -> Tensor:
    nats = np.zeros(tuple(batch.ids.shape), np.float32)
    for row, length in enumerate(batch.lengths.tolist()):
        nats[row, :length] = -np.log(yardstick.probabilities(batch.ids[row, :length].cpu().numpy()))
    return torch.from_numpy(nats)


def _codes(ids: NDArray[np.integer], n: int, size: int) -> Ids:
    """[len(ids)]: tokens i-n+1 .. i read as a number to the base `size`; what lies before the start counts as 0."""
    codes = np.zeros(len(ids), np.int64)
    for back in range(n - 1, -1, -1):
        codes *= size
        codes[back:] += ids[: len(ids) - back]
    return codes


def _find(keys: Ids, wanted: Ids, values: Ids) -> Ids:
    """values at the place of each wanted key in sorted `keys`, 0 where it is not among them."""
    if len(keys) == 0:
        return np.zeros(len(wanted), np.int64)
    index = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[index] == wanted, values[index], 0)
