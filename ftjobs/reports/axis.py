"""A scale with round marks."""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["Axis"]


class Axis(NamedTuple):
    """A scale from `low` to `high`; a difference of 1 is `size` of the unit shown."""

    low: float
    high: float
    size: float

    def at(self, value: float) -> float:
        """Where a value lies, from 0 to 100."""
        return 100 * (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Round values, at most about six, nought among them if it is in reach."""
        step = _round_step((self.high - self.low) * self.size / 5) / self.size
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * 0.999)
