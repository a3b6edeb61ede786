"""The job file, `job.toml`: everything that decides what a job does, in one place.

    job = read_job("job.toml")                   # paths are settled, and lead somewhere
    Path("copy.toml").write_text(dumps(job), "utf-8")

It is read by `ftjobs plan`, `ftjobs submit` and `ftjobs compare`, and written by `ftjobs migrate`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator

from ftjobs.errors import ConfigError
from ftjobs.integrations import located
from ftjobs.jobs.evaluation import ComparisonFile, Evaluation, with_graders_found
from ftjobs.jobs.fields import explain
from ftjobs.jobs.preset import PresetName
from ftjobs.jobs.tables import Source, Table, parse, settled, text_of, valid
from ftjobs.schema import Hyperparameters, JobSpec

__all__ = [
    "Budget",
    "Data",
    "Evaluation",
    "JobFile",
    "dumps",
    "parse_evaluation",
    "parse_job",
    "read_evaluation",
    "read_job",
]


class Data(Table):
    """`[data]`: the files of examples."""

    train: Source
    validation: Source | None = None


class Budget(Table):
    """`[budget]`: what the job may cost at most, in US dollars."""

    max_cost: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


def _tables(value: object) -> tuple[object, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError("must be a list of tables, each written as [[integrations]]")  # noqa: TRY004 - pydantic's way
    return tuple(value)


class JobFile(Table):
    """A job as a user writes it down.  The limits of its values are those of `JobSpec`.

    `backend` is a backend's name; None leaves it to the settings.  `hyperparameters` win over those
    of `preset`.
    """

    LEAST = (
        'The least that a job file says: model = "MODEL", and under [data]: train = "train.jsonl"'
    )

    backend: Annotated[str, Field(min_length=1)] | None = None
    model: str
    method: str = "supervised"
    suffix: str | None = None
    seed: int | None = None
    data: Data
    preset: PresetName | None = None
    hyperparameters: Hyperparameters = Hyperparameters()
    metadata: Mapping[str, str] = Field(default_factory=dict)
    integrations: Annotated[tuple[Mapping[str, Any], ...], BeforeValidator(_tables)] = ()
    budget: Budget = Budget()
    evaluation: Evaluation = Evaluation()

    @field_validator("model", "method", "suffix", "seed", "metadata", "integrations")
    @classmethod
    def _as_in_a_job(cls, value: Any, info: ValidationInfo) -> Any:
        try:
            JobSpec.model_validate({"model": "m", "training_file": "f", info.field_name: value})
        except ValidationError as error:
            raise ValueError(explain(error).partition(": ")[2]) from None
        return value


def read_job(path: str | os.PathLike[str]) -> JobFile:
    """The job of a file, its paths taken from the file's folder.

    Raises:
        ConfigError: it cannot be read, is no TOML, or says something that no job has; the message
            names the file and the key.
    """
    path = Path(path)
    job = settled(parse_job(text_of(path), str(path)), path)
    return job.model_copy(update={"integrations": located(job.integrations, path.parent.resolve())})


def parse_job(text: str, place: str = "job.toml") -> JobFile:
    """The job that `text` describes, its paths as they are written.

    Raises:
        ConfigError: see `read_job`; `place` is what the message calls the file.
    """
    return valid(JobFile, parse(text, place), place)


def read_evaluation(path: str | os.PathLike[str]) -> Evaluation:
    """The comparison of a job file, or of a file of its own; paths are taken from its folder.

    The job's data need not be there.

    Raises:
        ConfigError: as from `read_job`.
    """
    path = Path(path)
    evaluation = settled(parse_evaluation(text_of(path), str(path)), path, "evaluation")
    return with_graders_found(evaluation, path)


def parse_evaluation(text: str, place: str = "compare.toml") -> Evaluation:
    """The comparison that `text` describes, its paths as they are written.

    `backend`, and of a job `model`, stand in where the table does not say its own.

    Raises:
        ConfigError: see `read_job`; `place` is what the message calls the file.
    """
    values = parse(text, place)
    if not values.keys() & {"model", "data"}:
        file = valid(ComparisonFile, values, place)
        return _filled(file.evaluation, backend=file.backend)
    job = valid(JobFile, values, place)
    own = job.evaluation.arms.get("base")
    is_said = own is not None and bool(own.model or own.answers)
    return _filled(job.evaluation, backend=job.backend, base=None if is_said else job.model)


def _filled(table: Evaluation, **defaults: str | None) -> Evaluation:
    update = {name: getattr(table, name) or value for name, value in defaults.items()}
    return table.model_copy(update=update)


def dumps(job: JobFile) -> str:
    """`job` as TOML: `parse_job` gives an equal one back.

    Raises:
        ConfigError: a text of it cannot be written as UTF-8, such as a path of other bytes.
    """
    import tomli_w

    values = {"model": job.model, "method": job.method, **job.model_dump(exclude_defaults=True)}
    text = tomli_w.dumps({key: value for key, value in values.items() if value != {}})
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError("a job file is UTF-8, and a text of this job cannot be") from None
    return text
