"""The wall between projects: whatever they do, none sees what is another's."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ftjobs.backends.fake import FakeBackend
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.config import Settings
from ftjobs.errors import BackendError, ConfigError, InvalidRequestError, NotFoundError
from ftjobs.schema import ChatMessage, Job, JobSpec, Sampling
from ftjobs.server.caller import Caller, Scope
from ftjobs.server.database import Database
from ftjobs.server.options import Options
from ftjobs.server.project import Project, Rooms
from ftjobs.server.refusals import Refusal
from tests.server.wire.data import lines

HELLO = (ChatMessage(role="user", content="Hello?"),)
SAMPLING = Sampling()


class House:
    """A backend with projects in it."""

    def __init__(self, folder: Path, backend: Any = None, **options: Any) -> None:
        self.folder = folder
        self.backend = backend or FakeBackend(steps=2)
        self.database = Database(folder / "home")
        self.rooms = Rooms(self.backend, Options(**options), self.database)

    def project(self, name: str, scope: Scope = "train") -> Project:
        return Project(self.rooms, Caller(name, scope, "key"))

    def upload(self, name: str, data: bytes | None = None, label: str = "a.jsonl") -> str:
        path = self.folder / f"sent-{threading.get_ident()}"
        path.write_bytes(lines() if data is None else data)
        return self.project(name).upload(path, name=label, purpose="fine-tune").id

    def create(self, name: str, file_id: str, **spec: Any) -> str:
        asked = JobSpec(**{"model": "fake-base", "training_file": file_id, **spec})
        return self.project(name).create(asked).id

    def finish(self, name: str, job_id: str) -> Job:
        while not (job := self.project(name).retrieve(job_id)).ended:
            pass
        return job


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    found = House(tmp_path)
    yield found
    found.database.close()


# --- whatever they do ----------------------------------------------------------------------------

PROJECTS = st.sampled_from(["one", "two"])


class Neighbours(RuleBasedStateMachine):
    """Two projects do as they like with the same few files; each has what it would have alone."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.house = House(self.folder)
        self.files: dict[str, dict[str, tuple[str, bytes]]] = {"one": {}, "two": {}}
        self.jobs: dict[str, dict[str, str]] = {"one": {}, "two": {}}  # and their files
        self.ended: set[str] = set()

    def teardown(self) -> None:
        self.house.database.close()
        shutil.rmtree(self.folder)

    def _pick(self, data: st.DataObject, ids: Any) -> str:
        return str(data.draw(st.sampled_from(sorted(ids) or ["none"])))

    @rule(name=PROJECTS, label=st.sampled_from("ab"), content=st.sampled_from([lines(), lines(11)]))
    def upload(self, name: str, label: str, content: bytes) -> None:
        file_id = self.house.upload(name, content, label)
        self.files[name][file_id] = (label, content)

    @rule(name=PROJECTS, data=st.data())
    def delete(self, name: str, data: st.DataObject) -> None:
        file_id = self._pick(data, self.files["one"].keys() | self.files["two"].keys())
        needed = any(
            file_id == each and job_id not in self.ended for job_id, each in self.jobs[name].items()
        )
        project = self.house.project(name)
        if file_id not in self.files[name]:
            with pytest.raises(NotFoundError):
                project.delete_file(file_id)
        elif needed:
            with pytest.raises(InvalidRequestError):
                project.delete_file(file_id)
        else:
            project.delete_file(file_id)
            del self.files[name][file_id]

    @rule(name=PROJECTS, data=st.data())
    def train(self, name: str, data: st.DataObject) -> None:
        file_id = self._pick(data, self.files["one"].keys() | self.files["two"].keys())
        if file_id not in self.files[name]:
            with pytest.raises(BackendError, match="does not exist"):
                self.house.create(name, file_id)
            return
        self.jobs[name][self.house.create(name, file_id)] = file_id

    @rule(name=PROJECTS, data=st.data(), verb=st.sampled_from(["cancel", "finish"]))
    def end(self, name: str, data: st.DataObject, verb: str) -> None:
        job_id = self._pick(data, self.jobs["one"].keys() | self.jobs["two"].keys())
        if job_id not in self.jobs[name]:
            with pytest.raises(NotFoundError):
                self.house.project(name).cancel(job_id)
        elif job_id not in self.ended:
            self.ended.add(job_id)
            if verb == "cancel":
                self.house.project(name).cancel(job_id)
                return
            job = self.house.finish(name, job_id)
            for file_id in job.result_files:
                content = self.house.backend.content(file_id)
                self.files[name][file_id] = (f"{job_id}.csv", content)

    @invariant()
    def each_has_what_it_would_have_alone(self) -> None:
        for name, other in (("one", "two"), ("two", "one")):
            project = self.house.project(name)
            listed = {file.id: file.filename for file in project.files()}
            assert listed == {key: label for key, (label, _) in self.files[name].items()}
            for file_id, (_, content) in self.files[name].items():
                assert project.content(file_id) == content
            for file_id in self.files[other].keys() - self.files[name].keys():
                _none_sees(file_id, project.file, project.content)
            assert {job.id for job in project.jobs()} == self.jobs[name].keys()
            for job in self.house.project(other).jobs():
                _none_sees(job.id, project.retrieve, project.events, project.checkpoints)
                if job.fine_tuned_model:
                    with pytest.raises(NotFoundError):
                        project.complete(job.fine_tuned_model, HELLO, sampling=SAMPLING)
            mine = {job.fine_tuned_model for job in project.jobs() if job.fine_tuned_model}
            assert {model.id for model in project.models()} == {"fake-base", *mine}


