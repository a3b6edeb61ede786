"""The forecast of a job: of memory, of time, and of what would help."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ftjobs.backends.base import Fit, Foretells
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.backends.local.fit import forecast, machine
from ftjobs.backends.local.fit.forecast import Texts
from ftjobs.backends.local.fit.machine import Room
from ftjobs.backends.local.fit.size import known_shape
from ftjobs.backends.local.fit.speed import Speed, earlier, seconds
from ftjobs.backends.local.store import News, WorkerInfo
from ftjobs.data.stats import statistics
from ftjobs.errors import ModelError, TrainingError
from ftjobs.jobs.budget import counter_of
from ftjobs.schema import Hyperparameters, JobSpec
from tests.backends.local.fit.test_memory import RECIPE


def spec(model: Path | str, method: str = "supervised", **settings: object) -> JobSpec:
    return JobSpec.model_validate(
        {"model": str(model), "training_file": "t", "method": method, "hyperparameters": settings}
    )


def fit_of(backend: LocalBackend, job: JobSpec, path: Path, valid: Path | None = None) -> Fit:
    counter = counter_of(backend, job)
    found = backend.foretell(
        job, statistics(path, counter), statistics(valid, counter) if valid else None
    )
    assert found is not None
    return found


def test_a_small_job_fits(backend: LocalBackend, tiny_model: Path, dataset: Path) -> None:
    assert isinstance(backend, Foretells)
    fit = fit_of(backend, spec(tiny_model), dataset)
    counted = statistics(dataset, counter_of(backend, spec(tiny_model))).tokens
    assert counted is not None
    assert (fit.longest, fit.tokens) == (counted.maximum, counted.total * 9)  # 12 examples
    assert fit.bytes == sum(fit.parts.values())
    assert fit.parts["weights"] < 10_000_000 < fit.bytes < 1_000_000_000
    assert fit.free_bytes is not None
    assert fit.share < 0.85
    assert fit.advice == ()
    assert fit.seconds is not None  # torch is loaded here, so the device was measured
    assert fit.seconds > 10
    assert fit.source == "its matrix products"
    assert Fit.model_validate_json(fit.model_dump_json()) == fit


def test_what_is_held_out_is_not_trained(
    backend: LocalBackend, tiny_model: Path, dataset: Path
) -> None:
    whole = fit_of(backend, spec(tiny_model, n_epochs=2), dataset)
    split = fit_of(backend, spec(tiny_model, n_epochs=2, validation_split=0.25), dataset)
    assert split.tokens == pytest.approx(0.75 * whole.tokens, rel=0.01)


def test_a_base_model_that_is_not_here(backend: LocalBackend, dataset: Path) -> None:
    counted = statistics(dataset, counter_of(backend, spec("nobody/nothing")))
    assert backend.foretell(spec("nobody/nothing"), counted) is None


def test_settings_without_a_step(backend: LocalBackend, tiny_model: Path, dataset: Path) -> None:
    job = spec(tiny_model, batch_size=64, drop_last_batch=True)
    with pytest.raises(TrainingError, match="drop_last_batch"):
        fit_of(backend, job, dataset)


def test_a_base_model_that_is_damaged(
    backend: LocalBackend, tiny_model: Path, dataset: Path, tmp_path: Path
) -> None:
    counted = statistics(dataset, counter_of(backend, spec(tiny_model)))
    folder = tmp_path / "damaged"
    folder.mkdir()
    (folder / "config.json").write_bytes((tiny_model / "config.json").read_bytes())
    (folder / "model.safetensors").write_bytes(b"\xff" * 9)
    with pytest.raises(ModelError):
        backend.foretell(spec(folder), counted)


def test_several_processes_need_as_much_each(
    backend: LocalBackend, tiny_model: Path, dataset: Path
) -> None:
    one = fit_of(backend, spec(tiny_model), dataset).bytes
    backend.settings = backend.settings.model_copy(update={"processes": 3})
    assert fit_of(backend, spec(tiny_model), dataset).bytes == 3 * one


# --- what would help ----------------------------------------------------------------------------


def long_example(path: Path, count: int) -> Path:
    row = {
        "messages": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "a" * count},
        ]
    }
    path.write_text(json.dumps(row) + "\n")
    return path


def test_every_advice_would_do(
    backend: LocalBackend, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = long_example(tmp_path / "long.jsonl", 80_000)
    job = spec(tiny_model, lora_dropout=0.1, dtype="float32", context_length=90_000)
    need = fit_of(backend, job, path).bytes
    free = int(need * 0.9)
    monkeypatch.setattr(machine, "room", lambda: Room(free, free))
    fit = fit_of(backend, job, path)
    assert fit.share > 1
    assert "gradient_checkpointing true" in fit.advice
    assert any(advice.startswith("no example of more than") for advice in fit.advice)
    changed = job.model_copy(
        update={"hyperparameters": Hyperparameters(
            lora_dropout=0.1, dtype="float32", context_length=90_000, gradient_checkpointing=True
        )}
    )  # fmt: skip
    assert fit_of(backend, changed, path).share <= 0.85
    words = next(advice for advice in fit.advice if advice.startswith("no example"))
    longest = int(words.split()[5].replace(",", ""))
    assert 1024 <= longest < 80_000
    assert fit_of(backend, job, long_example(path, longest - 60)).share <= 0.86


def test_the_memory_of_the_worker_is_free_for_the_next_job(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "room", lambda: Room(5, 10**12))
    assert forecast.room(backend.store) == Room(5, 10**12)
    now = time.time()
    own = WorkerInfo("me", os.getpid(), socket.gethostname(), now, now)
    backend.store.heartbeat(own)
    found = forecast.room(backend.store)
    assert found is not None
    assert found.free > 10_000_000
    for other in (replace(own, host="elsewhere"), replace(own, heartbeat_at=now - 3600)):
        backend.store.heartbeat(other)
        assert forecast.room(backend.store) == Room(5, 10**12)
    backend.store.heartbeat(replace(own, heartbeat_at=0))  # the fixture must end no process of ours


# --- what an epoch reads ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("together", "examples", "longest", "wanted"),
    [
        (1, 10, 200, 200),
        (4, 10, 200, 800),
        (8, 10, 200, 1024),
        (8, 2, 200, 400),
        (1, 9, 3000, 3000),
    ],
)
def test_what_is_computed_at_once(together: int, examples: int, longest: int, wanted: int) -> None:
    load = Texts(examples, examples * longest, longest, examples, 1).load(together, RECIPE)
    assert (load.tokens, load.longest) == (wanted, longest)
    assert 1 <= load.supervised <= wanted


# --- time ---------------------------------------------------------------------------------------


def finished(backend: LocalBackend, model: str, dtype: str, rates: Sequence[float]) -> None:
    """A job that succeeded at these paces, one a step."""
    store = backend.store
    job = store.create_job(spec(model), news=[])
    assert store.claim("me") == job.id
    store.set_recipe(
        job.id,
        "me",
        {"recipe": replace(RECIPE, dtype=dtype).to_json(), "hyperparameters": {}, "seed": 1},
    )
    for step, rate in enumerate(rates, start=1):
        numbers = {"step": step, "tokens_per_second": rate}
        store.record(
            job.id, "me", [News(f"m{step}", "step", type="metrics", data=numbers)], step=step
        )
    store.finish(job.id, "me", "succeeded", fine_tuned_model=f"ft:{job.id}")


def test_earlier_jobs_tell_the_pace(backend: LocalBackend) -> None:
    assert earlier(backend.store, "m", RECIPE) is None
    finished(backend, "m", "float32", [1, 1, 1, 100, 120, 140])
    assert earlier(backend.store, "m", RECIPE) == Speed(120, "1 earlier job")
    finished(backend, "m", "bfloat16", [900] * 9)
    finished(backend, "other", "float32", [900] * 9)
    finished(backend, "m", "float32", [200])
    assert earlier(backend.store, "m", RECIPE) == Speed(160, "2 earlier jobs")
    finished(backend, "m", "float32", [])
    assert earlier(backend.store, "m", RECIPE) == Speed(160, "2 earlier jobs")


def test_validation_takes_its_time() -> None:
    pace = Speed(100.0, "")
    recipe = replace(RECIPE, n_epochs=3)
    alone = seconds(recipe, pace, 1000)
    assert seconds(recipe, pace, 1000, 500, 0) == pytest.approx(alone + 3 * 500 / 2 / 100)


def test_known_sizes_have_the_parameters_that_they_are_named_by() -> None:
    assert known_shape(576, 30, 9, 3, 64, 1536, 49_152).parameters == pytest.approx(
        134.5e6, rel=0.01
    )


def test_doctor_tells_what_fits(backend: LocalBackend) -> None:
    found = {name: text for name, _, text in backend.doctor()}
    assert "GFLOP/s" in found["matrix products"]
    assert "GB free" in found["memory"]
    assert "base model" in found["room for"]
