"""Times and numbers in words, and anything as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

__all__ = ["as_json", "called", "many", "size", "span", "when"]


def as_json(value: object, *, indent: int | None = None, ascii_only: bool = False) -> str:
    """`value`, which may hold models, as JSON.  A number that is none becomes null."""
    from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

    try:
        text = to_json(value, indent=indent, inf_nan_mode="null", ensure_ascii=ascii_only)
    except PydanticSerializationError:  # half a surrogate pair, which UTF-8 cannot hold
        return json.dumps(to_jsonable_python(value, inf_nan_mode="null"), indent=indent)
    return text.decode()


def called(call: Mapping[str, Any]) -> str:
    """A call of a function as `name(arguments)`, untrusted; as JSON where it is something else."""
    function = call.get("function")
    if not isinstance(function, Mapping):
        return as_json(call)
    given = function.get("arguments", "")
    return f"{function.get('name', '')}({given if isinstance(given, str) else as_json(given)})"


def when(seconds: int | None) -> str:
    """A Unix time as ISO 8601 in UTC; "" for none."""
    if seconds is None:
        return ""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return str(seconds)


def size(count: int) -> str:
    """A number of bytes in words."""
    value = float(count)
    for unit in ("B", "KB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def span(seconds: float) -> str:
    """A length of time in words: 45 s, 3 min 12 s, 2 h 5 min, 3 d 4 h."""
    whole = round(seconds)
    for size, unit, smaller, small in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"


def many(count: int, noun: str) -> str:
    """A number and its noun, in the plural where that is due."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
