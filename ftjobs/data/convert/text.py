"""Bytes → lines of text: which encoding a file is in, and where it is not.

Encodings are told from a mark, from the pattern of zero bytes, from UTF-8's own redundancy, and
Shift_JIS (cp932) from kana, which every Japanese text holds and no mistaken one does by chance.
Any other encoding has to be named: guessing would change texts without a word.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from typing import BinaryIO

from ftjobs.errors import ConfigError

HEAD_BYTES = 2**18
"""How much of a file is looked at to tell what it is."""

BAD = "\udcff"
"""Stands for bytes that are no text in the file's encoding.  No sound text holds it."""

_MARKS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_ALIASES = {"windows-31j": "cp932", "x-sjis": "cp932"}  # that Python does not know
_NO_FILES = ("idna", "punycode", "undefined")  # codecs of host names, and of nothing
_KANA = re.compile("[\u3041-\u3096\u30a1-\u30fa]")
_ZEROS = 0.2  # of the bytes: a wide text has more zeros than this, a narrow one next to none


def _mark(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return BAD, error.end


codecs.register_error("ftjobs.mark", _mark)  # keeps the place of bad bytes, for every codec


def guess_encoding(head: bytes, *, whole: bool) -> str | None:
    """The encoding of a text that begins with `head`; None where it cannot be told.

    `whole` says that there is nothing after `head`: otherwise its last character may be cut.
    """
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    if head.count(0) > _ZEROS * len(head):
        for order, highest, next_one in (("le", 3, 2), ("be", 0, 1)):
            if not any(head[highest::4]) and max(head[next_one::4], default=16) <= 16:
                return f"utf-32-{order}"  # no character is above U+10FFFF
        return "utf-16-le" if head[1::2].count(0) > head[::2].count(0) else "utf-16-be"
    if _decodes(head, "utf-8", whole=whole) is not None:
        return "utf-8"
    text = _decodes(head, "cp932", whole=whole)
    return "cp932" if text is not None and _KANA.search(text) else None


def _decodes(head: bytes, encoding: str, *, whole: bool) -> str | None:
    try:
        return codecs.getincrementaldecoder(encoding)().decode(head, final=whole)
    except UnicodeDecodeError:
        return None


def named_encoding(name: str) -> str:
    """The codec that a person means by a name.

    Shift_JIS is read as cp932, its superset that Windows writes, as browsers read it (WHATWG
    Encoding Standard).

    Raises:
        ConfigError: there is no such text encoding.
    """
    try:
        codec = codecs.lookup(_ALIASES.get(name.lower(), name)).name
        io.TextIOWrapper(io.BytesIO(), encoding=codec)  # refuses codecs that are no text
        if codec in _NO_FILES:
            raise LookupError(codec)
    except (LookupError, ValueError):
        raise ConfigError(
            f"unknown encoding {name[:40]!r}",
            hint="Such as utf-8, cp932 (Shift_JIS), euc-jp, utf-16 or cp1252.",
        ) from None
    return {"shift_jis": "cp932", "utf-8-sig": "utf-8"}.get(codec, codec)


def ordered(encoding: str, head: bytes) -> str:
    """The encoding of a text that begins with `head`, its byte order named if no mark says it.

    Without a mark it is the order that the zero bytes tell, and little-endian where there are
    none (WHATWG Encoding Standard).
    """
    width = {"utf-16": 2, "utf-32": 4}.get(encoding)
    if width is None or any(head.startswith(mark) for mark, name in _MARKS if name == encoding):
        return encoding
    is_big = head[::width].count(0) > head[width - 1 :: width].count(0)
    return f"{encoding}-{'be' if is_big else 'le'}"


class Rejoined(io.RawIOBase):
    """A stream whose first bytes have been read already, in one piece again.

    `done` counts the bytes that were handed out.  Nothing is sought, so pipes work too.
    """

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = memoryview(head)
        self._rest = rest
        self.done = 0

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill `buffer` as far as there is something."""
        piece = self._head[: len(buffer)] or memoryview(self._rest.read(len(buffer)) or b"")
        self._head = self._head[len(piece) :]
        buffer[: len(piece)] = piece
        self.done += len(piece)
        return len(piece)


def decoded(stream: io.RawIOBase, encoding: str, *, newline: str) -> io.TextIOWrapper:
    """The stream as text; bad bytes become `BAD`.  `newline` is that of `open`."""
    wrapped = io.BufferedReader(stream, 2**16)
    return io.TextIOWrapper(wrapped, encoding, errors="ftjobs.mark", newline=newline)


def lines_in(text: io.TextIOBase, *, limit: int) -> Iterator[str | None]:
    """The lines with their ends; None for one of more than `limit` characters.

    A byte order mark at the very start is left out.
    """
    line = text.readline(limit).removeprefix("\ufeff")
    while line:
        if len(line) < limit or line.endswith("\n"):
            yield line
        else:
            _skip_line(text)
            yield None
        line = text.readline(limit)


def _skip_line(text: io.TextIOBase) -> None:
    while (piece := text.readline(2**20)) and not piece.endswith("\n"):
        pass
