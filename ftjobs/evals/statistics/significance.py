"""Two-sided tests of "no difference", and what several of them together allow to be said."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ftjobs.errors import ConfigError

__all__ = ["EXACT", "RESAMPLES", "holm", "sign_flip", "sign_test"]

RESAMPLES = 9_999
"""Draws of signs where not all can be tried: p-values are multiples of 1 / 10,000."""

EXACT = 16
"""Up to so many values that are not 0, each of the 2^n signs is tried."""

_AT_ONCE = 1 << 20
"""Sums of eight values that are held at once, 8 bytes each."""

_SIGNS = 2.0 * np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1) - 1
"""The 256 ways to give eight values signs."""


def sign_test(wins: int, losses: int) -> float:
    """The p-value of `wins` against `losses` if each were a fair coin's; ties do not count.

    Of binary scores it is the exact form of McNemar's test (McNemar 1947).
    """
    n, fewer = wins + losses, min(wins, losses)
    if 2 * fewer == n:
        return 1.0
    log_choose = math.lgamma(n + 1) - math.lgamma(fewer + 1) - math.lgamma(n - fewer + 1)
    k = np.arange(fewer, 0, -1)
    below = float(np.cumprod(k / (n - k + 1)).sum())  # the rarer splits, in units of this one
    return min(1.0, 2 * math.exp(log_choose - n * math.log(2)) * (1 + below))


def sign_flip(
    values: npt.NDArray[np.float64], *, seed: int = 0, resamples: int = RESAMPLES
) -> float:
    """The p-value of the sum of `values` if each sign were a fair coin's (Fisher 1935).

    All signs are tried for up to 16 values that are not 0.  Beyond, `resamples` are drawn, and
    the data count as one more, so that the test stays valid (Phipson & Smyth 2010).  The order of
    the values, and a sign common to all, change nothing.
    """
    sizes = np.sort(np.abs(values[values != 0]))
    if not sizes.size:
        return 1.0
    seen = abs(float((values / sizes[-1]).sum()))
    sizes /= sizes[-1]
    least = seen - 1e-10 * float(sizes.sum())  # sums that are equal but for rounding are equal
    if sizes.size <= EXACT:
        return float((np.abs(_all_sums(sizes)) >= least).mean())
    return (_count(sizes, least, seed, resamples) + 1) / (resamples + 1)


def _all_sums(sizes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The sums under one half of all signs, of which the other half is the mirror."""
    sums = sizes[:1]
    for size in sizes[1:]:
        sums = np.concatenate((sums - size, sums + size))
    return sums


def _count(sizes: npt.NDArray[np.float64], least: float, seed: int, resamples: int) -> int:
    """How many of `resamples` draws of the signs give a sum of at least `least` either way.

    A random byte signs eight values at once: their 256 sums are known beforehand.
    """
    eights = np.pad(sizes, (0, -sizes.size % 8)).reshape(-1, 8)
    sums = (eights @ _SIGNS.T).ravel()
    starts = 256 * np.arange(len(eights))
    rng = np.random.default_rng(seed)
    rows = max(1, _AT_ONCE // len(eights))
    count = 0
    for start in range(0, resamples, rows):
        shape = (min(rows, resamples - start), len(eights))
        picked = rng.integers(0, 256, shape, dtype=np.uint8)
        count += int((np.abs(sums[starts + picked].sum(axis=1)) >= least).sum())
    return count


def holm(ps: Sequence[float | None]) -> tuple[float | None, ...]:
    """p-values adjusted for their number by Holm's step-down method (Holm 1979).

    Where a comparison rejects all that are at most alpha, the chance of any false rejection is at
    most alpha.  None, a test that was not made, stays None and does not count.

    Raises:
        ConfigError: a p-value is not from 0 to 1.
    """
    made = sorted((p, place) for place, p in enumerate(ps) if p is not None)
    adjusted: list[float | None] = [None] * len(ps)
    highest = 0.0
    for rank, (p, place) in enumerate(made):
        if not 0 <= p <= 1:
            raise ConfigError(f"p-value {place + 1} is {p}: it lies from 0 to 1")
        highest = min(1.0, max(highest, p * (len(made) - rank)))
        adjusted[place] = highest
    return tuple(adjusted)
