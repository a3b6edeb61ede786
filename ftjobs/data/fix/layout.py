"""How a file is laid out → its lines, or the objects that ought to be lines.

UTF-16 and UTF-32 become UTF-8 (FT103), a JSON list (FT211) and indented objects (FT212) one
object a line.  Memory does not grow with the file: one object at a time, no longer than a line.
"""

from __future__ import annotations

import codecs
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ftjobs.data.fix.edits import STRING
from ftjobs.data.reading import MAX_LINE_BYTES

BLOCK = 2**20
BOM = codecs.BOM_UTF8

_WIDE_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_LINE_BREAK = re.compile((STRING + r"|(,?)[ \t\r]*\n[ \t\r\n]*").encode(), re.DOTALL)
_RAW_BREAK = re.compile(rb"(\\.)|[\r\n]", re.DOTALL)
_BEGINS = re.compile(rb"\s*[{\[]\s*[\"{}\[\]]")
_INSIDE = re.compile(rb'["\\]')
_OUTSIDE = re.compile(rb'["\[\]{}]')
_CLOSES = {ord("{"): ord("}"), ord("["): ord("]")}


class LayoutError(ValueError):
    """The file is not laid out in a way that can be repaired without a doubt."""


class Piece(NamedTuple):
    """A line of the source with its end, or the object that begins on line `number`.

    `whole` is false for a part of a line that is too long to be read.
    """

    number: int
    data: bytes
    whole: bool = True


def lines(file: BinaryIO, *, limit: int = MAX_LINE_BYTES) -> Iterator[Piece]:
    """The lines; one of more than `limit` bytes in several parts, all with its number."""
    number = 0
    while data := file.readline(limit):
        number += 1
        whole = len(data) < limit or data.endswith(b"\n")
        yield Piece(number, data, whole)
        while not whole and (data := file.readline(BLOCK)):
            yield Piece(number, data, whole=False)
            if data.endswith(b"\n"):
                break


def wide(head: bytes) -> str:
    """The encoding of a file of UTF-16 or UTF-32, by its mark or its zero bytes."""
    for mark, name in _WIDE_MARKS.items():
        if head.startswith(mark):
            return name
    if head[:2] == b"\x00\x00":
        return "utf-32-be"
    if head[:1] == b"\x00":
        return "utf-16-be"
    return "utf-32-le" if head[2:4] == b"\x00\x00" else "utf-16-le"


def narrowed(file: BinaryIO, encoding: str, folder: Path) -> BinaryIO:
    """A copy in UTF-8, without a name in `folder`.

    Raises:
        LayoutError: the bytes are no text of this encoding, or no mark says that they are and the
            text does not begin like JSON.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    copy = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - the caller reads and closes it
    try:
        while block := file.read(BLOCK):
            copy.write(decoder.decode(block).encode())
        copy.write(decoder.decode(b"", final=True).encode())
    except UnicodeError:
        copy.close()
        raise LayoutError(f"not {encoding}") from None
    copy.seek(0)
    marked = encoding in _WIDE_MARKS.values()
    if not marked and not _BEGINS.match(copy.read(BLOCK)):
        copy.close()
        raise LayoutError(f"surely not {encoding}")
    copy.seek(0)
    return copy


def objects(file: BinaryIO, *, limit: int = MAX_LINE_BYTES) -> Iterator[Piece]:
    """The objects of a JSON list, or one after the other, each on one line.

    Raises:
        LayoutError: there is something else than objects, commas and white space, an object does
            not end, or it has more than `limit` bytes.
    """
    splitter = _Splitter(limit)
    while block := file.read(BLOCK):
        yield from splitter.feed(block)
    splitter.end()


class _Splitter:
    """Finds where objects begin and end, by brackets and quotes alone."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: list[int] = []  # the brackets that have to close
        self._quoted = self._escaped = False
        self._parts: list[bytes] = []  # of the object that is being read
        self._size = 0
        self._line = 1
        self._first = 1  # line of the object that is being read

    def feed(self, block: bytes) -> Iterator[Piece]:
        """The objects that end in a block."""
        start = counted = at = 0
        if self._escaped:
            at, self._escaped = 1, False
        while match := (_INSIDE if self._quoted else _OUTSIDE).search(block, at):
            at, char = match.end(), block[match.start()]
            if char == ord("\\"):
                self._escaped = at == len(block)
                at += 1
            elif char == ord('"'):
                self._quoted = not self._quoted
                self._inside(self._quoted)
            elif char in _CLOSES:
                if char == ord("{") and not self._in_object():
                    self._between(block[start : match.start()])
                    start = match.start()
                    self._line += block.count(b"\n", counted, start)
                    self._first, counted = self._line, start
                elif not self._in_object() and self._open:
                    raise LayoutError("a list in a list")
                self._open.append(_CLOSES[char])
            else:
                self._close(char)
                if char == ord("}") and not self._in_object():
                    self._keep(block[start:at])
                    start = at
                    yield self._object()
        self._rest(block[start:])
        self._line += block.count(b"\n", counted)

    def _in_object(self) -> bool:
        return ord("}") in self._open[:2]

    def _inside(self, quoted: bool) -> None:
        if quoted and not self._in_object():
            raise LayoutError("a string between the objects")

    def _close(self, char: int) -> None:
        if not self._open or self._open.pop() != char:
            raise LayoutError("a bracket that closes nothing")

    def _rest(self, data: bytes) -> None:
        if self._in_object():
            self._keep(data)
        else:
            self._between(data)

    def _between(self, data: bytes) -> None:
        if data.strip(b" \t\r\n,[]" + BOM):
            raise LayoutError("something else between the objects")

    def _keep(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)
        if self._size > self._limit:
            raise LayoutError("an object that is too large")

    def _object(self) -> Piece:
        data = b"".join(self._parts)
        self._parts, self._size = [], 0
        return Piece(self._first, on_one_line(data) + b"\n")

    def end(self) -> None:
        """Raises LayoutError if something is still open."""
        if self._open or self._quoted:
            raise LayoutError("the file ends too early")


def on_one_line(data: bytes) -> bytes:
    """An object without its line breaks and the indentation after them."""
    return _LINE_BREAK.sub(_unbroken, data) if b"\n" in data else data


def _unbroken(match: re.Match[bytes]) -> bytes:
    found = match.group()
    if not found.startswith(b'"'):
        return b", " if match[1] else b""
    return _RAW_BREAK.sub(_escaped, found) if b"\n" in found else found


def _escaped(match: re.Match[bytes]) -> bytes:
    if match[1] is None:
        return b"\\n" if match.group() == b"\n" else b"\\r"
    if match[1] == b"\\\n":
        raise LayoutError("a backslash before a line break")
    return match[1]