def _none_sees(id_: str, *looks: Callable[[str], object]) -> None:
    for look in looks:
        with pytest.raises(NotFoundError):
            look(id_)


TestNeighbours = Neighbours.TestCase
TestNeighbours.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)


# --- files that two projects have ----------------------------------------------------------------


def test_the_same_bytes_have_two_lives(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    began = int(time.time())
    file_id = house.upload("one")
    monkeypatch.setattr(time, "time", lambda: began + 1000.0)
    house.upload("two", b"another", "b")
    assert house.upload("two") == file_id
    assert house.project("two").file(file_id).created_at == began + 1000
    assert house.project("one").file(file_id).created_at < began + 1000
    assert next(file.id for file in house.project("two").files()) == file_id  # its latest
    house.project("one").delete_file(file_id)
    assert house.project("two").content(file_id) == lines()
    with pytest.raises(NotFoundError):
        house.project("one").file(file_id)
    house.project("two").delete_file(file_id)
    with pytest.raises(NotFoundError):
        house.backend.file(file_id)


def test_a_job_of_another_project_is_no_hindrance_and_no_loss(house: House) -> None:
    file_id = house.upload("one")
    assert house.upload("two") == file_id
    job_id = house.create("one", file_id)
    house.project("two").delete_file(file_id)  # nothing tells that another needs it
    assert house.finish("one", job_id).status == "succeeded"
    with pytest.raises(NotFoundError):
        house.project("two").file(file_id)


def test_a_job_of_ones_own_is_one_whoever_has_the_file(house: House) -> None:
    file_id = house.upload("one")
    house.upload("two")
    job_id = house.create("one", file_id)
    with pytest.raises(InvalidRequestError, match=job_id):
        house.project("one").delete_file(file_id)


def test_what_the_backend_needs_is_said_without_names(house: House) -> None:
    file_id = house.upload("one")
    job = house.backend.create(JobSpec(model="fake-base", training_file=file_id))
    with pytest.raises(InvalidRequestError) as refused:
        house.project("one").delete_file(file_id)
    assert job.id not in str(refused.value)
    assert house.project("one").file(file_id).id == file_id


@pytest.mark.parametrize("held", ["upload", "delete_file"])
def test_uploads_and_deletions_at_once_lose_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch, held: str
) -> None:
    """What a project has uploaded is there, although another deletes the same in this moment."""
    file_id = house.upload("one")
    inside, go, real = threading.Event(), threading.Event(), getattr(house.backend, held)

    def hold(*given: Any, **more: Any) -> Any:
        found = real(*given, **more) if held == "upload" else None
        inside.set()
        assert go.wait(20)
        return found if held == "upload" else real(*given, **more)

    monkeypatch.setattr(house.backend, held, hold)
    with ThreadPoolExecutor() as pool:
        asks: dict[str, Callable[[], str | None]] = {
            "upload": lambda: house.upload("two"),
            "delete_file": lambda: house.project("one").delete_file(file_id),
        }
        first = pool.submit(asks.pop(held))
        assert inside.wait(20)
        (other,) = (pool.submit(ask) for ask in asks.values())
        wait([other], 0.5)  # it comes in between where nothing keeps it from doing so
        go.set()
        (theirs,) = {first.result(20), other.result(20)} - {None}
    assert theirs
    assert house.project("two").content(theirs) == lines()
    with pytest.raises(NotFoundError):
        house.project("one").file(file_id)


