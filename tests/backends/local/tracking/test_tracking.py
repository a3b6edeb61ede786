"""Whole jobs with integrations: each step arrives once, and nothing of theirs touches a job."""

from __future__ import annotations

import importlib
import importlib.util
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ftjobs.backends.local import worker
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.backends.local.tracking import following
from ftjobs.backends.local.tracking.following import said
from ftjobs.backends.local.tracking.sink import Numbers, Tracked
from ftjobs.backends.local.tracking.tensorboard import TensorBoardSink
from ftjobs.config import Settings
from ftjobs.errors import ConfigError
from ftjobs.integrations import SETTINGS
from ftjobs.schema import Job, JobSpec
from tests.backends.local.conftest import until, write_dataset
from tests.backends.local.tracking.reading import READERS, Steps, wandb_records

HERE = "this process"
KEY = "k3y" * 14


def sink_param(kind: str) -> Any:
    reason = f"{kind} is no part of the dev extra: docs/how-to/track-experiments.md"
    missing = importlib.util.find_spec(kind) is None
    return pytest.param(kind, marks=pytest.mark.skipif(missing, reason=reason))


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where integrations write."""
    folder = tmp_path / "elsewhere"
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(folder))
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("TRACKIO_DIR", str(folder))
    folder.mkdir()
    return folder


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalBackend:
    """One whose worker is this process."""
    monkeypatch.setattr(worker, "ensure", lambda *_: False)
    monkeypatch.setattr(following, "PULSE", 0.01)
    return LocalBackend(Settings(home=tmp_path / "home", cache=tmp_path / "cache"))


def integration(kind: str, folder: Path) -> dict[str, Any]:
    settings: dict[str, Any] = {} if kind == "tensorboard" else {"project": "otters"}
    if kind == "tensorboard":
        settings["log_dir"] = str(folder)
    if kind == "mlflow":
        settings["tracking_uri"] = str(folder)
    return {"type": kind, kind: settings}


def submit(backend: LocalBackend, model: Path, tmp_path: Path, *integrations: Any) -> Job:
    train = write_dataset(tmp_path / "train.jsonl", 12)
    return backend.create(
        JobSpec(
            model=str(model),
            training_file=backend.upload(train).id,
            seed=11,
            hyperparameters={"n_epochs": 2, "batch_size": 4, "learning_rate": 5e-3},
            integrations=integrations,
        )
    )


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


def recorded(backend: LocalBackend, job: Job) -> Steps:
    """The truth: what the job's own events say."""
    events = (event for event in backend.events(job.id) if event.metrics)
    left_out = ("step", "total_steps")
    return [
        (int(e.data["step"]), {k: v for k, v in e.data.items() if k not in left_out})
        for e in events
    ]


def warnings(backend: LocalBackend, job: Job) -> list[str]:
    return [event.message for event in backend.events(job.id) if event.level == "warn"]


# --- what arrives -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [sink_param(kind) for kind in SETTINGS])
def test_every_step_arrives_once_through_breaks(
    kind: str, backend: LocalBackend, tiny_model: Path, tmp_path: Path, elsewhere: Path
) -> None:
    job = submit(backend, tiny_model, tmp_path, integration(kind, elsewhere))
    assert run_here(backend, job, stop_after=2).status == "queued"
    assert run_here(backend, job, stop_after=4).status == "queued"
    job = run_here(backend, job)
    assert job.status == "succeeded", job.error
    assert warnings(backend, job) == []
    until(lambda: len(READERS[kind](elsewhere, job.id)) >= 6)  # importing W&B may take its time
    arrived, expected = READERS[kind](elsewhere, job.id), recorded(backend, job)
    assert [step for step, _ in arrived] == [step for step, _ in expected] == [1, 2, 3, 4, 5, 6]
    for (_, there), (_, here) in zip(arrived, expected, strict=True):
        assert there == pytest.approx(here, rel=1e-6)  # TensorBoard keeps 32 bits


