"""A scripted backend in memory, for your own tests: no network, no clock, no threads.

    backend = FakeBackend(steps=4, answers={"What is 2 + 2?": "4"})
    job = backend.create(JobSpec(model="fake-base", training_file=backend.upload(path).id))
    while not job.ended:
        job = backend.retrieve(job.id)      # every call moves the job on by one step

Statuses, event texts, metrics and checkpoint names are those of the OpenAI wire.  Time is a
count of changes, so two runs of one script give equal objects.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ftjobs.backends.base import Progress, Tools, check_supported
from ftjobs.backends.chat import check_sampling
from ftjobs.errors import ConfigError, InvalidRequestError, NotFoundError
from ftjobs.integrations import TYPES
from ftjobs.schema import (
    Capabilities,
    ChatMessage,
    Checkpoint,
    Choice,
    Completion,
    Delta,
    Event,
    File,
    Hyperparameters,
    Job,
    JobError,
    JobSpec,
    Metrics,
    Model,
    Sampling,
    Usage,
)

__all__ = ["Answers", "FakeBackend"]

T = TypeVar("T")

Answers = Mapping[str, str] | Callable[[str, Sequence[ChatMessage]], str]
"""Answers by the last message's text, or a function of (model, messages)."""

UNKNOWN_ANSWER = "I do not know."
KEPT_CHECKPOINTS = 3
WIRE_DEFAULTS = Sampling()
COLUMNS = tuple(name for name in Metrics.model_fields if name != "total_steps")
EVERYTHING = Capabilities(
    methods=frozenset({"supervised", "dpo"}),
    hyperparameters=frozenset(Hyperparameters.model_fields),
    sampling=frozenset(Sampling.model_fields),
    pause=True,
    integrations=TYPES,
)


@dataclass
class _Run:
    """A job with all that grows while it runs."""

    job: Job
    life: Iterator[None] = field(default_factory=lambda: iter(()))
    events: list[Event] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    rows: list[Metrics] = field(default_factory=list)
    paused_from: str = ""

    def set(self, **changes: Any) -> None:
        self.job = self.job.model_copy(update=changes)


