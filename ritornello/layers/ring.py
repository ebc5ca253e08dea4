"""Keys and values of the last tokens of songs that are being written."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class RingCache:
    """Keys and values of every layer for `rows` songs: token n of a song lies in slot n mod `slots`.

    With `grows`, slots are added before one would be used twice, and nothing is forgotten.
    """

    def __init__(
        self, rows: int, layers: int, heads: int, size: int, slots: int, like: Tensor, grows: bool = False
    ) -> None:
        self.memory = like.new_zeros((layers, 2, rows, heads, slots, size))
        self.place = torch.zeros(rows, dtype=torch.long, device=like.device)  # of the token that comes next
        self.longest = 0  # the largest place, known without asking the device
        self.grows = grows
        self._lay_out()

    @property
    def slots(self) -> int:
        return self.memory.shape[4]

    def fill(self, layer: int, keys: Tensor, values: Tensor, lengths: Int[Tensor, " rows"]) -> None:
        """Take in prompts: keys and values [rows, heads, time, size], padded on the right."""
        if layer == 0:
            self.place, self.longest = lengths.clone(), int(lengths.max())
            self._lay_out()
        # The newest token of each slot; what no token has filled is marked by its distance.
        newest = lengths[:, None] - 1 - (lengths[:, None] - 1 - torch.arange(self.slots).to(lengths)) % self.slots
        index = newest.clamp(min=0)[:, None, :, None].expand(-1, keys.shape[1], -1, keys.shape[3])
        self.memory[layer, 0], self.memory[layer, 1] = keys.gather(2, index), values.gather(2, index)

    def attend(
        self,
        layer: int,
        query: Float[Tensor, "rows heads size"],
        key: Float[Tensor, "rows heads size"],
        value: Float[Tensor, "rows heads size"],
        bias: Float[Tensor, "rows heads slots"] | None = None,
        reach: Int[Tensor, " rows"] | None = None,
    ) -> Float[Tensor, "rows heads size"]:
        """Take in one token a row, and attend from it to what is there, itself included.

        bias:   added to the scores of each slot, in the order of `distance`.
        reach:  how far back each row's token may look; everything that is there, by default.
        """
        rows = torch.arange(len(self.place), device=self.place.device)
        self.memory[layer, 0, rows, :, self.place % self.slots] = key.to(self.memory.dtype)
        self.memory[layer, 1, rows, :, self.place % self.slots] = value.to(self.memory.dtype)
        keys, values = self.memory[layer, :, :, :, : self.distance.shape[1]]
        # The query as a row times keys turned: several times as fast as keys times the query as a column.
        scores = ((query[:, :, None] * query.shape[-1] ** -0.5) @ keys.transpose(-1, -2))[:, :, 0]
        if bias is not None:
            scores = scores + bias
        seen = self.distance <= (self.place if reach is None else self.place.minimum(reach))[:, None]
        weights = scores.masked_fill(~seen[:, None], float("-inf")).softmax(-1)
        return (weights[:, :, None] @ values)[:, :, 0]

    def step(self, written: Bool[Tensor, " rows"] | None = None) -> None:
        """Every layer has appended its token: the next one follows, in all rows or where `written`; the others'
        tokens count for nothing."""
        self.place = self.place + (1 if written is None else written)
        self.longest = self.longest + 1 if written is None else int(self.place.max())
        self._lay_out()

    def keep(self, rows: list[int]) -> None:
        """Go on with these rows only, in this order."""
        self.memory, self.place = self.memory[:, :, rows], self.place[rows]
        self._lay_out()

    def _lay_out(self) -> None:
        """Make room for the next token, and note how far back from it each slot's token is; its own is at 0."""
        if self.grows and self.longest >= self.slots:
            more = self.longest + 1 - self.slots
            shape = (*self.memory.shape[:4], max(more, self.slots), self.memory.shape[5])
            self.memory = torch.cat([self.memory, self.memory.new_zeros(shape)], dim=4)
        used = torch.arange(min(self.slots, self.longest + 1), device=self.place.device)
        self.distance: Int[Tensor, "rows slots"] = (self.place[:, None] - used) % self.slots
