"""Watch: follow a job from outside until it ends, through every fault that can pass.

Watching is not owning: to stop watching, at any moment and in any way, leaves the job alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from ftjobs.backends.base import Trainer
from ftjobs.errors import (
    BackendError,
    DeadlineError,
    JobCancelled,
    JobFailed,
    RateLimitError,
    ServiceError,
    UnreachableError,
    WatchTimeout,
)
from ftjobs.schema import ENDED, Event, Job

PASSING = (UnreachableError, ServiceError, DeadlineError, RateLimitError)
"""Errors that may go away by themselves."""

KNOWN = ENDED | {"validating_files", "queued", "running", "pausing", "paused"}
SHORTEST, LONGEST = 1.0, 15.0  # seconds between two looks

log = logging.getLogger("ftjobs")


@dataclass(frozen=True, slots=True)
class Tick:
    """One look at a job: its state, the events not seen before, or why neither could be read."""

    job: Job
    events: tuple[Event, ...] = ()
    problem: BackendError | None = None


def follow(
    backend: Trainer,
    job_id: str,
    *,
    timeout: float | None = None,
    after: str | None = None,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> Iterator[Tick]:
    """Look at a job again and again until it has ended and its last event was seen.

    Each event comes once, oldest first.  The status is read before the events: a job that ends
    in between is looked at once more, so its last events are never missed.  Once the job was
    seen, faults that can pass are waited out for as long as asked, ever more patiently.

    Args:
        backend: where the job runs.
        job_id: the job.
        timeout: seconds; None follows for ever.
        after: the id of an event; only later ones are given.
        sleep: waits that many seconds.
        now: a clock that never goes back, in seconds.

    Raises:
        WatchTimeout: the time is up and the job has not ended.
        BackendError: the job cannot be read at all, or is gone.
    """
    deadline = None if timeout is None else now() + timeout
    seen, pace, job = _Seen(after), _Pace(now()), None
    warned: set[str] = set()
    while True:
        try:
            job = backend.retrieve(job_id)
            tick = Tick(job, seen.take(backend, job_id))
        except PASSING as error:
            if job is None:
                raise
            tick = Tick(job, problem=error)
        _warn_once(job, warned)
        yield tick
        if has_ended(job) and tick.problem is None:
            return
        pause = pace.after(tick, now())
        if deadline is not None:
            pause = min(pause, deadline - now())
            if pause <= 0:
                raise _timed_out(job, timeout)
        sleep(pause)


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
    raise JobFailed(reason, job=job, hint=f"Its events say more: ftjobs jobs events {job.id}")


def has_ended(job: Job) -> bool:
    """True once the job is over, even under a final status that is not the wire's."""
    return job.ended or (job.status not in KNOWN and job.finished_at is not None)


@dataclass
class _Seen:
    """Which events were given.

    Events of one second have no stable order, and a late one may be sorted before one that was
    given.  So each look asks again for the last seconds, and ids tell what is new.
    """

    after: str | None
    ids: set[str] = field(default_factory=set)
    recent: list[Event] = field(default_factory=list)

    OVERLAP = 5  # seconds

    def take(self, backend: Trainer, job_id: str) -> tuple[Event, ...]:
        if not backend.capabilities.events:
            return ()
        found = backend.events(job_id, after=self.after)
        fresh = {e.id: e for e in found if e.id not in self.ids and e.id != self.after}
        ordered = sorted(fresh.values(), key=lambda event: event.created_at)
        self.ids.update(fresh)
        self.recent = sorted([*self.recent, *ordered], key=lambda event: event.created_at)
        while self.recent and self._is_old(self.recent[0]):
            self.after = self.recent.pop(0).id
        return tuple(ordered)

    def _is_old(self, event: Event) -> bool:
        return event.created_at < self.recent[-1].created_at - self.OVERLAP


@dataclass
class _Pace:
    """How long to rest between looks: the longer nothing happened, the longer the rest."""

    moved: float
    status: str = ""
    failures: int = 0

    def after(self, tick: Tick, now: float) -> float:
        if tick.problem is not None:
            self.failures += 1
            patience = min(SHORTEST * 2.0 ** min(self.failures, 8), LONGEST)
            return max(patience, tick.problem.retry_after or 0)
        self.failures = 0
        if tick.events or tick.job.status != self.status:
            self.moved, self.status = now, tick.job.status
        return min(max(SHORTEST, (now - self.moved) / 10), LONGEST)


def _warn_once(job: Job, warned: set[str]) -> None:
    if job.status not in KNOWN and job.status not in warned:
        warned.add(job.status)
        log.warning("job %s: unknown status %r; still watching", job.id, job.status)


def _timed_out(job: Job, timeout: float | None) -> WatchTimeout:
    return WatchTimeout(
        f"job {job.id} is still {job.status} after {timeout:g} s",
        job=job,
        hint=f"It runs on. Look again: ftjobs watch {job.id}",
    )
