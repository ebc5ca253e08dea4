"""How far wishes for a form and a density are met: `python benchmarks/wishes.py`, about five minutes of one core.

Form: songs of A8 B8 A8, for each strength of `--faithful`. Of the bars of the second A beside those of the first: how
many are identical, token for token, and what share of their notes (position, instrument and key) they have in common.

Density: songs of 16 bars as the model writes them, and with the wish. Of each song the median of its bars' notes; of
all songs the least, the quartiles and the most, and how many lie outside what was asked.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import ritornello as rn
from ritornello.api import Player
from ritornello.generate import generate
from ritornello.representations.base import Tokens
from ritornello.representations.vocabulary import EOS, Vocabulary
from ritornello.request import Request
from ritornello.sampling.density import densities
from ritornello.sampling.form import origins, sections

FORM, FAITHFUL = "A8 B8 A8", (0.0, 2.0, 4.0, 6.0)
Note = tuple[int, int, int]  # position, instrument, key: as tokens


def written(player: Player, **wishes: Any) -> tuple[Tokens, ...]:
    *_, last = generate(player.run.decoder, player.run.representation, Request(**wishes))
    return last.tokens


def forms(player: Player, songs: int, seed: int) -> Iterator[dict[str, Any]]:
    vocabulary = player.run.representation.vocabulary
    back = [(here, origin.whole.bar) for here, origin in enumerate(origins(sections(FORM))) if origin.whole]
    for nats in FAITHFUL:
        made = written(player, form=FORM, faithful=nats, count=songs, seed=seed)
        pairs = [(bar(song, here), bar(song, there)) for song in made for here, there in back]
        both = [(notes(one, vocabulary), notes(other, vocabulary)) for one, other in pairs]
        yield {
            "faithful": nats,
            "bars": len(pairs),
            "identical": float(np.mean([one == other for one, other in pairs])),
            "in common": float(np.mean([len(a & b) / len(a | b) for a, b in both if a | b])),
        }


def fullness(player: Player, songs: int, seed: int, density: str) -> Iterator[dict[str, Any]]:
    vocabulary = player.run.representation.vocabulary
    (wish,) = densities(density)
    for asked in (None, density):
        made = written(player, bars=16, density=asked, count=songs, seed=seed)
        medians = [np.median([len(notes(bar(song, number), vocabulary)) for number in range(16)]) for song in made]
        yield {
            "density": asked or "as it comes",
            **dict(
                zip(
                    ("least", "q1", "median", "q3", "most"),
                    np.quantile(medians, np.linspace(0, 1, 5)).tolist(),
                    strict=True,
                )
            ),
            "outside": sum(not wish.fewest <= one <= wish.most for one in medians),
        }


def bar(song: Tokens, number: int) -> list[tuple[int, int]]:
    """Positions and ids of a bar."""
    of = (song.bars == number) & (song.ids > EOS)
    return list(zip(song.positions[of].tolist(), song.ids[of].tolist(), strict=True))


def notes(tokens: list[tuple[int, int]], vocabulary: Vocabulary) -> set[Note]:
    found, instrument = set(), -1
    for position, id in tokens:
        if id in vocabulary.range("Instrument"):
            instrument = id
        elif id in vocabulary.range("Pitch") or id in vocabulary.range("Drum"):
            found.add((position, instrument, id))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="museformer", help="a model of instruments that ships, or a run's folder")
    parser.add_argument("--songs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--density", default="16-67")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    player = rn.load(asked.run)
    found = {
        "form": list(forms(player, asked.songs, asked.seed)),
        "density": list(fullness(player, asked.songs, asked.seed, asked.density)),
    }
    if asked.json:
        print(json.dumps(found))
        return
    for name, rows in found.items():
        table = Table(*rows[0], title=f"{name}, {asked.songs} songs")
        for row in rows:
            table.add_row(*(value if isinstance(value, str) else f"{value:.3g}" for value in row.values()))
        Console().print(table)


if __name__ == "__main__":
    main()
