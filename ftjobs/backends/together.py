"""Together's own wire: `/v1/files`, `/v1/fine-tunes`, `/v1/chat/completions`.

Written from the REST reference (docs.together.ai; OpenAPI description of 2026-04-28) and the
released Python SDK 3.1.1, both read on 2026-11-22.  It was never run against the paid service.

What differs from the OpenAI wire, and what is made of it:

* A job keeps no metadata: its identity goes into the suffix (at most 40 characters), above here.
* Its words for a status are mapped (`STATUSES`); the original is `Job.original_status`, and an
  unknown word passes through.  Events keep theirs in `event.data["type"]`, and get an id that is
  made of their content, because they have none.
* Steps are numbers of `/metrics`; here they are metrics events, each after the event it follows,
  and the result file is made of them.
* Epochs are 1 unless given.  A checkpoint is kept for each, and with a validation file each is
  evaluated: the service's own default is to evaluate never.
* `context_length` is not offered: a longer example would be cut, not refused.
* Files are sent to a signed URL in one piece, which storage takes up to 5 GiB.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ftjobs.backends.base import Progress, check_supported
from ftjobs.backends.chat import DEFAULTS, chat_body, completion, deltas
from ftjobs.backends.curves import metrics_csv, metrics_of, step_text
from ftjobs.backends.nouns import Raw, instant, mapping, noun, rows, text
from ftjobs.backends.profiles import Profile
from ftjobs.backends.rest import Rest, at, file_blocks
from ftjobs.backends.retry import RetryPolicy
from ftjobs.errors import (
    ConfigError,
    InvalidRequestError,
    NotFoundError,
    ServiceError,
    UnsupportedError,
)
from ftjobs.schema import (
    ENDED,
    ChatMessage,
    Checkpoint,
    Completion,
    Delta,
    Event,
    File,
    Job,
    JobSpec,
    Metrics,
    Model,
    Sampling,
)

__all__ = ["TogetherBackend"]

STATUSES: Mapping[str, str] = {
    "pending": "validating_files",
    "queued": "queued",
    "running": "running",
    "compressing": "running",
    "uploading": "running",
    "cancel_requested": "running",
    "cancelled": "cancelled",
    "error": "failed",
    "user_error": "failed",
    "completed": "succeeded",
}
FILE_STATUSES: Mapping[str, str] = {
    "PENDING": "pending",
    "QUEUED": "pending",
    "RUNNING": "running",
    "COMPLETED": "processed",
    "FAILED": "failed",
    "INVALID_FORMAT": "error",
}
LEVELS: Mapping[str, str] = {
    "warning": "warn",
    "legacy_info": "info",
    "legacy_iwarning": "warn",
    "legacy_ierror": "error",
}
TYPES: Mapping[str, str] = {"job_error": "error", "warning": "warn", "billing_limit": "warn"}
"""The level of an event that has none, by its type."""

AFTER_TRAINING = frozenset(
    {"training_complete", "job_complete", "job_error", "job_stopped", "cancel_requested"}
) | {"model_compressing", "model_compression_complete", "model_uploading", "model_upload_complete"}
"""Types of events that no step follows."""

PRICED = frozenset({"training_file", "validation_file", "model", "n_epochs", "n_evals"}) | {
    "training_method",
    "training_type",
}
"""The fields of a job that its price depends on."""

KEPT_ELSEWHERE = frozenset({"message", "created_at", "object", "level", "hash"})
"""Fields of an event that are not in its data."""

LONGEST_SUFFIX = 40
FILE_TYPES = frozenset({"jsonl", "csv", "parquet"})
SENT, KNOWN_FILE = frozenset({200, 201, 302, 303, 307}), 409


class TogetherBackend:
    """A `Backend` for Together.  Thread-safe.

    Args:
        name: what the user calls it.
        profile: where it is and what it can do.
        key: sent in the profile's header for it, and never written anywhere else.
        retry: the policy for what may be repeated.
        timeout: seconds without a byte after which a call fails with DeadlineError.

    Raises:
        ConfigError: the URL cannot be used.
        AuthError: the key holds characters that no header can carry.
    """

    def __init__(
        self,
        name: str,
        profile: Profile,
        key: str,
        *,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        timeout: float = 120.0,
    ) -> None:
        self.name = name
        self.capabilities = profile.capabilities
        self._always = {**profile.settings, **profile.extra_body}
        self._statuses = {**STATUSES, **profile.statuses}
        self._rest = Rest(name, profile, key, retry=retry, timeout=timeout)

    def close(self) -> None:
        """Close the connections.  The backend opens new ones if it is used again."""
        self._rest.close()

    # --- files --------------------------------------------------------------------------------

    def upload(
        self,
        path: Path,
        *,
        name: str | None = None,
        purpose: str = "fine-tune",
        progress: Progress | None = None,
    ) -> File:
        """Send a file.  The service knows bytes by their hash: the same again give the first file.

        Raises:
            ConfigError: the file cannot be read, is too large, or has no type that it takes.
        """
        progress, filename = progress or _silent, name or Path(path).name
        digest, size = self._measured(path)
        fields = {
            "purpose": purpose,
            "file_name": filename,
            "file_type": _file_type(filename),
            "checksum": digest,
        }
        status, headers, body = self._rest.form("v1/files", fields, expected=SENT | {KNOWN_FILE})
        if status == KNOWN_FILE:
            progress(size, size)
            return self.file(text(body.get("file_id")))
        place, file_id = (headers.get(field, "") for field in ("location", "x-together-file-id"))
        if not place or not file_id:
            raise ServiceError(f"{self.name} does not say where to send the file")
        self._rest.put_file(place, path, headers={}, progress=progress)
        return self._file(self._rest.post(at("v1/files/{}/preprocess", file_id)))

    def file(self, file_id: str) -> File:
        """One file's record."""
        return self._file(self._rest.get(at("v1/files/{}", file_id)))

    def files(self) -> Iterator[File]:
        """Every file, newest first, in one answer."""
        found = map(self._file, self._rest.array("v1/files"))
        yield from sorted(found, key=lambda file: file.created_at, reverse=True)

    def content(self, file_id: str) -> bytes:
        """A file's bytes."""
        return self._rest.content(at("v1/files/{}/content", file_id))

    def delete_file(self, file_id: str) -> None:
        """Delete a file.  InvalidRequestError while a job needs it, which is asked first."""
        for job in self.jobs():
            if not job.ended and file_id in (job.training_file, job.validation_file):
                raise InvalidRequestError(f"file {file_id} is in use by job {job.id}")
        self._rest.delete(at("v1/files/{}", file_id))

    # --- jobs ---------------------------------------------------------------------------------

    def create(self, spec: JobSpec) -> Job:
        """Create a job: one POST, after the limits of its model were read.

        Raises:
            UnsupportedError: something in the spec cannot be said here; nothing was sent.
            NotFoundError: the model cannot be trained.
        """
        return self._job(self._rest.post("v1/fine-tunes", self._body(spec)))

    def price(self, spec: JobSpec) -> float | None:
        """What the service expects a job to cost, in US dollars.

        `spec` names uploaded files.  None where the service cannot say, as for files that it has
        not looked through yet.
        """
        body = self._body(spec)
        sent = {field: value for field, value in body.items() if field in PRICED}
        said = self._rest.read(lambda: self._rest.post("v1/fine-tunes/estimate-price", sent))
        usd = said.get("estimated_total_price") if said.get("estimation_available") else None
        return float(usd) if isinstance(usd, int | float) else None

    def retrieve(self, job_id: str) -> Job:
        """A job's present state."""
        return self._job(self._rest.get(at("v1/fine-tunes/{}", job_id)))

    def cancel(self, job_id: str) -> Job:
        """Ask for the end of a job; one that has ended is returned as it is."""
        path = at("v1/fine-tunes/{}/cancel", job_id)
        try:
            self._rest.read(lambda: self._rest.tell(path))
        except InvalidRequestError:
            job = self.retrieve(job_id)
            if job.ended:
                return job
            raise
        return self.retrieve(job_id)

    def pause(self, job_id: str) -> Job:
        """UnsupportedError: jobs cannot be paused here."""
        raise UnsupportedError(f"{self.name} cannot pause job {job_id}")

    def resume(self, job_id: str) -> Job:
        """UnsupportedError: jobs cannot be paused here."""
        raise UnsupportedError(f"{self.name} cannot resume job {job_id}")

    def jobs(self, *, metadata: Mapping[str, str] | None = None) -> Iterator[Job]:
        """Every job, newest first, in one answer; none with `metadata`, which no job keeps."""
        wanted = dict(metadata or {}).items()
        found = map(self._job, self._rest.array("v1/fine-tunes"))
        for job in sorted(found, key=lambda job: job.created_at, reverse=True):
            if wanted <= job.metadata.items():
                yield job

    def events(self, job_id: str, *, after: str | None = None) -> Sequence[Event]:
        """Events and steps, oldest first, strictly after `after`; all where that id is unknown."""
        said = self._rest.array(at("v1/fine-tunes/{}/events", job_id))
        story = _story(job_id, said, self._steps(job_id), self.name)
        found = list({event.id: event for event in story}.values())
        place = next((n for n, event in enumerate(found, 1) if event.id == after), 0)
        return tuple(found[place:])

    def checkpoints(self, job_id: str) -> Sequence[Checkpoint]:
        """Checkpoints still kept, oldest first."""
        found = self._rest.array(at("v1/fine-tunes/{}/checkpoints", job_id))
        kept = [_checkpoint(raw, job_id, self.name) for raw in found]
        return tuple(sorted(kept, key=lambda each: (each.step_number, each.created_at)))

    def result_file(self, job: Job) -> bytes:
        """The steps of a job as the wire's CSV.  NotFoundError if it made none."""
        steps = [metrics_of(row) for row in self._steps(job.id)]
        if not steps:
            raise NotFoundError(f"job {job.id} has no metrics")
        return metrics_csv(steps)

    def _steps(self, job_id: str) -> list[Raw]:
        """The rows of `/metrics`, in chronological order; none before there are any."""
        try:
            answer = self._rest.get(at("v1/fine-tunes/{}/metrics", job_id))
        except NotFoundError:
            return []
        return rows(answer, "metrics", self.name)

    # --- models and answers -------------------------------------------------------------------

    def models(self) -> Iterator[Model]:
        """Models that can be trained, that can be asked, and those that jobs have made."""
        names = self._rest.get("v1/fine-tunes/models/supported").get("models")
        trainable = {text(name) for name in names} if isinstance(names, list) else set()
        for raw in self._rest.array("v1/models"):
            model = noun(Model, raw, self.name, owned_by=text(raw.get("organization")))
            trainable.discard(model.id)
            yield model
        yield from (Model(id=name) for name in sorted(trainable - {""}))
        for job in self.jobs():
            if job.fine_tuned_model:
                yield Model(id=job.fine_tuned_model, created=job.created_at)

    def delete_model(self, model: str) -> None:
        """UnsupportedError: models are deleted by project and id, which a job does not tell."""
        raise UnsupportedError(
            f"{self.name} cannot delete model {model} here", hint="Use api.together.ai/models."
        )

    def complete(
        self, model: str, messages: Sequence[ChatMessage], *, sampling: Sampling = DEFAULTS
    ) -> Completion:
        """The whole answer.  A tuned model needs a dedicated endpoint that serves it."""
        body = chat_body(model, messages, sampling)
        answer = self._rest.read(lambda: self._rest.post("v1/chat/completions", body))
        return completion(answer, model, self.name)

    def stream(
        self, model: str, messages: Sequence[ChatMessage], *, sampling: Sampling = DEFAULTS
    ) -> Iterator[Delta]:
        """The answer piece by piece; only its opening is retried."""
        body = chat_body(model, messages, sampling)
        return deltas(self._rest.stream("v1/chat/completions", body), sampling.n, self.name)

    # --- what is sent -------------------------------------------------------------------------

    def _measured(self, path: Path) -> tuple[str, int]:
        """A file's sha256 and its size."""
        digest, size = hashlib.sha256(), 0
        for block in file_blocks(path):
            digest.update(block)
            size += len(block)
        most = self.capabilities.max_file_bytes
        if most is not None and size > most:
            raise ConfigError(f"{path} has {size:,} bytes; {self.name} takes {most:,} at most")
        return digest.hexdigest(), size

    def _body(self, spec: JobSpec) -> dict[str, Any]:
        """The body of `create`.  What was not chosen is left to the service."""
        check_supported(spec, self.capabilities, self.name)
        if len(spec.suffix or "") > LONGEST_SUFFIX:
            raise UnsupportedError(f"{self.name}: a suffix has at most {LONGEST_SUFFIX} characters")
        limits = self._rest.get("v1/fine-tunes/models/limits", model_name=spec.model)
        given = spec.hyperparameters.given()
        epochs = int(given.get("n_epochs", 1))
        body = {
            "model": spec.model,
            "training_file": spec.training_file,
            "validation_file": spec.validation_file,
            "suffix": spec.suffix,
            "random_seed": spec.seed,
            "n_epochs": epochs,
            "n_checkpoints": _at_most(epochs, limits.get("max_num_checkpoints")),
            "n_evals": spec.validation_file and _at_most(epochs, limits.get("max_num_evals")),
            "batch_size": given.get("batch_size"),
            "learning_rate": given.get("learning_rate"),
            "training_type": _lora(given, limits, self.name),
            "training_method": _method(spec),
        }
        return self._always | {field: value for field, value in body.items() if value is not None}

    # --- what comes back ----------------------------------------------------------------------

    def _file(self, raw: Raw) -> File:
        word = text(raw.get("processing_status"))
        known = {
            **raw,
            "status": FILE_STATUSES.get(word, word or "processed"),
            "status_details": mapping(raw.get("validation_report")).get("error"),
        }
        return noun(File, known, self.name, bytes=0, filename="", purpose="", created_at=0)

    def _job(self, raw: Raw) -> Job:
        word = text(raw.get("status"))
        status = self._statuses.get(word, word)
        known = {
            **{field: value for field, value in raw.items() if field != "events"},
            "object": "fine_tuning.job",
            "status": status,
            "original_status": word,
            "created_at": int(instant(raw.get("created_at"))),
            "finished_at": int(instant(raw.get("updated_at"))) if status in ENDED else None,
            "validation_file": raw.get("validation_file") or None,
            "fine_tuned_model": raw.get("model_output_name") if status == "succeeded" else None,
            "error": _error(word, raw) if status == "failed" else None,
            "hyperparameters": _hyperparameters(raw),
            "method": _our_method(raw),
            "suffix": _suffix(raw),
            "seed": raw.get("random_seed"),
            "trained_tokens": raw.get("token_count"),
        }
        return noun(Job, known, self.name, model="", training_file="")


