import itertools
import math
import time
import tracemalloc
from dataclasses import asdict, replace

import numpy as np
import pytest
import scipy.stats
from evalci.stats import cluster_ci
from evalsig.inference.cluster_bootstrap import cluster_bootstrap_ci
from evalsig.inference.mcnemar import mcnemar_test
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.errors import ConfigError
from ftjobs.evals.result import Gate
from ftjobs.evals.statistics import Effect, decide, mean, paired, preference
from ftjobs.evals.statistics.clusters import freedom, numbered, pseudo_values

BINARY = st.lists(st.tuples(*[st.sampled_from([0.0, 1.0])] * 2), min_size=1, max_size=40)
NUMBERS = st.integers(-50, 50).map(lambda n: n / 10)
PAIRS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=30)
UNIT = st.integers(0, 10).map(lambda n: n / 10)


def mirrored(effect: Effect) -> Effect:
    beside = effect.t_interval
    return replace(
        effect,
        difference=-effect.difference,
        low=-effect.high,
        high=-effect.low,
        t_interval=beside and (-beside[1], -beside[0]),
        wins=effect.losses,
        losses=effect.wins,
    )


def same(one: Effect, other: Effect) -> bool:
    return asdict(one) == {
        name: pytest.approx(value, abs=1e-8) if isinstance(value, float | tuple) else value
        for name, value in asdict(other).items()
    }


def test_right_or_wrong_gets_mcnemar_and_bonett_price() -> None:
    baseline = [1.0] * 3 + [0.0] * 9 + [1.0] * 20 + [0.0] * 8
    arm = [0.0] * 3 + [1.0] * 9 + [1.0] * 20 + [0.0] * 8
    effect = paired(baseline, arm, kind="binary")
    theirs = mcnemar_test(np.array(baseline), np.array(arm))
    assert (effect.test, effect.interval) == ("exact McNemar", "Bonett-Price")
    assert effect.p == pytest.approx(theirs.p_value, abs=1e-9)
    assert effect.difference == pytest.approx(theirs.delta, abs=1e-9)
    assert (effect.wins, effect.ties, effect.losses, effect.n) == (9, 28, 3, 40)
    assert effect.detectable == pytest.approx(0.2355, abs=1e-4)  # 30 % of 40 rows differ
    assert effect.t_interval is None


def test_choices_are_counted_without_the_ties() -> None:
    effect = preference([1.0] * 9 + [0.0] * 3 + [0.5] * 28)
    assert effect.test == "sign test"
    assert effect.p == pytest.approx(scipy.stats.binomtest(9, 12).pvalue, abs=1e-9)
    assert effect.difference == pytest.approx(0.575 - 0.5)
    assert (effect.wins, effect.ties, effect.losses) == (9, 28, 3)
    binary = paired([0.0] * 9 + [1.0] * 31, [1.0] * 9 + [0.0] * 3 + [1.0] * 28, kind="binary")
    assert (effect.low, effect.high) == (binary.low / 2, binary.high / 2)


def test_means_of_samples_are_measured_not_counted() -> None:
    effect = paired([1 / 3] * 20, [2 / 3, 1 / 3] * 10, kind="binary")
    assert (effect.test, effect.interval) == ("sign-flip", "t and BCa bootstrap")
    assert preference([0.75, 0.5, 1.0]).test == "sign-flip"


def test_other_scores_get_the_paired_t_beside() -> None:
    rng = np.random.default_rng(1)
    baseline, arm = rng.normal(0, 1, 30), rng.normal(0.4, 1, 30)
    effect = paired(baseline.tolist(), arm.tolist(), kind="continuous")
    theirs = scipy.stats.ttest_rel(arm, baseline)
    assert effect.t_interval == pytest.approx(tuple(theirs.confidence_interval()), abs=1e-9)
    assert effect.p == pytest.approx(theirs.pvalue, abs=0.02)
    assert effect.t_interval is not None
    assert effect.low <= effect.t_interval[0] < effect.t_interval[1] <= effect.high


@given(BINARY)
def test_swapped_arms_mirror_counts(rows: list[tuple[float, float]]) -> None:
    baseline, arm = zip(*rows, strict=True)
    effect = paired(baseline, arm, kind="binary")
    assert same(paired(arm, baseline, kind="binary"), mirrored(effect))
    assert effect.low <= effect.difference <= effect.high
    assert effect.wins + effect.ties + effect.losses == effect.n


