"""TOML files as closed tables: read, checked, their paths settled, and every error with its key.

`ftjobs.jobs.jobfile` and `ftjobs.jobs.evaluation` say which tables there are.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError

from ftjobs.errors import ConfigError

__all__ = ["Source", "Table", "found", "keys", "listed", "parse", "settled", "text_of", "valid"]

LARGEST = 2**20
"""Bytes of a file.  What is longer is something else, such as a dataset."""


def _path(value: object) -> Path:
    if isinstance(value, Path):
        return value
    if isinstance(value, str) and value and "\0" not in value:
        return Path(value)
    raise ValueError("must be the path of a file")


def listed(value: object) -> tuple[object, ...]:
    """A list of TOML as a tuple.  ValueError if it is none."""
    if not isinstance(value, list | tuple):
        raise ValueError('must be a list, such as ["exact"]')  # noqa: TRY004 - pydantic's way
    return tuple(value)


Source = Annotated[Path, BeforeValidator(_path), PlainSerializer(Path.as_posix)]
"""A path as it stands in the file."""


class Table(BaseModel):
    """A table of a file.  `FOLDERS` are the keys whose paths may be folders, `LEAST` the least
    that a whole file says, for who leaves some of it out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    FOLDERS: ClassVar[frozenset[str]] = frozenset()
    LEAST: ClassVar[str] = ""


T = TypeVar("T", bound=Table)


def text_of(path: Path) -> str:
    """The text of a file.

    Raises:
        ConfigError: it cannot be read, is too large, or is not UTF-8.
    """
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


def parse(text: str, place: str) -> dict[str, Any]:
    """The values of a text in TOML.  ConfigError if it is none; `place` is the file's name."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # an integer of 5,000 digits is a ValueError too
        raise ConfigError(f"{place}: {error}", hint="It has to be TOML: https://toml.io") from None


def valid(model: type[T], values: Mapping[str, Any], place: str) -> T:
    """A table of `values`.  ConfigError names the first key that is wrong, and what was meant."""
    try:
        return model.model_validate(values, strict=True)
    except ValidationError as error:
        raise _explained(error, model, place) from None


def settled(table: T, file: Path, name: str = "") -> T:
    """`table` with paths that lead somewhere, taken from the folder of `file`.

    Raises:
        ConfigError: one does not; the message names its key.
    """
    update = {
        key: _settled(value, file, f"{name}.{key}".lstrip("."), folder=key in table.FOLDERS)
        for key, value in table
        if key in table.model_fields_set  # a copy marks all its update as given
    }
    return table.model_copy(update=update)


def _settled(value: Any, file: Path, key: str, *, folder: bool) -> Any:
    if isinstance(value, Path):
        return found(file, value, key, folder=folder)
    if isinstance(value, Table):
        return settled(value, file, key)
    if isinstance(value, Mapping):
        return {k: _settled(v, file, f"{key}.{k}", folder=folder) for k, v in value.items()}
    return value


def found(file: Path, path: Path, key: str, *, folder: bool) -> Path:
    """`path`, taken from the folder of `file`.

    Raises:
        ConfigError: there is no such file, nor such a folder where it may be a `folder`.
    """
    try:
        place = file.parent / path.expanduser()
        is_there = place.is_file() or (folder and place.is_dir())
    except (OSError, RuntimeError, ValueError):  # too long for a path; no such user; a zero byte
        is_there = False
    if not is_there:
        raise ConfigError(
            f"{file}: {key}: no file {path}", hint="Paths are relative to the job file."
        )
    return place


# --- keys -------------------------------------------------------------------------------------

ANY = "*"
"""Stands in a key for a name that the user chooses."""

Key = tuple[str, ...]


@cache
def keys(model: type[BaseModel], table: Key = ()) -> tuple[Key, ...]:
    """Every key and table there is, each with the tables that it is in."""
    return tuple(_keys(model, table))


def _keys(model: type[BaseModel], table: Key) -> Iterator[Key]:
    for name, field in model.model_fields.items():
        yield (*table, name)
        yield from _keys_in(field.annotation, (*table, name))


def _keys_in(annotation: Any, table: Key) -> Iterator[Key]:
    """The keys of the tables that a field holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from keys(annotation, table)
    elif get_origin(annotation) is Mapping:
        yield (*table, ANY)
        yield from _keys_in(get_args(annotation)[-1], (*table, ANY))
    else:
        for part in get_args(annotation):
            yield from _keys_in(part, table)


def _matches(known: Key, key: Key) -> bool:
    return len(known) == len(key) and all(a in (ANY, b) for a, b in zip(known, key, strict=True))


# --- errors -----------------------------------------------------------------------------------


def _explained(error: ValidationError, model: type[Table], place: str) -> ConfigError:
    """The first thing that is wrong, with its key; a key that is misspelt before one that lacks."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    first = min(details, key=lambda one: one["type"] != "extra_forbidden")
    where = tuple(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        hint = _suggestion(where, model)
        return ConfigError(f"{place}: unknown key {'.'.join(where)!r}", hint=hint)
    if first["type"] == "missing":
        hint = model.LEAST if len(where) < 3 else ""
        return ConfigError(f"{place}: {'.'.join(where)} is missing", hint=hint)
    key = _key(where, model)
    if first["type"] in ("model_type", "mapping_type", "dict_type"):
        return ConfigError(f"{place}: {key} must be a table", hint=f"Write it as [{key}].")
    alike = [one["msg"] for one in details if _key(tuple(map(str, one["loc"])), model) == key]
    message = ", or: ".join(dict.fromkeys(alike)).replace("Value error, ", "")
    return ConfigError(f"{place}: {key}: {message}")


def _key(place: Key, model: type[BaseModel]) -> str:
    """Where an error is, in the file's words: without what pydantic adds about types."""
    starts = (place[:count] for count in range(len(place), 0, -1))
    known = keys(model)
    own = (start for start in starts if any(_matches(key, start) for key in known))
    return ".".join(next(own, place[:2]))


def _suggestion(key: Key, model: type[BaseModel]) -> str:
    """What may have been meant: a key that is spelled alike, in this table or the nearest one."""
    *table, name = key
    known = keys(model)
    beside = [each[-1] for each in known if _matches(each[:-1], tuple(table)) and each[-1] != ANY]
    names = {each[-1] for each in known} - {ANY}
    close = get_close_matches(name, beside) or get_close_matches(name, names)
    if close:
        meant = [_shown(_nearest(word, table, known)) for word in close]
        return f"Did you mean {' or '.join(meant)}?"
    there = f"in [{'.'.join(table)}]" if table else "there"
    return f"Known {there}: {', '.join(beside)}."


def _nearest(name: str, table: Sequence[str], known: Sequence[Key]) -> Key:
    """The key of this name that shares most tables with `table`, and is in fewest others."""

    def rank(key: Key) -> tuple[int, int]:
        shared = 0
        while shared < len(table) and _matches(key[: shared + 1], tuple(table[: shared + 1])):
            shared += 1
        return -shared, len(key)

    return min((key for key in known if key[-1] == name), key=rank)


def _shown(key: Key) -> str:
    return ".".join("NAME" if part == ANY else part for part in key)