# --- what is sent --------------------------------------------------------------------------------


def _silent(done: int, total: int) -> None:
    """Progress that nobody follows."""


def _file_type(filename: str) -> str:
    kind = Path(filename).suffix.lower().removeprefix(".")
    if kind not in FILE_TYPES:
        known = ", ".join(f".{each}" for each in sorted(FILE_TYPES))
        raise ConfigError(f"{filename}: the name must end in one of {known}")
    return kind


def _at_most(wanted: int, limit: object) -> int:
    return min(wanted, limit) if isinstance(limit, int) and limit > 0 else wanted


def _method(spec: JobSpec) -> dict[str, Any]:
    if spec.method == "dpo":
        beta = spec.hyperparameters.given().get("beta")
        return {"method": "dpo"} | ({} if beta is None else {"dpo_beta": beta})
    return {"method": "sft", "train_on_inputs": "auto"}


def _lora(given: Mapping[str, float], limits: Raw, name: str) -> dict[str, Any] | None:
    """The settings of LoRA, if any was chosen: the service asks for rank and alpha together."""
    if not any(setting.startswith("lora_") for setting in given):
        return None
    rank = given.get("lora_r") or mapping(limits.get("lora_training")).get("default_rank")
    if not isinstance(rank, int):
        raise UnsupportedError(f"{name} needs lora_r here: it does not tell its own rank")
    alpha = given.get("lora_alpha", 2 * rank)
    if alpha != int(alpha):
        raise UnsupportedError(f"{name} takes a whole lora_alpha, not {alpha:g}")
    lora = {"type": "Lora", "lora_r": rank, "lora_alpha": int(alpha)}
    lora["lora_trainable_modules"] = "all-linear"
    return lora | ({"lora_dropout": given["lora_dropout"]} if "lora_dropout" in given else {})


