"""Songs of unequal length as one rectangle of tensors, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from ritornello.representations.base import Tokens
from ritornello.representations.vocabulary import EOS


@dataclass(frozen=True)
class TokenBatch:
    """`batch` songs, each padded on the right to `time` tokens.

    ids:        token ids; padding is PAD, which is 0.
    bars:       the musical bar of every token; padding repeats the row's last bar, so that bars never fall.
    positions:  0 for what belongs to the bar as a whole, else the onset's position in the bar + 1; padding is 0.
    countdown:  bars left in the whole song, counting this one (1 in the last bar); 0 where the song's length is not
                known, and in padding.
    lengths:    tokens of each row without padding.
    attributes: a row for each bar from that of the row's first token on, as in Tokens; 0 past the last bar. By default
                there are none: k is 0.
    past:       ids of what stands before each row's first token in its song, where that is known, with padding on the
                left. By default nothing.
    """

    ids: Int64[Tensor, "batch time"]
    bars: Int64[Tensor, "batch time"]
    positions: Int64[Tensor, "batch time"]
    countdown: Int64[Tensor, "batch time"]
    lengths: Int64[Tensor, " batch"]
    attributes: Int64[Tensor, "batch bars k"] = field(default_factory=lambda: torch.zeros((0, 0, 0), dtype=torch.long))
    past: Int64[Tensor, "batch before"] = field(default_factory=lambda: torch.zeros((0, 0), dtype=torch.long))

    def __post_init__(self) -> None:
        for name, nothing in (("attributes", (0, 0)), ("past", (0,))):
            if len(getattr(self, name)) != len(self.lengths):
                object.__setattr__(self, name, self.lengths.new_zeros((len(self.lengths), *nothing)))

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def real(self) -> Tensor:
        """Bool[batch, time]: True where there is a token, False in padding."""
        return torch.arange(self.ids.shape[1], device=self.ids.device) < self.lengths[:, None]

    def to(self, device: torch.device | str) -> TokenBatch:
        """The same batch on another device. From pinned memory the copy does not wait."""
        return TokenBatch(*(getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)))

    def pin_memory(self) -> TokenBatch:
        return TokenBatch(*(getattr(self, f.name).pin_memory() for f in fields(self)))


def collate(songs: Sequence[Tokens]) -> TokenBatch:
    """Pad songs (or crops of songs) to the longest. Raises ValueError for no songs or a song without tokens."""
    lengths = [len(song.ids) for song in songs]
    if not lengths or min(lengths) == 0:
        raise ValueError(f"a batch needs at least one song, and every song a token; the lengths are {lengths}")
    shape = (len(lengths), max(lengths))
    ids, bars, positions, countdown = (np.zeros(shape, np.int64) for _ in range(4))
    for row, (song, length) in enumerate(zip(songs, lengths, strict=True)):
        ids[row, :length] = song.ids
        bars[row, :length] = song.bars
        bars[row, length:] = song.bars[-1]
        positions[row, :length] = song.positions
        countdown[row, :length] = bars_left(song)
    past = np.zeros((len(songs), max(len(song.past) for song in songs)), np.int64)
    for row, song in zip(past, songs, strict=True):
        row[len(row) - len(song.past) :] = song.past
    fields = (ids, bars, positions, countdown, np.array(lengths, np.int64), _attributes(songs), past)
    return TokenBatch(*map(torch.from_numpy, fields))


def _attributes(songs: Sequence[Tokens]) -> np.ndarray:
    """Int64[songs, bars, k]: of the bars that these tokens are in; 0 where a song has no row for a bar."""
    k = max(song.attributes.shape[1] for song in songs)
    spans = [(int(song.bars[0]), int(song.bars[-1]) + 1) for song in songs]
    if k == 0:
        return np.zeros((len(songs), 0, 0), np.int64)
    rows = np.zeros((len(songs), max(stop - start for start, stop in spans), k), np.int64)
    for row, song, (start, stop) in zip(rows, songs, spans, strict=True):
        known = song.attributes[start:stop]
        row[: len(known), : known.shape[1]] = known
    return rows


def unbatch(batch: TokenBatch, meta: Sequence[Mapping[str, Any]] | None = None) -> list[Tokens]:
    """The rows of a batch without their padding; row i carries meta[i] (by default its song's bars, where known).

    Of a crop, the attributes of the bars before it are 0.
    """
    rows = []
    for row, length in enumerate(batch.lengths.tolist()):
        ids, bars, positions, countdown = (
            getattr(batch, name)[row, :length].cpu().numpy() for name in ("ids", "bars", "positions", "countdown")
        )
        first, last = int(bars[0]), int(bars.max())
        of_bars = batch.attributes[row, : last - first + 1].cpu().numpy()
        attributes = np.zeros((last + 1, of_bars.shape[1]), np.int16)
        attributes[first : first + len(of_bars)] = of_bars
        own = {"bars": int(bars[0] + countdown[0])} if countdown[0] else {}
        rows.append(
            Tokens(
                ids=ids.astype(np.int16),
                bars=bars.astype(np.int32),
                positions=positions.astype(np.int16),
                attributes=attributes,
                meta=own if meta is None else dict(meta[row]),
            )
        )
    return rows


def bars_left(song: Tokens) -> np.ndarray:
    """Int64[n]: bars left in the whole song at every token, this one counted; all 0 if the song's length is unknown.

    The length is meta["bars"], the bars of the whole song even where these tokens are a crop of it; without it, tokens
    that end with EOS show it themselves.
    """
    bars = song.bars.astype(np.int64)
    total = song.meta.get("bars")
    if total is None:
        if song.ids[-1] != EOS:
            return np.zeros_like(bars)
        total = bars[-1] + 1
    return np.maximum(int(total) - bars, 0)
