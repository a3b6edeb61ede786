"""Agreement beyond chance, and what votes say of an arm, against independent reckonings."""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.evals.agreement import CHOICES, Numbers, Tally, _kappa, agreement, chosen_by, tally
from ftjobs.evals.result import Comparison, Grading, Row, Winner
from ftjobs.evals.votes import Vote, comparison_id
from tests.evals.test_votes import comparison, row, vote

Pairs = list[tuple[Winner, Winner]]

choices = st.sampled_from(CHOICES)
pairs = st.lists(st.tuples(choices, choices), min_size=1, max_size=60)


def times(count: int, one: Winner, two: Winner) -> Pairs:
    return [(one, two)] * count


def bounds(found: Numbers | Tally) -> tuple[float, float]:
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


def table_of(pairs: Pairs) -> list[list[float]]:
    return [[float(pairs.count((one, two))) for two in CHOICES] for one in CHOICES]


def plain_kappa(table: Sequence[Sequence[float]]) -> float:
    """Cohen's definition, spelled out."""
    n = sum(sum(line) for line in table)
    agreed = sum(table[i][i] for i in range(3)) / n
    chance = sum(sum(table[i]) * sum(line[i] for line in table) for i in range(3)) / n**2
    return (agreed - chance) / (1 - chance)


def delta_method(table: Sequence[Sequence[float]]) -> float:
    """The standard error of kappa from its numerical gradient: var = (Σ p g² - (Σ p g)²) / n."""
    n = sum(sum(line) for line in table)
    step = 1e-6 * n
    mean = square = 0.0
    for i in range(3):
        for j in range(3):

            def moved(by: float, i: int = i, j: int = j) -> float:
                shifted = [list(line) for line in table]
                shifted[i][j] += by
                return plain_kappa(shifted)

            slope = (moved(step) - moved(-step)) / (2 * step) * n
            mean += table[i][j] / n * slope
            square += table[i][j] / n * slope**2
    return float(((square - mean**2) / n) ** 0.5)


def test_kappa_by_hand() -> None:
    """20 + 15 of 50 agree; chance agrees on 0.5 * 0.6 + 0.5 * 0.4 = 0.5: (0.7 - 0.5) / 0.5."""
    found = agreement(
        [
            *times(20, "arm", "arm"),
            *times(5, "arm", "baseline"),
            *times(10, "baseline", "arm"),
            *times(15, "baseline", "baseline"),
        ]
    )
    assert found.agreement == pytest.approx(0.7)
    assert found.kappa == pytest.approx(0.4)


@given(pairs)
def test_kappa_is_cohens_and_its_interval_holds_it(pairs: Pairs) -> None:
    found = agreement(pairs)
    assert found.agreement == sum(one == two for one, two in pairs) / len(pairs)
    assert found == pytest.approx(agreement([(two, one) for one, two in pairs]))
    if len(set(pairs)) == 1 and found.agreement == 1:
        assert (found.kappa, found.low, found.high) == (None, None, None)
        return
    assert found.kappa == pytest.approx(plain_kappa(table_of(pairs)))
    assert found.kappa is not None
    low, high = bounds(found)
    assert -1 <= low <= found.kappa <= high <= 1
    assert high - low > 0.05  # not even full agreement is certain


@given(pairs)
def test_the_standard_error_is_that_of_the_delta_method(pairs: Pairs) -> None:
    table = [[cell + 1 / 3 for cell in line] for line in table_of(pairs)]
    kappa, error = _kappa(table)
    assert kappa == pytest.approx(plain_kappa(table))
    assert error == pytest.approx(delta_method(table), rel=1e-4)


@pytest.mark.parametrize(("kappa", "n"), [(0.0, 30), (0.6, 30), (0.9, 15), (0.9, 100)])
def test_the_interval_covers_the_truth(kappa: float, n: int) -> None:
    """1,000 tables; as it stands, the error of Fleiss et al. covers 0.9 at n = 15 in 56 %."""
    draw = random.Random(7)

    def pair() -> tuple[Winner, Winner]:
        one, two = draw.choices(CHOICES, weights=(6, 3, 1), k=2)
        return (one, one) if draw.random() < kappa else (one, two)

    found = [agreement([pair() for _ in range(n)]) for _ in range(1000)]
    known = [bounds(each) for each in found if each.kappa is not None]
    assert 0.91 <= sum(low <= kappa <= high for low, high in known) / len(known) <= 0.99


