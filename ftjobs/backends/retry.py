"""The one retry policy, and the only importer of tenacity.

What to retry on is a mandatory argument: whoever asks for a repeat must have thought about what
a repeat does.  Creating a job is never repeated; a repeat could be a second paid job.
"""

from __future__ import annotations

import time
from collections.abc import Callable
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

__all__ = ["PERMANENT", "TRANSIENT", "RetryPolicy"]

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


@dataclass(frozen=True)
class RetryPolicy:
    """How long to keep trying.  All times are in seconds.

    A `retry_after` above zero is waited for exactly.  Without one, the n-th wait is drawn
    evenly from `shortest` to `first` * 2**(n-1), at most `longest`: AWS's "full jitter"
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), with a floor.

    Attributes:
        total: a wait that would end later than this after the first attempt is not begun; the
            last error is raised at once.  A running attempt is not cut short.
        first: the widest first wait.
        longest: the widest later wait.
        shortest: the narrowest wait.
        sleep: waits.
        now: a clock that never goes back.
    """

    total: float = 60.0
    first: float = 1.0
    longest: float = 20.0
    shortest: float = 0.1
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic

    def call(self, attempt: Callable[[], T], *, on: tuple[type[BackendError], ...]) -> T:
        """Call `attempt` until it returns, fails for good, or time is up; then its last error."""
        deadline = self.now() + self.total
        return Retrying(
            retry=retry_if_exception(
                lambda error: isinstance(error, on) and not isinstance(error, PERMANENT)
            ),
            wait=self._wait,
            stop=lambda state: self.now() + state.upcoming_sleep > deadline,
            sleep=self.sleep,
            reraise=True,
        )(attempt)

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, BackendError) and error.retry_after and error.retry_after > 0:
            return error.retry_after
        backoff = wait_random_exponential(self.first, max=self.longest, min=self.shortest)
        return float(backoff(state))
