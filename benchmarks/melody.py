"""How often is `find_melody` right? Trains the network of `ritornello/music/melody.py` and cross-validates it.

    python benchmarks/melody.py            the figures
    python benchmarks/melody.py --write    the same, then trains on everything and writes ritornello/music/melody.json

Labelled are 996 Lakh songs (`mel_gt`) and POP909 (its track MELODY). Some 3,000 more Lakh songs label themselves: one
track is named melody, vocal or lead, or one track alone has its notes where the words are sung. They teach only what
the label was not made from. Songs are divided into ten parts by cluster of look-alikes; what is measured on a part was
trained on the nine others. Names and lyrics are left out of some views of a song, and the order of its tracks is
shuffled in some, so that the network can do without them. POP909 is taught with neither.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import tarfile
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ritornello.errors import MusicError
from ritornello.music import melody
from ritornello.music.melody import FEATURES, NAME_HINTS, Network, inputs
from ritornello.music.score import parse
from ritornello.music.tracks import SURE

FOLDS = 10
HIDDEN, MEMBERS, EPOCHS, BATCH, RATE, PENALTY = 16, 3, 20, 128, 3e-3, 3e-3
WEAK, PIANO = 0.3, 0.3  # weights of a song that labels itself, and of a POP909 song
PLACE = [FEATURES.index(name) for name in ("index", "place")]
NAMES = [FEATURES.index(name) for name in NAME_HINTS]
SUNG = FEATURES.index("sung")


@dataclass(frozen=True, eq=False)
class Song:
    """The tracks of one song that may carry the melody."""

    values: NDArray[np.float64]  # [c, len(FEATURES)]
    programs: NDArray[np.int64]  # [c]
    melody: int  # its row
    kind: str  # where the label comes from: "labelled", "name", "words" or "pop909"
    part: int  # 0 .. FOLDS - 1

    def view(self, names: bool = True, words: bool = True, programs: bool = True, order: object = None) -> NDArray:
        """The network's inputs, without what is not wanted. `order`: the rows' places in the file, to be pretended."""
        values = self.values.copy()
        if not names:
            values[:, NAMES] = 0
        if not words:
            values[:, SUNG] = -1
        if order is not None:
            place = np.asarray(order)
            values[:, PLACE] = np.stack([place, place / max(len(place) - 1, 1)], axis=1)
        return inputs(values, self.programs if programs else np.zeros_like(self.programs))


# ---- songs ----------------------------------------------------------------------------------------------------------


def load(workers: int) -> list[Song]:
    """Every song with a label of some kind, from the folder or archive below RITORNELLO_DATA."""
    songs = []
    with ProcessPoolExecutor(workers) as pool:
        for name in ("lmd_multitrack", "pop909"):
            rows, files = corpus(name)
            for row, found in zip(rows, pool.map(_features, files, chunksize=50), strict=True):
                chosen, values, programs = found
                if len(chosen) > 1 and (label := find_label(name, row, chosen, values)):
                    part = int(row.get("cluster") or row["path"][:3]) * 7919 % 104729 % FOLDS
                    songs.append(Song(values, programs, *label, part))
    return songs


def corpus(name: str) -> tuple[list[dict[str, str]], list[bytes]]:
    """The rows of a corpus's manifest, and the file of each."""
    archive = Path(os.environ.get("RITORNELLO_DATA", "../shared/data")) / f"{name}.tar.xz"
    with tarfile.open(archive) as tar:
        contents = {m.name.removeprefix(f"{name}/"): tar.extractfile(m) for m in tar if m.isfile()}
        contents = {path: file.read() for path, file in contents.items() if file}
    rows = list(csv.DictReader(io.StringIO(contents["MANIFEST.csv"].decode())))
    rows = [row for row in rows if row["path"].endswith(".mid")]
    return rows, [contents[row["path"]] for row in rows]


