"""The same music in other keys: what a token model may learn from a small corpus."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Int64
from torch import Tensor

from ritornello.data.batch import TokenBatch
from ritornello.representations.vocabulary import Vocabulary


def transpose(batch: TokenBatch, vocabulary: Vocabulary, semitones: Int64[Tensor, " batch"]) -> TokenBatch:
    """Every song so many semitones higher, its Key tokens too. Pitches must stay in the vocabulary: see `room`.

    The vocabulary's Pitch labels rise by semitones; its Key labels, where it has any, are twelve major and then twelve
    minor keys, from C upwards.
    """
    ids, shift = batch.ids, semitones[:, None]
    pitches = vocabulary.range("Pitch")
    moved = torch.where((ids >= pitches.start) & (ids < pitches.stop), ids + shift, ids)
    if "Key" in vocabulary.families:
        keys = vocabulary.range("Key")
        place = ids - keys.start
        other = keys.start + place // 12 * 12 + (place % 12 + shift) % 12
        moved = torch.where((ids >= keys.start) & (ids < keys.stop), other, moved)
    return replace(batch, ids=moved)


def room(
    low: Int64[Tensor, "batch voices"], high: Int64[Tensor, "batch voices"], lowest: Tensor, highest: Tensor, most: int
) -> tuple[Int64[Tensor, " batch"], Int64[Tensor, " batch"]]:
    """By how many semitones, down and up, each song can be moved with every voice in its range; `most` at most.

    low, high:        lowest and highest pitch of each voice of each song.
    lowest, highest:  [voices] what each voice may reach. 0 semitones are always allowed.
    """
    down = (lowest - low).amax(1).clamp(-most, 0)
    up = (highest - high).amin(1).clamp(0, most)
    return down, up


def draw(down: Int64[Tensor, " batch"], up: Int64[Tensor, " batch"]) -> Int64[Tensor, " batch"]:
    """A number between the two, both included, for each song: all equally likely."""
    return down + (torch.rand(len(down), device=down.device) * (up - down + 1)).long()
