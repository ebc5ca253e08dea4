"""Whatever is drawn under these grammars is a song, of the bars asked for."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from ritornello.data.batch import collate
from ritornello.errors import ConfigError
from ritornello.representations import melody, voices
from ritornello.sampling.autoregress import autoregress
from ritornello.sampling.logits import seeded
from ritornello.sampling.strict import MelodyGrammar, StrictGrammar, VoicesGrammar, parallels
from tests.families import make_model
from tests.lines import make_grid, make_melody, make_voices


def play(grammar: StrictGrammar, seed: int = 0) -> list[np.ndarray]:
    """Songs by dice that know only what is allowed."""
    rng, songs = np.random.default_rng(seed), [[] for _ in range(grammar.rows)]
    while not grammar.done.all():
        legal = grammar.mask()
        assert legal.any(axis=1).all()
        ids = np.array([rng.choice(np.flatnonzero(row)) for row in legal])
        grammar.advance(ids)
        for song, id in zip(songs, ids, strict=True):
            if id:
                song.append(id)
    return [np.array(song) for song in songs]


def bars_of(song: np.ndarray, vocabulary) -> int:
    return int((song == vocabulary.id("Bar")).sum())


@pytest.mark.parametrize("bars", [1, 3])
def test_four_voices_are_what_was_asked_for(bars: int):
    key = voices.VOCABULARY.id("Key", "D minor")
    metres = set()
    for song in play(VoicesGrammar(voices.VOCABULARY, 12, bars=bars, key=key)):
        grid, upbeat, metre = voices.read(song)
        metres.add(metre)
        assert bars_of(song, voices.VOCABULARY) == bars
        assert len(grid) == (bars - (upbeat > 0)) * voices.METRES[metre] + upbeat
        assert song[1] == key
        assert (voices.sounding(grid) > 0).all()
    assert metres == set(voices.METRES)


def count_parallels(pitches: np.ndarray) -> int:
    """Int[steps, 4] → voice pairs that both move, in one direction, from fifth to fifth or octave to octave."""
    found = 0
    for before, after in pairwise(pitches):
        for a in range(4):
            for b in range(a):
                moves = after[a] - before[a], after[b] - before[b]
                first, then = abs(before[a] - before[b]) % 12, abs(after[a] - after[b]) % 12
                found += moves[0] * moves[1] > 0 and first == then and first in (0, 7)
    return found


def test_strict_counterpoint_has_no_parallels():
    """Random voices make many; the grammar, none."""
    free = [voices.sounding(voices.read(s)[0]) for s in play(VoicesGrammar(voices.VOCABULARY, 4, bars=6, strict=False))]
    kept = [voices.sounding(voices.read(s)[0]) for s in play(VoicesGrammar(voices.VOCABULARY, 4, bars=6))]
    assert sum(map(count_parallels, free)) > 10
    assert sum(map(count_parallels, kept)) == 0


def test_parallels_by_hand():
    """Bass C3 to D3; a G3 above may not go to A3 (fifths), but may to B3 or down to F3; a C4 not to D4 (octaves)."""
    bass = [(48, 50)]
    assert parallels(np.array([57, 59, 53]), 55, bass).tolist() == [True, False, False]
    assert parallels(np.array([62, 57]), 60, bass).tolist() == [True, False]
    assert not parallels(np.array([57]), 55, [(48, 48)]).any()  # the bass stays
    assert not parallels(np.array([57]), 55, [(50, 48)]).any()  # contrary motion, and no fifth before


@pytest.mark.parametrize("bars", [2, 5])
def test_one_voice_is_what_was_asked_for(bars: int):
    wishes = {"bars": bars, "metre": melody.VOCABULARY.id("Metre", "6/8"), "lowest": 36, "highest": 60}
    for song in play(MelodyGrammar(melody.VOCABULARY, 3, **wishes)):
        line, metre = melody.read(song)
        assert metre == "6/8"
        assert bars_of(song, melody.VOCABULARY) == bars
        assert line[:, 1].sum() == bars * 72
        assert set(line[:, 0]) <= {melody.REST, *range(36, 61)}


@pytest.mark.parametrize("kind", [MelodyGrammar, VoicesGrammar])
def test_the_budget_is_kept(kind: type[StrictGrammar]):
    vocabulary = (melody if kind is MelodyGrammar else voices).VOCABULARY
    for seed in range(5):
        for song in play(kind(vocabulary, 2, max_tokens=200), seed):
            assert len(song) <= 200


@pytest.mark.parametrize("kind", [MelodyGrammar, VoicesGrammar])
def test_a_prompt_is_followed(kind: type[StrictGrammar]):
    """Places are those of the encoder, and what the encoder wrote was allowed."""
    grid = voices.held(voices.sounding(make_grid(rests=0)))
    tokens = make_melody() if kind is MelodyGrammar else voices.write(grid)
    wishes = {} if kind is MelodyGrammar else {"strict": False}
    grammar = kind((melody if kind is MelodyGrammar else voices).VOCABULARY, 1, **wishes)
    rests = grammar.range["Rest"].start
    for id, bar, position in zip(tokens.ids, tokens.bars, tokens.positions, strict=True):
        assert grammar.mask()[0, id] or id == rests
        grammar.advance(np.array([id]))
        if not grammar.done[0]:
            assert grammar.place()[:2, 0].tolist() == [bar, position]
    with pytest.raises(ConfigError, match="the prompt has as many"):
        kind(grammar.vocabulary, 1, max_tokens=20).read(tokens.ids[None, :30].astype(np.int64))


@pytest.mark.parametrize("variant", ["melody_transformer", "chorale_transformer"])
def test_a_song_is_its_seeds_own(variant: str):
    """Also beside others that end earlier, and with a prompt."""
    model, make = make_model(variant).eval(), make_melody if variant.startswith("melody") else make_voices
    kind = MelodyGrammar if variant.startswith("melody") else VoicesGrammar
    song = make()
    bar = int(np.flatnonzero(song.bars == 1)[0]) + 1
    prompt = collate([type(song)(song.ids[:bar], song.bars[:bar], song.positions[:bar], song.attributes, {"bars": 3})])

    def write(seeds: list[int]) -> list[list[int]]:
        rows = type(prompt)(*(getattr(prompt, f).repeat_interleave(len(seeds), 0) for f in vars(prompt)))
        grammar: Any = kind(model.vocabulary, len(seeds), bars=4)
        *_, last = autoregress(model, rows, grammar, [], seeded(seeds))
        return [ids[:n].tolist() for ids, n in zip(last.ids, last.lengths, strict=True)]

    torch.manual_seed(0)
    together = write([5, 6, 7])
    assert together[1] == write([6])[0]
    assert together[0] != together[1]
