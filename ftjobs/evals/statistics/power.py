"""What a set of prompts can show, and how many it takes: known before anything is spent."""

from __future__ import annotations

import math
from statistics import NormalDist

from ftjobs.errors import ConfigError
from ftjobs.evals.statistics.quantiles import normal, student

__all__ = ["detectable", "needed"]


def detectable(
    n: int,
    *,
    disagreement: float | None = None,
    sd: float | None = None,
    power: float = 0.8,
    alpha: float = 0.05,
) -> float | None:
    """The smallest difference that `n` paired rows show with a chance of `power`.

    Exactly one of `disagreement` and `sd` is given.  Approximate: where it says .80, the exact
    tests find the difference with a chance of .75 to .81.

    Args:
        n: rows, or clusters of them.
        disagreement: the share of rows on which binary scores differ (Connor 1987).  A difference
            cannot be larger, so a larger one is found as if it were all the disagreement.
        sd: the standard deviation of the differences of other scores.
        power: the chance to find it.
        alpha: the chance to find something where there is nothing, two-sided.

    Returns:
        In the unit of the scores; None where no difference would be found, such as among five
        rows: even if the arm wins all, p is .0625.

    Raises:
        ConfigError: an argument is out of its range.
    """
    _check(power, alpha)
    can_show = n > 0 and 2.0 ** (1 - n) <= alpha
    if sd is not None and disagreement is None:
        spread = _not_negative(sd, "sd")
        return _by_spread(n, spread, power, alpha) if can_show else None
    if disagreement is not None and sd is None:
        if not 0 <= disagreement <= 1:
            raise ConfigError(f"disagreement is {disagreement}: it is a share, from 0 to 1")
        return _by_disagreement(n, disagreement, power, alpha) if can_show else None
    raise ConfigError("give either disagreement, for binary scores, or sd, for others")


def needed(
    difference: float,
    *,
    disagreement: float | None = None,
    sd: float | None = None,
    power: float = 0.8,
    alpha: float = 0.05,
) -> int:
    """The fewest rows for which `detectable` is at most `difference`; its arguments are the same.

    Raises:
        ConfigError: an argument is out of its range, or it would take more than 10^12 rows.
    """
    if not 0 < difference < math.inf:
        raise ConfigError(f"difference is {difference}: it is a positive number")

    def shows(n: int) -> bool:
        found = detectable(n, disagreement=disagreement, sd=sd, power=power, alpha=alpha)
        return found is not None and found <= difference

    high = 1
    while not shows(high):
        high *= 2
        if high > 10**12:
            raise ConfigError(f"no set of prompts is large enough to show {difference}")
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if shows(middle) else (middle, high)
    return high


def _by_spread(n: int, sd: float, power: float, alpha: float) -> float:
    return (student(1 - alpha / 2, n - 1) + student(power, n - 1)) * sd / math.sqrt(n)


def _by_disagreement(n: int, share: float, power: float, alpha: float) -> float | None:
    """The difference at which the power is reached, by bisection: it grows with the difference."""
    if _power(1.0, 1.0, n, alpha) < power:
        return None
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        enough = _power(middle, max(share, middle), n, alpha) >= power
        low, high = (low, middle) if enough else (middle, high)
    return high


def _power(difference: float, share: float, n: int, alpha: float) -> float:
    """The chance that McNemar's test finds `difference` among a `share` of rows that differ."""
    over = difference * math.sqrt(n) - normal(1 - alpha / 2) * math.sqrt(share)
    rest = math.sqrt(max(share - difference**2, 0.0))
    return NormalDist().cdf(over / rest) if rest else float(over >= 0)


def _not_negative(value: float, name: str) -> float:
    if not 0 <= value < math.inf:
        raise ConfigError(f"{name} is {value}: it is a number from 0")
    return value


def _check(power: float, alpha: float) -> None:
    for name, value in (("power", power), ("alpha", alpha)):
        if not 0 < value < 1:
            raise ConfigError(f"{name} is {value}: it lies between 0 and 1")