def test_a_file_that_the_backend_has_lost_can_be_deleted(house: House) -> None:
    file_id = house.upload("one")
    house.backend.delete_file(file_id)  # and a crash before the server noted it
    assert house.rooms.owners.size("one") > 0
    house.project("one").delete_file(file_id)
    assert house.rooms.owners.size("one") == 0


def test_the_operators_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = LocalBackend(Settings(home=tmp_path / "home", cache=tmp_path / "cache"))
    house = House(tmp_path, backend)
    path = tmp_path / "train.jsonl"
    path.write_bytes(lines())
    mine = backend.upload(path).id
    later = time.time() + 10
    monkeypatch.setattr(time, "time", lambda: later)
    assert house.upload("one", label="train.jsonl") == mine
    house.project("one").delete_file(mine)
    assert backend.content(mine) == lines()
    theirs = house.upload("one", label="other.jsonl")
    house.project("one").delete_file(theirs)
    with pytest.raises(NotFoundError):
        backend.file(theirs)
    house.database.close()


# --- who sees what -------------------------------------------------------------------------------


def test_admins_see_everything(house: House) -> None:
    file_id = house.upload("one")
    job = house.finish("one", house.create("one", file_id))
    admin = house.project("boss", "admin")
    assert {file.id for file in admin.files()} == {file_id, *job.result_files}
    seen = admin.retrieve(job.id)
    assert (seen.id, seen.organization_id) == (job.id, "one")
    assert admin.complete(str(job.fine_tuned_model), HELLO, sampling=SAMPLING).text
    theirs = house.create("boss", file_id) if house.upload("boss") == file_id else ""
    assert {each.id for each in admin.jobs()} == {job.id, theirs}
    admin.delete_file(job.result_files[0])
    with pytest.raises(NotFoundError):
        house.project("one").file(job.result_files[0])


