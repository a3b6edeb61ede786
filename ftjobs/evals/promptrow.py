"""A row of a prompt file → a prompt: what is asked, and what is expected.

Rows come in the shapes that people have: ftjobs' own, chat datasets, preference pairs, and plain
columns such as `question` and `answer`.  `prompt_of` brings each to one of the first two.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from ftjobs.schema import ChatMessage

__all__ = [
    "ANSWERS",
    "ASKS",
    "Prompt",
    "WrongRow",
    "is_name",
    "is_system",
    "prompt_of",
    "text_in",
    "without_system",
]

ASKS = ("prompt", "question", "input", "user")
"""What a column is called that holds the question."""

ANSWERS = ("expected", "answer", "ideal", "output", "completion", "response")
"""What a column is called that holds the answer expected."""

KNOWN = frozenset({"messages", "system", "tags", "cluster", "tools", "calls", *ASKS, *ANSWERS})
"""Fields that a prompt is made of, and mostly no part of `Prompt.item`."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is asked, and the answer expected.

    Attributes:
        expected: the text that is expected, if one is.
        tags: words to group prompts by.
        line: its number in the file, from 1.
        cluster: prompts of one cluster, such as questions about one document, are not independent.
        tools: the functions that the model is offered, as the wire's `tools`.
        calls: the function calls that are expected, as the wire's `tool_calls`; None where none is
            given, and an empty tuple where the model must not call any.
        item: the row's other fields, for graders that name them; two prompts that differ only
            here are equal.
    """

    messages: tuple[ChatMessage, ...]
    expected: str | None = None
    tags: tuple[str, ...] = ()
    line: int | None = None
    cluster: str | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    calls: tuple[Mapping[str, Any], ...] | None = None
    item: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def question(self) -> str:
        """The text of the last message."""
        return text_in(self.messages[-1])


class WrongRow(ValueError):
    """A row that is no prompt: `args` is (message, pointer)."""


def text_in(message: ChatMessage) -> str:
    """The text of a message, that of all its parts together; "" if it has none."""
    content = message.content
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", "")) for part in content or ())


def is_system(message: ChatMessage) -> bool:
    """Whether a message instructs the model, before all others; "developer" is its newer name."""
    return message.role in ("system", "developer")


def without_system(messages: Iterable[ChatMessage]) -> tuple[ChatMessage, ...]:
    """The messages that are no system messages."""
    return tuple(message for message in messages if not is_system(message))


def prompt_of(row: Mapping[str, Any], line: int | None = None) -> Prompt:
    """The prompt that a row holds: an object of JSON, or the cells of a table by column.

    Raises:
        WrongRow: it holds none, with what is wrong and where.
    """
    plain = _as_messages(row)
    messages = _messages(plain.get("messages"))
    tools = _objects(plain.get("tools"), "tools")
    if messages[-1].role == "assistant" and not {"expected", "calls"} & plain.keys():
        expected, calls = _said(messages[-1], f"/messages/{len(messages) - 1}", offered=bool(tools))
        _require_same(plain, expected)
        messages = messages[:-1]
    else:
        expected, calls = _expected(plain), _calls(plain.get("calls"), "/calls")
    _require_question(messages)
    said = (expected, text_in(messages[-1]))
    item = {key: value for key, value in plain.items() if _is_other(key, value, said)}
    return Prompt(
        messages, expected, _tags(plain.get("tags")), line, _cluster(plain), tools, calls, item
    )


def _require_same(row: Mapping[str, Any], expected: str | None) -> None:
    """Refuse a chat example with one answer at its end, and another beside its messages."""
    for name in ANSWERS:
        if row.get(name) not in (None, expected):
            raise WrongRow(
                f"{name} and the last assistant turn both say what is expected: rename {name}",
                f"/{name}",
            )


def _is_other(key: str, value: object, said: Sequence[str | None]) -> bool:
    """Whether a field is none that the prompt is made of: `answer` beside `expected` is none."""
    return key not in KNOWN or (
        key in (*ASKS, *ANSWERS) and isinstance(value, str) and value not in said
    )


def _require_question(messages: Sequence[ChatMessage]) -> None:
    if not messages:
        raise WrongRow("nothing is asked: there is no message before the answer", "/messages")
    if messages[-1].role == "assistant":
        raise WrongRow("the last message is the assistant's", f"/messages/{len(messages) - 1}")


# --- shapes -----------------------------------------------------------------------------------


def _as_messages(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row with `messages`: of a preference pair, those of the preferred answer behind them."""
    if "messages" in row:
        return _with_system(row)
    asked = row.get("input")
    if isinstance(asked, Mapping) and "preferred_output" in row:
        rest = {key: value for key, value in row.items() if key not in _PAIR}
        spoken = [*_list(asked.get("messages")), *_list(row["preferred_output"])]
        return {**rest, "messages": spoken, "tools": asked.get("tools")}
    if isinstance(asked, list):
        return _with_system({**row, "messages": asked})
    return _from_columns(row)


