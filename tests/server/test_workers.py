from __future__ import annotations

import threading
from pathlib import Path

import pytest

from ftjobs.backends.fake import FakeBackend
from ftjobs.errors import StoreError
from ftjobs.schema import Job, JobSpec
from ftjobs.server.workers import watched_over
from tests.cli.conftest import TRAIN
from tests.server.conftest import Serve


class Watched(FakeBackend):
    """Counts how often a job is asked for; the first time it fails."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error = error
        self.asked: list[str] = []
        self.twice = threading.Event()

    def retrieve(self, job_id: str) -> Job:
        self.asked.append(job_id)
        if len(self.asked) == 1 and self.error is not None:
            raise self.error
        self.twice.set()
        return super().retrieve(job_id)

    def begin(self) -> Job:
        """A job that is worked on."""
        file = self.upload(Path(TRAIN))
        return self.create(JobSpec(model="fake-base", training_file=file.id))


@pytest.mark.parametrize("error", [StoreError("disk full"), RuntimeError("can't start new thread")])
def test_a_job_that_is_worked_on_is_asked_for_though_no_client_does(error: Exception) -> None:
    backend = Watched(error)
    job = backend.begin()
    with watched_over(backend, every=0.01):
        assert backend.twice.wait(30)
    assert set(backend.asked) == {job.id}
    asked = len(backend.asked)
    backend.cancel(job.id)
    with watched_over(backend, every=0.01):
        pass
    assert len(backend.asked) == asked


def test_a_server_looks_after_jobs_while_it_runs(serve: Serve) -> None:
    backend = Watched()
    job = backend.begin()
    with serve(backend):
        assert backend.twice.wait(30)
    assert set(backend.asked) == {job.id}
