"""Values from a user → one of the closed models of `ftjobs.schema`, or a ConfigError that helps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ftjobs.errors import ConfigError

M = TypeVar("M", bound=BaseModel)


def build(model: type[M], values: Mapping[str, Any]) -> M:
    """An instance of `model` from `values`; texts such as "3" become numbers.

    Raises:
        ConfigError: a name is unknown (with the names close to it) or a value is out of range.
    """
    known = model.model_fields
    if unknown := sorted(set(values) - set(known)):
        raise ConfigError(f"unknown setting {unknown[0]!r}", hint=suggest(unknown[0], known))
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(explain(error)) from None


def suggest(name: str, known: Iterable[str]) -> str:
    """A sentence that names what is close to `name`, or else everything that is known."""
    known = sorted(known)
    if close := get_close_matches(name, known):
        return f"Did you mean {' or '.join(close)}?"
    return f"Known: {', '.join(known)}."


def explain(error: ValidationError) -> str:
    """The first wrong field and all that was expected of it, in one line, without its value."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    field = str(details[0]["loc"][0]) if details[0]["loc"] else "value"
    reasons = [d["msg"] for d in details if d["loc"][:1] == (field,)] or [details[0]["msg"]]
    said = (reason.removeprefix("Value error, ") for reason in reasons)  # pydantic's, of our own
    return f"{field}: {', or: '.join(dict.fromkeys(said))}"
