"""Text measured in terminal columns: cleaning, wrapping, padding, and plain tables.

Models and services are untrusted: what they say passes `clean` before a person sees it, so that
it can neither move the cursor, nor repaint the screen, nor hide text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import zip_longest

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|(?:\x1b[P\]X^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # OSC, DCS, …
    r"|\x9b[0-?]*[ -/]*[@-~]"
    r"|\x1b[ -/]*[0-~]?"
)
_LOG_COMMANDS = re.compile(r"^([^\S\n]*:)(?=:)|(##)(?=(?:vso)?\[)", re.MULTILINE)
"""What the logs of GitHub and Azure take for a command: `::` first, `##[` and `##vso[` anywhere."""
_SPOOFS = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def clean(text: str) -> str:
    """`text` without escape sequences, control characters and bidirectional overrides.

    Line ends stay, a tab becomes a space, a lone surrogate becomes U+FFFD.
    """
    if text.isascii() and text.isprintable():
        return text
    text = _ESCAPES.sub("", text).replace("\r\n", "\n").replace("\t", " ")
    return "".join(map(_safe, text))


def _safe(char: str) -> str:
    if char == "\n":
        return char
    category = unicodedata.category(char)
    if category == "Cs":
        return "\ufffd"
    return "" if category == "Cc" or char in _SPOOFS else char


def disarmed(text: str) -> str:
    """Text in which no line is a command to the log of a pipeline."""
    return _LOG_COMMANDS.sub(r"\1\2 ", text)


def width(text: str) -> int:
    """Columns that `text` takes: East Asian wide characters two, combining marks none."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(char: str) -> int:
    if unicodedata.east_asian_width(char) in "WF":
        return 2
    return 0 if unicodedata.category(char) in ("Mn", "Me", "Cf") else 1


def cut(text: str, columns: int) -> str:
    """The start of `text` that fits in `columns` (1 or more), with an ellipsis if it is cut."""
    if width(text) <= columns:
        return text
    start = next(_pieces(text, columns - 1))
    return (start if width(start) < columns else "") + "…"


def pad(text: str, columns: int) -> str:
    """`text` followed by spaces up to `columns`."""
    return text + " " * (columns - width(text))


def wrap(text: str, columns: int) -> list[str]:
    """Lines of at most `columns` (2 or more), broken at spaces, or within a word if it is long.

    Texts without spaces, such as Japanese, break between any two characters.
    """
    lines = []
    for paragraph in text.split("\n"):
        line = ""
        for word in re.findall(r"\s*\S+", paragraph.rstrip()):
            if width(line + word) <= columns:
                line += word
                continue
            start = line if _breaks_anywhere(word) else ""
            if line and not start:
                lines.append(line)
            *full, line = _pieces(start + (word if start else word.lstrip()), columns)
            lines += full
        lines.append(line)
    return lines


def _breaks_anywhere(word: str) -> bool:
    return any(unicodedata.east_asian_width(char) in "WF" for char in word)


def _pieces(text: str, columns: int) -> Iterator[str]:
    piece, used = "", 0
    for char in text:
        size = _columns(char)
        if used + size > columns and piece:
            yield piece
            piece, used = "", 0
        piece, used = piece + char, used + size
    yield piece


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, limit: int | None = None) -> str:
    """Cleaned cells in aligned columns, one line a row; `limit` cuts the lines (in columns)."""
    lines = [[clean(cell).replace("\n", " ") for cell in row] for row in (head, *rows)]
    widths = [max(map(width, column)) for column in zip_longest(*lines, fillvalue="")]
    joined = ("  ".join(map(pad, row, widths)).rstrip() for row in lines)
    return "\n".join(line if limit is None else cut(line, limit) for line in joined)


def blocks(rows: Sequence[Sequence[str]], widths: Sequence[int]) -> Iterator[str]:
    """Lines of rows whose cells wrap within `widths`, a rule after each row."""
    rule = "─┼─".join("─" * columns for columns in widths)
    for row in rows:
        cells = [wrap(clean(cell), columns) for cell, columns in zip(row, widths, strict=True)]
        for line in zip_longest(*cells, fillvalue=""):
            yield " │ ".join(map(pad, line, widths)).rstrip()
        yield rule
