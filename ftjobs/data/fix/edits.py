"""A line as text that is edited in place, so that what is not repaired keeps its spelling."""

from __future__ import annotations

import bisect
import json
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from operator import itemgetter
from typing import NamedTuple

from ftjobs.data.scan import Finding, scan

STRING = r'"(?>[^"\\]++|\\.)*+"'
OPEN = r'".*'
"""What follows a quote that no other ends.  A look through a text takes it, after `STRING`, as one
piece: to try each of its quotes in turn takes the square of its length."""

_TOKEN = re.compile(STRING + r'|[\[\]{}:,]|[^\s\[\]{}:,"]+', re.DOTALL)
_STRINGS = re.compile(f"({STRING})|{OPEN}", re.DOTALL)
_SPACE = " \t\r\n"


class Edit(NamedTuple):
    """The characters from `start` to before `end` become `text`."""

    start: int
    end: int
    text: str = ""


class Fix(NamedTuple):
    """The repair of one finding: `what` it does in words, without any text of the row.

    All its edits are made, or none.  `drop` says that the row goes as a whole.
    """

    what: str
    edits: tuple[Edit, ...] = ()
    drop: bool = False


class Value:
    """A JSON value and where it stands: `text[start:end]`, its key (if any) at `key_start`.

    Unlike a `scan.Node` it knows its end, and an object keeps every copy of a key: `earlier` is
    the copy before this one.  `place` is the index among the parent's children.
    """

    __slots__ = ("children", "earlier", "end", "key", "key_start", "parent", "place", "start")

    def __init__(self, start: int, end: int, parent: Value | None) -> None:
        self.start = self.key_start = start
        self.end = end
        self.parent = parent
        self.key: str | None = None
        self.earlier: Value | None = None
        self.children: list[Value] = []
        self.place = 0

    @property
    def before(self) -> Value | None:
        """The member or item before this one."""
        return self.parent.children[self.place - 1] if self.parent and self.place else None

    def get(self, key: str) -> Value | None:
        """The member of an object; the last one, where a key is given twice."""
        return next((child for child in reversed(self.children) if child.key == key), None)

    def __iter__(self) -> Iterator[Value]:
        """This value and every one inside it."""
        yield self
        for child in self.children:
            yield from child


class Row:
    """The text of a line, and its values by their places."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.first: dict[tuple[str, int], Finding] = {}  # of a code in a list, by its place

    @cached_property
    def root(self) -> Value | None:
        """The value of the line, None if a mistake makes it unreadable."""
        return None if scan(self.text)[0] is None else read(self.text)

    @cached_property
    def _places(self) -> dict[int, Value]:
        values = list(self.root or ())
        return {place: one for one in values for place in (one.key_start, one.start)}

    def value(self, at: int | None) -> Value | None:
        """The value that starts, or whose key starts, at an offset."""
        return None if at is None else self._places.get(at)

    @cached_property
    def _strings(self) -> list[tuple[int, int]]:
        return strings(self.text)

    def string_around(self, at: int | None) -> tuple[int, int] | None:
        """Where the string, value or key, starts and ends that holds an offset."""
        place = bisect.bisect_right(self._strings, (-1 if at is None else at, len(self.text))) - 1
        if place < 0 or at is None or self._strings[place][1] <= at:
            return None
        return self._strings[place]

    def raw(self, value: Value | None) -> str:
        """How a value is spelt; "" for None."""
        return self.text[value.start : value.end] if value is not None else ""

    def string(self, value: Value | None) -> str | None:
        """A string's text, None if it is no string."""
        raw = self.raw(value)
        return unquoted(raw) if raw.startswith('"') else None


