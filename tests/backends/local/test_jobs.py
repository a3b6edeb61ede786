"""Whole jobs by real worker processes: what they leave behind, and what nothing can break."""

from __future__ import annotations

import csv
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ftjobs.backends.local import checkpoints, worker
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.backends.local.store import MAX_CRASHES, LeaseLost, News
from ftjobs.config import Settings
from ftjobs.errors import InvalidRequestError, ModelError, NotFoundError, StoreError
from ftjobs.schema import ChatMessage, Job, JobSpec, Sampling
from tests import tiny
from tests.backends.local.conftest import stop_worker, until, worker_pid, write_dataset

ASK = (ChatMessage(role="user", content="Question 3?"),)


def submit(backend: LocalBackend, model: Path | str, dataset: Path, **settings: Any) -> Job:
    spec: dict[str, Any] = {"seed": 11, "hyperparameters": {"n_epochs": 3, "batch_size": 2}}
    spec |= {"model": str(model), "training_file": backend.upload(dataset).id} | settings
    return backend.create(JobSpec(**spec))


def finish(backend: LocalBackend, job: Job) -> Job:
    until(lambda: backend.retrieve(job.id).ended, seconds=120)
    return backend.retrieve(job.id)


def adapter_bytes(backend: LocalBackend, job: Job) -> bytes:
    folder, _ = backend.store.adapter(job.fine_tuned_model or "")
    return (folder / "adapter_model.safetensors").read_bytes()


def step(backend: LocalBackend, job: Job) -> int:
    return max([e.metrics.step or 0 for e in backend.events(job.id) if e.metrics], default=0)


def told(backend: LocalBackend, job: Job) -> list[tuple[str, Any]]:
    """What the events say, but for times, speeds and interruptions."""
    return [
        (e.message, {k: v for k, v in e.data.items() if k != "tokens_per_second"})
        for e in backend.events(job.id)
        if not e.message.startswith(("Created", "Checkpoint", "New fine", "The worker", "Going on"))
        and e.message not in ("Job paused", "Job resumed")
    ]


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path
) -> tuple[LocalBackend, Job]:
    """An unbroken job of 3 epochs of 6 steps, with a validation split."""
    folder = tmp_path_factory.mktemp("finished")
    backend = LocalBackend(Settings(home=folder / "home", cache=folder / "cache"))
    dataset = write_dataset(folder / "train.jsonl", 14)
    hyperparameters = {"n_epochs": 3, "batch_size": 2, "validation_split": 0.15}
    job = submit(backend, tiny_model, dataset, hyperparameters=hyperparameters, suffix="My 試し!")
    job = finish(backend, job)
    stop_worker(backend, signal.SIGTERM)
    return backend, job


def test_a_job_succeeds_and_tells_it_as_the_wire_does(finished: tuple[LocalBackend, Job]) -> None:
    backend, job = finished
    assert job.status == "succeeded", job.error
    assert job.fine_tuned_model == f"ft:tiny:local:My-試し-:{job.id[-8:]}"
    assert job.trained_tokens
    assert job.hyperparameters["n_epochs"] == 3
    messages = [event.message for event in backend.events(job.id)]
    assert messages[:5] == [
        f"Created fine-tuning job: {job.id}",
        f"Validating training file: {job.training_file}",
        "Files validated, moving job to queued state",
        "Fine-tuning job started",
        messages[4],
    ]
    assert messages[4].startswith("Training on 12 examples")
    assert messages[-2:] == [
        f"New fine-tuned model created: {job.fine_tuned_model}",
        "The job has successfully completed",
    ]
    checkpoint = (
        f"Checkpoint created at step 6 with Snapshot ID: {job.fine_tuned_model}:ckpt-step-6"
    )
    assert checkpoint in messages
    numbers = [event.metrics for event in backend.events(job.id) if event.metrics]
    assert [metrics.step for metrics in numbers] == list(range(1, 19))
    assert [m.step for m in numbers if m.full_valid_loss is not None] == [6, 12, 18]
    assert all(m.valid_loss is not None for m in numbers)


