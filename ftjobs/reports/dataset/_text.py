"""Issues grouped by code, for a person at a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ftjobs.data import Report
from ftjobs.data.rules import Severity
from ftjobs.reports.cells import width as columns_of
from ftjobs.reports.cells import wrap
from ftjobs.reports.dataset._words import (
    NARROWEST,
    WIDEST,
    Group,
    groups,
    many,
    one_line,
    place,
    repair,
)
from ftjobs.schema import Issue

PLACES = 5
"""Places shown of a code, unless you say otherwise."""

_COLOURS: dict[Severity, str] = {"error": "1;31", "warning": "1;33", "info": "1;34"}
_STRONG, _FAINT = "1", "2"

_Paint = Callable[[str, str], str]


def text(
    reports: Iterable[Report], *, width: int = 100, places: int = PLACES, colour: bool = False
) -> str:
    """A paragraph for each code: why it matters, what to do, and the first `places` of its places.

    Lines have at most `width` columns (24 to 120), but a place is never broken, so that a
    terminal can open it.  `colour` adds ANSI colours.
    """
    width = min(max(width, NARROWEST), WIDEST)
    paint = _painted if colour else _bare
    return "\n\n".join(
        "\n".join(_paragraph(group, width, places, paint)) for group in groups(reports)
    )


def _painted(words: str, style: str) -> str:
    return f"\x1b[{style}m{words}\x1b[0m"


def _bare(words: str, style: str) -> str:  # noqa: ARG001 - _painted's signature
    return words


def _paragraph(group: Group, width: int, places: int, paint: _Paint) -> Iterator[str]:
    yield from _head(group, width, paint)
    for line in _indented(group.rule.why, width, 2):
        yield paint(line, _FAINT)
    yield from _indented(f"Fix: {group.issues[0].hint}", width, 2)
    for issue in group.issues[:places]:
        yield from _place(issue, width, paint)
    if (more := len(group.issues) - places) > 0:
        for line in _indented(f"and {more:,} more: --format plain lists all", width, 4):
            yield paint(line, _FAINT)


def _head(group: Group, width: int, paint: _Paint) -> Iterator[str]:
    severity, code = group.severity, group.rule.code
    count = many(len(group.issues), "time")
    notes = ", ".join(filter(None, [count, repair(group)]))
    first, *rest = wrap(f"{severity} {code} {group.rule.title} ({notes})", width)
    coloured = paint(severity, _COLOURS[severity]) + " " + paint(code, _STRONG)
    yield first.replace(f"{severity} {code}", coloured, 1)
    yield from rest


def _place(issue: Issue, width: int, paint: _Paint) -> Iterator[str]:
    where, message = place(issue), one_line(issue.message)
    if 4 + columns_of(where) + 2 + columns_of(message) <= width:
        yield f"    {paint(where, _STRONG)}  {message}"
        return
    yield f"    {paint(where, _STRONG)}"
    yield from _indented(message, width, 6)


def _indented(words: str, width: int, by: int) -> list[str]:
    return [" " * by + line for line in wrap(words, width - by)]
