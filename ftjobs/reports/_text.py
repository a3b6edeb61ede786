"""A comparison as plain text: answers side by side, then counts and means."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ftjobs.reports.cells import blocks, clean

if TYPE_CHECKING:  # a report needs no library but the standard one
    from ftjobs.evals import Answer, Comparison, Row

NARROWEST = 60


def text(result: Comparison, *, width: int = 100) -> str:
    """`result` as a table of at most `width` columns (60 at least) with its totals below.

    It counts and takes means; it does not judge whether a difference is more than chance.
    """
    number = len(str(len(result.rows))) + 1
    columns = (max(width, NARROWEST) - number - 3 * 4) // 4
    rows = [_cells(place, row) for place, row in enumerate(result.rows, start=1)]
    head = ("#", "prompt", "expected", "base", "tuned")
    lines = [*blocks([head, *rows], (number, *[columns] * 4)), *_totals(result)]
    return "\n".join(lines)


def _cells(place: int, row: Row) -> tuple[str, ...]:
    base_marks, tuned_marks = (
        " ".join(_mark(name, pair[side]) for name, pair in row.scores.items()) for side in (0, 1)
    )
    return (
        str(place),
        row.prompt.question,
        row.prompt.expected or "",
        _said(row.base, base_marks),
        _said(row.tuned, tuned_marks),
    )


def _said(answer: Answer, marks: str) -> str:
    notes = [note for note in (marks, answer.finish_reason == "length" and "cut short") if note]
    return "\n".join([answer.text.strip("\n") or "(no text)", *(f"[{note}]" for note in notes)])


def _mark(name: str, score: float) -> str:
    if name == "exact":
        return "✓ exact" if score == 1 else "✗ exact"
    return f"{name} {score:.2f}"


def _totals(result: Comparison) -> Iterator[str]:
    yield f"base   {clean(result.base)}"
    yield f"tuned  {clean(result.tuned)}"
    ungraded = len(result.rows)
    for name in result.graders:
        means, graded = result.means(name), result.graded(name)
        ungraded = min(ungraded, len(result.rows) - graded)
        if means is None:
            yield f"{name}: no prompt has an expected answer"
        elif name == "exact":
            base, tuned = (round(mean * graded) for mean in means)
            yield f"exact: base {base} of {graded}, tuned {tuned} of {graded}"
        else:
            yield f"{name}: mean base {means[0]:.3f}, tuned {means[1]:.3f} over {graded} rows"
    if ungraded and result.graders:
        yield f"{ungraded} of {len(result.rows)} prompts have no expected answer: not graded"
    yield f"sampling: {_sampling(result)}"


def _sampling(result: Comparison) -> str:
    given = result.sampling.model_dump(exclude_defaults=True)
    return ", ".join(f"{name} {value}" for name, value in given.items()) or "the model's defaults"
