"""A JSON reader that knows where every value stands and goes on after a mistake.

The slow tier uses it to explain a line.  `json` and `msgspec` stop at the first mistake, report
no column for a value that parses but is wrong, and say nothing about a key given twice.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from typing import NamedTuple, NoReturn

MAX_DEPTH = 64
"""Levels of lists and objects that a line may have."""

MAX_VALUES = 2**20
"""Values that a line may hold: bounds the memory that explaining it takes."""

_SPACE = re.compile(r"[ \t\n\r]*")
_STRING = re.compile(r'"(?>[^"\\]++|\\.)*+"', re.DOTALL)  # atomic: linear even where it fails
CONTROL = re.compile(r"[\x00-\x1f]")
"""What JSON wants escaped inside a string."""

_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_CHARACTER = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\?.", re.DOTALL
)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
_LITERALS = {"true": True, "false": False, "null": None}
_NOT_FINITE = re.compile(r"NaN|-?Infinity")
_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "a boolean"),  # before the numbers, among which Python counts it
    (str, "a string"),
    (int, "a number"),
    (float, "a number"),
    (list, "a list"),
    (dict, "an object"),
)
_MAX_DIGITS = 4000  # Python converts no more than 4,300 digits to an integer


class Node:
    """A JSON value and its place in the line.

    `start` and `key_start` are offsets in characters, of the value and of its key.  `token` is
    its key or index in `parent`.  `value` holds nodes where it is a list or a dict.
    """

    __slots__ = ("key_start", "parent", "start", "token", "value")

    def __init__(
        self, start: int, parent: Node | None = None, token: str | int = "", key_start: int = 0
    ) -> None:
        self.start = start
        self.parent = parent
        self.token = token
        self.key_start = key_start
        self.value: str | float | bool | list[Node] | dict[str, Node] | None = None

    @property
    def pointer(self) -> str:
        """The JSON Pointer (RFC 6901); of the nearest parent whose keys are all plain words.

        A key that is no plain word may be training text, which no issue repeats.
        """
        path: list[str | int] = []
        node = self
        while node.parent is not None:
            path.append(node.token)
            node = node.parent
        return "".join(f"/{token}" for token in itertools.takewhile(is_plain, reversed(path)))

    @property
    def keys(self) -> dict[str, Node]:
        """The members of an object; empty for any other value."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def items(self) -> list[Node]:
        """The values of a list; empty for any other value."""
        return self.value if isinstance(self.value, list) else []

    @property
    def kind(self) -> str:
        """What the value is, in words."""
        for cls, name in _KINDS:
            if isinstance(self.value, cls):
                return name
        return "null"


class Finding(NamedTuple):
    """A broken rule in a line.  `at` is an offset in characters, None for the whole line."""

    code: str
    message: str
    at: int | None = None
    pointer: str = ""


def is_plain(token: str | int) -> bool:
    """Whether a key is short and word-like, so that it can be shown without leaking text."""
    return isinstance(token, int) or _WORD.fullmatch(token) is not None


def shown(word: str) -> str:
    """A key or role as a message may show it: quoted if it is plain, otherwise only its size."""
    return f'"{word}"' if is_plain(word) else f"of {len(word)} characters"


def source_of(line: str, node: Node) -> str:
    """A string as it is written in the line, with its quotes."""
    match = _STRING.match(line, node.start)
    return match.group() if match else ""


def offset_in(line: str, node: Node, index: int) -> int:
    """Where the character `index` of a string stands in the line."""
    raw = source_of(line, node)
    if "\\" not in raw:
        return node.start + 1 + index
    characters = _CHARACTER.finditer(raw, 1)
    match = next(itertools.islice(characters, index, None), None)
    return node.start + (match.start() if match else 0)


def scan(text: str, *, max_values: int = MAX_VALUES) -> tuple[Node | None, list[Finding]]:
    """Read the one JSON value of a line, with every mistake that does not hide the rest.

    The value is None if a mistake made the rest unreadable; the findings then say which.
    """
    scanner = _Scanner(text, max_values)
    try:
        root = scanner.line()
    except _StopError:
        root = None
    return root, scanner.findings


class _StopError(Exception):
    """What follows cannot be read."""


