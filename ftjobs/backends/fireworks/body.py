"""What goes over Fireworks' wire and what comes back: pure functions of their arguments."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ftjobs.backends.nouns import Raw, instant, mapping, noun, text
from ftjobs.errors import UnsupportedError
from ftjobs.schema import ENDED, IDENTITY, File, Job, JobSpec, Model

__all__ = [
    "DPO",
    "KINDS",
    "LONGEST_NAME",
    "MOST_ATTEMPTS",
    "STATES",
    "SUPERVISED",
    "Kind",
    "check_spec",
    "create_body",
    "id_of",
    "ids_of",
    "name_of",
    "numbered",
    "of_account",
    "read_file",
    "read_job",
    "read_model",
    "says_the_same",
]

STATES: Mapping[str, str] = {
    "JOB_STATE_CREATING": "validating_files",
    "JOB_STATE_CREATING_INPUT_DATASET": "validating_files",
    "JOB_STATE_VALIDATING": "validating_files",
    "JOB_STATE_PENDING": "queued",
    "JOB_STATE_RE_QUEUEING": "queued",
    "JOB_STATE_RUNNING": "running",
    "JOB_STATE_WRITING_RESULTS": "running",
    "JOB_STATE_CANCELLING": "cancelling",
    "JOB_STATE_PAUSED": "paused",
    "JOB_STATE_COMPLETED": "succeeded",
    "JOB_STATE_EARLY_STOPPED": "succeeded",
    "JOB_STATE_FAILED": "failed",
    "JOB_STATE_EXPIRED": "failed",
    "JOB_STATE_CANCELLED": "cancelled",
}
SECRET = re.compile("SignedUrl$|^wandbConfig$")
"""Fields of a job that may open something to whoever reads them."""

IS_IDENTITY = re.compile("[0-9a-f]{32}")
LONGEST_NAME = 63  # of what a person reads
MOST_ATTEMPTS = 50  # jobs of one identity that ended in vain


@dataclass(frozen=True)
class Kind:
    """One of the two collections of jobs."""

    collection: str
    id_field: str
    method: str


SUPERVISED = Kind("supervisedFineTuningJobs", "supervisedFineTuningJobId", "supervised")
DPO = Kind("dpoJobs", "dpoJobId", "dpo")
KINDS = (SUPERVISED, DPO)


# --- names ----------------------------------------------------------------------------------------


def name_of(account: str, collection: str, name: str) -> str:
    """The whole name of a resource, from its id or from that very name."""
    return name if "/" in name else f"accounts/{account}/{collection}/{name}"


def _last(name: object) -> str:
    """The last part of a resource's name, which is its id."""
    return text(name).rpartition("/")[2]


def id_of(raw: Raw) -> str:
    """The id of a resource: the last part of its name."""
    return _last(raw.get("name"))


def numbered(identity: str) -> Iterator[str]:
    """The ids of an identity's jobs, the first first."""
    yield f"ftjobs-{identity}"
    yield from (f"ftjobs-{identity}-{number}" for number in range(2, MOST_ATTEMPTS + 1))


def ids_of(spec: JobSpec) -> Iterator[str]:
    """The ids that a job may have, the best first: by its identity, or one that is nobody's."""
    identity = spec.metadata.get(IDENTITY)
    return iter([f"ftjobs-{secrets.token_hex(8)}"]) if identity is None else numbered(identity)


def _model_id(suffix: str | None, job_id: str) -> str:
    """What the tuned model is called: small letters, digits and dashes, and unlike any other."""
    words = re.sub(r"[^a-z0-9]+", "-", (suffix or "").lower()).strip("-")[:24].rstrip("-")
    ending = hashlib.sha256(job_id.encode()).hexdigest()[:8]
    return f"ft-{words}-{ending}" if words else f"ft-{ending}"


def of_account(model: str, own: str) -> tuple[str, str]:
    """A model's account and id; a name alone is the account's own."""
    found = re.fullmatch(r"accounts/([^/]+)/models/([^/]+)", model)
    return (found[1], found[2]) if found else (own, model)


# --- what is sent ---------------------------------------------------------------------------------


def check_spec(spec: JobSpec, name: str) -> None:
    """Refuse what cannot be said here, before anything is sent."""
    given = spec.hyperparameters.given()
    if not IS_IDENTITY.fullmatch(spec.metadata.get(IDENTITY, "0" * 32)):
        raise UnsupportedError(f"{name}: {IDENTITY} must be 32 hexadecimal digits")
    if spec.method == "dpo" and spec.validation_file:
        raise UnsupportedError(f"{name} validates no dpo job", hint="Leave the file out.")
    if spec.method != "dpo" and "beta" in given:
        raise UnsupportedError(f"{name} takes beta for dpo only")
    if given.get("beta", 0) >= 0.5:
        raise UnsupportedError(f"{name} takes a beta below 0.5")


def says_the_same(asked: Raw, there: Raw) -> bool:
    """Whether all that was asked for is there; numbers may have lost digits on their way."""
    return all(_equal(value, there.get(field)) for field, value in asked.items())


def _equal(asked: object, there: object) -> bool:
    if isinstance(asked, Mapping):
        return says_the_same(asked, mapping(there))
    if isinstance(asked, float) and isinstance(there, int | float):
        return abs(asked - there) <= 1e-6 * abs(asked)
    if isinstance(asked, str) and isinstance(there, str) and "/" not in there:
        return _last(asked) == there
    return asked == there