def test_a_wider_interval_is_surer() -> None:
    pairs = times(9, "arm", "arm") + times(4, "baseline", "arm") + times(4, "tie", "tie")
    usual, surer = bounds(agreement(pairs)), bounds(agreement(pairs, 0.99))
    assert surer[0] < usual[0] < usual[1] <= surer[1]
    kappa, error = _kappa([[cell + 1 / 3 for cell in line] for line in table_of(pairs)])
    assert kappa is not None
    assert usual[0] == pytest.approx(kappa - NormalDist().inv_cdf(0.975) * error)


def test_nobody_agrees_on_nothing() -> None:
    assert agreement([]) == (None, None, None, None)


# --- whom a grader prefers -------------------------------------------------------------------


def judged(number: int, first: str | None, second: str | None, **more: Any) -> Row:
    given = {"arm_first": first, "baseline_first": second}
    return row(number, preferences={"judge": {"tuned": [given]}}, **more)


@pytest.mark.parametrize(
    ("first", "second", "winner"),
    [
        ("arm", "arm", "arm"),
        ("baseline", "baseline", "baseline"),
        ("arm", "baseline", "tie"),
        ("arm", None, None),
    ],
)
def test_a_judge_that_changes_with_the_seats_chose_neither(
    first: str, second: str | None, winner: str | None
) -> None:
    judge = Grading(name="judge", kind="preference")
    assert chosen_by(judge, judged(1, first, second), "tuned", "base") == winner
    assert chosen_by(judge, row(1), "tuned", "base") is None


@pytest.mark.parametrize(
    ("base", "tuned", "winner"),
    [(0, 1, "arm"), (0.5, 0.25, "baseline"), (-3.5, -3.5, "tie"), (None, 1, None), (1, None, None)],
)
def test_a_score_prefers_the_higher(
    base: float | None, tuned: float | None, winner: str | None
) -> None:
    marks = {"chrf": {"base": [{"score": base}], "tuned": [{"score": tuned}]}}
    grading = Grading(name="chrf", kind="continuous")
    assert chosen_by(grading, row(1, marks=marks), "tuned", "base") == winner
    assert chosen_by(grading, row(1), "tuned", "base") is None


# --- the tally -------------------------------------------------------------------------------


def judged_comparison(*rows: Row) -> Comparison:
    gradings = (Grading(name="judge", kind="preference"),)
    return comparison(*rows).model_copy(update={"graders": gradings})


def cast(one: Comparison, *choices: tuple[int, str, str]) -> list[Vote]:
    name = comparison_id(one)
    return [vote(number, winner, voter, comparison=name) for number, winner, voter in choices]


def test_a_tally_counts_rows_once_and_leaves_equal_answers_out() -> None:
    one = judged_comparison(
        judged(1, "arm", "arm"),
        judged(2, "arm", "baseline"),
        judged(3, "baseline", "baseline"),
        judged(4, "arm", "arm", base="same", tuned="same"),
        judged(5, "arm", "arm"),
    )
    votes = cast(
        one,
        *((1, "arm", "mika"), (2, "arm", "mika"), (3, "arm", "mika"), (4, "tie", "mika")),
        *((1, "arm", "ken"), (2, "baseline", "ken"), (3, "tie", "ken"), (9, "arm", "ken")),
        (3, "baseline", "mika"),
    )
    found = tally(one, [*votes, vote(5, comparison="other")], "tuned")
    assert found.voters == {"ken": 3, "mika": 3}
    assert (found.rows, found.of, found.equal) == (3, 4, 1)
    assert (found.wins, found.ties, found.losses) == (1, 1, 1)
    assert found.win_rate == pytest.approx((1 + 0.5 + 0.25) / 3)
    low, high = bounds(found)
    assert low < 0.5 < high
    assert [(a.voter, a.other, a.kind, a.n) for a in found.agreements] == [
        ("ken", "judge", "grader", 3),
        ("mika", "judge", "grader", 3),
        ("ken", "mika", "voter", 3),
    ]
    assert [a.agreement for a in found.agreements] == pytest.approx([1 / 3, 2 / 3, 1 / 3])


def test_rows_of_one_cluster_widen_the_interval() -> None:
    def low(cluster: bool) -> float:
        rows = [row(n, cluster=f"document {n % 4}" if cluster else None) for n in range(1, 41)]
        one = comparison(*rows)
        choices = [(n, "arm" if n % 4 else "baseline", "mika") for n in range(1, 41)]
        found = tally(one, cast(one, *choices), "tuned")
        assert found.win_rate == 0.75
        return bounds(found)[0]

    assert low(cluster=True) < low(cluster=False)


def test_without_a_vote_there_is_no_rate() -> None:
    found = tally(judged_comparison(judged(1, "arm", "arm")), [], "tuned")
    assert (found.rows, found.of, found.win_rate, found.agreements) == (0, 1, None, ())
