"""The one token loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ritornello.errors import RitornelloError
from ritornello.representations.vocabulary import EOS
from ritornello.sampling.candidates import Candidates
from ritornello.sampling.grammar import Grammar
from ritornello.sampling.logits import Dice, Processor, pick


class Prompt(Protocol):
    """What a song begins with, a row each, padded on the right: a TokenBatch is one."""

    @property
    def ids(self) -> Int64[Tensor, "rows time"]: ...
    @property
    def bars(self) -> Int64[Tensor, "rows time"]: ...
    @property
    def positions(self) -> Int64[Tensor, "rows time"]: ...
    @property
    def countdown(self) -> Int64[Tensor, "rows time"]: ...
    @property
    def lengths(self) -> Int64[Tensor, " rows"]: ...


class Token(NamedTuple):
    """One token of every row, and where it stands: the fields of a TokenBatch at one place."""

    ids: Int64[Tensor, " rows"]
    bars: Int64[Tensor, " rows"]
    positions: Int64[Tensor, " rows"]
    countdown: Int64[Tensor, " rows"]


class Cache(Protocol):
    """What a model remembers of the songs that it writes."""

    def keep(self, rows: list[int]) -> None:
        """Go on with these rows only, in this order; one that comes twice becomes two, which go on by themselves."""
        ...


class Player(Protocol):
    """What the loop asks of a model: read the prompt, then hear one token of each row at a time."""

    def cache(self, rows: int) -> Cache: ...

    def prefill(self, batch: Any, cache: Any) -> Float[Tensor, "rows vocabulary"]: ...

    def advance(self, token: Token, cache: Any) -> Float[Tensor, "rows vocabulary"]: ...


@dataclass(frozen=True)
class Draft:
    """The songs as far as they are written, prompt included, on the CPU: the fields of a TokenBatch, and how far."""

    ids: Int64[Tensor, "rows time"]
    bars: Int64[Tensor, "rows time"]
    positions: Int64[Tensor, "rows time"]
    countdown: Int64[Tensor, "rows time"]
    lengths: Int64[Tensor, " rows"]
    done: Bool[Tensor, " rows"]
    """Which songs have ended (with EOS)."""
    complete: int
    """Bars that every song still being written has complete; once all have ended, bars of the longest."""


@torch.inference_mode()
def autoregress(
    model: Player,
    prompt: Prompt,
    grammar: Grammar,
    processors: Sequence[Processor],
    generators: Sequence[torch.Generator],
    candidates: Candidates | None = None,
) -> Iterator[Draft]:
    """Continue every row of `prompt` token by token until EOS; close the iterator to stop earlier.

    prompt:      rows that begin with BOS, on the model's device.
    grammar:     a fresh one with as many rows; it bounds bars and tokens.
    processors:  applied in turn to the logits that the grammar allows.
    generators:  one for each row, on the CPU: a row's song depends on its own alone.
    candidates:  where several rows are one song, of which the best goes on after every bar; the model's cache must then
                 be one that can be divided. Drafts show the first of each song.

    Yields a draft whenever every unfinished song has completed another bar, and at the end.
    Raises: ConfigError, if the tokens allowed cannot hold the prompt and the bars still to come; RitornelloError, if
    the model predicts NaN.
    """
    device = prompt.ids.device
    page = Page(prompt, grammar)
    dice = Dice(generators)
    each = candidates.count if candidates else 1
    rows = np.arange(grammar.rows)  # the songs that are still being written
    cache: Any = model.cache(grammar.rows)
    logits = model.prefill(prompt, cache)
    shown = page.complete
    while True:
        legal = grammar.mask()[rows]
        logits = _closing(logits, legal, grammar.bar)
        logits = torch.where(torch.from_numpy(legal).to(device, non_blocking=True), logits, -torch.inf)
        for process in processors:
            logits = process(logits)
        ids = pick(logits, dice.throw(device).index_select(0, torch.from_numpy(rows).to(device)))
        place = page.write(rows, ids.cpu().numpy())
        if candidates:
            rows, ids, place, cache = candidates.choose(page, (rows, ids, place, cache))
        running = np.flatnonzero(~grammar.done[rows])
        if not len(running):
            break
        if len(running) < len(rows):  # songs that have ended leave the batch
            rows, ids, place = rows[running], ids[running], place[:, running]
            cache.keep(running.tolist())
        if page.complete > shown:
            shown = page.complete
            yield page.draft(each)
        logits = model.advance(Token(ids, *torch.from_numpy(place).to(device, non_blocking=True)), cache)
    yield page.draft(each)


def _closing(logits: Tensor, legal: np.ndarray, bar: int) -> Float[Tensor, "rows vocabulary"]:
    """Where a song may end and no bar may follow, who would go on to the next bar ends: a model that has not come to
    its own end would else fill the last bar with what belongs behind it."""
    last = legal[:, EOS] & ~legal[:, bar]
    if not last.any():
        return logits
    end = torch.logaddexp(logits[:, EOS], logits[:, bar])
    end = torch.where(torch.from_numpy(last).to(logits.device), end, logits[:, EOS])
    return logits.index_copy(1, torch.tensor([EOS], device=logits.device), end[:, None])


class Page:
    """The tokens written so far: ids, bars, positions and countdown in one array with room for the longest song."""

    def __init__(self, prompt: Prompt, grammar: Grammar) -> None:
        ids = prompt.ids.cpu().numpy()
        self.grammar = grammar
        self.tokens = np.zeros((4, grammar.rows, max(grammar.max_tokens, ids.shape[1])), np.int64)
        fields = torch.stack([prompt.ids, prompt.bars, prompt.positions, prompt.countdown])
        self.tokens[:, :, : ids.shape[1]] = fields.cpu().numpy()
        grammar.read(ids)

    def write(self, rows: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Add one token to each of these songs. Returns where they stand: Grammar.place() of these rows."""
        if ids.max() >= self.grammar.ids.size:  # what `pick` makes of NaN
            raise RitornelloError("the model predicts NaN: its weights are damaged; train or fetch them anew.")
        written = np.zeros(self.grammar.rows, np.int64)
        written[rows] = ids
        self.grammar.advance(written)
        place = self.grammar.place()[:, rows]
        at = self.grammar.length[rows] - 1
        self.tokens[0, rows, at] = ids
        self.tokens[1:, rows, at] = place
        return place

    def follow(self, origins: np.ndarray) -> None:
        """Every song goes on from what stands in the row origins[row]."""
        self.tokens = self.tokens[:, origins]
        self.grammar.follow(origins)

    @property
    def complete(self) -> int:
        """Bars that every song still being written has complete; once all have ended, bars of the longest."""
        running = ~self.grammar.done
        bars = self.grammar.bars
        return max(int(bars[running].min() if running.any() else bars.max() + 1), 0)

    @torch.inference_mode(False)
    def draft(self, each: int = 1) -> Draft:
        """The songs so far: the first of every `each` rows, done when they all are."""
        lengths = self.grammar.length[::each].copy()
        tokens = self.tokens[:, ::each, : lengths.max()].copy()
        padding = np.arange(tokens.shape[2]) >= lengths[:, None]
        tokens[:, padding] = 0
        tokens[1] += padding * np.maximum(self.grammar.bars[::each], 0)[:, None]
        ids, bars, positions, countdown = torch.from_numpy(tokens)
        done = torch.from_numpy(self.grammar.done.reshape(-1, each).all(1))
        return Draft(ids, bars, positions, countdown, torch.from_numpy(lengths), done, self.complete)
