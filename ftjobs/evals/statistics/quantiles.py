"""Quantiles of the normal and of Student's distribution, without scipy."""

from __future__ import annotations

import math
from functools import cache
from statistics import NormalDist

import numpy as np

__all__ = ["normal", "student"]

_STANDARD = NormalDist()
_MANY = 1000
"""Degrees of freedom from which Student's distribution is expanded around the normal one."""


def normal(p: float) -> float:
    """The value below which a standard normal variable lies with probability `p`."""
    return _STANDARD.inv_cdf(p)


@cache
def student(p: float, df: int) -> float:
    """The value below which Student's t with `df` degrees of freedom lies with probability `p`.

    To about 12 digits (Abramowitz & Stegun 1964, 26.7.3 to 26.7.5).
    """
    if p < 0.5:
        return -student(1 - p, df)
    if df > _MANY:
        return _expanded(normal(p), df)
    low, high = 0.0, math.pi / 2  # of the angle whose tangent is t / sqrt(df)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _between(middle, df) < 2 * p - 1 else (low, middle)
    return math.tan((low + high) / 2) * math.sqrt(df)


def _between(angle: float, df: int) -> float:
    """The probability of |t| <= tan(angle) * sqrt(df), a finite sum for a whole `df`."""
    square = math.cos(angle) ** 2
    j = np.arange(1, (df - 2) // 2 + 1 if df % 2 == 0 else (df - 3) // 2 + 1)
    factors = (2 * j - 1) / (2 * j) if df % 2 == 0 else 2 * j / (2 * j + 1)
    series = 1 + float(np.cumprod(factors * square).sum())
    if df % 2 == 0:
        return math.sin(angle) * series
    rest = math.sin(angle) * math.cos(angle) * series if df > 1 else 0.0
    return 2 / math.pi * (angle + rest)


def _expanded(z: float, df: int) -> float:
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / df**power for power, term in enumerate(terms, start=1))
