"""Whole jobs that are evaluated on the way: what they keep, name and say, and when they stop."""

from __future__ import annotations

import csv
import re
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from ftjobs.backends.local import checkpoints, worker
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.config import Settings
from ftjobs.errors import ConfigError, InvalidRequestError
from ftjobs.schema import Event, Job, JobSpec
from tests.backends.local.conftest import write_dataset

HERE = "this process"


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalBackend:
    """One whose worker is this process."""
    monkeypatch.setattr(worker, "ensure", lambda *_: False)
    return LocalBackend(Settings(home=tmp_path / "home", cache=tmp_path / "cache"))


def submit(
    backend: LocalBackend,
    model: Path,
    tmp_path: Path,
    validation: Path | None = None,
    **hyperparameters: Any,
) -> Job:
    settings: dict[str, Any] = {"n_epochs": 4, "batch_size": 4, "learning_rate": 5e-3}
    if validation is None:
        settings["validation_split"] = 0.2
    train = write_dataset(tmp_path / "train.jsonl", 15)
    return backend.create(
        JobSpec(
            model=str(model),
            training_file=backend.upload(train).id,
            validation_file=backend.upload(validation).id if validation else None,
            seed=11,
            hyperparameters=settings | hyperparameters,
        )
    )


@pytest.fixture
def backwards(tmp_path: Path) -> Path:
    """Answers that use the letters of the training file, in another order.

    So learning the letters helps at first, and learning their order does not.
    """
    path = write_dataset(tmp_path / "backwards.jsonl", 3)
    path.write_text(re.sub(r"Answer number (\d+)\.", r"\1 rebmun rewsnA.", path.read_text()))
    return path


@pytest.fixture
def contrary(tmp_path: Path) -> Path:
    """Answers that become less likely from the first step."""
    path = write_dataset(tmp_path / "contrary.jsonl", 3)
    path.write_text(re.sub(r"Answer number \d+\.", "ZQXJ" * 10, path.read_text()))
    return path


def run_here(backend: LocalBackend, job: Job, stop_after: int | None = None) -> Job:
    """Run the job in this process; with `stop_after`, hand it back after this step."""
    assert backend.store.claim(HERE) == job.id
    stop = threading.Event()
    record = backend.store.record

    def counted(*arguments: Any, step: int | None = None, **rest: Any) -> str:
        if step is not None and step == stop_after:
            stop.set()
        return record(*arguments, step=step, **rest)

    backend.store.record = counted  # type: ignore[method-assign]
    worker.run_job(backend.store, backend.settings.cache, HERE, job.id, stop)
    backend.store.record = record  # type: ignore[method-assign]
    return backend.retrieve(job.id)


def messages(backend: LocalBackend, job: Job) -> list[str]:
    return [event.message for event in backend.events(job.id)]


def measured(backend: LocalBackend, job: Job) -> dict[int, Event]:
    return {e.metrics.step or 0: e for e in backend.events(job.id) if e.metrics}


BEST: dict[str, Any] = {"save_best_checkpoint": True, "evaluation_epochs": 0.25, "n_epochs": 3}


def test_the_model_is_the_checkpoint_that_validated_best(
    backend: LocalBackend, tiny_model: Path, tmp_path: Path, backwards: Path
) -> None:
    job = run_here(backend, submit(backend, tiny_model, tmp_path, backwards, **BEST))
    assert job.status == "succeeded", job.error
    losses = {
        step: event.data["full_valid_loss"]
        for step, event in measured(backend, job).items()
        if "full_valid_loss" in event.data
    }
    assert list(losses) == list(range(1, 13))  # every quarter of an epoch of 4 steps
    best = min(losses, key=lambda step: (losses[step], step))
    assert best < 10, "else it shows nothing: the last three are kept anyway"
    kept = [checkpoint.step_number for checkpoint in backend.checkpoints(job.id)]
    assert kept == [best, 10, 11, 12]
    folder, _ = backend.store.adapter(job.fine_tuned_model or "")
    assert folder.name == f"ckpt-step-{best}"
    assert checkpoints.verify(folder)
    line = f"The fine-tuned model is the checkpoint of step {best}: full validation loss "
    said = messages(backend, job)
    assert said[-3].startswith(line)
    assert said[-3].endswith(f"the best of {len(losses)}")
    assert said[-2:] == [
        f"New fine-tuned model created: {job.fine_tuned_model}",
        "The job has successfully completed",
    ]
    names = {c.step_number: c.fine_tuned_model_checkpoint for c in backend.checkpoints(job.id)}
    with pytest.raises(InvalidRequestError, match="is what ft:"):
        backend.delete_model(names[best])
    backend.delete_model(names[12])  # the newest is not the model
    assert backend.store.adapter(job.fine_tuned_model or "")[0] == folder


def test_a_job_that_is_broken_off_again_and_again_ends_the_same(
    backend: LocalBackend, tiny_model: Path, tmp_path: Path
) -> None:
    settings = BEST | {"evaluate_before_training": True, "lora_dropout": 0.1}
    whole = run_here(backend, submit(backend, tiny_model, tmp_path, **settings))
    broken = submit(backend, tiny_model, tmp_path, **settings)
    for step in (0, 1, 5, 7):
        assert run_here(backend, broken, stop_after=step).status == "queued"
    broken = run_here(backend, broken)
    assert broken.status == "succeeded", broken.error
    ours, theirs = measured(backend, broken), measured(backend, whole)
    assert list(ours) == list(range(10))
    for step, event in theirs.items():
        same = {k: v for k, v in event.data.items() if k != "tokens_per_second"}
        assert {k: v for k, v in ours[step].data.items() if k != "tokens_per_second"} == same
    folders = [backend.store.adapter(j.fine_tuned_model or "")[0] for j in (broken, whole)]
    assert folders[0].name == folders[1].name
    weights = [(f / "adapter_model.safetensors").read_bytes() for f in folders]
    assert weights[0] == weights[1]
    steps = [[c.step_number for c in backend.checkpoints(j.id)] for j in (broken, whole)]
    assert steps[0] == steps[1]