# --- what comes back -----------------------------------------------------------------------------


def _hyperparameters(raw: Raw) -> dict[str, Any]:
    """The settings in force under our names; "auto" stands for the service's "max"."""
    lora, method = mapping(raw.get("training_type")), mapping(raw.get("training_method"))
    batch_size = raw.get("batch_size")
    found = {
        "n_epochs": raw.get("n_epochs"),
        "batch_size": "auto" if batch_size == "max" else batch_size,
        "learning_rate": raw.get("learning_rate"),
        "beta": method.get("dpo_beta"),
        **{field: lora.get(field) for field in ("lora_r", "lora_alpha", "lora_dropout")},
    }
    return {field: value for field, value in found.items() if value is not None}


def _our_method(raw: Raw) -> dict[str, Any] | None:
    said = mapping(raw.get("training_method"))
    word = text(said.get("method"))
    return {"type": {"sft": "supervised"}.get(word, word), word: said} if word else None


def _suffix(raw: Raw) -> str | None:
    """The suffix.  A single job's answer may lack it; then it is in the name of its model.

    Names seen in public are `account/BASE-SUFFIX-ID`, where BASE is the last part of the base
    model's name and ID has no dash.
    """
    if raw.get("suffix"):
        return text(raw["suffix"]) or None
    base = text(raw.get("model")).rpartition("/")[2]
    rest = text(raw.get("model_output_name")).rpartition("/")[2]
    if not base or not rest.startswith(f"{base}-"):
        return None
    return rest.removeprefix(f"{base}-").rpartition("-")[0] or None


