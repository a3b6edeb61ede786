import math

import numpy as np
import pytest
import scipy.stats
from evalsig.inference.mde import mde, required_n
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.errors import ConfigError
from ftjobs.evals.statistics import detectable, needed, paired

SHARES = st.floats(0.01, 1)


@pytest.mark.parametrize(("n", "points"), [(50, 17), (100, 12.4), (200, 8.8), (500, 5.6)])
def test_a_fifth_in_disagreement(n: int, points: float) -> None:
    found = detectable(n, disagreement=0.2)
    assert found is not None
    assert 100 * found == pytest.approx(points, abs=0.5 if n == 50 else 0.05)


def test_a_thousand_rows_show_four_points() -> None:
    assert detectable(1000, disagreement=0.2) == pytest.approx(0.04, abs=0.0005)
    assert needed(0.04, disagreement=0.2) == pytest.approx(1000, rel=0.03)


@pytest.mark.parametrize(("n", "share"), [(50, 0.2), (80, 0.5), (400, 0.1)])
def test_connors_equation_holds(n: int, share: float) -> None:
    d = detectable(n, disagreement=share)
    assert d is not None
    z = scipy.stats.norm.ppf(0.975) * math.sqrt(share)
    z += scipy.stats.norm.ppf(0.8) * math.sqrt(share - d**2)
    assert (z / d) ** 2 == pytest.approx(n, rel=1e-9)


@pytest.mark.parametrize(("n", "share"), [(100, 0.2), (500, 0.2), (200, 0.5)])
def test_the_difference_is_found_about_as_often_as_promised(n: int, share: float) -> None:
    """The exact power of the exact test, over all numbers of rows that differ."""
    d = detectable(n, disagreement=share)
    assert d is not None
    power = 0.0
    for differing in range(1, n + 1):
        counts = np.arange(differing + 1)
        tail = scipy.stats.binom.cdf(np.minimum(counts, differing - counts), differing, 0.5)
        chances = scipy.stats.binom.pmf(counts, differing, (share + d) / (2 * share))
        power += scipy.stats.binom.pmf(differing, n, share) * chances[2 * tail <= 0.05].sum()
    assert 0.75 < power < 0.81


@pytest.mark.parametrize("n", [6, 15, 30, 100])
def test_the_power_of_the_t_test_is_that_of_the_noncentral_t(n: int) -> None:
    d = detectable(n, sd=2.0)
    assert d is not None
    edge = scipy.stats.t.ppf(0.975, n - 1)
    power = scipy.stats.nct.sf(edge, n - 1, d / (2.0 / math.sqrt(n)))
    assert power == pytest.approx(0.8, abs=0.02)


def test_many_rows_agree_with_evalsig() -> None:
    theirs = mde(0.4, 100_000)
    assert detectable(100_000, sd=0.4) == pytest.approx(theirs.mde, rel=1e-4)
    assert needed(0.004, sd=0.4) == pytest.approx(required_n(0.004, 0.4), rel=1e-3)


def test_a_difference_is_at_most_the_disagreement_that_makes_it() -> None:
    found = detectable(15, disagreement=0.05)
    assert found is not None
    assert found > 0.4
    assert found == detectable(15, disagreement=0.0)


def test_too_few_rows_show_nothing() -> None:
    assert detectable(1, disagreement=1.0) is None
    assert detectable(0, disagreement=0.2) is None
    assert detectable(1, sd=1.0) is None


def test_five_rows_show_nothing_since_no_exact_test_rejects_on_them() -> None:
    assert paired([0.0] * 5, [1.0] * 5, kind="binary").p > 0.05
    assert detectable(5, disagreement=1.0) is None
    assert detectable(5, sd=0.1) is None
    assert paired([0.0] * 6, [1.0] * 6, kind="binary").p < 0.05
    assert detectable(6, disagreement=1.0) is not None
    assert detectable(6, sd=0.1, alpha=0.01) is None


@given(SHARES, st.integers(8, 3000), st.floats(0.55, 0.95))
def test_more_rows_show_more(share: float, n: int, power: float) -> None:
    few = detectable(n, disagreement=share, power=power)
    many = detectable(2 * n, disagreement=share, power=power)
    assert few is not None
    assert many is not None
    assert 0 < many < few <= 1


@given(st.floats(0.02, 0.9), SHARES)
def test_needed_is_the_fewest_that_show_it(difference: float, share: float) -> None:
    n = needed(difference, disagreement=share)
    found = detectable(n, disagreement=share)
    assert found is not None
    assert found <= difference
    fewer = detectable(n - 1, disagreement=share)
    assert fewer is None or fewer > difference


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "give either"),
        ({"disagreement": 0.2, "sd": 1.0}, "give either"),
        ({"disagreement": 1.2}, "disagreement is 1.2"),
        ({"disagreement": math.nan}, "disagreement is nan"),
        ({"sd": -1.0}, "sd is -1.0"),
        ({"sd": 1.0, "power": 1.0}, "power is 1.0"),
        ({"sd": 1.0, "alpha": 0.0}, "alpha is 0.0"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        detectable(100, **arguments)


@pytest.mark.parametrize("difference", [0.0, -0.1, math.inf, math.nan])
def test_only_a_positive_difference_can_be_needed(difference: float) -> None:
    with pytest.raises(ConfigError, match="positive number"):
        needed(difference, sd=1.0)


def test_what_no_set_can_show_is_said() -> None:
    with pytest.raises(ConfigError, match="no set of prompts is large enough"):
        needed(1e-9, sd=1.0)
