"""What listeners said: means and deviations, preference, wins, ties and losses of pairs, Wilcoxon's test.

The measures are the Museformer paper's (section 4.1, Tables 2 and 3): a listener hears groups, each of one piece of
every system, and gives every piece a whole score from 1 to 10 for four criteria. Only complete groups are counted.

Conventions, and what of the paper's tables they follow from:

- **mean ± sd** is over all scores of a system, one a group (10 listeners x 5 groups = 50 in the paper). The deviation
  divides by n. The paper does not say; with n - 1, its 6.88 ± 1.95 is no mean and deviation of 50 whole numbers, while
  with n all twenty cells of Table 2 are.
- **preference** is the share of groups in which a system has the highest overall score. Systems that share the highest
  each win: the paper's column sums to 1.48, so these shares sum to 1 or more.
- **wins, ties, losses** compare the overall scores of two systems within each group.
- **p** is Wilcoxon's signed-rank test on those differences, two-sided. Groups with no difference are dropped
  (Wilcoxon's own way), equal differences share their mean rank. Whole scores always tie, and tables of the statistic
  do not hold then, so the null distribution is counted out for the ranks at hand: the exact p given ties and zeros.
  Beyond `EXACT` differences it is `p_normal`: the normal approximation with the variance corrected for ties and no
  correction for continuity, which is what SciPy gives for tied scores, and so most papers.
- **p_holm** is p after Holm's correction for all pairs in the table. The paper's p are not corrected.
- **p_listeners** is the same test on one number a listener, the mean of their differences. p takes groups as
  independent, as the paper does; where listeners differ in taste they are not, and p is too small
  (`benchmarks/listening.py` measures by how much).
- **intervals** are bootstraps over listeners, not over groups, for the same reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ritornello.errors import MusicError
from ritornello.evaluate.bootstrap import interval
from ritornello.evaluate.tables import Cells

CRITERIA = ("musicality", "short_term", "long_term", "overall")
NAMES = ("Musicality", "ST structure", "LT structure", "Overall")
LOWEST, HIGHEST = 1, 10
OVERALL = CRITERIA.index("overall")
EXACT = 200  # differences other than zero up to which the null distribution is counted out

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scores:
    """Complete groups: in each, one listener scored one piece of every system.

    Raises MusicError where a score is outside 1 to 10, or the shapes do not fit together.
    """

    systems: tuple[str, ...]
    values: Int[np.ndarray, "group system 4"]  # by CRITERIA
    listeners: Int[np.ndarray, " group"]  # who gave them: any numbers, one a listener

    def __post_init__(self) -> None:
        expected = (len(self.listeners), len(self.systems), len(CRITERIA))
        if self.values.shape != expected:
            raise MusicError(f"the scores have the shape {self.values.shape}, where {expected} is expected.")
        wrong = self.values[(self.values < LOWEST) | (self.values > HIGHEST)]
        if len(wrong):
            raise MusicError(f"there is a score of {wrong[0]}, where {LOWEST} to {HIGHEST} are expected.")

    def by_listener(self, values: ArrayLike) -> Array:
        """Sums over each listener's groups of an array with a leading axis of groups: [listener, ...]."""
        _, who = np.unique(self.listeners, return_inverse=True)
        values = np.asarray(values, np.float64)
        sums = np.zeros((who.max(initial=-1) + 1, *values.shape[1:]))
        np.add.at(sums, who, values)
        return sums


def preferred(overall: Float[np.ndarray, "group system"] | NDArray[Any]) -> NDArray[np.bool_]:
    """Which systems have the highest overall score in each group, [group, system]; several may share it."""
    return overall == overall.max(axis=1, keepdims=True)


@dataclass(frozen=True)
class SignedRank:
    """Wilcoxon's signed-rank test of differences against a median of zero; p is two-sided, 1 where all are zero."""

    count: int  # differences other than zero
    above: float  # the sum of ranks of positive differences
    below: float
    p: float
    p_normal: float


def signed_rank(differences: ArrayLike) -> SignedRank:
    """Test paired differences [n]; zeros are dropped, ties share their mean rank, p is exact up to `EXACT`."""
    found = np.asarray(differences, np.float64)
    found = found[found != 0]
    if len(found) == 0:
        return SignedRank(0, 0.0, 0.0, 1.0, 1.0)
    ranks = stats.rankdata(np.abs(found))
    above, below = float(ranks[found > 0].sum()), float(ranks[found < 0].sum())
    normal = stats.wilcoxon(found, zero_method="wilcox", correction=False, method="asymptotic")
    p_normal = float(normal.pvalue)  # pyright: ignore[reportAttributeAccessIssue]
    p = _exact(ranks, min(above, below)) if len(found) <= EXACT else p_normal
    return SignedRank(len(found), above, below, p, p_normal)


