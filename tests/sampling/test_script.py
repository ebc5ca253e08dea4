"""Songs of which something is settled beforehand, drawn by a player that knows nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ritornello.data.batch import collate
from ritornello.representations import build
from ritornello.representations.base import Tokens
from ritornello.representations.events import Events
from ritornello.representations.vocabulary import BOS
from ritornello.sampling.autoregress import Token, autoregress
from ritornello.sampling.logits import seeded
from ritornello.sampling.script import ScriptedGrammar, Settled
from tests.songs import make_piano

PIANO = build("musemorphose")
EVENTS = Events(PIANO.vocabulary)


class Noise:
    """A player whose every prediction is drawn anew."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)

    def cache(self, rows: int) -> Any:
        return self

    def keep(self, rows: list[int]) -> None:
        pass

    def prefill(self, batch: Any, cache: Any) -> torch.Tensor:
        return torch.randn((len(batch.lengths), PIANO.vocabulary.size), generator=self.generator)

    def advance(self, token: Token, cache: Any) -> torch.Tensor:
        return torch.randn((len(token.ids), PIANO.vocabulary.size), generator=self.generator)


def start() -> Any:
    one = np.ones(1, np.int16)
    return Tokens(BOS * one, (0 * one).astype(np.int32), 0 * one, np.zeros((1, 0), np.int16))


def written(script: list[list[Settled]]) -> Any:
    grammar = ScriptedGrammar(PIANO.vocabulary, script, max_tokens=3000)
    prompt = collate([start()] * len(script))
    *_, last = autoregress(Noise(), prompt, grammar, [], seeded(range(len(script))))
    return last


def test_heads_are_as_settled_and_whole_bars_are_kept():
    song = PIANO.encode(make_piano(1, bars=4, metre=(3, 4)))
    bar = [song.ids[(song.bars == b) & (song.ids > 2)][1:].tolist() for b in range(4)]
    scripts = [
        [Settled(bar[0][:2]), Settled(bar[1], True), Settled(bar[2][:2]), Settled(bar[3], True)],
        [Settled(bar[b][:2]) for b in range(4)],
    ]
    last = written(scripts)
    for row, script in enumerate(scripts):
        ids, bars = (getattr(last, f)[row, : last.lengths[row]].numpy() for f in ("ids", "bars"))
        assert int(bars.max()) == 3
        for b, settled in enumerate(script):
            own = ids[(bars == b) & (ids > 2)][1:].tolist()
            assert own[: len(settled.ids)] == list(settled.ids)
            if settled.whole:
                assert own == list(settled.ids)
        EVENTS.read(ids)  # raises where the grammar is broken


def test_unequal_scripts_are_refused():
    with pytest.raises(ValueError, match="equally many bars"):
        ScriptedGrammar(PIANO.vocabulary, [[Settled([])], [Settled([])] * 2])
