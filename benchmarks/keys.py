"""How often is `find_key` right? On POP909-CL's hand-corrected keys; and where the profiles in `keys.py` come from.

    python benchmarks/keys.py            the figures, cross-validated for the profiles themselves
    python benchmarks/keys.py --fit      fits the profiles on all songs and prints them for keys.py

A song's true key is the key signature in force longest. The annotators' chord track is left out.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from ritornello.data.corpora import open_corpus
from ritornello.music import keys
from ritornello.music.score import Score, parse

PENALTY = 3e-3
FOLDS = 10


def songs() -> list[tuple[NDArray, keys.Key]]:
    """Pitch-class shares float64[12] and the true key of every song that has one."""
    found = []
    for entry in open_corpus("pop909_cl"):
        if entry.data is None:
            continue
        score = parse(entry.data, entry.name)
        if len(score.key_signatures):
            piano = Score(score.ticks_per_quarter)
            for track in score.tracks:
                if track.name != "chords":
                    piano.tracks.append(track)
            found.append((keys.pitch_classes(piano), longest_key(score)))
    return found


def longest_key(score: Score) -> keys.Key:
    """The key whose signatures are in force longest."""
    signs = score.key_signatures
    ends = [*[sign.time for sign in signs][1:], score.end()]
    lasting: Counter[keys.Key] = Counter()
    for sign, end in zip(signs, ends, strict=True):
        tonic = (7 * sign.key + (9 if sign.tonality else 0)) % 12
        lasting[keys.Key(tonic, "minor" if sign.tonality else "major")] += max(end - sign.time, 0)
    return lasting.most_common(1)[0][0]


def fit(data: list[tuple[NDArray, keys.Key]]) -> NDArray[np.float64]:
    """Multinomial logistic regression over the 24 keys, one profile a mode, turned to every tonic: float64[2, 13] (the
    last column a constant)."""
    turned = np.array([[np.append(np.roll(shares, -tonic), 0.1) for tonic in range(12)] for shares, _ in data])
    truth = np.array([key.tonic + 12 * (key.mode == "minor") for _, key in data])
    scale = turned[:, :, :12].std()
    rows = np.arange(len(data))

    def loss(flat: NDArray) -> tuple[float, NDArray]:
        weights = flat.reshape(2, 13)
        scores = np.concatenate([turned @ weights[0], turned @ weights[1]], axis=1) / scale
        chances = np.exp(scores - scores.max(1, keepdims=True))
        chances /= chances.sum(1, keepdims=True)
        slope = chances.copy()
        slope[rows, truth] -= 1
        slope /= len(data) * scale
        gradient = np.stack([np.einsum("sk,skn->n", part, turned) for part in (slope[:, :12], slope[:, 12:])])
        value = -np.log(chances[rows, truth]).mean() + PENALTY * (flat**2).sum()
        return value, gradient.ravel() + 2 * PENALTY * flat

    return minimize(loss, np.zeros(26), jac=True, method="L-BFGS-B").x.reshape(2, 13) / scale


def relation(found: keys.Key, true: keys.Key) -> str:
    """How a found key relates to the true one."""
    if found == true:
        return "same"
    if found.mode != true.mode:
        if found.tonic == true.tonic:
            return "parallel"
        return "relative" if keys.transposition_to_c(found) == keys.transposition_to_c(true) else "other"
    return "a fifth off" if (found.tonic - true.tonic) % 12 in (5, 7) else "other"


def decide(shares: NDArray, profiles: NDArray) -> keys.Key:
    """The best of the 24 keys under these profiles."""
    scores = [[p[:12] @ np.roll(shares, -tonic) + 0.1 * p[12] for tonic in range(12)] for p in profiles]
    mode, tonic = divmod(int(np.argmax(scores)), 12)
    return keys.Key(tonic, "minor" if mode else "major")


def show(name: str, found: list[keys.Key], true: list[keys.Key]) -> None:
    """One line: the share of songs in each relation."""
    counts = Counter(relation(a, b) for a, b in zip(found, true, strict=True))
    print(f"{name:24s}", ", ".join(f"{what} {count / len(true):.1%}" for what, count in counts.most_common()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", action="store_true", help="fit on all songs and print the profiles")
    data = songs()
    true = [key for _, key in data]
    if parser.parse_args().fit:
        profiles = fit(data)
        profiles[:, :12] -= profiles[:, :12].mean()
        for name, profile in zip(("MAJOR", "MINOR"), profiles, strict=True):
            print(name, np.round(profile[:12] + 0.1 * (profile[12] - profiles[0, 12]), 1).tolist())
    fold = np.arange(len(data)) % FOLDS
    found: list[keys.Key] = [true[0]] * len(data)
    for part in range(FOLDS):
        profiles = fit([song for song, f in zip(data, fold, strict=True) if f != part])
        for k in np.flatnonzero(fold == part):
            found[k] = decide(data[k][0], profiles)
    print(f"{len(data)} songs of POP909-CL")
    show("cross-validated", found, true)
    show("find_key as shipped", [keys.best_key(shares) for shares, _ in data], true)


if __name__ == "__main__":
    main()
