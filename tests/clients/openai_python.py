"""The OpenAI Python SDK, strict about every answer: from a file to a streamed answer, and away.

    python openai_python.py MODEL TRAIN PORT SECRET

A webhook with SECRET comes to PORT.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import openai
from openai.types.fine_tuning import FineTuningJob

ENDED = ("succeeded", "failed", "cancelled")

# No retry may hide what the server does wrong.
client = openai.OpenAI(_strict_response_validation=True, max_retries=0)


def main(model: str, train: str, port: str, secret: str) -> None:
    deliveries = listen(int(port))
    file_id = files(Path(train))
    job = train_once(model, file_id)
    events(job.id)
    checkpoint = checkpoints(job)
    results(job)
    tuned = str(job.fine_tuned_model)
    for name in (model, tuned, checkpoint):
        chat(name)
    webhook(deliveries, secret, job)
    pause_and_resume(model, file_id)
    in_parts(Path(train), model)
    refusals(model, file_id)
    away(tuned, file_id)


def files(path: Path) -> str:
    file = client.files.create(file=path, purpose="fine-tune")
    assert client.files.wait_for_processing(file.id).status == "processed"
    assert (file.filename, file.bytes, file.purpose) == (
        path.name,
        len(path.read_bytes()),
        "fine-tune",
    )
    assert client.files.content(file.id).content == path.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        with client.files.with_streaming_response.content(file.id) as answer:
            answer.stream_to_file(copy)
        assert copy.read_bytes() == path.read_bytes()
    more = [
        client.files.create(file=(f"{n}.jsonl", path.read_bytes() + b"\n" * n), purpose="fine-tune")
        for n in (1, 2, 3)
    ]
    newest = [one.id for one in client.files.list(purpose="fine-tune", limit=2)]  # walks the pages
    oldest = [one.id for one in client.files.list(purpose="fine-tune", order="asc", limit=3)]
    assert newest == oldest[::-1]
    assert {file.id, *(one.id for one in more)} <= set(newest)
    for one in more:
        assert client.files.delete(one.id).deleted
    assert file.id in [one.id for one in client.files.list()]
    return file.id


def train_once(model: str, file_id: str) -> FineTuningJob:
    job = client.fine_tuning.jobs.create(
        model=model,
        training_file=file_id,
        validation_file=file_id,
        suffix="python",
        seed=7,
        metadata={"client": "python", "run": "1"},
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}},
    )
    assert job.status in ("validating_files", "queued")
    assert (job.seed, job.model) == (7, model)
    assert [j.id for j in client.fine_tuning.jobs.list(metadata={"client": "python"})] == [job.id]
    assert list(client.fine_tuning.jobs.list(metadata={"client": "nobody"})) == []
    job = ended(job.id)
    assert job.status == "succeeded", job.error
    assert job.fine_tuned_model is not None
    assert ":python:" in job.fine_tuned_model
    assert job.trained_tokens
    assert job.finished_at
    assert job.metadata == {"client": "python", "run": "1"}
    assert job.method
    assert job.method.supervised
    assert job.method.supervised.hyperparameters
    assert job.method.supervised.hyperparameters.n_epochs == 2
    assert job.hyperparameters.n_epochs == 2
    return job


def ended(job_id: str) -> FineTuningJob:
    while (job := client.fine_tuning.jobs.retrieve(job_id)).status not in ENDED:
        time.sleep(0.2)
    return job


def events(job_id: str) -> None:
    whole = list(client.fine_tuning.jobs.list_events(job_id, limit=100))
    paged = list(client.fine_tuning.jobs.list_events(job_id, limit=3))
    assert [event.id for event in whole] == [event.id for event in paged]
    assert len({event.id for event in whole}) == len(whole) > 6
    times = [event.created_at for event in whole]
    assert times == sorted(times, reverse=True)  # newest first
    assert whole[0].message == "The job has successfully completed"
    steps = [event.data["step"] for event in whole if event.type == "metrics"]  # type: ignore[index]
    assert steps
    assert steps == sorted(steps, reverse=True)


def checkpoints(job: FineTuningJob) -> str:
    found = list(client.fine_tuning.jobs.checkpoints.list(job.id, limit=1))
    assert found
    assert {each.fine_tuning_job_id for each in found} == {job.id}
    steps = [each.step_number for each in found]
    assert steps == sorted(steps, reverse=True)
    assert found[0].metrics.train_loss is not None
    return found[-1].fine_tuned_model_checkpoint


def results(job: FineTuningJob) -> None:
    [file_id] = job.result_files
    text = client.files.content(file_id).text
    assert text.startswith("step,train_loss"), text[:80]
    assert client.files.retrieve(file_id).purpose == "fine-tune-results"


def chat(model: str) -> None:
    how: dict[str, Any] = {
        "model": model, "temperature": 0, "max_completion_tokens": 12,
        "messages": [{"role": "user", "content": "Where is my parcel?"}],
    }  # fmt: skip
    whole = client.chat.completions.create(**how)
    assert whole.model == model
    choice = whole.choices[0]
    assert choice.message.role == "assistant"
    assert choice.finish_reason in ("stop", "length")
    assert whole.usage
    assert 0 < whole.usage.completion_tokens <= 12
    pieces = list(
        client.chat.completions.create(**how, stream=True, stream_options={"include_usage": True})
    )
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    assert text == choice.message.content
    assert [p.choices[0].finish_reason for p in pieces if p.choices][-1] == choice.finish_reason
    assert pieces[-1].usage == whole.usage
    with client.chat.completions.stream(**how) as stream:
        assert "".join(each.delta for each in stream if each.type == "content.delta") == text
    two = client.chat.completions.create(
        **how | {"temperature": 1, "n": 2, "seed": 3}, stop=["\n"], logprobs=True, top_logprobs=2
    )
    assert [each.index for each in two.choices] == [0, 1]
    assert two.choices[0].logprobs
    assert two.choices[0].logprobs.content


def webhook(deliveries: Deliveries, secret: str, job: FineTuningJob) -> None:
    headers, body = deliveries.wait()
    event = client.webhooks.unwrap(body, headers, secret=secret)
    assert event.type == "fine_tuning.job.succeeded"
    assert event.data.id == job.id
    assert event.created_at == job.finished_at


def pause_and_resume(model: str, file_id: str) -> None:
    """`paused` is a status that the SDK's types lack, so the answers are looked at as they are."""
    raw = client.fine_tuning.jobs.with_raw_response
    job = client.fine_tuning.jobs.create(
        model=model, training_file=file_id, hyperparameters={"n_epochs": 50}
    )
    paused = json.loads(raw.pause(job.id).text)
    assert paused["status"] in ("paused", "pausing"), paused
    while json.loads(raw.retrieve(job.id).text)["status"] != "paused":
        time.sleep(0.1)
    assert json.loads(raw.resume(job.id).text)["status"] in (
        "queued",
        "running",
        "validating_files",
    )
    assert json.loads(raw.cancel(job.id).text)["status"] == "cancelled"
    assert ended(job.id).status == "cancelled"


