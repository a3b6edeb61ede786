"""What an error code of a service means, for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftjobs.reports.cells import wrap

if TYPE_CHECKING:
    from ftjobs.backends.failures import Failure

NARROWEST, WIDEST = 24, 120
"""Columns that text is made for; on a wider terminal, lines would be hard to read."""

WHERE = {
    "request": "a request is refused with it",
    "job": "a job ends with it",
    "local": "a local job ends with it",
}
MARKS = {
    "D": "the vendor's documentation",
    "T": "a third party",
    "I": "inferred",
    "V": "verified in ftjobs",
}


def explanation(failure: Failure, *, width: int = 100) -> str:
    """A failure for a terminal of so many columns: who says it, cause, remedy and source."""
    width = min(max(width, NARROWEST), WIDEST)
    lines = [f"{failure.code}: {failure.title}", ""]
    for name, words in (
        ("Said by", f"{failure.said_by}: {WHERE[failure.where]}."),
        ("Cause", failure.cause),
        ("Remedy", failure.remedy),
        ("Source", f"{failure.source} ({MARKS[failure.mark]})"),
    ):
        first, *rest = wrap(words, width - 10)
        lines += [f"{name + ':':<10}{first}", *(" " * 10 + line for line in rest)]
    return "\n".join(lines)
