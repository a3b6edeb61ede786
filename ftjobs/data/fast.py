"""The fast tier: whether a line has nothing at all to report, in a few microseconds.

`accept` says yes only where `slow.explain_line` finds nothing, and no only where it finds
something or where a text needs a closer look; a property test holds the two together.  The typed
decoder checks JSON and shape, one loop the conversation, and a count of quotes finds keys given
twice, which the decoder drops without a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

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
    tool_call_id: _Id
    content: _Texts
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
    tools: Raw | UnsetType = UNSET  # mostly the same in every row: looked at once
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
_tools = msgspec.json.Decoder(Annotated[list[_Tool], Meta(min_length=1)])
_completion = msgspec.json.Decoder(_Completion)
_encoder = msgspec.json.Encoder()
_sorted = msgspec.json.Encoder(order="sorted")


class Accepted(NamedTuple):
    """The method of a line without any error or warning, and the JSON texts that it consists of.

    The texts are spelt the same for rows that say the same; the last is the answer.
    """

    method: str
    texts: list[bytes]


def accept(line: bytes, target: Target = LOCAL) -> Accepted | None:
    """What a line holds if nothing is to be reported of it; None for every other line."""
    for method, look in _METHODS:
        try:
            texts = look(line, target)
        except (ValueError, RecursionError, OverflowError):  # msgspec's errors are ValueErrors
            continue
        return Accepted(method, texts) if texts and not may_hold_faults(line) else None
    return None


def _chat_texts(line: bytes, target: Target) -> list[bytes] | None:
    row = _chat.decode(line)
    tools = _tools_of(row, _PARAMETERS_DEPTH)
    sound = (
        type(row.messages[-1]) is _Assistant
        and _in_order(row.messages)
        and _calls_answered(row.messages)
        and any(type(one) is _Assistant and one.weight != 0 for one in row.messages)
        and _calls_fit(tools, row.messages)
        and _images_fit(row.messages, target)
        and _no_key_twice(row, line)
    )
    return [*_asked(row, tools), *map(_said, row.messages)] if sound else None


def _preference_texts(line: bytes, target: Target) -> list[bytes] | None:  # noqa: ARG001 - as others
    row = _preference.decode(line)
    asked = row.input.messages
    outputs = (row.preferred_output, row.non_preferred_output)
    tools = _tools_of(row.input, _PARAMETERS_DEPTH + 1)
    sound = (
        type(asked[-1]) is not _Assistant
        and _in_order(asked)
        and outputs[0] != outputs[1]
        and all(_is_output(output) and _calls_answered([*asked, *output]) for output in outputs)
        and _calls_fit(tools, [*asked, *outputs[0], *outputs[1]])
        and not any(_images(asked))
        and _no_key_twice(row, line)
    )
    if not sound:
        return None
    return [*_asked(row.input, tools), *map(_said, asked), _sorted.encode(outputs)]


def _completion_texts(line: bytes, target: Target) -> list[bytes] | None:
    row = _completion.decode(line)
    sound = (
        "completion" in target.methods
        and bool(row.completion.strip())
        and not run_together(row.prompt, row.completion)
        and _no_key_twice(row, line)
    )
    return [_encoder.encode(row.prompt), _encoder.encode(row.completion)] if sound else None


_METHODS = (
    ("supervised", _chat_texts),
    ("dpo", _preference_texts),
    ("completion", _completion_texts),
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


class _Tools(NamedTuple):
    """The tools of a row: schemas by name; their JSON without white space, and with its keys
    sorted.
    """

    schemas: Mapping[str, Schema | None]
    compact: bytes
    said: tuple[bytes, ...]


_NO_TOOLS = _Tools({}, b"", ())


def _tools_of(row: _Chat, depth: int) -> _Tools:
    """The tools of a row, which are written back into it without white space.

    Raises:
        ValueError: something is to be said about them.
    """
    if row.tools is UNSET:
        return _NO_TOOLS
    tools = _sound_tools(bytes(row.tools), depth)
    row.tools = Raw(tools.compact)
    return tools


@lru_cache(maxsize=64)
def _sound_tools(source: bytes, depth: int) -> _Tools:
    tools = _tools.decode(source)
    schemas: dict[str, Schema | None] = {}
    for tool in tools:
        parameters = tool.function.parameters
        schema = schema_of(parameters) if isinstance(parameters, dict) else None
        if (schema is not None and schema.fault is not None) or tool.function.name in schemas:
            raise ValueError("unsound schema, or two tools of one name")
        if not _fits(parameters, depth):
            raise ValueError("nested too deeply")
        schemas[tool.function.name] = schema
    if _quotes(source) != _quotes(_encoder.encode(tools)):
        raise ValueError("a key is given twice")
    return _Tools(schemas, msgspec.json.format(source, indent=-1), (_sorted.encode(tools),))


def _calls_fit(tools: _Tools, messages: Sequence[_Message]) -> bool:
    """Whether every call is one of a declared tool; calls without tools pass."""
    return not tools.schemas or all(
        _call_fits(call.function, tools.schemas) for call in _calls(messages)
    )


def _calls(messages: Sequence[_Message]) -> Iterator[_Call]:
    for message in messages:
        if type(message) is _Assistant and isinstance(message.tool_calls, list):
            yield from message.tool_calls


def _call_fits(called: _CalledFunction, declared: Mapping[str, Schema | None]) -> bool:
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
    """Whether no key was dropped: the line is what was read from it, but for white space, or it
    has as many strings.
    """
    written = _encoder.encode(row)
    return msgspec.json.format(line, indent=-1) == written or _quotes(line) == _quotes(written)


def _quotes(text: bytes) -> int:
    """How many quotes of JSON text open or close a string."""
    if b"\\\\" in text:
        text = text.replace(b"\\\\", b"")  # what is left before a quote escapes it
    return text.count(b'"') - text.count(b'\\"')


def _fits(value: object, depth: int) -> bool:
    if isinstance(value, dict):
        return depth <= MAX_DEPTH and all(_fits(child, depth + 1) for child in value.values())
    if isinstance(value, list):
        return depth <= MAX_DEPTH and all(_fits(child, depth + 1) for child in value)
    if isinstance(value, int):
        float(value)  # OverflowError, as `scan` reports it
    return True


# --- what a row says ---------------------------------------------------------------------------


_INITIALS = {_System: b"s", _User: b"u", _Assistant: b"a", _Result: b"t"}


def _asked(row: _Chat, tools: _Tools) -> Iterator[bytes]:
    """What a row says beside its messages, and the initials of their roles."""
    yield from tools.said
    if row.parallel_tool_calls is not UNSET:
        yield _encoder.encode(row.parallel_tool_calls)
    yield b"".join([_INITIALS[type(message)] for message in row.messages])


def _said(message: _Message) -> bytes:
    """A message; of a plain one its text alone, as the rows of `plain` have it."""
    content = message.content
    plain = type(content) is str and type(message) is not _Result and message.name is UNSET
    if plain and (type(message) is not _Assistant or message.tool_calls is UNSET):
        return _encoder.encode(content)
    return _sorted.encode(message)
