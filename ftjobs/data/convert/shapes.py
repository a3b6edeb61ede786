"""A row → one example of chat JSONL, for every shape of row that is known.

A shape takes what it uses from a row and leaves the rest alone; nothing is trimmed, joined or
reworded.  What becomes no example is an `UnfitError` with a reason that groups such rows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ftjobs.data.convert.chatgpt import conversation
from ftjobs.data.convert.json_rows import one_line, parse
from ftjobs.data.convert.pairs import pair_in
from ftjobs.data.convert.rows import Example, Note, Row, Shape, UnfitError, is_missing, kind_of
from ftjobs.data.convert.sharegpt import turns

_CHAT_KEYS = ("messages", "tools", "parallel_tool_calls", "functions")
_PREFERENCE_KEYS = ("input", "preferred_output", "non_preferred_output")


def _sharegpt(row: Mapping[str, Any], note: Note) -> Example:
    return turns(row, note)


def _chatgpt(row: Mapping[str, Any], note: Note) -> Example:
    return {"messages": conversation(row, note)}


def _chat(row: Mapping[str, Any], note: Note) -> Example:  # noqa: ARG001 - as every shape
    keys = _CHAT_KEYS if "messages" in row else _PREFERENCE_KEYS
    example = {key: _plain(row[key]) for key in keys if not is_missing(row.get(key))}
    if not example:
        raise UnfitError("no messages")
    return example


def _plain(value: Any) -> Any:
    """A nested column: JSON in a string is read, the nulls of a table are left out.

    In a table every object has the keys of all.
    """
    if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
        try:
            return parse(value)
        except (ValueError, RecursionError):
            raise UnfitError("column holds no valid JSON") from None
    return _without_nulls(value)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value


_NESTED: tuple[tuple[frozenset[str], Shape], ...] = (
    (
        frozenset({"mapping", "current_node"}),
        Shape("chatgpt", "ChatGPT conversations", ("mapping", "current_node"), _chatgpt),
    ),
    (
        frozenset({"conversations"}),
        Shape(
            "sharegpt", "ShareGPT conversations", ("conversations", "system", "tools"), _sharegpt
        ),
    ),
    (frozenset({"messages"}), Shape("chat", "chat messages", _CHAT_KEYS, _chat)),
    (
        frozenset({"preferred_output", "non_preferred_output"}),
        Shape("chat", "preference pairs", _PREFERENCE_KEYS, _chat),
    ),
)
PAIR_SHAPES = ("alpaca", "prompt-completion")
"""The names of the shapes that are made of columns."""

SHAPES = ("alpaca", "chat", "chatgpt", "prompt-completion", "sharegpt")
"""The names of all shapes."""


def shape_in(columns: Collection[str]) -> Shape | None:
    """The shape that a row with these columns or keys has; None if none is known."""
    for keys, shape in _NESTED:
        if keys <= set(columns):
            return shape
    return pair_in(columns)


def shape_named(name: str, columns: Collection[str]) -> Shape | None:
    """The shape of that name, if a row with these columns can have it."""
    for _, shape in _NESTED:
        if shape.name == name and set(shape.uses[:1]) & set(columns):
            return shape
    found = pair_in(columns) if name in PAIR_SHAPES else None
    return None if found is None or (name == "alpaca" and found.name != name) else found


def example_of(row: Row, shape: Shape, note: Note, *, system: str | None) -> Example | str:
    """The example that a row becomes; text where the row is one already and stays as it is.

    Raises:
        UnfitError: it becomes none.
    """
    if not isinstance(row.value, dict):
        raise UnfitError("row is no object", kind_of(row.value))
    if shape.name == "chat" and row.text is not None and system is None:
        if not row.value.keys() & {*_CHAT_KEYS[:1], *_PREFERENCE_KEYS[1:]}:
            raise UnfitError("no messages")
        return one_line(row.text)
    example = shape.make(row.value, note)
    if system is not None:
        _open_with(system, example, note)
    return example


def _open_with(system: str, example: Example, note: Note) -> None:
    holder = example if "messages" in example else example.get("input")
    messages = holder.get("messages") if isinstance(holder, dict) else None
    if not isinstance(messages, list):
        return  # no example, as the check that follows says
    if any(
        isinstance(one, dict) and one.get("role") in ("system", "developer") for one in messages
    ):
        note("system message of its own kept", "")
        return
    messages.insert(0, {"role": "system", "content": system})