@pytest.mark.parametrize("kind", [sink_param(kind) for kind in SETTINGS])
def test_no_text_no_key_and_no_path_leaves_the_store(
    kind: str, backend: LocalBackend, tiny_model: Path, tmp_path: Path, elsewhere: Path
) -> None:
    if kind == "wandb":  # its own log, which it sends nowhere, stands beside
        pattern = "wandb/*/*.wandb"
    else:
        pattern = "*/events.out.*" if kind == "tensorboard" else "**/*"
    job = run_here(backend, submit(backend, tiny_model, tmp_path, integration(kind, elsewhere)))
    READERS[kind](elsewhere, job.id)  # waits until all is written
    if kind == "trackio":  # which asks for its folder once a process
        elsewhere = Path(importlib.import_module("trackio.utils").TRACKIO_DIR)
    files = [path for path in elsewhere.glob(pattern) if path.is_file()]
    sent = b"".join(path.read_bytes() for path in files if path.name != "meta.yaml")
    assert job.id.encode() in sent
    assert b"learning_rate" in sent or list(elsewhere.rglob("learning_rate"))
    for secret in ("Answer number", "Question", KEY, str(tmp_path), str(Path.home())):
        assert secret.encode() not in sent


def test_wandb_offline_is_one_run_that_knows_its_recipe(
    backend: LocalBackend, tiny_model: Path, tmp_path: Path, elsewhere: Path
) -> None:
    wanted = {"project": "otters", "name": "third", "entity": "team", "tags": ["a", "b"]}
    job = submit(backend, tiny_model, tmp_path, {"type": "wandb", "wandb": wanted})
    run_here(backend, job, stop_after=3)
    job = run_here(backend, job)
    assert [step for step, _ in READERS["wandb"](elsewhere, job.id)] == [1, 2, 3, 4, 5, 6]
    runs = [r.run for r in wandb_records(elsewhere, job.id) if r.WhichOneof("record_type") == "run"]
    assert {(r.run_id, r.project, r.entity, r.display_name) for r in runs} == {
        (job.id, "otters", "team", "third")
    }
    assert {tuple(run.tags) for run in runs} == {("a", "b")}
    config = {item.key: item.value_json for item in runs[0].config.update}
    assert (config["n_epochs"], config["seed"]) == ("2", "11")
    assert len(list(elsewhere.glob("wandb/offline-run-*"))) == 2


@pytest.mark.parametrize("cut", [1, 5, 40, 200])
def test_a_torn_event_file_is_gone_on_with(cut: int, tmp_path: Path) -> None:
    job = Tracked("ftjob-1", tmp_path / "own", {"seed": 1})
    sink = TensorBoardSink({"log_dir": str(tmp_path)}, job)
    for step in range(1, 6):
        sink.log(step, {"epoch": 1.0, "train_loss": 1 / step})
    sink.finish("running", None)
    (file,) = (tmp_path / "ftjob-1").iterdir()
    file.write_bytes(file.read_bytes()[:-cut])
    sink = TensorBoardSink({"log_dir": str(tmp_path)}, job)
    assert sink.last_step() < 5
    for step in range(sink.last_step() + 1, 7):
        if step:
            sink.log(step, {"epoch": 1.0, "train_loss": 1 / step})
    sink.finish("succeeded", "ft:m")
    steps = [step for step, _ in READERS["tensorboard"](tmp_path, "ftjob-1")]
    assert steps == [1, 2, 3, 4, 5, 6]


# --- what may go wrong --------------------------------------------------------------------------


def test_a_place_that_cannot_be_written_is_one_warning(
    backend: LocalBackend,
    tiny_model: Path,
    tmp_path: Path,
    elsewhere: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "AGAIN", 0.01)
    file = tmp_path / "a-file"
    file.touch()
    settings = {"type": "tensorboard", "tensorboard": {"log_dir": str(file)}}
    job = run_here(
        backend, submit(backend, tiny_model, tmp_path, settings, integration("wandb", elsewhere))
    )
    assert job.status == "succeeded"
    (warning,) = warnings(backend, job)
    assert warning.startswith("The metrics do not reach tensorboard: NotADirectoryError: ")
    until(lambda: len(READERS["wandb"](elsewhere, job.id)) == 6)  # the other one goes on


