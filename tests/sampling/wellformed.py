"""A slow, obvious reader of the grammar of remi.py, to hold the fast masks against; a model that hears nothing."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from ritornello.models.base import DecoderConfig
from ritornello.representations.vocabulary import Vocabulary

NOTE_FAMILIES = {"Pitch", "Drum"}
NEXT = {
    "BOS": {"Bar"},
    "Metre": {"Tempo"},
    "Tempo": {"Position", "Bar"},
    "Position": {"Instrument", "Chord", "Pitch"},
    "Chord": {"Pitch", "Position", "Bar", "EOS"},
    "Instrument": NOTE_FAMILIES,
    "Pitch": {"Duration"},
    "Drum": {"Duration"},
    "Duration": {"Velocity"},
    "Velocity": {"Pitch", "Drum", "Instrument", "Position", "Bar", "EOS"},
    "EOS": set(),
}


def split(vocabulary: Vocabulary, ids) -> list[tuple[str, str]]:
    """(family, value) of every token."""
    return [(name.partition("_")[0], name.partition("_")[2]) for name in map(vocabulary.name, map(int, ids))]


def fault(vocabulary: Vocabulary, ids, total: int | None = None) -> str | None:
    """What is wrong with the beginning of a song, None if nothing is. `total`: its number of bars, if that is fixed."""
    tokens = split(vocabulary, ids)
    named = "Instrument" in vocabulary.families
    order = [value for _, value in split(vocabulary, vocabulary.range("Instrument"))] if named else []
    with_metre = "Metre" in vocabulary.families
    if tokens[0][0] != "BOS":
        return "no BOS"
    bar, length, beat, position, instrument, key, chord, sounds = -1, 48, 12, -1, -1, 128, "", False
    for (last, _), (family, value) in pairwise(tokens):
        if family not in ({"Metre" if with_metre else "Tempo"} if last == "Bar" else NEXT[last]):
            return f"{family} after {last}"
        if named and last == "Position" and family != "Instrument":
            return "no instrument"
        if family == "Bar":
            bar, position, sounds = bar + 1, -1, False
            if bar == total:
                return "too many bars"
        elif family == "Metre":
            numerator, denominator = map(int, value.split("/"))
            length = 48 * numerator // denominator
            beat = 18 if denominator == 8 and numerator % 3 == 0 else 12
        elif family == "Position":
            if not position < int(value) < length:
                return f"Position {value} after {position} in a bar of {length}"
            position, instrument, key = int(value), -1, 128
        elif family == "Chord":
            if position % beat:
                return f"Chord at {position}, which is no beat"
            if value == chord:
                return "the same chord again"
            chord = value
        elif family == "Instrument":
            if order.index(value) <= instrument:
                return "instruments out of order"
            instrument, key = order.index(value), 128
        elif family in NOTE_FAMILIES:
            sounds = True
            if named and (family == "Drum") != (order[instrument] == "drums"):
                return f"{family} of instrument {order[instrument]}"
            if int(value) >= key:
                return "keys do not fall"
            key = int(value)
        elif family == "Duration" and total is not None and position + int(value) > length * (total - bar):
            return "a note beyond the end"
        elif family == "EOS" and not sounds:
            return "a silent last bar"
        elif family == "EOS" and total is not None and bar != total - 1:
            return "too few bars"
    return None


def notes(vocabulary: Vocabulary, ids) -> int:
    return sum(family in NOTE_FAMILIES for family, _ in split(vocabulary, ids))


def walk(grammar, vocabulary: Vocabulary, rng: np.random.Generator, prompt: list[int], steps: int) -> list[int]:
    """Go on from a prompt by `steps` tokens of a one-row grammar: any legal family, then any legal token of it."""
    ids = list(prompt)
    grammar.read(np.array([ids]))
    for _ in range(steps):
        if grammar.done[0]:
            break
        legal = np.flatnonzero(grammar.mask()[0])
        families = vocabulary.family_of[legal]
        ids.append(int(rng.choice(legal[families == rng.choice(np.unique(families))])))
        grammar.advance(np.array(ids[-1:]))
    return ids


@dataclass
class DeafCache:
    rows: list[int]
    step: int = 0

    def keep(self, rows: list[int]) -> None:
        self.rows = [self.rows[row] for row in rows]

    def part(self, rows: list[int]) -> DeafCache:
        return DeafCache([self.rows[row] for row in rows])

    def join(self, other: DeafCache) -> None:
        self.rows = [*self.rows, *other.rows]


class Deaf(torch.nn.Module):
    """A model that hears nothing: logits drawn once for each step and never again, the same in every row."""

    temperature, divisible, config = 1.0, True, DecoderConfig()

    def __init__(self, vocabulary: Vocabulary, seed: int = 0, spread: float = 1.0) -> None:
        super().__init__()
        self.vocabulary, self.heard = vocabulary, []
        self.logits = spread * torch.randn(97, vocabulary.size, generator=torch.Generator().manual_seed(seed))

    def player(self, prompt, seeds, bars):
        return self

    def cache(self, rows: int) -> DeafCache:
        return DeafCache(list(range(rows)))

    def prefill(self, batch, cache):
        cache.step = int(batch.lengths[0])
        return self.logits[cache.step % 97].expand(len(cache.rows), -1)

    def advance(self, token, cache):
        self.heard.append((list(cache.rows), torch.stack(token)))
        cache.step += 1
        return self.logits[cache.step % 97].expand(len(cache.rows), -1)
