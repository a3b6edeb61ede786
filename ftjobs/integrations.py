"""Where a job's metrics go besides its events: the `integrations` of a job, checked.

Each is a table of the wire's shape, `{"type": "wandb", "wandb": {"project": "support"}}`.  The
wire knows `wandb` alone; the others are for jobs on one's own machine.  None of them holds a key:
every library reads its own from its own environment variables.  No I/O.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

__all__ = ["SETTINGS", "TYPES", "Integration", "MLflow", "TensorBoard", "Trackio", "Wandb"]
__all__ += ["checked", "located"]

Integration = Mapping[str, Any]
MOST = 5
"""Integrations of a job, as on the wire."""


def _writable(text: str) -> str:
    if any(char == "\0" or "\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("must be text that UTF-8 can hold")
    return text


def _without_password(uri: str) -> str:
    try:
        has_secret = "@" in urlsplit(uri).netloc
    except ValueError:
        raise ValueError("must be a path or an address") from None
    if has_secret:
        raise ValueError("must hold no user or password: set MLFLOW_TRACKING_URI instead")
    return uri


Text = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_writable)]
Tags = Annotated[tuple[Annotated[Text, Field(max_length=64)], ...], Field(max_length=16)]
Place = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_writable)]


class _Settings(BaseModel):
    """Frozen, and an unknown field is a typing mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Wandb(_Settings):
    """Weights & Biases, in the wire's words.  `entity` is a team or a user."""

    project: Text
    name: Text | None = None
    entity: Text | None = None
    tags: Tags = ()


class TensorBoard(_Settings):
    """Event files in `log_dir`/JOB-ID; without it, in the job's own folder."""

    log_dir: Place | None = None


class MLflow(_Settings):
    """`project` is MLflow's experiment; a tag may be a "key=value".

    `tracking_uri` is a server or a database; without it, MLFLOW_TRACKING_URI says where.
    """

    project: Text
    name: Text | None = None
    tags: Tags = ()
    tracking_uri: Annotated[Place, AfterValidator(_without_password)] | None = None


class Trackio(_Settings):
    """Trackio, on this machine or where its own variables say."""

    project: Text
    name: Text | None = None


SETTINGS: Mapping[str, type[_Settings]] = {
    "wandb": Wandb,
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "trackio": Trackio,
}
TYPES = frozenset(SETTINGS)


def checked(values: object) -> tuple[Integration, ...]:
    """The integrations of a job in their plainest form: what was not chosen is left out.

    Raises:
        ValueError: one of them is none; the message says why, and never quotes a value.
    """
    if not isinstance(values, list | tuple):
        raise ValueError('must be a list of tables, each with a "type"')  # noqa: TRY004 - pydantic's way
    if len(values) > MOST:
        raise ValueError(f"at most {MOST}")
    found = tuple(_checked(value) for value in values)
    if any(one in found[:number] for number, one in enumerate(found)):
        raise ValueError("the same one twice")
    return found


def located(integrations: Sequence[Integration], folder: Path) -> tuple[Integration, ...]:
    """`integrations` with relative paths taken from `folder`, for who runs elsewhere."""
    return tuple({**one, one["type"]: _located(one[one["type"]], folder)} for one in integrations)


def _checked(value: object) -> Integration:
    known = ", ".join(SETTINGS)
    if not isinstance(value, Mapping):
        raise ValueError('must be a list of tables, each with a "type"')  # noqa: TRY004 - pydantic's way
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in SETTINGS:
        raise ValueError(f"the type must be one of {known}")
    if others := [str(key) for key in value if key not in ("type", kind)]:
        raise ValueError(f"{kind}: unknown key {others[0]!r} beside the type and {kind}")
    try:
        settings = SETTINGS[kind].model_validate(value.get(kind) or {})
    except ValidationError as error:
        raise ValueError(f"{kind}: {_explained(error, SETTINGS[kind])}") from None
    return {"type": kind, kind: settings.model_dump(mode="json", exclude_defaults=True)}


def _explained(error: ValidationError, model: type[_Settings]) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    name = str(first["loc"][0]) if first["loc"] else "it"
    if first["type"] == "extra_forbidden":
        return f"no setting {name!r}; there are {', '.join(model.model_fields)}"
    if first["type"] == "missing":
        return f"{name} is missing"
    if not first["loc"]:
        return "must be a table"
    return f"{name}: {first['msg'].removeprefix('Value error, ')}"


def _located(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    found = dict(settings)
    if "log_dir" in found:
        found["log_dir"] = str(folder / Path(found["log_dir"]).expanduser())
    if "tracking_uri" in found:
        found["tracking_uri"] = _located_uri(found["tracking_uri"], folder)
    return found


def _located_uri(uri: str, folder: Path) -> str:
    """An address as it is; a file's path, and SQLite's of three slashes, from `folder`."""
    sqlite = "sqlite:///"
    if uri.startswith(sqlite):
        return f"{sqlite}{folder / uri.removeprefix(sqlite)}"
    is_name = uri.startswith(("databricks", "file:")) or "://" in uri
    return uri if is_name else str(folder / Path(uri).expanduser())
