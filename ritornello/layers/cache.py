"""What a bar-wise decoder can still reach, and no more: related bars whole, summaries of the others, its own bar."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


class BarCache:
    """Keys and values of every layer for `rows` songs that are being written at once.

    `window[layer, key or value, row]` holds, one after another, all that the row's current bar attends to; it is laid
    out anew when a bar begins and then only appended to, so a step costs the same in the first bar and in the last.
    Bars that no later bar can see whole are forgotten; their summaries stay.
    """

    def __init__(self, rows: int, layers: int, heads: int, size: int, offsets: tuple[int, ...], like: Tensor) -> None:
        self.window = like.new_zeros((layers, 2, rows, heads, 1024, size))
        self.filled = [0] * rows  # sources in each row's window
        self.own = [0] * rows  # where the current bar begins in it
        self.bar = [-1] * rows
        self.offsets = offsets  # () where no earlier bar is seen whole
        self.whole: list[dict[int, Tensor]] = [{} for _ in range(rows)]  # bar → [layers, 2, heads, tokens, size]
        self.summary: list[dict[int, Tensor]] = [{} for _ in range(rows)]  # bar → [layers, 2, heads, 1, size]
        self.carried: dict[str, Tensor] = {}  # what the embedding needs of earlier tokens
        self.joined: list[Tensor] = []  # each layer's weights of queries, keys and values, as one matrix

    def own_bar(self, row: int) -> Float[Tensor, "layers 2 heads tokens size"]:
        """Keys and values of the tokens of the bar that the row is in."""
        return self.window[:, :, row, :, self.own[row] : self.filled[row]]

    def keep_bar(self, row: int, bar: int, tokens: Tensor, summary: Tensor | None) -> None:
        """Store a finished bar: its tokens as long as a later bar may see them, its summary for good."""
        self.whole[row][bar] = tokens.clone()
        if summary is not None:
            self.summary[row][bar] = summary
        reach = max(self.offsets, default=0)
        self.whole[row] = {b: kept for b, kept in self.whole[row].items() if bar + 1 - b <= reach}

    def begin_bar(self, row: int, bar: int) -> None:
        """Lay out the window for a new bar: summaries of the other bars, related bars, then room for its own tokens."""
        related = [bar - offset for offset in self.offsets if bar - offset in self.whole[row]]
        others = [b for b in self.summary[row] if b not in related]
        pieces = [self.summary[row][b] for b in others] + [self.whole[row][b] for b in related]
        length = sum(piece.shape[3] for piece in pieces)
        self._reserve(length + 256)
        if pieces:
            self.window[:, :, row, :, :length] = torch.cat(pieces, dim=3)
        self.bar[row], self.own[row], self.filled[row] = bar, length, length

    def append(
        self, layer: int, keys: Float[Tensor, "rows heads size"], values: Float[Tensor, "rows heads size"]
    ) -> None:
        """Write one token's keys and values behind each row's last; `step` makes them count."""
        for row, place in enumerate(self.filled):
            self.window[layer, 0, row, :, place] = keys[row]
            self.window[layer, 1, row, :, place] = values[row]

    def extend_own(self, row: int, tokens: Float[Tensor, "layers 2 heads tokens size"]) -> None:
        """Write several tokens of the current bar at once."""
        stop = self.filled[row] + tokens.shape[3]
        self._reserve(stop + 1)
        self.window[:, :, row, :, self.filled[row] : stop] = tokens
        self.filled[row] = stop

    def attend(self, layer: int, queries: Float[Tensor, "rows heads size"]) -> Float[Tensor, "rows heads size"]:
        """Attention of one query a row over the row's window, the token just appended included."""
        keys, values = self.window[layer, :, :, :, : max(self.filled) + 1]
        # The query as a row times keys turned: four times as fast as keys times the query as a column.
        scores = (queries[:, :, None] * queries.shape[-1] ** -0.5) @ keys.transpose(-1, -2)
        if len(self.filled) > 1:
            for row, place in enumerate(self.filled):
                scores[row, ..., place + 1 :] = float("-inf")
        return (scores.softmax(-1) @ values)[:, :, 0]

    def step(self, rows: list[bool]) -> None:
        """Count the appended token in the rows that are still being written."""
        self.filled = [place + alive for place, alive in zip(self.filled, rows, strict=True)]
        self._reserve(max(self.filled) + 1)

    def _reserve(self, length: int) -> None:
        missing = length - self.window.shape[4]
        if missing > 0:
            grown = self.window.new_zeros((*self.window.shape[:4], max(missing, 512), self.window.shape[5]))
            self.window = torch.cat([self.window, grown], dim=4)
