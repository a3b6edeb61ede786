from __future__ import annotations

import threading
from pathlib import Path

from ftjobs.backends.fake import FakeBackend
from ftjobs.errors import StoreError
from ftjobs.schema import Job, JobSpec
from ftjobs.server.workers import watched_over
from tests.cli.conftest import TRAIN


class Watched(FakeBackend):
    """Counts how often a job is asked for; the first time it fails."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.twice = threading.Event()

    def retrieve(self, job_id: str) -> Job:
        self.asked.append(job_id)
        if len(self.asked) == 1:
            raise StoreError("disk full")
        self.twice.set()
        return super().retrieve(job_id)


def test_a_job_that_is_worked_on_is_asked_for_though_no_client_does() -> None:
    backend = Watched()
    file = backend.upload(Path(TRAIN))
    job = backend.create(JobSpec(model="fake-base", training_file=file.id))
    with watched_over(backend, every=0.01):
        assert backend.twice.wait(30)
    assert set(backend.asked) == {job.id}
    asked = len(backend.asked)
    backend.cancel(job.id)
    with watched_over(backend, every=0.01):
        pass
    assert len(backend.asked) == asked
