"""How many requests are under way at once: found by trying, as TCP finds its window."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ftjobs.errors import BackendError, RateLimitError

__all__ = ["Pace", "Turn"]

START = 20.0
SHRINK = 0.8  # per episode of refusals
NEAR = 0.95  # of the width that was refused last: below it, grow fast
FAST = 0.5  # of a request, for every one that went well: half as many again in a round
PROBE = 0.1  # the same from there on: services refuse at random too, far below their limit
TROUBLE = 5.0  # seconds without growth after a failure that is no refusal
SAID = 60.0  # seconds in which one announcement of a wait is enough
DEBOUNCE = 0.5  # seconds after a refusal in which others belong to the same episode

log = logging.getLogger("ftjobs")


class Turn:
    """A request that is under way, for one thread."""

    def __init__(self, pace: Pace, now: Callable[[], float]) -> None:
        self._pace = pace
        self._now = now
        self._sent = now()

    @property
    def seconds(self) -> float:
        """Since it was sent, or sent again."""
        return max(0.0, self._now() - self._sent)

    @contextmanager
    def rest(self, error: BackendError, news: str = "") -> Iterator[None]:
        """Inside the block it waits to be sent again; `news` is what there is to say of that.

        It keeps its place: what a service has asked to wait for must not be taken by another.
        """
        self._pace.met(error)
        self._pace.announce(news, error)
        try:
            yield
        finally:
            self._pace.rested()
        self._sent = self._now()


class Pace:
    """Admits as many requests at once as the service bears.  Thread-safe.

    The width doubles with every round that goes well until the first refusal.  A refusal (429)
    takes it to 0.8 of what it was; further ones of the same episode, which lasts as long as the
    service asks to wait, change nothing.  Then it grows fast to where it was refused, and from
    there by a tenth a round.  Other failures pause the growth.

    Args:
        most: the width is never more.
        start: the width at the beginning.
        now: a clock that never goes back, in seconds.
    """

    def __init__(
        self, most: int, *, start: float = START, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = max(1, most)
        self._width = min(start, float(self._most))
        self._ceiling = float("inf")  # what was refused last
        self._quiet_until = self._calm_until = self._said_until = float("-inf")
        self._under_way = 0
        self._resting = 0
        self._now = now
        self._free = threading.Condition()

    @property
    def width(self) -> int:
        """How many may be under way at once."""
        return max(1, int(self._width))

    @property
    def busy(self) -> int:
        """How many are under way and do not wait to be sent again."""
        with self._free:
            return self._under_way - self._resting

    @contextmanager
    def turn(self) -> Iterator[Turn]:
        """Wait for room; inside the block a request is under way."""
        self._enter()
        try:
            yield Turn(self, self._now)
        finally:
            self._leave()

    def went_well(self) -> None:
        """A request was answered."""
        with self._free:
            is_used = 2 * self._under_way > self._width  # else it says nothing about more
            if is_used and self._now() >= self._calm_until:
                self._width = min(float(self._most), self._width + self._growth())
                self._free.notify()

    def met(self, error: BackendError) -> None:
        """A request failed, and rests until it is sent again."""
        with self._free:
            self._resting += 1
            now = self._now()
            if not isinstance(error, RateLimitError):
                self._calm_until = now + TROUBLE
            elif now >= self._quiet_until:
                self._ceiling = self._width
                self._width = max(1.0, self._width * SHRINK)
                self._quiet_until = now + max(DEBOUNCE, error.retry_after or 0.0)

    def rested(self) -> None:
        """A request is sent again."""
        with self._free:
            self._resting -= 1

    def announce(self, news: str, error: BackendError) -> None:
        """Say why requests wait; one speaks for all that wait with it."""
        with self._free:
            if not news or self._now() < self._said_until:
                return
            self._said_until = self._now() + max(SAID, error.retry_after or 0.0)
        log.warning("%s", news)

    def _growth(self) -> float:
        if self._ceiling == float("inf"):
            return 1.0
        return FAST if self._width < NEAR * self._ceiling else PROBE

    def _enter(self) -> None:
        with self._free:
            while self._under_way >= self.width:
                self._free.wait()
            self._under_way += 1

    def _leave(self) -> None:
        with self._free:
            self._under_way -= 1
            self._free.notify()
