"""DPO jobs by real worker processes: what they tell, what no kill can break, what is refused."""

from __future__ import annotations

import csv
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from ftjobs import data
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.config import Settings
from ftjobs.errors import UnsupportedError
from ftjobs.schema import ChatMessage, Job, Sampling
from tests.backends.local.conftest import stop_worker, until, worker_pid, write_dataset
from tests.backends.local.test_jobs import adapter_bytes, finish, step, submit, told

REWARDS = ("chosen", "rejected", "margins", "accuracies")


def row(number: int, better: Any = None, worse: Any = None) -> dict[str, Any]:
    return {
        "input": {"messages": [{"role": "user", "content": f"Question {number}?"}]},
        "preferred_output": [{"role": "assistant", "content": better or f"Yes, {number}."}],
        "non_preferred_output": [{"role": "assistant", "content": worse or f"{number}? No idea."}],
    }


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), "utf-8")
    return path


def prefer(backend: LocalBackend, model: Path, path: Path, **hyperparameters: Any) -> Job:
    asked = {"n_epochs": 3, "batch_size": 2, "learning_rate": 1e-3} | hyperparameters
    return submit(backend, model, path, method="dpo", hyperparameters=asked)


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path
) -> tuple[LocalBackend, Job, Path]:
    """An unbroken job of 3 epochs of 6 steps, with a validation split."""
    folder = tmp_path_factory.mktemp("preferences")
    backend = LocalBackend(Settings(home=folder / "home", cache=folder / "cache"))
    path = write(folder / "prefs.jsonl", [row(number) for number in range(14)])
    job = finish(backend, prefer(backend, tiny_model, path, beta=0.3, validation_split=0.15))
    stop_worker(backend)
    return backend, job, path


def test_a_job_tells_losses_and_rewards(finished: tuple[LocalBackend, Job, Path]) -> None:
    backend, job, _ = finished
    assert job.status == "succeeded", job.error
    assert job.hyperparameters["beta"] == 0.3
    assert job.method is not None
    assert job.method["type"] == "dpo"
    assert job.method["dpo"]["hyperparameters"]["beta"] == 0.3
    messages = [event.message for event in backend.events(job.id)]
    assert any(line.startswith("Training on 12 pairs") for line in messages)
    assert any("beta 0.3" in line for line in messages)
    steps = [event.metrics for event in backend.events(job.id) if event.metrics]
    assert [metrics.step for metrics in steps] == list(range(1, 19))
    assert steps[0].train_loss == pytest.approx(0.693147)
    told = steps[-1].model_extra or {}
    for prefix in ("train", "valid", "full_valid"):
        assert told.keys() >= {f"{prefix}_rewards_{name}" for name in REWARDS}
        assert 0 <= getattr(steps[-1], f"{prefix}_mean_token_accuracy") < 1
    assert told["train_rewards_margins"] > 0
    assert told["train_rewards_accuracies"] == 1.0
    assert steps[-1].full_valid_loss is not None
    assert steps[-1].full_valid_loss < 0.69


def test_checkpoints_and_result_file_hold_the_rewards(
    finished: tuple[LocalBackend, Job, Path],
) -> None:
    backend, job, _ = finished
    kept = backend.checkpoints(job.id)
    assert [checkpoint.step_number for checkpoint in kept] == [6, 12, 18]
    assert (kept[-1].metrics.model_extra or {})["full_valid_rewards_margins"] > 0
    rows = list(csv.DictReader(backend.result_file(job).decode().splitlines()))
    assert list(rows[0])[:3] == ["step", "train_loss", "train_mean_token_accuracy"]
    assert float(rows[0]["train_rewards_margins"]) == 0
    assert float(rows[-1]["train_rewards_margins"]) > 0
    assert rows[0]["full_valid_rewards_margins"] == ""


def test_the_tuned_model_prefers_what_it_was_taught(
    finished: tuple[LocalBackend, Job, Path], tiny_model: Path
) -> None:
    backend, job, path = finished
    pair = next(iter(data.read(path).preferences()))
    margins = []
    for model in (str(tiny_model), job.fine_tuned_model or ""):
        outputs = [pair.preferred.messages, pair.non_preferred.messages]
        better, worse = list(backend.likelihoods(model, outputs))
        margins.append(getattr(worse, "loss") - getattr(better, "loss"))  # noqa: B009 — or an error
    assert margins[1] > margins[0] + 1
    ask = (ChatMessage(role="user", content="Question 3?"),)
    sampling = Sampling(temperature=0, max_tokens=4)
    assert backend.complete(job.fine_tuned_model or "", ask, sampling=sampling).choices


