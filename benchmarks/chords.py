"""How often is a beat's chord right? On POP909-CL's hand-corrected chords; and where music/chords.json comes from.

    python benchmarks/chords.py             root, majmin and full accuracy on held-out songs, and the time a song takes
    python benchmarks/chords.py --chorder   the same of chorder's Dechorder beside it (pip install chorder)
    python benchmarks/chords.py --fit       fits the weights on the other songs and writes music/chords.json

Every fifth song is held out. The measures are mir_eval's: root accuracy is the share of beats whose root is right (N is
right where N is); majmin looks only at beats whose true chord is major or minor, sevenths included, or N, and asks for
root and third; full asks for root and quality. The annotators' track has notes only; a chord's root is the lowest note
with which they make one of the qualities, which is the bass unless the chord is inverted.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from ritornello.data.annotated import downbeat
from ritornello.data.corpora import open_corpus
from ritornello.music import chords
from ritornello.music.bars import bars
from ritornello.music.score import Score, parse

PENALTY = 1e-5
PLAIN = 0.05  # as many beats more are chords held alone: those are what they are, though sevenths are seldom noted
HELD_OUT = 5  # every so many songs, one
STAYS = ((0, 0.5, 1), (0.5, 1, 1.5), (1, 2, 3))  # nats tried, by a beat's strength
SILENCES = ((0, 3, 6, 9), (-4, -2, 0, 2))  # nats tried for no chord, where nothing sounds and where something does
UNKNOWN = -1  # a beat whose annotated notes make no chord that we know: it is not counted
QUALITIES = tuple(chords.QUALITIES)
SHAPES = {frozenset(shape): k for k, shape in enumerate(chords.QUALITIES.values())}
MAJOR, MINOR = (tuple(QUALITIES.index(q) for q in group) for group in (("", "7", "maj7"), ("m", "m7")))


@dataclass
class Song:
    name: str
    piano: Score
    notes: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]  # onsets, durations, pitches
    beats: NDArray[np.int64]
    in_bar: NDArray[np.int64]
    true: NDArray[np.int64]


def songs(limit: int | None = None) -> list[Song]:
    found = []
    for entry in open_corpus("pop909_cl"):
        if limit and len(found) == limit:
            break
        if entry.data is None:
            continue
        score = parse(entry.data, entry.name)
        if len(score.tracks) == 2 and score.tracks[0].name == "piano":
            found.append(read_song(entry.name, score))
    return found


def read_song(name: str, score: Score) -> Song:
    """Beats are counted from where the annotated chords begin most often, which is where bars begin."""
    true = score.tracks[1].notes.numpy()
    piano = score.copy()
    del piano.tracks[1]
    grid = bars(score)
    length = int(np.diff(grid.starts)[0])
    phase = downbeat(score.tracks[1], length)
    quarter = score.ticks_per_quarter
    numerator, unit = grid.metres[0].tolist()
    beat = quarter * 3 // 2 if unit == 8 and numerator % 3 == 0 else quarter
    end = max(int((track.notes.numpy()["time"]).max()) for track in score.tracks) + 1
    first = phase - length if phase else 0
    beats = np.arange(first, end + beat, beat)
    in_bar = np.arange(len(beats) - 1) % (length // beat)
    column = piano.tracks[0].notes.numpy()
    notes = tuple(column[key].astype(np.int64) for key in ("time", "duration", "pitch"))
    return Song(name, piano, notes, beats, in_bar, true_chords(true, beats))  # pyright: ignore[reportArgumentType]


def true_chords(column: dict[str, NDArray], beats: NDArray[np.int64]) -> NDArray[np.int64]:
    """The annotated chord in the middle of each beat."""
    middles = (beats[1:] + beats[:-1]) // 2
    onset, end = column["time"].astype(np.int64), column["time"].astype(np.int64) + column["duration"]
    found = []
    for middle in middles.tolist():
        pitches = sorted(column["pitch"][(onset <= middle) & (middle < end)].tolist())
        found.append(name_of(pitches))
    return np.array(found)


def name_of(pitches: list[int]) -> int:
    """The chord that these notes make, lowest first: the lowest root that gives a known quality."""
    if not pitches:
        return chords.NONE
    for root in pitches:
        shape = frozenset((pitch - root) % 12 for pitch in pitches)
        if shape in SHAPES:
            return 1 + root % 12 * len(QUALITIES) + SHAPES[shape]
    return UNKNOWN


# ---- measures --------------------------------------------------------------------------------------------------------


def accuracies(found: NDArray[np.int64], true: NDArray[np.int64]) -> dict[str, float]:
    known = true != UNKNOWN
    found, true = found[known], true[known]
    (root, quality), (true_root, true_quality) = map(split, (found, true))
    mode, true_mode = ((np.isin(q, MINOR) - np.isin(q, MAJOR).astype(int)) for q in (quality, true_quality))
    counted = (true == chords.NONE) | (true_mode != 0)
    right = np.where(true == chords.NONE, found == true, (root == true_root) & (mode == true_mode))
    return {
        "root": float((root == true_root).mean()),
        "majmin": float(right[counted].mean()),
        "full": float((found == true).mean()),
        "beats": len(true),
    }


def split(labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Roots, 12 for N, and qualities, -1 for N."""
    root, quality = np.divmod(labels - 1, len(QUALITIES))
    return np.where(labels == chords.NONE, 12, root), np.where(labels == chords.NONE, -1, quality)


