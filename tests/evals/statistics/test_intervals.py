import itertools
import math

import numpy as np
import pytest
import scipy.stats
from evalsig.inference.paired import paired_t_test
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.evals.statistics.intervals import (
    Interval,
    bca,
    bonett_price,
    joined,
    standard_error,
    student_t,
)
from ftjobs.evals.statistics.quantiles import student

SCORES = st.lists(st.integers(-20, 20).map(lambda n: n / 20), min_size=2, max_size=40)
CONFIDENCES = st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99])


def skewed(n: int) -> np.ndarray:
    return np.random.default_rng(n).exponential(1, n) - 0.5


def coverage(n: int, ahead: float, behind: float) -> float:
    """The exact share of Bonett-Price intervals that hold the truth: no draws, all tables."""
    total = 0.0
    for wins, losses in itertools.product(range(n + 1), repeat=2):
        if wins + losses <= n:
            ends = bonett_price(wins, losses, n, 0.95)
            if ends.low - 1e-12 <= ahead - behind <= ends.high + 1e-12:
                counts, shares = [wins, losses, n - wins - losses], [ahead, behind]
                total += scipy.stats.multinomial.pmf(counts, n, [*shares, 1 - sum(shares)])
    return total


def test_bonett_price_by_hand() -> None:
    # 9 wins, 3 losses of 40: shares 10/42 and 4/42, difference 6/42.
    half = 1.959963984540054 * math.sqrt((14 / 42 - (6 / 42) ** 2) / 42)
    ends = bonett_price(9, 3, 40, 0.95)
    assert ends == pytest.approx((6 / 42 - half, 6 / 42 + half), abs=1e-9)


def test_bonett_price_is_wald_of_one_more_win_and_loss() -> None:
    rows = np.array([1.0] * 10 + [-1.0] * 4 + [0.0] * 28)
    wald = scipy.stats.norm.interval(0.9, rows.mean(), rows.std() / math.sqrt(len(rows)))
    assert bonett_price(9, 3, 40, 0.9) == pytest.approx(wald, abs=1e-9)


@pytest.mark.parametrize("n", [15, 30])
@pytest.mark.parametrize(
    ("ahead", "behind"), [(0.15, 0.05), (0.25, 0.15), (0.3, 0.0), (0.5, 0.3), (0.55, 0.45)]
)
def test_bonett_price_covers_as_it_says(n: int, ahead: float, behind: float) -> None:
    assert 0.93 <= coverage(n, ahead, behind) <= 0.995


@given(st.integers(1, 300), st.data(), CONFIDENCES)
def test_bonett_price_mirrors_holds_the_difference_and_stays_in_range(
    n: int, data: st.DataObject, confidence: float
) -> None:
    wins = data.draw(st.integers(0, n))
    losses = data.draw(st.integers(0, n - wins))
    ends = bonett_price(wins, losses, n, confidence)
    other = bonett_price(losses, wins, n, confidence)
    assert ends == pytest.approx((-other.high, -other.low), abs=1e-12)
    assert -1 <= ends.low <= (wins - losses) / n <= ends.high <= 1
    assert ends.high > ends.low


@pytest.mark.parametrize("n", [2, 15, 200])
def test_t_is_that_of_scipy_and_evalsig(n: int) -> None:
    values = skewed(n)
    ends = student_t(values, float(values.mean()), 0.95)
    low, high = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert ends == pytest.approx((low, high), rel=1e-9, abs=1e-9)
    theirs = paired_t_test(np.zeros(n), values).ci
    assert ends == pytest.approx(theirs, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("n", [10, 15, 30, 100])
@pytest.mark.parametrize("shape", ["normal", "exponential", "lognormal", "uniform"])
@pytest.mark.parametrize(("confidence", "tolerance"), [(0.8, 0.02), (0.95, 0.05)])
def test_bca_is_that_of_scipy_to_monte_carlo_error(
    n: int, shape: str, confidence: float, tolerance: float
) -> None:
    values = getattr(np.random.default_rng(n), shape)(size=n)
    ends = bca(values, float(values.mean()), confidence)
    z = student(0.5 + confidence / 2, n - 1) * math.sqrt(n / (n - 1))
    low, high = scipy.stats.bootstrap(
        (values,),
        np.mean,
        confidence_level=2 * scipy.stats.norm.cdf(z) - 1,
        n_resamples=20_000,
        batch=5_000,
        rng=1,
    ).confidence_interval
    assert ends == pytest.approx((low, high), abs=tolerance * (high - low))


def test_bca_leans_to_the_long_tail() -> None:
    values = skewed(30)
    centre = float(values.mean())
    ends = bca(values, centre, 0.95)
    assert ends.high - centre > 1.2 * (centre - ends.low)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30), CONFIDENCES)
def test_bca_stays_within_the_values_and_mirrors(values: list[float], confidence: float) -> None:
    array = np.array(values)
    ends = bca(array, float(array.mean()), confidence)
    other = bca(-array, float(-array.mean()), confidence)
    assert ends == pytest.approx((-other.high, -other.low), abs=1e-9)
    assert min(values) - 1e-9 <= ends.low <= ends.high <= max(values) + 1e-9


@given(SCORES, st.integers(-5, 5), CONFIDENCES)
def test_bca_moves_and_stretches_with_the_values(
    values: list[float], by: int, confidence: float
) -> None:
    array = np.array(values)
    ends = bca(array, float(array.mean()), confidence)
    moved = 3 * array + by
    expected = (3 * ends.low + by, 3 * ends.high + by)
    assert bca(moved, float(moved.mean()), confidence) == pytest.approx(expected, abs=1e-6)


def test_one_value_shows_no_spread() -> None:
    one = np.array([0.3])
    assert student_t(one, 0.3, 0.95) == bca(one, 0.3, 0.95) == (0.3, 0.3)
    assert standard_error(one, 0.3) == 0


def test_equal_values_leave_what_was_made_up_alone() -> None:
    none = joined(np.zeros(15), 0.0, 0, 1.0, 0.95)
    assert none.low == pytest.approx(-none.high)
    assert 0.15 < none.high < 0.25  # as 15 rows without a difference: 3 / 15 by the rule of three
    many = joined(np.full(15, 0.1), 0.1, 15, 1.0, 0.95)
    assert many == pytest.approx((0.1, 0.1), abs=0.03)


def test_made_up_values_vanish_as_more_rows_differ() -> None:
    values = np.random.default_rng(1).normal(0.1, 1, 25)
    centre = float(values.mean())
    ends = joined(values, centre, 25, 1.0, 0.95)
    plain = student_t(values, centre, 0.95).around(bca(values, centre, 0.95))
    assert ends == pytest.approx(plain, abs=0.03)


@given(SCORES, CONFIDENCES)
def test_the_joined_interval_holds_its_parts(values: list[float], confidence: float) -> None:
    array = np.array(values)
    centre, differing = float(array.mean()), int((array != 0).sum())
    ends = joined(array, centre, differing, 1.0, confidence)
    for part in (student_t(array, centre, confidence), bca(array, centre, confidence)):
        assert ends.low <= part.low <= part.high <= ends.high


def test_intervals_are_cut_at_what_a_difference_can_be() -> None:
    assert Interval(-1.4, 0.5).within(1) == (-1, 0.5)
    assert Interval(0.1, 0.2).around(0.0, Interval(0.1, 0.4)) == (0.0, 0.4)
