"""A backend whose answers get lost, whose lists lag, and whose clock is the test's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from ftjobs.backends.fake import EVERYTHING, FakeBackend
from ftjobs.backends.retry import RetryPolicy
from ftjobs.errors import FtjobsError
from ftjobs.schema import File, Job, JobSpec

T = TypeVar("T")

LAG = 10.0


class Killed(BaseException):
    """The process is gone: nothing catches this."""


@dataclass
class Clock:
    """Time that passes only when somebody sleeps."""

    at: float = 0.0

    def now(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds

    def retry(self, total: float = 300.0) -> RetryPolicy:
        return RetryPolicy(total=total, sleep=self.sleep, now=self.now)


@dataclass(frozen=True)
class Trouble:
    """What happens to one call: `error` before the service acted, or after it did."""

    error: BaseException
    acted: bool


@dataclass
class Troubled(FakeBackend):
    """A `FakeBackend` in whose lists a job appears `lag` seconds after it was created.

    `troubles` are those of the next calls by method; `then` come into force with the first create.
    """

    clock: Clock
    lag: float = 0.0
    troubles: dict[str, list[Trouble | None]] = field(default_factory=dict)
    then: dict[str, list[Trouble | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(capabilities=EVERYTHING.model_copy(update={"list_lag": LAG}))
        self.born: dict[str, float] = {}
        self.posts = 0

    def create(self, spec: JobSpec) -> Job:
        self.posts += 1
        self.troubles |= self.then
        self.then = {}
        return self._troubled("create", lambda: self._create(spec))

    def cancel(self, job_id: str) -> Job:
        return self._troubled("cancel", lambda: FakeBackend.cancel(self, job_id))

    def jobs(self, *, metadata: Mapping[str, str] | None = None) -> Iterator[Job]:
        found = self._troubled("jobs", lambda: list(FakeBackend.jobs(self, metadata=metadata)))
        return iter([job for job in found if self.clock.at >= self.born[job.id] + self.lag])

    def files(self) -> Iterator[File]:
        return self._troubled("files", lambda: FakeBackend.files(self))

    @property
    def truth(self) -> list[Job]:
        """Every job that there is."""
        return list(FakeBackend.jobs(self))

    @property
    def paid(self) -> list[Job]:
        """The jobs that run, or have run to their end."""
        return [job for job in self.truth if job.status not in ("cancelled", "failed")]

    def _create(self, spec: JobSpec) -> Job:
        job = FakeBackend.create(self, spec)
        self.born[job.id] = self.clock.at
        return job

    def _troubled(self, name: str, act: Callable[[], T]) -> T:
        waiting = self.troubles.get(name, [])
        trouble = waiting.pop(0) if waiting else None
        if trouble is None:
            return act()
        if trouble.acted:
            act()
        raise trouble.error


def lost(error: FtjobsError | Killed, *, acted: bool = True) -> Trouble:
    """An answer that never comes."""
    return Trouble(error, acted)
