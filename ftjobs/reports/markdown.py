"""Untrusted words in Markdown: they mark nothing up, link nowhere and mention nobody.

A code span is the only place in which GitHub and GitLab leave `@team`, `#12`, `!3` and bare
addresses alone: a backslash before `@` is gone before mentions are looked for.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence

from ftjobs.reports.cells import clean

__all__ = [
    "COMMENT_BYTES",
    "SUMMARY_BYTES",
    "code",
    "escaped",
    "fitting",
    "marker",
    "one_line",
    "table",
]

SUMMARY_BYTES = 2**20
"""The largest summary of a step; GitHub refuses a larger one as a whole."""

COMMENT_BYTES = 65_536
"""GitHub takes as many characters of a comment; as many bytes are never more."""

LONGEST = 1_000
"""Characters of a quotation; the rest is cut."""


def one_line(text: str) -> str:
    """Untrusted text as one line that moves no cursor."""
    return " ".join(clean(text).split("\n"))


def escaped(text: str) -> str:
    """Our own words, with characters that mean something in Markdown or HTML escaped."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~&@$])", r"\\\1", one_line(text))


def code(text: str, *, most: int = LONGEST) -> str:
    """Untrusted text as a code span, in or outside of a table; "" for none.

    Args:
        text: the text.  `|` becomes `¦`, since not every renderer lets a table hold it.
        most: characters that are kept.
    """
    line = one_line(text[: 2 * most]).strip().replace("|", "¦")
    line = line if len(line) <= most else f"{line[: most - 1]}…"
    if not line:
        return ""
    fence = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    space = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{space}{line}{space}{fence}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, right: str = "") -> Iterator[str]:
    """The lines of a table whose cells are Markdown already.

    Args:
        head: titles of the columns.
        rows: cells.
        right: a character for each column; "r" sets it to the right.
    """
    rules = ("---:" if side == "r" else "---" for side in right.ljust(len(head), "l"))
    for cells in (head, tuple(rules), *rows):
        yield f"| {' | '.join(cells)} |"


def fitting(lines: Iterable[str], most: int) -> Iterator[str]:
    """The lines with their ends, as many as `most` bytes of UTF-8 hold, and a mark of a cut."""
    remark = "* …\n"
    room = most - len(remark.encode())
    for line in lines:
        size = len(line.encode(errors="replace")) + 1
        if size > room:
            yield remark if most >= len(remark.encode()) else ""
            return
        room -= size
        yield line + "\n"


def marker(kind: str, keys: Sequence[str]) -> str:
    """A hidden line that finds a comment again; keys that could end it are hashed."""
    joined = keys[0] if len(keys) == 1 else "\n".join(keys)
    if not (joined.isascii() and joined.replace("-", "").isalnum()) or "--" in joined:
        joined = hashlib.sha256(joined.encode(errors="replace")).hexdigest()[:32]
    return f"<!-- ftjobs {kind} {joined} -->"
