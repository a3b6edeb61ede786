"""The one retry policy, and the only importer of tenacity.

What to retry on is a mandatory argument: whoever asks for a repeat must have thought about what
a repeat does.  Creating a job is never repeated; a repeat could be a second paid job.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from ftjobs.errors import (
    AuthError,
    BackendError,
    DeadlineError,
    InvalidRequestError,
    NotFoundError,
    QuotaError,
    RateLimitError,
    ServiceError,
    UnreachableError,
)

__all__ = ["PERMANENT", "TRANSIENT", "RetryPolicy", "around_waits", "at_most"]

T = TypeVar("T")

TRANSIENT: tuple[type[BackendError], ...] = (
    RateLimitError,
    ServiceError,
    UnreachableError,
    DeadlineError,
)
"""What may be gone a moment later."""

PERMANENT: tuple[type[BackendError], ...] = (
    AuthError,
    QuotaError,
    InvalidRequestError,
    NotFoundError,
)
"""What a repeat cannot cure.  Never retried, even where `on` names a common ancestor."""

ANNOUNCED = 120.0
"""Every longer wait, in seconds, is announced before it begins."""

SILENT = 5.0
"""Seconds without an answer after which the first wait is announced, however short."""

log = logging.getLogger("ftjobs")

_most: ContextVar[float] = ContextVar("most", default=math.inf)


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Inside the block, in this thread, no policy goes on for longer than so many seconds.

    A wait that the service asks for and that would be longer is left to the caller.  For callers
    that come back by themselves, as watchers do: they can then say soon that there is no answer,
    and stop when they were told to.
    """
    token = _most.set(seconds)
    try:
        yield
    finally:
        _most.reset(token)


Enter = Callable[[BackendError, str], AbstractContextManager[None]]

_around: ContextVar[Enter | None] = ContextVar("around", default=None)


@contextmanager
def around_waits(enter: Enter) -> Iterator[None]:
    """Inside the block, in this thread, every wait is spent inside `enter(error, news)`.

    For callers that have many requests under way: they can send fewer.  Waits are theirs to
    announce, in the words of `news`; it is "" where none is due.
    """
    token = _around.set(enter)
    try:
        yield
    finally:
        _around.reset(token)


@dataclass(frozen=True)
class RetryPolicy:
    """How long to keep trying.  All times are in seconds.

    A wait that the service asks for (`retry_after`) is never cut short; one of more than
    `ANNOUNCED` is announced at once, as a warning of the logger `ftjobs`, and so is trying for
    longer than `SILENT`.  Without one, the n-th
    wait is drawn evenly from `shortest` to `first` * 2**(n-1), at most `longest`: AWS's "full
    jitter" (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), with a
    floor.

    Attributes:
        total: own waits and attempts together last no longer; a wait that would is not begun,
            and the last error is raised at once.  A running attempt is not cut short.
        asked: the same for the waits that the service asks for, added up.
        first: the widest first wait.
        longest: the widest later wait.
        shortest: the narrowest wait.
        sleep: waits.
        now: a clock that never goes back.
    """

    total: float = 60.0
    asked: float = 600.0
    first: float = 1.0
    longest: float = 20.0
    shortest: float = 0.1
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic

    def call(self, attempt: Callable[[], T], *, on: tuple[type[BackendError], ...]) -> T:
        """Call `attempt` until it returns, fails for good, or time is up; then its last error.

        An error whose `should_retry` is False has failed for good, whatever `on` says.
        """
        return _Trial(self, self.now(), on).run(attempt)


@dataclass
class _Trial:
    """One call and its repeats: when it began, and how much of its waiting was asked for."""

    policy: RetryPolicy
    began: float
    on: tuple[type[BackendError], ...]
    asked: float = 0.0
    has_spoken: bool = False
    error: BackendError | None = None
    news: str = ""

    def run(self, attempt: Callable[[], T]) -> T:
        return Retrying(
            retry=retry_if_exception(self._may_pass),
            wait=self._wait,
            stop=self._stop,
            before_sleep=self._announce,
            sleep=self._rest,
            reraise=True,
        )(attempt)

    def _may_pass(self, error: BaseException) -> bool:
        is_named = isinstance(error, self.on) and not isinstance(error, PERMANENT)
        return is_named and getattr(error, "should_retry", None) is not False

    def _wait(self, state: RetryCallState) -> float:
        policy = self.policy
        backoff = wait_random_exponential(policy.first, max=policy.longest, min=policy.shortest)
        return _asked(state) or float(backoff(state))

    def _stop(self, state: RetryCallState) -> bool:
        if self.policy.now() - self.began + state.upcoming_sleep > _most.get():
            return True
        if asked := _asked(state):
            return self.asked + asked > self.policy.asked
        own = self.policy.now() - self.began - self.asked
        return own + state.upcoming_sleep > self.policy.total

    def _rest(self, seconds: float) -> None:
        enter = _around.get()
        if enter is None or self.error is None:
            if self.news:
                log.warning("%s", self.news)
            self.policy.sleep(seconds)
            return
        with enter(self.error, self.news):
            self.policy.sleep(seconds)

    def _announce(self, state: RetryCallState) -> None:
        asked = _asked(state)
        self.asked += asked
        error = state.outcome.exception() if state.outcome else None
        self.error = error if isinstance(error, BackendError) else None
        words = error.message if isinstance(error, BackendError) else error
        waited = self.policy.now() - self.began
        is_news = waited + state.upcoming_sleep > SILENT and not self.has_spoken
        self.news = ""
        if asked > ANNOUNCED or (asked and is_news):
            self.news = f"{words}; asked to wait, going on in {asked:.0f} s"
        elif is_news:
            self.news = f"{words}; trying on for up to {self.policy.total - waited:.0f} s"
        self.has_spoken = self.has_spoken or is_news


def _asked(state: RetryCallState) -> float:
    """Seconds that the service asks for; 0 where it does not."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, BackendError) else None
    return max(0.0, asked or 0.0)
