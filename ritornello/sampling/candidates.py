"""Several candidates of every bar of a song: when all have written it the best is kept, and all go on from there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
import torch
from jaxtyping import Int, Int64
from numpy.typing import ArrayLike
from torch import Tensor
from typing_extensions import Self

if TYPE_CHECKING:
    from ritornello.sampling.autoregress import Page

Judgement = Callable[[int, int, Sequence[Int[np.ndarray, "3 time"]]], ArrayLike]
"""A song, one of its bars, and each candidate's ids, bars and positions up to that bar's end → how good each is."""


class DivisibleCache(Protocol):
    """A cache (`autoregress.Cache`) of which rows can be set aside and come back."""

    def keep(self, rows: list[int]) -> None: ...

    def part(self, rows: list[int]) -> Self:
        """These rows as a cache of their own. Only one of the two may go on with them."""
        ...

    def join(self, other: Self) -> None:
        """The other's rows behind one's own."""
        ...


Divisible = TypeVar("Divisible", bound=DivisibleCache)
Batch = tuple[Int[np.ndarray, " n"], Int64[Tensor, " n"], Int[np.ndarray, "3 n"], Divisible]
"""Rows that are being written, their last tokens, where these stand, and what the model remembers."""


class Candidates:
    """Rows of a batch in groups: `count` candidates of each song, one song after another.

    begun:  bars that are there before the first choice.
    until:  bars after which there is nothing to choose: the first row of each song goes on alone, and the others end.
    """

    def __init__(self, songs: int, count: int, judge: Judgement, begun: int = 0, until: int | None = None) -> None:
        self.count, self.judge, self.until = count, judge, until
        self.chosen = np.full(songs, begun)  # bars of every song that are settled
        self.waiting: dict[int, Batch] = {}  # by row: those that have written their bar

    def choose(self, page: Page, batch: Batch[Divisible]) -> Batch[Divisible]:
        """Who has written its bar waits outside the batch; once all of a song do, copies of the best come back."""
        rows, ids, place, cache = batch
        grammar = page.grammar
        complete = (grammar.bars + grammar.done)[rows] > self.chosen[rows // self.count]
        if self.until is not None:
            complete &= self.chosen[rows // self.count] < self.until
        for i in np.flatnonzero(complete).tolist():
            self.waiting[int(rows[i])] = rows[i : i + 1], ids[i : i + 1], place[:, i : i + 1], cache.part([i])
        if not complete.any():
            return batch
        others = np.flatnonzero(~complete)
        rows, ids, place = rows[others], ids[others], place[:, others]
        cache.keep(others.tolist())
        for song in sorted({row // self.count for row in self.waiting}):
            group = np.arange(song * self.count, (song + 1) * self.count)
            if all(row in self.waiting for row in group.tolist()):
                best = self._best(page, song, group)
                _, id, at, part = self.waiting[best]
                self.waiting = {row: one for row, one in self.waiting.items() if row // self.count != song}
                if self.until is not None and self.chosen[song] >= self.until:
                    grammar.end(group[1:])
                    group = group[:1]
                part.keep([0] * len(group))
                cache.join(part)
                rows, ids = np.append(rows, group), torch.cat([ids, id.expand(len(group))])
                place = np.append(place, at.repeat(len(group), axis=1), axis=1)
        return rows, ids, place, cache

    def _best(self, page: Page, song: int, group: Int[np.ndarray, " candidates"]) -> int:
        """The best row of a song's, from which the others go on, too."""
        bar = int(self.chosen[song])
        drafts = [page.tokens[:3, row, : page.grammar.length[row]] for row in group]
        drafts = [draft[:, : np.searchsorted(draft[1], bar, side="right")] for draft in drafts]
        best = int(group[np.argmax(self.judge(song, bar, drafts))])
        origins = np.arange(page.grammar.rows)
        origins[group] = best
        page.follow(origins)
        self.chosen[song] += 1
        return best


def candidate_seeds(seed: int, count: int) -> list[int]:
    """Of a song's candidates: the first is drawn from the song's own seed, the others from numbers made of it."""
    return [seed, *(int(np.random.SeedSequence([seed, k]).generate_state(1)[0]) for k in range(1, count))]