@given(PAIRS, st.booleans())
def test_swapped_arms_mirror_measures(rows: list[tuple[float, float]], grouped: bool) -> None:
    baseline, arm = zip(*rows, strict=True)
    groups = [str(place // 3) for place in range(len(rows))] if grouped else None
    effect = paired(baseline, arm, kind="continuous", clusters=groups, resamples=199)
    other = paired(arm, baseline, kind="continuous", clusters=groups, resamples=199)
    assert same(other, mirrored(effect))
    assert effect.low <= effect.difference <= effect.high
    assert 0 < effect.p <= 1
    assert all(map(math.isfinite, (effect.low, effect.high)))


@given(PAIRS)
def test_more_confidence_never_narrows(rows: list[tuple[float, float]]) -> None:
    baseline, arm = zip(*rows, strict=True)
    ends = []
    for confidence in (0.5, 0.9, 0.95, 0.999):
        found = paired(baseline, arm, kind="continuous", confidence=confidence, resamples=9)
        ends.append((found.low, found.high))
    for (low, high), (lower, higher) in itertools.pairwise(ends):
        assert lower <= low + 1e-9
        assert high <= higher + 1e-9


@given(PAIRS, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(rows, random) -> None:  # type: ignore[no-untyped-def]
    labelled = [(*row, str(place // 2)) for place, row in enumerate(rows)]
    effects = []
    for order in (labelled, random.sample(labelled, len(labelled))):
        baseline, arm, groups = zip(*order, strict=True)
        effects.append(paired(baseline, arm, kind="continuous", clusters=groups, resamples=199))
    assert same(*effects)


@given(st.lists(UNIT, min_size=1, max_size=30))
def test_a_win_rate_stays_a_rate(scores: list[float]) -> None:
    effect = preference(scores, resamples=199)
    assert -0.5 <= effect.low <= effect.difference <= effect.high <= 0.5
    assert same(preference([1 - score for score in scores], resamples=199), mirrored(effect))


@given(st.lists(st.tuples(UNIT, UNIT), min_size=1, max_size=30))
def test_bounded_scores_have_bounded_differences(rows: list[tuple[float, float]]) -> None:
    baseline, arm = zip(*rows, strict=True)
    effect = paired(baseline, arm, kind="continuous", resamples=199)
    assert -1 <= effect.low <= effect.high <= 1


@given(PAIRS, st.sampled_from([1e-100, 0.5, 1e90]))
def test_the_unit_of_scores_scales_the_interval(
    rows: list[tuple[float, float]], unit: float
) -> None:
    baseline, arm = (10 + np.array(column) for column in zip(*rows, strict=True))
    effect = paired(baseline.tolist(), arm.tolist(), kind="continuous", resamples=199)
    scaled = paired(
        (unit * 100 * baseline).tolist(),
        (unit * 100 * arm).tolist(),
        kind="continuous",
        resamples=199,
    )
    if (unit * 100 * baseline).max() > 1 and (unit * 100 * arm).max() > 1:
        expected = (100 * effect.low, 100 * effect.high)
        assert (scaled.low / unit, scaled.high / unit) == pytest.approx(expected, abs=1e-5)
    assert scaled.p == effect.p


def test_clusters_of_equal_size_are_their_means() -> None:
    rng = np.random.default_rng(2)
    d = rng.normal(0.2, 1, (12, 4)) + rng.normal(0, 1, (12, 1))
    groups = np.repeat(np.arange(12), 4).tolist()
    effect = paired([0.0] * 48, d.ravel().tolist(), kind="continuous", clusters=groups)
    alone = paired([0.0] * 12, d.mean(axis=1).tolist(), kind="continuous")
    assert (effect.low, effect.high) == pytest.approx((alone.low, alone.high), abs=1e-9)
    assert effect.p == alone.p
    assert (effect.n, effect.clusters, alone.clusters) == (48, 12, None)
    assert effect.detectable == pytest.approx(alone.detectable, abs=1e-9)


def test_clusters_agree_with_the_cluster_bootstraps_of_evalsig_and_evalci() -> None:
    rng = np.random.default_rng(3)
    d = rng.normal(0.2, 1, (200, 3)) + rng.normal(0, 1, (200, 1))
    groups = np.repeat(np.arange(200), 3)
    effect = paired([0.0] * 600, d.ravel().tolist(), kind="continuous", clusters=groups.tolist())
    width = effect.high - effect.low
    theirs = cluster_bootstrap_ci(np.zeros(600), d.ravel(), groups, n_resamples=2000, rng=1).ci
    assert (effect.low, effect.high) == pytest.approx(theirs, abs=0.06 * width)
    evalcis = cluster_ci(d.ravel(), groups, n_resamples=2000, random_state=1)
    ends = (evalcis.lower, evalcis.upper)
    assert (effect.low, effect.high) == pytest.approx(ends, abs=0.06 * width)


@given(st.lists(st.integers(1, 6), min_size=2, max_size=12), st.integers(0, 2**32))
def test_the_error_of_clusters_is_the_sandwich_cr3(sizes: list[int], seed: int) -> None:
    """Against the matrices of Bell & McCaffrey (2002) for a regression on a constant."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    y = np.random.default_rng(seed).normal(3, 1, len(groups))
    x = np.ones((len(y), 1))
    bread = np.linalg.inv(x.T @ x)
    residual = y - x[:, 0] * (bread @ x.T @ y)[0]
    meat = 0.0
    for group in range(len(sizes)):
        own = groups == group
        hat = x[own] @ bread @ x[own].T
        fixed = np.linalg.solve(np.eye(own.sum()) - hat, residual[own])
        meat += (x[own].T @ fixed)[0] ** 2
    scale = (len(sizes) - 1) / len(sizes)
    expected = math.sqrt(scale * bread[0, 0] ** 2 * meat)
    found = mean(y.tolist(), groups.tolist())
    assert found.se == pytest.approx(expected, rel=1e-9)
    assert found.value == pytest.approx(y.mean())


def test_the_error_of_a_mean_is_that_of_scipy() -> None:
    scores = np.random.default_rng(4).random(50)
    found = mean(scores.tolist())
    assert found.se == pytest.approx(scipy.stats.sem(scores), abs=1e-9)
    assert found.value == pytest.approx(scores.mean())
    assert found.n == 50
    assert mean([0.5]).se is None
    assert mean([0.5, 0.7], ["a", "a"]).se is None


def test_rows_without_a_cluster_stand_alone() -> None:
    assert numbered(["a", None, "a", None], 4) is not None
    found = numbered(["a", None, "a", None], 4)
    assert found is not None
    assert found.tolist() == [0, 1, 0, 2]
    assert numbered([None, None], 2) is None
    assert numbered(["a", "b"], 2) is None
    assert numbered([None, 0, 0], 3) is not None  # a cluster may be called 0


def test_pseudo_values_are_those_of_leaving_a_cluster_out() -> None:
    values, groups = np.array([1.0, 2.0, 4.0, 8.0, 16.0]), np.array([0, 0, 1, 2, 2])
    found = pseudo_values(values, groups)
    left = [values[groups != group].mean() for group in range(3)]
    assert found == pytest.approx([3 * values.mean() - 2 * one for one in left])


@pytest.mark.parametrize(
    ("sizes", "df"), [([4] * 12, 11), ([1, 1, 10], 1), ([2, 4, 6, 8], 2), ([9], 1)]
)
def test_uneven_clusters_count_as_fewer_even_ones(sizes: list[int], df: int) -> None:
    assert freedom(np.repeat(np.arange(len(sizes)), sizes), sum(sizes)) == df


def test_rows_alone_have_one_degree_of_freedom_less() -> None:
    assert [freedom(None, rows) for rows in (1, 2, 30)] == [1, 1, 29]


def test_clusters_of_one_row_each_are_no_clusters() -> None:
    baseline, arm = [0.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]
    alone = paired(baseline, arm, kind="binary")
    assert paired(baseline, arm, kind="binary", clusters=["a", "b", "c", None]) == alone


def test_clusters_that_agree_widen_the_interval() -> None:
    baseline, arm = [0.0] * 40, [1.0] * 8 + [0.0] * 32
    alone = paired(baseline, arm, kind="binary")
    groups = [place // 8 for place in range(40)]
    effect = paired(baseline, arm, kind="binary", clusters=groups)
    assert alone.low > 0 > effect.low
    assert alone.p < 0.05 < effect.p
    assert effect.clusters == 5


@pytest.mark.parametrize("n", range(2, 16))
@pytest.mark.parametrize("kind", ["binary", "continuous"])
def test_the_interval_is_never_surer_than_an_exact_test(n: int, kind: str) -> None:
    """However many of n rows are won: where p is above .05, nothing is proved."""
    for wins in range(n + 1):
        arm = [1.0] * wins + [0.0] * (n - wins)
        baseline = [1.0 - score for score in arm]
        effect = paired(baseline, arm, kind=kind)  # type: ignore[arg-type]
        if effect.p > 0.05:
            assert effect.low <= 0 <= effect.high


@pytest.mark.parametrize("n", [4, 6, 8, 10, 12, 15])
def test_choices_without_ties_cover_a_fair_coin(n: int) -> None:
    effects = [preference([1.0] * wins + [0.0] * (n - wins)) for wins in range(n + 1)]
    chances = scipy.stats.binom.pmf(np.arange(n + 1), n, 0.5)
    held = (c for c, e in zip(chances, effects, strict=True) if e.low <= 0 <= e.high)
    assert sum(held) >= 0.93


def test_few_clusters_cannot_reach_significance() -> None:
    groups = [place // 10 for place in range(50)]
    effect = paired([0.0] * 50, [1.0] * 50, kind="continuous", clusters=groups)
    assert effect.p == 2 / 2**5
    assert effect.low <= 0


@pytest.mark.parametrize("kind", ["binary", "continuous"])
def test_no_difference_at_all_is_not_certainty(kind: str) -> None:
    effect = paired([1.0] * 15, [1.0] * 15, kind=kind)  # type: ignore[arg-type]
    assert effect.difference == 0
    assert effect.low < -0.15 < 0.15 < effect.high
    assert effect.p == 1
    assert effect.detectable is None


def test_constant_scores_without_bounds_say_nothing_of_their_spread() -> None:
    effect = paired([-7.0] * 15, [-7.0] * 15, kind="continuous")
    assert effect.low < -1 < 1 < effect.high
    assert effect.p == 1


@pytest.mark.parametrize("clusters", ["", "aaa"])
@pytest.mark.parametrize("arm", [-3.2, -3.21])
def test_one_score_without_bounds_passes_no_gate(arm: float, clusters: str) -> None:
    rows = len(clusters) or 1
    effect = paired([-3.2] * rows, [arm] * rows, kind="continuous", clusters=clusters or None)
    for rule in ("better", "non-inferior"):
        assert decide(effect.low, effect.high, Gate(rule=rule, margin=0.1)) == "inconclusive"


@pytest.mark.parametrize(("baseline", "arm"), [(0.0, 1.0), (0.2, 0.9), (-4.0, -2.0), (1.0, 1.0)])
def test_one_row_proves_nothing(baseline: float, arm: float) -> None:
    effect = paired([baseline], [arm], kind="continuous")
    assert effect.low <= 0 <= effect.high
    assert effect.p == 1
    assert effect.t_interval is None


def test_one_cluster_proves_nothing() -> None:
    effect = paired([0.0] * 9, [1.0] * 9, kind="binary", clusters=["a"] * 9)
    assert (effect.low, effect.high, effect.p, effect.clusters) == (-1, 1, 1, 1)


def test_the_seed_moves_only_p() -> None:
    rng = np.random.default_rng(5)
    baseline, arm = rng.random(60).tolist(), rng.random(60).tolist()
    one, two = (paired(baseline, arm, kind="continuous", seed=seed) for seed in (1, 2))
    assert one.p != two.p
    assert replace(one, p=two.p) == two
    assert paired(baseline, arm, kind="continuous", seed=1) == one


@pytest.mark.parametrize(
    ("baseline", "arm", "more", "said"),
    [
        ([], [], {}, "no score of the baseline"),
        ([0.5], [], {}, "no score of the arm"),
        ([0.5, 0.2], [0.5], {}, "2 scores of the baseline, but 1 of the arm"),
        ([0.5, math.nan], [0.5, 0.2], {}, "score 2 of the baseline is nan"),
        ([0.5, 0.2], [math.inf, 0.2], {}, "score 1 of the arm is inf"),
        (["x"], [0.5], {}, "not a number"),
        ([1e308], [-1e308], {}, "too large"),
        ([0.5], [0.5], {"clusters": ["a", "b"]}, "1 rows have 2 clusters"),
        ([0.5], [0.5], {"confidence": 1.0}, "confidence is 1.0"),
        ([0.5], [0.5], {"resamples": 0}, "resamples is 0"),
        ([0.5], [1.5], {"kind": "binary"}, "not from 0 to 1"),
    ],
)
def test_what_cannot_be_compared_is_named(baseline, arm, more, said: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=said):
        paired(baseline, arm, **{"kind": "continuous", **more})


@pytest.mark.parametrize("scores", [[], [1.5], [-0.1], [math.nan]])
def test_what_is_no_preference_is_refused(scores: list[float]) -> None:
    with pytest.raises(ConfigError):
        preference(scores)


def test_a_mean_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing can be compared"):
        mean([])


def test_a_thousand_rows_take_less_than_a_second() -> None:
    rng = np.random.default_rng(6)
    baseline, arm = rng.random(1000).tolist(), rng.random(1000).tolist()
    began = time.process_time()
    paired(baseline, arm, kind="continuous")
    assert time.process_time() - began < 1


def test_a_hundred_thousand_rows_need_little_memory() -> None:
    rng = np.random.default_rng(7)
    baseline, arm = rng.random(100_000).tolist(), rng.random(100_000).tolist()
    tracemalloc.start()
    effect = paired(baseline, arm, kind="continuous", resamples=99)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150e6
    assert effect.low < 0 < effect.high
