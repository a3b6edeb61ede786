"""What is acknowledged, or was done, outlives a server that is killed."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ftjobs.backends.fake import FakeBackend
from ftjobs.errors import ServiceError
from ftjobs.schema import JobSpec
from ftjobs.server import upkeep as rooms_upkeep
from ftjobs.server.upkeep import recover, upkeep
from tests import tiny
from tests.server.test_project import House
from tests.server.wire.data import create, lines, sent


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_model(tmp_path_factory.mktemp("models") / "tiny")


@contextmanager
def running(home: Path, model: Path, where: str) -> Iterator[httpx2.Client]:
    """A server in a process of its own; killed at the end, if not before."""
    words = [sys.executable, "-m", "tests.server.dying", str(home), str(model), where]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url.startswith("http"), url
            with httpx2.Client(base_url=url, timeout=60, trust_env=False) as http:
                yield http
        finally:
            process.kill()


def _spec(file_id: str) -> dict[str, Any]:
    return {"model": "tiny-otter", "training_file": file_id, "metadata": {"a": "b"}}


def test_a_job_whose_server_was_killed_is_there_once(tmp_path: Path, model: Path) -> None:
    key = {"idempotency-key": "the-one"}
    with running(tmp_path, model, "create") as http:
        file_id = sent(http)
        (tmp_path / "incoming" / "tmp-half").write_bytes(b"half a file")
        with pytest.raises(httpx2.TransportError):
            create(http, headers=key, **_spec(file_id))
    with running(tmp_path, model, "create") as http:
        assert not (tmp_path / "incoming" / "tmp-half").exists()
        listed = http.get("/fine_tuning/jobs").json()["data"]
        assert [job["metadata"] for job in listed] == [{"a": "b"}]
        again = create(http, headers=key, **_spec(file_id))
        assert again.json()["id"] == listed[0]["id"]
        with pytest.raises(httpx2.TransportError):
            create(http, **_spec(file_id))  # without a key
    with running(tmp_path, model, "never") as http:
        listed = http.get("/fine_tuning/jobs").json()["data"]
        assert len(listed) == 2
        assert http.get(f"/files/{file_id}/content").content == lines()


def test_an_upload_whose_server_was_killed_is_completed_once(tmp_path: Path, model: Path) -> None:
    data = lines()
    body = {"filename": "parts.jsonl", "purpose": "fine-tune", "bytes": len(data)}
    with running(tmp_path, model, "complete") as http:
        upload_id = http.post("/uploads", json={**body, "mime_type": "text/jsonl"}).json()["id"]
        parts = [
            http.post(f"/uploads/{upload_id}/parts", files={"data": ("x", piece)}).json()["id"]
            for piece in (data[:100], data[100:])
        ]
        with pytest.raises(httpx2.TransportError):
            http.post(f"/uploads/{upload_id}/complete", json={"part_ids": parts})
    with running(tmp_path, model, "never") as http:
        done = http.post(f"/uploads/{upload_id}/complete", json={"part_ids": parts}).json()
        assert done["status"] == "completed"
        assert http.get(f"/files/{done['file']['id']}/content").content == data
        assert len(http.get("/files").json()["data"]) == 1


# --- whose a job becomes -------------------------------------------------------------------------


class Crash(BaseException):
    """The end of a process."""


class Crashing(FakeBackend):
    """Creates a job, and then there is no server any more."""

    crashes = True

    def create(self, spec: JobSpec) -> object:  # type: ignore[override]
        job = super().create(spec)
        if self.crashes:
            raise Crash
        return job


@pytest.mark.parametrize(
    "metadata", [{}, {"ftjobs_identity": "same"}, {str(number): "" for number in range(15)}]
)
def test_every_project_gets_its_own_job(tmp_path: Path, metadata: dict[str, str]) -> None:
    backend = Crashing()
    house = House(tmp_path, backend)
    for name in ("one", "two"):
        with pytest.raises(Crash):
            house.create(name, house.upload(name), metadata=metadata, suffix=name)
    backend.crashes = False
    later = House(tmp_path, backend)
    assert list(later.project("one").jobs()) == []
    recover(later.rooms)
    for name in ("one", "two"):
        (job,) = later.project(name).jobs()
        assert (job.suffix, job.metadata) == (name, metadata)
    house.database.close()
    later.database.close()


def test_a_backend_that_is_away_delays_nothing_but_the_recovery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = Crashing()
    house = House(tmp_path, backend)
    with pytest.raises(Crash):
        house.create("one", house.upload("one"))
    backend.fail_next("jobs", ServiceError("away"))
    recover(house.rooms)
    assert list(house.project("one").jobs()) == []
    recover(house.rooms)
    assert len(list(house.project("one").jobs())) == 1

    never, stuck = threading.Event(), threading.Event()

    def wait(_rooms: object) -> None:
        stuck.set()
        never.wait(30)

    monkeypatch.setattr(rooms_upkeep, "recover", wait)
    monkeypatch.setattr(rooms_upkeep, "PATIENCE", 0.01)
    with upkeep(house.rooms):  # the server starts all the same
        assert stuck.wait(5)
        never.set()
    house.database.close()
