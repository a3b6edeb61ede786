"""JSON → rows: a line each, or the items of one list, or objects one after another."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any, NoReturn

from ftjobs.data.convert.rows import Fault, Row, Written
from ftjobs.data.convert.text import BAD, lines_in
from ftjobs.data.rules import RULES
from ftjobs.data.scan import scan
from ftjobs.errors import DatasetError

_CHUNK = 2**16
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["{}\[\],]', re.DOTALL)
_OPENING = re.compile(r'\{\s*"([^"\\\n]{0,200})"\s*:')  # an object and its first key
_SPACE = " \t\r\n"
_LINE_ENDS = re.compile(r"[ \t\r]*\n\s*")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice")  # and one of the values would be lost
    return found


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


_decoder = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=Written, parse_constant=_no_number
)


def parse(text: str) -> Any:
    """A JSON value whose numbers know their digits.

    Raises:
        ValueError: it is no JSON, or holds a key twice, or NaN.
        RecursionError: it is nested too deeply.
    """
    return _decoder.decode(text)


def row_in(place: int, text: str | None, encoding: str | None = None) -> Row | Fault:
    """The row that a JSON text holds, None standing for one that is too long.

    Commas after an object are left out, and the row has a note of it.
    """
    if text is None:
        return _fault(place, "FT210", "")
    if BAD in text:
        return _fault(place, "FT104", f"bytes that are no text in {encoding or 'the encoding'}")
    try:
        return Row(place, parse(text), text)
    except (ValueError, RecursionError):
        return _without_comma(place, text) or _explained(place, text)


def bare(text: str) -> str:
    """An object without the commas after it; any other text as it is."""
    cut = text.rstrip(_SPACE + ",")
    return cut if cut.endswith("}") else text


def _without_comma(place: int, text: str) -> Row | None:
    cut = bare(text)
    if cut == text:
        return None
    try:
        return Row(place, parse(cut), cut, note=f"FT202 {RULES['FT202'].title}, left out")
    except (ValueError, RecursionError):
        return None


def _explained(place: int, text: str) -> Fault:
    _, findings = scan(text)
    if not findings:
        return _fault(place, "FT208", "")  # a number of thousands of digits
    first = findings[0]
    return _fault(place, first.code, first.message)


def _fault(place: int, code: str, detail: str) -> Fault:
    return Fault(place, f"{code} {RULES[code].title}", detail)


def from_lines(text: io.TextIOBase, *, limit: int) -> Iterator[Row | Fault]:
    """A row each line; blank lines are none."""
    for place, line in enumerate(lines_in(text, limit=limit), start=1):
        if line is None or line.strip(_SPACE):
            yield row_in(place, line if line is None else line.strip(_SPACE), text.encoding)


def from_documents(
    text: io.TextIOBase, *, path: str, limit: int, numbered: bool = False
) -> Iterator[Row | Fault]:
    """A row each item of a list, or each of several objects, perhaps with commas between them.

    The place is its first line; with `numbered`, how many there are up to it.  Where an item is
    broken, reading goes on at the next line that begins as it does: with an object of the same
    first key.

    Raises:
        DatasetError: an item has more than `limit` characters, or text follows the list.
    """
    rows = _rows_of(_Splitter(text, path, limit), text.encoding)
    for number, row in enumerate(rows, start=1):
        if not numbered:
            yield row
        else:
            yield (
                row._replace(place=number) if isinstance(row, Fault) else replace(row, place=number)
            )


def _rows_of(splitter: _Splitter, encoding: str | None) -> Iterator[Row | Fault]:
    for place, item, whole in splitter.items():
        row = row_in(place, item, encoding)
        *parts, last = _parts(item) if isinstance(row, Fault) else [item]
        if parts:
            for part in parts:
                yield row_in(place, bare(part.strip(_SPACE)), encoding)
                place += part.count("\n")
            splitter.back(place, last)
        elif whole or isinstance(row, Fault):
            yield row
        else:
            yield _fault(place, "FT204", "the file ends inside the list")


def _parts(item: str) -> list[str]:
    """A broken item, cut before each line that begins with an object of its first key."""
    first = _OPENING.search(item)
    if first is None or "\n" not in item:
        return [item]
    again = rf'(?m)^(?=[ \t]*\{{\s*"{re.escape(first[1])}"\s*:)'
    starts = [one.start() for one in re.finditer(again, item) if one.start()]
    return [item[start:end] for start, end in pairwise([0, *starts, len(item)])]


def one_line(text: str) -> str:
    """Valid JSON without its line ends and indentation; every value stays as it is written."""
    return _LINE_ENDS.sub("", text)  # a string cannot hold a raw line end


class _Splitter:
    """Cuts a stream of JSON into items by counting brackets; holds one item at a time."""

    def __init__(self, text: io.TextIOBase, path: str, limit: int) -> None:
        self._text = text
        self._path = path
        self._limit = limit
        self._line = 1
        self._pieces: list[str] = []
        self._size = 0
        self._between = _SPACE  # what may stand before an item
        self._tail = ""  # white space after the item given last
        self._again = ""
        self._ahead: list[tuple[str, int]] = []  # text to read again, from an offset; last first

    def back(self, line: int, end: str) -> None:
        """Take back the end of the item given last, which begins on `line`, to read it again."""
        self._line, self._again = line, end + self._tail

    def items(self) -> Iterator[tuple[int, str, bool]]:
        """Line, text, and whether the item came to its end."""
        base, depth, rest = self._base()
        while True:
            more = self._read(max(_CHUNK, len(rest)))  # doubling: each string is linear
            buffer, at = rest + more, 0
            rest = ""
            for token in _TOKEN.finditer(buffer):
                mark = token.group()
                if mark == '"':
                    if more:
                        rest = buffer[token.start() :]  # a string that is not all here yet
                    break
                depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(mark, 0)
                ends_item = base == depth and (mark == "," if base else mark in "}]")
                if ends_item or depth < base:
                    between = base and mark in ",]"  # what ends an item but is no part of it
                    yield from self._cut(buffer[at : token.start() if between else token.end()])
                    at = token.end()
                    if self._goes_back(buffer, token.start() if between else at):
                        depth, at = base, len(buffer)
                        break
                    if base and depth < base:
                        self._nothing_after(buffer[at:])
                        return
                    depth = base  # a bracket too many hides nothing after it
            self._keep(buffer[at : len(buffer) - len(rest)], waiting=len(rest))
            if not more and not self._ahead:
                yield from self._unfinished(base)
                if not self._goes_back("", 0):
                    return
                depth = base

    def _read(self, size: int) -> str:
        if not self._ahead:
            return self._text.read(size)
        text, at = self._ahead.pop()
        if at + size < len(text):
            self._ahead.append((text, at + size))
        return text[at : at + size]

    def _goes_back(self, buffer: str, at: int) -> bool:
        """Whether an end was taken back; it and the buffer from `at` are what is read next."""
        if not self._again:
            return False
        if at < len(buffer):
            self._ahead.append((buffer, at))
        self._ahead.append((self._again, 0))
        self._again = ""
        return True

    def _base(self) -> tuple[int, int, str]:
        """How deep items lie, the depth after the start, and the text that was read with it."""
        head = self._text.read(_CHUNK).removeprefix("\ufeff")
        while head.isspace() and (more := self._text.read(_CHUNK)):
            self._line += head.count("\n")
            head = more
        start = head.lstrip()
        self._line += head[: len(head) - len(start)].count("\n")
        self._between = _SPACE if start.startswith("[") else _SPACE + ","
        return (1, 1, start[1:]) if start.startswith("[") else (0, 0, start)

    def _keep(self, piece: str, *, waiting: int = 0) -> None:
        self._size += len(piece)
        if self._size + waiting > self._limit:
            item = "".join((*self._pieces, piece))
            line = self._line + item[: len(item) - len(item.lstrip())].count("\n")
            raise DatasetError(
                f"{self._path}:{line}: the item that begins here has more than "
                f"{self._limit:,} characters",
                hint="Is a quote or a bracket missing in it?",
            )
        self._pieces.append(piece)

    def _taken(self) -> tuple[int, str]:
        whole = "".join(self._pieces)
        self._pieces, self._size = [], 0
        item = whole.lstrip().lstrip(self._between)
        line = self._line + whole[: len(whole) - len(item)].count("\n")
        self._line += whole.count("\n")
        text = item.rstrip()
        self._tail = item[len(text) :]
        return line, text

    def _cut(self, piece: str) -> Iterator[tuple[int, str, bool]]:
        self._keep(piece)
        line, item = self._taken()
        if item:
            yield line, item, True

    def _unfinished(self, base: int) -> Iterator[tuple[int, str, bool]]:
        line, item = self._taken()
        if item or base:
            yield line, item or "null", False

    def _nothing_after(self, rest: str) -> None:
        while rest.isspace() or not rest:
            self._line += rest.count("\n")
            rest = self._read(_CHUNK)
            if not rest:
                return
        line = self._line + rest[: len(rest) - len(rest.lstrip())].count("\n")
        raise DatasetError(
            f"{self._path}:{line}: text after the bracket that ends the list",
            hint="Is a bracket too many before it, or are these several files in one?",
        )
