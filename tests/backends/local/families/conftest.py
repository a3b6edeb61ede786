"""Tiny models of every family, and a way to train them in this process."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ftjobs.backends.local import models
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.backends.local.store import Store
from ftjobs.config import Settings
from ftjobs.schema import ChatMessage, Job, JobSpec, Sampling
from tests.backends.local.families import build

QUESTIONS = [(f"What is {n} ?", f"answer {n * 7 % 10}") for n in range(10)]
COLOURS = [
    ("which colour is sky ?", "blue"),
    ("which colour is grass ?", "green"),
    ("which colour is snow ?", "white"),
    ("What is your name ?", "My name is cat ."),
]
MOODS = [
    (f"the cat is {word}", mood)
    for word, mood in [("good", "positive"), ("green", "positive"), ("bad", "negative")]
] * 4
GREEDY = Sampling(temperature=0, max_tokens=24)

Row = tuple[str, str] | dict[str, Any]
Builder = Callable[[str], Path]


@pytest.fixture(scope="session", autouse=True)
def _sleeping_threads() -> Iterator[None]:
    """No job is handed back to a fresh worker, which would sleep while it waits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_WAIT_POLICY", os.environ.get("OMP_WAIT_POLICY", "PASSIVE"))
        yield


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    """Builds a model once: "T5", "BERT", or the name of a decoder."""
    folder, built = tmp_path_factory.mktemp("families"), dict[str, Path]()

    def make(kind: str) -> Path:
        if kind not in built:
            path = folder / kind
            with models.quietly():
                if kind == "T5":
                    built[kind] = build.save_t5(path)
                elif kind == "BERT":
                    built[kind] = build.save_bert(path)
                else:
                    built[kind] = build.save_decoder(path, kind)
        return built[kind]

    return make


@pytest.fixture
def backend(tmp_path: Path) -> LocalBackend:
    return LocalBackend(Settings(home=tmp_path / "home", cache=tmp_path / "cache"))


def write(path: Path, rows: Iterable[Row]) -> Path:
    """A training file of pairs, or of rows as they are."""
    lines = [row if isinstance(row, dict) else {"messages": messages(*row)} for row in rows]
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")
    return path


def messages(question: str, answer: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def train(backend: LocalBackend, base: Path, rows: Iterable[Row], **settings: Any) -> Job:
    """Run a job to its end, here; raises what would fail it."""
    from ftjobs.backends.local.runner import JobRun

    path = write(backend.settings.home.with_suffix(".jsonl"), rows)
    options = {"n_epochs": 4, "batch_size": 4, "learning_rate": 1e-2} | settings
    spec = JobSpec(
        model=str(base), training_file=backend.upload(path).id, seed=1, hyperparameters=options
    )
    job = backend.store.create_job(spec, news=[], error=None)
    while backend.store.claim("test"):
        JobRun(backend.store, backend.settings.cache, "test", job.id).run(threading.Event())
    return backend.store.job(job.id)


def losses(store: Store, job: Job) -> list[float]:
    found = [event.metrics.train_loss for event in store.events(job.id) if event.metrics]
    return [loss for loss in found if loss is not None]


def ask(backend: LocalBackend, model: str, question: str, sampling: Sampling = GREEDY) -> str:
    asked = (ChatMessage(role="user", content=question),)
    answer = backend.complete(model, asked, sampling=sampling).choices[0].message.content
    assert isinstance(answer, str)
    return answer
