"""GitHub Actions: workflow commands, which become annotations, and the summary of a step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from ftjobs.data import Report
from ftjobs.data.rules import RULES, Severity
from ftjobs.reports.actions import MOST_ANNOTATIONS, command
from ftjobs.reports.dataset._words import (
    Group,
    Roots,
    groups,
    issues_of,
    listed,
    many,
    one_line,
    place,
    verdict,
)
from ftjobs.reports.markdown import SUMMARY_BYTES, escaped, fitting
from ftjobs.schema import Issue

_LEVELS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "notice"}


def github(reports: Sequence[Report], *, roots: Roots, problems: Sequence[str] = ()) -> str:
    """Workflow commands for at most ten errors, warnings and notices, then what is left out.

    Every code is annotated once before any is twice.  Paths are relative to `roots.root`.
    `problems` say why files could not be checked.
    """
    lines = [command("error", one_line(problem), title="ftjobs") for problem in problems]
    left_out = []
    for severity, level in _LEVELS.items():
        room = MOST_ANNOTATIONS - (len(lines) if severity == "error" else 0)
        issues = [issue for issue in issues_of(reports) if issue.severity == severity]
        shown = _varied(issues)[: max(0, room)]
        lines += (_annotation(issue, level, roots) for issue in shown)
        if more := _total(reports, severity, len(issues)) - len(shown):
            left_out.append(many(more, severity if severity != "info" else "note"))
    if left_out:
        lines.append(
            f"Not annotated: {listed(left_out)}.  GitHub shows {MOST_ANNOTATIONS} of each kind; "
            "ftjobs data check --format plain lists all."
        )
    return "\n".join(lines)


def _total(reports: Sequence[Report], severity: Severity, kept: int) -> int:
    """How many issues there are, kept or not."""
    counts = {
        "error": sum(report.error_count for report in reports),
        "warning": sum(report.warning_count for report in reports),
    }
    return max(kept, counts.get(severity, kept))


def _varied(issues: Sequence[Issue]) -> list[Issue]:
    """The issues, the first of every code before the second of any."""
    seen: Counter[str] = Counter()
    ranked = []
    for issue in issues:
        ranked.append((seen[issue.code], issue))
        seen[issue.code] += 1
    return [issue for _, issue in sorted(ranked, key=lambda pair: pair[0])]


def _annotation(issue: Issue, level: str, roots: Roots) -> str:
    properties = {
        "file": roots.within(issue.path) or issue.path,
        "line": issue.line,
        "col": issue.column,
        "title": f"{issue.code} {RULES[issue.code].title}",
    }
    said = (one_line(words) for words in (issue.message, issue.hint) if words)
    return command(level, "\n".join(said), **properties)


def summary(reports: Sequence[Report], *, most_bytes: int = SUMMARY_BYTES) -> str:
    """Markdown for the summary of a step, of at most `most_bytes` bytes in UTF-8."""
    lines = ["### Dataset check", "", *_codes(groups(reports)), *_files(reports)]
    return "".join(fitting(lines, most_bytes))


def _codes(found: Sequence[Group]) -> Iterator[str]:
    if not found:
        return
    yield "| Code | Severity | Times | What | First place | What to do |"
    yield "| --- | --- | ---: | --- | --- | --- |"
    for group in found:
        first = group.issues[0]
        count = f"{len(group.issues):,}"
        cells = (group.rule.title, place(first), first.hint)
        texts = " | ".join(map(escaped, cells))
        yield f"| {group.rule.code} | {group.severity} | {count} | {texts} |"
    yield ""


def _files(reports: Iterable[Report]) -> Iterator[str]:
    for report in reports:
        yield f"* {'✅' if report.ok else '❌'} {escaped(verdict(report))}"
