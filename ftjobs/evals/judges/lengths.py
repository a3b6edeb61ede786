"""Whether a judge prefers length.

That the longer answer wins does not prove it: longer answers may be better, and one model may both
be better and write more.  So the same model is looked at where its answer was the longer one and
where it was the shorter one, and what cannot be told apart is said to be so.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import StatisticsError, correlation

from ftjobs.evals.judges.choices import Choice, Share, difference
from ftjobs.evals.result import Bias, Row

__all__ = ["length_bias", "rank_correlation"]

ENOUGH = 10
"""Choices where an arm's answer is the longer one, and where it is the shorter, from which on the
two can be compared."""

NEARLY_ALL = 0.9
"""A share from which on a judge is named for it."""


def length_bias(
    rows: Sequence[Row], made: Sequence[Choice], grader: str, *, confidence: float = 0.95
) -> Bias | None:
    """What the lengths of the answers have to do with what the judge made of them.

    `made` are its choices.  None where nothing can be said.
    """
    apart = [choice for choice in made if choice.lengths[0] != choice.lengths[1]]
    correlated = _correlated(rows, grader)
    if not apart and not correlated:
        return None
    if not apart:
        return Bias(grader=grader, kind="length", sentence=correlated)
    longer = Share(sum(c.arm_won == c.arm_longer for c in apart), len(apart), confidence)
    low, high = longer.interval
    verb = "scored higher in" if correlated else "won"
    sentence, warning = _told(longer, apart, verb, "pairs" if correlated else "choices")
    return Bias(
        grader=grader,
        kind="length",
        rate=longer.rate,
        low=low,
        high=high,
        n=longer.n,
        warning=warning,
        sentence=f"{sentence} {correlated}".rstrip(),
    )


def _told(longer: Share, apart: Sequence[Choice], verb: str, noun: str) -> tuple[str, bool]:
    """(sentence, whether it is a warning)."""
    low, high = longer.interval
    if low <= 0.5 <= high:
        return f"The longer answer {verb} {longer} {noun} ({longer.bounds}): no preference.", False
    side = "longer" if low > 0.5 else "shorter"
    won = longer if low > 0.5 else Share(longer.n - longer.won, longer.n, longer.confidence)
    found = f"{verb} {won} {noun} ({won.bounds})"
    named = f"This judge prefers the {side} answer: it {found}"
    with_longer, with_shorter = _strata(apart, longer.confidence)
    if min(with_longer.n, with_shorter.n) < ENOUGH:
        start = named if won.rate >= NEARLY_ALL else f"The {side} answer {found}"
        return f"{start}.{_inseparable(with_longer, with_shorter)}", True
    gap = difference(with_longer, with_shorter)
    if gap[0] <= 0 <= gap[1]:
        return _by_model(f"The {side} answer {found}", with_longer, with_shorter), False
    if won.rate >= NEARLY_ALL:
        return f"{named}, whichever model wrote it.", True
    return (
        f"The {side} answer {found}, and one model's answers did better where they were the {side} "
        f"ones: this judge may prefer the {side} answer, or it may be the better one here.",
        True,
    )


def _strata(apart: Sequence[Choice], confidence: float) -> tuple[Share, Share]:
    """How often the arms won with the longer answer, and with the shorter one."""
    with_longer = [choice.arm_won for choice in apart if choice.arm_longer]
    with_shorter = [choice.arm_won for choice in apart if not choice.arm_longer]
    return (
        Share(sum(with_longer), len(with_longer), confidence),
        Share(sum(with_shorter), len(with_shorter), confidence),
    )


def _inseparable(with_longer: Share, with_shorter: Share) -> str:
    fewer = min(with_longer.n, with_shorter.n)
    if fewer >= (1 - NEARLY_ALL) * (with_longer.n + with_shorter.n):
        return " There are too few to tell a preference for it from better answers."
    whose = "the baseline's" if fewer == with_longer.n else "not the baseline's"
    return (
        f" The longer one was nearly always {whose}, so that a preference for it cannot be told"
        " from a better model."
    )


def _by_model(start: str, with_longer: Share, with_shorter: Share) -> str:
    return (
        f"{start}, but against the baseline the longer answer won {with_longer} times and the"
        f" shorter one {with_shorter}: that speaks for the model rather than for the length."
    )


def _correlated(rows: Sequence[Row], grader: str) -> str:
    """How scores go with lengths over all answers; "" where nothing was scored."""
    pairs = [
        (len(answer.text), mark.score)
        for row in rows
        for arm, marks in row.marks.get(grader, {}).items()
        for answer, mark in zip(row.answers.get(arm, ()), marks, strict=False)
        if mark.score is not None
    ]
    if not pairs:
        return ""
    rho = rank_correlation([size for size, _ in pairs], [score for _, score in pairs])
    if rho is None:
        return f"All {len(pairs):,} answers have the same length or score."
    return f"Over {len(pairs):,} answers, Spearman's ρ of length and score is {rho:.2f}."


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Spearman's ρ, ties at their middle rank; None for fewer than two, or where nothing varies."""
    try:
        return correlation(_ranks(one), _ranks(other))
    except StatisticsError:
        return None


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(values)
    first: dict[float, int] = {}
    last: dict[float, int] = {}
    for place, value in enumerate(order):
        first.setdefault(value, place)
        last[value] = place
    return [(first[value] + last[value]) / 2 for value in values]