def _error(word: str, raw: Raw) -> dict[str, str]:
    """Why a job failed: its status is the code, its last event of an error the message."""
    events = raw.get("events")
    said = [mapping(event) for event in events] if isinstance(events, list) else []
    words = [text(each.get("message")) for each in said if _level(each) == "error"]
    return {"code": word, "message": words[-1] if words else "the service does not say why"}


def _checkpoint(raw: Raw, job_id: str, name: str) -> Checkpoint:
    step = raw.get("step")
    kind = text(raw.get("checkpoint")) or text(raw.get("checkpoint_type"))
    known = {
        **raw,
        "id": f"{job_id}:{step}:{kind}" if kind else f"{job_id}:{step}",
        "created_at": int(instant(raw.get("created_at"))),
        "fine_tuned_model_checkpoint": raw.get("object_name") or f"{job_id}:{step}",
        "fine_tuning_job_id": job_id,
        "step_number": step,
        "metrics": Metrics(step=step if isinstance(step, int) else None),
    }
    return noun(Checkpoint, known, name, step_number=0)


# --- events --------------------------------------------------------------------------------------


def _story(job_id: str, said: Sequence[Raw], steps: Sequence[Raw], name: str) -> Iterator[Event]:
    """Events, oldest first, with each step between the events that it lies between."""
    waiting = list(steps)
    total = _total_steps(said)
    started, when = False, 0
    for raw in _oldest_first(said):
        due = _due(raw, waiting) if started else 0
        yield from (_step(row, job_id, total, when, name) for row in waiting[:due])
        del waiting[:due]
        event = _event(raw, job_id, name)
        started, when = started or raw.get("type") == "training_start", event.created_at
        yield event
    yield from (_step(row, job_id, total, when, name) for row in waiting)