class FakeBackend:
    """A `Backend` that does what it was told, one step per `retrieve`.  Thread-safe.

    Args:
        steps: optimiser steps of every job; its epochs share them evenly.
        answers: what models say; a prompt that a mapping lacks gets "I do not know.".
        fail_with: ends every job as failed with this error.
        fail_at: the step after which `fail_with` strikes; 0 is the validation of the files.
        models: base models.
        capabilities: what it claims, and refuses beyond; everything but RFT by default.
        name: its `name`.
    """

    def __init__(
        self,
        *,
        steps: int = 10,
        answers: Answers | None = None,
        fail_with: JobError | None = None,
        fail_at: int = 0,
        models: Sequence[str] = ("fake-base",),
        capabilities: Capabilities = EVERYTHING,
        name: str = "fake",
    ) -> None:
        if not 0 <= fail_at <= steps or steps < 1:
            raise ConfigError(f"steps={steps}, fail_at={fail_at}: steps >= 1, fail_at 0 to steps")
        self.name = name
        self.capabilities = capabilities
        self._steps = steps
        self._answers: Answers = {} if answers is None else answers
        self._fail_with = fail_with
        self._fail_at = fail_at
        self._models = {m: Model(id=m, owned_by=name) for m in models}
        self._files: dict[str, tuple[File, bytes]] = {}
        self._runs: dict[str, _Run] = {}
        self._faults: dict[str, list[Exception]] = {}
        self._changes = 0
        self._lock = threading.RLock()

    def fail_next(self, method: str, *errors: Exception) -> None:
        """Make the next calls of `method` raise these errors, one each, and do nothing else."""
        with self._lock:
            self._faults.setdefault(method, []).extend(errors)

    # --- files --------------------------------------------------------------------------------

    def upload(
        self,
        path: Path,
        *,
        name: str | None = None,
        purpose: str = "fine-tune",
        progress: Progress | None = None,
    ) -> File:
        """Keep the file's bytes.  ConfigError if it cannot be read."""
        with self._call("upload"):
            try:
                data = Path(path).read_bytes()
            except OSError as error:
                raise ConfigError(f"cannot read {path}: {error.strerror}") from None
            if progress is not None:
                progress(len(data), len(data))
            return self._keep(name or Path(path).name, data, purpose)

    def file(self, file_id: str) -> File:
        """One file's record."""
        with self._call("file"):
            return self._found(self._files, file_id, "file")[0]

    def files(self) -> Iterator[File]:
        """Every file, newest first."""
        with self._call("files"):
            return iter([record for record, _ in reversed(self._files.values())])

    def content(self, file_id: str) -> bytes:
        """A file's bytes."""
        with self._call("content"):
            return self._found(self._files, file_id, "file")[1]

    def delete_file(self, file_id: str) -> None:
        """Delete a file that no running job reads."""
        with self._call("delete_file"):
            self._found(self._files, file_id, "file")
            for job in (run.job for run in self._runs.values()):
                if not job.ended and file_id in (job.training_file, job.validation_file):
                    raise InvalidRequestError(f"file {file_id} is in use by job {job.id}")
            del self._files[file_id]

    # --- jobs ---------------------------------------------------------------------------------

    def create(self, spec: JobSpec) -> Job:
        """Create a job in status `validating_files`."""
        with self._call("create"):
            check_supported(spec, self.capabilities, self.name)
            if spec.model not in self._models:
                raise InvalidRequestError(f"no model {spec.model!r} to train", param="model")
            for file_id in filter(None, (spec.training_file, spec.validation_file)):
                self._found(self._files, file_id, "file")
            job_id = f"ftjob-fake{len(self._runs) + 1:04d}"
            run = self._runs[job_id] = _Run(self._new_job(job_id, spec))
            run.life = self._life(run)
            next(run.life)
            return run.job

    def retrieve(self, job_id: str) -> Job:
        """Move the job on by one step, unless it is paused or has ended, and return it."""
        with self._call("retrieve"):
            run = self._run(job_id)
            if not run.job.ended and not run.paused_from:
                next(run.life, None)
            return run.job

    def cancel(self, job_id: str) -> Job:
        """End a job; one that has ended is returned as it is."""
        with self._call("cancel"):
            run = self._run(job_id)
            if not run.job.ended:
                self._say(run, "Fine-tuning job cancelled")
                run.set(status="cancelled", finished_at=self._now())
            return run.job

    def pause(self, job_id: str) -> Job:
        """Hold a job where it is."""
        with self._call("pause"):
            run = self._open_run(job_id, "paused")
            if not run.paused_from:
                run.paused_from = run.job.status
                self._say(run, "Fine-tuning job paused")
                run.set(status="paused")
            return run.job

    def resume(self, job_id: str) -> Job:
        """Let a paused job go on."""
        with self._call("resume"):
            run = self._open_run(job_id, "resumed")
            if run.paused_from:
                self._say(run, "Fine-tuning job resumed")
                run.set(status=run.paused_from)
                run.paused_from = ""
            return run.job

    def jobs(self, *, metadata: Mapping[str, str] | None = None) -> Iterator[Job]:
        """Every job that carries all pairs of `metadata`, newest first."""
        with self._call("jobs"):
            wanted = (metadata or {}).items()
            jobs = [run.job for run in reversed(self._runs.values())]
            return iter([job for job in jobs if wanted <= job.metadata.items()])

    def events(self, job_id: str, *, after: str | None = None) -> Sequence[Event]:
        """Events oldest first, strictly after `after`; all where that id is unknown."""
        with self._call("events"):
            events = self._run(job_id).events
            ids = [event.id for event in events]
            return tuple(events[ids.index(after) + 1 if after in ids else 0 :])

    def checkpoints(self, job_id: str) -> Sequence[Checkpoint]:
        """The last three checkpoints, oldest first."""
        with self._call("checkpoints"):
            return tuple(self._run(job_id).checkpoints)

    def result_file(self, job: Job) -> bytes:
        """The metrics CSV."""
        with self._call("result_file"):
            for file_id in job.result_files:
                return self._found(self._files, file_id, "file")[1]
            raise NotFoundError(f"job {job.id} has no result file")

    # --- models and answers -------------------------------------------------------------------

    def models(self) -> Iterator[Model]:
        """Base models and fine-tuned models."""
        with self._call("models"):
            return iter(list(self._models.values()))

    def delete_model(self, model: str) -> None:
        """Delete a fine-tuned model with its checkpoints."""
        with self._call("delete_model"):
            self._found(self._models, model, "model")
            run = next((r for r in self._runs.values() if r.job.fine_tuned_model == model), None)
            if run is None:
                raise InvalidRequestError(f"{model} is a base model: it cannot be deleted")
            run.checkpoints.clear()
            del self._models[model]

    def complete(
        self,
        model: str,
        messages: Sequence[ChatMessage],
        *,
        sampling: Sampling = WIRE_DEFAULTS,
        tools: Tools = (),  # noqa: ARG002 - the script says what is answered
    ) -> Completion:
        """The scripted answer, `sampling.n` times.  A token is a word with its white space."""
        with self._call("complete"):
            check_sampling(sampling, self.capabilities, self.name)
            tokens, finish_reason = self._answer(model, messages, sampling)
            message = ChatMessage(role="assistant", content="".join(tokens))
            return Completion(
                id="chatcmpl-fake",
                created=self._now(),
                model=model,
                choices=tuple(
                    Choice(
                        index=i,
                        message=message,
                        finish_reason=finish_reason,
                        logprobs=_logprobs(tokens, sampling),
                    )
                    for i in range(sampling.n)
                ),
                usage=_usage(messages, tokens, sampling.n),
            )

    def stream(
        self,
        model: str,
        messages: Sequence[ChatMessage],
        *,
        sampling: Sampling = WIRE_DEFAULTS,
        tools: Tools = (),  # noqa: ARG002 - as in `complete`
    ) -> Iterator[Delta]:
        """The scripted answer, one token at a time."""
        with self._call("stream"):
            check_sampling(sampling, self.capabilities, self.name)
            tokens, finish_reason = self._answer(model, messages, sampling)
        deltas = [
            Delta(index=i, content=token, logprobs=_logprobs([token], sampling))
            for token in tokens
            for i in range(sampling.n)
        ]
        usage = _usage(messages, tokens, sampling.n)
        last = sampling.n - 1
        deltas += [
            Delta(index=i, finish_reason=finish_reason, usage=usage if i == last else None)
            for i in range(sampling.n)
        ]
        return iter(deltas)

    # --- the script ---------------------------------------------------------------------------

    def _life(self, run: _Run) -> Iterator[None]:
        """A job from birth to end; at each `yield` it waits for the next `retrieve`."""
        self._say(run, f"Created fine-tuning job: {run.job.id}")
        self._say(run, f"Validating training file: {run.job.training_file}")
        yield
        if error := self._invalid(run.job) or self._due(0):
            return self._fail(run, error)
        self._say(run, "Files validated, moving job to queued state")
        run.set(status="queued")
        yield
        self._say(run, "Fine-tuning job started")
        run.set(status="running", hyperparameters=self._settled(run.job))
        yield
        for step in range(1, self._steps + 1):
            self._step(run, step)
            yield
            if error := self._due(step):
                return self._fail(run, error)
        return self._succeed(run)

    def _step(self, run: _Run, step: int) -> None:
        loss, accuracy = round(2 * 0.8**step, 4), round(1 - 0.8**step, 4)
        epochs = run.job.hyperparameters["n_epochs"]
        epoch_ends = {self._steps * epoch // epochs for epoch in range(1, epochs + 1)}
        values: dict[str, float] = {"train_loss": loss, "train_mean_token_accuracy": accuracy}
        if run.job.validation_file:
            values |= {"valid_loss": loss, "valid_mean_token_accuracy": accuracy}
            if step in epoch_ends:
                values |= {f"full_{k}": v for k, v in values.items() if k.startswith("valid")}
        metrics = Metrics.model_validate({"step": step, "total_steps": self._steps, **values})
        run.rows.append(metrics)
        text = f"Step {step}/{self._steps}: training loss={loss:.2f}"
        self._say(run, text, type="metrics", data=metrics.model_dump(exclude_none=True))
        if step in epoch_ends:
            self._checkpoint(run, metrics)

    def _checkpoint(self, run: _Run, metrics: Metrics) -> None:
        snapshot = f"{_tuned_name(run.job, self.name)}:ckpt-step-{metrics.step}"
        checkpoint = Checkpoint(
            id=f"ftckpt_{run.job.id.removeprefix('ftjob-')}-{metrics.step}",
            created_at=self._now(),
            fine_tuned_model_checkpoint=snapshot,
            fine_tuning_job_id=run.job.id,
            step_number=metrics.step or 0,
            metrics=metrics,
        )
        run.checkpoints = [*run.checkpoints, checkpoint][-KEPT_CHECKPOINTS:]
        text = f"Checkpoint created at step {metrics.step} with Snapshot ID: {snapshot}"
        self._say(run, text)

    def _succeed(self, run: _Run) -> None:
        tuned = _tuned_name(run.job, self.name)
        self._models[tuned] = Model(id=tuned, created=self._now(), owned_by=self.name)
        results = self._keep(f"{run.job.id}.csv", _csv(run.rows), "fine-tune-results")
        data = self._files[run.job.training_file][1]
        self._say(run, f"New fine-tuned model created: {tuned}")
        self._say(run, "The job has successfully completed")
        run.set(
            status="succeeded",
            fine_tuned_model=tuned,
            finished_at=self._now(),
            result_files=(results.id,),
            trained_tokens=len(data.split()) * run.job.hyperparameters["n_epochs"],
        )

    def _fail(self, run: _Run, error: JobError) -> None:
        data = {"error_code": error.code, "error_param": error.param}
        self._say(run, error.message or str(error.code), level="error", data=data)
        run.set(status="failed", error=error, finished_at=self._now())

    def _due(self, step: int) -> JobError | None:
        return self._fail_with if step == self._fail_at else None

    def _invalid(self, job: Job) -> JobError | None:
        lines = self._files[job.training_file][1].splitlines()
        examples = sum(bool(line.strip()) for line in lines)
        least = self.capabilities.min_examples
        if examples >= least:
            return None
        text = f"Training file has {examples} example(s), but must have at least {least} examples"
        return JobError(code="invalid_n_examples", message=text, param="training_file")

    # --- small helpers ------------------------------------------------------------------------

    @contextmanager
    def _call(self, method: str) -> Iterator[None]:
        with self._lock:
            if faults := self._faults.get(method):
                raise faults.pop(0)
            yield

    def _now(self) -> int:
        return 1_700_000_000 + self._changes

    def _say(self, run: _Run, message: str, **fields: Any) -> None:
        self._changes += 1
        event_id = f"ftevent-fake{self._changes:06d}"
        run.events.append(Event(id=event_id, created_at=self._now(), message=message, **fields))

    def _keep(self, filename: str, data: bytes, purpose: str) -> File:
        for record, old in self._files.values():
            if (record.filename, record.purpose, old) == (filename, purpose, data):
                return record
        self._changes += 1
        record = File(
            id=f"file-fake{self._changes:06d}",
            bytes=len(data),
            created_at=self._now(),
            filename=filename,
            purpose=purpose,
        )
        self._files[record.id] = (record, data)
        return record

    def _new_job(self, job_id: str, spec: JobSpec) -> Job:
        wire = dict.fromkeys(("n_epochs", "batch_size", "learning_rate_multiplier"), "auto")
        hyperparameters = wire | spec.hyperparameters.given()
        return Job(
            id=job_id,
            created_at=self._now(),
            status="validating_files",
            hyperparameters=hyperparameters,
            method={"type": spec.method, spec.method: {"hyperparameters": hyperparameters}},
            seed=spec.seed or 0,
            **spec.model_dump(exclude={"hyperparameters", "method", "seed"}),
        )

    def _settled(self, job: Job) -> dict[str, Any]:
        own = {"n_epochs": 3, "batch_size": 1, "learning_rate_multiplier": 1.0}
        chosen = {k: own[k] if v == "auto" else v for k, v in job.hyperparameters.items()}
        return chosen | {"n_epochs": min(chosen["n_epochs"], self._steps)}

    def _open_run(self, job_id: str, verb: str) -> _Run:
        run = self._run(job_id)
        if run.job.ended:
            raise InvalidRequestError(f"job {job_id} is {run.job.status}: it cannot be {verb}")
        return run

    def _run(self, job_id: str) -> _Run:
        return self._found(self._runs, job_id, "job")

    @staticmethod
    def _found(shelf: Mapping[str, T], key: str, noun: str) -> T:
        if key not in shelf:
            raise NotFoundError(f"no {noun} {key!r}")
        return shelf[key]

    def _answer(
        self, model: str, messages: Sequence[ChatMessage], sampling: Sampling
    ) -> tuple[list[str], str]:
        snapshots = {
            checkpoint.fine_tuned_model_checkpoint
            for run in self._runs.values()
            for checkpoint in run.checkpoints
        }
        if model not in self._models and model not in snapshots:
            raise NotFoundError(f"no model {model!r}", code="model_not_found", param="model")
        if not messages:
            raise InvalidRequestError("messages: at least one", param="messages")
        if callable(self._answers):
            text = self._answers(model, messages)
        else:
            text = self._answers.get(_text(messages[-1]), UNKNOWN_ANSWER)
        for stop in sampling.stop:
            text = text.partition(stop)[0]
        tokens = re.findall(r"\S+\s*|\s+", text)
        limit = sampling.max_tokens or len(tokens)
        return tokens[:limit], "stop" if len(tokens) <= limit else "length"


def _tuned_name(job: Job, owner: str) -> str:
    return f"ft:{job.model}:{owner}:{job.suffix or ''}:{job.id.removeprefix('ftjob-')}"


def _text(message: ChatMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    return "".join(str(part.get("text", "")) for part in message.content or ())


def _logprobs(tokens: Sequence[str], sampling: Sampling) -> Mapping[str, Any] | None:
    """Invented ones: a longer word is less likely, and the next is less likely by 1 nat."""
    if not sampling.logprobs:
        return None
    most = sampling.top_logprobs or 0
    content = []
    for token in tokens:
        words = [token, *(f"word{place}" for place in range(1, most))]
        told = [
            {"token": word, "logprob": -len(token) / 10 - place, "bytes": list(word.encode())}
            for place, word in enumerate(words)
        ]
        content.append({**told[0], "top_logprobs": told[:most]})
    return {"content": content}


def _usage(messages: Sequence[ChatMessage], tokens: Sequence[str], n: int) -> Usage:
    read, written = sum(len(_text(message).split()) for message in messages), len(tokens) * n
    return Usage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)


def _csv(rows: Sequence[Metrics]) -> bytes:
    table = [COLUMNS, *([getattr(row, name) for name in COLUMNS] for row in rows)]
    lines = (",".join("" if cell is None else str(cell) for cell in line) for line in table)
    return "".join(f"{line}\n" for line in lines).encode()