def _features(file: bytes) -> tuple[list[int], NDArray, NDArray]:
    """`melody.features` of a file; no candidates where it is damaged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what `read` mended
        try:
            return melody.features(parse(file))
        except MusicError:
            return [], np.zeros((0, len(FEATURES))), np.zeros(0, np.int64)


def find_label(name: str, row: dict[str, str], chosen: list[int], values: NDArray) -> tuple[int, str] | None:
    """The row of the melody and how we know; None where we do not."""
    if name == "pop909":
        return 0, "pop909"  # MELODY is the first of its tracks
    if row["mel_gt"]:
        return chosen.index(int(row["mel_gt"])), "labelled"
    second, first = np.sort(values[:, SUNG])[-2:]
    if first > 0.7 and second < first - 0.15:
        return int(values[:, SUNG].argmax()), "words"
    for hint in ("named_melody", "named_lead"):
        named = np.flatnonzero(values[:, FEATURES.index(hint)])
        if len(named):
            return (int(named[0]), "name") if len(named) == 1 else None
    return None


def views(song: Song, rng: np.random.Generator) -> Iterator[tuple[NDArray, float]]:
    """What the network is shown of a song, and how much it counts."""
    shuffled = rng.permutation(len(song.values))
    if song.kind == "labelled":
        yield song.view(), 1.0
        yield song.view(words=False), 0.5
        yield song.view(names=False, words=False), 1.0
        yield song.view(names=False, words=rng.random() < 0.5, programs=False, order=shuffled), 0.3
    elif song.kind == "pop909":
        yield song.view(names=False, order=shuffled), PIANO
    else:
        yield song.view(names=song.kind != "name", words=song.kind != "words"), WEAK
        order = shuffled if rng.random() < 0.5 else None
        yield song.view(names=False, words=False, programs=rng.random() < 0.7, order=order), WEAK / 2


# ---- training -------------------------------------------------------------------------------------------------------


def train(songs: Sequence[Song], seed: int = 0) -> Network:
    """An ensemble, each member trained by itself: weighted cross-entropy over a song's tracks, Adam, L2."""
    rng = np.random.default_rng(seed)
    shown = [(view, song.melody, weight) for song in songs for view, weight in views(song, rng)]
    rows = np.concatenate([view for view, _, _ in shown])
    mean, scale = rows.mean(0), 1 / (rows.std(0) + 0.02)
    mean[-144:], scale[-144:] = 0, 1.5  # program and family: one of many is not to be blown up
    rows = np.clip((rows - mean) * scale, -4, 4).astype(np.float32)
    lengths = np.array([len(view) for view, _, _ in shown])
    begin = np.cumsum(lengths) - lengths
    truth = begin + np.array([row for _, row, _ in shown])
    weight = np.array([weight for _, _, weight in shown], np.float32)
    members = [_member(rows, begin, lengths, truth, weight, np.random.default_rng([seed, m])) for m in range(MEMBERS)]
    hidden, bias, out, direct = (np.stack(part).astype(np.float64) for part in zip(*members, strict=True))
    return Network(mean, scale, hidden, bias, out, direct.mean(0))


