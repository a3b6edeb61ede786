"""The fast tier: whether a line has nothing at all to report, in a few microseconds.

`accept` says yes exactly where `slow.explain_line` finds nothing; a property test holds the two
together.  The typed decoder checks JSON and shape, one loop the conversation, and a count of
quotes finds keys given twice, which the decoder drops without a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from ftjobs.data.scan import MAX_DEPTH, MAX_VALUES
from ftjobs.data.shape import TOOL_NAME, holds_object

LONGEST = 2 * MAX_VALUES
"""Bytes of the longest line that `accept` is asked about: shorter ones cannot hold too many
values, which only the slow tier counts."""

_PARAMETERS_DEPTH = 5  # of a tool's parameters in a chat row: row, tools, tool, function, they
ToolName = Annotated[str, Meta(pattern=TOOL_NAME)]


class _Closed(Struct, forbid_unknown_fields=True, gc=False):
    pass


class _TextPart(_Closed, tag_field="type", tag="text"):
    text: str


class _Image(_Closed):
    url: str
    detail: Literal["auto", "low", "high"] | UnsetType = UNSET


class _ImagePart(_Closed, tag_field="type", tag="image_url"):
    image_url: _Image


class _CalledFunction(_Closed):
    name: ToolName
    arguments: str


class _Call(_Closed):
    id: str
    type: Literal["function"]
    function: _CalledFunction


_Texts = str | Annotated[list[_TextPart], Meta(min_length=1)]
_Parts = str | Annotated[list[_TextPart | _ImagePart], Meta(min_length=1)]


class _System(_Closed, tag_field="role", tag="system"):
    content: _Texts
    name: str | UnsetType = UNSET


class _User(_Closed, tag_field="role", tag="user"):
    content: _Parts
    name: str | UnsetType = UNSET


class _Assistant(_Closed, tag_field="role", tag="assistant"):
    content: _Texts | UnsetType | None = UNSET
    name: str | UnsetType = UNSET
    weight: Literal[0, 1] | UnsetType = UNSET
    tool_calls: Annotated[list[_Call], Meta(min_length=1)] | UnsetType = UNSET


class _Result(_Closed, tag_field="role", tag="tool"):
    content: _Texts
    tool_call_id: str
    name: str | UnsetType = UNSET


_Message = _System | _User | _Assistant | _Result
_Answer = _Assistant | _Result


class _Function(_Closed):
    name: ToolName
    description: str | UnsetType = UNSET
    parameters: dict[str, Any] | UnsetType = UNSET
    strict: bool | UnsetType = UNSET


class _Tool(_Closed):
    type: Literal["function"]
    function: _Function


class _Chat(_Closed):
    messages: Annotated[list[_Message], Meta(min_length=1)]
    tools: Annotated[list[_Tool], Meta(min_length=1)] | UnsetType = UNSET
    parallel_tool_calls: bool | UnsetType = UNSET


class _Preference(_Closed):
    input: _Chat
    preferred_output: Annotated[list[_Answer], Meta(min_length=1)]
    non_preferred_output: Annotated[list[_Answer], Meta(min_length=1)]


_chat = msgspec.json.Decoder(_Chat)
_preference = msgspec.json.Decoder(_Preference)
_encoder = msgspec.json.Encoder()


def accept(line: bytes) -> str | None:
    """The method of a line without any error or warning; None for every other line."""
    for method, sound in (("supervised", _sound_chat), ("dpo", _sound_preference)):
        try:
            return method if sound(line) else None
        except (ValueError, RecursionError, OverflowError):  # msgspec's errors are ValueErrors
            continue
    return None


def _sound_chat(line: bytes) -> bool:
    row = _chat.decode(line)
    return (
        type(row.messages[-1]) is _Assistant
        and _in_order(row.messages)
        and _calls_answered(row.messages)
        and any(type(one) is _Assistant and one.weight != 0 for one in row.messages)
        and _no_key_twice(row, line)
        and _small(row, depth=_PARAMETERS_DEPTH)
    )


def _sound_preference(line: bytes) -> bool:
    row = _preference.decode(line)
    asked = row.input.messages
    outputs = (row.preferred_output, row.non_preferred_output)
    return (
        type(asked[-1]) is not _Assistant
        and _in_order(asked)
        and outputs[0] != outputs[1]
        and all(_is_output(output) and _calls_answered([*asked, *output]) for output in outputs)
        and _no_key_twice(row, line)
        and _small(row.input, depth=_PARAMETERS_DEPTH + 1)
    )


def _is_output(output: Sequence[_Answer]) -> bool:
    spoken = [message for message in output if type(message) is _Assistant]
    return bool(spoken) and all(map(_says_something, output))


def _in_order(messages: Sequence[_Message]) -> bool:
    """System messages first, then the user; no assistant twice; everybody says something."""
    before: type | None = None
    for message in messages:
        kind = type(message)
        if kind is _System and before not in {None, _System}:
            return False
        if kind is _Assistant and before is not _User and before is not _Result:
            return False  # at the front, after the system, or after another assistant message
        if not _says_something(message):
            return False
        before = kind
    return True


def _says_something(message: _Message) -> bool:
    if type(message) is _Result:
        return True  # a tool may well answer with nothing
    if type(message) is _Assistant and message.tool_calls is not UNSET:
        return True
    content = message.content
    if isinstance(content, str):
        return bool(content) and not content.isspace()
    if isinstance(content, list):
        return any(
            type(part) is _ImagePart or (part.text and not part.text.isspace())  # type: ignore[union-attr]
            for part in content
        )
    return False


def _calls_answered(messages: Sequence[_Message]) -> bool:
    waiting: set[str] = set()
    for message in messages:
        if type(message) is _Result:
            if message.tool_call_id not in waiting:
                return False
            waiting.remove(message.tool_call_id)
        elif waiting:
            return False
        elif type(message) is _Assistant and isinstance(message.tool_calls, list):
            calls = message.tool_calls
            waiting = {call.id for call in calls}
            if len(waiting) != len(calls):
                return False
            if not all(holds_object(call.function.arguments) for call in calls):
                return False
    return not waiting or type(messages[-1]) is _Assistant


def _no_key_twice(row: Struct, line: bytes) -> bool:
    """Whether the line has as many strings as what was read from it: no key was dropped."""
    return _quotes(line) == _quotes(_encoder.encode(row))


def _quotes(text: bytes) -> int:
    """How many quotes of JSON text open or close a string."""
    if b"\\\\" in text:
        text = text.replace(b"\\\\", b"")  # what is left before a quote escapes it
    return text.count(b'"') - text.count(b'\\"')


def _small(row: _Chat, *, depth: int) -> bool:
    """Whether the free part of the row, its tools' parameters, keeps the limits of `scan`."""
    if row.tools is UNSET:
        return True
    return all(_fits(tool.function.parameters, depth) for tool in row.tools)


def _fits(value: object, depth: int) -> bool:
    if isinstance(value, dict):
        return depth <= MAX_DEPTH and all(_fits(child, depth + 1) for child in value.values())
    if isinstance(value, list):
        return depth <= MAX_DEPTH and all(_fits(child, depth + 1) for child in value)
    if isinstance(value, int):
        float(value)  # OverflowError, as `scan` reports it
    return True
