"""The slow tier: every mistake of one line, each with its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from typing import NamedTuple

from ftjobs.data import conversation, shape
from ftjobs.data.scan import MAX_VALUES, Finding, Node, scan

FOREIGN: Mapping[str, str] = {
    "FT321": '{"prompt", "completion"} (legacy completion)',
    "FT322": '{"instruction", "output"} (Alpaca)',
    "FT323": '{"conversations"} (ShareGPT)',
}
"""Shapes that are known but not checked: reported once a file, with the number of lines."""

_METHODS: Mapping[str, tuple[Callable[[Node], Iterator[Finding]], ...]] = {
    "supervised": (shape.chat, conversation.chat),
    "dpo": (shape.preference, conversation.preference),
}


class Explained(NamedTuple):
    """What a line is and what is wrong with it.  `method` is None where it cannot be known."""

    method: str | None
    findings: tuple[Finding, ...]


def explain_line(line: bytes, *, max_values: int = MAX_VALUES) -> Explained:
    """Every finding of one line, from left to right.  `line` carries no byte order mark."""
    text, findings = _decode(line.rstrip(b"\r\n"))
    if not text.strip(" \t\r\n"):  # JSON's white space, and no other
        return Explained(None, (Finding("FT107", "blank line"),))
    root, faults = scan(text, max_values=max_values)
    if root is None and findings:
        return Explained(None, tuple(findings))  # bytes that are no text rarely are JSON
    method, mistakes = (None, []) if root is None else _row(root)
    found = dict.fromkeys([*findings, *faults, *mistakes])
    return Explained(method, tuple(sorted(found, key=lambda one: (one.at or 0, one.code))))


def _decode(line: bytes) -> tuple[str, list[Finding]]:
    try:
        return line.decode(), []
    except UnicodeDecodeError as error:
        at = len(line[: error.start].decode())
        message = f"byte 0x{line[error.start]:02x} is not UTF-8 here"
        return line.decode(errors="replace"), [Finding("FT104", message, at)]


def _row(root: Node) -> tuple[str | None, list[Finding]]:
    if not isinstance(root.value, dict):
        message = f"the line must be an object, not {root.kind}"
        return None, [Finding("FT301", message, root.start)]
    keys = root.keys.keys()
    if "messages" in keys:
        method = "supervised"
    elif keys & {"preferred_output", "non_preferred_output"}:
        method = "dpo"
    elif code := _foreign(keys):
        return None, [Finding(code, f"the row has the shape {FOREIGN[code]}", root.start)]
    else:
        return None, [Finding("FT303", 'the line has no key "messages"', root.start)]
    return method, [finding for check in _METHODS[method] for finding in check(root)]


def _foreign(keys: Set[str]) -> str | None:
    """The code of the known shape that has these keys."""
    if {"prompt", "completion"} <= keys:
        return "FT321"
    if {"instruction", "output"} <= keys:
        return "FT322"
    return "FT323" if "conversations" in keys else None
