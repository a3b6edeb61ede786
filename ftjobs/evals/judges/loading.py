"""Judges by name: what stands behind `judge:`, `pairwise:` and `openai:`."""

from __future__ import annotations

from pathlib import Path

from ftjobs.disk import readable, stamp_of
from ftjobs.errors import ConfigError
from ftjobs.evals.judges.base import JudgeModel, require_judge
from ftjobs.evals.judges.hosted import Imported
from ftjobs.evals.judges.openai import read_grader
from ftjobs.evals.judges.pairwise import CRITERIA, Pairwise, pairwise
from ftjobs.evals.judges.pointwise import RUBRIC, Pointwise, pointwise

__all__ = ["load", "load_openai", "load_pairwise", "load_pointwise", "read_rubric"]

LONGEST = 2**20
"""Bytes of a rubric, which is sent with every question."""


def load(
    name: str, argument: str, judge: JudgeModel | None = None, *, seed: int = 0
) -> Pointwise | Pairwise | Imported:
    """The grader of a name, "judge", "pairwise" or "openai", and what stands behind its colon.

    Raises:
        ConfigError: there is no such judge; see the loader of each.
    """
    match name:
        case "judge":
            return load_pointwise(argument, judge, seed=seed)
        case "pairwise":
            return load_pairwise(argument, judge, seed=seed)
        case "openai":
            return load_openai(argument, judge)
    raise ConfigError(f"there is no judge {name!r}", hint="There are: judge, pairwise, openai.")


def load_pointwise(argument: str, judge: JudgeModel | None, *, seed: int = 0) -> Pointwise:
    """The grader `judge` or `judge:FILE`; the file holds the rubric.

    It is called after the file: "judge" or "judge:rubric".

    Raises:
        ConfigError: there is no judge or it names no model, or the file cannot be read or is empty.
    """
    judge = require_judge(judge, "judge")
    rubric = read_rubric(argument) if argument else RUBRIC
    return pointwise(judge, name=_name("judge", argument), rubric=rubric, seed=seed)


def load_pairwise(argument: str, judge: JudgeModel | None, *, seed: int = 0) -> Pairwise:
    """The grader `pairwise` or `pairwise:FILE`; see `load_pointwise`."""
    judge = require_judge(judge, "pairwise")
    rubric = read_rubric(argument) if argument else CRITERIA
    return pairwise(judge, name=_name("pairwise", argument), rubric=rubric, seed=seed)


def load_openai(argument: str, judge: JudgeModel | None = None) -> Imported:
    """The grader `openai:FILE`, or `openai:FILE#NAME` where the file holds several.

    Raises:
        ConfigError: no file is named; see `read_grader`.
    """
    path, _, name = argument.partition("#")
    if not path:
        raise ConfigError("openai: names no file", hint="Write openai:grader.json.")
    return read_grader(path, judge, name=name)


def read_rubric(path: str | Path) -> str:
    """The rubric that a file holds.  ConfigError if it cannot be read, is empty, or too large."""
    path = Path(path)
    if stamp_of(path)[0] > LONGEST:  # which refuses pipes, and devices without an end
        raise ConfigError(f"{path}: too large for a rubric", hint="Is it the dataset?")
    try:
        with readable(path):
            text = path.read_text("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: a rubric is a text in UTF-8") from None
    if not text:
        raise ConfigError(f"{path}: the rubric is empty")
    return text


def _name(word: str, argument: str) -> str:
    return f"{word}:{Path(argument).stem}" if argument else word
