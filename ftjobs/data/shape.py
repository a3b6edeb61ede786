"""The shape of a row, for the slow tier: keys, types and allowed values (FT3xx, and the FT4xx
that concern one value).  `fast.py` describes the same shapes as types; a property test holds the
two together.

Sources: the chat-completion messages of the OpenAI wire, and its fine-tuning data formats.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from ftjobs.data.scan import Finding, Node, shown

Check = Callable[[Node], Iterator[Finding]]

TOOL_NAME = r"^[A-Za-z0-9_-]{1,64}\Z"
SPEAKER_NAME = r"^[^\s<|\\/>]{1,64}\Z"
ROLES = ("system", "user", "assistant", "tool")
UNCONFIRMED_ROLES = ("developer", "function")
IMAGE_DETAILS = ("auto", "low", "high")

_arguments = msgspec.json.Decoder(dict[str, Any])


@dataclass(frozen=True, slots=True)
class Key:
    """What may stand under a key.  `old` marks a key of the former function calls."""

    check: Check
    required: bool = False
    old: bool = False


def says(code: str, node: Node, message: str) -> Iterator[Finding]:
    """One finding at a value."""
    yield Finding(code, message, node.start, node.pointer)


def label(node: Node) -> str:
    """What a message calls a value: "content", messages[2], the line."""
    if node.parent is None:
        return "the line"
    if isinstance(node.token, int):
        return f"{label(node.parent)}[{node.token}]"
    return node.token if shown(node.token) == f'"{node.token}"' else f"a key {shown(node.token)}"


def wrong_type(node: Node, wanted: str) -> Iterator[Finding]:
    """The finding for a value of the wrong type."""
    return says("FT302", node, f"{label(node)} must be {wanted}, not {node.kind}")


# --- checks of one value ----------------------------------------------------------------------


def text(node: Node) -> Iterator[Finding]:
    """A string."""
    if not isinstance(node.value, str):
        yield from wrong_type(node, "a string")


def boolean(node: Node) -> Iterator[Finding]:
    """True or false."""
    if not isinstance(node.value, bool):
        yield from wrong_type(node, "true or false")


def any_object(node: Node) -> Iterator[Finding]:
    """An object with any keys."""
    if not isinstance(node.value, dict):
        yield from wrong_type(node, "an object")


def weight(node: Node) -> Iterator[Finding]:
    """0 or 1, as integers."""
    if type(node.value) is not int or node.value not in (0, 1):
        yield from says("FT404", node, "weight must be 0 or 1")


def tool_name(node: Node) -> Iterator[Finding]:
    """The name of a function, as services allow it."""
    if not isinstance(node.value, str):
        yield from wrong_type(node, "a string")
    elif not re.match(TOOL_NAME, node.value):
        allowed = "1 to 64 letters, digits, underscores and dashes"
        yield from says("FT309", node, f"{label(node)} must be {allowed}")


def speaker_name(node: Node) -> Iterator[Finding]:
    """The name of who speaks, as the chat API allows it."""
    if not isinstance(node.value, str):
        yield from wrong_type(node, "a string")
    elif not re.match(SPEAKER_NAME, node.value):
        refused = "1 to 64 characters without spaces and < | \\ / >"
        yield from says("FT312", node, f"name should be {refused}")


def identifier(node: Node) -> Iterator[Finding]:
    """The id of a tool call."""
    if not isinstance(node.value, str):
        yield from wrong_type(node, "a string")
    elif not node.value:
        yield from says("FT309", node, f"{label(node)} must not be empty")


def arguments(node: Node) -> Iterator[Finding]:
    """A JSON object inside a string."""
    if not isinstance(node.value, str):
        message = f"arguments must be a string that holds JSON, not {node.kind}"
        yield from says("FT413", node, message)
    elif not holds_object(node.value):
        yield from says("FT414", node, "the arguments do not hold a JSON object")


def holds_object(arguments: str) -> bool:
    """Whether the arguments of a call parse to a JSON object."""
    return arguments_of(arguments) is not None


def arguments_of(arguments: str) -> dict[str, Any] | None:
    """The JSON object that the arguments of a call parse to, None if they do not."""
    try:
        return _arguments.decode(arguments)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None


def one_of(*words: str) -> Check:
    """One of a few words."""

    def check(node: Node) -> Iterator[Finding]:
        if not isinstance(node.value, str):
            yield from wrong_type(node, "a string")
        elif node.value not in words:
            allowed = " or ".join(f'"{word}"' for word in words)
            yield from says("FT309", node, f"{label(node)} must be {allowed}")

    return check


def list_of(item: Check, *, required: bool = True) -> Check:
    """A list; an empty one is a mistake, or only odd where the key is not `required`."""

    def check(node: Node) -> Iterator[Finding]:
        if not isinstance(node.value, list):
            yield from wrong_type(node, "a list")
        elif not node.value:
            yield from says("FT305" if required else "FT310", node, f"{label(node)} is empty")
        for child in node.items:
            yield from item(child)

    return check


# --- checks of an object's keys ---------------------------------------------------------------


def object_of(keys: Mapping[str, Key], *, closed: bool = True) -> Check:
    """An object with these keys, and with no other if it is `closed`."""

    def check(node: Node) -> Iterator[Finding]:
        if not isinstance(node.value, dict):
            yield from wrong_type(node, "an object")
            return
        yield from _missing(node, keys)
        for name, child in node.keys.items():
            key = keys.get(name)
            if key is not None:
                yield from _member(name, child, key)
            elif closed:
                yield from _stray(name, child)

    return check


def _missing(node: Node, keys: Mapping[str, Key]) -> Iterator[Finding]:
    for name, key in keys.items():
        if key.required and name not in node.keys:
            yield from says("FT303", node, f'{label(node)} has no key "{name}"')


def _member(name: str, child: Node, key: Key) -> Iterator[Finding]:
    if key.old:
        message = f'key "{name}" belongs to the old function calls'
        yield Finding("FT311", message, child.key_start, child.pointer)
    if child.value is None and not key.required and name != "content":
        yield from says("FT310", child, f"{name} is null")
    else:
        yield from key.check(child)


_PLACES = {
    "weight": ("FT403", "an assistant message"),
    "tool_calls": ("FT417", "an assistant message"),
    "function_call": ("FT417", "an assistant message"),
    "tool_call_id": ("FT417", "a tool message"),
}


def _stray(name: str, child: Node) -> Iterator[Finding]:
    at, pointer = child.key_start, child.pointer
    in_message = child.parent is not None and "role" in child.parent.keys
    if child.value is None:
        yield Finding("FT310", f"key {shown(name)} is null and not known here", at, pointer)
    elif in_message and name in _PLACES:
        code, place = _PLACES[name]
        yield Finding(code, f'key "{name}" belongs in {place}', at, pointer)
    else:
        yield Finding("FT304", f"unknown key {shown(name)}", at, pointer)


# --- messages ---------------------------------------------------------------------------------

_TEXT_PART = object_of(
    {"type": Key(one_of("text"), required=True), "text": Key(text, required=True)}
)
_IMAGE = object_of({"url": Key(text, required=True), "detail": Key(one_of(*IMAGE_DETAILS))})
_IMAGE_PART = object_of(
    {"type": Key(one_of("image_url"), required=True), "image_url": Key(_IMAGE, required=True)}
)


def _part(node: Node, *, images: bool) -> Iterator[Finding]:
    kind = node.keys.get("type")
    if kind is None or not isinstance(kind.value, str) or kind.value == "text":
        yield from _TEXT_PART(node)
    elif kind.value != "image_url":
        yield from says("FT308", kind, f"content parts of type {shown(kind.value)} are not known")
    elif images:
        yield from _IMAGE_PART(node)
    else:
        yield from says("FT415", node, "an image may stand only in a user message")


def _content(*, images: bool) -> Check:
    parts = list_of(lambda node: _part(node, images=images))

    def check(node: Node) -> Iterator[Finding]:
        if isinstance(node.value, list):
            yield from parts(node)
        elif node.value is not None and not isinstance(node.value, str):
            yield from wrong_type(node, "a string or a list of parts")

    return check


_CALL = object_of(
    {
        "id": Key(identifier, required=True),
        "type": Key(one_of("function"), required=True),
        "function": Key(
            object_of(
                {
                    "name": Key(tool_name, required=True),
                    "arguments": Key(arguments, required=True),
                }
            ),
            required=True,
        ),
    }
)
_ROLE = Key(text, required=True)
_TEXTS = Key(_content(images=False), required=True)
_NAME = Key(speaker_name)
_MESSAGES: Mapping[str, Check] = {
    "system": object_of({"role": _ROLE, "content": _TEXTS, "name": _NAME}),
    "developer": object_of({"role": _ROLE, "content": _TEXTS, "name": _NAME}),
    "user": object_of(
        {"role": _ROLE, "content": Key(_content(images=True), required=True), "name": _NAME}
    ),
    "assistant": object_of(
        {
            "role": _ROLE,
            "content": Key(
                _content(images=False)
            ),  # the conversation's rules know when it may miss
            "name": _NAME,
            "weight": Key(weight),
            "tool_calls": Key(list_of(_CALL)),
            "function_call": Key(any_object, old=True),
        }
    ),
    "tool": object_of(
        {
            "role": _ROLE,
            "content": _TEXTS,
            "tool_call_id": Key(identifier, required=True),
            "name": _NAME,
        }
    ),
    "function": object_of({"role": _ROLE, "content": _TEXTS, "name": Key(text, required=True)}),
}
_ANY_MESSAGE = object_of(
    {
        "role": _ROLE,
        "content": Key(_content(images=True)),
        "name": _NAME,
        "weight": Key(weight),
        "tool_calls": Key(list_of(_CALL)),
        "tool_call_id": Key(identifier),
    }
)
"""For a message whose role is missing or unknown: only what is wrong for every role."""


def message(node: Node) -> Iterator[Finding]:
    """A message of any role."""
    role = node.keys.get("role")
    name = role.value if role is not None and isinstance(role.value, str) else None
    if role is not None and name is not None:
        if name in UNCONFIRMED_ROLES:
            yield from says("FT307", role, f'role "{name}" is not taken by every service')
        elif name not in ROLES:
            yield from says("FT306", role, f"unknown role {shown(name)}")
    yield from _MESSAGES.get(name or "", _ANY_MESSAGE)(node)


# --- rows -------------------------------------------------------------------------------------

_FUNCTION = object_of(
    {
        "name": Key(tool_name, required=True),
        "description": Key(text),
        "parameters": Key(any_object),
        "strict": Key(boolean),
    }
)
_TOOL = object_of(
    {
        "type": Key(one_of("function"), required=True),
        "function": Key(_FUNCTION, required=True),
    }
)
_CHAT_KEYS = {
    "messages": Key(list_of(message), required=True),
    "tools": Key(list_of(_TOOL, required=False)),
    "parallel_tool_calls": Key(boolean),
}
_OLD_FUNCTIONS = {"functions": Key(list_of(_FUNCTION, required=False), old=True)}

chat: Check = object_of(_CHAT_KEYS | _OLD_FUNCTIONS)
"""A row of supervised chat."""

CHAT_KEYS = frozenset(_CHAT_KEYS | _OLD_FUNCTIONS)
"""The keys of a row of chat; whatever else a row of reinforcement has is for its grader."""

reinforcement: Check = object_of(_CHAT_KEYS | _OLD_FUNCTIONS, closed=False)
"""A row of reinforcement fine-tuning."""

preference: Check = object_of(
    {
        "input": Key(object_of(_CHAT_KEYS), required=True),
        "preferred_output": Key(list_of(message), required=True),
        "non_preferred_output": Key(list_of(message), required=True),
    }
)
"""A row of direct preference optimisation (DPO)."""

completion: Check = object_of(
    {"prompt": Key(text, required=True), "completion": Key(text, required=True)}
)
"""A legacy row."""
