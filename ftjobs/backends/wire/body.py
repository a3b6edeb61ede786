"""What goes over the wire and what comes back: a `JobSpec` → the body of `create`, raw JSON → nouns.

Pure functions of their arguments.  What differs between services is in the `Profile`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from ftjobs.errors import ServiceError
from ftjobs.schema import Checkpoint, File, Job, JobSpec

if TYPE_CHECKING:
    from ftjobs.backends.profiles import Profile

__all__ = ["Raw", "create_body", "mapping", "noun", "read_checkpoint", "read_file", "read_job"]

Noun = TypeVar("Noun", bound=BaseModel)
Raw = Mapping[str, Any]
"""A JSON object as it came."""


def create_body(spec: JobSpec, profile: Profile) -> dict[str, Any]:
    """The body of POST /fine_tuning/jobs.  What was not chosen is left out."""
    settings = spec.hyperparameters.given()
    if profile.settings_in == "method":
        where: Raw = {"method": {"type": spec.method, spec.method: {"hyperparameters": settings}}}
    else:
        where = {"hyperparameters": settings}
    body = {
        "model": spec.model,
        "training_file": spec.training_file,
        "validation_file": spec.validation_file,
        "suffix": spec.suffix,
        "seed": spec.seed,
        "metadata": dict(spec.metadata) or None,
        **where,
    }
    return {name: value for name, value in body.items() if value is not None}


def read_job(raw: Raw, profile: Profile, name: str) -> Job:
    """A job as the service called `name` sent it.  ServiceError if it cannot be read."""
    method = mapping(raw.get("method"))
    settings = mapping(method.get(str(method.get("type")))).get("hyperparameters")
    suffix = raw.get("user_provided_suffix")
    status = profile.statuses.get(str(raw.get("status")), raw.get("status"))
    known = {**raw, "method": method or None, "status": status}
    return noun(Job, known, name, training_file="", hyperparameters=settings, suffix=suffix)


def read_file(raw: Raw, name: str) -> File:
    """A file's record.  ServiceError if it cannot be read."""
    return noun(File, raw, name, bytes=0, filename="", purpose="", created_at=0)


def read_checkpoint(raw: Raw, job_id: str, name: str) -> Checkpoint:
    """A checkpoint of the job `job_id`.  ServiceError if it cannot be read."""
    model = str(raw.get("fine_tuned_model_checkpoint") or "")
    step = re.search(r":ckpt-step-(\d+)$", model)
    return noun(
        Checkpoint,
        raw,
        name,
        created_at=0,
        fine_tuned_model_checkpoint=model,
        fine_tuning_job_id=job_id,
        step_number=int(step[1]) if step else 0,
    )


def noun(cls: type[Noun], raw: Raw, name: str, **missing: Any) -> Noun:
    """`raw` as a `cls`; a null is a field that is not there, and `missing` stands in for it.

    Raises:
        ServiceError: a field cannot be read; the message names it, and quotes nothing.
    """
    present = {field: value for field, value in raw.items() if value is not None}
    try:
        return cls.model_validate(missing | present)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ServiceError(
            f"{name} answered a {cls.__name__.lower()} whose {place} cannot be read: {first['msg']}"
        ) from None


def mapping(value: object) -> Raw:
    """`value` if it is a JSON object, else an empty one."""
    return value if isinstance(value, Mapping) else {}
