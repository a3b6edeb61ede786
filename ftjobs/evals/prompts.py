"""Prompt files: JSON Lines → prompts with the answers expected of them.

A line is `{"messages": [...], "expected": "...", "tags": ["..."]}`, where `expected` and `tags`
may be left out.  A chat dataset can be used as it is: its last assistant turn is the answer
expected.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from ftjobs.errors import ConfigError, DatasetError
from ftjobs.schema import ChatMessage, Issue


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
    """

    messages: tuple[ChatMessage, ...]
    expected: str | None = None
    tags: tuple[str, ...] = ()
    line: int | None = None
    cluster: str | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    calls: tuple[Mapping[str, Any], ...] | None = None

    @property
    def question(self) -> str:
        """The text of the last message."""
        content = self.messages[-1].content
        if isinstance(content, str):
            return content
        return "".join(str(part.get("text", "")) for part in content or ())


class _Wrong(ValueError):
    """A line that is not a prompt: `args` is (message, pointer)."""


def read_prompts(path: str | Path) -> list[Prompt]:
    """The prompts of a JSON Lines file in UTF-8, blank lines aside.

    Raises:
        ConfigError: the file cannot be read.
        DatasetError: lines are wrong; `issues` lists every one with its number.
    """
    prompts, issues = [], []
    for number, line in enumerate(_lines(Path(path)), start=1):
        if not line.strip():
            continue
        try:
            prompts.append(_prompt(line, number))
        except _Wrong as wrong:
            message, pointer = wrong.args
            issues.append(_issue(path, message, line=number, pointer=pointer))
    if not prompts and not issues:
        issues.append(_issue(path, "the file holds no prompt"))
    if issues:
        raise DatasetError(f"{path}: {len(issues)} wrong line(s)", issues=issues)
    return prompts


def _lines(path: Path) -> Iterator[bytes]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    return iter(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"))


def _issue(path: str | Path, message: str, *, line: int | None = None, pointer: str = "") -> Issue:
    return Issue(
        code="prompt",
        severity="error",
        message=message,
        path=str(path),
        line=line,
        pointer=pointer,
        hint='A line is {"messages": [...], "expected": "...", "tags": ["..."]}.',
    )


def _prompt(line: bytes, number: int) -> Prompt:
    row = _json(line)
    messages = _messages(row.get("messages"))
    if "expected" in row:
        expected = row["expected"]
        if not isinstance(expected, str | None):
            raise _Wrong("expected is a text", "/expected")
    else:
        expected, messages = _last_answer(messages)
    if not messages:
        raise _Wrong("nothing is asked: there is no message before the answer", "/messages")
    if messages[-1].role == "assistant":
        raise _Wrong("the last message is the assistant's", f"/messages/{len(messages) - 1}")
    return Prompt(messages, expected, _tags(row.get("tags")), number)


def _json(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _Wrong(f"not UTF-8 at byte {error.start + 1}", "") from None
    except json.JSONDecodeError as error:
        raise _Wrong(f"not JSON: {error.msg} at column {error.colno}", "") from None
    except ValueError:  # Python reads no integer of more than 4,300 digits
        raise _Wrong("not JSON that can be read: a number is too long", "") from None
    except RecursionError:
        raise _Wrong("not JSON that can be read: nested too deeply", "") from None
    if not isinstance(row, dict):
        raise _Wrong("not a JSON object", "")
    return row


def _messages(value: object) -> tuple[ChatMessage, ...]:
    if not isinstance(value, list) or not value:
        raise _Wrong("messages is a list of at least one message", "/messages")
    return tuple(_message(entry, index) for index, entry in enumerate(value))


def _message(entry: object, index: int) -> ChatMessage:
    try:
        message = ChatMessage.model_validate(entry)
        message.model_dump_json()
    except PydanticSerializationError:
        pointer = f"/messages/{index}"
        raise _Wrong("half of a surrogate pair in a string", pointer) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        pointer = "/".join(["/messages", str(index), *map(str, first["loc"][:1])])
        raise _Wrong(first["msg"], pointer) from None
    return message


def _last_answer(
    messages: tuple[ChatMessage, ...],
) -> tuple[str | None, tuple[ChatMessage, ...]]:
    """A chat example's answer and what comes before it; a prompt without one stays as it is."""
    if messages[-1].role != "assistant":
        return None, messages
    content = messages[-1].content
    if not isinstance(content, str):
        pointer = f"/messages/{len(messages) - 1}/content"
        raise _Wrong("the last assistant turn has no text to expect", pointer)
    return content, messages[:-1]


def _tags(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        raise _Wrong("tags is a list of texts", "/tags")
    return tuple(value)