def _exact(ranks: Array, lesser: float) -> float:
    """How probable a rank sum as far from its mean is when every sign is a fair coin's; mean ranks are halves."""
    doubled = np.rint(2 * ranks).astype(int)
    chance = np.zeros(doubled.sum() + 1)
    chance[0] = 1.0
    for rank in doubled:  # the distribution of the sum so far, without this rank and with it
        chance[rank:] = (chance[rank:] + chance[: len(chance) - rank]) / 2
        chance[:rank] /= 2
    return min(1.0, 2 * float(chance[: round(2 * lesser) + 1].sum()))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the k-th smallest of m times m - k + 1, never below the one before, at most 1."""
    corrected, highest = [0.0] * len(p), 0.0
    for k, i in enumerate(np.argsort(p, kind="stable")):
        highest = max(highest, min(1.0, p[i] * (len(p) - k)))
        corrected[i] = highest
    return corrected


def summarise(scores: Scores, ours: str | None = None, seed: int = 0) -> dict[str, Any]:
    """Tables 2 and 3 as plain JSON; pairs of all systems, or only those of `ours` with each other one.

        listeners, groups   how many
        systems             {name: {criterion: {mean, sd, interval}, ..., "preference": {value, interval}}}
        pairs               [{system, against, wins, ties, losses, difference: {mean, interval}, count, p, p_holm,
                            p_normal, p_listeners}]; count: groups with a difference

    An interval is None where there is but one listener. Raises MusicError without groups, or if `ours` is no system.
    """
    if len(scores.listeners) == 0:
        raise MusicError("there is no ballot yet, so there is nothing to report; ask listeners to finish a group.")
    if ours is not None and ours not in scores.systems:
        raise MusicError(f"there is no system {ours} in this test; there are {', '.join(scores.systems)}.")
    groups = scores.by_listener(np.ones(len(scores.listeners)))
    overall = scores.values[:, :, OVERALL]
    wins = preferred(overall)

    def between(values: NDArray[Any]) -> list[float] | None:
        """The interval of the mean of one number a group, over listeners."""
        if len(groups) < 2:
            return None
        return interval([scores.by_listener(values), groups], lambda total, count: total / count, seed)

    systems = {}
    for s, name in enumerate(scores.systems):
        given = scores.values[:, s]
        systems[name] = {
            criterion: {
                "mean": float(given[:, c].mean()),
                "sd": float(given[:, c].std()),
                "interval": between(given[:, c]),
            }
            for c, criterion in enumerate(CRITERIA)
        }
        systems[name]["preference"] = {"value": float(wins[:, s].mean()), "interval": between(wins[:, s])}
    pairs = [_pair(scores, a, b, between) for a, b in _pairs(scores.systems, ours)]
    for pair, p in zip(pairs, holm([pair["p"] for pair in pairs]), strict=True):
        pair["p_holm"] = p
    return {"listeners": len(groups), "groups": len(scores.listeners), "systems": systems, "pairs": pairs}


def _pairs(systems: Sequence[str], ours: str | None) -> list[tuple[int, int]]:
    if ours is None:
        return list(combinations(range(len(systems)), 2))
    return [(systems.index(ours), other) for other in range(len(systems)) if systems[other] != ours]


def _pair(scores: Scores, a: int, b: int, between: Any) -> dict[str, Any]:
    differences = (scores.values[:, a] - scores.values[:, b])[:, OVERALL]
    test = signed_rank(differences)
    return {
        "system": scores.systems[a],
        "against": scores.systems[b],
        "wins": int((differences > 0).sum()),
        "ties": int((differences == 0).sum()),
        "losses": int((differences < 0).sum()),
        "difference": {"mean": float(differences.mean()), "interval": between(differences)},
        "count": test.count,
        "p": test.p,
        "p_normal": test.p_normal,
        "p_listeners": signed_rank(scores.by_listener(differences) / scores.by_listener(np.ones(len(differences)))).p,
    }


# As tables


def tables(result: Mapping[str, Any]) -> list[Cells]:
    """The figures of `summarise` in the shape of the paper's Tables 2 and 3."""
    listeners, groups = result["listeners"], result["groups"]
    of = f"{groups} group{'s' * (groups != 1)} by {listeners} listener{'s' * (listeners != 1)}"
    rows = []
    for name, found in result["systems"].items():
        cells = [f"{found[criterion]['mean']:.2f} ± {found[criterion]['sd']:.2f}" for criterion in CRITERIA]
        rows.append([name, *cells, f"{found['preference']['value']:.2f}{_range(found['preference']['interval'])}"])
    scored = (f"Scores from 1 to 10, mean ± sd: {of}", ["system", *NAMES, "preferred (90 %)"], rows)
    rows = []
    for pair in result["pairs"]:
        difference = pair["difference"]
        p = [_p(pair[kind]) for kind in ("p", "p_holm", "p_listeners")]
        counts = [str(pair[kind]) for kind in ("wins", "ties", "losses")]
        moved = f"{difference['mean']:+.2f}{_range(difference['interval'], '+.2f')}"
        rows.append([f"{pair['system']} vs {pair['against']}", *counts, moved, *p])
    columns = ["overall", "wins", "ties", "losses", "difference (90 %)", "p", "p (Holm)", "p (listeners)"]
    return [scored, ("Pairs: overall scores, Wilcoxon's signed-rank test", columns, rows)]


def _range(between: Sequence[float] | None, form: str = ".2f") -> str:
    return "" if between is None else f" ({between[0]:{form}} to {between[1]:{form}})"


def _p(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"
