"""Raw JSON → the nouns of `ftjobs.schema`, for adapters that read answers themselves."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ftjobs.errors import ServiceError

__all__ = ["Raw", "instant", "mapping", "noun", "parsed", "readable", "rows", "text"]

Noun = TypeVar("Noun", bound=BaseModel)
Raw = Mapping[str, Any]
"""A JSON object as it came."""


def noun(cls: type[Noun], raw: Raw, name: str, **missing: Any) -> Noun:
    """`raw` as a `cls`; a null is a field that is not there, and `missing` stands in for it.

    Raises:
        ServiceError: a field cannot be read; the message names it, and quotes nothing.
    """
    present = {field: value for field, value in raw.items() if value is not None}
    try:
        return cls.model_validate(missing | present)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ServiceError(
            f"{name} answered a {cls.__name__.lower()} whose {place} cannot be read: {first['msg']}"
        ) from None


def parsed(content: str | bytes, name: str, request_id: str | None = None) -> object:
    """What the service called `name` answered in JSON, `readable`.  ServiceError if it is none."""
    try:
        answer = json.loads(content)
        escaped = "\\ud" if isinstance(content, str) else b"\\ud"
        return readable(answer) if escaped in content.lower() else answer  # type: ignore[operator]
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits is a ValueError
        words = f"{name} answered what is no JSON: {type(error).__name__}"
        raise ServiceError(words, request_id=request_id) from None


def readable(value: Any) -> Any:
    """`value` with `?` for halves of characters (lone surrogates): JSON can say them, but no file,
    database or terminal takes them.
    """
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, Mapping):
        return {readable(key): readable(each) for key, each in value.items()}
    return [readable(each) for each in value] if isinstance(value, list) else value


def mapping(value: object) -> Raw:
    """`value` if it is a JSON object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def text(value: object) -> str:
    """`value` if it is a string, else an empty one."""
    return value if isinstance(value, str) else ""


def rows(answer: Raw, field: str, name: str) -> list[Raw]:
    """The objects of a list; none where the service leaves an empty list out.

    Raises:
        ServiceError: the field is no list of objects.
    """
    found = answer.get(field)
    found = [] if found is None else found
    if isinstance(found, list) and all(isinstance(row, Mapping) for row in found):
        return found
    raise ServiceError(f"{name} answered a list of {field} that cannot be read")


def instant(value: object) -> float:
    """A time in Unix seconds, from RFC 3339 text or a number; 0 where there is none.

    Text without a zone is UTC.
    """
    try:
        if isinstance(value, int | float):
            return float(value) if math.isfinite(value) else 0.0
        when = datetime.fromisoformat(text(value))
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0.0
