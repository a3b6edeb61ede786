"""Intervals of a paired difference that hold on small sets; found by simulation, decision 0013."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ftjobs.evals.statistics.quantiles import normal, student

__all__ = ["EQUAL", "Interval", "bca", "bonett_price", "joined", "student_t"]

_Array = npt.NDArray[np.float64]

_STEEPEST = 50.0
"""Tilts of standardised values by more than this leave nothing but their extremes."""


EQUAL = 1e-12
"""Values that differ by less, in units of the largest, differ by rounding alone."""


class Interval(NamedTuple):
    """From `low` to `high`."""

    low: float
    high: float

    def around(self, *others: Interval | float) -> Interval:
        """The smallest interval that holds this one and the others, or numbers."""
        ends = [end for other in others for end in (other if isinstance(other, tuple) else [other])]
        return Interval(min(self.low, *ends), max(self.high, *ends))

    def within(self, reach: float) -> Interval:
        """It without what no difference can be."""
        return Interval(max(self.low, -reach), min(self.high, reach))


def bonett_price(wins: int, losses: int, n: int, confidence: float) -> Interval:
    """The difference of two paired shares, (wins - losses) / n (Bonett & Price 2012).

    One row more is won and one more is lost, which keeps the interval honest where few rows
    differ, and from having no width where none does.
    """
    won, lost = (wins + 1) / (n + 2), (losses + 1) / (n + 2)
    half = normal(0.5 + confidence / 2) * math.sqrt((won + lost - (won - lost) ** 2) / (n + 2))
    centre = won - lost
    return Interval(centre - half, centre + half).around((wins - losses) / n).within(1)


def student_t(values: _Array, centre: float, confidence: float, df: int | None = None) -> Interval:
    """`centre` and Student's t times its standard error; a point where there is one value.

    `df` are its degrees of freedom, by default one less than there are values.
    """
    if len(values) < 2:
        return Interval(centre, centre)
    t = student(0.5 + confidence / 2, df or len(values) - 1)
    half = t * standard_error(values, centre)
    return Interval(centre - half, centre + half)


def standard_error(values: _Array, centre: float) -> float:
    """Of their mean, the squares taken around `centre`; 0 for one value, which shows no spread."""
    n = len(values)
    return _spread(values, centre) / math.sqrt(n - 1) if n > 1 else 0.0


def _spread(values: _Array, centre: float) -> float:
    """The standard deviation, over n; 0 for what rounding alone sets apart."""
    spread = math.sqrt(float(((values - centre) ** 2).mean()))
    return spread if spread > EQUAL * float(np.abs(values).max()) else 0.0


def bca(values: _Array, centre: float, confidence: float, df: int | None = None) -> Interval:
    """The BCa bootstrap interval of the mean (Efron 1987), moved to `centre`.

    Nothing is drawn: the quantiles of the resampled mean come from its saddlepoint approximation
    (Davison & Hinkley 1988), so that no seed decides a verdict.  The percentiles are those of
    Student's t, not the normal's, and as wide as n / (n - 1) asks (Hesterberg 2015): resampling
    alone is too narrow on few values.
    """
    n, mean = len(values), float(values.mean())
    spread = _spread(values, mean)
    if n < 2 or spread == 0:
        return Interval(centre, centre)
    x = (values - mean) / spread
    bend = float((x**3).mean()) / (6 * math.sqrt(n))  # both bias and acceleration, for a mean
    edge = student(0.5 + confidence / 2, df or n - 1) * math.sqrt(n / (n - 1))
    z = np.array([-edge, edge])
    wanted = bend + (bend + z) / (1 - bend * (bend + z))
    low, high = (centre + spread * _resampled(x, wanted)).tolist()
    return Interval(low, high)


def _resampled(x: _Array, wanted: _Array) -> _Array:
    """Quantiles of the mean of a resample of `x`, at standard normal scores.

    `x` has mean 0 and variance 1.  Newton's method on the tilt, kept between bounds.
    """
    tilt = wanted / math.sqrt(len(x))
    low, high = np.full_like(tilt, -_STEEPEST), np.full_like(tilt, _STEEPEST)
    for _ in range(80):
        score, mean, slope = _tilted(x, tilt)
        low, high = np.where(score < wanted, tilt, low), np.where(score < wanted, high, tilt)
        step = tilt - (score - wanted) / slope
        step = np.where((step > low) & (step < high), step, (low + high) / 2)
        if np.abs(step - tilt).max() < 1e-10:
            break
        tilt = step
    return mean


def _tilted(x: _Array, tilt: _Array) -> tuple[_Array, _Array, _Array]:
    """(normal score of the mean under each tilt, that mean, slope of the score).

    The score is Barndorff-Nielsen's r* = r + log(u / r) / r.  Its correction is small where it
    means anything; it runs away only at the very ends, where one value is left, so it is bounded.
    """
    n = len(x)
    exponents = tilt[:, None] * x
    top = exponents.max(axis=1, keepdims=True)
    weights = np.exp(exponents - top)
    total = weights.sum(axis=1)
    mean = (weights @ x) / total
    variance = np.maximum((weights @ (x * x)) / total - mean**2, 1e-12)
    cumulant = np.log(total / n) + top[:, 0]
    r = np.sign(tilt) * np.sqrt(np.maximum(2 * n * (tilt * mean - cumulant), 0))
    slope = np.sqrt(n * variance)
    flat = np.abs(tilt) < 1e-3
    safe = np.where(flat, 1.0, r)
    bent = np.where(flat, float((x**3).mean()) / (6 * math.sqrt(n)), 0.0)
    bent = np.where(flat, bent, np.log(np.where(flat, 1.0, tilt * slope / safe)) / safe)
    return r + np.clip(bent, -0.5, 0.5), mean, slope


def joined(
    values: _Array,
    centre: float,
    differing: int,
    reach: float,
    confidence: float,
    df: int | None = None,
) -> Interval:
    """The interval of a mean of any numbers: t and BCa, whichever reaches further.

    Where few values differ from 0 neither holds, for what was not seen cannot be resampled.  So
    t is taken once more, with two values made up as Bonett & Price do, one to each side; they are
    `reach`, the largest that can be, while none differs, and half as large with each that does.
    """
    made_up = math.ldexp(reach, -differing)
    padded = np.append(values, [made_up, -made_up])
    return student_t(values, centre, confidence, df).around(
        bca(values, centre, confidence, df),
        student_t(padded, float(padded.mean()), confidence, df and df + 2),
    )
