"""Watch many jobs from one process: one list call a cycle, and events only where they are due."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext

from ftjobs.backends.base import Trainer
from ftjobs.backends.retry import at_most
from ftjobs.errors import BackendError, ConfigError, NotFoundError
from ftjobs.jobs import watch
from ftjobs.jobs.watch import PASSING, Doorbell, Rhythm, Tick, timed_out
from ftjobs.jobs.watched import PATIENCE, Clock, Grace, Watched
from ftjobs.schema import Job

RATE = 8.0  # requests a second, on average, that a watcher may send
PAGE = 100  # jobs of one list call
QUIET = frozenset({"queued", "paused"})
"""Statuses in which nothing happens that would not change the job itself."""


def follow_all(
    backend: Trainer,
    jobs: Iterable[Job | str] = (),
    *,
    metadata: Mapping[str, str] | None = None,
    timeout: float | None = None,
    doorbell: Doorbell | None = None,
    sleep: Callable[[float], None] = time.sleep,
    now: Clock = time.monotonic,
    wall: Clock = time.time,
    jitter: Callable[[], float] = random.random,
) -> Iterator[Tick]:
    """Look at many jobs until all have ended, with what `follow` promises of each.

    A cycle is one list call, which goes as far back as the oldest job that has not ended, and
    one call for the events of each job that has moved.  Of the others that run, half are asked
    in turn, so that an event is seen within two cycles.  Every cycle gives one tick of each job
    that is not done yet.  Cycles follow each other as fast as `follow` looks, but no faster than
    8 requests a second: 200 running jobs have a cycle of 13 seconds.

    A job that is gone has a last tick, whose problem is a NotFoundError; the others are watched
    on.

    Args:
        backend: where the jobs run.
        jobs: the jobs, or their ids.
        metadata: instead of `jobs`: all that carry these pairs, also those created meanwhile.
        timeout: seconds; None follows for ever.
        doorbell: tells of changes, so that cycles in between can be rare.
        sleep: waits that many seconds.
        now: a clock that never goes back, in seconds.
        wall: the time of day, in Unix seconds.
        jitter: draws from 0 to 1, so that many watchers do not look all at once.

    Raises:
        ConfigError: neither jobs nor metadata were given, or both.
        NotFoundError: a job is not there, or no job carries the metadata.  If the job was there
            once, this comes after all others have ended.
        WatchTimeout: the time is up and a job has not ended; `error.job` is the first of them.
        BackendError: nothing can be read at all, or may not be read.
    """
    wanted = list(jobs)
    if bool(wanted) == bool(metadata):
        raise ConfigError("give the jobs to watch, or metadata that they carry")
    fleet = _Fleet(backend, wanted, metadata, now=now, wall=wall)
    rhythm = Rhythm(timeout, doorbell, sleep=sleep, now=now, jitter=jitter)
    while True:
        began = now()
        yield from fleet.cycle()
        if fleet.done:
            break
        pause = rhythm.pause(fleet.problem, moved=fleet.moved)
        if fleet.problem is None:  # from start to start, a little early: two cycles are in time
            interval = max(pause, fleet.requests / RATE) * (0.95 - jitter() / 10)
            pause = max(interval - (now() - began), watch.SHORTEST / 2)
        if rhythm.rest(pause, fleet.problem, last_events=fleet.last_events):
            continue
        if fleet.problem is None and fleet.last_events is not None:
            fleet.hurry()
            yield from fleet.cycle()
        fleet.check_found()
        if running := fleet.running:
            raise timed_out(running, timeout, fleet.problem)
        break
    if fleet.gone:
        raise fleet.gone[0]


class _Fleet:
    """The watched jobs, by id, and how the last cycle went."""

    def __init__(
        self,
        backend: Trainer,
        jobs: Iterable[Job | str],
        metadata: Mapping[str, str] | None,
        *,
        now: Clock,
        wall: Clock,
    ) -> None:
        self.moved = False
        self.problem: BackendError | None = None
        self.requests = 0.0
        self.gone: list[NotFoundError] = []
        self._backend, self._metadata = backend, metadata
        self._now, self._wall = now, wall
        self._grace = Grace(backend.capabilities.list_lag, now)
        self._all: dict[str, Watched] = {}
        self._asked: dict[str, float] = {}
        self._cycles = 0
        self._surveyed = False
        for job in jobs:
            self._add(job)

    @property
    def live(self) -> list[Watched]:
        """Those that are not done, the one whose events were asked for longest ago first."""
        live = (each for each in self._all.values() if not each.done)
        return sorted(live, key=lambda each: self._asked[each.id])

    @property
    def done(self) -> bool:
        """Whether there were jobs and all are done."""
        return bool(self._all) and all(each.done for each in self._all.values())

    @property
    def running(self) -> list[Job]:
        """Those that have not ended."""
        unfinished = (each for each in self._all.values() if not (each.ended or each.done))
        return [each.job for each in unfinished if each.job]

    @property
    def last_events(self) -> float | None:
        """Seconds until a last reading of events is due; None if none is to come."""
        waits = (each.last_events for each in self._all.values())
        return min((wait for wait in waits if wait is not None), default=None)

    def check_found(self) -> None:
        """Make sure that there is something to watch.  NotFoundError otherwise."""
        if not self._all:
            pairs = ", ".join(f"{key}={value}" for key, value in (self._metadata or {}).items())
            raise NotFoundError(f"no job carries {pairs}", hint="ftjobs jobs list shows all.")

    def hurry(self) -> None:
        """Make the next reading of events the last one of every job that has ended."""
        for each in self.live:
            each.hurry()

    def cycle(self) -> Iterator[Tick]:
        """Look at all that are not done: one tick of each."""
        self.moved, self.problem, self.requests = False, None, 0.0
        try:
            yield from self._observe()
        except PASSING as error:
            self.problem = error
            seen = [Tick(each.job, problem=error) for each in self.live if each.job is not None]
            if not seen:
                raise
            yield from seen
            return
        due = self._due()
        for each in self.live:
            if each.job is not None:
                yield self._tick(each, each.job) if each.id in due else Tick(each.job)

    def _tick(self, watched: Watched, job: Job) -> Tick:
        if self.problem is not None:
            return Tick(job)  # an event call has failed: the others can wait for the next cycle
        is_first = self._asked[watched.id] == -math.inf
        self.requests += 0.5 if is_first else 1  # the burst of first readings comes once
        self._asked[watched.id] = self._now()
        had_moved = watched.moved
        try:
            events = watched.events()
        except PASSING as error:
            self.problem = error
            return Tick(job, problem=error)
        self.moved = self.moved or had_moved or bool(events)
        return Tick(job, events, last=watched.done)

    def _observe(self) -> Iterator[Tick]:
        """Learn every job's state: from the list, and one by one what the list lacks.

        In every cycle one is asked for by itself, each in turn: a list may be a stale copy, and
        a look at a local job looks after its worker.  The ticks are the last of jobs that are
        gone.
        """
        live = [each for each in self._all.values() if not each.done]
        with at_most(PATIENCE) if live and all(each.job for each in live) else nullcontext():
            listed = self._list()
        if not self._all and not self._grace.allows():
            self.check_found()
        live = [each for each in self._all.values() if not each.done]
        turn = self._cycles % max(1, len(live))
        self._cycles += 1
        for number, each in enumerate(live):
            if number == turn or each.id not in listed:
                self.requests += 1
                try:
                    each.observe(each.retrieve())
                except NotFoundError as error:
                    if each.job is None:
                        raise  # it was never there: a typing mistake
                    each.done = True
                    self.gone.append(error)
                    yield Tick(each.job, problem=error)
            else:
                each.observe(listed[each.id])

    def _list(self) -> dict[str, Job]:
        """The newest jobs, back to the oldest one whose state is wanted.

        It stops where one call for each job that is still missing costs no more.
        """
        missing = {each.id for each in self._all.values() if not each.done}
        horizon = self._horizon()
        listed: dict[str, Job] = {}
        for job in self._backend.jobs(metadata=self._metadata):
            if horizon is not None and job.created_at < horizon:
                break
            listed[job.id] = job
            if self._metadata is not None and job.id not in self._all:
                self._add(job)
            missing.discard(job.id)
            is_enough = not missing or len(listed) >= PAGE * len(missing)
            if is_enough and (self._surveyed or self._metadata is None):
                break
        self._surveyed = True
        self.requests += max(1, math.ceil(len(listed) / PAGE))
        return listed

    def _horizon(self) -> int | None:
        """When the oldest job that is not done was created; None while that is not known."""
        if self._metadata is not None and not self._surveyed:
            return None
        live = [each.job for each in self._all.values() if not each.done]
        if not live or any(job is None for job in live):
            return None
        return min(job.created_at for job in live if job is not None)

    def _due(self) -> set[str]:
        """Whose events to ask for: all that moved or ended, and half of the others that run."""
        live = self.live
        moved = {each.id for each in live if each.moved or each.ended}
        others = [e.id for e in live if e.id not in moved and e.job and e.job.status not in QUIET]
        return moved.union(others[: math.ceil(len(others) / 2)])

    def _add(self, job: Job | str) -> None:
        watched = Watched(self._backend, job, now=self._now, wall=self._wall)
        if watched.id not in self._all:
            self._all[watched.id] = watched
            self._asked[watched.id] = -math.inf
