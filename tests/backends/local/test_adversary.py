"""Faults that were found by hand, each kept as a test."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from ftjobs.backends.local import checkpoints, models, worker
from ftjobs.backends.local.answers.draw import draws
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.backends.local.runner import JobRun
from ftjobs.backends.local.training.loop import Run
from ftjobs.errors import InvalidRequestError, ModelError, StoreError, TrainingError
from ftjobs.schema import ChatMessage, Example, Job, JobSpec, Sampling
from tests import tiny
from tests.backends.local.conftest import until, worker_pid, write_dataset
from tests.backends.local.test_jobs import finish, step, submit
from tests.backends.local.training.test_render import make

CALL = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
TOOLS = ({"type": "function", "function": {"name": "weather", "parameters": {}}},)


@pytest.fixture
def by_hand(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> LocalBackend:
    """A backend without a worker process: the test is the worker."""
    monkeypatch.setattr(worker, "ensure", lambda *_: False)
    return backend


def run(backend: LocalBackend, job: Job) -> Job:
    assert backend.store.claim("me") == job.id
    worker.run_job(backend.store, backend.settings.cache, "me", job.id, threading.Event())
    return backend.store.job(job.id)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (
            {
                "messages": [
                    {"role": "user", "content": "Rain?"},
                    {"role": "assistant", "content": None, "tool_calls": [CALL]},
                ]
            },
            "leaves out the tool calls",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": "Rain?"},
                    {"role": "assistant", "content": "No."},
                ],
                "tools": TOOLS,
            },
            "does not show the model its tools",
        ),
        (
            {
                "messages": [
                    {"role": "user<|im_end|>", "content": "Rain?"},
                    {"role": "assistant", "content": "No."},
                ]
            },
            "reserved tokens",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": "\ud800"},
                    {"role": "assistant", "content": "No."},
                ]
            },
            "not valid Unicode",
        ),
    ],
)
def test_what_a_template_cannot_say_is_never_dropped(
    tmp_path: Path, row: dict[str, Any], reason: str
) -> None:
    with pytest.raises(TrainingError, match=reason):
        make(tmp_path).example(Example.model_validate(row))


def test_the_same_upload_again_leaves_the_file_alone(backend: LocalBackend, dataset: Path) -> None:
    path = backend.store.file_path(backend.upload(dataset).id)
    before = path.stat()
    backend.upload(dataset)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert [child.name for child in path.parent.iterdir()] == [path.name]


def test_what_a_killed_upload_left_goes_once_it_is_old(
    backend: LocalBackend, dataset: Path
) -> None:
    file = backend.upload(dataset)
    files = backend.store.home / "files"
    old, fresh = files / ".upload-old", files / ".upload-fresh"
    for path in (old, fresh):
        path.write_bytes(b"half")
    for path in (old, files / file.id):
        os.utime(path, (0, 0))
    backend.store.sweep()
    assert sorted(path.name for path in files.iterdir()) == [fresh.name, file.id]


def test_a_passing_fault_of_the_store_does_not_fail_the_job(
    by_hand: LocalBackend, tiny_model: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(by_hand, tiny_model, dataset)
    monkeypatch.setattr(sqlite3, "connect", _impatient)
    by_hand.store.claim("me")
    blocker = sqlite3.Connection(by_hand.store.home / "ftjobs.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked"):
        worker.run_job(by_hand.store, Path(), "me", job.id, threading.Event())
    blocker.execute("ROLLBACK")
    blocker.close()
    assert by_hand.store.job(job.id).status == "running"
    assert run(by_hand, job).status == "succeeded"


def _impatient(path: Path, **options: Any) -> sqlite3.Connection:
    return sqlite3.Connection(path, timeout=0.1, isolation_level=options["isolation_level"])


def test_a_worker_whose_lock_was_removed_ends(
    backend: LocalBackend, tiny_model: Path, dataset: Path
) -> None:
    """Two workers on one store would take the job from each other."""
    job = finish(backend, submit(backend, tiny_model, dataset))
    assert job.status == "succeeded"
    first = worker_pid(backend)
    assert first
    (backend.store.home / "worker.lock").unlink()
    until(lambda: worker_pid(backend) is None)
    assert finish(backend, submit(backend, tiny_model, dataset)).status == "succeeded"


def test_weights_that_are_not_whole_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tiny.save_model(tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in tensors.items() if "layers.1" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="not whole"):
        models.load_model(folder, dtype="float32", device="cpu")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model.safetensors", b""),
        ("model.safetensors", b"\xff" * 100),
        ("config.json", b'{"model_type": "llama", "hidden_size": "big"}'),
        ("config.json", b"[]"),
        ("tokenizer_config.json", b"[]"),
        ("tokenizer.json", b"{"),
    ],
)
def test_broken_model_folders_are_model_errors(
    tmp_path: Path, backend: LocalBackend, file: str, content: bytes
) -> None:
    folder = tiny.save_model(tmp_path / "model")
    (folder / file).write_bytes(content)
    with pytest.raises(ModelError):
        backend.complete(str(folder), (ChatMessage(role="user", content="hi"),))


@pytest.mark.parametrize(
    "template", ["{{ 1 / 0 }}", "{{ range(10 ** 9) }}", "", "{{ raise_exception('no') }}"]
)
def test_hostile_templates_are_refused(
    tmp_path: Path, backend: LocalBackend, template: str
) -> None:
    folder = tiny.save_model(tmp_path / "model", template=template)
    with pytest.raises((InvalidRequestError, ModelError)):
        backend.complete(str(folder), (ChatMessage(role="user", content="hi"),))


def test_a_pause_that_was_taken_back_is_not_granted(
    by_hand: LocalBackend, tiny_model: Path, dataset: Path
) -> None:
    job = submit(by_hand, tiny_model, dataset)
    by_hand.store.claim("me")
    assert by_hand.pause(job.id).status == "pausing"
    assert by_hand.resume(job.id).status == "running"
    assert by_hand.store.pause_now(job.id, "me") is False
    assert by_hand.store.job(job.id).status == "running"


def test_a_pause_survives_the_end_of_the_worker(
    by_hand: LocalBackend, tiny_model: Path, dataset: Path
) -> None:
    job = submit(by_hand, tiny_model, dataset)
    by_hand.store.claim("me")
    by_hand.pause(job.id)
    by_hand.store.release(job.id, "me")
    assert by_hand.store.job(job.id).status == "paused"


def test_a_model_that_diverged_does_not_succeed(
    by_hand: LocalBackend, tiny_model: Path, dataset: Path
) -> None:
    settings = {"n_epochs": 1, "batch_size": 64, "learning_rate_multiplier": 1e300}
    job = run(by_hand, submit(by_hand, tiny_model, dataset, hyperparameters=settings))
    assert job.error is not None
    assert job.error.code in ("weights_not_finite", "loss_not_finite", "gradient_not_finite")
    nan = torch.tensor([[float("nan"), 0.0]])
    with pytest.raises(ValueError, match="no numbers"):
        draws(Sampling(temperature=0), [0], {1})[0].next(nan)


@pytest.mark.parametrize("end", ["cancel", "pause", "fail", "succeed"])
def test_a_job_that_has_ended_keeps_no_state(
    by_hand: LocalBackend,
    tiny_model: Path,
    dataset: Path,
    end: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is three times the adapter, and nobody can go on from it."""
    settings = {"n_epochs": 2, "batch_size": 12}
    job = submit(by_hand, tiny_model, dataset, hyperparameters=settings)
    states = by_hand.store.job_folder(job.id)
    save = JobRun._save_state

    def saved(self: JobRun, at: Run) -> None:
        save(self, at)
        assert list(states.glob("state-step-*"))
        if end == "fail":
            raise TrainingError("odd", code="odd")
        if end != "succeed" and at.done == 1:
            getattr(by_hand, end)(job.id)

    monkeypatch.setattr(JobRun, "_save_state", saved)
    wanted = {"cancel": "cancelled", "pause": "paused", "fail": "failed", "succeed": "succeeded"}
    assert run(by_hand, job).status == wanted[end]
    if end == "pause":
        assert list(states.glob("state-step-*"))
        by_hand.cancel(job.id)
    assert not list(states.glob("state-step-*"))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    ],
)
def test_memory_that_ends_outside_of_a_step_is_called_so(error: Exception) -> None:
    """As where a base model is put on its device."""
    assert worker._code(error) == "out_of_memory"