def create_body(spec: JobSpec, job_id: str, account: str) -> dict[str, Any]:
    """The body that creates `spec` as the job `job_id`.  What was not chosen is left out."""
    given = spec.hyperparameters.given()
    settings = {
        "baseModel": spec.model,
        "outputModel": _model_id(spec.suffix, job_id),
        "epochs": given.get("n_epochs"),
        "batchSizeSamples": given.get("batch_size"),
        "learningRate": given.get("learning_rate"),
        "loraRank": given.get("lora_r"),
    }
    chosen = {field: value for field, value in settings.items() if value is not None}
    body = {"dataset": name_of(account, "datasets", spec.training_file)}
    if spec.suffix:
        body["displayName"] = spec.suffix
    if spec.method == "dpo":
        loss = {"method": "DPO"} | ({"dpo": {"beta": given["beta"]}} if "beta" in given else {})
        return body | {"trainingConfig": chosen, "lossConfig": loss}
    if spec.validation_file:
        body["evaluationDataset"] = name_of(account, "datasets", spec.validation_file)
    return body | chosen


# --- what comes back ------------------------------------------------------------------------------


def read_file(raw: Raw, name: str) -> File:
    """A dataset as the service called `name` sent it.  ServiceError if it cannot be read."""
    dataset_id = id_of(raw)
    size = re.fullmatch(r"ftjobs-[0-9a-f]{32}-(\d+)", dataset_id)
    known = {
        **raw,
        "id": dataset_id,
        "bytes": int(size[1]) if size else 0,
        "created_at": int(instant(raw.get("createTime"))),
        "filename": text(raw.get("displayName")) or dataset_id,
        "purpose": "fine-tune",
        "status": {"READY": "processed", "UPLOADING": "pending"}.get(
            text(raw.get("state")), text(raw.get("state")) or "processed"
        ),
        "status_details": text(mapping(raw.get("status")).get("message")) or None,
    }
    return noun(File, known, name)


def read_job(raw: Raw, kind: Kind, states: Mapping[str, str], account: str, name: str) -> Job:
    """A job as the service called `name` sent it.  ServiceError if it cannot be read."""
    word = text(raw.get("state"))
    status = states.get(word, word)
    job_id, settings = id_of(raw), {**raw, **mapping(raw.get("trainingConfig"))}
    identity = re.fullmatch(r"ftjobs-([0-9a-f]{32})(-\d+)?", job_id)
    known = {
        **{field: value for field, value in raw.items() if not SECRET.search(field)},
        "id": job_id,
        "status": status,
        "original_status": word,
        "created_at": int(instant(raw.get("createTime"))),
        "finished_at": _finished_at(raw) if status in ENDED else None,
        "model": text(settings.get("baseModel")) or text(settings.get("warmStartFrom")),
        "training_file": _last(raw.get("dataset")),
        "validation_file": _last(raw.get("evaluationDataset")) or None,
        "fine_tuned_model": _tuned(account, settings, job_id) if status == "succeeded" else None,
        "error": _error(word, raw) if status == "failed" else None,
        "hyperparameters": _hyperparameters(settings, raw),
        "method": {"type": kind.method},
        "metadata": {IDENTITY: identity[1]} if identity else {},
        "suffix": text(raw.get("displayName")) or None,
        "estimated_cost_usd": _usd(raw.get("estimatedCost")),
    }
    return noun(Job, known, name)


def _tuned(account: str, settings: Raw, job_id: str) -> str:
    return name_of(account, "models", _last(settings.get("outputModel")) or job_id)


def read_model(raw: Raw, name: str) -> Model:
    """A model as the service called `name` sent it.  ServiceError if it cannot be read."""
    day = mapping(raw.get("deprecationDate"))
    parts = [day.get(part) for part in ("year", "month", "day")]
    whole = [part for part in parts if isinstance(part, int) and part > 0]
    known = {
        "id": text(raw.get("name")),
        "created": int(instant(raw.get("createTime"))),
        "owned_by": of_account(text(raw.get("name")), "")[0],
        "shutdown_date": "{:04}-{:02}-{:02}".format(*whole) if len(whole) == 3 else None,
        "tunable": raw.get("tunable"),
    }
    return noun(Model, known, name)


def _hyperparameters(settings: Raw, raw: Raw) -> dict[str, Any]:
    names = {
        "n_epochs": "epochs",
        "batch_size": "batchSizeSamples",
        "learning_rate": "learningRate",
        "lora_r": "loraRank",
    }
    beta = mapping(mapping(raw.get("lossConfig")).get("dpo")).get("beta")
    found = {ours: settings.get(theirs) for ours, theirs in names.items()} | {"beta": beta}
    return {name: value for name, value in found.items() if value not in (None, 0)}


def _finished_at(raw: Raw) -> int:
    return int(instant(raw.get("completedTime")) or instant(raw.get("updateTime")))


def _error(word: str, raw: Raw) -> dict[str, str]:
    status = mapping(raw.get("status"))
    message = text(status.get("message")) or "the service does not say why"
    return {"code": text(status.get("code")) or word, "message": message}


def _usd(cost: object) -> float | None:
    """An amount of google.type.Money in US dollars; None for none, and for other currencies."""
    said = mapping(cost)
    if not said or said.get("currencyCode", "USD") != "USD":
        return None
    try:
        return int(said.get("units") or 0) + int(said.get("nanos") or 0) / 1e9
    except (TypeError, ValueError, OverflowError):  # an infinity is JSON to some
        return None
