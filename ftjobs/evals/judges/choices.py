"""What a judge chose, pair by pair, and how sure a share of such choices is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from ftjobs.evals.result import Mark, Preference, Row

__all__ = ["IDENTICAL", "Choice", "Share", "choices", "difference", "percent"]

IDENTICAL = "identical answers: a tie without asking"
"""The note of a preference that nobody was asked for."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A pair of answers of which one won.

    Attributes:
        arm: who stood against the baseline.
        arm_won: whether it won.
        lengths: of the (arm's, baseline's) text, in characters.
    """

    arm: str
    arm_won: bool
    lengths: tuple[int, int]

    @property
    def arm_longer(self) -> bool:
        """Whether the arm's answer is the longer one."""
        return self.lengths[0] > self.lengths[1]


@dataclass(frozen=True, slots=True)
class Share:
    """`won` of `n`, with Wilson's interval (Wilson 1927), which holds for few and for all.

    It is widened to one half where an exact test does not rule that out: of a fair coin, 4 of 4
    are no rarity, and by Wilson's interval alone up to 12 % of fair judges would be warned of.
    """

    won: int
    n: int
    confidence: float = 0.95

    @property
    def rate(self) -> float:
        """`won` as a fraction; 0 of none."""
        return self.won / self.n if self.n else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """(low, high); (0, 1) of none."""
        from ftjobs.evals.statistics.significance import sign_test

        if not self.n:
            return 0.0, 1.0
        z2 = NormalDist().inv_cdf(0.5 + self.confidence / 2) ** 2
        centre = (self.won + z2 / 2) / (self.n + z2)
        half = math.sqrt(z2 * (self.won * (self.n - self.won) / self.n + z2 / 4)) / (self.n + z2)
        low = 0.0 if self.won == 0 else centre - half
        high = 1.0 if self.won == self.n else centre + half
        if sign_test(self.won, self.n - self.won) > 1 - self.confidence:
            return min(low, 0.5), max(high, 0.5)
        return low, high

    def __str__(self) -> str:
        """Such as "68 % of 120"."""
        return f"{percent(self.rate)} % of {self.n:,}"

    @property
    def bounds(self) -> str:
        """The interval in words."""
        low, high = self.interval
        return f"{100 * self.confidence:g} % CI {100 * low:.1f} to {100 * high:.1f}"


def percent(rate: float) -> str:
    """A fraction in percent; what is not all or nothing is never rounded to it."""
    rounded = round(100 * rate)
    if 0 < rate < 1:
        rounded = min(max(rounded, 1), 99)
    return str(rounded)


def difference(one: Share, other: Share) -> tuple[float, float]:
    """The interval of the difference of two shares (Newcombe 1998, method 10)."""
    (low, high), (other_low, other_high) = one.interval, other.interval
    gap = one.rate - other.rate
    down = math.hypot(one.rate - low, other_high - other.rate)
    up = math.hypot(high - one.rate, other.rate - other_low)
    return gap - down, gap + up


def choices(rows: Sequence[Row], grader: str, baseline: str) -> Iterator[Choice]:
    """Every pair of an arm's and the baseline's answer of which one won.

    By a pairwise grader the one that won in both orders, by any other the one that scored higher.
    """
    for row in rows:
        for arm in row.answers:
            if arm != baseline and baseline in row.answers:
                yield from _choices(row, grader, arm, baseline)


def _choices(row: Row, grader: str, arm: str, baseline: str) -> Iterator[Choice]:
    pairs = zip(row.answers[arm], row.answers[baseline], strict=False)
    for (one, other), gap in zip(pairs, _gaps(row, grader, arm, baseline), strict=False):
        if gap:
            yield Choice(arm, gap > 0, (len(one.text), len(other.text)))


def _gaps(row: Row, grader: str, arm: str, baseline: str) -> Iterator[float]:
    """For each pair of answers, who is ahead: above 0 for the arm, 0 for a tie or no verdict."""
    if grader in row.preferences:
        for preference in row.preferences[grader].get(arm, ()):
            yield _lead(preference)
        return
    marks = row.marks.get(grader, {})
    for one, other in zip(marks.get(arm, ()), marks.get(baseline, ()), strict=False):
        yield _ahead(one, other)


def _lead(preference: Preference) -> float:
    return 0.0 if preference.score is None else preference.score - 0.5


def _ahead(one: Mark, other: Mark) -> float:
    return 0.0 if one.score is None or other.score is None else one.score - other.score
