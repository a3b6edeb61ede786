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
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

import platformdirs
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from ftjobs.errors import ConfigError

Display = Literal["auto", "full", "plain", "json", "quiet"]
DISPLAYS: tuple[str, ...] = get_args(Display)


class Settings(BaseModel):
    """Settings in force.  `home` and `cache` are absolute."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: str = "local"
    home: Path
    cache: Path
    display: Display = "auto"

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
        **overrides: Any,
    ) -> Settings:
        """Settle every setting.  `overrides` are flags; None means the flag was not given.

        Raises:
            ConfigError: a file cannot be parsed, or holds an unknown setting or a wrong value.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        with suppress(RuntimeError):  # a user without a home folder: it must be said, then
            values["home"] = platformdirs.user_data_path("ftjobs", appauthor=False)
            values["cache"] = platformdirs.user_cache_path("ftjobs", appauthor=False)
        for path in _files(cwd):
            values |= _read(path, allowed=set(cls.model_fields))
        for name in cls.model_fields:
            if value := environ.get(f"FTJOBS_{name.upper()}"):
                values[name] = value
        values |= {name: value for name, value in overrides.items() if value is not None}
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0])
            raise ConfigError(
                f"setting {name!r}: {first['msg']}",
                hint=f"It comes from a flag, FTJOBS_{name.upper()}, ftjobs.toml or config.toml.",
            ) from None


def _files(cwd: Path | None) -> Iterator[Path]:
    """The settings files that there are, the strongest last."""
    with suppress(RuntimeError):  # no home folder
        user_file = platformdirs.user_config_path("ftjobs", appauthor=False) / "config.toml"
        if _is_file(user_file):
            yield user_file
    with suppress(FileNotFoundError):  # the working folder is gone
        folder = cwd or Path.cwd()
        found = (parent / "ftjobs.toml" for parent in (folder, *folder.parents))
        yield from islice(filter(_is_file, found), 1)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # in a folder that this user may not search
        return False


def _read(path: Path, *, allowed: set[str]) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: {error}") from None
    if unknown := sorted(set(values) - allowed):
        raise ConfigError(
            f"{path}: unknown setting {unknown[0]!r}", hint=f"Known: {', '.join(sorted(allowed))}."
        )
    for name in ("home", "cache"):  # relative to the file that says it, not to the working folder
        value = values.get(name)
        if isinstance(value, str) and not value.startswith("~"):
            values[name] = path.parent / value
    return values
