"""Calls of tools that a model writes into its answer, in the words of its chat template.

Known are `<tool_call>{…}</tool_call>` (Hermes, Qwen, SmolLM), `[TOOL_CALLS][{…}]` and
`[TOOL_CALLS]name[ARGS]{…}` (Mistral), and an answer that is nothing but `{"name": …,
"parameters": …}`, one or several (Llama 3; Mistral, whose mark is a special token, which decoding
leaves out).  Only calls of the offered tools count; whatever cannot be read as one stays text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Call", "CallReader", "FixedReader"]

_MARKS = ("<tool_call>", "[TOOL_CALLS]", "<|python_tag|>")
_MARK = re.compile(r"(<tool_call>|\[TOOL_CALLS\]|<\|python_tag\|>)\s*")
_NAMED = re.compile(r"([\w.-]+)(?:\[CALL_ID\]\w+)?\[ARGS\]\s*")
_BETWEEN = re.compile(r"\s*[;,]?\s*")
_CLOSED = re.compile(r"\s*(?:</tool_call>|\Z)")
_HALF = re.compile("[\ud800-\udfff]")
_SPACE = re.compile(r"\s*")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool; `arguments` is a JSON object, as text."""

    name: str
    arguments: str


class CallReader:
    """Reads one answer, however it is cut into pieces.

    Args:
        names: of the tools that were offered.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._held: list[str] = []
        self._begun = self._may_call = False

    def feed(self, piece: str) -> str:
        """What is surely text, of this piece and of those held back before it."""
        if self._may_call:
            self._held.append(piece)
            return ""
        text = "".join([*self._held, piece])
        start = self._start(text)
        self._held = [text[start:]]
        return text[:start]

    def end(self) -> tuple[str, list[Call]]:
        """The rest of the text, and the calls."""
        held = "".join(self._held)
        self._held = []
        return self._read(held) if self._may_call else (held, [])

    def _start(self, text: str) -> int:
        """Where a call may begin, with the white space before it."""
        if not self._begun:
            first = text.lstrip()[:1]
            self._begun = bool(first)
            if first in ("{", "["):
                self._may_call = True
                return 0
        mark = _MARK.search(text)
        if mark is not None:
            self._may_call = True
            return len(text[: mark.start()].rstrip())
        longest = min(len(text), max(map(len, _MARKS)) - 1)
        tails = (text[-size:] for size in range(longest, 0, -1))
        part = next((tail for tail in tails if any(m.startswith(tail) for m in _MARKS)), "")
        return len(text[: len(text) - len(part)].rstrip())

    def _read(self, text: str) -> tuple[str, list[Call]]:
        whole = self._calls(text, _SPACE.match(text).end())  # type: ignore[union-attr]
        if whole is not None and not text[whole[1] :].strip():
            return "", whole[0]
        kept, calls, at = [], [], 0
        for mark in _MARK.finditer(text):
            if mark.start() < at or (found := self._marked(text, mark)) is None:
                continue
            kept.append(text[at : mark.start()])
            calls += found[0]
            at = found[1]
        kept.append(text[at:])
        return "".join(kept).rstrip() if calls else text, calls

    def _marked(self, text: str, mark: re.Match[str]) -> tuple[list[Call], int] | None:
        """The calls after a mark, and where they end."""
        if mark[1] != "<tool_call>":
            return self._named(text, mark.end()) or self._calls(text, mark.end())
        found = self._calls(text, mark.end())
        closed = _CLOSED.match(text, found[1]) if found else None
        return (found[0], closed.end()) if found and closed else None

    def _calls(self, text: str, at: int) -> tuple[list[Call], int] | None:
        """Objects, or a list of them, each of which is a call; and where they end."""
        calls: list[Call] = []
        for value, end in _values(text, at):
            found = [self._call(each) for each in (value if isinstance(value, list) else [value])]
            if not all(found):
                break
            calls += [call for call in found if call]
            at = end
        return (calls, at) if calls else None

    def _named(self, text: str, at: int) -> tuple[list[Call], int] | None:
        if (name := _NAMED.match(text, at)) is None:
            return None
        value, end = next(_values(text, name.end()), (None, at))
        call = self._call({"name": name[1], "arguments": value})
        return ([call], end) if call else None

    def _call(self, value: object) -> Call | None:
        if not isinstance(value, Mapping):
            return None
        name, arguments = value.get("name"), value.get("arguments", value.get("parameters"))
        if not isinstance(name, str) or name not in self._names:
            return None
        text = as_object(arguments)
        return None if text is None else Call(name, text)


class FixedReader:
    """Reads an answer that is the arguments of one tool, as it was made to be.

    Args:
        name: of the tool.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._held: list[str] = []

    def feed(self, piece: str) -> str:
        """Nothing: what was written is known at the end."""
        self._held.append(piece)
        return ""

    def end(self) -> tuple[str, list[Call]]:
        """The call; the text if it is none, such as one that was cut."""
        text = "".join(self._held)
        arguments = as_object(text)
        return (text, []) if arguments is None else ("", [Call(self._name, arguments.strip())])


def _values(text: str, at: int) -> Iterator[tuple[Any, int]]:
    """JSON values one after another, and where each ends; up to what is none."""
    while True:
        try:
            value, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            return
        yield value, end
        at = _BETWEEN.match(text, end).end()  # type: ignore[union-attr]


def as_object(value: object) -> str | None:
    """An object as JSON; None if it is none.  One that is JSON already stays as it is."""
    try:
        if isinstance(value, str):
            return value if isinstance(json.loads(value, parse_constant=_refuse), dict) else None
        if not isinstance(value, dict):
            return None
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        # Half a character can be written in JSON, but not sent in UTF-8.
        return json.dumps(value) if _HALF.search(text) else text
    except (ValueError, RecursionError):
        return None


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no JSON")
