"""Who is on trial: a factory for each backend.  Add one to `FACTORIES`, and it is tried too."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from ftjobs.backends.base import Backend
from ftjobs.backends.fake import FakeBackend
from ftjobs.backends.fireworks import FireworksBackend
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.backends.profiles import ANY_URL, PROFILES
from ftjobs.backends.together import TogetherBackend
from ftjobs.backends.wire import WireBackend
from ftjobs.config import Settings
from ftjobs.schema import ChatMessage, Event, Job, JobSpec
from ftjobs.server.database import Database
from ftjobs.server.desk import Desk
from ftjobs.server.options import Options
from ftjobs.server.running import serving
from tests import fireworks_service, native, service, tiny, together_service
from tests.backends.local.conftest import stop_worker

QUESTION = "What does the Otter plan cost?"
ANSWER = "It costs 12 euros a month.\n Cancel any time. "
PROMPT = (ChatMessage(role="user", content=QUESTION),)
KEPT = {"seed", "suffix", "metadata"}
_serial = count()


@dataclass(frozen=True)
class Subject:
    """A backend on trial.

    `advance` lets some time pass; `patience` such moments must be enough for a job to end.
    `dataset` is a training file that the backend takes, `base_model` a model it trains.
    `keeps` are the fields of a spec that a job keeps, and `speaks_wire` says whether names and
    events are those of the OpenAI wire; services with a wire of their own have other words.
    """

    backend: Backend
    advance: Callable[[], None]
    dataset: Path
    base_model: str
    patience: int = 100
    keeps: frozenset[str] = frozenset({"seed", "suffix", "metadata"})
    speaks_wire: bool = True

    def create(self, **spec: Any) -> Job:
        """A job on the dataset, with one epoch unless told otherwise, of what it can keep."""
        asked = {k: v for k, v in spec.items() if k in self.keeps or k not in KEPT}
        settings = {"hyperparameters": {"n_epochs": 1}, "model": self.base_model} | asked
        if "training_file" not in settings:
            settings["training_file"] = self.backend.upload(self.dataset).id
        return self.backend.create(JobSpec(**settings))

    def wait(self, job: Job, until: Callable[[Job], bool]) -> Job:
        """The first state of the job that satisfies `until`."""
        for _ in range(self.patience):
            job = self.backend.retrieve(job.id)
            if until(job):
                return job
            self.advance()
        raise AssertionError(f"job {job.id} is still {job.status}")

    def finish(self, job: Job) -> Job:
        """The job's last state."""
        return self.wait(job, lambda job: job.ended)

    def new_file(self) -> Path:
        """A file like the dataset, with a name and bytes of its own."""
        number = next(_serial)
        path = self.dataset.with_name(f"other-{number}.jsonl")
        path.write_bytes(self.dataset.read_bytes() + b"\n" * number)
        return path


@dataclass(frozen=True)
class Finished:
    """A job that has succeeded, and the events read just after its status."""

    job: Job
    events: tuple[Event, ...]
    statuses: tuple[str, ...]


def write_dataset(path: Path, examples: int = 12) -> Path:
    """A supervised chat dataset of an invented company."""
    with path.open("w", encoding="utf-8") as lines:
        for number in range(examples):
            question = f"{QUESTION} (customer {number})"
            turns = [("user", question), ("assistant", ANSWER)]
            messages = [{"role": role, "content": text} for role, text in turns]
            lines.write(json.dumps({"messages": messages}) + "\n")
    return path


# --- the backends -------------------------------------------------------------------------------


@contextmanager
def fake(folder: Path) -> Iterator[Subject]:
    backend = FakeBackend(steps=6, answers={QUESTION: ANSWER})
    # Asking a fake job for its state is what moves it on.
    yield Subject(backend, lambda: None, write_dataset(folder / "train.jsonl"), "fake-base")


@contextmanager
def wire(folder: Path) -> Iterator[Subject]:
    with service.running(FakeBackend(steps=6, answers={QUESTION: ANSWER})) as loopback:
        dataset = write_dataset(folder / "train.jsonl")
        with closing(WireBackend(loopback.url, ANY_URL.at(loopback.url), service.KEY)) as backend:
            yield Subject(backend, loopback.tick, dataset, "fake-base")


