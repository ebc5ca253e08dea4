"""Playing by latents and classes: songs in one batch, each bar with its metre and tempo settled, or settled whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from ritornello.data.batch import TokenBatch, collate, unbatch
from ritornello.models.directed import Directed
from ritornello.models.musemorphose import MuseMorphose
from ritornello.representations.base import Representation, Tokens
from ritornello.representations.vocabulary import BOS, EOS
from ritornello.restyle.judge import Judge
from ritornello.restyle.wishes import Ints, Manner
from ritornello.sampling.autoregress import autoregress
from ritornello.sampling.candidates import Candidates, candidate_seeds
from ritornello.sampling.logits import Processor, seeded, temperature, top_k, top_p
from ritornello.sampling.script import ScriptedGrammar, Settled

TOKENS_A_BAR = 400  # of a song at most, on average, or three times what the source has


@dataclass(frozen=True, eq=False)
class Part:
    """One song that is to be played: a row of a batch."""

    source: Tokens
    """Whole song, BOS to EOS; its bars are what is played, their metres and tempos are kept."""
    classes: Ints
    """[bars, 2]: rhythm and polyphony; -1 as the model likes."""
    chosen: NDArray[np.bool_] | None = None
    """[bars]: which bars are played; the others are kept token for token. None: all."""
    latents: torch.Tensor | None = None
    """[bars, latent]; None: those of the source."""


def play(
    model: MuseMorphose, representation: Representation, parts: Sequence[Part], manner: Manner
) -> Iterator[tuple[list[Tokens], int]]:
    """Play every part, all in one batch: the songs so far (complete bars only) and how many bars every one has.

    Part i is drawn from the seed `manner.seed` + i, and from others made of it for its second candidate and the next.
    All parts must have equally many bars.

    Raises: ValueError where they have not.
    """
    device = model.head.weight.device
    opening = Tokens(
        np.array([BOS], np.int16), np.zeros(1, np.int32), np.zeros(1, np.int16), np.zeros((1, 0), np.int16)
    )
    count = manner.candidates
    prompt = collate([opening] * len(parts) * count).to(device)
    script = [settled for part in parts for settled in [_script(part)] * count]
    most = max(max(3 * len(part.source), TOKENS_A_BAR * (int(part.source.bars[-1]) + 1)) for part in parts)
    grammar = ScriptedGrammar(representation.vocabulary, script, max_tokens=most)
    processors: list[Processor] = [temperature(manner.temperature)]
    processors += [top_k(manner.top_k)] if manner.top_k else []
    processors += [top_p(manner.top_p)] if manner.top_p < 1 else []
    seeds = range(manner.seed, manner.seed + len(parts))
    drawn_from = [drawn for seed in seeds for drawn in candidate_seeds(seed, count)]
    classes = np.stack([part.classes for part in parts])
    judge = Judge(model, [part.source for part in parts], classes)
    candidates = Candidates(len(parts), count, judge) if count > 1 else None
    training, threads = model.training, torch.get_num_threads()
    model.eval()
    torch.set_num_threads(1)  # a step is many small products: handing them to other threads costs more than it gains
    try:
        latents = torch.stack([_latents(model, part, manner, seed) for part, seed in zip(parts, seeds, strict=True)])
        latents = latents.repeat_interleave(count, 0)
        asked = torch.from_numpy(classes).to(device).repeat_interleave(count, 0)
        player = Directed(model, latents, asked, manner.guidance, manner.insist)
        for draft in autoregress(player, prompt, grammar, processors, seeded(drawn_from), candidates):
            rows = unbatch(TokenBatch(draft.ids, draft.bars, draft.positions, draft.countdown, draft.lengths))
            songs = [replace(row, meta={**part.source.meta}) for row, part in zip(rows, parts, strict=True)]
            complete = (_complete(song, draft.complete) for song in songs)
            yield [_without_echoes(representation, song) for song in complete], draft.complete
    finally:
        model.train(training)
        torch.set_num_threads(threads)


def finish(drafts: Iterator[tuple[list[Tokens], int]]) -> list[Tokens]:
    """The songs of the last draft."""
    *_, (songs, _) = drafts
    return songs


def _script(part: Part) -> list[Settled]:
    """Metre and tempo of every bar, and all of those that are kept."""
    ids, bars, positions = part.source.ids, part.source.bars, part.source.positions
    inside = (ids != BOS) & (ids != EOS)
    begins = np.searchsorted(bars[inside], np.arange(int(bars[-1]) + 2))
    settled = []
    for bar, (begin, end) in enumerate(pairwise(begins)):
        own, at = ids[inside][begin + 1 : end], positions[inside][begin + 1 : end]
        kept = part.chosen is not None and not part.chosen[bar]
        settled.append(Settled(own.tolist() if kept else own[at == 0].tolist(), kept))
    return settled


def _latents(model: MuseMorphose, part: Part, manner: Manner, seed: int) -> torch.Tensor:
    """What the bars are like, strayed from by `manner.variety`."""
    if part.latents is not None:
        return part.latents.to(model.head.weight.device)
    mean, deviation = (x[0] for x in model.encode(collate([part.source]).to(model.head.weight.device)))
    if not manner.variety:
        return mean
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(seed))
    return mean + manner.variety * deviation * noise.to(mean.device)


def _complete(song: Tokens, bars: int) -> Tokens:
    """The first `bars` bars of a song: those behind them are being written, and may yet be chosen otherwise."""
    length = int(np.searchsorted(song.bars, bars))
    parts = {name: getattr(song, name)[:length] for name in ("ids", "bars", "positions")}
    return replace(song, **parts)


def _without_echoes(representation: Representation, song: Tokens) -> Tokens:
    """The song without chords that sound already: a kept bar may name the chord that the bar before has come to."""
    vocabulary = representation.vocabulary
    if "Chord" not in vocabulary.families:
        return song
    chords, positions = vocabulary.range("Chord"), vocabulary.range("Position")
    named = np.flatnonzero((song.ids >= chords.start) & (song.ids < chords.stop))
    echo = np.zeros(len(song.ids), bool)
    echo[named[1:]] = np.diff(song.ids[named]) == 0
    # a position that held nothing else goes with its chord
    is_position = (song.ids >= positions.start) & (song.ids < positions.stop)
    alone = echo & np.append(song.positions[1:] != song.positions[:-1], True)
    echo |= is_position & np.append(alone[1:], False)
    left = ~echo
    return replace(song, ids=song.ids[left], bars=song.bars[left], positions=song.positions[left])
