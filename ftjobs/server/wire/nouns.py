"""The wire's nouns: what answers hold.  Fields that a backend adds pass through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Header
from pydantic import BaseModel, ConfigDict, Field

from ftjobs.schema import Checkpoint, Event, File, Job
from ftjobs.server.refusals import Refusal
from ftjobs.server.uploads import Upload

__all__ = ["Deleted", "ExpiresAfter", "Key", "Purpose", "WireCheckpoint", "WireEvent", "WireFile"]
__all__ += ["WireJob", "WirePart", "WireUpload", "checked_name", "lifetime"]
__all__ += ["wire_checkpoint", "wire_event", "wire_file", "wire_job", "wire_upload"]

Purpose = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]
"""What a file may be uploaded for."""

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="A text of your choice: sent again under it, a request is carried out once.",
    ),
]

HOUR, MONTH = 3600, 30 * 24 * 3600
LONGEST_NAME = 1024


T = TypeVar("T")
_Left = Annotated[T | None, Field(exclude_if=lambda value: value is None)]
"""A field that the wire leaves out where there is nothing to say; null is no value of it."""


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class ExpiresAfter(BaseModel):
    """When a file expires, counted from its creation."""

    model_config = ConfigDict(extra="forbid")

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=HOUR, le=MONTH)]


class WireFile(_Open):
    """A file."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: Literal["uploaded", "processed", "error"]
    expires_at: _Left[int] = None
    status_details: _Left[str] = None


class WireUpload(BaseModel):
    """An upload in parts."""

    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: Literal["pending", "completed", "cancelled", "expired"]
    file: WireFile | None = None


class WirePart(BaseModel):
    """A part of an upload."""

    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str


class WireJobError(_Open):
    """Why a job failed."""

    code: str
    message: str
    param: str | None = None


class WireJob(_Open):
    """A fine-tuning job.  `status` is one of the wire's, or paused or pausing."""

    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: int
    error: WireJobError | None = None
    estimated_finish: int | None = None
    fine_tuned_model: str | None = None
    finished_at: int | None = None
    hyperparameters: dict[str, Any]
    integrations: list[dict[str, Any]]
    metadata: dict[str, str]
    method: dict[str, Any]
    model: str
    organization_id: str
    result_files: list[str]
    seed: int
    status: str
    trained_tokens: int | None = None
    training_file: str
    user_provided_suffix: str | None = None
    validation_file: str | None = None


class WireEvent(_Open):
    """Something that happened in a job."""

    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: str
    data: dict[str, Any]


class WireCheckpoint(_Open):
    """A model saved during a job."""

    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: str
    metrics: dict[str, float]
    step_number: int


class Deleted(BaseModel):
    """What is no more."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


# --- from the nouns of ftjobs -------------------------------------------------------------------


def wire_file(file: File) -> WireFile:
    """A file as the wire has it."""
    fields = file.model_dump(exclude_none=True)
    known = file.status if file.status in ("uploaded", "error") else "processed"
    return WireFile.model_validate({**fields, "object": "file", "status": known})


def wire_upload(upload: Upload) -> WireUpload:
    """An upload as the wire has it."""
    file = wire_file(File.model_validate(upload.file)) if upload.file else None
    known = {name: getattr(upload, name) for name in WireUpload.model_fields.keys() - {"object"}}
    return WireUpload(**{**known, "file": file})


def wire_job(job: Job) -> WireJob:
    """A job as the wire has it: an error only where there is one, numbers or "auto"."""
    fields = job.model_dump(mode="json", exclude={"suffix", "error", "object"})
    settings = fields["hyperparameters"]
    method = fields["method"] or {
        "type": "supervised",
        "supervised": {"hyperparameters": settings},
    }
    error = job.error and {
        "code": job.error.code or "server_error",
        "message": job.error.message or "",
        "param": job.error.param,
    }
    seed = 0 if job.seed is None else job.seed  # a service that does not say it
    changed = {"method": method, "error": error, "seed": seed, "user_provided_suffix": job.suffix}
    return WireJob.model_validate({**fields, **changed})


def wire_event(event: Event) -> WireEvent:
    """An event as the wire has it."""
    level = {"warning": "warn"}.get(event.level, event.level)
    known = level if level in ("info", "warn", "error") else "info"
    fields = event.model_dump(mode="json", exclude={"object"})
    return WireEvent.model_validate({**fields, "level": known, "type": event.type or "message"})


def wire_checkpoint(checkpoint: Checkpoint) -> WireCheckpoint:
    """A checkpoint as the wire has it: with the numbers that were measured."""
    metrics: Mapping[str, Any] = checkpoint.metrics.model_dump(exclude_none=True)
    numbers = {key: value for key, value in metrics.items() if isinstance(value, int | float)}
    fields = checkpoint.model_dump(mode="json", exclude={"object"})
    return WireCheckpoint.model_validate({**fields, "metrics": numbers})


# --- to them ------------------------------------------------------------------------------------


def checked_name(name: str, param: str) -> str:
    """A file's name: a label, which nothing takes for a path.

    Raises:
        Refusal: 400, it is empty or too long, or holds control characters.
    """
    if not name:
        raise Refusal(400, "the file has no name", param=param)
    if len(name) > LONGEST_NAME:
        raise Refusal(400, f"a file's name has at most {LONGEST_NAME} characters", param=param)
    if any(char < " " or "\x7f" <= char <= "\x9f" for char in name):
        raise Refusal(400, "a file's name has no control characters", param=param)
    return name


def lifetime(purpose: str, expires_after: ExpiresAfter | None) -> int | None:
    """Seconds that a file lives; None for ever.  On the wire, files for batches live a month."""
    if expires_after is not None:
        return expires_after.seconds
    return MONTH if purpose == "batch" else None
