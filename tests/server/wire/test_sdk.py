"""The whole life of a tuned model, through OpenAI's own SDK with strict validation of answers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from ftjobs.backends.base import Backend
from ftjobs.backends.fake import FakeBackend
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.config import Settings
from tests import tiny
from tests.backends.local.conftest import stop_worker
from tests.server.conftest import Serve, Served

from .data import lines

openai = pytest.importorskip("openai")
JOBS = "/fine_tuning/jobs"


@contextmanager
def over(kind: str, folder: Path) -> Iterator[tuple[Backend, dict[str, str]]]:
    """A backend, and the base models that its server names."""
    if kind == "fake":
        yield FakeBackend(steps=6), {"tiny-otter": "fake-base"}
        return
    backend = LocalBackend(Settings(home=folder / "home", cache=folder / "cache"))
    try:
        yield backend, {"tiny-otter": str(tiny.save_model(folder / "tiny"))}
    finally:
        stop_worker(backend)


def client(served: Served, project: str = "otters") -> Any:
    _, key = served.desk.keys.create(project, "train")
    return openai.OpenAI(
        base_url=served.url, api_key=key, max_retries=0, _strict_response_validation=True
    )


@pytest.mark.parametrize("kind", ["fake", "local"])
def test_the_life_of_a_tuned_model(serve: Serve, tmp_path: Path, kind: str) -> None:
    with (
        over(kind, tmp_path) as (backend, models),
        serve(backend, models=models) as served,
        closing(client(served)) as sdk,
    ):
        train = sdk.files.create(
            file=("train.jsonl", lines()),
            purpose="fine-tune",
            expires_after={"anchor": "created_at", "seconds": 86_400},
        )
        valid = sdk.uploads.upload_file_chunked(
            file=lines(4, "!"), filename="valid.jsonl", bytes=len(lines(4, "!")),
            mime_type="text/jsonl", purpose="fine-tune", part_size=100,
        ).file  # fmt: skip
        assert sdk.files.wait_for_processing(train.id).expires_at == train.created_at + 86_400
        assert sdk.files.content(valid.id).read() == lines(4, "!")
        assert [file.id for file in sdk.files.list(purpose="fine-tune")] == [valid.id, train.id]

        job = sdk.fine_tuning.jobs.create(
            model="tiny-otter",
            training_file=train.id,
            validation_file=valid.id,
            method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}},
            suffix="strict",
            metadata={"team": "otter"},
        )
        assert (job.organization_id, job.error, job.model) == ("otters", None, "tiny-otter")
        job = _finished(sdk, job.id)
        assert job.status == "succeeded"
        assert job.hyperparameters.n_epochs == 2
        assert job.trained_tokens > 0

        found = sdk.fine_tuning.jobs.list(extra_query={"metadata[team]": "otter"})
        assert [each.id for each in found] == [job.id]
        events = list(sdk.fine_tuning.jobs.list_events(job.id, limit=4))
        assert events[-1].message == f"Created fine-tuning job: {job.id}"
        assert "models" not in json.dumps([event.to_dict() for event in events])  # no folder
        checkpoints = list(sdk.fine_tuning.jobs.checkpoints.list(job.id, limit=1))
        assert len(checkpoints) == 2
        assert checkpoints[0].metrics.train_loss > 0
        assert sdk.files.content(job.result_files[0]).read().startswith(b"step,")

        for model in (job.fine_tuned_model, checkpoints[-1].fine_tuned_model_checkpoint):
            assert sdk.models.retrieve(model).id == model
            question = [{"role": "user", "content": "Question 3?"}]
            asked = {"model": model, "messages": question, "max_tokens": 8, "temperature": 0}
            whole = sdk.chat.completions.create(**asked).choices[0].message.content
            pieces = sdk.chat.completions.create(**asked, stream=True)
            assert "".join(each.choices[0].delta.content or "" for each in pieces) == whole
        assert {each.id for each in sdk.models.list()} >= {"tiny-otter", job.fine_tuned_model}

        assert sdk.models.delete(job.fine_tuned_model).deleted
        with pytest.raises(openai.NotFoundError) as refused:
            sdk.models.retrieve(job.fine_tuned_model)
        assert refused.value.code == "model_not_found"
        assert sdk.files.delete(train.id).deleted
        with pytest.raises(openai.NotFoundError):
            sdk.files.retrieve(train.id)


def _finished(sdk: Any, job_id: str) -> Any:
    for _ in range(2400):
        job = sdk.fine_tuning.jobs.retrieve(job_id)
        if job.status in ("succeeded", "failed", "cancelled"):
            return job
        time.sleep(0.05)
    raise AssertionError(f"job {job_id} is still {job.status}")


def test_steering_and_refusals(served: Served) -> None:
    with closing(client(served)) as sdk:
        file = sdk.files.create(file=BytesIO(lines()), purpose="fine-tune")
        assert file.filename == "upload"
        job = sdk.fine_tuning.jobs.create(model="fake-base", training_file=file.id)
        paused = sdk.fine_tuning.jobs.with_raw_response.pause(job.id)  # the SDK lacks the word
        assert json.loads(paused.text)["status"] == "paused"
        assert sdk.fine_tuning.jobs.resume(job.id).status == "validating_files"
        with pytest.raises(openai.BadRequestError) as needed:
            sdk.files.delete(file.id)
        assert job.id in str(needed.value)
        assert sdk.fine_tuning.jobs.cancel(job.id).status == "cancelled"
        upload = sdk.uploads.create(
            bytes=10, filename="x", mime_type="text/jsonl", purpose="fine-tune"
        )
        assert sdk.uploads.cancel(upload.id).status == "cancelled"
        with pytest.raises(openai.BadRequestError) as refused:
            sdk.fine_tuning.jobs.create(
                model="fake-base", training_file=file.id, hyperparameters={"n_epochs": 0}
            )
        assert refused.value.param == "hyperparameters.n_epochs"


def test_the_sdk_sends_again_and_makes_one_job(served: Served) -> None:
    with closing(client(served)) as sdk:
        file = sdk.files.create(file=("a.jsonl", lines()), purpose="fine-tune")
        key = {"Idempotency-Key": "a-job"}
        jobs = [
            sdk.fine_tuning.jobs.create(
                model="fake-base", training_file=file.id, extra_headers=key
            ).id
            for _ in range(3)
        ]
        assert len(set(jobs)) == 1
        assert len(list(served.desk.backend.jobs())) == 1
