"""One issue a line, for logs, editors and `grep`."""

from __future__ import annotations

from collections.abc import Iterable

from ftjobs.data import Report
from ftjobs.reports.dataset._words import issues_of, one_line, place
from ftjobs.schema import Issue


def plain(reports: Iterable[Report]) -> str:
    """`file:line:column: CODE message (severity)`, in file order."""
    return "\n".join(map(line, issues_of(reports)))


def line(issue: Issue) -> str:
    """An issue as one line.  Parts are cleaned one by one: none can swallow the next."""
    return f"{place(issue)}: {issue.code} {one_line(issue.message)} ({issue.severity})"