class Hostile:
    """A run that fails at a step until it is mended, or hangs at it."""

    def __init__(self, fails_at: int = -1, hangs_at: int = -1) -> None:
        self.fails_at, self.hangs_at = fails_at, hangs_at
        self.steps: list[int] = []
        self.end: tuple[str, str | None] | None = None
        self.free = threading.Event()

    def last_step(self) -> int:
        return max(self.steps, default=-1)

    def log(self, step: int, numbers: Numbers) -> None:
        if step == self.hangs_at:
            self.free.wait()
        if step == self.fails_at:
            self.fails_at = -1
            raise ConnectionError(f"POST https://me:pass@host/?key={KEY} refused")
        self.steps.append(step)

    def finish(self, status: str, model: str | None) -> None:
        self.end = (status, model)


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Hostile:
    sink = Hostile()

    def opened(kind: str, settings: Mapping[str, Any], job: Tracked) -> Hostile:
        return sink

    monkeypatch.setattr(following, "opened", opened)
    return sink


def test_what_failed_is_made_up_for_and_its_secret_kept(
    backend: LocalBackend,
    tiny_model: Path,
    tmp_path: Path,
    elsewhere: Path,
    hostile: Hostile,
    capfd: pytest.CaptureFixture[str],
) -> None:
    hostile.fails_at = 2
    job = run_here(backend, submit(backend, tiny_model, tmp_path, {"type": "tensorboard"}))
    assert hostile.steps == [1, 2, 3, 4, 5, 6]
    assert hostile.end == ("succeeded", job.fine_tuned_model)
    (warning,) = warnings(backend, job)
    assert "ConnectionError: POST https://host/?key=[key] refused" in warning
    assert KEY not in capfd.readouterr().out


def test_a_run_that_hangs_holds_up_no_job(
    backend: LocalBackend,
    tiny_model: Path,
    tmp_path: Path,
    hostile: Hostile,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "GRACE", 0.2)
    hostile.hangs_at = 1
    begun = time.monotonic()
    job = run_here(backend, submit(backend, tiny_model, tmp_path, {"type": "tensorboard"}))
    assert job.status == "succeeded"
    assert hostile.steps == []
    assert time.monotonic() - begun < 30
    hostile.free.set()


def test_a_cancelled_job_ends_its_runs(
    backend: LocalBackend,
    tiny_model: Path,
    tmp_path: Path,
    hostile: Hostile,
) -> None:
    job = submit(backend, tiny_model, tmp_path, {"type": "tensorboard"})
    record = backend.store.record

    def cancelling(*arguments: Any, step: int | None = None, **rest: Any) -> str:
        if step == 3:
            backend.cancel(job.id)
        return record(*arguments, step=step, **rest)

    backend.store.record = cancelling  # type: ignore[method-assign]
    run_here(backend, job)
    assert hostile.end == ("cancelled", None)
    assert hostile.steps == [1, 2]


def test_a_job_without_integrations_starts_no_thread(
    backend: LocalBackend, tiny_model: Path, tmp_path: Path, hostile: Hostile
) -> None:
    assert run_here(backend, submit(backend, tiny_model, tmp_path)).integrations == ()
    assert hostile.end is None


@pytest.mark.parametrize(
    ("kind", "package"), [("tensorboard", "tensorboard"), ("mlflow", "mlflow-skinny")]
)
def test_a_library_that_is_missing_is_named_before_the_job(
    kind: str,
    package: str,
    backend: LocalBackend,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find = importlib.util.find_spec
    missing = lambda name, *rest: None if name == kind else find(name, *rest)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", missing)
    with pytest.raises(ConfigError, match=f"integration {kind} needs its library") as caught:
        submit(backend, tiny_model, tmp_path, integration(kind, tmp_path))
    assert caught.value.hint == f"pip install {package}"
    assert list(backend.jobs()) == []


def test_mlflow_must_lead_somewhere(
    backend: LocalBackend, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: object())
    with pytest.raises(ConfigError, match="neither tracking_uri nor MLFLOW_TRACKING_URI"):
        submit(backend, tiny_model, tmp_path, {"type": "mlflow", "mlflow": {"project": "p"}})


def test_what_a_library_says_is_one_short_line_without_secrets() -> None:
    environ = {"HF_TOKEN": "hf_secret", "PATH": "/bin/usr", "X_API_KEY": "a"}
    text = "no\n  hf_secret at https://u:p@h/x via /bin/usr " + "x" * 500
    line = said(RuntimeError(text), environ)
    assert line.startswith("RuntimeError: no [key] at https://h/x via /bin/usr xxx")
    assert len(line) < 250
    assert said(ValueError()) == "ValueError"
