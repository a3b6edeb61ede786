"""A job of one service → a job file that runs the same job on another backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ftjobs.errors import ConfigError
from ftjobs.jobs.archive import FileEntry, service_path
from ftjobs.jobs.jobfile import Data, JobFile, dumps
from ftjobs.schema import IDENTITY, Hyperparameters, Job, JobSpec

__all__ = ["job_toml"]

UP = Path("../..")  # from a job's folder to the archive


def job_toml(
    job: Job, files: Mapping[str, FileEntry], *, service: str, model: str | None = None
) -> str:
    """`job` as a job file, with remarks on all that is not the same elsewhere.

    Args:
        job: a job of `service`.
        files: the service's files by id; those that are not here are remarked on.
        service: who ran it.
        model: the base model to write; the job's own if None.

    Raises:
        ConfigError: a job file cannot say it: an unknown method, or texts that are no UTF-8.
    """
    settings, odd_settings = _settings(job)
    fields, odd_fields = _fields(job)
    validation = job.validation_file
    try:
        text = dumps(
            JobFile(
                model=model or job.model,
                method=_method(job),
                data=Data(
                    train=UP / service_path(job.training_file),
                    validation=UP / service_path(validation) if validation else None,
                ),
                hyperparameters=settings,
                **fields,
            )
        )
    except ValidationError as error:
        place = ".".join(map(str, error.errors(include_input=False)[0]["loc"]))
        raise ConfigError(f"a job file cannot say this job's {place}") from None
    remarks = [
        f"Job {job.id} of {service}, written down by ftjobs migrate.",
        *_on_model(job, model),
        *_on_files(job, files),
        *_on_settings(settings, service),
        *(f"Left out, as no job file can say it: {name} = {value}" for name, value in odd_fields),
        *(f"Left out, as nothing else knows it: {name} = {value}" for name, value in odd_settings),
    ]
    return "".join(f"# {_plain(remark)}\n" for remark in remarks) + "\n" + text


def _method(job: Job) -> str:
    word = str((job.method or {}).get("type") or "supervised")
    try:
        return str(_valid("method", word))
    except ValidationError:
        raise ConfigError(f"a job file cannot say the method {word!r}") from None


def _fields(job: Job) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
    """What a job file takes of the rest, and what it does not."""
    metadata = {key: text for key, text in job.metadata.items() if key != IDENTITY}
    given = {
        "suffix": job.suffix or None,
        "seed": job.seed,
        "metadata": metadata,
        "integrations": job.integrations,
    }
    kept: dict[str, Any] = {}
    odd: list[tuple[str, Any]] = []
    for name, value in given.items():
        try:
            kept[name] = _valid(name, value)
        except ValidationError:
            odd.append((name, value))
    return kept, odd


def _settings(job: Job) -> tuple[Hyperparameters, list[tuple[str, Any]]]:
    """The hyperparameters that ftjobs knows, as the service settled them, and the others."""
    kept = Hyperparameters()
    odd: list[tuple[str, Any]] = []
    for name, value in job.hyperparameters.items():
        if value in ("auto", None):
            continue
        try:
            kept = Hyperparameters.model_validate({**kept.given(), name: value})
        except ValidationError:
            odd.append((name, value))
    return kept, odd


def _valid(name: str, value: Any) -> Any:
    spec = JobSpec.model_validate({"model": "m", "training_file": "f", name: value})
    return getattr(spec, name)


# --- remarks ----------------------------------------------------------------------------------


def _on_model(job: Job, model: str | None) -> Iterator[str]:
    if model is not None and model != job.model:
        yield f"The model was {job.model}."
    else:
        yield "A backend that lacks this model needs another: ftjobs migrate --model NEW."
    if (job.method or {}).get("type") == "reinforcement":
        yield "The grader is in job.json: a job file cannot say it."


def _on_files(job: Job, files: Mapping[str, FileEntry]) -> Iterator[str]:
    for role, file_id in (("training", job.training_file), ("validation", job.validation_file)):
        entry = files.get(file_id or "")
        if entry is not None and entry.filename:
            yield f"The {role} file was called {entry.filename}."
        if entry is not None and entry.missing:
            yield f"The {role} file is not here: {entry.missing.reason}"
        elif entry is not None and entry.note:
            yield f"The {role} file may not be whole: {entry.note}"


def _on_settings(settings: Hyperparameters, service: str) -> Iterator[str]:
    if "learning_rate_multiplier" in settings.given():
        yield (
            f"learning_rate_multiplier is a factor on a rate that only {service} knows: "
            "elsewhere it means another one."
        )


def _plain(text: str) -> str:
    """One line of a comment, whatever the service's words hold."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))[:500]
