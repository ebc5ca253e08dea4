"""What a bar-wise decoder can still reach, and no more: related bars whole, summaries of the others, its own bar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, Protocol, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from typing_extensions import Self

from ritornello.layers.barwise import BarPlan
from ritornello.layers.step import Step, shortened

ROOM = 1024  # sources that there is room for at first; a multiple of sixteen, which the compiled step reads at once
Kept = tuple[Tensor, Tensor]
"""Keys and values as they are kept, [layers, 2, heads, tokens, size], and the scale of each, [..., tokens, 1]."""


class Copied(Protocol):
    def copy(self) -> Self: ...


Songs = TypeVar("Songs", bound=Copied)


def gone_on_with(songs: Sequence[Songs], rows: list[int]) -> list[Songs]:
    """songs[row] of every row; a copy where a row comes again, since each changes by itself from now on."""
    return [songs[row].copy() if row in rows[:i] else songs[row] for i, row in enumerate(rows)]


class BarWindow:
    """Keys and values of every layer for one song that is being written.

    `sources[layer, key or value]` holds, one after another, all that the current bar attends to; it is laid out anew
    when a bar begins and then only appended to, so a step costs the same in the first bar and in the last. Bars that no
    later bar can see whole are forgotten; their summaries stay. All are kept in `like`'s dtype; `scales` are int8's.
    """

    def __init__(self, layers: int, heads: int, size: int, offsets: tuple[int, ...], like: Tensor) -> None:
        self.sources = like.new_zeros((layers, 2, heads, ROOM, size))
        self.scales = like.new_ones((layers, 2, heads, ROOM, 1), dtype=torch.float32)
        self.filled = 0
        self.own = 0  # where the current bar begins
        self.bar = -1
        self.offsets = offsets  # () where no earlier bar is seen whole
        self.whole: dict[int, Kept] = {}  # by bar
        self.summary: dict[int, Kept] = {}

    def copy(self) -> BarWindow:
        other = copy(self)
        other.sources, other.scales = self.sources.clone(), self.scales.clone()
        other.whole, other.summary = dict(self.whole), dict(self.summary)
        return other

    def own_bar(self) -> Float[Tensor, "layers 2 heads tokens size"]:
        """Keys and values of the tokens of the current bar."""
        own = slice(self.own, self.filled)
        return self.sources[:, :, :, own] * self.scales[:, :, :, own]

    def keep_bar(self, bar: int, tokens: Tensor, summary: Tensor | None) -> None:
        """Store a finished bar: its tokens as long as a later bar may see them, its summary for good."""
        self.whole[bar] = shortened(tokens, self.sources.dtype)
        if summary is not None:
            self.summary[bar] = shortened(summary, self.sources.dtype)
        reach = max(self.offsets, default=0)
        self.whole = {b: kept for b, kept in self.whole.items() if bar + 1 - b <= reach}

    def begin_bar(self, bar: int) -> None:
        """Lay out the sources of a new bar: summaries of the other bars, related bars, then room for its own tokens."""
        related = [bar - offset for offset in self.offsets if bar - offset in self.whole]
        others = [b for b in self.summary if b not in related]
        pieces = [self.summary[b] for b in others] + [self.whole[b] for b in related]
        length = sum(scales.shape[3] for _, scales in pieces)
        self._reserve(length + 256)
        if pieces:
            for kept, target in zip(zip(*pieces, strict=True), (self.sources, self.scales), strict=True):
                torch.cat(kept, dim=3, out=target[:, :, :, :length])
        self.bar, self.own, self.filled = bar, length, length

    def append(self, layer: int, key: Float[Tensor, "heads size"], value: Float[Tensor, "heads size"]) -> None:
        """Write one token's keys and values behind the last; `advance` makes them count."""
        self.sources[layer, 0, :, self.filled] = key
        self.sources[layer, 1, :, self.filled] = value

    def attend(self, layer: int, query: Float[Tensor, "heads size"]) -> Float[Tensor, "heads size"]:
        """Attention of one query over all sources, the token just appended included."""
        keys, values = self.sources[layer, :, :, : self.filled + 1]
        # The query as a row times keys turned: four times as fast as keys times the query as a column.
        scores = (query[:, None] * query.shape[-1] ** -0.5) @ keys.transpose(-1, -2)
        return (scores.softmax(-1) @ values)[:, 0]

    def extend_own(self, tokens: Float[Tensor, "layers 2 heads tokens size"]) -> None:
        """Write several tokens of the current bar at once."""
        stop = self.filled + tokens.shape[3]
        self._reserve(stop + 1)
        place = slice(self.filled, stop)
        self.sources[:, :, :, place], self.scales[:, :, :, place] = shortened(tokens, self.sources.dtype)
        self.filled = stop

    def advance(self) -> None:
        """Count the appended token, and make room for the next."""
        self.filled += 1
        self._reserve(self.filled + 1)

    def _reserve(self, length: int) -> None:
        missing = length - self.sources.shape[3]
        if missing > 0:
            more = -(-max(missing, self.sources.shape[3] // 2) // 16) * 16  # the compiled step reads sixteen at once
            self.sources = F.pad(self.sources, (0, 0, 0, more))
            self.scales = F.pad(self.scales, (0, 0, 0, more), value=1.0)


class BarCache:
    """A window for each song of a batch, and what else the next step needs of the last."""

    def __init__(self, songs: list[BarWindow], carried: Any, joined: list[Tensor], step: Step | None) -> None:
        self.songs = songs
        self.carried = carried  # what the embedding needs of earlier tokens; it has `keep`, too
        self.joined = joined  # each layer's weights of queries, keys and values, as one matrix
        self.step = step  # the compiled step, where there is one

    def read(self, plan: BarPlan, tokens: Tensor, summaries: Tensor | None) -> None:
        """Take in whole prompts.

        tokens:     keys and values of all their tokens, [layers, 2, heads, tokens, size].
        summaries:  those of their bars' summaries, in the plan's order; None where there are none.
        """
        rows, bars = plan.summary_rows.tolist(), plan.summary_bars.tolist()
        for i, (bar, row, number) in enumerate(zip(plan.steps, rows, bars, strict=True)):
            own, song = tokens[:, :, :, bar.start : bar.stop], self.songs[row]
            if i + 1 < len(rows) and rows[i + 1] == row:
                song.keep_bar(number, own, None if summaries is None else summaries[:, :, :, i : i + 1])
            else:
                song.begin_bar(number)
                song.extend_own(own)

    def enter(self, bars: list[int], summarise: Callable[[BarWindow], Tensor | None] = lambda song: None) -> None:
        """Before one more token in each song, in these bars: where one begins, the bar before it is put away."""
        for song, bar in zip(self.songs, bars, strict=True):
            if bar != song.bar:
                if song.bar >= 0:
                    song.keep_bar(song.bar, song.own_bar(), summarise(song))
                song.begin_bar(bar)

    def attend(
        self,
        layer: int,
        queries: Float[Tensor, "rows heads size"],
        keys: Float[Tensor, "rows heads size"],
        values: Float[Tensor, "rows heads size"],
    ) -> Float[Tensor, "rows heads size"]:
        """One token of every song takes its place, and attends over what its song can reach."""
        mixed = []
        for song, query, key, value in zip(self.songs, queries, keys, values, strict=True):
            song.append(layer, key, value)
            mixed.append(song.attend(layer, query))
        return torch.stack(mixed)

    def advance(self) -> None:
        """Every layer has taken in its token: the next one follows."""
        for song in self.songs:
            song.advance()

    def keep(self, rows: list[int]) -> None:
        """Go on with these rows only, in this order: songs that have ended cost nothing more."""
        self.songs = gone_on_with(self.songs, rows)
        self.carried = self.carried.keep(rows)

    def part(self, rows: list[int]) -> Self:
        """These rows as a cache of their own. Only one of the two may go on with them."""
        other = copy(self)
        other.keep(rows)
        return other

    def join(self, other: Self) -> None:
        """The other's rows behind one's own."""
        self.songs = [*self.songs, *other.songs]
        self.carried = self.carried.join(other.carried)