class _Scanner:
    def __init__(self, text: str, max_values: int) -> None:
        self.text = text
        self.at = 0
        self.values_left = max_values
        self.findings: list[Finding] = []

    def line(self) -> Node:
        if self.text.startswith("\ufeff"):
            self._report("FT102", "byte order mark inside the file", 0)
            self.at = 1
        root = self._value(None, "", 0, depth=1)
        rest = self._peek()
        if rest == ",":
            self._report("FT202", "comma after the end of the object", self.at)
        elif rest in {"{", "["}:
            self._report("FT203", "a second JSON value starts here", self.at)
        elif rest:
            self._unexpected("the end of the line", root)
        return root

    def _value(self, parent: Node | None, token: str | int, key_start: int, *, depth: int) -> Node:
        char = self._peek()
        node = Node(self.at, parent, token, key_start)
        self.values_left -= 1
        if self.values_left < 0:
            self._stop("FT210", "the line holds more than a million values", node)
        if char == '"':
            node.value = self._string(node)
        elif char == "{":
            self._enter(node, depth)
            self._object(node, depth)
        elif char == "[":
            self._enter(node, depth)
            self._list(node, depth)
        else:
            node.value = self._scalar(node)
        return node

    def _enter(self, node: Node, depth: int) -> None:
        if depth > MAX_DEPTH:
            self._stop("FT209", f"more than {MAX_DEPTH} lists and objects inside each other", node)
        self.at += 1

    def _object(self, node: Node, depth: int) -> None:
        members: dict[str, Node] = {}
        node.value = members
        while not self._closed("}", node, first=not members):
            if self._peek() != '"':
                self._unexpected("a key in double quotes", node)
            key_start = self.at
            key = self._string(node)
            if self._peek() != ":":
                self._unexpected("':' after the key", node)
            self.at += 1
            child = self._value(node, key, key_start, depth=depth + 1)
            if key in members:
                self._report("FT205", f"key {shown(key)} is given twice", key_start, child)
            members[key] = child

    def _list(self, node: Node, depth: int) -> None:
        items: list[Node] = []
        node.value = items
        while not self._closed("]", node, first=not items):
            items.append(self._value(node, len(items), self.at, depth=depth + 1))

    def _closed(self, bracket: str, node: Node, *, first: bool) -> bool:
        """Step over the bracket that ends `node`, or over the comma before its next value."""
        char = self._peek()
        comma = self.at
        if not first and char == ",":
            self.at += 1
            char = self._peek()
            if char == bracket:
                self._report("FT202", f"comma before '{bracket}'", comma, node)
        elif not first and char != bracket:
            self._unexpected(f"',' or '{bracket}'", node)
        if char == bracket:
            self.at += 1
        return char == bracket

    def _string(self, node: Node) -> str:
        start = self.at
        match = _STRING.match(self.text, start)
        if match is None:
            self._stop("FT204", "the line ends inside the string that starts here", node, start)
        self.at = match.end()
        raw = match.group()
        if control := CONTROL.search(raw):
            message = f"raw control character U+{ord(control.group()):04X} in a string"
            self._report("FT207", message, start + control.start(), node)
        if "\\" not in raw:
            return raw[1:-1]
        try:
            text: str = json.loads(raw, strict=False)
        except json.JSONDecodeError as error:
            self._report("FT201", "unknown escape in a string", start + error.pos, node)
            return raw[1:-1]
        if (lone := _lone_surrogate(raw)) is not None:
            self._report("FT108", "half of a surrogate pair in a string", start + lone, node)
        return text

    def _scalar(self, node: Node) -> float | bool | None:
        if match := _NUMBER.match(self.text, self.at):
            return self._number(match, node)
        for word, value in _LITERALS.items():
            if self.text.startswith(word, self.at):
                self.at += len(word)
                return value
        if match := _NOT_FINITE.match(self.text, self.at):
            self._report("FT206", f"{match.group()} is not a JSON number", self.at, node)
            self.at = match.end()
            return 0.0
        return self._unexpected("a JSON value", node)

    def _number(self, match: re.Match[str], node: Node) -> float:
        start, self.at = self.at, match.end()
        text = match.group()
        if math.isinf(float(text)):
            self._report("FT208", "the number does not fit a 64-bit float", start, node)
            return 0.0
        integer = match.group(1) is None and match.group(2) is None and len(text) <= _MAX_DIGITS
        return int(text) if integer else float(text)

    def _peek(self) -> str:
        """The next character that is no white space; "" at the end of the line."""
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.text[self.at : self.at + 1]

    def _report(self, code: str, message: str, at: int, node: Node | None = None) -> None:
        self.findings.append(Finding(code, message, at, node.pointer if node else ""))

    def _stop(self, code: str, message: str, node: Node, at: int | None = None) -> NoReturn:
        self._report(code, message, node.start if at is None else at, node)
        raise _StopError

    def _unexpected(self, expected: str, node: Node) -> NoReturn:
        char = self.text[self.at : self.at + 1]
        if not char:
            self._stop("FT204", f"the line ends where {expected} should follow", node, self.at)
        if char == "\ufeff":
            self._stop("FT102", "byte order mark inside the file", node, self.at)
        self._stop("FT201", f"expected {expected}, found {self._found(char)}", node, self.at)

    def _found(self, char: str) -> str:
        if char in "'‘’“”`":
            return f"{char} (JSON takes only double quotes)"
        for word in ("True", "False", "None"):
            if self.text.startswith(word, self.at):
                return f"{word} (Python's word: JSON has true, false and null)"
        return f"'{char}'" if char.isascii() and char.isprintable() else f"U+{ord(char):04X}"


def _lone_surrogate(raw: str) -> int | None:
    """Where the first escaped surrogate without its other half stands in a JSON string."""
    high: int | None = None  # where a high surrogate waits for its other half
    for match in _ESCAPE.finditer(raw):
        unit = int(match.group(1) or "0", 16)
        follows = high is not None and match.start() == high + 6
        if high is not None and not (follows and 0xDC00 <= unit <= 0xDFFF):
            return high
        if high is None and 0xDC00 <= unit <= 0xDFFF:
            return match.start()
        high = match.start() if 0xD800 <= unit <= 0xDBFF else None
    return high