def test_a_models_newest_checkpoint_goes_only_with_the_model(
    by_hand: LocalBackend, tiny_model: Path, dataset: Path
) -> None:
    job = run(by_hand, submit(by_hand, tiny_model, dataset))
    first, *_, last = by_hand.checkpoints(job.id)
    with pytest.raises(InvalidRequestError, match="stands for"):
        by_hand.delete_model(last.fine_tuned_model_checkpoint)
    by_hand.delete_model(first.fine_tuned_model_checkpoint)
    assert job.fine_tuned_model
    by_hand.delete_model(job.fine_tuned_model)
    assert list(by_hand.checkpoints(job.id)) == []
    assert by_hand.store.job(job.id).fine_tuned_model is None


def test_a_damaged_checkpoint_does_not_answer(
    by_hand: LocalBackend, tiny_model: Path, dataset: Path
) -> None:
    job = run(by_hand, submit(by_hand, tiny_model, dataset))
    folder, _ = by_hand.store.adapter(job.fine_tuned_model or "")
    weights = bytearray((folder / "adapter_model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "adapter_model.safetensors").write_bytes(weights)
    assert checkpoints.verify(folder) is None
    with pytest.raises(ModelError, match="damaged"):
        by_hand.complete(job.fine_tuned_model or "", (ChatMessage(role="user", content="hi"),))


def test_looking_does_not_wait_for_a_writer(backend: LocalBackend) -> None:
    blocker = sqlite3.connect(backend.store.home / "ftjobs.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    try:
        assert list(LocalBackend(backend.settings).jobs()) == []
    finally:
        blocker.close()


def test_a_file_of_the_users_does_not_stand_in_for_a_module(
    backend: LocalBackend, tiny_model: Path, dataset: Path
) -> None:
    (backend.store.home / "random.py").write_text("raise SystemExit(9)")
    assert finish(backend, submit(backend, tiny_model, dataset)).status == "succeeded"


@pytest.mark.parametrize("model", ["x" * 5000, "~nosuchuser", "a\0b"])
def test_impossible_names_are_unknown_models(
    backend: LocalBackend, dataset: Path, model: str
) -> None:
    with pytest.raises(ModelError, match="unknown base model"):
        backend.create(JobSpec(model=model, training_file=backend.upload(dataset).id))


def test_a_file_name_that_is_not_utf8_is_kept_readable(
    tmp_path: Path, backend: LocalBackend
) -> None:
    path = tmp_path / b"\x83e.jsonl".decode("utf-8", "surrogateescape")
    path.write_text(json.dumps({}))
    assert backend.upload(path).filename == "\ufffde.jsonl"


def test_many_at_once_and_one_worker(
    tmp_path: Path, backend: LocalBackend, tiny_model: Path
) -> None:
    dataset = write_dataset(tmp_path / "train.jsonl", 10)
    settings = {"hyperparameters": {"n_epochs": 1, "batch_size": 10}}
    jobs: list[Job] = []
    threads = [
        threading.Thread(
            target=lambda: jobs.append(submit(backend, tiny_model, dataset, **settings))
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({job.id for job in jobs}) == 8
    assert {finish(backend, job).status for job in jobs} == {"succeeded"}
    assert {step(backend, job) for job in jobs} == {1}


RACE = """
import multiprocessing, sys
from pathlib import Path
from ftjobs.backends.local.store import Store

def begin(home, barrier):
    barrier.wait()
    list(Store(home).files())

processes = multiprocessing.get_context("fork")
for round in range(30):
    barrier = processes.Barrier(8)
    home = Path(sys.argv[1]) / str(round)
    openers = [processes.Process(target=begin, args=(home, barrier)) for _ in range(8)]
    for opener in openers:
        opener.start()
    for opener in openers:
        opener.join()
    assert [opener.exitcode for opener in openers] == [0] * 8
"""


def test_many_processes_may_begin_a_store_at_once(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RACE, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
