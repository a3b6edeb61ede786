"""What several reports of the checker say: groups of issues, verdicts, numbers in words."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from ftjobs.data import RULES, Report, Rule
from ftjobs.data.rules import Severity
from ftjobs.reports.markdown import one_line as one_line
from ftjobs.reports.words import many as many
from ftjobs.schema import Issue

NARROWEST, WIDEST = 24, 120
"""Columns that text for a terminal is made for; on a wider one, lines would be hard to read."""

_RANK: dict[Severity, int] = {"error": 0, "warning": 1, "info": 2}


class Group(NamedTuple):
    """The issues of one code and severity, in file order."""

    rule: Rule
    severity: Severity
    issues: tuple[Issue, ...]


def groups(reports: Iterable[Report]) -> list[Group]:
    """The issues by code: errors first, then by the code's number."""
    found: dict[tuple[int, str], list[Issue]] = {}
    for issue in issues_of(reports):
        found.setdefault((_RANK[issue.severity], issue.code), []).append(issue)
    return [
        Group(RULES[code], issues[0].severity, tuple(issues))
        for (_, code), issues in sorted(found.items())
    ]


def issues_of(reports: Iterable[Report]) -> Iterable[Issue]:
    """The issues of all files."""
    return chain.from_iterable(report.issues for report in reports)


def errors_first(issues: Iterable[Issue]) -> list[Issue]:
    """The issues by severity, and in file order within each."""
    return sorted(issues, key=lambda issue: _RANK[issue.severity])


def place(issue: Issue) -> str:
    """`file:line:column`, as far as there is one."""
    parts = (one_line(issue.path), issue.line, issue.column)
    return ":".join(str(part) for part in parts if part)


def verdict(report: Report) -> str:
    """One line about a file: whether a job can use it, and its numbers."""
    numbers = ", ".join(
        [
            f"{many(report.examples, 'example')} in {many(report.lines, 'line')}",
            many(report.error_count, "error"),
            many(report.warning_count, "warning"),
        ]
    )
    more = " (and more: raise --max-errors)" if report.truncated > 0 else ""
    return f"{one_line(str(report.path))}: {word(report)}: {numbers}{more}"


def word(report: Report) -> str:
    """The verdict in a word."""
    return "ok" if report.ok else "not usable"


def repair(group: Group) -> str:
    """How `data check` may repair the issues of a group; "" if only the author can."""
    kinds = {issue.fixable for issue in group.issues}
    if "safe" in kinds:
        return "--fix may repair it"
    return "--fix --unsafe-fixes may repair it" if "unsafe" in kinds else ""


def listed(words: Sequence[str]) -> str:
    """Words as a list in a sentence."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


class Roots(NamedTuple):
    """Folders, absolute: `root` is what paths are shown relative to, the repository's, and `cwd`
    what relative paths of issues start from.
    """

    root: Path
    cwd: Path

    def whole(self, path: str) -> Path:
        """`path` as an absolute path.  No disk is read."""
        return Path(os.path.normpath(self.cwd / path))

    def within(self, path: str) -> str | None:
        """`path` relative to the root, with `/`; None if it lies outside."""
        whole, root = self.whole(path), Path(os.path.normpath(self.root))
        return whole.relative_to(root).as_posix() if whole.is_relative_to(root) else None