def test_a_result_file_whose_worker_was_killed_leaves_no_draft(
    backend: LocalBackend, tiny_model: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as idle:
        idle.setattr(LocalBackend, "_ensure_worker", lambda _self: None)
        job = submit(backend, tiny_model, dataset, hyperparameters={"n_epochs": 1})
    draft = backend.store.job_folder(job.id) / f"{job.id}-step_metrics.csv"
    draft.parent.mkdir(parents=True, exist_ok=True)
    draft.write_text("half a fi")
    job = finish(backend, job)
    assert backend.result_file(job).startswith(b"step,")
    assert list(backend.store.home.rglob("*.csv")) == []


def test_checkpoints_and_result_file(finished: tuple[LocalBackend, Job]) -> None:
    backend, job = finished
    kept = backend.checkpoints(job.id)
    assert [checkpoint.step_number for checkpoint in kept] == [6, 12, 18]
    assert all(checkpoint.metrics.full_valid_loss for checkpoint in kept)
    rows = list(csv.DictReader(backend.result_file(job).decode().splitlines()))
    assert [row["step"] for row in rows] == [str(number) for number in range(1, 19)]
    assert float(rows[0]["train_loss"]) > 0
    assert rows[0]["full_valid_loss"] == ""
    folder = backend.store.job_folder(job.id)
    assert sorted(path.name for path in folder.iterdir()) == [
        "ckpt-step-12", "ckpt-step-18", "ckpt-step-6",
    ]  # fmt: skip
    assert checkpoints.verify(folder / "ckpt-step-18")


def test_base_tuned_and_checkpoints_answer(
    finished: tuple[LocalBackend, Job], tiny_model: Path
) -> None:
    backend, job = finished
    sampling = Sampling(temperature=0, max_tokens=12)
    names = [str(tiny_model), job.fine_tuned_model or ""]
    names += [c.fine_tuned_model_checkpoint for c in backend.checkpoints(job.id)]
    first = [backend.complete(name, ASK, sampling=sampling).text for name in names]
    again = [backend.complete(name, ASK, sampling=sampling).text for name in reversed(names)]
    assert first == again[::-1]  # whatever was asked in between
    assert first[1] == first[-1]  # the tuned model is its last checkpoint
    assert first[0] != first[1]
    with pytest.raises(NotFoundError, match="no model"):
        backend.complete("ft:tiny:local::nothere", ASK)


def test_the_same_seed_gives_the_same_bytes(
    finished: tuple[LocalBackend, Job], tiny_model: Path, backend: LocalBackend, tmp_path: Path
) -> None:
    other, job = finished
    dataset = write_dataset(tmp_path / "again.jsonl", 14)
    hyperparameters = {"n_epochs": 3, "batch_size": 2, "validation_split": 0.15}
    jobs = [
        submit(backend, tiny_model, dataset, hyperparameters=hyperparameters, seed=seed)
        for seed in (11, 12)
    ]
    same, different = [finish(backend, job) for job in jobs]
    assert adapter_bytes(backend, same) == adapter_bytes(other, job)
    assert adapter_bytes(backend, different) != adapter_bytes(other, job)
    assert told(backend, same)[1:] == told(other, job)[1:]  # the first names the file


def test_ten_kills_lose_and_repeat_nothing(tmp_path: Path, tiny_model: Path) -> None:
    """kill -9 at ten random steps of two jobs, in mid-epoch too: same events, same bytes.

    One of them is evaluated more often than it ends an epoch, and keeps its best checkpoint.
    """
    dataset = write_dataset(tmp_path / "train.jsonl", 30)
    plain = {"n_epochs": 5, "batch_size": 1, "lora_dropout": 0.1}
    best = {
        "validation_split": 0.1, "evaluation_epochs": 0.3, "evaluate_before_training": True,
        "save_best_checkpoint": True, "early_stopping_patience": 50,
    }  # fmt: skip
    settings: list[dict[str, Any]] = [plain, plain | best]
    calm = LocalBackend(Settings(home=tmp_path / "calm", cache=tmp_path))
    unbroken = [submit(calm, tiny_model, dataset, hyperparameters=each) for each in settings]
    unbroken = [finish(calm, job) for job in unbroken]
    stop_worker(calm)

    backend = LocalBackend(Settings(home=tmp_path / "killed", cache=tmp_path))
    jobs = [submit(backend, tiny_model, dataset, hyperparameters=each) for each in settings]
    moments = random.Random(5)
    for job in jobs:  # of 150 and 135 steps
        for target in sorted(moments.sample(range(2, 125), 5)):
            until(lambda: step(backend, job) >= target or backend.retrieve(job.id).ended)  # noqa: B023
            assert stop_worker(backend)
        finish(backend, job)
    stop_worker(backend)
    for wanted, job in zip(unbroken, jobs, strict=True):
        job = backend.retrieve(job.id)
        assert job.status == "succeeded", job.error
        ids = [event.id for event in backend.events(job.id)]
        assert len(ids) == len(set(ids))
        assert told(backend, job) == told(calm, wanted)
        assert adapter_bytes(backend, job) == adapter_bytes(calm, wanted)
        names = [c.step_number for c in backend.checkpoints(job.id)]
        assert names == [c.step_number for c in calm.checkpoints(wanted.id)]
        assert job.trained_tokens == wanted.trained_tokens
        over = [e for e in backend.events(job.id) if e.message.startswith("The worker stopped")]
        assert len(over) == 5


def test_pause_and_resume_end_where_an_unbroken_job_ends(
    tmp_path: Path, backend: LocalBackend, tiny_model: Path
) -> None:
    dataset = write_dataset(tmp_path / "train.jsonl", 40)
    settings = {"hyperparameters": {"n_epochs": 4, "batch_size": 1}}
    job = submit(backend, tiny_model, dataset, **settings)
    until(lambda: step(backend, job) >= 5)
    assert backend.pause(job.id).status in ("pausing", "paused")
    at = step(backend, job)
    until(lambda: backend.retrieve(job.id).status == "paused")
    assert step(backend, job) <= at + 2  # within a step of the request
    other = finish(backend, submit(backend, tiny_model, dataset, **settings))
    assert other.status == "succeeded"  # a paused job holds up no other
    assert backend.retrieve(job.id).status == "paused"
    assert backend.resume(job.id).status in ("queued", "running")
    assert backend.resume(job.id).id == job.id
    job = finish(backend, job)
    assert adapter_bytes(backend, job) == adapter_bytes(backend, other)
    assert told(backend, job) == told(backend, other)
    with pytest.raises(InvalidRequestError, match="succeeded and cannot be paused"):
        backend.pause(job.id)


def test_cancel_stops_within_a_step(
    tmp_path: Path, backend: LocalBackend, tiny_model: Path
) -> None:
    dataset = write_dataset(tmp_path / "train.jsonl", 200)
    settings = {"hyperparameters": {"n_epochs": 20, "batch_size": 1}}
    job = submit(backend, tiny_model, dataset, **settings)
    waiting = submit(backend, tiny_model, dataset, **settings)
    assert backend.cancel(waiting.id).status == "cancelled"
    until(lambda: step(backend, job) >= 3)
    assert backend.cancel(job.id).status == "cancelled"
    assert backend.cancel(job.id).status == "cancelled"
    events = backend.events(job.id)
    assert events[-1].message == "The job has been cancelled"
    log = backend.store.home / "worker.log"
    until(lambda: f"{job.id}: stopped, it is cancelled" in log.read_text())
    assert backend.events(job.id) == events  # nothing after the end
    assert backend.retrieve(waiting.id).status == "cancelled"
    with pytest.raises(InvalidRequestError, match="cannot be resumed"):
        backend.resume(job.id)


def test_sigterm_hands_the_job_to_the_next_worker(
    tmp_path: Path, backend: LocalBackend, tiny_model: Path
) -> None:
    dataset = write_dataset(tmp_path / "train.jsonl", 60)
    job = submit(backend, tiny_model, dataset, hyperparameters={"n_epochs": 5, "batch_size": 1})
    until(lambda: step(backend, job) >= 3)
    stop_worker(backend, signal.SIGTERM)
    assert backend.store.job(job.id).status == "queued"
    at = step(backend, job)
    job = finish(backend, job)
    assert job.status == "succeeded"
    assert f"Going on after step {at}" in [e.message for e in backend.events(job.id)]


def test_a_second_worker_says_who_holds_the_store(
    tmp_path: Path, backend: LocalBackend, tiny_model: Path, dataset: Path
) -> None:
    submit(backend, tiny_model, dataset)
    until(lambda: worker_pid(backend))
    words = ["--home", str(backend.store.home), "--cache", str(tmp_path)]
    second = subprocess.run(
        [sys.executable, "-m", "ftjobs.backends.local.worker", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 1
    assert f"a worker already serves {backend.store.home}: process {worker_pid(backend)}" in (
        second.stderr
    )
    assert "Traceback" not in second.stderr
    assert worker.ensure(backend.store, tmp_path) is False


def test_what_only_kills_its_worker_fails(
    backend: LocalBackend, tiny_model: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "ensure", lambda *_: False)  # we are the workers here
    job = submit(backend, tiny_model, dataset)
    for number in range(MAX_CRASHES):
        assert backend.store.claim(f"worker {number}") == job.id
    assert backend.store.claim("the last") is None
    job = backend.retrieve(job.id)
    assert job.status == "failed"
    assert job.error is not None
    assert job.error.code == "worker_crashed"


def test_a_worker_that_lost_its_job_can_write_nothing(
    backend: LocalBackend, tiny_model: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "ensure", lambda *_: False)
    job = submit(backend, tiny_model, dataset)
    backend.store.claim("old")
    backend.store.claim("new")
    before = backend.events(job.id)
    with pytest.raises(LeaseLost):
        backend.store.record(job.id, "old", [News("late", "too late")])
    with pytest.raises(LeaseLost):
        backend.store.finish(job.id, "old", "failed")
    assert backend.events(job.id) == before
    assert backend.retrieve(job.id).status == "running"


def test_a_damaged_state_is_passed_over(
    tmp_path: Path, backend: LocalBackend, tiny_model: Path
) -> None:
    dataset = write_dataset(tmp_path / "train.jsonl", 20)
    settings = {"hyperparameters": {"n_epochs": 8, "batch_size": 1}}
    job = submit(backend, tiny_model, dataset, **settings)
    until(lambda: step(backend, job) >= 61)
    stop_worker(backend)
    states = sorted(backend.store.job_folder(job.id).glob("state-*"), key=checkpoints.step_of)
    content = bytearray((states[-1] / "state.safetensors").read_bytes())
    content[-1] ^= 1
    (states[-1] / "state.safetensors").write_bytes(content)
    job = finish(backend, job)
    assert job.status == "succeeded"
    unbroken = finish(backend, submit(backend, tiny_model, dataset, **settings))
    assert adapter_bytes(backend, job) == adapter_bytes(backend, unbroken)


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "code", "message"),
    [
        ('{"messages": []}\n', "invalid_training_file", "train.jsonl:1"),
        ("", "invalid_training_file", "train.jsonl"),
    ],
)
def test_a_job_on_bad_data_fails_at_once(
    tmp_path: Path, backend: LocalBackend, tiny_model: Path, rows: str, code: str, message: str
) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(rows)
    job = submit(backend, tiny_model, path)
    assert job.status == "failed"
    assert job.error is not None
    assert job.error.code == code
    assert message in (job.error.message or "")
    assert worker_pid(backend) is None
    last = backend.events(job.id)[-1]
    assert (last.level, last.data["error_code"]) == ("error", code)


def test_invalid_json_is_found_on_its_line(
    tmp_path: Path, backend: LocalBackend, tiny_model: Path
) -> None:
    path = write_dataset(tmp_path / "train.jsonl", 12)
    lines = path.read_text().splitlines()
    lines[6] = lines[6][:-1]
    path.write_text("\n".join(lines) + "\n")
    job = submit(backend, tiny_model, path)
    assert job.error is not None
    assert "train.jsonl:7:" in (job.error.message or "")


def test_a_worker_reports_what_only_the_tokenizer_knows(
    tmp_path: Path, backend: LocalBackend, tiny_model: Path
) -> None:
    path = tmp_path / "train.jsonl"
    write_dataset(path, 12)
    path.write_text(path.read_text().replace("Answer number 14.", "<|im_end|>"))
    job = finish(backend, submit(backend, tiny_model, path))
    assert job.status == "failed"
    assert job.error is not None
    assert job.error.code == "invalid_training_file"
    assert "line 3" in (job.error.message or "")


@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.pt", "weights.ckpt"])
def test_pickles_are_never_read(
    tmp_path: Path, backend: LocalBackend, dataset: Path, file: str
) -> None:
    folder = tmp_path / "pickled"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / file).write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    with pytest.raises(ModelError, match="pickle"):
        submit(backend, folder, dataset)
    assert list(backend.jobs()) == []