def _member(rows, begin, lengths, truth, weight, rng) -> list[NDArray]:
    """One perceptron: hidden weights [n, h], bias [h], output [h], direct path [n]."""
    n = rows.shape[1]
    parameters = [
        rng.normal(0, 0.3 / np.sqrt(n), (n, HIDDEN)).astype(np.float32),
        np.zeros(HIDDEN, np.float32),
        rng.normal(0, 0.3, HIDDEN).astype(np.float32),
        np.zeros(n, np.float32),
    ]
    penalties = (PENALTY, 0.0, PENALTY / 10, PENALTY)
    first = [np.zeros_like(p) for p in parameters]
    second = [np.zeros_like(p) for p in parameters]
    steps = EPOCHS * -(-len(begin) // BATCH)
    step = 0
    for _ in range(EPOCHS):
        order = rng.permutation(len(begin))
        for batch in np.split(order, range(BATCH, len(order), BATCH)):
            step += 1
            rate = RATE * min(step / (0.1 * steps), (1 + np.cos(np.pi * step / steps)) / 2)
            gradients = _gradients(parameters, rows, begin[batch], lengths[batch], truth[batch], weight[batch])
            for p, g, a, b, penalty in zip(parameters, gradients, first, second, penalties, strict=True):
                g = g + 2 * penalty * p
                a += 0.1 * (g - a)
                b += 0.001 * (g * g - b)
                p -= rate * (a / (1 - 0.9**step)) / (np.sqrt(b / (1 - 0.999**step)) + 1e-8)
    return parameters


def _gradients(parameters, rows, begin, lengths, truth, weight) -> list[NDArray]:
    """Of the mean cross-entropy of a batch of songs, for every parameter."""
    hidden, bias, out, direct = parameters
    start = np.cumsum(lengths) - lengths
    place = np.repeat(begin - start, lengths) + np.arange(lengths.sum())
    x = rows[place]
    active = np.tanh(x @ hidden + bias)
    scores = active @ out + x @ direct
    chances = np.exp(scores - np.repeat(np.maximum.reduceat(scores, start), lengths))
    chances /= np.repeat(np.add.reduceat(chances, start), lengths)
    chances[truth - begin + start] -= 1
    slope = chances * np.repeat(weight / weight.sum(), lengths)
    back = np.outer(slope, out) * (1 - active**2)
    return [x.T @ back, back.sum(0), active.T @ slope, x.T @ slope]


# ---- figures --------------------------------------------------------------------------------------------------------


def cross_validate(songs: list[Song]) -> None:
    """Print how often the network is right on songs it was not trained on, and what its confidence is worth."""
    right: dict[str, list[bool]] = {}
    sure: list[tuple[float, bool]] = []
    for part in range(FOLDS):
        network = train([song for song in songs if song.part != part])
        for song in songs:
            if song.part == part and song.kind == "labelled":
                chances = network.probabilities(song.view())
                sure.append((float(chances.max()), bool(chances.argmax() == song.melody)))
            if song.part == part:
                ask(song, network, "", right)
        print(f"part {part + 1} of {FOLDS}", flush=True)
    network = train([song for song in songs if song.kind != "pop909"])
    for song in songs:
        if song.kind == "pop909":
            ask(song, network, ", never trained on it", right)
    for what, hits in right.items():
        print(f"{what:66s} {np.mean(hits):6.1%} of {len(hits):,}")
    for least in (0.3, 0.4, SURE, 0.6, 0.7, 0.8, 0.9):
        kept = [hit for chance, hit in sure if chance >= least]
        print(f"labelled, confidence >= {least}: {len(kept) / len(sure):.1%} of songs, right in {np.mean(kept):.1%}")
    chances, hits = np.array(sure).T
    print(f"mean confidence {chances.mean():.3f}, right {hits.mean():.3f}")


def ask(song: Song, network: Network, which: str, right: dict[str, list[bool]]) -> None:
    """Note whether the network finds the song's melody, with what the file says and without."""
    reverse = np.arange(len(song.values))[::-1]
    views = {
        "labelled": {
            "Lakh, labelled (yardstick 87.3 %)": song.view(),
            "Lakh, labelled, without names": song.view(names=False),
            "Lakh, labelled, without names and lyrics": song.view(names=False, words=False),
        },
        "pop909": {
            f"POP909{which}": song.view(),
            f"POP909{which}, without names": song.view(names=False),
            f"POP909{which}, without names, order of tracks reversed": song.view(names=False, order=reverse),
        },
    }
    for what, view in views.get(song.kind, {}).items():
        right.setdefault(what, []).append(bool(network.probabilities(view).argmax() == song.melody))


def write(net: Network) -> Path:
    """Put the weights into the package, at four significant digits."""
    path = Path(melody.__file__).with_name("melody.json")
    arrays = {
        name: {"shape": list(array.shape), "values": [float(f"{x:.4g}") for x in array.ravel()]}
        for name, array in vars(net).items()
    }
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps({"features": list(FEATURES), "arrays": arrays}, separators=(",", ":")) + "\n")
    os.replace(temporary, path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="train on everything and write melody.json")
    parser.add_argument("--skip-figures", action="store_true", help="no cross-validation")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    songs = load(options.workers)
    kinds, counts = np.unique([song.kind for song in songs], return_counts=True)
    print(", ".join(f"{count:,} {kind}" for kind, count in zip(kinds, counts, strict=True)), flush=True)
    if not options.skip_figures:
        cross_validate(songs)
    if options.write:
        print(write(train(songs)))


if __name__ == "__main__":
    main()
