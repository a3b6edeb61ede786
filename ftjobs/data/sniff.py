"""What a file is, told from its name and its first bytes: one clear finding for a file that is
no JSON Lines at all, instead of one a line.

The bytes are those after decompression: gzip or Zstandard that is still there was packed twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ftjobs.data.scan import Finding

HEAD_BYTES = 2**16
"""How much of the file `sniff` wants to see."""

BOM = b"\xef\xbb\xbf"
_TWICE = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "Zstandard"}
_BINARY = {
    b"BZh": "a bzip2 archive (gzip and Zstandard can be read)",
    b"\xfd7zXZ\x00": "an xz archive (gzip and Zstandard can be read)",
    b"PK\x03\x04": "a ZIP archive or an .xlsx spreadsheet",
    b"PAR1": "a Parquet table",
    b"ARROW1": "an Arrow table",
    b"SQLite format 3\x00": "an SQLite database",
    b"%PDF-": "a PDF document",
}
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
_WIDE_STARTS = re.compile(rb"\x00*[\s{\[]\x00+[^\x00]|\x00+[\s{\[]\x00*[^\x00]")
_TEXT_PER_ZERO = 1000  # bytes: in a file of text a stray zero byte is the mistake of one line
_STRAY_ZEROS = 8  # that a small file of JSON may hold
_TABLE_SUFFIXES = (".csv", ".tsv")
_HEADER = re.compile(r'"?\w[\w ]*"?(?:[,;\t]"?\w[\w ]*"?)+', re.ASCII)
_ROW_KEYS = frozenset({"messages", "input", "prompt", "completion", "preferred_output"})
_HEADER_WORDS = frozenset(
    {"instruction", "input", "output", "prompt", "completion", "question", "answer", "response"}
)


def sniff(head: bytes, path: Path) -> Finding | None:
    """The finding for a file that is not JSON Lines, None for one that may be."""
    return next(_findings(head, path), None)


def _findings(head: bytes, path: Path) -> Iterator[Finding]:
    for magic, name in _TWICE.items():
        if head.startswith(magic):
            yield Finding("FT105", f"the file is compressed twice ({name} inside)")
    for magic, name in _BINARY.items():
        if head.startswith(magic):
            yield Finding("FT105", f"the file is {name}, not JSON Lines")
    if head.startswith(_WIDE_MARKS) or _WIDE_STARTS.match(head):
        yield Finding("FT103", "the file is UTF-16 or UTF-32, not UTF-8")
    if _holds_zeros(head):
        yield Finding("FT105", "the file holds zero bytes: it is binary, not JSON Lines")
    text = head.removeprefix(BOM).lstrip()
    first, _, rest = text.partition(b"\n")
    first = first.rstrip()
    if _is_table(first, path):
        yield Finding("FT324", "the file is a table (CSV or TSV), not JSON Lines")
    if first.startswith(b"[") and not _list_a_line(first, rest):
        yield Finding("FT211", "this is a JSON array; write one object per line")
    if first.startswith(b"{") and first.endswith((b"{", b"[")) and _goes_on(rest):
        yield Finding("FT212", "the first object is spread over several lines")


def _holds_zeros(head: bytes) -> bool:
    zeros = head.count(b"\x00")
    if zeros <= _STRAY_ZEROS and head.removeprefix(BOM).lstrip().startswith((b"{", b"[")):
        return False
    return zeros * _TEXT_PER_ZERO > len(head)


def _is_table(first: bytes, path: Path) -> bool:
    if not first or first.startswith((b"{", b"[")):
        return False
    if path.suffix.lower() in _TABLE_SUFFIXES:
        return True
    header = first[:500].decode(errors="replace")
    words = {word.strip('" ').lower() for word in re.split(r"[,;\t]", header)}
    return bool(_HEADER.fullmatch(header)) and bool(words & _HEADER_WORDS)


def _goes_on(rest: bytes) -> bool:
    """Whether an object of several lines goes on here: a row of its own would begin anew."""
    line = rest.lstrip().partition(b"\n")[0]
    try:
        row = msgspec.json.decode(line)
    except (ValueError, RecursionError):
        return bool(line)
    return not (isinstance(row, dict) and row.keys() & _ROW_KEYS)


def _list_a_line(first: bytes, rest: bytes) -> bool:
    """Whether each line is a list of its own: its lines are then explained one by one."""
    return first.endswith(b"]") and rest.lstrip().startswith((b"[", b"{"))
