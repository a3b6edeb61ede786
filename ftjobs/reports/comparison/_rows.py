"""Rows of a comparison for a terminal: a table of few, or answers side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, groupby, zip_longest
from operator import itemgetter

from ftjobs.evals.result import Comparison, Row
from ftjobs.reports import cells
from ftjobs.reports.comparison import _words as words
from ftjobs.reports.comparison._changes import Change as Scored
from ftjobs.reports.comparison._changes import candidate, changes
from ftjobs.reports.comparison._diff import Change, diff
from ftjobs.reports.words import many

__all__ = ["Style", "blocks", "hanging", "plain", "table"]

Style = Callable[[str, str], str]
"""Paints a text by its kind: heading, pass, fail, inconclusive, note, warning, removed, added."""

SIDE_BY_SIDE = 70
"""Columns from which two answers stand beside each other."""

LONGEST = 800
"""Characters that are shown of an answer."""

BRIEF = 300
"""Characters that are shown of a prompt, and of the answer of an arm that the verdict is not on."""

MARKS = {"removed": "[-{}-]", "added": "{{+{}+}}", "same": "{}"}


def plain(kind: str, text: str) -> str:  # noqa: ARG001 - the signature of a style
    """No colour."""
    return text


def hanging(start: str, said: str, width: int) -> Iterator[str]:
    """A paragraph whose further lines are indented by what it starts with."""
    used = cells.width(start)
    first, *rest = cells.wrap(said.replace("\n", " "), max(width - used, 2)) or [""]
    yield start + first
    for line in rest:
        yield " " * used + line


def table(comparison: Comparison, width: int) -> Iterator[str]:
    """Every row, with what was asked and expected and both answers beside each other."""
    arms = [arm.name for arm in comparison.arms]
    number = max((len(str(row.number)) for row in comparison.rows), default=1)
    each = max((width - number - 3 * 4) // 4, 5)
    head = ("#", "prompt", "expected", *map(words.contents, arms))
    rows = [_cells(comparison, row, arms) for row in comparison.rows]
    yield from list(cells.blocks([head, *rows], (number, *[each] * 4)))[:-1]


def _cells(comparison: Comparison, row: Row, arms: Sequence[str]) -> tuple[str, ...]:
    asked = [words.asked(row), words.contents(row.expected or "")]
    answers = (_answer(comparison, row, arm) for arm in arms)
    return (str(row.number), *(words.cut(text, LONGEST) for text in asked), *answers)


def _answer(comparison: Comparison, row: Row, arm: str) -> str:
    said = words.cut(words.said(words.answer_of(row, arm)), LONGEST)
    marks = " ".join(words.marks(comparison, row, arm))
    return f"{said}\n[{marks}]" if marks else said


def blocks(
    comparison: Comparison, width: int, most: int | None, style: Style | None, *, marked: bool
) -> Iterator[str]:
    """The rows that got worse, or all, with the baseline's answer beside the candidate's."""
    found = changes(comparison)
    worse = [change for change in found if change.outcome == "worse"]
    shown = found if most is None else worse[:most]
    paint = style or plain
    yield paint("heading", _headline(found, len(worse), len(shown)))
    for change in shown:
        yield ""
        yield paint("heading", cells.cut(_title(change), width))
        yield from _asked(change.row, width)
        yield from _answers(comparison, change.row, width, style, marked=marked)
        yield from _reasons(comparison, change, width)


def _headline(found: Sequence[Scored], worse: int, shown: int) -> str:
    rows = many(len(found), "row")
    if shown == len(found):
        return f"{rows}, the biggest regressions first"
    if not worse:  # by one grader: another may have found them worse
        graders = " or ".join(dict.fromkeys(each.grader for each in found if each.grader))
        said = f"got worse by {words.contents(graders)}" if graders else "was graded for both arms"
        return f"None of {rows} {said}"
    first = "" if shown == worse else f"; the {shown:,} biggest regressions"
    return f"{worse:,} of {rows} got worse{first}"


def _title(change: Scored) -> str:
    where = filter(None, [f"#{change.row.number}", words.place(change.row)])
    if not change.grader:
        return " · ".join(where)
    score = f"{words.contents(change.grader)} {change.before:.2f} → {change.after:.2f}"
    return " · ".join([*where, score])


def _asked(row: Row, width: int) -> Iterator[str]:
    yield from hanging("prompt    ", words.cut(words.asked(row), BRIEF), width)
    if row.expected is not None:
        expected = words.cut(words.contents(row.expected), BRIEF)
        yield from hanging("expected  ", expected or "(no text)", width)


def _answers(
    comparison: Comparison, row: Row, width: int, style: Style | None, *, marked: bool
) -> Iterator[str]:
    arms = (comparison.baseline, candidate(comparison) or comparison.baseline)
    heads = [_head(comparison, row, arm) for arm in arms]
    old, new = (words.said(words.answer_of(row, arm)) for arm in arms)
    sides = _sides(old, new) if marked else _whole(old, new)
    sides = [words.excerpt(side, LONGEST) for side in sides]
    together = _beside if width >= SIDE_BY_SIDE else _stacked
    yield from together(heads, sides, width, style)
    for arm in comparison.arms:
        if arm.name not in arms:
            said = words.cut(words.said(words.answer_of(row, arm.name)), BRIEF)
            told = f"{_head(comparison, row, arm.name)}: {said}".replace("\n", " ")
            yield from (f"│ {line}" for line in cells.wrap(told, width - 2))


def _reasons(comparison: Comparison, change: Scored, width: int) -> Iterator[str]:
    """Why the grader that ranks the row says so."""
    arm = candidate(comparison)
    for note in words.reasons(change.row, change.grader, arm) if arm else ():
        said = f"{words.contents(change.grader)}: {words.cut(note, BRIEF)}"
        yield from (f"│ {line}" for line in cells.wrap(said, width - 2))


def _head(comparison: Comparison, row: Row, arm: str) -> str:
    marks = ", ".join(words.marks(comparison, row, arm))
    return f"{words.contents(arm)} [{marks}]" if marks else words.contents(arm)


def _sides(old: str, new: str) -> list[list[Change]]:
    """Both texts with what differs; nothing is marked where next to nothing is the same."""
    changes = diff(old, new)
    if not any(kind == "same" and sum(map(str.isalnum, text)) > 1 for kind, text in changes):
        return _whole(old, new)
    return [[change for change in changes if change[0] != gone] for gone in ("added", "removed")]


def _whole(old: str, new: str) -> list[list[Change]]:
    return [[("same", old)], [("same", new)]]


def _beside(
    heads: Sequence[str], sides: Sequence[Sequence[Change]], width: int, style: Style | None
) -> Iterator[str]:
    half = (width - 5) // 2
    titles = [[cells.pad(line, half) for line in cells.wrap(head, half)] for head in heads]
    tall, blank = max(map(len, titles)), " " * half
    columns = (
        [*title, *[blank] * (tall - len(title)), *_lines(side, half, style)]
        for title, side in zip(titles, sides, strict=True)
    )
    for left, right in zip_longest(*columns, fillvalue=blank):
        yield f"│ {left} │ {right}".rstrip()


def _stacked(
    heads: Sequence[str], sides: Sequence[Sequence[Change]], width: int, style: Style | None
) -> Iterator[str]:
    for head, side in zip(heads, sides, strict=True):
        yield cells.cut(head, width)
        yield from (f"│ {line}".rstrip() for line in _lines(side, width - 2, style))


def _lines(pieces: Sequence[Change], columns: int, style: Style | None) -> list[str]:
    """Lines of so many columns, with what differs in marks or in colour."""
    if style is None:
        said = "".join(MARKS[kind].format(text) for kind, text in pieces)
        return [cells.pad(line, columns) for line in cells.wrap(said, columns)]
    lines = cells.wrap("".join(text for _, text in pieces), columns)
    spaces = (" " * (columns - cells.width(line)) for line in lines)
    return [
        line + space for line, space in zip(_painted(lines, pieces, style), spaces, strict=True)
    ]


def _painted(lines: Sequence[str], pieces: Sequence[Change], style: Style) -> Iterator[str]:
    """Wrapped lines in the colours of the pieces that they were; wrapping drops only spaces."""
    kinds = chain.from_iterable(((char, kind) for char in text) for kind, text in pieces)
    for line in lines:
        known = [(next(kind for char, kind in kinds if char == each), each) for each in line]
        runs = ((kind, "".join(c for _, c in run)) for kind, run in groupby(known, itemgetter(0)))
        yield "".join(run if kind == "same" else style(kind, run) for kind, run in runs)
