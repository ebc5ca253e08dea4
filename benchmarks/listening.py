"""Is the listening test's arithmetic to be trusted? On simulated listeners, whose tastes are known.

    python benchmarks/listening.py              how often p and the intervals err, and how often they find
    python benchmarks/listening.py --report     one simulated test's report, as Markdown

A simulated listener gives a system its quality, plus a bias of their own for everything, a taste of their own for the
system, and what the piece at hand adds; rounded, and kept between 1 and 10. Nobody real has heard anything here.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from ritornello.evaluate.bootstrap import interval
from ritornello.evaluate.listening import CRITERIA, Scores, signed_rank, summarise, tables
from ritornello.evaluate.tables import markdown

LISTENERS, GROUPS = 10, 5  # as in the paper
BIAS, PIECE = 1.2, 1.5  # standard deviations, of listeners and of pieces


def simulate(
    quality: dict[str, float], listeners: int, taste: float, rng: np.random.Generator, spread: float = 0.6
) -> Scores:
    """Scores of simulated listeners; `spread` is how much the four scores of one piece differ."""
    who = np.repeat(np.arange(listeners), GROUPS)
    shape = (len(who), len(quality), len(CRITERIA))
    value = np.array(list(quality.values()))[None, :, None]
    value = value + rng.normal(0, BIAS, listeners)[who, None, None]
    value = value + rng.normal(0, taste, (listeners, len(quality)))[who][:, :, None]
    value = value + rng.normal(0, PIECE, shape[:2])[:, :, None] + rng.normal(0, spread, shape)
    return Scores(tuple(quality), np.clip(np.rint(value), 1, 10).astype(np.int64), who)


def difference(scores: Scores) -> NDArray[np.int64]:
    return scores.values[:, 0, -1] - scores.values[:, 1, -1]


def decide(better: float, taste: float, listeners: int, tests: int) -> tuple[float, float, float]:
    """The share of tests that call two systems different: by p, by p over listeners, by the interval."""
    called = np.zeros(3)
    rng = np.random.default_rng(0)
    for _ in range(tests):
        scores = simulate({"a": 6 + better, "b": 6}, listeners, taste, rng)
        found = difference(scores)
        parts = [scores.by_listener(found), scores.by_listener(np.ones(len(found)))]
        low, high = interval(parts, lambda total, count: total / count, resamples=400)
        called += [signed_rank(found).p <= 0.05, signed_rank(parts[0] / parts[1]).p <= 0.05, not low <= 0 <= high]
    share = called / tests
    return float(share[0]), float(share[1]), float(share[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--tests", type=int, default=2000)
    said = parser.parse_args()
    if said.report:
        quality = {"ours": 6.8, "baseline": 5.9, "ablation": 6.5, "people": 7.6}
        scores = simulate(quality, LISTENERS, 0.4, np.random.default_rng(1))
        print(f"SIMULATED: {LISTENERS} listeners that a program made up, each of {GROUPS} groups.\n")
        print(markdown(tables(summarise(scores))), end="")
        return
    print(f"{said.tests} simulated tests of {GROUPS} groups a listener; share that call two systems different\n")
    print("| listeners | taste (sd) | truly better by | p <= 0.05 | p (listeners) <= 0.05 | 90 % interval without 0 |")
    print("|---:|---:|---:|---:|---:|---:|")
    cases = [(n, taste, better) for better in (0, 0.8) for n, taste in ((10, 0), (10, 0.8), (20, 0.8))]
    for listeners, taste, better in cases:
        shares = " | ".join(f"{share:.1%}" for share in decide(better, taste, listeners, said.tests))
        print(f"| {listeners} | {taste} | {better} | {shares} |")


if __name__ == "__main__":
    main()
