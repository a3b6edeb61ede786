"""Beside training, whoever writes answers rests."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ftjobs.backends.local import worker
from ftjobs.backends.local.answers import beside
from ftjobs.backends.local.answers.beside import LONGEST, LOOK, REST, Beside
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.schema import ChatMessage, JobSpec
from tests.backends.local.answers.asking import GREEDY


class Clock:
    """A clock that stands still but for the rests that are taken."""

    def __init__(self) -> None:
        self.now, self.rests = 100.0, list[float]()

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.rests.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(beside, "time", clock)
    return clock


def test_rests_are_a_share_of_the_work_and_no_longer_than_one_may_wait(clock: Clock) -> None:
    resting = Beside(lambda: True)
    for worked in (0.1, 0.01, 100.0):
        resting.rest(worked)
    assert clock.rests == [REST * 0.1, REST * 0.01, LONGEST]


def test_it_looks_for_jobs_now_and_then(clock: Clock) -> None:
    looks: list[float] = []

    def look() -> bool:
        looks.append(clock.now)
        return len(looks) == 2

    resting = Beside(look)
    for _ in range(5):
        resting.rest(0.1)
    assert (len(looks), clock.rests) == (1, [])
    clock.now += LOOK
    resting.rest(0.1)
    resting.rest(0.1)
    assert (len(looks), len(clock.rests)) == (2, 2)
    clock.now += LOOK
    resting.rest(0.1)
    assert len(clock.rests) == 2


def test_the_backend_rests_while_a_job_is_unfinished(
    backend: LocalBackend, tiny_model: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "ensure", lambda *_: False)
    rests: list[float] = []

    class Watched:
        monotonic = staticmethod(time.monotonic)
        sleep = staticmethod(rests.append)

    monkeypatch.setattr(beside, "time", Watched)
    monkeypatch.setattr(beside, "LOOK", 0.0)

    def answer() -> str:
        messages = (ChatMessage(role="user", content="x"),)
        return backend.complete(str(tiny_model), messages, sampling=GREEDY).text

    quiet = answer()
    assert rests == []
    job = backend.create(JobSpec(model=str(tiny_model), training_file=backend.upload(dataset).id))
    assert answer() == quiet
    assert len(rests) >= 15
    backend.cancel(job.id)
    rests.clear()
    assert answer() == quiet
    assert rests == []
