"""The listening test's statistics, against numbers worked by hand and against the obvious, slow form."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from ritornello.errors import MusicError
from ritornello.evaluate.listening import CRITERIA, Scores, holm, preferred, signed_rank, summarise, tables
from ritornello.evaluate.tables import markdown

# One criterion is enough to see most things: the same score is given for all four
OVERALL = [  # three groups by listener 7, one by listener 2; systems a, b, c
    [8, 6, 8],
    [5, 7, 3],
    [9, 4, 2],
    [6, 6, 1],
]


def scored(overall: list[list[int]], listeners: list[int], systems: str = "abc") -> Scores:
    values = np.repeat(np.array(overall).reshape(-1, len(systems), 1), len(CRITERIA), axis=2)
    return Scores(tuple(systems), values, np.array(listeners))


def test_means_deviations_and_preference_worked_by_hand():
    found = summarise(scored(OVERALL, [7, 7, 7, 2]))
    assert (found["listeners"], found["groups"]) == (2, 4)
    a, b, c = (found["systems"][name] for name in "abc")
    assert a["overall"]["mean"] == 28 / 4
    assert a["overall"]["sd"] == pytest.approx(math.sqrt((1 + 4 + 4 + 1) / 4))  # around 7, by n = 4
    assert c["long_term"]["mean"] == 14 / 4
    # a shares the highest of groups 1 and 4 and has that of 3; b has that of 2 and shares 4; c shares 1
    assert [x["preference"]["value"] for x in (a, b, c)] == [3 / 4, 2 / 4, 1 / 4]


def test_pairs_worked_by_hand():
    found = summarise(scored(OVERALL, [7, 7, 7, 2]))
    (ab, ac, bc) = found["pairs"]
    assert [(pair["system"], pair["against"]) for pair in (ab, ac, bc)] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert (ab["wins"], ab["ties"], ab["losses"]) == (2, 1, 1)
    assert ab["difference"]["mean"] == (2 - 2 + 5 + 0) / 4
    # 2, -2, 5: ranks 1.5, 1.5, 3. Of the eight ways to sign them the rank sums are 0, 1.5, 1.5, 3, 3, 4.5, 4.5, 6, and
    # four of them are as far from 3 as 4.5 is, or farther from it: not 3 and 3, so 6 / 8
    assert ab["count"] == 3
    assert ab["p"] == pytest.approx(6 / 8)
    # 2, 7, 5 above zero: one of eight ways, on either side
    assert (ac["wins"], ac["ties"], ac["losses"], ac["p"]) == (3, 1, 0, pytest.approx(2 / 8))
    # -2, 4, 2, 5: ranks 1.5, 3, 1.5, 4. Sums as far from 5 as 8.5 is: 0, 1.5 (twice), and 10, 8.5 (twice)
    assert (bc["wins"], bc["ties"], bc["losses"], bc["p"]) == (3, 0, 1, pytest.approx(6 / 16))


def test_the_normal_approximation_worked_by_hand():
    # 12 groups: differences 1 x5, -1, 2 x3, -2, 0, 0. |1| six times: rank 3.5; |2| four times: rank 8.5. n = 10.
    found = signed_rank([1, 1, 1, 1, 1, -1, 2, 2, 2, -2, 0, 0])
    assert (found.count, found.above, found.below) == (10, 5 * 3.5 + 3 * 8.5, 3.5 + 8.5)
    variance = 10 * 11 * 21 / 24 - ((6**3 - 6) + (4**3 - 4)) / 48
    z = (12 - 10 * 11 / 4) / math.sqrt(variance)
    assert found.p_normal == pytest.approx(math.erfc(-z / math.sqrt(2)))


@pytest.mark.parametrize("seed", range(12))
def test_exact_p_is_that_of_every_way_to_sign_the_ranks(seed: int):
    rng = np.random.default_rng(seed)
    differences = rng.integers(-4, 6, size=rng.integers(1, 13))
    found = differences[differences != 0]
    if len(found) == 0:
        assert signed_rank(differences).p == 1
        return
    ranks = stats.rankdata(np.abs(found))
    centre = ranks.sum() / 2
    distance = abs(ranks[found > 0].sum() - centre)
    signs = np.array(list(product([0, 1], repeat=len(found))))
    assert signed_rank(differences).p == pytest.approx((np.abs(signs @ ranks - centre) >= distance - 1e-9).mean())


def test_exact_p_without_ties_is_that_of_the_tables():
    differences = [1, -2, 3, 4, -5, 6, 7, 8, 9, 10]
    exact = stats.wilcoxon(differences, method="exact")
    assert signed_rank(differences).p == pytest.approx(exact.pvalue)  # pyright: ignore[reportAttributeAccessIssue]
    assert signed_rank(range(1, 9)).p == pytest.approx(0.0078125)  # 2 / 2^8
    # Critical values of the printed tables, two-sided 0.05: W = 8 for n = 10 and W = 52 for n = 20 are the last below
    for n, critical in ((10, 8), (20, 52)):
        assert signed_rank(with_rank_sum(n, critical)).p <= 0.05 < signed_rank(with_rank_sum(n, critical + 1)).p


def with_rank_sum(n: int, below: int) -> list[int]:
    """1 ... n, signed so that the negative ones sum to `below`."""
    signed = []
    for rank in range(n, 0, -1):
        negative = rank <= below
        below -= rank * negative
        signed.append(-rank if negative else rank)
    assert below == 0
    return signed


def test_many_differences_take_the_normal_approximation_and_it_is_near():
    differences = np.random.default_rng(0).integers(-5, 6, size=260)
    many = signed_rank(differences)
    assert many.count > 200
    assert many.p == many.p_normal
    some = signed_rank(differences[:200])
    assert some.p != some.p_normal
    assert some.p == pytest.approx(some.p_normal, rel=0.02)


def test_no_difference_at_all_is_no_evidence():
    found = summarise(scored([[5, 5, 5]] * 4, [0, 1, 2, 3]))
    assert all((pair["ties"], pair["p"], pair["p_normal"]) == (4, 1, 1) for pair in found["pairs"])
    assert [found["systems"][name]["preference"]["value"] for name in "abc"] == [1, 1, 1]


def test_holm_worked_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_those_who_share_the_highest_each_win():
    assert preferred(np.array([[3, 3, 2], [1, 2, 9]])).tolist() == [[True, True, False], [False, False, True]]


def test_intervals_draw_listeners_not_groups():
    # Two listeners of 50 groups each who agree with themselves: as groups 100 numbers, as listeners two
    found = summarise(scored([[2, 5, 5]] * 50 + [[8, 5, 5]] * 50, [0] * 50 + [1] * 50))
    assert found["systems"]["a"]["overall"]["interval"] == [2.0, 8.0]
    assert summarise(scored([[2, 5, 5]] * 4, [3] * 4))["systems"]["a"]["overall"]["interval"] is None


def test_p_over_listeners_takes_each_listener_once():
    # Four listeners prefer a by 1, 2, 2 and 3 on average, in 2, 3, 1 and 2 groups: one of 2^4 ways, on either side
    overall = [[6, 5, 1], [6, 5, 1], [8, 5, 1], [6, 5, 1], [8, 5, 1], [7, 5, 1], [9, 5, 1], [7, 5, 1]]
    found = summarise(scored(overall, [0, 0, 1, 1, 1, 2, 3, 3]))
    assert found["pairs"][0]["p_listeners"] == pytest.approx(2 / 2**4)
    assert found["pairs"][0]["p"] == pytest.approx(2 / 2**8)


def test_one_system_against_the_others_alone_is_corrected_for_those_alone():
    found = summarise(scored(OVERALL, [7, 7, 7, 2]), ours="b")
    assert [(pair["system"], pair["against"]) for pair in found["pairs"]] == [("b", "a"), ("b", "c")]
    assert found["pairs"][1]["p_holm"] == pytest.approx(2 * 6 / 16)
    with pytest.raises(MusicError, match="no system d in this test; there are a, b, c"):
        summarise(scored(OVERALL, [7, 7, 7, 2]), ours="d")


def test_bad_scores_are_one_sentence():
    with pytest.raises(MusicError, match="a score of 11, where 1 to 10"):
        scored([[5, 5, 11]], [0])
    with pytest.raises(MusicError, match="shape"):
        scored([[5, 5, 5]], [0, 1])
    with pytest.raises(MusicError, match="no ballot yet"):
        summarise(scored([], []))


def paper_cells() -> list[tuple[float, float]]:
    """Mean and deviation of every cell of the paper's Table 2."""
    rows = """6.00 2.21 6.90 1.76 5.30 2.58 5.90 1.90
              6.10 2.19 7.40 1.81 6.26 2.78 6.44 2.01
              6.46 1.81 7.60 1.47 6.18 2.54 6.44 1.72
              6.06 1.99 6.92 2.03 5.78 2.64 6.30 1.84
              6.88 1.95 7.86 1.51 6.72 2.74 7.12 1.81"""
    numbers = [float(number) for number in rows.split()]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


@pytest.mark.parametrize(("less", "possible"), [(0, 20), (1, 19)])
def test_the_deviation_of_the_papers_table_divides_by_n(less: int, possible: int):
    """Fifty whole scores have a whole sum, and a whole sum of squares that is odd where the sum is."""
    count = 0
    for mean, sd in paper_cells():
        total = round(50 * mean)
        low, high = ((sd + e) ** 2 * (50 - less) + total**2 / 50 for e in (-0.005, 0.005))
        count += any((squares - total) % 2 == 0 for squares in range(math.ceil(low), math.floor(high) + 1))
    assert count == possible


def test_tables_have_the_papers_shape():
    result = summarise(scored(OVERALL, [7, 7, 7, 2]))
    text = markdown(tables(result))
    assert "| a | 7.00 ± 1.58 | 7.00 ± 1.58 | 7.00 ± 1.58 | 7.00 ± 1.58 | 0.75 (" in text
    assert "4 groups by 2 listeners" in text
    assert "| b vs c | 3 | 0 | 1 | +2.25 (" in text
    assert "0.3750 | 0.7500 | 0.5000 |" in text  # two listeners can never agree by less than a half