_PAIR = frozenset({"input", "preferred_output", "non_preferred_output"})


def _with_system(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row with a system message that stands beside its messages among them."""
    if row.get("system") is None:
        return row
    first = {"role": "system", "content": _text(row, "system")}
    return {**row, "messages": [first, *_list(row["messages"])]}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _from_columns(row: Mapping[str, Any]) -> Mapping[str, Any]:
    name = _only(row, ASKS, "what is asked")
    if name is None:
        return row
    if row.get("instruction") is not None:
        raise WrongRow(
            "instruction and input are the shape of Alpaca: ftjobs data convert reads it",
            "/instruction",
        )
    messages = [
        {"role": role, "content": _text(row, key)}
        for role, key in (("system", "system"), ("user", name))
        if row.get(key) is not None
    ]
    return {**row, "messages": messages}


def _only(row: Mapping[str, Any], names: Sequence[str], what: str) -> str | None:
    """The one of `names` that the row has."""
    found = [name for name in names if row.get(name) is not None]
    if len(found) > 1:
        raise WrongRow(f"{' and '.join(found)} both say {what}: rename one", f"/{found[1]}")
    return found[0] if found else None


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row[name]
    if not isinstance(value, str):
        raise WrongRow(f"{name} is a text", f"/{name}")
    return value


# --- messages ---------------------------------------------------------------------------------


def _messages(value: object) -> tuple[ChatMessage, ...]:
    if not isinstance(value, list) or not value:
        raise WrongRow("messages is a list of at least one message", "/messages")
    return tuple(_message(entry, index) for index, entry in enumerate(value))


def _message(entry: object, index: int) -> ChatMessage:
    """A message; its weight is about training, and left out."""
    try:
        message = ChatMessage.model_validate(entry)
        message.model_dump_json()
    except PydanticSerializationError:
        pointer = f"/messages/{index}"
        raise WrongRow("half of a surrogate pair in a string", pointer) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        pointer = "/".join(["/messages", str(index), *map(str, first["loc"][:1])])
        raise WrongRow(first["msg"], pointer) from None
    return message if message.weight is None else message.model_copy(update={"weight": None})


# --- what is expected -------------------------------------------------------------------------

Calls = tuple[Mapping[str, Any], ...]


def _said(message: ChatMessage, pointer: str, *, offered: bool) -> tuple[str | None, Calls | None]:
    """The text and the calls of a chat example's answer.

    Where functions were `offered` and none was called, none must be.
    """
    calls = _calls(message.tool_calls, f"{pointer}/tool_calls") or (() if offered else None)
    if message.content is None and calls:
        return None, calls
    if message.content is None or any("text" not in part for part in _parts(message)):
        raise WrongRow("the last assistant turn has no text to expect", f"{pointer}/content")
    return (text_in(message) or None if calls else text_in(message)), calls


def _parts(message: ChatMessage) -> Sequence[Mapping[str, Any]]:
    return message.content if isinstance(message.content, tuple) else ()


def _expected(row: Mapping[str, Any]) -> str | None:
    if "expected" in row:
        return None if row["expected"] is None else _text(row, "expected")
    name = _only(row, ANSWERS, "what is expected")
    return None if name is None else _text(row, name)


def _calls(value: object, pointer: str) -> Calls | None:
    """Calls in the wire's form; `{"name": ..., "arguments": {...}}` will do."""
    if value is None:
        return None
    calls = _objects(value, pointer.removeprefix("/"))
    return tuple(_call(call, f"{pointer}/{index}") for index, call in enumerate(calls))


def _call(call: Mapping[str, Any], pointer: str) -> Mapping[str, Any]:
    function = call.get("function", call)
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str):
        raise WrongRow('a call is {"function": {"name": "...", "arguments": "{}"}}', pointer)
    arguments = function.get("arguments", "{}")
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    own = {key: call[key] for key in call.keys() & {"id"}}
    return {**own, "type": "function", "function": {"name": name, "arguments": arguments}}


# --- tools, tags, clusters --------------------------------------------------------------------


def _objects(value: object, name: str) -> Calls:
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(isinstance(each, Mapping) for each in value):
        raise WrongRow(f"{name.rpartition('/')[2]} is a list of objects", f"/{name}")
    return tuple(value)


def _tags(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        raise WrongRow("tags is a list of texts", "/tags")
    return tuple(value)


def _cluster(row: Mapping[str, Any]) -> str | None:
    value = row.get("cluster")
    if value is None or is_name(value):
        return None if value in (None, "") else str(value)
    raise WrongRow("a cluster is named by a text or a whole number", "/cluster")


def is_name(value: object) -> bool:
    """Whether a value can name a cluster."""
    return isinstance(value, str | int)
