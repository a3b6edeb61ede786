"""ChatGPT's own export, conversations.json: a tree of messages for each conversation.

`current_node` is the last message that its owner saw; its parents, up to the root, are the
conversation.  Other branches are earlier wordings and answers, and are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ftjobs.data.convert.rows import UnfitError, kind_of
from ftjobs.data.scan import shown

Note = Callable[[str, str], None]

_SPOKEN = ("user", "assistant")


def conversation(row: Mapping[str, Any], note: Note) -> list[dict[str, Any]]:
    """What user and assistant said to each other, oldest first.

    Hidden and system messages are the product's own and are left out; what passed between the
    assistant and its tools, and its reasoning, cannot be written faithfully, is left out, and
    `note` is told.

    Raises:
        UnfitError: the tree is broken or cyclic, or somebody said more than text.
    """
    messages = []
    for node in reversed(list(_path(row.get("mapping"), row.get("current_node")))):
        said = _said(node, note)
        if said is not None:
            messages.append(said)
    if not messages:
        raise UnfitError("empty conversation")
    return messages


def _path(mapping: object, current: object) -> Iterator[Mapping[str, Any]]:
    """The nodes from the current one to the root."""
    if not isinstance(mapping, Mapping):
        raise UnfitError("mapping is no object", kind_of(mapping))
    if current is None:
        raise UnfitError("no current_node")
    seen = set()
    while current is not None:
        if not isinstance(current, str) or not isinstance(node := mapping.get(current), Mapping):
            raise UnfitError("a message's parent is missing")
        if current in seen:
            raise UnfitError("the messages form a circle")
        seen.add(current)
        yield node
        current = node.get("parent")


def _said(node: Mapping[str, Any], note: Note) -> dict[str, Any] | None:
    message = node.get("message")
    if not isinstance(message, Mapping):
        return None  # the root
    role = _in(message, "author", "role")
    if _hidden(message, role):
        return None
    if role not in _SPOKEN:
        note("messages of tools left out", "")
        return None
    if message.get("recipient") not in (None, "all"):
        note("messages to tools left out", "")
        return None
    kind = _in(message, "content", "content_type")
    if kind in ("thoughts", "reasoning_recap"):
        note("reasoning left out", "")
        return None
    return {"role": role, "content": _text(message.get("content"), kind, role)}


def _in(message: Mapping[str, Any], outer: str, inner: str) -> Any:
    found = message.get(outer)
    return found.get(inner) if isinstance(found, Mapping) else None


def _hidden(message: Mapping[str, Any], role: object) -> bool:
    hidden = _in(message, "metadata", "is_visually_hidden_from_conversation") is True
    return hidden or role == "system" or message.get("weight") == 0


def _text(content: object, kind: object, role: str) -> str:
    """The text of a message whose parts are all text."""
    if not isinstance(content, Mapping):
        raise UnfitError("message without content", f"of the {role}")
    if kind not in ("text", "multimodal_text"):
        raise UnfitError("content that is no text", f"of the {role}: type {_named(kind)}")
    parts = content.get("parts")
    if not isinstance(parts, list):
        raise UnfitError("message without parts", f"of the {role}")
    for part in parts:
        if not isinstance(part, str):
            kind = part.get("content_type") if isinstance(part, Mapping) else part
            raise UnfitError("part that is no text", f"of the {role}: type {_named(kind)}")
    return "".join(parts)


def _named(kind: object) -> str:
    return shown(kind) if isinstance(kind, str) else kind_of(kind)
