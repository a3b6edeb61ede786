import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.evals.statistics.quantiles import normal, student

PROBABILITIES = (0.5, 0.5001, 0.6, 0.8, 0.975, 0.995, 0.9995, 0.999999, 0.025, 1e-6)


@pytest.mark.parametrize("df", [*range(1, 40), 99, 100, 999, 1000, 1001, 5000, 10**6])
def test_student_is_that_of_scipy(df: int) -> None:
    for p in PROBABILITIES:
        assert student(p, df) == pytest.approx(scipy.stats.t.ppf(p, df), rel=1e-9, abs=1e-9)


@given(st.floats(1e-6, 1 - 1e-6))
def test_normal_is_that_of_scipy(p: float) -> None:
    assert normal(p) == pytest.approx(scipy.stats.norm.ppf(p), rel=1e-9, abs=1e-9)


@given(st.floats(1e-6, 1 - 1e-6), st.integers(1, 2000))
def test_both_sides_of_student_mirror_each_other(p: float, df: int) -> None:
    assert student(p, df) == pytest.approx(-student(1 - p, df), rel=1e-6, abs=1e-9)
