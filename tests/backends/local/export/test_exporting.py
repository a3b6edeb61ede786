"""From a job to a folder of its own, by the client and by the command line."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from ftjobs.backends.base import Exported
from ftjobs.backends.fake import FakeBackend
from ftjobs.backends.local import checkpoints
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.backends.local.export import exporting
from ftjobs.backends.local.export.folder import whole
from ftjobs.cli import main
from ftjobs.client import Client
from ftjobs.config import Settings
from ftjobs.errors import ConfigError, ModelError, NotFoundError, UnsupportedError
from ftjobs.schema import Job
from tests import tiny
from tests.backends.local.conftest import stop_worker, write_dataset
from tests.backends.local.test_jobs import finish, submit

Finished = tuple[LocalBackend, Job, Path]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A job of two epochs over 14 examples, three of which are for validation."""
    room = tmp_path_factory.mktemp("finished")
    base = tiny.save_model(room / "base")
    backend = LocalBackend(Settings(home=room / "home", cache=room / "cache"))
    dataset = write_dataset(room / "train.jsonl", 14)
    settings = {"n_epochs": 2, "batch_size": 6, "validation_split": 0.2, "lora_r": 4}
    job = finish(backend, submit(backend, base, dataset, hyperparameters=settings))
    stop_worker(backend, signal.SIGTERM)
    assert job.status == "succeeded", job.error
    return backend, job, base


def test_every_checkpoint_has_a_card(finished: Finished) -> None:
    backend, job, _ = finished
    for kept in backend.checkpoints(job.id):
        folder, _ = backend.store.adapter(kept.fine_tuned_model_checkpoint)
        facts = checkpoints.verify(folder)
        assert facts is not None
        assert "README.md" in facts["files"]
        text = (folder / "README.md").read_text()
        assert f"ftjobs chat {kept.fine_tuned_model_checkpoint}" in text
        assert f"This is step {kept.step_number} of" in text
        sha256 = backend.file(job.training_file).sha256
        assert f"| training | 11 | {sha256} |" in text
        assert f"| validation | 3 | {sha256} |" in text
        assert f"| full_valid_loss | {kept.metrics.full_valid_loss} |" in text
        assert "| lora_r | 4 |" in text
        assert "tokens_per_second" not in text


def test_no_card_holds_what_was_trained(finished: Finished) -> None:
    backend, job, _ = finished
    for path in backend.store.job_folder(job.id).rglob("README.md"):
        text = path.read_text()
        assert "Question" not in text
        assert "Answer number" not in text
        assert str(backend.settings.home) not in text


def test_a_job_becomes_a_model_of_its_own(finished: Finished, tmp_path: Path) -> None:
    backend, job, _ = finished
    name = job.fine_tuned_model or ""
    lines: list[str] = []
    done = Client(backend).export(name, tmp_path / "out", form="merged", say=lines.append)
    assert (done.model, done.form, done.folder) == (name, "merged", tmp_path / "out")
    assert {"README.md", "config.json", "model.safetensors"} <= done.files.keys()
    assert lines[0].startswith("Loading")
    assert f"# {name}" in (tmp_path / "out" / "README.md").read_text()
    note = json.loads((tmp_path / "out" / "ftjobs.json").read_text())
    assert (note["form"], note["model"]) == ("merged", name)


def test_a_checkpoint_becomes_an_adapter(finished: Finished, tmp_path: Path) -> None:
    backend, job, _ = finished
    first = backend.checkpoints(job.id)[0].fine_tuned_model_checkpoint
    done = Client(backend).export(first, tmp_path / "out", form="adapter")
    assert done.notes["rank"] == "8 (trained: 4)"
    assert f"# {first}" in (tmp_path / "out" / "README.md").read_text()


