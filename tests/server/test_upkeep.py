"""What is acknowledged, or was done, outlives a server that is killed."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ftjobs.backends.fake import EVERYTHING, FakeBackend
from ftjobs.backends.fireworks.backend import FireworksBackend
from ftjobs.backends.profiles import PROFILES
from ftjobs.backends.together.backend import TogetherBackend
from ftjobs.errors import DeadlineError, ServiceError, UnreachableError, UnsupportedError
from ftjobs.schema import Job, JobSpec
from ftjobs.server import once, uploads
from ftjobs.server import upkeep as rooms_upkeep
from ftjobs.server.projects import jobs as rooms_jobs
from ftjobs.server.refusals import Refusal
from ftjobs.server.upkeep import clean, recover, upkeep
from tests import fireworks_service, native, tiny, together_service
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


@contextmanager
def service(name: str) -> Iterator[tuple[Any, dict[str, str]]]:
    """A backend that keeps no metadata, over its service, and its models."""
    if name == "fireworks":
        with fireworks_service.running({}) as there:
            profile = PROFILES[name].filled({"account": fireworks_service.ACCOUNT}).at(there.url)
            with closing(FireworksBackend(name, profile, native.KEY)) as fireworks:
                yield fireworks, {"base": fireworks_service.BASE}
    else:
        with together_service.running({}) as there:
            profile = PROFILES[name].at(there.url)
            with closing(TogetherBackend(name, profile, native.KEY)) as together:
                yield together, {"base": together_service.BASE}


@pytest.mark.parametrize("suffix", [None, "ours"])
@pytest.mark.parametrize("metadata", [{}, {"ftjobs_identity": "5a" * 16}], ids=["", "identity"])
@pytest.mark.parametrize("name", ["fireworks", "together"])
def test_every_project_gets_its_own_job_of_a_service(
    name: str,
    metadata: dict[str, str],
    suffix: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both ask for the very same: a service could take it for one."""
    with service(name) as (backend, models):
        house = House(tmp_path, backend, models=models)
        create = backend.create
        for project in ("one", "two"):
            spec = {"model": "base", "metadata": metadata, "suffix": suffix}
            file_id = house.upload(project)

            def crash(asked: JobSpec) -> Job:
                create(asked)
                raise Crash

            monkeypatch.setattr(backend, "create", crash)
            with pytest.raises(Crash):
                house.create(project, file_id, **spec)
            assert list(house.project(project).jobs()) == []
        recover(house.rooms)
        ids = set()
        for project in ("one", "two"):
            (job,) = house.project(project).jobs()
            assert (job.metadata, job.suffix) == (metadata, suffix)
            assert house.project(project).retrieve(job.id).metadata == metadata
            assert [each.id for each in house.project(project).jobs(metadata=metadata)] == [job.id]
            assert list(house.project(project).jobs(metadata={"ftjobs_identity": "x"})) == []
            ids.add(job.id)
        assert len(ids) == len(list(backend.jobs())) == 2
        house.database.close()


def test_the_operators_job_is_nobody_elses(tmp_path: Path) -> None:
    with service("fireworks") as (backend, models):
        house = House(tmp_path, backend, models=models)
        file_id, identity = house.upload("one"), {"ftjobs_identity": "5a" * 16}
        spec = JobSpec(model=models["base"], training_file=file_id, metadata=identity)
        theirs = backend.create(spec).id
        assert house.create("one", file_id, model="base", metadata=identity) != theirs
        (seen,) = (job for job in house.project("boss", "admin").jobs() if job.id == theirs)
        assert seen.metadata == identity
        with pytest.raises(UnsupportedError):
            house.create("one", file_id, model="base", metadata=identity, method="reinforcement")
        assert len(house.database.rows("SELECT * FROM identities")) == 1  # of the job that there is
        house.database.close()


def test_a_suffix_leaves_room_for_what_a_job_is_found_by(tmp_path: Path) -> None:
    with service("together") as (backend, models):
        house = House(tmp_path, backend, models=models)
        file_id = house.upload("one")
        assert house.create("one", file_id, model="base", suffix="x" * 27)
        with pytest.raises(Refusal, match="at most 27") as refused:
            house.create("one", file_id, model="base", suffix="x" * 28)
        assert (refused.value.status, refused.value.param) == (400, "suffix")
        house.database.close()


