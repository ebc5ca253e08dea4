"""How well does a song take over the form of another? And where sampling/forms.npz comes from.

    python benchmarks/forms.py tokens/lmd_multitrack           16 songs with forms of the test split
    python benchmarks/forms.py tokens/lmd_multitrack --write   forms of the training split, into sampling/forms.npz

For every instrument in every bar of the song whose form it is: how much it is like the first of the earlier bars that
it is most like; and, in the song that takes the form over, how much the same instrument is like the same bar, and like
whichever earlier one it is most like. Below 0.3 it is to be new.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import ritornello as rn
from ritornello.api import Player
from ritornello.data.dataset import TokenDataset
from ritornello.generate import generate
from ritornello.music.score import write
from ritornello.representations import build
from ritornello.representations.base import Tokens
from ritornello.request import Request
from ritornello.sampling.form import Origin, form_of, likeness
from ritornello.sampling.forms import FILE, pack, save

BARS = 64  # of a song that takes a form over
FEWEST, MOST, COUNT = 64, 128, 96  # bars of the forms that ship; how many they are
REPETITIVE = 0.5  # mean likeness of a song's bars beyond which its form is no example
RETURNS = 0.4  # nor where less of what the instruments play comes again in the first BARS: whole songs have more of it
LED = 0.4  # nor where fewer of these have a melody
CLASSES = (0.0, 0.3, 0.5, 0.7, 0.9, 0.999, 1.001)


def songs(tokens: Path, split: str, fewest: int, seed: int) -> Iterator[Tokens]:
    """Songs of a split with as many bars at least, in an order that the seed chooses."""
    dataset = TokenDataset(tokens, split)
    for i in np.random.default_rng(seed).permutation(len(dataset)):
        if dataset[int(i)].bars[-1] + 1 >= fewest:
            yield dataset[int(i)]


def library(tokens: Path, seed: int) -> None:
    vocabulary = build("museformer").vocabulary
    kept = []
    for song in songs(tokens, "train", FEWEST, seed):
        _, whole = next(likeness(song, vocabulary))
        if whole[np.tril_indices(len(whole), -1)].mean() > REPETITIVE:
            continue
        form = form_of(song, vocabulary)[:MOST]
        if is_example(form[:BARS], vocabulary.id("Instrument", "melody")):
            kept.append(pack(form, vocabulary))
        if len(kept) == COUNT:
            break
    save(FILE, kept)
    print(f"{len(kept)} forms of {sum(len(form.where) for form in kept):,} bars: {FILE}, {FILE.stat().st_size:,} bytes")


def is_example(form: list[Origin], melody: int) -> bool:
    """Whether enough comes again, and enough bars have a melody."""
    returns = [part.alike if part else 0.0 for origin in form for part in origin.own.values()]
    return bool(np.mean(returns) >= RETURNS and np.mean([melody in origin.own for origin in form]) >= LED)


def measure(player: Player, tokens: Path, count: int, seed: int, nats: float | None) -> np.ndarray:
    """A row for every instrument in every bar: likeness in the given song, to the same bar in ours, to any in ours."""
    representation, rows = player.run.representation, []
    with tempfile.TemporaryDirectory() as folder:
        for number, song in zip(range(count), songs(tokens, "test", BARS, seed), strict=False):
            path = Path(folder, f"{number}.mid")
            write(representation.decode(song), path)
            request = Request(form_of=path, bars=BARS, seed=seed + number, faithful=nats)
            *_, last = generate(player.run.decoder, representation, request)
            form = form_of(song, representation.vocabulary)[:BARS]
            theirs, ours = (dict(likeness(one, representation.vocabulary)) for one in (song, last.tokens[0]))
            for bar, origin in enumerate(form[1:], 1):
                for one, part in origin.own.items():
                    if one in ours and ours[one][bar, bar]:  # it plays
                        same = ours[one][bar, part.bar] if part else np.nan
                        rows.append((theirs[one][bar, :bar].max(), same, ours[one][bar, :bar].max()))
    return np.array(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokens", type=Path, help="lmd_multitrack as `ritornello prepare` left it")
    parser.add_argument("--write", action="store_true", help="write sampling/forms.npz")
    parser.add_argument("--run", default="museformer", help="a model of six instruments that ships, or a run's folder")
    parser.add_argument("--songs", type=int, default=16)
    parser.add_argument("--faithful", type=float, default=None)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if asked.write:
        return library(asked.tokens, asked.seed)
    rows = measure(rn.load(asked.run), asked.tokens, asked.songs, asked.seed, asked.faithful)
    table = Table("likeness", "instruments in bars", "theirs", "ours, to the same bar", "ours, to any")
    for low, high in pairwise(CLASSES):
        some = rows[(rows[:, 0] >= low) & (rows[:, 0] < high)]
        means = [f"{np.nanmean(column):.2f}" if np.isfinite(column).any() else "" for column in some.T]
        table.add_row(f"{low:.1f} to {min(high, 1):.1f}", str(len(some)), *means)
    Console().print(table)


if __name__ == "__main__":
    main()
