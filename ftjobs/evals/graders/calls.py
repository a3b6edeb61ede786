"""A grader of function calls: whether the answer calls what is expected, with these arguments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from ftjobs.evals.graders.base import Function
from ftjobs.evals.graders.structure import NotJson, json_of, unfenced
from ftjobs.evals.prompts import Prompt
from ftjobs.evals.result import Answer, Mark

__all__ = ["tool_calls"]

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_ARGUMENTS = ("arguments", "parameters")

_Call = tuple[str, bytes]
"""A function's name, and its arguments as JSON of one form."""


def tool_calls() -> Function:
    """1 if the answer calls the functions that `prompt.calls` expects, and no other; else 0.

    Names are equal, and arguments are equal as JSON values: the order of keys and how a number is
    written do not count.  The order of calls does not count either, since calls of one turn run in
    parallel; their number does.  Where `prompt.calls` is empty, any call is wrong; where it is
    None, there is no score.

    The calls are the answer's `tool_calls`.  If there are none, they are read from its text, as
    small models write them: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, or nothing but
    such an object or a list of them (in a code fence or not; "parameters" will do for "arguments",
    and the wire's own form, with "function" around it, for the object).
    What looks like a call and cannot be read is a wrong call.
    """
    return Function(
        "tool-calls",
        _mark,
        "binary",
        about="calls exactly the expected functions with the expected arguments",
        lacking="no expected function calls",
    )


def _mark(answer: Answer, prompt: Prompt) -> Mark | None:
    if prompt.calls is None:
        return None
    try:
        wanted = Counter(map(_call, prompt.calls))
    except NotJson:
        return Mark(score=None, note="an expected function call cannot be read")
    try:
        made = Counter(map(_call, answer.tool_calls or _written(answer.text)))
    except NotJson:
        return Mark(score=0, note="a function call cannot be read")
    return Mark(score=made == wanted, note=_difference(made - wanted, wanted - made))


def _difference(extra: Counter[_Call], missing: Counter[_Call]) -> str:
    """What is wrong, by the functions' names."""
    wrong = {name for name, _ in extra} & {name for name, _ in missing}
    parts = {
        "other arguments": wrong,
        "not called": {name for name, _ in missing} - wrong,
        "called without need": {name for name, _ in extra} - wrong,
    }
    found = (f"{what}: {', '.join(sorted(names))}" for what, names in parts.items() if names)
    return "; ".join(found)


def _written(text: str) -> Iterator[Any]:
    """The calls in a text; NotJson where a marked one cannot be read."""
    if _OPEN in text:
        for part in text.split(_OPEN)[1:]:
            yield from _each(json_of(part.partition(_CLOSE)[0].strip()))
        return
    try:
        calls = list(_each(json_of(unfenced(text))))
    except NotJson:
        return
    if any(map(_looks_like_a_call, calls)):
        yield from calls


def _each(value: object) -> Iterable[Any]:
    return value if isinstance(value, list) else [value]


def _looks_like_a_call(value: object) -> bool:
    function = value.get("function", value) if isinstance(value, dict) else None
    return (
        isinstance(function, dict)
        and isinstance(function.get("name"), str)
        and any(key in function for key in _ARGUMENTS)
    )


def _call(call: object) -> _Call:
    """A call of the wire, or of a text, in the form that is compared."""
    if isinstance(call, Mapping):
        function = call.get("function", call)
        if isinstance(function, Mapping) and isinstance(name := function.get("name"), str):
            given = next((function[key] for key in _ARGUMENTS if key in function), None)
            return name, _canonical(given)
    raise NotJson


def _canonical(arguments: object) -> bytes:
    """Equal for equal arguments; none at all are an empty object."""
    if not isinstance(arguments, str):  # from Python, where 1.0 is not yet 1
        try:
            arguments = msgspec.json.encode(arguments).decode()
        except (ValueError, TypeError, RecursionError, msgspec.MsgspecError):
            raise NotJson from None
    value = json_of(arguments) if arguments.strip() else None
    return msgspec.json.encode({} if value is None else value, order="deterministic")