class Lagging(Crashing):
    """Its list shows nothing at first, or fails."""

    looks = 0
    error: Exception | None = None

    def jobs(self, **how: Any) -> Iterator[Job]:
        self.looks += 1
        if self.error is not None:
            raise self.error
        return super().jobs(**how) if self.looks > 4 else iter(())


def test_a_list_that_lags_hides_no_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms_jobs, "_PAUSE", 0.01)
    backend = Lagging(capabilities=EVERYTHING.model_copy(update={"list_lag": 0.3}))
    house = House(tmp_path, backend)
    project = house.project("one")
    asked = JobSpec(model="fake-base", training_file=house.upload("one"))
    with pytest.raises(Crash):
        project.create(asked, key="k")
    backend.crashes, backend.looks = False, 0
    recover(house.rooms)
    assert backend.looks > 4
    (job,) = project.jobs()
    assert project.create(asked, key="k").id == job.id
    assert len(list(backend.jobs())) == 1
    house.database.close()


@pytest.mark.parametrize("settles", [True, False])
def test_a_list_that_fails_at_the_end_says_nothing(
    settles: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms_jobs, "_PAUSE", 0.01)
    backend = Lagging(capabilities=EVERYTHING.model_copy(update={"list_lag": 0.05}))
    house = House(tmp_path, backend)
    asked = JobSpec(model="fake-base", training_file=house.upload("one"))
    with pytest.raises(Crash):
        house.project("one").create(asked, key="k")
    backend.crashes, backend.error = False, UnreachableError("away")
    if settles:
        recover(house.rooms)
    else:
        with pytest.raises(UnreachableError) as away:
            house.project("one").create(asked, key="k")
        assert away.value.should_retry is None  # it may be sent again
    backend.error, backend.looks = None, 5
    house.project("one").create(asked, key="k")
    assert len(list(backend.jobs())) == 1
    house.database.close()


class Absent(FakeBackend):
    """Creates a job, and is away from then on."""

    away = False

    def create(self, spec: JobSpec) -> Job:
        super().create(spec)
        self.away = True
        raise DeadlineError("no answer")

    def jobs(self, **how: Any) -> Iterator[Job]:
        if self.away:
            raise UnreachableError("away")
        return super().jobs(**how)


def _until(is_so: Callable[[], bool]) -> None:
    for _ in range(500):
        if is_so():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come to pass")


def test_a_job_whose_answer_was_lost_is_found_while_the_server_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms_upkeep, "PAUSE", 0.02)
    backend = Absent()
    house = House(tmp_path, backend)
    file_id = house.upload("one")
    with upkeep(house.rooms):
        with pytest.raises(DeadlineError) as lost:
            house.create("one", file_id)
        assert lost.value.should_retry is False
        backend.away = False
        _until(lambda: len(list(house.project("one").jobs())) == 1)
        _until(lambda: house.database.rows("SELECT * FROM requests") == [])
    house.database.close()


@pytest.mark.parametrize("broken", ["recover", "clean"])
def test_upkeep_goes_on_after_what_nobody_foresaw(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, rounds = House(tmp_path), {"recover": 0, "clean": 0}

    def work(name: str) -> None:
        rounds[name] += 1
        if name == broken:
            raise KeyError(name)

    monkeypatch.setattr(rooms_upkeep, "PAUSE", 0.01)
    monkeypatch.setattr(rooms_upkeep, "recover", lambda _: work("recover"))
    monkeypatch.setattr(rooms_upkeep, "clean", lambda _: work("clean"))
    with upkeep(house.rooms):
        _until(lambda: min(rounds.values()) > 2)
    house.database.close()


def test_what_is_old_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms_upkeep, "PAUSE", 0.01)
    house = House(tmp_path)
    project, database = house.project("one"), house.database
    project.once("k", "a", {}, dict)
    ended = project.begin_upload(size=3, name="a", purpose="user_data")
    project.cancel_upload(ended.id)
    pending = project.begin_upload(size=3, name="a", purpose="user_data")
    clean(house.rooms)
    assert len(database.rows("SELECT * FROM requests")) == 1
    assert len(database.rows("SELECT * FROM uploads")) == 2
    later = time.time() + max(once.KEPT, uploads.KEPT) + 1
    monkeypatch.setattr(time, "time", lambda: later)
    with upkeep(house.rooms):
        _until(lambda: database.rows("SELECT * FROM requests") == [])
        _until(lambda: house.rooms.uploads.find(ended.id) is None)
        _until(lambda: house.rooms.uploads.find(pending.id) is None)
    database.close()


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
