"""The job file, `job.toml`: everything that decides what a job does, in one place.

    job = read_job("job.toml")                   # paths are settled, and lead somewhere
    Path("copy.toml").write_text(dumps(job), "utf-8")

It is read by `ftjobs plan` and `ftjobs submit`, and written by `ftjobs migrate`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from ftjobs.errors import ConfigError
from ftjobs.jobs.fields import explain
from ftjobs.schema import Hyperparameters, JobSpec

__all__ = ["Budget", "Data", "Evaluation", "JobFile", "dumps", "parse_job", "read_job"]

LARGEST = 2**20
"""Bytes of a job file.  What is longer is something else, such as a dataset."""


def _path(value: object) -> Path:
    if isinstance(value, Path):
        return value
    if isinstance(value, str) and value and "\0" not in value:
        return Path(value)
    raise ValueError("must be the path of a file")


def _names(value: object) -> tuple[object, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError('must be a list, such as ["exact"]')  # noqa: TRY004 - pydantic's way
    return tuple(value)


Source = Annotated[Path, BeforeValidator(_path), PlainSerializer(Path.as_posix)]
"""A path as it stands in the file."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Data(_Table):
    """`[data]`: the files of examples."""

    train: Source
    validation: Source | None = None


class Budget(_Table):
    """`[budget]`: what the job may cost at most, in US dollars."""

    max_cost: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


class Evaluation(_Table):
    """`[evaluation]`: by what the tuned model is compared; kept for `ftjobs compare`."""

    prompts: Source | None = None
    graders: Annotated[tuple[str, ...], BeforeValidator(_names)] = ()


class JobFile(_Table):
    """A job as a user writes it down.  The limits of its values are those of `JobSpec`.

    `backend` is a backend's name; None leaves it to the settings.
    """

    backend: Annotated[str, Field(min_length=1)] | None = None
    model: str
    method: str = "supervised"
    suffix: str | None = None
    seed: int | None = None
    data: Data
    hyperparameters: Hyperparameters = Hyperparameters()
    metadata: Mapping[str, str] = Field(default_factory=dict)
    budget: Budget = Budget()
    evaluation: Evaluation = Evaluation()

    @field_validator("model", "method", "suffix", "seed", "metadata")
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
    job = parse_job(_text(path), str(path))
    return job.model_copy(
        update={
            "data": _settled(job.data, path, "data"),
            "evaluation": _settled(job.evaluation, path, "evaluation"),
        }
    )


def parse_job(text: str, place: str = "job.toml") -> JobFile:
    """The job that `text` describes, its paths as they are written.

    Raises:
        ConfigError: see `read_job`; `place` is what the message calls the file.
    """
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # an integer of 5,000 digits is a ValueError too
        raise ConfigError(f"{place}: {error}", hint="It has to be TOML: https://toml.io") from None
    try:
        return JobFile.model_validate(values, strict=True)
    except ValidationError as error:
        raise _explained(error, place) from None


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


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "cannot be a path"
        raise ConfigError(f"{path}: {reason}") from None
    if len(data) > LARGEST:
        raise ConfigError(f"{path}: too large for a job file", hint="Is it the dataset?")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8, which TOML has to be") from None


def _settled(table: Data | Evaluation, file: Path, name: str) -> Data | Evaluation:
    """`table` with paths that lead somewhere."""
    paths = {key: value for key, value in table if isinstance(value, Path)}
    settled = {key: _found(file, value, f"{name}.{key}") for key, value in paths.items()}
    return table.model_copy(update=settled)


def _found(file: Path, path: Path, key: str) -> Path:
    try:
        found = file.parent / path.expanduser()
        is_there = found.is_file()
    except (OSError, RuntimeError):  # too long for a path; no such user
        is_there = False
    if not is_there:
        raise ConfigError(
            f"{file}: {key}: no file {path}", hint="Paths are relative to the job file."
        )
    return found


# --- errors -----------------------------------------------------------------------------------


def _explained(error: ValidationError, place: str) -> ConfigError:
    """The first thing that is wrong, with its key."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    key = _key(first["loc"])
    if first["type"] == "extra_forbidden":
        return ConfigError(f"{place}: unknown key {key!r}", hint=_suggestion(key))
    if first["type"] == "missing":
        return ConfigError(f"{place}: {key} is missing", hint=_LOOKS)
    if first["type"] == "model_type":
        return ConfigError(f"{place}: {key} must be a table", hint=f"Write it as [{key}].")
    alike = [one["msg"] for one in error.errors() if _key(one["loc"]) == key]
    message = ", or: ".join(dict.fromkeys(alike)).replace("Value error, ", "")
    return ConfigError(f"{place}: {key}: {message}")


_LOOKS = 'The least that a job file says: model = "MODEL", and under [data]: train = "train.jsonl"'


def _keys(model: type[BaseModel] = JobFile, table: str = "") -> Iterator[str]:
    """Every key and table there is, with the table that it is in."""
    for name, field in model.model_fields.items():
        yield table + name
        if isinstance(inner := field.annotation, type) and issubclass(inner, BaseModel):
            yield from _keys(inner, f"{table}{name}.")


KEYS = tuple(_keys())


def _key(place: tuple[int | str, ...]) -> str:
    """Where an error is, in the file's words: without what pydantic adds about types."""
    words = [str(part) for part in place]
    if words[0] == "metadata":
        return ".".join(words)
    known = (".".join(words[:count]) for count in range(len(words), 1, -1))
    return next((key for key in known if key in KEYS), ".".join(words[:2]))


def _suggestion(key: str) -> str:
    """What may have been meant: a key that is spelled alike, in this table or another."""
    table, _, name = key.rpartition(".")
    close = get_close_matches(name, {_last(known) for known in KEYS})
    if found := [known for word in close for known in KEYS if _last(known) == word]:
        return f"Did you mean {' or '.join(found)}?"
    beside = [_last(known) for known in KEYS if known.rpartition(".")[0] == table]
    return f"Known {f'in [{table}]' if table else 'there'}: {', '.join(beside)}."


def _last(key: str) -> str:
    return key.rpartition(".")[2]
