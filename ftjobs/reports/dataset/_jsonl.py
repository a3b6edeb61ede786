"""JSON Lines: every issue, and every file's totals after its issues."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from ftjobs.data import Report

if TYPE_CHECKING:
    from ftjobs.data.fix import FixReport


def jsonl(
    reports: Iterable[Report], *, fixed: FixReport | None = None, ascii_only: bool = False
) -> str:
    """A line of JSON for each issue and, with `"object": "report"`, for each file.

    What a repair did comes first (`"object": "fix"`).  `ascii_only` escapes everything else, for
    a stream that is not UTF-8.
    """
    values = [value for report in reports for value in _values(report)]
    if fixed is not None:
        done = fixed.model_dump(mode="json", exclude={"remaining"})
        values.insert(0, {"object": "fix", **done})
    return "\n".join(_line(value, ascii_only=ascii_only) for value in values)


def _values(report: Report) -> Iterator[Any]:
    yield from report.issues
    yield {
        "object": "report",
        "path": str(report.path),
        "ok": report.ok,
        "errors": report.error_count,
        "warnings": report.warning_count,
        "examples": report.examples,
        "lines": report.lines,
        "truncated": report.truncated,
        "manifest": report.manifest,
    }


def _line(value: Any, *, ascii_only: bool) -> str:
    try:
        return to_json(value, ensure_ascii=ascii_only).decode()
    except PydanticSerializationError:  # half a surrogate pair: a file name that is no UTF-8
        return json.dumps(to_jsonable_python(value))