def test_a_job_stops_early_and_counts_what_was_trained(
    backend: LocalBackend, tiny_model: Path, tmp_path: Path, backwards: Path
) -> None:
    settings: dict[str, Any] = {"n_epochs": 50, "early_stopping_patience": 2}
    job = run_here(backend, submit(backend, tiny_model, tmp_path, backwards, **settings))
    assert job.status == "succeeded", job.error
    events = measured(backend, job)
    last = max(events)
    assert last < 200
    assert last % 4 == 0
    assert events[last].data["total_steps"] == last
    assert {e.data["total_steps"] for s, e in events.items() if s < last} == {200}
    said = next(m for m in messages(backend, job) if m.startswith("Stopped early"))
    assert said.startswith(f"Stopped early after step {last} of 200: 2 full validations in a row")
    assert [c.step_number for c in backend.checkpoints(job.id)][-1] == last
    folder, _ = backend.store.adapter(job.fine_tuned_model or "")
    assert folder.name == f"ckpt-step-{last}"  # the last one, unless the best is asked for
    assert (job.trained_tokens or 0) % (last // 4) == 0  # whole epochs, and no more of them
    assert job.estimated_finish is None


def test_the_base_is_measured_as_step_0_and_bleu_has_a_column(
    backend: LocalBackend, tiny_model: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        "n_epochs": 1,
        "evaluate_before_training": True,
        "evaluation_metric": "bleu",
    }
    job = run_here(backend, submit(backend, tiny_model, tmp_path, **settings))
    assert job.status == "succeeded", job.error
    before = measured(backend, job)[0]
    assert before.message.startswith("Step 0/3: full validation loss=")
    assert ", full validation bleu=" in before.message
    assert "tokens_per_second" not in before.data
    assert set(before.data) == {
        "step", "total_steps", "epoch",
        "full_valid_loss", "full_valid_mean_token_accuracy", "full_valid_bleu",
    }  # fmt: skip
    rows = list(csv.DictReader(backend.result_file(job).decode().splitlines()))
    assert [row["step"] for row in rows] == ["0", "1", "2", "3"]
    assert rows[0]["train_loss"] == rows[1]["full_valid_bleu"] == ""
    assert float(rows[0]["full_valid_bleu"]) == before.data["full_valid_bleu"]
    assert "full_valid_perplexity" not in rows[0]
    assert [c.step_number for c in backend.checkpoints(job.id)] == [3]


def test_a_base_that_was_better_is_said(
    backend: LocalBackend, tiny_model: Path, tmp_path: Path, contrary: Path
) -> None:
    settings: dict[str, Any] = {"evaluate_before_training": True, "n_epochs": 1}
    job = run_here(backend, submit(backend, tiny_model, tmp_path, contrary, **settings))
    warned = [e.message for e in backend.events(job.id) if e.level == "warn"]
    assert warned == [
        "No checkpoint validated better than the base model, with full validation loss "
        f"{measured(backend, job)[0].data['full_valid_loss']:.4g}"
    ]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("save_best_checkpoint", True),
        ("early_stopping_patience", 3),
        ("evaluate_before_training", True),
        ("evaluation_epochs", 0.5),
        ("evaluation_metric", "perplexity"),
    ],
)
def test_what_needs_validation_data_is_refused_without(
    backend: LocalBackend, tiny_model: Path, tmp_path: Path, setting: str, value: Any
) -> None:
    with pytest.raises(InvalidRequestError, match=f"{setting}: there is no validation") as caught:
        submit(backend, tiny_model, tmp_path, **{setting: value}, validation_split=None)
    assert "validation_split 0.1" in (caught.value.hint or "")
    assert list(backend.jobs()) == []


def test_bleu_without_sacrebleu_names_what_to_install(
    backend: LocalBackend, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util
    import sys

    monkeypatch.setitem(sys.modules, "sacrebleu", None)  # what an import finds where it is not
    find = importlib.util.find_spec
    missing = lambda name, *rest: None if name == "sacrebleu" else find(name, *rest)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", missing)
    with pytest.raises(ConfigError, match="needs sacrebleu") as caught:
        submit(backend, tiny_model, tmp_path, evaluation_metric="bleu")
    assert caught.value.hint == "pip install 'ftjobs[evals]'"


def test_a_store_of_the_first_version_is_brought_up_to_date(
    backend: LocalBackend, tiny_model: Path, tmp_path: Path
) -> None:
    job = run_here(backend, submit(backend, tiny_model, tmp_path, n_epochs=1))
    with sqlite3.connect(backend.store.home / "ftjobs.db") as db:
        db.execute("ALTER TABLE jobs DROP COLUMN best_step")
        db.execute("PRAGMA user_version = 1")
    db.close()
    again = LocalBackend(backend.settings)
    assert again.retrieve(job.id) == backend.retrieve(job.id)
    assert again.store.adapter(job.fine_tuned_model or "")[0].name == "ckpt-step-3"
    later = run_here(again, submit(again, tiny_model, tmp_path, **BEST))
    assert later.status == "succeeded", later.error
