"""Looks: one reading for everybody, each event once."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from ftjobs.backends.fake import FakeBackend
from ftjobs.errors import UnreachableError
from ftjobs.schema import Job
from ftjobs.server.caller import THIS_MACHINE
from ftjobs.server.pages.looks import FRESH, Looks
from ftjobs.server.project import Project
from tests.server.conftest import Served
from tests.server.pages.conftest import Make


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def project(running: Served) -> Project:
    return running.desk.project(THIS_MACHINE)


@pytest.fixture
def reads(backend: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """What each reading of events began after."""
    seen: list[str | None] = []
    real = backend.events

    def events(job_id: str, *, after: str | None = None) -> object:
        seen.append(after)
        return real(job_id, after=after)

    monkeypatch.setattr(backend, "events", events)
    return seen


def test_looks_within_a_second_read_once(
    project: Project, make: Make, clock: Clock, reads: list[str | None]
) -> None:
    looks, job = Looks(now=clock), make(5)
    for _ in range(3):
        assert looks.look(project, job).progress.step == 3
    assert len(reads) == 1
    clock.now += FRESH
    looks.look(project, job)
    assert len(reads) == 2


def test_every_event_is_there_once_at_the_end(project: Project, make: Make, clock: Clock) -> None:
    looks, job = Looks(now=clock), make()
    while not job.ended:
        job = project.retrieve(job.id)
        clock.now += 0.7
        progress = looks.look(project, job).progress
    assert progress.train == tuple((n, round(2 * 0.8**n, 4)) for n in range(1, 7))
    ids = [event.id for event in progress.tail]
    assert ids == [event.id for event in project.events(job.id) if event.type != "metrics"]


def test_an_ended_job_is_not_read_again(
    project: Project, make: Make, clock: Clock, reads: list[str | None]
) -> None:
    looks, job = Looks(now=clock), make(20)
    looks.look(project, job)
    known = len(reads)
    clock.now += 100
    assert looks.look(project, job).progress.step == 6
    assert len(reads) == known


def test_a_job_is_complete_when_its_last_events_must_have_come(
    project: Project, make: Make, clock: Clock, backend: FakeBackend
) -> None:
    backend.capabilities = backend.capabilities.model_copy(update={"events_lag": 5.0})
    looks, job = Looks(now=clock), make(5)
    looks.look(project, job)
    run = backend._runs[job.id]
    backend.cancel(job.id)
    run.set(finished_at=int(time.time()))
    assert not looks.look(project, run.job).complete
    backend._say(run, "late news")
    clock.now = 6.0
    seen = looks.look(project, run.job)
    assert seen.progress.tail[-1].message == "late news"
    assert seen.complete


def test_a_reading_that_fails_loses_nothing(
    project: Project, make: Make, clock: Clock, backend: FakeBackend
) -> None:
    looks, job = Looks(now=clock), make(5)
    backend.fail_next("events", UnreachableError("away"))
    with pytest.raises(UnreachableError):
        looks.look(project, job)
    assert looks.look(project, job).progress.step == 3


def test_what_was_not_looked_at_for_longest_is_forgotten(
    project: Project, make: Make, clock: Clock, reads: list[str | None]
) -> None:
    looks = Looks(now=clock, points=20)
    jobs: list[Job] = [make(20) for _ in range(3)]
    look: Callable[[Job], object] = lambda job: looks.look(project, job)  # noqa: E731
    for job in (*jobs, jobs[0]):
        look(job)
    known = len(reads)
    look(jobs[0])
    assert len(reads) == known
    look(jobs[1])
    assert len(reads) == known + 1
