"""The slow tier: every mistake of one line, each with its place."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from typing import NamedTuple

from ftjobs.data import content, conversation, shape
from ftjobs.data.scan import MAX_VALUES, Finding, Node, is_plain, scan
from ftjobs.data.targets import LOCAL, Target

BLANK = Finding("FT107", "blank line")

FOREIGN: Mapping[str, str] = {
    "FT321": '{"prompt", "completion"} (legacy completion)',
    "FT322": '{"instruction", "output"} (Alpaca)',
    "FT323": '{"conversations"} (ShareGPT)',
    "FT325": '{"messages", ...} without an answer (prompts, or reinforcement items)',
}
"""Shapes that are known but not trained with: reported once a file, with the number of lines."""

_METHODS: Mapping[str, tuple[Callable[[Node], Iterator[Finding]], ...]] = {
    "supervised": (shape.chat, conversation.chat),
    "dpo": (shape.preference, conversation.preference),
    "reinforcement": (shape.reinforcement, conversation.reinforcement),
    "completion": (shape.completion, conversation.completion),
}
_UNTAKEN = {"reinforcement": "FT325", "completion": "FT321"}
"""The codes of rows whose method a target does not train with, where nothing else is wrong."""


class Explained(NamedTuple):
    """What a line is and what is wrong with it.  `method` is None where it cannot be known."""

    method: str | None
    findings: tuple[Finding, ...]


def explain_line(line: bytes, *, target: Target = LOCAL, max_values: int = MAX_VALUES) -> Explained:
    """Every finding of one line, from left to right.  `line` carries no byte order mark."""
    text, findings = _decode(line.rstrip(b"\r\n"))
    if not text.strip(" \t\r\n"):  # JSON's white space, and no other
        return Explained(None, (BLANK,))
    root, faults = scan(text, max_values=max_values)
    if root is None:  # bytes that are no text rarely are JSON
        return _explained(None, findings or faults)
    method, mistakes = _row(root, target)
    if method is not None and not findings:  # what was no text has left U+FFFD
        mistakes += content.row(root, text, target)
    return _explained(method, [*findings, *faults, *mistakes])


def _explained(method: str | None, findings: Iterable[Finding]) -> Explained:
    found = sorted(dict.fromkeys(findings), key=lambda one: (one.at or 0, one.code))
    return Explained(method, tuple(found))


def _decode(line: bytes) -> tuple[str, list[Finding]]:
    try:
        return line.decode(), []
    except UnicodeDecodeError as error:
        at = len(line[: error.start].decode())
        message = f"byte 0x{line[error.start]:02x} is not UTF-8 here"
        return line.decode(errors="replace"), [Finding("FT104", message, at)]


def _row(root: Node, target: Target) -> tuple[str | None, list[Finding]]:
    if not isinstance(root.value, dict):
        message = f"the line must be an object, not {root.kind}"
        return None, [Finding("FT301", message, root.start)]
    method = _method(root)
    code = _foreign(root.keys.keys()) if method is None else None
    if method in _UNTAKEN and method not in target.methods:
        code = _UNTAKEN[method]
    if code is not None:
        return None, [Finding(code, f"the row has the shape {FOREIGN[code]}", root.start)]
    if method is None:
        return None, [Finding("FT303", _no_messages(root), root.start)]
    return method, [finding for check in _METHODS[method] for finding in check(root)]


def _no_messages(root: Node) -> str:
    near = difflib.get_close_matches("messages", filter(is_plain, root.keys), n=1)
    return 'the line has no key "messages"' + (f', but "{near[0]}"' if near else "")


def _method(root: Node) -> str | None:
    """The method that a row is for, told from its keys."""
    keys = root.keys.keys()
    if "messages" in keys:
        return "reinforcement" if _is_item(root) else "supervised"
    if keys & {"preferred_output", "non_preferred_output"}:
        return "dpo"
    return "completion" if {"prompt", "completion"} <= keys else None


def _is_item(root: Node) -> bool:
    """Whether a row ends with the user and has keys that chat does not know, for a grader.

    Without such keys it is a supervised row that lost its answer (FT401).
    """
    turns = conversation.turns_of(root.keys["messages"])
    return bool(turns and turns[-1].role == "user" and root.keys.keys() - shape.CHAT_KEYS)


def _foreign(keys: Set[str]) -> str | None:
    """The code of the known shape that has these keys."""
    if {"instruction", "output"} <= keys:
        return "FT322"
    return "FT323" if "conversations" in keys else None
