"""Sets side by side: does the tuned model recite, has it forgotten, which checkpoint is best?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist

from ftjobs.evals.figures import told
from ftjobs.evals.result import Contrast

__all__ = ["findings"]

TRAIN = "train"
"""The set of examples that the model was trained on, by name."""


def findings(contrasts: Sequence[Contrast], confidence: float) -> list[str]:
    """Sentences about what the sets show together."""
    return [
        *_recitals(contrasts, confidence),
        *_forgetting(contrasts, confidence),
        *_best(contrasts),
    ]


def _recitals(contrasts: Sequence[Contrast], confidence: float) -> Iterator[str]:
    """Arms whose gain over the baseline is larger on what they were trained on.

    The baseline's own scores say how much easier one set is than the other, so that gains are
    compared, not scores.  The interval of their gap comes from those of the gains, which hold on
    few rows and in clusters (Zou & Donner 2008, "Construction of confidence limits about effect
    measures: a general approach").
    """
    own = {(each.grader, each.arm): each for each in contrasts if each.set == ""}
    trained = [each for each in contrasts if each.set == TRAIN and each.means]
    pairs = [(each, own[key]) for each in trained if (key := (each.grader, each.arm)) in own]
    for train, other in pairs:
        gap = train.difference - other.difference
        below = math.hypot(train.difference - train.low, other.high - other.difference)
        above = math.hypot(train.high - train.difference, other.difference - other.low)
        if gap > below * _wider(confidence, len(pairs)):
            ends = {"difference": gap, "low": gap - below, "high": gap + above}
            numbers = told(train.model_copy(update=ends))
            yield (
                f"{train.arm} recites: by {train.grader} it gains more on the set train than "
                f"on the prompts, {numbers.whole} ({numbers.interval(confidence)})"
            )


def _forgetting(contrasts: Sequence[Contrast], confidence: float) -> Iterator[str]:
    others = [each for each in contrasts if each.set not in ("", TRAIN)]
    for each in others:
        room = each.high - each.difference
        if each.difference + room * _wider(confidence, len(others)) < 0:
            numbers = told(each)
            yield (
                f"{each.arm} has lost on the set {each.set}: by {each.grader} "
                f"{numbers.whole} ({numbers.interval(confidence)})"
            )


def _wider(confidence: float, looks: int) -> float:
    """By how much an interval grows so that so many together miss as seldom as one (Bonferroni).

    Else one set in several, by one grader of several, warns of a model that is fine.
    """
    tail = (1 - confidence) / 2
    return NormalDist().inv_cdf(tail / looks) / NormalDist().inv_cdf(tail)


def _best(contrasts: Sequence[Contrast]) -> Iterator[str]:
    """Which of several arms is best by the first grader."""
    own = [each for each in contrasts if each.set == ""]
    first = [each for each in own if each.grader == own[0].grader]
    if len(first) < 2:
        return
    highest = max(each.difference for each in first)
    best = [each for each in first if each.difference == highest]
    found = f"by {best[0].grader}, {told(best[0]).whole}"
    if len(best) == len(first):
        yield f"the {len(first)} arms are equally good {found}"
    else:
        names = " and ".join(each.arm for each in best)
        yield (
            f"{names} {'is' if len(best) == 1 else 'are'} best of {len(first)} arms {found}; "
            "the choice was made on the prompts that are scored, which flatters the chosen"
        )