def test_a_model_that_is_not_there(finished: Finished, tmp_path: Path) -> None:
    client = Client(finished[0])
    for model in ("ft:tiny:local::nothing1", "nothing"):
        with pytest.raises(NotFoundError):
            client.export(model, tmp_path / "out", form="merged")
    assert list(tmp_path.iterdir()) == []


def test_a_base_that_has_changed_is_refused(finished: Finished, tmp_path: Path) -> None:
    backend, job, base = finished
    path = base / "config.json"
    before = path.read_text()
    path.write_text(before + "\n")
    try:
        with pytest.raises(ModelError, match="have changed since"):
            backend.export(job.fine_tuned_model or "", tmp_path / "out", form="merged")
    finally:
        path.write_text(before)


def test_a_damaged_checkpoint_is_refused(finished: Finished, tmp_path: Path) -> None:
    backend, job, _ = finished
    first = backend.checkpoints(job.id)[0].fine_tuned_model_checkpoint
    path = backend.store.adapter(first)[0] / "tokenizer.json"
    before = path.read_bytes()
    path.write_bytes(before + b" ")
    try:
        with pytest.raises(ModelError, match="damaged"):
            backend.export(first, tmp_path / "out", form="merged")
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize(
    ("form", "how", "reason"),
    [
        ("zip", {}, "no form 'zip'"),
        ("adapter", {"dtype": "float32"}, "'adapter' has no dtype"),
        ("gguf", {"dtype": "float32"}, "'gguf' has no dtype"),
        ("merged", {"outtype": "f16"}, "'merged' has no outtype"),
        ("merged", {"llama_cpp": Path()}, "has no llama_cpp"),
        ("merged", {"dtype": "int3"}, "no dtype 'int3'"),
        ("gguf", {"outtype": "q1"}, "no outtype 'q1'"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_loaded(
    form: str, how: dict[str, object], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=reason):
        exporting._require_fitting(
            form,
            **{"dtype": None, "outtype": None, "llama_cpp": None, **how},  # type: ignore[arg-type]
        )


def test_a_hosted_model_cannot_be_exported(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="keeps the weights") as caught:
        Client(FakeBackend()).export("fake-tuned", tmp_path / "out", form="merged")
    assert "ftjobs rescue" in caught.value.hint


# --- the command ------------------------------------------------------------------------------


def run(backend: LocalBackend, *args: str) -> int:
    return main(["models", "export", *args], connect=lambda _settings: Client(backend))


def test_the_command_writes_and_tells(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backend, job, _ = finished
    name, out = job.fine_tuned_model or "", str(tmp_path / "out")
    assert run(backend, name, "--adapter", "-o", out, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["object"], said["form"], said["folder"]) == ("export", "adapter", out)
    assert said["files"]["adapter_model.safetensors"] > 0
    assert run(backend, name, "--adapter", "-o", out) == 2
    assert "--force" in capsys.readouterr().err
    assert run(backend, name, "--adapter", "-o", out, "--force") == 0
    told = capsys.readouterr()
    assert "rank" in told.out
    assert f"{name} is in {out}" in told.err


@pytest.mark.parametrize("forms", [[], ["--adapter", "--merged"], ["--gguf", "--dtype", "float32"]])
def test_one_form_is_asked_for(
    forms: list[str], finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(finished[0], "smollm2-135m", *forms, "-o", str(tmp_path / "out")) == 2
    assert capsys.readouterr().err.startswith(("error: a model is", "error: the form 'gguf'"))
    assert list(tmp_path.iterdir()) == []


class _Terminated(FakeBackend):
    """Whose export is told to end in the middle."""

    def export(self, model: str, folder: Path, **_how: object) -> Exported:
        with whole(folder, force=False, needed=0, facts={}):
            signal.raise_signal(signal.SIGTERM)
        raise AssertionError("it went on")


def test_sigterm_leaves_nothing_half(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    words = ["models", "export", "m", "--merged", "-o", str(tmp_path / "out")]
    assert main(words, connect=lambda _settings: Client(_Terminated())) == 130
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is before
