"""Kinds of damage that files suffer, each with the codes, lines and pointers to be found.

    kind = KINDS["half_an_emoji"]
    damaged = kind.damage(seed=7)      # bytes, and what the checker has to say about them

A kind is a function that damages one row (`on_row`), the spelling of one line (`on_line`) or a
file as a whole (`on_file`); all else in the file is clean (`rows.py`).  They live in
`damage_text.py` and `damage_rows.py`, which fill `KINDS` when they are imported.
"""

from __future__ import annotations

import copy
import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from tests.data.rows import FORMS, METHODS, Row, clean_lines, joined, part, row, spelled

ROWS = range(10, 12)
"""How many rows a file has: at least as many as hosted services want."""

BOTH = ("supervised", "dpo")
CHATS = (*BOTH, "reinforcement")
TAKEN: Mapping[str, tuple[str, ...]] = {
    "supervised": ("local", "openai", "azure", "nebius", "together", "wire"),
    "dpo": ("openai", "together", "wire"),
    "reinforcement": ("openai", "azure"),
    "completion": ("nebius", "together"),
}
"""Targets that train with a method, and want ten rows of it."""

TALK = ("plain", "opened", "turns", "weighted", "named", "parts")
"""The forms of rows without tools and images."""


class Expected(NamedTuple):
    """An issue that must be reported.  `pointer` is None where it depends on chance."""

    code: str
    line: int | None
    pointer: str | None = None


class Damaged(NamedTuple):
    """A damaged file.  Codes in `also` may be reported too, but only on the damaged lines."""

    data: bytes
    target: str
    expected: tuple[Expected, ...]
    also: frozenset[str]


Found = tuple[str, str | None]  # a code, and the pointer of its place
Result = tuple[bytes, Sequence[Expected]]
Apply = Callable[[Random, str], Result]
OnRow = Callable[[Random, Row], Iterator[Found]]
OnLine = Callable[[Random, str], tuple[bytes, str]]
OnFile = Callable[[Random, list[bytes]], Result]


@dataclass(frozen=True)
class Kind:
    """A kind of damage.  `apply` makes a file of one of the `methods` and damages it.

    `target` is the one that the file is checked for, "" any that trains with the method.
    """

    name: str
    methods: tuple[str, ...]
    apply: Apply
    also: frozenset[str]
    target: str

    def damage(self, seed: int) -> Damaged:
        """The damaged file of a seed."""
        rng = Random(f"{self.name} {seed}")
        method = rng.choice(self.methods)
        target = self.target or rng.choice(TAKEN[method])
        data, expected = self.apply(rng, method)
        return Damaged(data, target, tuple(expected), self.also)


_kinds: dict[str, Kind] = {}
KINDS: Mapping[str, Kind] = _kinds
"""Every kind by its name."""


class RowKind(NamedTuple):
    """What `on_row` was told of a kind."""

    function: OnRow
    methods: tuple[str, ...]
    forms: Sequence[str]


ROW_KINDS: list[RowKind] = []
"""The kinds that damage the value of one row for any target: a file may suffer several."""


def _register(name: str, methods: Sequence[str], apply: Apply, also: str, target: str) -> None:
    assert name not in _kinds, name
    _kinds[name] = Kind(name, tuple(methods), apply, frozenset(also.split()), target)


@functools.cache
def _pool(method: str) -> list[bytes]:
    return clean_lines(Random(method), method, 400)


def _clean(rng: Random, method: str) -> list[bytes]:
    return rng.sample(_pool(method), rng.choice(ROWS))


def row_of(rng: Random, method: str, forms: Sequence[str], *, serial: int = 0) -> Row:
    """A clean row of one of the forms, to be damaged; no clean line has its serial number."""
    known = [form for form in forms if form in FORMS[method]]
    made = row(rng, method, serial, form=rng.choice(known) if known else "")
    return copy.deepcopy(made)  # rows share their tools' schemas


def on_row(
    *methods: str, forms: Sequence[str] = (), also: str = "", target: str = "", name: str = ""
) -> Callable[[OnRow], OnRow]:
    """A kind that damages the value of one row, of one of the forms; it yields what to find."""

    def register(function: OnRow) -> OnRow:
        def apply(rng: Random, method: str) -> Result:
            lines = _clean(rng, method)
            at = rng.randrange(len(lines))
            damaged = row_of(rng, method, forms)
            found = list(function(rng, damaged))
            lines[at] = spelled(rng, damaged)
            return joined(rng, lines), [Expected(code, at + 1, where) for code, where in found]

        _register(name or function.__name__, methods or BOTH, apply, also, target)
        if not (target or also):
            ROW_KINDS.append(RowKind(function, methods or BOTH, forms))
        return function

    return register


