import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from ftjobs.backends.base import Progress
from ftjobs.backends.fake import FakeBackend
from ftjobs.data import read
from ftjobs.errors import ConfigError, DatasetError, UnsupportedError
from ftjobs.jobs.plan import target_of
from ftjobs.jobs.submit import submit
from ftjobs.schema import Capabilities, File, Job, JobSpec

DATASETS = Path(__file__).parents[2] / "datasets"
TRAIN = DATASETS / "support/train.jsonl"
VALID = DATASETS / "support/valid.jsonl"


class Recorder(FakeBackend):
    """Remembers what was sent."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)  # type: ignore[arg-type]
        self.sent: list[Path | JobSpec] = []

    def upload(
        self,
        path: Path,
        *,
        name: str | None = None,
        purpose: str = "fine-tune",
        progress: Progress | None = None,
    ) -> File:
        self.sent.append(path)
        return super().upload(path, name=name, purpose=purpose, progress=progress)

    def create(self, spec: JobSpec) -> Job:
        self.sent.append(spec)
        return super().create(spec)


def chat_file(path: Path, rows: int) -> Path:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    line = json.dumps({"messages": turns}) + "\n"
    path.write_text("".join(line for _ in range(rows)), "utf-8")
    return path


def test_one_spec_is_built_and_sent_once_after_the_files() -> None:
    backend = Recorder()
    job = submit(
        backend,
        read(TRAIN),
        validation=str(VALID),
        hyperparameters={"n_epochs": 2, "beta": None},
        model="fake-base",
        suffix="s",
        seed=None,
        metadata={"team": "a"},
    )
    train, valid, spec = backend.sent
    assert (train, valid) == (TRAIN, VALID)
    assert isinstance(spec, JobSpec)
    assert backend.content(spec.training_file) == TRAIN.read_bytes()
    assert backend.content(str(spec.validation_file)) == VALID.read_bytes()
    assert spec.hyperparameters.given() == {"n_epochs": 2}
    assert (job.metadata["team"], job.suffix) == ("a", "s")


def test_progress_is_told_of_every_file() -> None:
    calls: list[tuple[int, int]] = []
    submit(
        FakeBackend(),
        TRAIN,
        validation=VALID,
        model="fake-base",
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls[-1][0] == VALID.stat().st_size
    assert (TRAIN.stat().st_size, TRAIN.stat().st_size) in calls


LIMITED = Capabilities(methods=frozenset({"supervised"}), metadata=False)


@pytest.mark.parametrize(
    ("fields", "hyperparameters", "error", "words"),
    [
        ({}, {"n_epoch": 3}, ConfigError, "unknown hyperparameter 'n_epoch'"),
        ({}, {"n_epochs": 0}, ConfigError, "n_epochs"),
        ({"suffix": "x" * 65}, {}, ConfigError, "suffix"),
        ({"seed": -1}, {}, ConfigError, "seed"),
        ({"method": "magic"}, {}, ConfigError, "method"),
        ({"colour": "red"}, {}, ConfigError, "unknown setting 'colour'"),
        ({"metadata": {"k": "v" * 513}}, {}, ConfigError, "metadata"),
        ({}, {"lora_r": 8}, UnsupportedError, "no hyperparameter lora_r"),
        ({"method": "dpo"}, {}, UnsupportedError, "no method 'dpo'"),
        ({"metadata": {"a": "b"}}, {}, UnsupportedError, "keeps no metadata"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_sent(
    fields: dict[str, Any],
    hyperparameters: dict[str, object],
    error: type[Exception],
    words: str,
) -> None:
    backend = Recorder(capabilities=LIMITED)
    with pytest.raises(error, match=words):
        submit(backend, TRAIN, hyperparameters=hyperparameters, **{"model": "fake-base", **fields})
    assert backend.sent == []


def test_a_broken_file_is_never_sent(tmp_path: Path) -> None:
    backend = Recorder()
    for train, validation in [
        (DATASETS / "broken/line-7.jsonl", None),
        (TRAIN, DATASETS / "broken/line-7.jsonl"),
    ]:
        with pytest.raises(DatasetError, match=r"line-7.jsonl:7"):
            submit(backend, train, validation=validation, model="fake-base")
    with pytest.raises(ConfigError, match="missing"):
        submit(backend, tmp_path / "missing.jsonl", model="fake-base")
    assert backend.sent == []


def test_too_few_examples_for_this_backend(tmp_path: Path) -> None:
    nine = chat_file(tmp_path / "nine.jsonl", 9)
    backend = Recorder()
    with pytest.raises(DatasetError, match=r"9 example\(s\), but fake needs at least 10"):
        submit(backend, nine, model="fake-base")
    with pytest.raises(DatasetError, match="9 example"):
        submit(Recorder(name="openai"), read(nine), model="fake-base")
    assert backend.sent == []
    few = Capabilities(min_examples=1)
    assert submit(FakeBackend(capabilities=few), nine, model="fake-base").training_file


def test_validation_may_be_smaller_than_the_minimum(tmp_path: Path) -> None:
    two = chat_file(tmp_path / "two.jsonl", 2)
    job = submit(FakeBackend(), TRAIN, validation=two, model="fake-base")
    assert job.validation_file


def test_a_dataset_that_was_changed_since_is_checked_as_it_is_now(tmp_path: Path) -> None:
    path = chat_file(tmp_path / "t.jsonl", 12)
    dataset = read(path)
    path.write_text("not json\n" * 12, "utf-8")
    with pytest.raises(DatasetError, match=r"t\.jsonl:1"):
        submit(FakeBackend(), dataset, model="fake-base")


def test_a_dataset_of_another_method_is_refused(tmp_path: Path) -> None:
    path = chat_file(tmp_path / "t.jsonl", 12)
    with pytest.raises(DatasetError, match="supervised examples, and the method is dpo"):
        submit(FakeBackend(), path, model="fake-base", method="dpo")


def test_rules_are_those_of_the_service_or_of_the_wire() -> None:
    names = ["local", "openai", "https://host/v1"]
    assert [target_of(FakeBackend(name=n)) for n in names] == ["local", "openai", "wire"]


def test_a_compressed_file_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl.gz"
    path.write_bytes(gzip.compress(TRAIN.read_bytes()))
    backend = Recorder()
    with pytest.raises(DatasetError, match="checked, but not uploaded") as caught:
        submit(backend, path, model="fake-base")
    assert "gzip -d" in caught.value.hint
    assert backend.sent == []
