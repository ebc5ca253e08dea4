"""How much of a section comes back where a form is asked for: `python benchmarks/form.py`, two or three minutes.

Songs of the form A8 B8 A8, for each strength of `--faithful`. Of the bars of the second A beside those of the first:
how many are identical, token for token, and what share of their notes (position, instrument and pitch) they share.
"""

from __future__ import annotations

import json

import tyro
from rich.console import Console
from rich.table import Table

import ritornello as rn
from ritornello.generate import Request, generate
from ritornello.representations.base import Tokens
from ritornello.representations.vocabulary import EOS, Vocabulary
from ritornello.sampling.form import origins, sections


def main(
    run: str = "museformer",
    form: str = "A8 B8 A8",
    faithful: tuple[float, ...] = (0.0, 2.0, 4.0, 6.0),
    songs: int = 8,
    seed: int = 100,
    json_: bool = False,
) -> None:
    """Args:
    run: a model that ships, or a run's folder.
    faithful: nats that tokens gain which would let a bar come again.
    """
    player = rn.load(run)
    found = []
    for nats in faithful:
        request = Request(form=form, faithful=nats, count=songs, seed=seed)
        *_, last = generate(player.run.decoder, player.run.representation, request)
        pairs = [
            (bar(song, here), bar(song, there))
            for song in last.tokens
            for here, there in enumerate(origins(sections(form)))
            if there >= 0
        ]
        vocabulary = player.run.representation.vocabulary
        both = [(notes(one, vocabulary), notes(other, vocabulary)) for one, other in pairs]
        common = [len(a & b) / len(a | b) for a, b in both if a | b]
        found.append(
            {
                "faithful": nats,
                "bars": len(pairs),
                "identical": sum(one == other for one, other in pairs) / len(pairs),
                "notes_in_common": sum(common) / len(common),
            }
        )
    if json_:
        print(json.dumps(found))
        return
    table = Table("faithful", "bars that come again", "identical", "notes in common", title=f"{form}, {songs} songs")
    for one in found:
        table.add_row(
            f"{one['faithful']:g}", str(one["bars"]), f"{one['identical']:.0%}", f"{one['notes_in_common']:.2f}"
        )
    Console().print(table)


def bar(song: Tokens, number: int) -> list[tuple[int, int]]:
    """Positions and ids of a bar."""
    of = (song.bars == number) & (song.ids > EOS)
    return list(zip(song.positions[of].tolist(), song.ids[of].tolist(), strict=True))


def notes(tokens: list[tuple[int, int]], vocabulary: Vocabulary) -> set[tuple[int, int, int]]:
    """(position, instrument, key) of a bar's notes, by their tokens."""
    found, instrument = set(), -1
    for position, id in tokens:
        if id in vocabulary.range("Instrument"):
            instrument = id
        elif id in vocabulary.range("Pitch") or id in vocabulary.range("Drum"):
            found.add((position, instrument, id))
    return found


if __name__ == "__main__":
    tyro.cli(main)
