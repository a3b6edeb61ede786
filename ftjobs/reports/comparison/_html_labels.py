"""Reports on labels: accuracy, precision and recall, and who was taken for whom."""

from __future__ import annotations

from collections.abc import Iterator

from ftjobs.evals.result import LabelReport
from ftjobs.reports.comparison._html_texts import excerpt
from ftjobs.reports.page import bdi, table

__all__ = ["labels"]

WIDEST = 15
"""Labels up to which the confusion matrix is drawn; of more, the commonest mistakes are listed."""

MISTAKES = 30
"""Mistakes that are listed then."""

LISTED = 200
"""Labels of which precision and recall are listed."""

_DASH = "–"


def labels(report: LabelReport) -> Iterator[str]:
    """One arm's report by one grader."""
    of_set = f" on {bdi(report.set)}" if report.set else ""
    yield f"<h3>{bdi(report.arm)} by {bdi(report.grader)}{of_set}</h3>"
    yield f"<p>Accuracy {report.accuracy:.3f}, macro-averaged F1 {report.macro_f1:.3f}.</p>"
    whose = f"{report.arm} by {report.grader}{f' on {report.set}' if report.set else ''}"
    yield '<div class="pair">'
    yield from _scores(report, whose)
    yield from (_matrix if len(report.labels) <= WIDEST else _mistakes)(report, whose)
    yield "</div>"


def _label(label: str) -> str:
    return excerpt(label, 60) if label else "<i>other</i>"


def _scores(report: LabelReport, whose: str) -> Iterator[str]:
    head = ("Label", "Expected", "Precision", "Recall", "F1")
    numbers = zip(report.precision, report.recall, report.f1, strict=True)
    every = list(zip(report.labels, report.confusion, numbers, strict=True))
    rows = (
        (_label(label), f"{sum(counts):,}", *map(_share, scores))
        for label, counts, scores in every[:LISTED]
    )
    yield from table(f"Labels: {whose}", head, rows, right="lrrrr")
    if (more := len(every) - LISTED) > 0:
        yield f'<p class="note">{more:,} more labels are not shown.</p>'


def _share(score: float | None) -> str:
    return _DASH if score is None else f"{score:.3f}"


def _matrix(report: LabelReport, whose: str) -> Iterator[str]:
    head = ("Expected ↓ answered →", *map(_label, report.labels))
    rows = (
        (_label(label), *(_count(count, sum(counts), place == own) for place, count in cells))
        for own, (label, counts) in enumerate(zip(report.labels, report.confusion, strict=True))
        if (cells := list(enumerate(counts))) and (label or sum(counts))
    )
    yield from table(f"Confusion: {whose}", head, rows, right="l" + "r" * len(report.labels))


def _count(count: int, expected: int, is_right: bool) -> str:
    """A count, shaded by its share of the row; the right answers are bold."""
    shade = f"s{round(4 * count / expected)}" if expected else "s0"
    number = f"<b>{count:,}</b>" if is_right else f"{count:,}"
    return f'<span class="count {shade}">{number}</span>'


def _mistakes(report: LabelReport, whose: str) -> Iterator[str]:
    wrong = sorted(
        (-count, i, j)
        for i, counts in enumerate(report.confusion)
        for j, count in enumerate(counts)
        if i != j and count
    )
    rows = (
        (_label(report.labels[i]), _label(report.labels[j]), f"{-count:,}")
        for count, i, j in wrong[:MISTAKES]
    )
    head = ("Expected", "Answered", "Rows")
    title = f"Commonest mistakes, {min(MISTAKES, len(wrong))} of {len(wrong):,}: {whose}"
    yield from table(title, head, rows, right="llr")
