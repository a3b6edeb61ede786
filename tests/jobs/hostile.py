"""A service with all the bad habits that a watcher must survive, in simulated time, from a seed.

Whatever it does, it keeps two promises: what happened is in every answer after `events_lag`
(events) or `list_lag` (jobs) seconds, and nobody may ask again before a Retry-After is over.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ftjobs.backends.fake import FakeBackend
from ftjobs.errors import (
    BackendError,
    DeadlineError,
    NotFoundError,
    RateLimitError,
    ServiceError,
    UnreachableError,
)
from ftjobs.schema import Capabilities, Event, Job

FAULTS: tuple[type[BackendError], ...] = (
    UnreachableError,
    ServiceError,
    DeadlineError,
    RateLimitError,
)
EPOCH = 1_700_000_000


@dataclass
class Clock:
    """Time that passes only while somebody sleeps."""

    time: float = 0.0
    limit: float = 1e9
    rests: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.rests.append(seconds)
        self.time += seconds
        assert self.time < self.limit, "a hang"

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return EPOCH + self.time


@dataclass(frozen=True)
class Life:
    """What happens to a job: (time, status) and (arrival, event), by rising time."""

    job: Job
    statuses: tuple[tuple[float, str], ...]
    events: tuple[tuple[float, Event], ...]

    @property
    def end(self) -> float:
        return self.statuses[-1][0]

    def at(self, time: float) -> Job | None:
        """The job at a time; None before it was created."""
        place = bisect_right([at for at, _ in self.statuses], time)
        if not place:
            return None
        at, status = self.statuses[place - 1]
        ended = {"finished_at": EPOCH + int(at)} if place == len(self.statuses) else {}
        return self.job.model_copy(update={"status": status, **ended})

    def events_at(self, time: float) -> list[Event]:
        return [event for arrival, event in self.events if arrival <= time]


def life(name: str, rng: random.Random, *, start: float, lag: float) -> Life:
    """A job of up to ten minutes, with events that arrive up to `lag` seconds late."""
    times = [start]
    for _ in range(3):
        times.append(times[-1] + rng.choice([0.5, 3, 40, 200]))
    end = rng.choice(["succeeded", "failed", "cancelled"])
    words = ["validating_files", "queued", rng.choice(["running", "compressing"]), end]
    made = [start, times[-1]]
    made += [rng.uniform(start, times[-1]) for _ in range(rng.randint(0, 60))]
    arrivals = [
        (
            at + rng.choice([0, rng.random() * lag]),
            Event(id=f"{name}-{number}", created_at=EPOCH + int(at), message=str(number)),
        )
        for number, at in enumerate(sorted(made))
    ]
    job = Job(id=name, created_at=EPOCH + int(start), status="", model="m", training_file="f")
    by_time = sorted(arrivals, key=lambda pair: pair[0])
    return Life(job, tuple(zip(times, words, strict=True)), tuple(by_time))


class Hostile(FakeBackend):
    """The service.  `faults` is the share of calls that fail, `stale` that of old copies."""

    def __init__(
        self,
        lives: Sequence[Life],
        clock: Clock,
        rng: random.Random,
        *,
        faults: float = 0.2,
        stale: float = 0.3,
        outage: tuple[float, float] = (0.0, 0.0),
        lag: float = 6.0,
    ) -> None:
        super().__init__(capabilities=Capabilities(list_lag=10.0, events_lag=lag))
        self.lives = {each.job.id: each for each in lives}
        self.clock, self.rng = clock, rng
        self.share_of_faults, self.stale, self.outage = faults, stale, outage
        self.calls: list[tuple[str, float, str | None]] = []
        self.not_before = 0.0

    def retrieve(self, job_id: str) -> Job:
        self._enter("retrieve")
        job = self.lives[job_id].at(self._copy(9.9))
        if job is None:
            raise NotFoundError("not there yet")
        return job

    def jobs(self, *, metadata: Mapping[str, str] | None = None) -> Iterator[Job]:
        self._enter("jobs")
        copy = self._copy(9.9)
        found = [job for each in self.lives.values() if (job := each.at(copy)) is not None]
        return iter(sorted(found, key=lambda job: (-job.created_at, self.rng.random())))

    def events(self, job_id: str, *, after: str | None = None) -> Sequence[Event]:
        self._enter("events", after)
        lag = self.capabilities.events_lag
        found = self.lives[job_id].events_at(self._copy(lag / 2))
        if self.rng.random() < 0.2:
            found += self.rng.choices(found, k=3) if found else []
        found.sort(key=lambda event: (event.created_at, self.rng.random()))
        ids = [event.id for event in found]
        return found[ids.index(after) + 1 if after in ids else 0 :]

    def count(self, method: str) -> int:
        return sum(name == method for name, _, _ in self.calls)

    def _copy(self, oldest: float) -> float:
        """The time whose state answers."""
        age = self.rng.uniform(0, oldest) if self.rng.random() < self.stale else 0
        return self.clock.time - age

    def _enter(self, method: str, after: str | None = None) -> None:
        assert self.clock.time >= self.not_before, "Retry-After was broken"
        self.calls.append((method, self.clock.time, after))
        if self.outage[0] <= self.clock.time < self.outage[1]:
            raise UnreachableError("connection reset")
        if self.rng.random() < self.share_of_faults:
            wait = self.rng.choice([None, None, 0.0, 7.0, 200.0])
            self.not_before = self.clock.time + (wait or 0.0)
            raise self.rng.choice(FAULTS)("not now", retry_after=wait)
