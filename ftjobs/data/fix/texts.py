"""Repairs of what texts hold: FT6xx and FT7xx."""

from __future__ import annotations

import functools
import re

from ftjobs.data import content, private
from ftjobs.data.fix.edits import Edit, Fix, Row, edited, quoted, strings, unquoted
from ftjobs.data.scan import Finding

_CHARACTER = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\?.", re.DOTALL
)


def unseen(row: Row, finding: Finding) -> Fix | None:
    """FT603, FT604 and FT605: every such character of the text goes."""
    span = row.string_around(finding.at)
    if span is None:
        return None
    edits = _removed(row.text, *span, finding.code) or _removed_inside(
        row.text, *span, finding.code
    )
    return Fix("removed the characters", tuple(edits)) if edits else None


def _removed(text: str, start: int, end: int, code: str) -> list[Edit]:
    """The edits that take the characters out of the string that stands at `start`."""
    raw = text[start + 1 : end - 1]
    faults = content._characters(unquoted(text[start:end]))
    indices = [fault.at for fault in faults if fault.code == code]
    spans = [match.span() for match in _CHARACTER.finditer(raw)] if indices else []
    return [Edit(start + 1 + spans[at][0], start + 1 + spans[at][1]) for at in indices]


def _removed_inside(text: str, start: int, end: int, code: str) -> list[Edit]:
    """The same for the texts in a call's arguments, which are JSON inside the string."""
    inner = unquoted(text[start:end])
    edits = [edit for span in strings(inner) for edit in _removed(inner, *span, code)]
    return [Edit(start, end, quoted(edited(inner, edits)[0]))] if edits else []


def redacted(row: Row, _finding: Finding) -> Fix | None:
    """FT7xx: everything private in the row is replaced by its kind; all findings share the edit."""
    text = _redacted(row.text)
    if text == row.text:
        return None
    return Fix("put its kind in its place", (Edit(0, len(row.text), text),))


@functools.lru_cache(maxsize=1)
def _redacted(text: str) -> str:
    return private.redact(text)
