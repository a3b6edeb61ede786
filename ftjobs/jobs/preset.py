"""Presets: hyperparameters under a name, or in a file of one's own, for any data and any model.

    read_preset("h2o-tutorial")                  # one that ships with ftjobs
    read_preset("mine.toml")                     # a file
    settings("h2o-tutorial", {"n_epochs": 3})    # as a job takes them: what is given here wins

A job does not know of presets: the settings are looked up when it is planned, and the same
settings make the same job however they were given.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

from ftjobs.errors import ConfigError
from ftjobs.jobs.fields import suggest
from ftjobs.jobs.tables import Table, parse, text_of, valid
from ftjobs.schema import Hyperparameters

__all__ = ["Preset", "PresetName", "find", "names", "read_preset", "settings"]

_OF_A_JOB = ("model", "data", "backend", "method", "suffix", "metadata", "budget", "evaluation")
"""Keys that say whose job it is, and no preset may hold."""


class Preset(Table):
    """What the file of a preset says.  `description` is a line for people."""

    LEAST = "The least that a preset says: a table [hyperparameters] with a setting in it"

    description: str = ""
    hyperparameters: Hyperparameters


def find(preset: str | os.PathLike[str]) -> str | Path:
    """The name of a preset that ships with ftjobs, or the path of a file.

    A text with a slash in it, or with `.toml` at its end, is a path.

    Raises:
        ConfigError: it is neither; the hint names what there is.
    """
    text = os.fspath(preset)
    if isinstance(preset, os.PathLike) or text.endswith(".toml") or {*text} & {*"/\\"}:
        return Path(text)
    if text in names():
        return text
    raise ConfigError(f"there is no preset {text[:40]!r}", hint=_hint(text))


def names() -> tuple[str, ...]:
    """The presets that ship with ftjobs."""
    files = _folder().iterdir()
    return tuple(sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml")))


def read_preset(preset: str | os.PathLike[str]) -> Preset:
    """A preset by its name, or from a file.

    Raises:
        ConfigError: there is none of that name; or the file cannot be read, is no TOML, or holds
            what is no hyperparameter.  The message names file and key.
    """
    found = find(preset)
    if isinstance(found, Path):
        return _parsed(text_of(found), str(found))
    return _parsed(_folder().joinpath(f"{found}.toml").read_text("utf-8"), f"preset {found}")


def settings(preset: str | os.PathLike[str] | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The hyperparameters of `preset`, and those of `given` in their place where there are any.

    None in `given` leaves the preset's value; "auto" leaves the choice to the backend.

    Raises:
        ConfigError: as from `read_preset`.
    """
    if preset is None:
        return dict(given)
    own = read_preset(preset).hyperparameters.model_dump(exclude_none=True)
    return own | {name: value for name, value in given.items() if value is not None}


def _folder() -> Any:
    return resources.files("ftjobs.jobs").joinpath("presets")


def _parsed(text: str, place: str) -> Preset:
    values = parse(text, place)
    if stray := next((key for key in values if key in _OF_A_JOB), None):
        raise ConfigError(
            f"{place}: unknown key {stray!r}: a preset holds hyperparameters only",
            hint="Is it a job file? Give it in place of the dataset: ftjobs submit JOB.TOML",
        )
    return valid(Preset, values, place)


def _hint(name: str) -> str:
    close = suggest(name, names())
    return f"{close} A file of your own is given by its path, such as ./{name[:40]}.toml"


# --- in a job file ------------------------------------------------------------------------------


def _named(value: object) -> str | Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("must be the name of a preset, or the path of its file")
    try:
        return find(value)
    except ConfigError as error:
        raise ValueError(f"{error.message}. {error.hint}") from None


PresetName = Annotated[
    str | Path,
    BeforeValidator(_named),
    PlainSerializer(lambda value: value.as_posix() if isinstance(value, Path) else value),
]
"""A preset as a job file names it: paths are settled like those of data."""
