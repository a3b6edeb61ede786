"""Requests a minute, each of a key or an address."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from ftjobs.server.guard.hosts import address_of

__all__ = ["Rates", "origin_of"]

MOST = 10_000
"""Callers that are remembered; the one that was silent longest is forgotten first."""


class Rates:
    """Token buckets: a minute's worth at once, refilled evenly.

    Args:
        per_minute: of one caller.
        now: seconds that only grow.
    """

    def __init__(self, per_minute: int, *, now: Callable[[], float] = time.monotonic) -> None:
        self._per_minute, self._now = per_minute, now
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> float:
        """0 where the caller may go on, else the seconds after which they may."""
        now = self._now()
        left, then = self._buckets.pop(caller, (float(self._per_minute), now))
        each = 60 / self._per_minute
        left = min(self._per_minute, left + (now - then) / each)
        wait = max(0.0, 1 - left) * each
        self._buckets[caller] = (left if wait else left - 1, now)
        if len(self._buckets) > MOST:
            self._buckets.popitem(last=False)
        return wait


def origin_of(address: str) -> str:
    """Where an address belongs: of IPv6, a household has 2**64."""
    found = address_of(address)
    if found is None or found.version == 4:
        return address
    return str(found.ipv4_mapped or found.exploded[:19])
