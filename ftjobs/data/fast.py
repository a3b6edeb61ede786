"""The fast tier: whether a line has nothing at all to report, in a few microseconds.

`accept` says yes only where `slow.explain_line` finds nothing, and no only where it finds
something or where a text needs a closer look; a property test holds the two together.  The typed
decoder checks JSON and shape, one loop the conversation, and a count of quotes finds keys given
twice, which the decoder drops without a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from ftjobs.data.content import image_faults, may_hold_faults
from ftjobs.data.conversation import run_together
from ftjobs.data.scan import MAX_DEPTH, MAX_VALUES
from ftjobs.data.shape import SPEAKER_NAME, TOOL_NAME, arguments_of
from ftjobs.data.targets import LOCAL, Target
from ftjobs.data.toolschema import Schema, schema_of

LONGEST = 2 * MAX_VALUES
"""Bytes of the longest line that `accept` is asked about: shorter ones cannot hold too many
values, which only the slow tier counts."""

_PARAMETERS_DEPTH = 5  # of a tool's parameters in a chat row: row, tools, tool, function, they
_ToolName = Annotated[str, Meta(pattern=TOOL_NAME)]
_Name = Annotated[str, Meta(pattern=SPEAKER_NAME)]
_Id = Annotated[str, Meta(min_length=1)]


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
    name: _ToolName
    arguments: str


class _Call(_Closed):
    id: _Id
    type: Literal["function"]
    function: _CalledFunction


_Texts = str | Annotated[list[_TextPart], Meta(min_length=1)]
_Parts = str | Annotated[list[_TextPart | _ImagePart], Meta(min_length=1)]


class _System(_Closed, tag_field="role", tag="system"):
    content: _Texts
    name: _Name | UnsetType = UNSET


class _User(_Closed, tag_field="role", tag="user"):
    content: _Parts
    name: _Name | UnsetType = UNSET


class _Assistant(_Closed, tag_field="role", tag="assistant"):
    content: _Texts | UnsetType | None = UNSET
    name: _Name | UnsetType = UNSET
    weight: Literal[0, 1] | UnsetType = UNSET
    tool_calls: Annotated[list[_Call], Meta(min_length=1)] | UnsetType = UNSET


class _Result(_Closed, tag_field="role", tag="tool"):
    content: _Texts
    tool_call_id: _Id
    name: _Name | UnsetType = UNSET


_Message = _System | _User | _Assistant | _Result
_Answer = _Assistant | _Result


class _Function(_Closed):
    name: _ToolName
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


class _Completion(_Closed):
    prompt: str
    completion: str


_chat = msgspec.json.Decoder(_Chat)
_preference = msgspec.json.Decoder(_Preference)
_completion = msgspec.json.Decoder(_Completion)
_encoder = msgspec.json.Encoder()


def accept(line: bytes, target: Target = LOCAL) -> str | None:
    """The method of a line without any error or warning; None for every other line."""
    for method, sound in _METHODS:
        try:
            return method if sound(line, target) and not may_hold_faults(line) else None
        except (ValueError, RecursionError, OverflowError):  # msgspec's errors are ValueErrors
            continue
    return None


def _sound_chat(line: bytes, target: Target) -> bool:
    row = _chat.decode(line)
    return (
        type(row.messages[-1]) is _Assistant
        and _in_order(row.messages)
        and _calls_answered(row.messages)
        and any(type(one) is _Assistant and one.weight != 0 for one in row.messages)
        and _no_key_twice(row, line)
        and _small(row, depth=_PARAMETERS_DEPTH)
        and _tools_fit(row.tools, row.messages)
        and _images_fit(row.messages, target)
    )


def _sound_preference(line: bytes, target: Target) -> bool:  # noqa: ARG001 - as the others
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
        and _tools_fit(row.input.tools, [*asked, *outputs[0], *outputs[1]])
        and not any(_images(asked))
    )


def _sound_completion(line: bytes, target: Target) -> bool:
    row = _completion.decode(line)
    return (
        "completion" in target.methods
        and bool(row.completion.strip())
        and not run_together(row.prompt, row.completion)
        and _no_key_twice(row, line)
    )


_METHODS = (
    ("supervised", _sound_chat),
    ("dpo", _sound_preference),
    ("completion", _sound_completion),
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
            if any(arguments_of(call.function.arguments) is None for call in calls):
                return False
    return not waiting or type(messages[-1]) is _Assistant


def _tools_fit(tools: Sequence[_Tool] | UnsetType, messages: Sequence[_Message]) -> bool:
    """Whether tools are sound, and every call one of a declared tool; calls without tools pass."""
    if not isinstance(tools, list):
        return True
    declared: dict[str, Schema | None] = {}
    for tool in tools:
        parameters = tool.function.parameters
        schema = schema_of(parameters) if isinstance(parameters, dict) else None
        if (schema is not None and schema.fault is not None) or tool.function.name in declared:
            return False
        declared[tool.function.name] = schema
    return all(_call_fits(call.function, declared) for call in _calls(messages))


def _calls(messages: Sequence[_Message]) -> Iterator[_Call]:
    for message in messages:
        if type(message) is _Assistant and isinstance(message.tool_calls, list):
            yield from message.tool_calls


def _call_fits(called: _CalledFunction, declared: dict[str, Schema | None]) -> bool:
    if called.name not in declared:
        return False
    schema = declared[called.name]
    return schema is None or schema.accepts(arguments_of(called.arguments) or {})


def _images_fit(messages: Sequence[_Message], target: Target) -> bool:
    images = list(_images(messages))
    if len(images) > target.image_count:
        return False
    return not any(image_faults(image.url, target) for image in images)


def _images(messages: Sequence[_Message]) -> Iterator[_Image]:
    for message in messages:
        if isinstance(message.content, list):
            for part in message.content:
                if type(part) is _ImagePart:
                    yield part.image_url


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
