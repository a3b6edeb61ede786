"""A comparison for a terminal: the verdict, what it rests on, then the rows that got worse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ftjobs.evals.result import Comparison
from ftjobs.reports import cells
from ftjobs.reports.comparison import _numbers as numbers
from ftjobs.reports.comparison import _rows
from ftjobs.reports.comparison import _words as words
from ftjobs.reports.comparison._rows import Style, plain

__all__ = ["text"]

NARROWEST = 40

FEW = 12
"""Rows that are all shown, as a table."""

REPEATED = 24
"""Lines below the verdict, from which on it is said again at the end."""

NAME = 24
"""Columns that an arm's name gets."""

COLUMNS = (0, 2, 3, 1, 4, 6, 5, 7)
"""What the table of graders keeps when it is narrow, what matters most first."""


def text(
    comparison: Comparison,
    *,
    width: int = 100,
    rows: int | None = 10,
    diff: bool | None = None,
    style: Style | None = None,
) -> str:
    """The comparison as text of at most `width` columns (40 at least).

    Args:
        comparison: what was found.
        width: columns of the terminal.
        rows: how many of the rows that got worse are shown, the biggest regressions first; None
            for all rows.  A few rows of two arms are all shown, as a table in their order.
        diff: whether what differs between two answers is marked; None marks it but in that table.
        style: paints what a terminal can show in colour; without it, what was removed stands in
            `[-…-]`, and what was added in `{+…+}`.
    """
    width, paint = max(width, NARROWEST), style or plain
    verdict = list(_verdict(comparison, width, paint))
    found = [*_graders(comparison, width, paint), "", *_below(comparison, width, paint), ""]
    if len(comparison.rows) <= FEW and len(comparison.arms) == 2 and not diff:
        found += _rows.table(comparison, width)
    else:
        found += _rows.blocks(comparison, width, rows, style, marked=diff is not False)
    again = ["", *verdict] if len(found) >= REPEATED else []
    return cells.disarmed("\n".join([*verdict, "", *found, *again]))


def _verdict(comparison: Comparison, width: int, paint: Style) -> Iterator[str]:
    verdict = comparison.verdict
    if verdict is None:
        yield from cells.wrap(words.ungraded(comparison) or "No verdict.", width)
        return
    label = verdict.word.upper()
    first, *rest = cells.wrap(f"{label}  {words.contents(verdict.sentence)}", width)
    yield paint(verdict.word, label) + first.removeprefix(label)
    yield from rest


def _graders(comparison: Comparison, width: int, paint: Style) -> Iterator[str]:
    """The table of arms by graders, without the columns for which there is no room."""
    sections = list(numbers.sections(comparison))
    if not sections:
        return
    lines = [line for _, lines in sections for line in lines]
    names = [f"  {cells.cut(line.arm, NAME)}" for line in lines]
    table = [
        ("", *numbers.heads(comparison)),
        *((name, *line[1:]) for name, line in zip(names, lines, strict=True)),
    ]
    aligned = iter(list(_aligned(table, width)))
    yield paint("heading", next(aligned))
    for title, of_grader in sections:
        yield paint("heading", cells.cut(title, width))
        yield from (next(aligned) for _ in of_grader)


def _aligned(table: Sequence[Sequence[str]], room: int) -> Iterator[str]:
    """Lines whose first cell is on the left, all others on the right, and what has no room off."""
    widths = [max(map(cells.width, column)) for column in zip(*table, strict=True)]
    kept = []
    for column in COLUMNS:
        if any(row[column] for row in table[1:]) and widths[column] <= room:
            kept.append(column)
            room -= widths[column] + 2
    first, *rest = sorted(kept)
    for row in table:
        others = [" " * (widths[i] - cells.width(row[i])) + row[i] for i in rest]
        yield "  ".join([cells.pad(row[first], widths[first]), *others]).rstrip()


def _below(comparison: Comparison, width: int, paint: Style) -> Iterator[str]:
    """Arms, how they were asked, what a judge may favour, and warnings."""
    names = [cells.cut(words.contents(arm.name), NAME) for arm in comparison.arms]
    longest = max(map(cells.width, names), default=0) + 2
    for arm, name in zip(comparison.arms, names, strict=True):
        yield from _rows.hanging(cells.pad(name, longest), ", ".join(words.facts(arm)), width)
    for line in words.samplings(comparison):
        yield from cells.wrap(line, width)
    for line in words.classified(comparison):
        yield from cells.wrap(line, width)
    for bias in comparison.biases:
        start, kind = ("warning: ", "warning") if bias.warning else ("bias: ", "note")
        said = words.contents(f"{bias.grader}: {bias.sentence}")
        yield from (paint(kind, line) for line in _rows.hanging(start, said, width))
    for warning in comparison.warnings:
        for line in _rows.hanging("warning: ", words.contents(warning), width):
            yield paint("warning", line)
