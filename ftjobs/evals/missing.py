"""Answers and scores that could not be had: how many rows they cost, and what is said of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ftjobs.evals.graders.base import Function, Grader, PairGrader
from ftjobs.evals.result import Row

__all__ = ["missing_share", "missing_warnings"]


def missing_share(rows: Sequence[Row], grader: Grader | PairGrader, arms: tuple[str, str]) -> float:
    """The share of the rows which a verdict on two arms would have to do without."""
    own = [row for row in rows if row.set == ""]
    lacking = [*(row for row in own if _failed(row, arms)), *_ungraded(own, grader, arms)]
    return len(lacking) / len(own)


def missing_warnings(
    rows: Sequence[Row], graders: Sequence[Grader | PairGrader], arms: Sequence[str]
) -> Iterator[str]:
    """Sentences about them, for people."""
    failed = [a.failure for row in rows for each in row.answers.values() for a in each if a.failure]
    if failed:
        yield (
            f"answers that could not be had: {len(failed):,}, whose rows are left out; the first: "
            f"{failed[0]}. Run it again to ask only for those"
        )
    for grader in graders:
        for arm in arms[1:]:
            pair = (arms[0], arm)
            if ungraded := _ungraded(rows, grader, pair):
                yield (
                    f"{grader.name} could not grade {len(ungraded):,} of {len(rows):,} rows of "
                    f"{arm}, which are left out; the first: {_reason(ungraded[0], grader, pair)}"
                )


def _failed(row: Row, arms: tuple[str, str]) -> bool:
    return any(answer.failure for arm in arms for answer in row.answers[arm])


def _ungraded(rows: Sequence[Row], grader: Grader | PairGrader, arms: tuple[str, str]) -> list[Row]:
    """Rows that were answered, and lack a score all the same: a judge that failed, say.

    A prompt that lacks what the grader needs is no such row.  A function then scores neither arm.
    Other graders fail at both arms too; those that need an expected answer are known by what they
    did score.
    """
    answered = [row for row in rows if not _failed(row, arms)]
    scored = {row.number: _scored(row, grader, arms) for row in answered}
    if isinstance(grader, Function):
        return [row for row in answered if len(set(scored[row.number])) > 1]
    graded = [row for row in answered if all(scored[row.number])]
    needs = bool(graded) and all(row.expected is not None for row in graded)
    wanted = [row for row in answered if row.expected is not None or not needs]
    return [row for row in wanted if not all(scored[row.number])]


def _scored(row: Row, grader: Grader | PairGrader, arms: tuple[str, str]) -> list[bool]:
    asked = arms[1:] if isinstance(grader, PairGrader) else arms
    return [row.score(grader.name, arm) is not None for arm in asked]


def _reason(row: Row, grader: Grader | PairGrader, arms: tuple[str, str]) -> str:
    if isinstance(grader, PairGrader):
        notes = [note for each in row.preferences[grader.name][arms[1]] for note in each.notes]
    else:
        marks = [mark for arm in arms for mark in row.marks[grader.name][arm]]
        notes = [mark.note for mark in marks if mark.score is None]
    return next(filter(None, notes), "no reason given")