def read(text: str) -> Value | None:
    """The values of a text that `scan` can read; what follows the first is left out."""
    stack: list[Value] = []
    known: list[dict[str, Value]] = []  # of every open value: its members by key
    key: Value | None = None
    for match in _TOKEN.finditer(text):
        char = text[match.start()]
        if char in "]}":
            known.pop()
            closed = stack.pop()
            closed.end = match.end()
            if not stack:
                return closed
        elif char == ":":
            key = stack[-1].children.pop()
        elif char != ",":
            value = Value(match.start(), match.end(), stack[-1] if stack else None)
            if key is not None:
                _name(value, key, text, known[-1])
                key = None
            if stack:
                value.place = len(stack[-1].children)
                stack[-1].children.append(value)
            if char in "[{":
                stack.append(value)
                known.append({})
            elif not stack:
                return value
    return None


def _name(value: Value, key: Value, text: str, known: dict[str, Value]) -> None:
    value.key = unquoted(text[key.start : key.end])
    value.key_start = key.start
    value.earlier = known.get(value.key)
    known[value.key] = value


def strings(text: str) -> list[tuple[int, int]]:
    """Where the strings of a text start and end, up to one that does not end."""
    return [match.span() for match in _STRINGS.finditer(text) if match[1]]


def unquoted(raw: str) -> str:
    """The text of a JSON string; as it is spelt, where an escape is unknown."""
    try:
        text: str = json.loads(raw, strict=False)
    except json.JSONDecodeError:
        return raw[1:-1]
    return text


def quoted(text: str) -> str:
    """A JSON string; every character as itself that may stand in one."""
    return json.dumps(text, ensure_ascii=False)


def without(text: str, value: Value) -> Edit:
    """The edit that takes a member or an item out, with one of the commas beside it."""
    start, end = value.key_start, value.end
    after = _skip(text, end)
    if text[after] == ",":
        return Edit(start, _skip(text, after + 1))
    before = start - 1
    while text[before] in _SPACE:
        before -= 1
    return Edit(before if text[before] == "," else start, end)


def _skip(text: str, at: int) -> int:
    while text[at] in _SPACE:  # a bracket ends it: the value stands inside another
        at += 1
    return at


def compatible(fixes: Iterable[tuple[Fix, object]]) -> Iterator[int]:
    """The places of the fixes that can be made together; earlier ones go first.

    Several fixes may share an edit: it is made once.
    """
    taken: list[Edit] = []
    for place, (fix, _) in enumerate(fixes):
        if all(_free(edit, taken) for edit in fix.edits):
            for edit in fix.edits:
                bisect.insort(taken, edit)
            yield place


def _free(edit: Edit, taken: list[Edit]) -> bool:
    place = bisect.bisect_left(taken, edit)
    before, after = taken[max(0, place - 1) : place], taken[place : place + 1]
    if after == [edit]:
        return True
    touches = any(one.start == edit.start or one.end > edit.start for one in before)
    return not touches and all(edit.end <= one.start != edit.start for one in after)


Step = list[tuple[int, int, bool]]


class Trail(tuple[Step, ...]):
    """How a text came from the source line, so that a place in it is known there too."""

    __slots__ = ()

    def then(self, step: Step) -> Trail:
        """The trail after one more step."""
        return Trail((*self, step))

    def cut(self, start: int) -> Trail:
        """The trail of the part that begins at `start`."""
        return self.then([(0, start, True)])

    def source(self, at: int) -> int:
        """Where a character stood in the source line; what is new stood where it was put."""
        for step in reversed(self):
            new, old, copied = step[bisect.bisect_right(step, at, key=itemgetter(0)) - 1]
            at = old + (at - new if copied else 0)
        return at


def edited(text: str, edits: Iterable[Edit]) -> tuple[str, Step]:
    """The text after edits that are equal or do not overlap, and where its parts come from."""
    parts: list[str] = []
    step: Step = []
    at = size = 0
    for edit in sorted(set(edits)):
        step += [(size, at, True), (size + edit.start - at, edit.start, False)]
        parts += [text[at : edit.start], edit.text]
        size += edit.start - at + len(edit.text)
        at = edit.end
    step.append((size, at, True))
    return "".join([*parts, text[at:]]), step