@contextmanager
def together(folder: Path) -> Iterator[Subject]:
    with together_service.running({QUESTION: ANSWER}) as loopback:
        dataset = write_dataset(folder / "train.jsonl")
        profile = PROFILES["together"].at(loopback.url)
        with closing(TogetherBackend("together", profile, native.KEY)) as backend:
            base_model, keeps = together_service.BASE, frozenset({"suffix"})
            yield Subject(
                backend, loopback.tick, dataset, base_model, keeps=keeps, speaks_wire=False
            )


@contextmanager
def fireworks(folder: Path) -> Iterator[Subject]:
    with fireworks_service.running({QUESTION: ANSWER}) as loopback:
        dataset = write_dataset(folder / "train.jsonl")
        profile = PROFILES["fireworks"].at(loopback.url).filled({})
        with closing(FireworksBackend("fireworks", profile, native.KEY)) as backend:
            base_model, keeps = fireworks_service.BASE, frozenset({"suffix"})
            yield Subject(
                backend, loopback.tick, dataset, base_model, keeps=keeps, speaks_wire=False
            )


@contextmanager
def local(folder: Path) -> Iterator[Subject]:
    settings = Settings(home=folder / "home", cache=folder / "cache")
    backend, model = LocalBackend(settings), tiny.save_model(folder / "tiny")
    dataset = write_dataset(folder / "train.jsonl")
    with pytest.MonkeyPatch.context() as patch:
        # On a busy machine a worker starts anew to wait otherwise, and its job is queued again.
        patch.setenv("OMP_WAIT_POLICY", "PASSIVE")
        try:
            yield Subject(backend, lambda: time.sleep(0.05), dataset, str(model), patience=2000)
        finally:
            stop_worker(backend)


@contextmanager
def _served(folder: Path, backend: Backend, **options: Any) -> Iterator[WireBackend]:
    """A client of a server over `backend`, as a project that shares it with another."""
    with closing(Database(folder / "server")) as database:
        desk = Desk(backend, Options(port=0, requests_per_minute=100_000, **options), database)
        _, key = desk.keys.create("otters", "train")
        with (
            serving(desk) as url,
            closing(WireBackend("ftjobs", PROFILES["ftjobs"].at(url), key)) as client,
        ):
            yield client


@contextmanager
def served(folder: Path) -> Iterator[Subject]:
    backend = FakeBackend(steps=6, answers={QUESTION: ANSWER})
    with _served(folder, backend) as client:
        dataset = write_dataset(folder / "train.jsonl")
        yield Subject(client, lambda: None, dataset, "fake-base")


@contextmanager
def served_local(folder: Path) -> Iterator[Subject]:
    with local(folder) as inner:
        models = {"tiny-otter": inner.base_model}
        with _served(folder, inner.backend, models=models) as client:
            yield replace(inner, backend=client, base_model="tiny-otter")


Factory = Callable[[Path], AbstractContextManager[Subject]]
FACTORIES: dict[str, Factory] = {
    "fake": fake,
    "wire": wire,
    "together": together,
    "fireworks": fireworks,
    "local": local,
    "served": served,
    "served-local": served_local,
}


@pytest.fixture(scope="session", params=FACTORIES)
def subject(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Subject]:
    """One backend for all tests, because starting one may be slow: no test may expect it empty."""
    with FACTORIES[request.param](tmp_path_factory.mktemp(request.param)) as one:
        yield one


@pytest.fixture(scope="session")
def finished(subject: Subject) -> Finished:
    """One trained job, which many tests look at and none changes."""
    settings = {"n_epochs": 2}
    job = subject.create(
        suffix="contract", seed=7, metadata={"team": "otter"}, hyperparameters=settings
    )
    statuses = [job.status]
    while not job.ended:
        assert len(statuses) < 100 * subject.patience
        subject.advance()
        job = subject.backend.retrieve(job.id)
        statuses.append(job.status)
    return Finished(job, tuple(subject.backend.events(job.id)), tuple(statuses))


@pytest.fixture
def backend(subject: Subject) -> Backend:
    """The backend on trial."""
    return subject.backend
