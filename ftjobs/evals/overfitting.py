"""Sets side by side: does the tuned model recite, has it forgotten, which checkpoint is best?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist

from ftjobs.evals.figures import told
from ftjobs.evals.result import Contrast, Row

__all__ = ["findings"]

TRAIN = "train"
"""The set of examples that the model was trained on, by name."""


def findings(rows: Sequence[Row], contrasts: Sequence[Contrast], confidence: float) -> list[str]:
    """Sentences about what the sets show together."""
    return [
        *_recitals(rows, contrasts, confidence),
        *_forgetting(contrasts, confidence),
        *_best(contrasts),
    ]


def _recitals(
    rows: Sequence[Row], contrasts: Sequence[Contrast], confidence: float
) -> Iterator[str]:
    """Arms whose gain over the baseline is larger on what they were trained on.

    The baseline's own scores say how much easier one set is than the other, so that gains are
    compared, not scores.  The two sets are independent: Welch's interval, by the normal quantile.
    """
    from ftjobs.evals.statistics import mean

    for trained in (each for each in contrasts if each.set == TRAIN and each.means):
        gains = _gains(rows, trained, TRAIN), _gains(rows, trained, "")
        if min(map(len, gains)) < 2:
            continue
        train, other = (mean(gain) for gain in gains)
        gap = train.value - other.value
        quantile = NormalDist().inv_cdf(0.5 + confidence / 2)
        half = quantile * math.hypot(train.se or 0.0, other.se or 0.0)
        if gap > half:
            numbers = told(
                trained.model_copy(
                    update={"difference": gap, "low": gap - half, "high": gap + half}
                )
            )
            yield (
                f"{trained.arm} recites: by {trained.grader} it gains more on the set train than "
                f"on the prompts, {numbers.whole} ({numbers.interval(confidence)})"
            )


def _gains(rows: Sequence[Row], contrast: Contrast, name: str) -> list[float]:
    pairs = [
        (row.score(contrast.grader, contrast.arm), row.score(contrast.grader, contrast.baseline))
        for row in rows
        if row.set == name
    ]
    return [mine - other for mine, other in pairs if mine is not None and other is not None]


def _forgetting(contrasts: Sequence[Contrast], confidence: float) -> Iterator[str]:
    for each in contrasts:
        if each.set not in ("", TRAIN) and each.high < 0:
            numbers = told(each)
            yield (
                f"{each.arm} has lost on the set {each.set}: by {each.grader} "
                f"{numbers.whole} ({numbers.interval(confidence)})"
            )


def _best(contrasts: Sequence[Contrast]) -> Iterator[str]:
    """Which of several arms is best by the first grader."""
    own = [each for each in contrasts if each.set == ""]
    first = [each for each in own if each.grader == own[0].grader]
    if len(first) > 1:
        best = max(first, key=lambda each: each.difference)
        yield (
            f"{best.arm} is best of {len(first)} arms by {best.grader}, {told(best).whole}; "
            "it was chosen on the prompts that it is scored on, so that this flatters it"
        )