def test_a_job_that_changes_hands_in_mid_epoch_ends_as_an_unbroken_one(
    finished: tuple[LocalBackend, Job, Path], backend: LocalBackend, tiny_model: Path
) -> None:
    """The same events, the same bytes."""
    calm, wanted, path = finished
    job = prefer(backend, tiny_model, path, beta=0.3, validation_split=0.15)
    until(lambda: step(backend, job) >= 2)
    assert stop_worker(backend, signal.SIGTERM)
    at = step(backend, job)
    assert at % 6, "the epoch had ended"
    job = finish(backend, job)
    assert f"Going on after step {at}" in [event.message for event in backend.events(job.id)]
    assert adapter_bytes(backend, job) == adapter_bytes(calm, wanted)
    assert told(backend, job)[1:] == told(calm, wanted)[1:]  # the first names the file


# --- bad input --------------------------------------------------------------------------------


def test_pairs_that_render_alike_fail_the_job_with_their_line(
    tmp_path: Path, backend: LocalBackend, tiny_model: Path
) -> None:
    """The checker sees two texts, the template one."""
    parts = [{"type": "text", "text": "Private."}]
    rows = [row(number) for number in range(10)] + [row(10, "Private.", parts)]
    job = finish(backend, prefer(backend, tiny_model, write(tmp_path / "prefs.jsonl", rows)))
    assert job.status == "failed"
    assert job.error is not None
    assert job.error.code == "invalid_training_file"
    assert (job.error.message or "").startswith("line 11 cannot be trained")
    assert "Private" not in (job.error.message or "")


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (row(10, "Same.", "Same."), "both outputs are equal"),
        (
            row(10) | {"input": {"messages": [{"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "https://lamps.example/a.png"}}
            ]}]}},
            "text only",
        ),
    ],
)  # fmt: skip
def test_equal_outputs_and_images_are_found_on_their_line(
    tmp_path: Path, backend: LocalBackend, tiny_model: Path, last: dict[str, Any], message: str
) -> None:
    path = write(tmp_path / "prefs.jsonl", [*[row(number) for number in range(10)], last])
    assert [issue.line for issue in data.check(path).errors] == [11]
    job = prefer(backend, tiny_model, path)
    assert job.status == "failed"
    assert job.error is not None
    assert job.error.code == "invalid_training_file"
    assert f"prefs.jsonl:11: {message}" in (job.error.message or "").replace(
        "preference examples are ", ""
    )
    assert worker_pid(backend) is None


def test_a_file_of_another_method_is_refused(
    tmp_path: Path, backend: LocalBackend, tiny_model: Path
) -> None:
    chat = write_dataset(tmp_path / "train.jsonl", 12)
    prefs = write(tmp_path / "prefs.jsonl", [row(number) for number in range(12)])
    job = submit(backend, tiny_model, chat, method="dpo")
    assert "supervised examples, not dpo" in (job.error.message or "" if job.error else "")
    job = submit(backend, tiny_model, prefs)
    assert "dpo examples, not supervised" in (job.error.message or "" if job.error else "")


@pytest.mark.parametrize(
    ("method", "asked", "name"),
    [
        ("supervised", {"beta": 0.1}, "beta"),
        ("dpo", {"train_on_inputs": True}, "train_on_inputs"),
        ("dpo", {"token_mask_probability": 0.1}, "token_mask_probability"),
        ("dpo", {"evaluation_metric": "bleu"}, "evaluation_metric"),
    ],
)
def test_settings_of_the_other_method_are_refused(
    backend: LocalBackend,
    tiny_model: Path,
    dataset: Path,
    method: str,
    asked: dict[str, Any],
    name: str,
) -> None:
    with pytest.raises(UnsupportedError, match=name):
        submit(backend, tiny_model, dataset, method=method, hyperparameters=asked)
    assert list(backend.jobs()) == []
