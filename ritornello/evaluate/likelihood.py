"""How surprised a model is by held-out music: perplexity, and nats a note and a bar, with intervals.

Perplexity (section 4.1 of the Museformer paper) is exp of the mean nats a token over all tokens of all songs, so long
songs weigh more; each song is cut at its first 1,024, 5,120 or 10,240 tokens, a shorter one counts whole. Every token
is predicted but the first (BOS). Perplexities are comparable only between models of one vocabulary; nats a note and a
bar are comparable between vocabularies that say the same about a note, best over whole songs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ritornello.data.batch import TokenBatch, collate
from ritornello.data.dataset import cut
from ritornello.errors import MusicError
from ritornello.evaluate.bootstrap import interval
from ritornello.representations.base import Tokens
from ritornello.representations.vocabulary import Vocabulary

CUTS = (1024, 5120, 10240)
NOTES = ("Pitch", "Drum")  # the families of which each note has exactly one token


class Scorer(Protocol):
    """What can say how surprised it is: a token model, or a yardstick of `ngram`."""

    def token_nats(self, batch: TokenBatch) -> Float[Tensor, "batch time"]:
        """-log p of every token given those before it; 0 for each song's first token and for padding."""
        ...


@dataclass
class Likelihood:
    """Sums over songs, filled one song at a time: nothing of a song is kept but some dozen numbers.

    cuts:       tokens from the song's start at which perplexity is measured.
    longest:    tokens of each song that are read at all; None reads whole songs. Families, notes and bars are counted
                over these.
    """

    vocabulary: Vocabulary
    cuts: Sequence[int] = CUTS
    longest: int | None = CUTS[-1]
    nats: list[NDArray[np.float64]] = field(default_factory=list)  # [cuts + 1] a song; last: all that was read
    tokens: list[NDArray[np.int64]] = field(default_factory=list)  # [cuts + 1] a song: predicted tokens
    family_nats: list[NDArray[np.float64]] = field(default_factory=list)  # [families] a song
    family_tokens: list[NDArray[np.int64]] = field(default_factory=list)
    notes: list[int] = field(default_factory=list)
    bars: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.longest is not None and self.longest < max(self.cuts, default=0):
            raise MusicError(f"Perplexity at {max(self.cuts):,} tokens needs as many; `longest` is {self.longest:,}.")

    def add(self, ids: NDArray[np.integer], nats: NDArray[np.floating]) -> None:
        """Count one song: its token ids and the nats of each, [n]; the first token is not predicted."""
        ids, nats = np.asarray(ids)[1:], np.asarray(nats, np.float64)[1:]
        families = self.vocabulary.family_of[ids]
        names = self.vocabulary.families
        ends = [*(c - 1 for c in self.cuts), len(ids)]
        self.nats.append(np.array([nats[:end].sum() for end in ends]))
        self.tokens.append(np.array([len(nats[:end]) for end in ends]))
        self.family_nats.append(np.bincount(families, nats, len(names)).astype(np.float64))
        counts = np.bincount(families, minlength=len(names))
        self.family_tokens.append(counts)
        self.notes.append(int(sum(counts[names.index(name)] for name in NOTES if name in names)))
        self.bars.append(int(counts[names.index("Bar")]))

    def figures(self, seed: int = 0) -> dict[str, Any]:
        """The JSON-able figures; see `report` for the keys. Raises MusicError where no song was added."""
        if not self.nats:
            raise MusicError("Likelihood was asked for without a held-out song; give at least one.")
        nats, tokens = np.array(self.nats), np.array(self.tokens)
        total, read = nats[:, -1], tokens[:, -1]
        perplexity = {}
        for i, at in enumerate(self.cuts):
            figure = _ratio(nats[:, i], tokens[:, i], seed)
            perplexity[str(at)] = {name: _exp(value) for name, value in figure.items()}
            perplexity[str(at)]["songs_as_long"] = int((tokens[:, i] == at - 1).sum())
        by_family = zip(
            self.vocabulary.families, np.sum(self.family_nats, 0), np.sum(self.family_tokens, 0), strict=True
        )
        return {
            "songs": len(total),
            "tokens": int(read.sum()),
            "notes": sum(self.notes),
            "bars": sum(self.bars),
            "longest": self.longest,
            "perplexity": perplexity,
            "nats_per_token": _ratio(total, read, seed),
            "nats_per_note": _ratio(total, np.array(self.notes), seed),
            "nats_per_bar": _ratio(total, np.array(self.bars), seed),
            "families": {
                name: {
                    "nats_per_token": float(nats / count),
                    "share_of_tokens": float(count / read.sum()),
                    "share_of_nats": float(nats / total.sum()),
                }
                for name, nats, count in by_family
                if count
            },
        }


@torch.no_grad()
def likelihood(
    scorers: Mapping[str, Scorer],
    songs: Iterable[Tokens],
    vocabulary: Vocabulary,
    cuts: Sequence[int] = CUTS,
    longest: int | None = CUTS[-1],
    device: torch.device | str = "cpu",
    precision: str = "float32",
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Figures (see `report`) of every scorer on the same held-out songs, read one at a time.

    No scorer is told how many bars a song has: that would be knowing something of the future. `precision` "bfloat16"
    is for a GPU, and moves the third decimal.
    """
    counters = {name: Likelihood(vocabulary, cuts, longest) for name in scorers}
    for scorer in scorers.values():
        if isinstance(scorer, torch.nn.Module):
            scorer.eval().to(device)
    for song in songs:
        song = song if longest is None else cut(song, 0, longest)
        batch = collate([song])
        batch = replace(batch, countdown=torch.zeros_like(batch.countdown))
        for name, scorer in scorers.items():
            here = batch.to(device) if isinstance(scorer, torch.nn.Module) else batch
            with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bfloat16"):
                nats = scorer.token_nats(here)[0]
            counters[name].add(song.ids, nats.float().cpu().numpy())
    return {name: counter.figures(seed) for name, counter in counters.items()}


def _ratio(above: NDArray[Any], below: NDArray[Any], seed: int) -> dict[str, Any]:
    """Sum over songs of one by that of another, with its bootstrap interval."""
    value = float(above.sum() / below.sum()) if below.sum() else float("nan")
    return {"value": value, "interval": interval([above, below], np.divide, seed)}


def _exp(value: Any) -> Any:
    return [float(np.exp(v)) for v in value] if isinstance(value, list) else float(np.exp(value))
