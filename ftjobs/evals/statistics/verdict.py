"""From an interval to a word."""

from __future__ import annotations

import math
from typing import Literal

from ftjobs.errors import ConfigError
from ftjobs.evals.result import Gate

__all__ = ["bar", "decide"]


def bar(gate: Gate) -> float:
    """The difference that the whole interval has to lie above."""
    return gate.margin if gate.rule == "better" else -gate.margin


def decide(low: float, high: float, gate: Gate) -> Literal["pass", "fail", "inconclusive"]:
    """What the interval of a difference says about a gate.

    pass: all of it lies above the bar.  fail: all of it lies below.  inconclusive: the bar is
    inside, or on its edge; so an interval without width that lies on the bar decides nothing.

    Raises:
        ConfigError: `low` is above `high`, or one of them is no number.
    """
    if math.isnan(low) or math.isnan(high) or low > high:
        raise ConfigError(f"no interval goes from {low} to {high}")
    if low > bar(gate):
        return "pass"
    return "fail" if high < bar(gate) else "inconclusive"