def on_line(
    *methods: str, forms: Sequence[str] = TALK, also: str = "", target: str = ""
) -> Callable[[OnLine], OnLine]:
    """A kind that damages the JSON text of one row; it returns the line and the code to find."""

    def register(function: OnLine) -> OnLine:
        def apply(rng: Random, method: str) -> Result:
            lines = _clean(rng, method)
            at = rng.randrange(len(lines))
            whole = json.dumps(row_of(rng, method, forms), ensure_ascii=False)
            lines[at], code = function(rng, whole)
            return joined(rng, lines), [Expected(code, at + 1)]

        _register(function.__name__, methods or METHODS, apply, also, target)
        return function

    return register


def on_file(*methods: str, also: str = "", target: str = "") -> Callable[[OnFile], OnFile]:
    """A kind that damages a file, given as its lines; it returns the bytes and what to find."""

    def register(function: OnFile) -> OnFile:
        def apply(rng: Random, method: str) -> Result:
            return function(rng, _clean(rng, method))

        _register(function.__name__, methods or METHODS, apply, also, target)
        return function

    return register


# --- finding a place in a line ----------------------------------------------------------------

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_UNITS = re.compile(r"\\u[0-9a-fA-F]{4}|\\.|.", re.DOTALL)


def blanked(line: str) -> str:
    """The line with all inside of strings made into underscores: places in it are JSON's own."""
    return _STRING.sub(lambda match: f'"{"_" * (len(match.group()) - 2)}"', line)


def place(rng: Random, line: str, pattern: str) -> re.Match[str]:
    """Any match of a pattern in the line outside of its strings (inside, all are "_")."""
    return rng.choice(list(re.finditer(pattern, blanked(line))))


def replaced(line: str, match: re.Match[str], text: str) -> bytes:
    """The line with other text at the place of a match."""
    return f"{line[: match.start()]}{text}{line[match.end() :]}".encode()


def inside(rng: Random, line: str) -> int:
    """A place between two characters of the longest string, which is what somebody says."""
    said = max(_STRING.finditer(line), key=lambda match: len(match.group()))
    start, end = said.start() + 1, said.end() - 1
    return rng.choice([*(unit.start() for unit in _UNITS.finditer(line, start, end)), end])


def put_inside(rng: Random, line: str, damage: bytes) -> bytes:
    """The line with some bytes put into the longest string."""
    at = inside(rng, line)
    return line[:at].encode() + damage + line[at:].encode()


# --- finding a place in a row -----------------------------------------------------------------


def messages_of(damaged: Row) -> tuple[list[Row], str]:
    """The messages of a row of any method, and where they stand."""
    if "input" in damaged:
        return damaged["input"]["messages"], "/input/messages"
    return damaged["messages"], "/messages"


def tools_of(damaged: Row) -> tuple[list[Row], str]:
    """The declared tools of a row of any method, and where they stand."""
    if "input" in damaged:
        return damaged["input"]["tools"], "/input/tools"
    return damaged["tools"], "/tools"


def answers_of(damaged: Row) -> tuple[list[Row], str]:
    """The messages among which the assistant calls tools, and where they stand."""
    if "input" in damaged:
        return damaged["preferred_output"], "/preferred_output"
    return damaged["messages"], "/messages"


def message_of(rng: Random, damaged: Row, *roles: str) -> tuple[Row, str]:
    """Any message of one of the roles (of any, if none is named), and where it stands."""
    messages, where = messages_of(damaged)
    known = [at for at, one in enumerate(messages) if not roles or one["role"] in roles]
    at = rng.choice(known)
    return messages[at], f"{where}/{at}"


def tool_of(rng: Random, damaged: Row) -> tuple[Row, str]:
    """Any declared tool, and where it stands."""
    tools, where = tools_of(damaged)
    at = rng.randrange(len(tools))
    return tools[at], f"{where}/{at}"


def calls_of(damaged: Row) -> tuple[list[Row], str]:
    """The calls of the first message that has any, and where they stand."""
    messages, where = answers_of(damaged)
    at = next(at for at, one in enumerate(messages) if "tool_calls" in one)
    return messages[at]["tool_calls"], f"{where}/{at}/tool_calls"


def call_of(rng: Random, damaged: Row) -> tuple[Row, str]:
    """Any call of the first message that has any, and where it stands."""
    calls, where = calls_of(damaged)
    at = rng.randrange(len(calls))
    return calls[at], f"{where}/{at}"


def results_of(damaged: Row) -> tuple[list[int], str]:
    """Which messages are tool results, and where the messages stand."""
    messages, where = answers_of(damaged)
    return [at for at, one in enumerate(messages) if one["role"] == "tool"], where


def say(rng: Random, damaged: Row, said: str) -> str:
    """Let somebody in a row of any method say a text, as a string or a part; where it stands."""
    if "prompt" in damaged:
        damaged["completion"] = f" {said}"
        return "/completion"
    message, where = message_of(rng, damaged)
    if rng.random() < 0.3:
        message["content"] = [part("Look:"), part(said)]
        return f"{where}/content/1/text"
    message["content"] = said
    return f"{where}/content"
