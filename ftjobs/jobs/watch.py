"""Watch: follow a job from outside until it ends, through every fault that can pass.

Watching is not owning: to stop watching, at any moment and in any way, leaves the job alone.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ftjobs.backends.base import Trainer
from ftjobs.backends.failures import hint as failure_hint
from ftjobs.errors import (
    BackendError,
    DeadlineError,
    JobCancelled,
    JobEndedError,
    JobFailed,
    RateLimitError,
    ServiceError,
    UnreachableError,
    WatchTimeout,
)
from ftjobs.jobs.watched import Clock, Watched, has_ended
from ftjobs.schema import Event, Job

__all__ = [
    "PASSING",
    "Doorbell",
    "Rhythm",
    "Tick",
    "check_all_succeeded",
    "check_succeeded",
    "events_of",
    "follow",
    "has_ended",
    "outcome",
    "timed_out",
]

PASSING = (UnreachableError, ServiceError, DeadlineError, RateLimitError)
"""Errors that may go away by themselves."""

SHORTEST, LONGEST = 1.0, 15.0  # seconds between two looks
SAFETY = 900.0  # seconds between two looks where a doorbell tells of changes
LONGEST_WAIT = 86400.0  # seconds that a service may ask to be left alone


@dataclass(frozen=True, slots=True)
class Tick:
    """One look at a job: its state, the events not seen before, or why neither could be read.

    `last` says that the job has ended and that nothing more will come of it.
    """

    job: Job
    events: tuple[Event, ...] = ()
    problem: BackendError | None = None
    last: bool = False


class Doorbell(Protocol):
    """Something that knows when a job has changed, such as a webhook's receiver."""

    def wait(self, seconds: float) -> None:
        """Return once a job has changed since the last wait, or after so many seconds."""
        ...


def follow(
    backend: Trainer,
    job: Job | str,
    *,
    timeout: float | None = None,
    after: str | None = None,
    doorbell: Doorbell | None = None,
    sleep: Callable[[float], None] = time.sleep,
    now: Clock = time.monotonic,
    wall: Clock = time.time,
    jitter: Callable[[], float] = random.random,
) -> Iterator[Tick]:
    """Look at a job again and again until it has ended and its last event was seen.

    Each event comes once, those of one look oldest first.  Faults that can pass are waited out
    for as long as asked, ever more patiently, once the job was seen or if a `Job` was given.
    After the end it looks on for `capabilities.events_lag` seconds, unless the job had ended
    long before, and then reads the whole list of events once more: none is lost.

    Args:
        backend: where the job runs.
        job: the job or its id.  A `Job` may be so new that the service does not find it yet.
        timeout: seconds; None follows for ever.
        after: the id of an event; only later ones are given.
        doorbell: tells of changes, so that looks in between can be rare.
        sleep: waits that many seconds.
        now: a clock that never goes back, in seconds.
        wall: the time of day, in Unix seconds.
        jitter: draws from 0 to 1, so that many watchers do not look all at once.

    Raises:
        WatchTimeout: the time is up and the job has not ended.
        BackendError: the job cannot be read at all, is gone, or may not be read.
    """
    watched = Watched(backend, job, after=after, now=now, wall=wall)
    rhythm = Rhythm(timeout, doorbell, sleep=sleep, now=now, jitter=jitter)
    while True:
        tick = _look(watched)
        yield tick
        if watched.done:
            return
        pause = rhythm.pause(tick.problem, moved=bool(tick.events), status=tick.job.status)
        if rhythm.rest(pause, tick.problem, last_events=watched.last_events):
            continue
        if not watched.ended:
            raise timed_out([tick.job], timeout, tick.problem)
        if tick.problem is None:
            watched.hurry()
            yield _look(watched)
        return


def _look(watched: Watched) -> Tick:
    try:
        watched.observe(watched.retrieve())
        assert watched.job is not None  # noqa: S101 - it was just observed
        return Tick(watched.job, watched.events(), last=watched.done)
    except PASSING as error:
        if watched.job is None:
            raise
        return Tick(watched.job, problem=error)