def test_trackers_elsewhere_are_for_whom_the_operator_allows(tmp_path: Path) -> None:
    wandb = {"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}
    house = House(tmp_path)
    file_id = house.upload("one")
    with pytest.raises(BackendError, match="does not report to wandb") as refused:
        house.create("one", file_id, **wandb)
    assert (refused.value.status, refused.value.param) == (400, "integrations.0")
    asked = JobSpec(model="fake-base", training_file=file_id, **wandb)
    assert house.project("one", "admin").create(asked).integrations
    open_house = House(tmp_path / "open", integrations=("wandb",))
    assert open_house.create("one", open_house.upload("one"), **wandb)


def test_result_files_are_a_projects_without_a_look_at_the_job(house: House) -> None:
    job_id = house.create("one", house.upload("one"))
    while not house.backend.retrieve(job_id).ended:
        pass
    purposes = [file.purpose for file in house.project("one").files()]
    assert purposes == ["fine-tune-results", "fine-tune"]
    house.upload("two")
    assert [file.purpose for file in house.project("two").files()] == ["fine-tune"]


class Counting(FakeBackend):
    """Counts how often it is asked what there is."""

    def __init__(self) -> None:
        super().__init__(steps=2)
        self.looks: Counter[str] = Counter()

    def jobs(self, **how: Any) -> Any:
        self.looks["jobs"] += 1
        return super().jobs(**how)

    def models(self) -> Any:
        self.looks["models"] += 1
        return super().models()

    def checkpoints(self, job_id: str) -> Any:
        self.looks["checkpoints"] += 1
        return super().checkpoints(job_id)


def test_a_chat_with_a_known_model_costs_no_look_at_the_backend(tmp_path: Path) -> None:
    backend = Counting()
    house = House(tmp_path, backend)
    job = house.finish("one", house.create("one", house.upload("one")))
    tuned, snapshot = str(job.fine_tuned_model), f"{job.fine_tuned_model}:ckpt-step-2"
    house.upload("two")
    for name in ("fake-base", tuned, snapshot):
        house.project("one").complete(name, HELLO, sampling=SAMPLING)
    backend.looks.clear()
    for name in ("fake-base", tuned, snapshot):
        assert house.project("one").complete(name, HELLO, sampling=SAMPLING).model == name
        list(house.project("one").stream(name, HELLO, sampling=SAMPLING))
        if name != "fake-base":
            with pytest.raises(NotFoundError):
                house.project("two").complete(name, HELLO, sampling=SAMPLING)
    assert backend.looks == {}
    house.project("one").delete_model(tuned)
    for name in (tuned, snapshot):
        for ask in (house.project("one").model, house.project("one").delete_model):
            with pytest.raises(NotFoundError):
                ask(name)
        with pytest.raises(NotFoundError):
            house.project("one").complete(name, HELLO, sampling=SAMPLING)
    house.database.close()


@pytest.mark.parametrize("name", ["fake-base:ckpt-step-1", "ft:x:ckpt-step-9", "ft:", "/etc", ""])
def test_names_that_are_no_model(house: House, name: str) -> None:
    house.finish("one", house.create("one", house.upload("one")))
    project = house.project("one")
    asks: list[Callable[[], object]] = [
        lambda: project.model(name),
        lambda: project.delete_model(name),
        lambda: project.complete(name, HELLO, sampling=SAMPLING),
    ]
    for ask in asks:
        with pytest.raises(NotFoundError):
            ask()


def test_no_folder_leaves(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "secret-place"
    folder.mkdir(parents=True)
    backend = LocalBackend(Settings(home=tmp_path / "home", cache=tmp_path / "cache"))
    house = House(tmp_path, backend, models={"support": str(folder)})
    file_id = house.upload("one")
    with pytest.raises(ConfigError) as refused:  # the folder holds no model
        house.create("one", file_id, model="support")
    assert str(tmp_path) not in str(refused.value)
    assert "support" in str(refused.value)
    for name in (str(folder), "secret-place", "../models/secret-place"):
        with pytest.raises(BackendError, match="not available"):
            house.create("one", file_id, model=name)
    assert {model.id for model in house.project("one").models()} >= {"support"}
    assert str(tmp_path) not in str([model.id for model in house.project("one").models()])
    house.database.close()


def test_jobs_that_are_created_at_once_are_counted(tmp_path: Path) -> None:
    house = House(tmp_path, jobs_waiting=5)
    file_id = house.upload("one")
    together, made, refused = threading.Barrier(20), list[str](), list[str]()

    def make() -> None:
        together.wait()
        try:
            made.append(house.create("one", file_id))
        except BackendError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=make) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 5
    assert all("not ended" in words for words in refused)
    house.database.close()


def test_an_admins_own_jobs_wait(tmp_path: Path) -> None:
    """Others' are not counted, though they are seen."""
    house = House(tmp_path, jobs_waiting=1)
    file_id = house.upload("one")
    house.create("one", file_id)
    asked = JobSpec(model="fake-base", training_file=file_id)
    admin = house.project("boss", "admin")
    assert admin.create(asked).id in {job.id for job in admin.jobs()}
    with pytest.raises(BackendError, match="1 jobs of this project"):
        admin.create(asked)
    house.database.close()


@pytest.mark.parametrize(("moment", "most"), [("add_job", 1), ("ensure", 2)])
def test_a_job_that_is_being_noted_is_one(
    moment: str, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is counted neither twice nor not at all."""
    house = House(tmp_path, jobs_waiting=most)
    file_id, noting, go_on = house.upload("one"), threading.Event(), threading.Event()
    note = getattr(house.rooms.owners, moment)

    def slowly(*what: Any) -> None:
        noting.set()
        assert go_on.wait(10)
        note(*what)

    monkeypatch.setattr(house.rooms.owners, moment, slowly)
    made: list[str] = []

    def make() -> None:
        with suppress(Refusal):
            made.append(house.create("one", file_id))

    threads = [threading.Thread(target=make) for _ in range(2)]
    threads[0].start()
    assert noting.wait(10)
    threads[1].start()
    threads[1].join(0.2)  # wrongly refused or taken by now, or it waits
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert len(made) == most
    house.database.close()


def test_what_an_admin_trained_with_is_the_admins_too(house: House) -> None:
    """The job's file stays when the project that it was found at deletes it."""
    file_id = house.upload("one")
    admin = house.project("boss", "admin")
    job = admin.create(JobSpec(model="fake-base", training_file=file_id))
    assert house.finish("boss", job.id).ended
    house.project("one").delete_file(file_id)
    assert house.project("boss").content(file_id) == lines()
