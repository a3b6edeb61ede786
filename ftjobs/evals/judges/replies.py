"""How a judge's reply is read: it ends with a JSON object, and nothing else in it counts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ftjobs.evals.result import Answer, Mark

__all__ = ["Unreadable", "final_object", "in_form", "mark", "verdict"]

TAIL = 1 << 16
"""How far from the end of a reply its verdict may begin, in characters."""

TRIES = 500
"""Opening braces that are tried as its beginning."""

EXCERPT = 200
"""Characters of an unreadable reply that a note repeats."""


class Unreadable(ValueError):
    """A judge's reply that holds no verdict; its text says why."""


def mark(reply: Answer, key: str, score: Callable[[object], float]) -> Mark:
    """The mark that a judge's reply gives.

    `score` makes it of the value at `key`, and raises `Unreadable` where it cannot.
    """
    try:
        value, reasons = verdict(reply, key)
        return Mark(score=score(value), note=reasons)
    except Unreadable as error:
        return Mark(score=None, note=str(error))


def verdict(reply: Answer, key: str) -> tuple[object, str]:
    """(value at `key`, reasons) of a reply that ends with a JSON object.

    Raises:
        Unreadable: it does not, it was cut, or there is none.
    """
    if reply.failure:
        raise Unreadable(f"the judge gave no reply: {reply.failure}")
    if reply.finish_reason == "length":
        raise Unreadable("the judge's reply was cut: give it more max_tokens")
    found = final_object(reply.text)
    if found is None or key not in found[0]:
        end = reply.text.rstrip()[-EXCERPT:]
        raise Unreadable(f'the judge\'s reply does not end with {{"{key}": …}}, but: {end}')
    values, reasons = found
    rest = {k: v for k, v in values.items() if k != key}
    return values[key], reasons or (json.dumps(rest, ensure_ascii=False) if rest else "")


def in_form(reply: Answer, key: str) -> Answer:
    """A reply that is nothing but the number or the label, as many prompts demand, in our form."""
    text = reply.text.strip()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text if text and "\n" not in text and "{" not in text else None
    if not isinstance(value, str | int | float):
        return reply
    return reply.model_copy(update={"text": json.dumps({key: value})})


def final_object(text: str) -> tuple[dict[str, Any], str] | None:
    """(object, text before it) where `text` ends with a JSON object, fenced or not; else None.

    An object with a key twice is none, and neither is one with NaN.
    """
    body = _unfenced(text)
    first = max(0, len(body) - TAIL)
    start = len(body) if body.endswith("}") else -1
    for _ in range(TRIES):
        start = body.rfind("{", first, start) if start > 0 else -1
        if start < 0:
            return None
        with suppress(ValueError, RecursionError):
            found, end = _DECODER.raw_decode(body, start)
            if end == len(body):
                return found, re.sub(r"```\w*\Z", "", body[:start].rstrip()).rstrip()
    return None


def _unfenced(text: str) -> str:
    body = text.rstrip()
    return body.removesuffix("```").rstrip() if body.endswith("```") else body


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key twice")
    return found


def _no_number(word: str) -> float:
    raise ValueError(word)


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_number)