def in_parts(path: Path, model: str) -> None:
    upload = client.uploads.upload_file_chunked(
        file=path, mime_type="application/jsonl", purpose="fine-tune", part_size=1000
    )
    assert upload.status == "completed"
    assert upload.file
    assert client.files.content(upload.file.id).content == path.read_bytes()
    begun = client.uploads.create(
        bytes=9, filename="x.jsonl", mime_type="application/jsonl", purpose="fine-tune"
    )
    assert client.uploads.parts.create(begun.id, data=b"{}").upload_id == begun.id
    assert client.uploads.cancel(begun.id).status == "cancelled"


def refusals(model: str, file_id: str) -> None:
    jobs, stranger = client.fine_tuning.jobs, client.with_options(api_key="ftj-no")
    for kind, call in (
        (openai.NotFoundError, lambda: jobs.retrieve("ftjob-none")),
        (openai.NotFoundError, lambda: client.files.retrieve("file-none")),
        (openai.NotFoundError, lambda: client.models.retrieve("ft:none")),
        (
            openai.BadRequestError,
            lambda: jobs.create(model=model, training_file=file_id, suffix="x" * 99),
        ),
        (openai.AuthenticationError, lambda: stranger.models.list()),
    ):
        error = refused(kind, call)
        assert error.request_id
        assert error.body


def away(tuned: str, file_id: str) -> None:
    assert tuned in [model.id for model in client.models.list()]
    assert client.models.retrieve(tuned).id == tuned
    assert client.models.delete(tuned).deleted
    for call in (lambda: client.models.retrieve(tuned), lambda: chat(tuned)):
        assert refused(openai.NotFoundError, call).code == "model_not_found"
    assert client.files.delete(file_id).deleted


def refused(kind: type[openai.APIStatusError], call: Callable[[], object]) -> openai.APIStatusError:
    """How a call is refused, in this kind of way."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"it is no {kind.__name__}")


class Deliveries:
    """What comes by webhook."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.headers: dict[str, str] = {}
        self.body = ""

    def wait(self) -> tuple[dict[str, str], str]:
        assert self.arrived.wait(60), "no webhook came"
        return self.headers, self.body


def listen(port: int) -> Deliveries:
    deliveries = Deliveries()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            if not deliveries.arrived.is_set():  # later ones are of other jobs
                deliveries.headers, deliveries.body = dict(self.headers), body
                deliveries.arrived.set()
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return deliveries


if __name__ == "__main__":
    main(*sys.argv[1:])
