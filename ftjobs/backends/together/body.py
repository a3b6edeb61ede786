"""What goes over Together's wire and what comes back: pure functions of their arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftjobs.backends.nouns import Raw, instant, mapping, noun, text
from ftjobs.backends.together.story import level_of
from ftjobs.errors import UnsupportedError
from ftjobs.schema import ENDED, Checkpoint, File, Job, JobSpec, Metrics

__all__ = ["PRICED", "STATUSES", "create_body", "read_checkpoint", "read_file", "read_job"]

STATUSES: Mapping[str, str] = {
    "pending": "validating_files",
    "queued": "queued",
    "running": "running",
    "compressing": "running",
    "uploading": "running",
    "cancel_requested": "cancelling",
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
PRICED = frozenset({"training_file", "validation_file", "model", "n_epochs", "n_evals"}) | {
    "training_method",
    "training_type",
}
"""The fields of a job that its price depends on."""


# --- what is sent --------------------------------------------------------------------------------


def create_body(spec: JobSpec, limits: Raw, always: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The body of POST /v1/fine-tunes.  What was not chosen is left to the service.

    `limits` are those of the model, `always` goes with every job.

    Raises:
        UnsupportedError: something in the spec cannot be said here.
    """
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
        "training_type": _lora(given, limits, name),
        "training_method": _method(spec),
    }
    return {**always, **{field: value for field, value in body.items() if value is not None}}


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


def read_file(raw: Raw, name: str) -> File:
    """A file as the service called `name` sent it.  ServiceError if it cannot be read."""
    word = text(raw.get("processing_status"))
    known = {
        **raw,
        "status": FILE_STATUSES.get(word, word or "processed"),
        "status_details": mapping(raw.get("validation_report")).get("error"),
    }
    return noun(File, known, name, bytes=0, filename="", purpose="", created_at=0)


def read_job(raw: Raw, statuses: Mapping[str, str], name: str) -> Job:
    """A job as the service called `name` sent it.  ServiceError if it cannot be read."""
    word = text(raw.get("status"))
    status = statuses.get(word, word)
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
    return noun(Job, known, name, model="", training_file="")


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
    words = [text(each.get("message")) for each in said if level_of(each) == "error"]
    return {"code": word, "message": words[-1] if words else "the service does not say why"}


def read_checkpoint(raw: Raw, job_id: str, name: str) -> Checkpoint:
    """A checkpoint of the job `job_id`.  ServiceError if it cannot be read."""
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