def _oldest_first(said: Sequence[Raw]) -> list[Raw]:
    """Events by time; those of one time as they came, or backwards if the list is."""
    times = [instant(raw.get("created_at")) for raw in said]
    arrived = said[::-1] if times and times[0] > times[-1] else said
    return sorted(arrived, key=lambda raw: instant(raw.get("created_at")))


def _due(raw: Raw, waiting: Sequence[Raw]) -> int:
    """How many of the waiting steps happened before this event."""
    if raw.get("type") in AFTER_TRAINING:
        return len(waiting)
    step = raw.get("step")
    if not isinstance(step, int):
        return 0
    return sum((metrics_of(row).step or 0) <= step for row in waiting)


def _total_steps(said: Iterable[Raw]) -> int | None:
    return next(
        (raw["total_steps"] for raw in said if isinstance(raw.get("total_steps"), int)), None
    )


def _event(raw: Raw, job_id: str, name: str) -> Event:
    content = [job_id, *(raw.get(field) for field in ("created_at", "type", "step", "message"))]
    known = {
        "id": text(raw.get("hash")) or _digest(content),
        "created_at": int(instant(raw.get("created_at"))),
        "level": _level(raw),
        "message": text(raw.get("message")) or text(raw.get("type")),
        "type": "message",
        "data": {k: v for k, v in raw.items() if v is not None and k not in KEPT_ELSEWHERE},
    }
    return noun(Event, known, name)


def _step(row: Raw, job_id: str, total: int | None, when: int, name: str) -> Event:
    metrics = metrics_of(row, total_steps=total)
    known = {
        "id": _digest([job_id, "metrics", sorted(row.items())]),
        "created_at": max(when, int(instant(row.get("timestamp")))),
        "message": step_text(metrics),
        "type": "metrics",
        "data": {**row, **metrics.model_dump(exclude_none=True)},
    }
    return noun(Event, known, name)


def _level(raw: Raw) -> str:
    word = text(raw.get("level")) or TYPES.get(text(raw.get("type")), "info")
    return LEVELS.get(word, word)


def _digest(content: Sequence[object]) -> str:
    return "ftevent-" + hashlib.sha256(repr(content).encode()).hexdigest()[:24]