class Rhythm:
    """How long to rest between looks, and when to stop.

    The longer nothing happened, the longer the rest, from `SHORTEST` to `LONGEST`.  After a
    problem it doubles, and is never shorter than the service asked for (Retry-After).
    """

    def __init__(
        self,
        timeout: float | None,
        doorbell: Doorbell | None,
        *,
        sleep: Callable[[float], None],
        now: Clock,
        jitter: Callable[[], float],
    ) -> None:
        self._end = math.inf if timeout is None else now() + timeout
        self._doorbell = doorbell
        self._sleep, self._now, self._jitter = sleep, now, jitter
        self._moved = now()
        self._status = ""
        self._failures = 0

    def pause(self, problem: BackendError | None, *, moved: bool, status: str = "") -> float:
        """Seconds to rest after a look that met a problem, or saw something move or not."""
        if problem is not None:
            self._failures += 1
            patience = min(SHORTEST * 2.0 ** min(self._failures, 8), LONGEST)
            asked = min(problem.retry_after or 0.0, LONGEST_WAIT)
            return max(patience * (1 - self._jitter() / 2), asked)
        self._failures = 0
        if moved or status != self._status:
            self._moved, self._status = self._now(), status
        quiet = min(max(SHORTEST, (self._now() - self._moved) / 10), LONGEST)
        return quiet * (1 - self._jitter() / 10)

    def rest(
        self, pause: float, problem: BackendError | None, *, last_events: float | None
    ) -> bool:
        """Rest, and say whether to look again; False once the time is up.

        `last_events` is how long to wait for the last events of a job that has ended; while
        there is one, and after a problem, the doorbell is not relied on.
        """
        left = self._end - self._now()
        if left <= 0 or (problem is not None and pause > left):
            if left > 0:
                self._sleep(left)  # the service wants no look before the time is up
            return False
        if problem is not None:
            self._sleep(pause)
        elif last_events is None and self._doorbell is not None:
            self._doorbell.wait(min(SAFETY, left))
        else:
            due = math.inf if last_events is None else max(last_events, SHORTEST / 2)
            self._sleep(min(pause, left, due))
        return True


def events_of(ticks: Iterable[Tick]) -> Iterator[Event]:
    """The events of `follow`, one by one."""
    for tick in ticks:
        yield from tick.events


def outcome(ticks: Iterable[Tick]) -> Job:
    """The job at the end of `follow`, if it has succeeded.

    Raises:
        JobFailed: it ended otherwise; `error.job.error` says why.
        JobCancelled: it was cancelled.
        WatchTimeout: it has not ended in time.
    """
    job = None
    for tick in ticks:
        job = tick.job
    if job is None:
        raise ValueError("nothing was followed")
    return check_succeeded(job)


def check_succeeded(job: Job) -> Job:
    """`job` itself if it succeeded.  JobFailed or JobCancelled otherwise."""
    if job.status == "succeeded":
        return job
    if job.status == "cancelled":
        raise JobCancelled(f"job {job.id} was cancelled", job=job)
    error = job.error
    words = [] if error is None else [word for word in (error.code, error.message) if word]
    reason = ": ".join([f"job {job.id} ended as {job.status}", *words])
    raise JobFailed(reason, job=job, hint=failure_hint(error))


def check_all_succeeded(jobs: Sequence[Job]) -> None:
    """Nothing if all of several jobs that have ended succeeded.

    Raises:
        JobFailed: one at least ended otherwise; `error.job` is the first of them.
        JobCancelled: those that did not succeed were all cancelled.
    """
    others = [job for job in jobs if job.status != "succeeded"]
    if not others:
        return
    if len(jobs) == 1:
        check_succeeded(others[0])
    first = next((job for job in others if job.status != "cancelled"), others[0])
    kind: type[JobEndedError] = JobCancelled if first.status == "cancelled" else JobFailed
    named = ", ".join(f"{job.id} {job.status}" for job in others[:5])
    more = f", and {len(others) - 5} more" if len(others) > 5 else ""
    raise kind(f"{len(others)} of {len(jobs)} jobs did not succeed: {named}{more}", job=first)


def timed_out(
    running: Sequence[Job], timeout: float | None, problem: BackendError | None
) -> WatchTimeout:
    """The error that says which jobs still run after `timeout` seconds, as far as is known."""
    job = running[0]
    if len(running) == 1:
        message = f"job {job.id} is still {job.status} after {timeout:g} s"
    else:
        message = f"{len(running)} jobs still run after {timeout:g} s, among them {job.id}"
    if problem is not None:
        message += f", as last seen; there is no answer now: {problem.message}"
    return WatchTimeout(message, job=job, hint=f"Look again: ftjobs watch {job.id}")
