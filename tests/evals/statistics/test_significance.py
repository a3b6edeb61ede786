import itertools
import tracemalloc

import numpy as np
import pytest
import scipy.stats
from evalci._correction import holm as evalci_holm
from evalci._significance import mcnemar_test, paired_permutation_p
from evalsig.inference.multiplicity import holm as evalsig_holm
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.errors import ConfigError
from ftjobs.evals.statistics import holm
from ftjobs.evals.statistics.significance import sign_flip, sign_test

VALUES = st.lists(st.integers(-30, 30).map(lambda n: n / 10), min_size=1, max_size=40)
PS = st.lists(st.floats(0, 1), max_size=12)


@given(st.integers(0, 400), st.integers(0, 400))
def test_the_sign_test_is_the_binomial_test_of_scipy(wins: int, losses: int) -> None:
    expected = scipy.stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert sign_test(wins, losses) == pytest.approx(expected, rel=1e-9)


def test_the_sign_test_of_a_hundred_thousand_rows() -> None:
    expected = scipy.stats.binomtest(49_500, 100_000).pvalue
    assert sign_test(49_500, 50_500) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (3, 9), (12, 1), (7, 7)])
def test_the_sign_test_is_the_exact_mcnemar_of_evalci(wins: int, losses: int) -> None:
    baseline = np.array([0] * wins + [1] * losses + [1, 0, 1])
    arm = np.array([1] * wins + [0] * losses + [1, 0, 1])
    expected = mcnemar_test(baseline, arm, exact=True)[0]
    assert sign_test(wins, losses) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("n", range(6, 40))
def test_the_sign_test_keeps_its_level_exactly(n: int) -> None:
    ps = [sign_test(wins, n - wins) for wins in range(n + 1)]
    chances = scipy.stats.binom.pmf(np.arange(n + 1), n, 0.5)
    assert sum(c for c, p in zip(chances, ps, strict=True) if p <= 0.05) <= 0.05


@given(st.lists(st.floats(-9, 9).map(lambda x: round(x, 3)), min_size=2, max_size=9))
def test_few_values_get_the_exact_permutation_p_of_scipy(values: list[float]) -> None:
    expected = scipy.stats.permutation_test(
        (np.array(values),), np.sum, permutation_type="samples", n_resamples=10**6
    ).pvalue
    assert sign_flip(np.array(values)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("n", [15, 16, 17, 60])
@pytest.mark.parametrize("shift", [0.0, 0.2, 0.5])
def test_many_values_get_the_p_of_scipy_and_evalci_to_monte_carlo_error(
    n: int, shift: float
) -> None:
    values = np.random.default_rng(n).normal(shift, 1, n)
    drawn = sign_flip(values, resamples=99_999)
    error = 4 * np.sqrt(drawn * (2 - drawn) / 20_000) + 1e-4  # scipy doubles one tail
    theirs = scipy.stats.permutation_test(
        (values,), np.sum, permutation_type="samples", n_resamples=20_000, rng=1
    ).pvalue
    assert drawn == pytest.approx(theirs, abs=error)
    evalcis = paired_permutation_p(values, 20_000, np.random.default_rng(2))
    assert drawn == pytest.approx(evalcis, abs=error)


def test_values_at_the_edge_of_enumeration_agree_with_draws() -> None:
    values = np.random.default_rng(3).normal(0.4, 1, 16)
    exact = sign_flip(values)
    drawn = sign_flip(np.append(values, 1e-12), resamples=99_999)  # one more: 17 are drawn
    assert drawn == pytest.approx(exact, abs=0.004)


@given(VALUES, st.randoms(use_true_random=False))
def test_order_sign_and_zeros_change_no_p(values: list[float], random) -> None:  # type: ignore[no-untyped-def]
    p = sign_flip(np.array(values), resamples=199)
    shuffled = random.sample(values, len(values))
    assert sign_flip(np.array(shuffled), resamples=199) == p
    assert sign_flip(-np.array(values), resamples=199) == p
    assert sign_flip(np.array([*values, 0.0, 0.0]), resamples=199) == p
    assert 0 < p <= 1


@given(VALUES, st.sampled_from([1e-200, 1e-3, 1e200]))
def test_the_unit_of_the_scores_changes_no_p(values: list[float], unit: float) -> None:
    array = np.array(values)
    assert sign_flip(array * unit, resamples=199) == sign_flip(array, resamples=199)


def test_the_seed_decides_the_draws_and_nothing_else_does() -> None:
    values = np.random.default_rng(4).normal(0.3, 1, 50)
    assert sign_flip(values, seed=5) == sign_flip(values, seed=5)
    assert len({sign_flip(values, seed=seed, resamples=999) for seed in range(5)}) > 1


def test_draws_never_give_a_p_of_nothing() -> None:
    assert sign_flip(np.ones(50), resamples=999) == 1 / 1000


def test_a_hundred_thousand_rows_need_little_memory() -> None:
    values = np.random.default_rng(6).normal(0, 1, 100_000)
    tracemalloc.start()
    sign_flip(values, resamples=500)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6


@given(PS)
def test_holm_is_that_of_evalci_and_evalsig(ps: list[float]) -> None:
    ours = np.array(holm(ps), dtype=float)
    assert ours == pytest.approx(np.asarray(evalci_holm(np.array(ps)), dtype=float), abs=1e-12)
    if ps:
        theirs = evalsig_holm(np.array(ps)).p_adjusted
        assert ours == pytest.approx(np.asarray(theirs, dtype=float), abs=1e-12)


@given(PS)
def test_holm_keeps_the_order_and_lowers_nothing(ps: list[float]) -> None:
    adjusted = holm(ps)
    for (p, q), (other, another) in itertools.pairwise(sorted(zip(ps, adjusted, strict=True))):
        assert p <= other
        assert q is not None
        assert another is not None
        assert p <= q <= another <= 1


def test_a_test_that_was_not_made_does_not_count() -> None:
    assert holm([0.01, None, 0.04]) == (0.02, None, 0.04)
    assert holm([]) == ()


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_what_is_no_probability_is_refused(p: float) -> None:
    with pytest.raises(ConfigError, match="p-value 2 is"):
        holm([0.5, p])