def show(name: str, found: list[NDArray[np.int64]], data: list[Song]) -> None:
    figures = accuracies(np.concatenate(found), np.concatenate([song.true for song in data]))
    beats = figures.pop("beats")
    print(f"{name:12s}", ", ".join(f"{what} {value:.1%}" for what, value in figures.items()), f"({beats:,.0f} beats)")


# ---- fit -------------------------------------------------------------------------------------------------------------


def fit(data: list[Song], iterations: int = 150) -> dict[str, Any]:
    """Logistic regression over all chords of a beat, the roots sharing their weights; then the worth of staying."""
    inputs, labels = [], []
    for song in data:
        described = chords.features(*song.notes, song.beats)
        keep = (song.true > chords.NONE) & described[:, chords.CONTEXT.index(0)].any(axis=1)
        inputs.append(described[keep])
        labels.append(song.true[keep] - 1)
    for described, truth in blocks():
        share = round(PLAIN * sum(map(len, labels)) / (12 * len(QUALITIES)) / len(described))
        inputs.append(np.tile(described, (share, 1, 1)))
        labels.append(np.tile(truth, share))
    together, truth = np.concatenate(inputs).astype(np.float32), np.concatenate(labels)
    count = len(together)
    turned = np.stack([np.roll(together, -root, axis=2) for root in range(12)], axis=1).reshape(count * 12, -1)
    rows = np.arange(count)
    shape = (len(QUALITIES), turned.shape[1] + 1)

    def loss(flat: NDArray) -> tuple[float, NDArray]:
        weights = flat.reshape(shape).astype(np.float32)
        scores = (turned @ weights[:, :-1].T + weights[:, -1]).reshape(count, -1)
        scores -= scores.max(1, keepdims=True)
        chances = np.exp(scores)
        chances /= chances.sum(1, keepdims=True)
        value = -np.log(chances[rows, truth] + 1e-12).mean(dtype=np.float64)
        chances[rows, truth] -= 1
        slope = chances.reshape(count * 12, -1) / count
        gradient = np.concatenate([slope.T @ turned, slope.sum(0)[:, None]], axis=1).astype(np.float64).ravel()
        return value + PENALTY * (flat**2).sum(), gradient + 2 * PENALTY * flat

    result = minimize(loss, np.zeros(shape[0] * shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": iterations})
    weights = result.x.reshape(shape)
    print(f"fitted on {count:,} beats: {result.fun:.3f} nats")
    described = [chords.features(*song.notes, song.beats) for song in data]
    strengths = [chords.strength(song.in_bar) for song in data]
    truths = np.concatenate([song.true for song in data])

    def right(silence: tuple[float, ...], stay: tuple[float, ...]) -> float:
        found = [
            chords.viterbi(chords.fit_of(one, weights, np.array(silence)), np.array(stay)[strong])
            for one, strong in zip(described, strengths, strict=True)
        ]
        return accuracies(np.concatenate(found), truths)["full"]

    best = max(product(*STAYS), key=lambda stay: right((6.0, -2.0), stay))
    silence = max(product(*SILENCES), key=lambda silence: right(silence, best))
    print(f"staying is worth {best} nats, silence {silence}: {right(silence, best):.1%} of these beats are right")
    return {"weights": weights.round(2).tolist(), "silence": silence, "stay": best}


def blocks() -> Iterator[tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """Every chord as eight beats that hold its notes over its root: what no annotation may overrule."""
    beats = np.arange(9) * 12
    for root in range(12):
        for quality, shape in enumerate(chords.QUALITIES.values()):
            pitches = np.array([48 + root, *(60 + root + step for step in shape)])
            onsets = np.zeros(len(pitches), np.int64)
            described = chords.features(onsets, onsets + 96, pitches, beats)
            yield described, np.full(8, root * len(QUALITIES) + quality)


# ---- chorder ---------------------------------------------------------------------------------------------------------


def by_chorder(song: Song) -> NDArray[np.int64]:
    """What Dechorder says of the same beats. It counts beats from tick 0, so the song is moved to begin a bar there."""
    from chorder import Dechorder  # pyright: ignore[reportMissingImports]
    from miditoolkit.midi.containers import Instrument, Note  # pyright: ignore[reportMissingImports]
    from miditoolkit.midi.parser import MidiFile  # pyright: ignore[reportMissingImports]

    names = {"M": "", "m": "m", "o": "dim", "+": "aug", "sus2": "sus2", "sus4": "sus4", "7": "7"}
    names |= {"M7": "maj7", "m7": "m7", "o7": "dim7", "/o7": "m7b5"}
    beat = int(song.beats[1] - song.beats[0])
    midi = MidiFile(ticks_per_beat=beat)
    midi.instruments = [Instrument(0)]
    for onset, duration, pitch in zip(*(column.tolist() for column in song.notes), strict=True):
        start = onset - int(song.beats[0])
        midi.instruments[0].notes.append(Note(90, pitch, start, start + duration))
    midi.max_tick = max(note.end for note in midi.instruments[0].notes)
    found = np.zeros(len(song.true), np.int64)
    for i, chord in enumerate(Dechorder.dechord(midi)[: len(found)]):
        if chord.is_complete() and chord.quality in names:
            found[i] = 1 + chord.root_pc * len(QUALITIES) + QUALITIES.index(names[chord.quality])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", action="store_true", help="fit on the songs that are not held out")
    parser.add_argument("--chorder", action="store_true", help="measure chorder, too")
    parser.add_argument("--songs", type=int, help="only the first so many songs")
    arguments = parser.parse_args()
    data = songs(arguments.songs)
    held_out = data[::HELD_OUT]
    if arguments.fit:
        saved = fit([song for k, song in enumerate(data) if k % HELD_OUT])
        Path(chords.__file__).with_name("chords.json").write_text(json.dumps(saved, separators=(",", ":")) + "\n")
    print(f"{len(held_out)} held-out songs of POP909-CL")
    began = time.process_time()
    found = [chords.recognise(*song.notes, song.beats, song.in_bar) for song in held_out]
    took = (time.process_time() - began) / len(held_out)
    show("ritornello", found, held_out)
    print(f"{1000 * took:.1f} ms a song")
    if arguments.chorder:
        began = time.process_time()
        found = [by_chorder(song) for song in held_out]
        took = (time.process_time() - began) / len(held_out)
        show("chorder", found, held_out)
        print(f"{1000 * took:.1f} ms a song")


if __name__ == "__main__":
    main()