def test_unknown_models_are_refused_before_a_job_exists(
    tmp_path: Path, backend: LocalBackend, dataset: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for model, reason in [
        ("gpt-5-mini", "unknown base model"),
        (str(tmp_path / "empty"), "no config.json"),
        (str(tmp_path / "nowhere"), "unknown base model"),
        ("../../etc/passwd", "unknown base model"),
    ]:
        with pytest.raises(ModelError, match=reason):
            submit(backend, model, dataset)
    assert list(backend.jobs()) == []


def test_a_base_model_that_changes_under_a_job_fails_it(
    tmp_path: Path, backend: LocalBackend
) -> None:
    model = tiny.save_model(tmp_path / "model", seed=1)
    dataset = write_dataset(tmp_path / "train.jsonl", 60)
    job = submit(backend, model, dataset, hyperparameters={"n_epochs": 20, "batch_size": 1})
    until(lambda: step(backend, job) >= 2)
    backend.pause(job.id)
    until(lambda: backend.retrieve(job.id).status == "paused")
    config = (model / "config.json").read_text()
    (model / "config.json").write_text(config + "\n")
    backend.resume(job.id)
    job = finish(backend, job)
    assert job.error is not None
    assert job.error.code == "base_model_changed"


def test_a_needed_file_is_not_deleted(
    backend: LocalBackend, tiny_model: Path, dataset: Path
) -> None:
    job = submit(backend, tiny_model, dataset)
    with pytest.raises(InvalidRequestError, match="needed by job"):
        backend.delete_file(job.training_file)
    backend.cancel(job.id)
    backend.delete_file(job.training_file)
    with pytest.raises(NotFoundError):
        backend.file(job.training_file)


def test_a_store_that_is_no_database_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "ftjobs.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError, match="not a database"):
        LocalBackend(Settings(home=tmp_path / "home", cache=tmp_path))


def test_a_store_of_a_newer_version_is_left_alone(backend: LocalBackend) -> None:
    with sqlite3.connect(backend.store.home / "ftjobs.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match="newer ftjobs"):
        LocalBackend(backend.settings)
