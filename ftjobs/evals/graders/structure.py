"""A grader of answers that are JSON: whether they keep to a schema."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ftjobs.disk import readable, stamp_of
from ftjobs.errors import ConfigError
from ftjobs.evals.graders.base import Function
from ftjobs.evals.prompts import Prompt
from ftjobs.evals.result import Answer, Mark

if TYPE_CHECKING:
    import jsonschema_rs

__all__ = ["NotJson", "json_of", "json_schema", "read_schema", "unfenced"]

_BACKTRACKS = 10_000
_REFERENCES = ('"$ref"', '"$dynamicRef"', '"$recursiveRef"')
_EXPLAINED = 10_000  # characters of an answer whose mistake is worth looking for


class NotJson(ValueError):
    """A text that is no JSON, or none that can be read: nested too deeply, a number too long."""


def json_of(text: str) -> Any:
    """The value that a text is the JSON of; a number without a fraction is an int, 1.0 too.

    Raises:
        NotJson: it is none, or holds half a surrogate pair.
    """
    try:
        return _DECODER.decode(text.encode())
    except (ValueError, RecursionError, msgspec.MsgspecError):
        raise NotJson from None


def _number(text: str) -> float | int:
    value = float(text)
    if math.isinf(value):
        raise NotJson
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


_DECODER = msgspec.json.Decoder(float_hook=_number)


def unfenced(text: str) -> str:
    """What is in the Markdown code fence that a text is, "```json" or plain; else the text."""
    text = text.strip()
    if len(text) < 6 or not (text.startswith("```") and text.endswith("```")):
        return text
    word, line_break, inside = text[3:-3].partition("\n")
    return inside if line_break and word.strip().lower() in ("", "json") else text


def json_schema(schema: Mapping[str, Any] | bool, *, name: str = "json-schema") -> Function:
    """1 if the answer is JSON that keeps to a JSON Schema, else 0.  No expected answer is needed.

    The answer is JSON as a whole, or one code fence; words around it would break the program that
    reads it, so they score 0.  The schema's draft is that of its `$schema`, 2020-12 by default;
    `format` is not checked, and only references into the schema itself are followed: nothing is
    ever fetched.

    Raises:
        ConfigError: the schema is broken, or refers to something that it does not hold.
    """
    validator = _validator(schema)
    explains = not any(key in json.dumps(schema) for key in _REFERENCES)

    def score(answer: Answer, prompt: Prompt) -> Mark:  # noqa: ARG001 - the schema is enough
        try:
            value = json_of(unfenced(answer.text))
        except NotJson:
            return Mark(score=0, note="not JSON")
        return _mark(validator, value, explains and len(answer.text) <= _EXPLAINED)

    title = schema.get("title") if isinstance(schema, Mapping) else None
    return Function(name, score, "binary", about=f"JSON by the schema {title or name}")


def _mark(validator: jsonschema_rs.Validator, value: object, explain: bool) -> Mark:
    try:
        # Unlike iter_errors, is_valid is fast where references branch.
        if validator.is_valid(value):
            return Mark(score=1)
        errors = list(islice(validator.iter_errors(value), 1)) if explain else []
    except (ValueError, RecursionError):
        return Mark(score=None, note="too deep or too complex to hold against the schema")
    return Mark(score=0, note=_reason(errors[0]) if errors else "breaks the schema")


def _reason(error: jsonschema_rs.ValidationError) -> str:
    place = "".join(f"/{token}" for token in error.instance_path)
    return f'breaks "{error.kind.name}" of the schema{place and f" at {place}"}'


def _validator(schema: Mapping[str, Any] | bool) -> jsonschema_rs.Validator:
    import jsonschema_rs  # 30 ms: only those who use it pay for it

    plain = dict(schema) if isinstance(schema, Mapping) else schema
    if not isinstance(plain, dict | bool):
        raise ConfigError("a JSON Schema is an object, or true or false")
    try:
        return jsonschema_rs.validator_for(
            plain,
            offline=True,
            validate_formats=False,
            pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACKS),
        )
    except jsonschema_rs.ValidationError as error:
        if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Referencing):
            reason = "it refers to something that it does not hold, and nothing is fetched"
        else:
            place = "".join(f"/{token}" for token in error.instance_path)
            reason = f"{place or 'the whole'} is not allowed ({error.kind.name})"
    except (ValueError, RecursionError, TypeError):
        reason = "it is nested too deeply, or holds what is no JSON"
    raise ConfigError(f"the JSON Schema cannot be used: {reason}")


def read_schema(path: str | Path) -> Mapping[str, Any] | bool:
    """A JSON Schema from a file.

    Raises:
        ConfigError: the file cannot be read, or is no JSON Schema.
    """
    path = Path(path)
    stamp_of(path)  # a pipe would be waited for
    try:
        with readable(path):
            schema = json_of(path.read_text("utf-8-sig"))
    except (NotJson, UnicodeDecodeError):
        raise ConfigError(f"{path}: not JSON in UTF-8") from None
    if not isinstance(schema, dict | bool):
        raise ConfigError(f"{path}: a JSON Schema is an object, or true or false")
    return schema
