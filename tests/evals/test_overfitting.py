"""What sets show side by side: false alarms above all."""

from __future__ import annotations

import numpy as np

from ftjobs.evals.overfitting import findings
from ftjobs.evals.result import Contrast, Mean
from ftjobs.evals.statistics import paired

NAMES = tuple(f"grader-{number}" for number in range(8))


def contrast(
    name: str, gains: np.ndarray, clusters: list[int] | None = None, grader: str = "exact"
) -> Contrast:
    """The contrast of an arm that gained so much on each row of a set."""
    binary = bool(np.isin(gains, (-1, 0, 1)).all())
    effect = paired(
        np.maximum(-gains, 0).tolist(),
        np.maximum(gains, 0).tolist(),
        kind="binary" if binary else "continuous",
        clusters=clusters,
    )
    fields = {
        field: getattr(effect, field) for field in Contrast.model_fields if hasattr(effect, field)
    }
    some = Mean(value=0.5, se=0.1, n=effect.n)
    return Contrast(
        grader=grader,
        kind="binary" if binary else "continuous",
        arm="tuned",
        baseline="base",
        set=name,
        means=(some, some),
        **fields,
    )


def test_rows_of_one_cluster_do_not_make_a_model_recite() -> None:
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(200):
        sets = {name: np.repeat(rng.normal(0, 0.2, 8), 6) for name in ("train", "")}
        documents = np.repeat(np.arange(8), 6).tolist()
        found = findings([contrast(name, x, documents) for name, x in sets.items()], 0.95)
        alarms += any("recites" in sentence for sentence in found)
    assert alarms <= 10  # 0.05 of them; two sets of 48 rows each would be 0.2 and more


def test_three_rows_that_are_alike_do_not_make_a_model_recite() -> None:
    sure, mixed = np.ones(3), np.array([1, 0] * 5)
    assert not findings([contrast("train", sure), contrast("", mixed)], 0.95)


def test_a_model_that_recites_is_told_by_how_much() -> None:
    train, other = np.ones(100), np.array([1, 0, 0, 0, -1] * 20)
    (found,) = findings([contrast("train", train), contrast("", other)], 0.95)
    assert found == (
        "tuned recites: by exact it gains more on the set train than on the prompts, "
        "+100.0 points (95 % CI 86.3 to 112.5)"
    )


def test_a_gain_that_only_one_set_could_score_says_nothing() -> None:
    assert not findings([contrast("train", np.ones(100))], 0.95)


def test_arms_that_are_equally_good_are_best_together() -> None:
    good, fair = contrast("", np.ones(9)), contrast("", np.array([1, 0, 0] * 3))
    arms = [
        each.model_copy(update={"arm": arm})
        for arm, each in zip("abc", (fair, good, good), strict=True)
    ]
    (found,) = findings(arms, 0.95)
    assert found.startswith("b and c are best of 3 arms by exact, +100.0 points; the choice was")
    assert findings(arms[:2], 0.95)[0].startswith("b is best of 2 arms")
    assert findings(arms[1:], 0.95) == ["the 2 arms are equally good by exact, +100.0 points"]


def test_many_graders_do_not_add_up_to_a_warning() -> None:
    rng = np.random.default_rng(1)
    forgotten = recited = 0
    for _ in range(200):
        drawn = {
            (name, grader): rng.choice([-1, 0, 1], 60)
            for name in ("", "general", "train")
            for grader in NAMES
        }
        found = findings([contrast(s, x, grader=g) for (s, g), x in drawn.items()], 0.95)
        forgotten += any("has lost" in sentence for sentence in found)
        recited += any("recites" in sentence for sentence in found)
    assert forgotten <= 10  # one grader's warning would be given in 0.025, eight in 0.18
    assert recited <= 10
