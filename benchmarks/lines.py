"""How well the models of Bach's lines know music that they have not seen, and how far their own is copied.

    python benchmarks/lines.py voices chorale_transformer tokens/jsb-voices
    python benchmarks/lines.py melody melody_transformer tokens/cello-melody --songs 48
    python benchmarks/lines.py framewise masked_diffusion tokens/jsb-chorale --frames 16

voices:     nats a cell (four voices × sixteenth steps, each held, struck or resting; strictly causal) of validation and
            test pieces, by the model and by n-grams of the same tokens in twelve keys. Key, upbeat, bar lines and the
            end are told apart: "all" spreads what they cost over the cells, too.
melody:     nats an event and a note of the held-out movements, by the model and by n-grams; then the share of the
            model's 8-grams of pitches that a training movement has, beside how many the training movements (of other
            suites) share with each other.
framewise:  Coconet's protocol (ritornello.evaluate.framewise) on one crop of 128 sixteenths of each test piece.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ritornello.api import load
from ritornello.data.augment import transpose
from ritornello.data.batch import collate
from ritornello.data.dataset import TokenDataset
from ritornello.data.rolls import RollDataset
from ritornello.data.rolls import collate as collate_rolls
from ritornello.evaluate.bootstrap import interval
from ritornello.evaluate.framewise import Crop, framewise
from ritornello.evaluate.ngram import NGram
from ritornello.generate import finish, generate
from ritornello.models.masked_diffusion import beats
from ritornello.representations import build, melody
from ritornello.representations.base import Tokens
from ritornello.representations.vocabulary import Vocabulary
from ritornello.request import Request


def in_all_keys(songs: Sequence[Tokens], vocabulary: Vocabulary) -> list[np.ndarray]:
    """The songs in twelve keys, as far as their pitches have tokens."""
    pitches, found = vocabulary.range("Pitch"), []
    for song in songs:
        own = song.ids[(song.ids >= pitches.start) & (song.ids < pitches.stop)]
        for shift in range(-6, 6):
            if own.min() + shift >= pitches.start and own.max() + shift < pitches.stop:
                found.append(transpose(collate([song]), vocabulary, torch.tensor([shift])).ids[0].numpy())
    return found


@torch.no_grad()
def nats_of(scorer: Any, songs: Sequence[Tokens]) -> list[np.ndarray]:
    """Nats of every token of every song, the first left out."""
    return [scorer.token_nats(collate([song]))[0].numpy()[1:] for song in songs]


def ratio(above: list[float], below: list[int]) -> str:
    a, b = np.array(above), np.array(below)
    low, high = interval([a, b], np.divide, 0)
    return f"{a.sum() / b.sum():.4f} [{low:.4f}, {high:.4f}]"


def likelihoods(name: str, run: str, folder: str, orders: Sequence[int]) -> None:
    """A line for the model and for n-grams on the validation and test pieces."""
    vocabulary = build(name).vocabulary
    train, player = TokenDataset(folder, "train"), load(run)
    scorers: dict[str, Any] = {run: player.run.model}
    training = [train[i] for i in range(len(train))]
    for order in orders:
        scorers[f"{order}-gram, own keys"] = NGram(vocabulary.size, order).fit(song.ids for song in training)
        scorers[f"{order}-gram, twelve keys"] = NGram(vocabulary.size, order).fit(in_all_keys(training, vocabulary))
    units = ("Hold", "Rest", "Pitch") if name == "voices" else ("Pitch", "Rest", "Duration")
    of_unit = np.isin(vocabulary.family_of, [vocabulary.families.index(unit) for unit in units])
    pitch = vocabulary.families.index("Pitch")
    for split in ("valid", "test"):
        data = TokenDataset(folder, split)
        songs = [data[i] for i in range(len(data))]
        each_event = 2 if name == "melody" else 1  # tokens: what, and for how long
        counts = [int(of_unit[song.ids].sum()) // each_event for song in songs]
        notes = [int((vocabulary.family_of[song.ids] == pitch).sum()) for song in songs]
        print(f"{split}: {len(songs)} pieces, {sum(counts):,} cells or events, {sum(notes):,} notes")
        for scorer, model in scorers.items():
            each = nats_of(model, songs)
            inside = [float(n[of_unit[song.ids[1:]]].sum()) for n, song in zip(each, songs, strict=True)]
            whole = [float(n.sum()) for n in each]
            print(f"  {scorer:24} {ratio(inside, counts)}; all {ratio(whole, counts)}; a note {ratio(whole, notes)}")


def pitches_of(song: Tokens) -> list[int]:
    line, _ = melody.read(song.ids)
    return line[line[:, 0] >= 0, 0].tolist()


def grams(pitches: Sequence[int], n: int = 8) -> set[tuple[int, ...]]:
    return {tuple(pitches[i : i + n]) for i in range(len(pitches) - n + 1)}


def copying(run: str, folder: str, count: int) -> None:
    """Shares of 8-grams of pitches (verbatim, in the key as it is) that occur in a training movement."""
    data, player = TokenDataset(folder, "train"), load(run)
    songs = [data[i] for i in range(len(data))]
    suites = [song.meta["file"].split("/")[-1][:7] for song in songs]
    of_song = [grams(pitches_of(song)) for song in songs]
    human = []
    for i, own in enumerate(of_song):
        others = set().union(*(g for j, g in enumerate(of_song) if suites[j] != suites[i]))
        same = set().union(*(g for j, g in enumerate(of_song) if j != i))
        human.append((len(own & others), len(own & same), len(own)))
    everything = set().union(*of_song)
    made, lengths, longest = [], [], 0
    for seed in range(0, count, 16):
        request = Request(seed=seed, count=min(16, count - seed), max_tokens=1600)
        for song in finish(generate(player.run.decoder, player.run.representation, request)):
            pitches = pitches_of(player.run.representation.encode(song.score))
            own = grams(pitches)
            made.append((len(own & everything), len(own)))
            lengths.append(float(song.score.end()) / song.score.ticks_per_quarter * 60 / song.score.tempos[0].qpm)
            length = 8
            while any(tuple(pitches[i : i + length]) in grams_of(songs, length) for i in range(len(pitches) - length)):
                length += 1
            longest = max(longest, length - 1)
    across, within, total = np.array(human).sum(0)
    copied, written = np.array(made).sum(0)
    print(f"8-grams: ours {copied / written:.4f} of {written:,} are in a training movement, the longest run {longest}")
    print(f"  training movements: {across / total:.4f} in another suite, {within / total:.4f} in another movement")
    print(f"  {sum(length > 120 for length in lengths)} of {count} pieces are longer than two minutes")


_GRAMS: dict[int, set[tuple[int, ...]]] = {}


def grams_of(songs: Sequence[Tokens], n: int) -> set[tuple[int, ...]]:
    if n not in _GRAMS:
        _GRAMS[n] = set().union(*(grams(pitches_of(song), n) for song in songs))
    return _GRAMS[n]


def protocol(run: str, folder: str, frames: int | None, orderings: int) -> None:
    model: Any = load(run).run.model
    data = RollDataset(folder, "test", "chorale")
    rng = np.random.default_rng(0)
    crops = []
    for i in range(len(data)):
        if len(data[i]) >= 128:
            batch = collate_rolls([data[i]])
            start = int(rng.integers(len(data[i]) - 127))
            cells, beat = model.hear(batch)[0], beats(batch)[0]
            crops.append(Crop(cells[:, start : start + 128], beat[start : start + 128]))
    with torch.autocast("cpu", torch.bfloat16):
        print(framewise(model, crops, orderings, frames))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("voices", "melody", "framewise"))
    parser.add_argument("run")
    parser.add_argument("folder")
    parser.add_argument("--songs", type=int, default=0, help="pieces that are written, to look for copies in (melody)")
    parser.add_argument("--frames", type=int, help="frames of each crop that are measured; by default all (framewise)")
    parser.add_argument("--orderings", type=int, default=5)
    parser.add_argument("--orders", type=int, nargs="*", default=[3, 4, 5], help="of the n-grams")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    if flags.what == "framewise":
        protocol(flags.run, flags.folder, flags.frames, flags.orderings)
        return
    likelihoods(flags.what, flags.run, flags.folder, flags.orders)
    if flags.songs:
        copying(flags.run, flags.folder, flags.songs)


if __name__ == "__main__":
    main()
