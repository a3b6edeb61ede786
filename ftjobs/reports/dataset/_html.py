"""One self-contained page: no script, no network, light and dark, any width, and paper."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from ftjobs.data import Report
from ftjobs.data.stats import Histogram, Statistics
from ftjobs.reports.dataset._chart import histogram
from ftjobs.reports.dataset._words import Group, groups, many, one_line, place, repair, word
from ftjobs.reports.page import document
from ftjobs.schema import Issue

PLACES = 200
"""Places listed of a code; the others are counted."""

_STYLE = """
.where { margin-right: .75rem; font-family: ui-monospace, monospace; font-size: .9em; }
section.file, details { background: var(--card); border: 1px solid var(--line);
  border-radius: .5rem; padding: .75rem 1rem; margin: .75rem 0; }
section.file h3 { margin: 0; }
dl { display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; margin: 0; }
dl div { display: flex; gap: .4rem; } dt { color: var(--faint); white-space: nowrap; }
dd { margin: 0; }
summary { font-weight: 600; } summary .faint { font-weight: 400; }
ol { padding-left: 0; list-style: none; margin: .5rem 0 0; }
li { border-top: 1px solid var(--line); padding: .3rem 0; }
figure { margin: 1rem 0; } figure h3 { margin: 0 0 .25rem; } figcaption { color: var(--faint); }
svg { display: block; width: 100%; height: 8rem; } svg rect { fill: var(--bar); }
.axis { display: flex; justify-content: space-between; font-size: .85em;
  border-top: 1px solid var(--line); }
"""


def html(
    reports: Sequence[Report],
    *,
    statistics: Mapping[Path, Statistics] | None = None,
    places: int = PLACES,
) -> str:
    """A page with each file's verdict, the issues by code, and how long the examples are.

    `statistics` are drawn as histograms, by the path of their report.  Of a code, `places` places
    are listed.  Everything from outside is escaped.
    """
    body = [
        "<main>",
        "<h1>Dataset check</h1>",
        *(line for report in reports for line in _file(report)),
        *_issues(groups(reports), places),
        *(line for path, numbers in (statistics or {}).items() for line in _numbers(path, numbers)),
        "</main>",
    ]
    return document(_title(reports), body, style=_STYLE)


def _title(reports: Sequence[Report]) -> str:
    names = ", ".join(one_line(report.path.name) for report in reports[:3])
    return f"Dataset check: {names}{', …' if len(reports) > 3 else ''}"


def _safe(text: str) -> str:
    return escape(one_line(text))


def _file(report: Report) -> Iterator[str]:
    style = "ok" if report.ok else "error"
    yield '<section class="file">'
    yield (
        f'<h3>{_safe(str(report.path))}: <span class="{style}">{word(report)}</span> '
        f'<span class="faint">for {_safe(report.target)}</span></h3>'
    )
    yield "<dl>"
    for name, value in _facts(report):
        yield f"<div><dt>{name}</dt><dd>{_safe(value)}</dd></div>"
    yield "</dl>"
    if report.truncated > 0:
        more = many(report.truncated, "issue")
        yield f'<p class="faint">{more} more: raise --max-errors to see them.</p>'
    yield "</section>"


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    yield "errors", f"{report.error_count:,}"
    yield "warnings", f"{report.warning_count:,}"
    yield "examples", f"{report.examples:,}"
    yield "lines", f"{report.lines:,}"
    yield "method", report.manifest.method or "unknown"
    yield "bytes", f"{report.manifest.bytes:,}"
    yield "sha256", report.manifest.sha256


def _issues(found: Sequence[Group], places: int) -> Iterator[str]:
    yield "<h2>Issues</h2>"
    if not found:
        yield "<p>None.</p>"
    for group in found:
        yield from _group(group, places)


def _group(group: Group, places: int) -> Iterator[str]:
    rule, severity = group.rule, group.severity
    notes = " · ".join(filter(None, [many(len(group.issues), "time"), repair(group)]))
    yield f'<details id="{rule.code}"{" open" if severity == "error" else ""}>'
    yield (
        f'<summary><span class="{severity}">{severity} {rule.code}</span> {_safe(rule.title)} '
        f'<span class="faint">{_safe(notes)}</span></summary>'
    )
    yield f"<p>{_safe(rule.why)}</p>"
    yield f"<p><strong>Fix:</strong> {_safe(group.issues[0].hint)}</p>"
    yield "<ol>"
    yield from map(_place, group.issues[:places])
    yield "</ol>"
    if (more := len(group.issues) - places) > 0:
        yield f'<p class="faint">and {more:,} more: --format plain lists all</p>'
    yield "</details>"


def _place(issue: Issue) -> str:
    pointer = f' <code class="faint">{_safe(issue.pointer)}</code>' if issue.pointer else ""
    return (
        f'<li><span class="where">{escape(place(issue))}</span>{_safe(issue.message)}{pointer}</li>'
    )


def _numbers(path: Path, statistics: Statistics) -> Iterator[str]:
    charts = [histogram(*chart) for chart in _charts(statistics)]
    if charts:
        yield f"<h2>{_safe(str(path))} in numbers</h2>"
        yield from _cut(statistics)
        yield from charts


def _charts(statistics: Statistics) -> Iterable[tuple[str, str, Histogram]]:
    exact = "" if statistics.exact else " (estimate)"
    charts = (
        ("Messages per example", "messages", statistics.turns),
        (f"Tokens per example{exact}", "tokens", statistics.tokens),
        (f"Trained tokens per example{exact}", "tokens", statistics.answer_tokens),
    )
    return ((title, unit, values) for title, unit, values in charts if values is not None)


def _cut(statistics: Statistics) -> Iterator[str]:
    if statistics.context is not None and statistics.cut:
        yield (
            f"<p>{many(statistics.cut, 'example')} longer than {statistics.context:,} tokens, "
            f"{statistics.answers_cut:,} of them with trained tokens beyond the end.</p>"
        )
