"""What goes over the wire and back: a `JobSpec` → the body of `create`, raw JSON → nouns.

Pure functions of their arguments.  What differs between services is in the `Profile`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ftjobs.backends.nouns import Raw, mapping, noun
from ftjobs.errors import UnsupportedError
from ftjobs.schema import Checkpoint, File, Job, JobSpec

if TYPE_CHECKING:
    from ftjobs.backends.profiles import Profile

__all__ = ["create_body", "read_checkpoint", "read_file", "read_job"]


# --- what is sent -------------------------------------------------------------------------------


def create_body(spec: JobSpec, profile: Profile, name: str = "this service") -> dict[str, Any]:
    """The body of POST /fine_tuning/jobs at the service called `name`.

    What was not chosen is left out, so that the service decides.

    Raises:
        UnsupportedError: a hyperparameter is outside the service's limits, or metadata cannot
            be said in its words.
    """
    settings = _settings(spec, profile, name)
    body = {
        "model": spec.model,
        "training_file": spec.training_file,
        "validation_file": spec.validation_file,
        "suffix": spec.suffix,
        "seed": spec.seed,
        "integrations": [dict(each) for each in spec.integrations] or None,
        **_labels(spec, profile, name),
    }
    if profile.settings_in == "method":
        body["method"] = {"type": spec.method, spec.method: {"hyperparameters": settings}}
    elif settings:
        body["hyperparameters"] = settings
    return {
        **profile.extra_body,
        **{key: value for key, value in body.items() if value is not None},
    }


def _settings(spec: JobSpec, profile: Profile, name: str) -> dict[str, Any]:
    """The hyperparameters in the service's words."""
    given = spec.hyperparameters.given()
    for setting, value in given.items():
        _check_limits(setting, value, profile, name)
    said: dict[str, Any] = {
        profile.renamed.get(setting, setting): int(value) if setting in profile.whole else value
        for setting, value in given.items()
    }
    if profile.lora_switch and any(setting.startswith("lora_") for setting in given):
        said[profile.lora_switch] = True
    return {**profile.settings, **said}


def _check_limits(setting: str, value: float, profile: Profile, name: str) -> None:
    low, high = profile.limits.get(setting, (value, value))
    if not low <= value <= high:
        raise UnsupportedError(
            f"{name} takes no {setting} of {value:g}", hint=f"It takes {low:g} to {high:g}."
        )
    if setting in profile.whole and value != int(value):
        raise UnsupportedError(f"{name} takes no {setting} of {value:g}: only whole numbers")


def _labels(spec: JobSpec, profile: Profile, name: str) -> dict[str, Any]:
    """The metadata as the service's field for it."""
    if not spec.metadata or profile.metadata_in == "none":
        return {}
    if profile.metadata_in == "metadata":
        return {"metadata": dict(spec.metadata)}
    if any("=" in key for key in spec.metadata):
        raise UnsupportedError(
            f"{name} keeps metadata as tags: no key can hold =", hint="Name the pair otherwise."
        )
    return {"tags": [f"{key}={value}" for key, value in spec.metadata.items()]}


# --- what comes back ----------------------------------------------------------------------------


def read_job(raw: Raw, profile: Profile, name: str) -> Job:
    """A job as the service called `name` sent it, in the wire's words.

    Raises:
        ServiceError: it cannot be read.
    """
    status = raw.get("status")
    known = {
        **raw,
        "status": profile.statuses.get(status, status) if isinstance(status, str) else status,
        "method": mapping(raw.get("method")) or None,
        "hyperparameters": _chosen(raw, profile),
        "metadata": _metadata(raw, profile),
        "error": _error(raw.get("error")),
    }
    return noun(Job, known, name, training_file="", suffix=raw.get("user_provided_suffix"))


def _chosen(raw: Raw, profile: Profile) -> dict[str, Any]:
    """The hyperparameters in force, by our names, wherever the service puts them.

    A service may settle one in one place and leave "auto" in the other.
    """
    method = mapping(raw.get("method"))
    inner = mapping(mapping(method.get(str(method.get("type")))).get("hyperparameters"))
    ours = {theirs: setting for setting, theirs in profile.renamed.items()}
    chosen: dict[str, Any] = {}
    for place in (mapping(raw.get("hyperparameters")), inner):
        for key, value in place.items():
            setting = ours.get(key, key)
            if value is not None and not (value == "auto" and setting in chosen):
                chosen[setting] = value
    return chosen


def _metadata(raw: Raw, profile: Profile) -> dict[str, str]:
    """Metadata as texts; tags "key=value" are pairs, any other tag is a key without a value."""
    found = {key: _text(value) for key, value in mapping(raw.get("metadata")).items()}
    if profile.metadata_in == "tags":
        tags = raw.get("tags")
        for tag in [tags] if isinstance(tags, str) else tags if isinstance(tags, list) else ():
            key, _, value = _text(tag).partition("=")
            found[key] = value
    return found


def _error(raw: Any) -> Any:
    """An error as an object, whatever a service makes of it."""
    if isinstance(raw, str):
        return {"message": raw} if raw else None
    if not isinstance(raw, Mapping):
        return None if not raw else {"message": _text(raw)}
    words = {"code", "message", "param"}
    return {k: _text(v) if k in words and v is not None else v for k, v in raw.items()}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def read_file(raw: Raw, name: str) -> File:
    """A file's record.  ServiceError if it cannot be read."""
    return noun(File, raw, name, bytes=0, filename="", purpose="", created_at=0)


def read_checkpoint(raw: Raw, job_id: str, name: str) -> Checkpoint:
    """A checkpoint of the job `job_id`.  ServiceError if it cannot be read."""
    model = str(raw.get("fine_tuned_model_checkpoint") or "")
    step = re.search(r":ckpt-step-(\d{1,18})$", model)
    return noun(
        Checkpoint,
        raw,
        name,
        created_at=0,
        fine_tuned_model_checkpoint=model,
        fine_tuning_job_id=job_id,
        step_number=int(step[1]) if step else 0,
    )
