"""OpenAI's grader JSON, read and run here: the service that ran it takes no new jobs.

    read_grader("grader.json")                         # string_check, text_similarity
    read_grader("grader.json", JudgeModel(backend))    # score_model, label_model: whom they ask

The file holds one grader, a list of them, an eval with `testing_criteria`, or a job's `method`.
`python` graders are refused: a file of settings is nothing to run code from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ftjobs.disk import readable, stamp_of
from ftjobs.errors import ConfigError
from ftjobs.evals.judges.base import JudgeModel
from ftjobs.evals.judges.hosted import Imported
from ftjobs.evals.judges.importing import imported
from ftjobs.evals.judges.shapes import shape_of

__all__ = ["read_grader", "read_graders"]


def read_grader(
    source: str | Path | Mapping[str, Any], judge: JudgeModel | None = None, *, name: str = ""
) -> Imported:
    """The one grader that a file, or what was read from one, holds.

    A `pass_threshold` makes its score 1 or 0; without one the score is the value itself, mapped
    from the grader's range to 0 to 1.  A formula's value stays as it is.

    Args:
        source: a path, or the JSON object.
        judge: whom `score_model` and `label_model` ask; a judge without a model leaves each its
            own, and a judge without sampling its `sampling_params`.
        name: chooses one of several; the grader's own name by default.

    Raises:
        ConfigError: it cannot be read, is no grader, or holds none or several of that name.
        UnsupportedError: it cannot be run here.
    """
    found = [each for each in read_graders(source, judge) if name in ("", each.name)]
    if len(found) != 1:
        names = ", ".join(each.name for each in found)
        raise ConfigError(
            f"{_called(source)} holds {len(found)} graders{f' called {name!r}' if name else ''}",
            hint=f"Choose one by its name: {names}." if found else "",
        )
    return found[0]


def read_graders(
    source: str | Path | Mapping[str, Any] | Sequence[Any], judge: JudgeModel | None = None
) -> tuple[Imported, ...]:
    """Every grader that a file holds; see `read_grader`."""
    where = _called(source)
    value = _read(Path(source)) if isinstance(source, str | Path) else source
    shapes = [shape_of(each, where) for each in _graders(value, where)]
    return tuple(imported(shape, judge) for shape in shapes)


# --- reading --------------------------------------------------------------------------------


def _called(source: object) -> str:
    return str(source) if isinstance(source, str | Path) else "the grader"


def _read(path: Path) -> Any:
    stamp_of(path)  # a pipe would be waited for, and a device may have no end
    with readable(path):
        data = path.read_bytes()
    try:
        return json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start + 1}") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg}") from None
    except (ValueError, RecursionError):
        raise ConfigError(f"{path}: not JSON that can be read") from None


def _graders(value: object, where: str) -> Iterator[Mapping[str, Any]]:
    """The graders in what holds them: a list, an eval, a job's method."""
    if isinstance(value, list | tuple):
        for each in value:
            yield from _graders(each, where)
        return
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: a grader is a JSON object")
    inner = next((k for k in ("testing_criteria", "grader", "reinforcement") if k in value), None)
    if inner is None and isinstance(value.get("method"), Mapping):
        inner = "method"
    if inner is None:
        yield value
    else:
        yield from _graders(value[inner], where)
