"""The one list of settings, and where each comes from.

Precedence: command-line flag, environment, the project's `ftjobs.toml` (the nearest one from the
working folder upwards), the user's `config.toml`, default.  The environment is read when
`Settings.load` is called, never at import.

| setting   | environment       | default                                        |
|-----------|-------------------|------------------------------------------------|
| `backend` | `FTJOBS_BACKEND`  | `local`                                        |
| `home`    | `FTJOBS_HOME`     | the platform's data folder: the local store    |
| `cache`   | `FTJOBS_CACHE`    | the platform's cache folder: converted models  |
| `display` | `FTJOBS_DISPLAY`  | `auto`: one of auto, full, plain, json, quiet  |
| `processes` | `FTJOBS_PROCESSES` | 1: how many train a local job; auto: one a GPU |
| `profiles`| files only        | none: services of one's own, `[profiles.NAME]` |
| `serve`   | files only        | what `ftjobs serve` bears, `[serve]`           |
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator

from ftjobs.errors import ConfigError

Display = Literal["auto", "full", "plain", "json", "quiet"]
DISPLAYS: tuple[str, ...] = get_args(Display)
SETTINGS = ("backend", "home", "cache", "display", "processes")
"""What files and environment may set."""
TABLES = ("profiles", "serve")
"""What files alone may hold."""

PROJECT_FILE = "ftjobs.toml"


class OwnProfile(BaseModel):
    """`[profiles.NAME]` as it was written; `ftjobs.backends.profiles` knows its fields.

    `source` is the file that says it; `from_project` whether that is a project's `ftjobs.toml`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    fields: Mapping[str, Any] = Field(repr=False)
    source: str = "Settings"
    from_project: bool = False

    @field_validator("name")
    @classmethod
    def _speakable(cls, value: str) -> str:
        if value == "local" or not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", value):
            raise ValueError(
                f"{value!r} cannot be the name of a profile: small letters, digits, - and _; "
                "local is taken"
            )
        return value


class Settings(BaseModel):
    """Settings in force.  `home` and `cache` are absolute.

    `processes` train one local job together, "auto": one for each GPU.  A worker that runs already
    keeps its number.

    `profiles` are services of one's own, the strongest last; in Python they may be given as
    `{"lab": {"base_url": …}}`.

    `serve` is the table of that name as it was written, a project's settings before the user's;
    `ftjobs.server.options` knows them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: str = "local"
    home: Path
    cache: Path
    display: Display = "auto"
    processes: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = 1
    profiles: tuple[OwnProfile, ...] = ()
    serve: Mapping[str, Any] = Field(default_factory=dict)
    _from_project: frozenset[str] = PrivateAttr(frozenset())  # what a project's file chose

    @field_validator("profiles", mode="before")
    @classmethod
    def _tables(cls, value: Any) -> Any:
        return _profiles(value) if isinstance(value, Mapping) else value

    @field_validator("home", "cache")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        if "\0" in str(value):
            raise ValueError("a path holds no zero byte")
        try:
            return value.expanduser().absolute()
        except (RuntimeError, OSError) as error:  # no such user; the working folder is gone
            raise ValueError(f"cannot settle {value}: {error}") from None

    @classmethod
    def load(
        cls,
        *,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        untrusted: Collection[str] = (),
        **overrides: Any,
    ) -> Settings:
        """Settle every setting.

        Args:
            environ: the environment; the process's by default.
            cwd: where to look for a project's file; the working folder by default.
            untrusted: the overrides that come from a file (a job, a plan), not from the user.
            overrides: flags; None means that the flag was not given.

        Raises:
            ConfigError: a file cannot be parsed, or holds an unknown setting or a wrong value.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        with suppress(RuntimeError):  # a user without a home folder: it must be said, then
            values["home"] = platformdirs.user_data_path("ftjobs", appauthor=False)
            values["cache"] = platformdirs.user_cache_path("ftjobs", appauthor=False)
        profiles: list[OwnProfile] = []
        serve: dict[str, Any] = {}
        from_project: set[str] = set()
        for path in _files(cwd):
            found = _read(path)
            profiles += found.pop("profiles")
            serve |= found.pop("serve")
            from_project |= found.keys() if path.name == PROJECT_FILE else set()
            values |= found
        named = {name: environ.get(f"FTJOBS_{name.upper()}") or None for name in SETTINGS}
        stronger = {k: v for given in (named, overrides) for k, v in given.items() if v is not None}
        try:
            settings = cls(**{"profiles": profiles, "serve": serve, **values, **stronger})
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0])
            raise ConfigError(
                f"setting {name!r}: {first['msg']}",
                hint=f"It comes from a flag, FTJOBS_{name.upper()}, ftjobs.toml or config.toml.",
            ) from None
        settings._from_project = frozenset((from_project - stronger.keys()) | {*untrusted})
        return settings

    def trusts(self, backend: str) -> bool:
        """Whether `backend` is the user's own word, and not that of a project's file."""
        return "backend" not in self._from_project or backend != self.backend


def _files(cwd: Path | None) -> Iterator[Path]:
    """The settings files that there are, the strongest last."""
    with suppress(RuntimeError):  # no home folder
        user_file = platformdirs.user_config_path("ftjobs", appauthor=False) / "config.toml"
        if _is_file(user_file):
            yield user_file
    with suppress(FileNotFoundError):  # the working folder is gone
        folder = cwd or Path.cwd()
        found = (parent / PROJECT_FILE for parent in (folder, *folder.parents))
        yield from islice(filter(_is_file, found), 1)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # in a folder that this user may not search
        return False


def _read(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: {error}") from None
    if unknown := sorted(values.keys() - {*SETTINGS, *TABLES}):
        known = ", ".join(sorted([*SETTINGS, *TABLES]))
        raise ConfigError(f"{path}: unknown setting {unknown[0]!r}", hint=f"Known: {known}.")
    for name in ("home", "cache"):
        if name in values:
            values[name] = _settled(values[name], path)
    values["serve"] = _serve(values.get("serve", {}), path)
    try:
        values["profiles"] = _profiles(values.get("profiles", {}), path)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    return values


def _settled(value: Any, path: Path) -> Any:
    """A path relative to the file that says it, not to the working folder."""
    is_relative = isinstance(value, str) and not value.startswith("~")
    return path.parent / value if is_relative else value


def _serve(table: Any, path: Path) -> dict[str, Any]:
    """The table of a server, its paths settled."""
    if not isinstance(table, Mapping):
        raise ConfigError(f"{path}: serve: it is a table, [serve]")
    found = dict(table)
    for name in ("tls_cert", "tls_key"):
        if name in found:
            found[name] = _settled(found[name], path)
    if isinstance(models := found.get("models"), Mapping):
        found["models"] = {
            name: str(_settled(text, path)) if str(text).startswith(".") else text
            for name, text in models.items()
        }
    return found


def _profiles(tables: Any, path: Path | None = None) -> list[OwnProfile]:
    """The profiles of a settings file, or of code.  ValueError if they are none."""
    if not isinstance(tables, Mapping):
        raise ValueError("profiles: each is a table, [profiles.NAME]")  # noqa: TRY004 - pydantic
    found = []
    for name, fields in tables.items():
        if not isinstance(fields, Mapping):
            raise ValueError(f"profiles.{name}: it is a table, [profiles.{name}]")  # noqa: TRY004
        try:
            found.append(
                OwnProfile(
                    name=name,
                    fields=fields,
                    source=str(path or "Settings"),
                    from_project=path is not None and path.name == PROJECT_FILE,
                )
            )
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise ValueError(f"profiles: {reason}") from None
    return found
