"""What changed from the baseline to the candidate, row by row, and which rows a page shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from ftjobs.evals.result import Comparison, Row

__all__ = ["Change", "Outcome", "candidate", "changes", "chosen"]

Outcome = Literal["worse", "equal", "better", "ungraded"]


class Change(NamedTuple):
    """A row's scores before and after, by the first grader that scored both arms.

    Graders are asked in the order of the comparison, after the one that decides.  For a
    preference `before` is 0.5 and `after` the arm's score.
    """

    row: Row
    grader: str = ""
    before: float = 0.0
    after: float = 0.0
    preferred: bool = False
    rank: int = 0

    @property
    def outcome(self) -> Outcome:
        """How the candidate did."""
        if not self.grader:
            return "ungraded"
        if self.after == self.before:
            return "equal"
        return "better" if self.after > self.before else "worse"

    @property
    def size(self) -> float:
        """The score after less the one before."""
        return self.after - self.before


def candidate(comparison: Comparison) -> str | None:
    """The arm that the verdict is about, else the second one; None where there is no other."""
    if comparison.verdict is not None:
        return comparison.verdict.arm
    return comparison.arms[1].name if len(comparison.arms) > 1 else None


def changes(comparison: Comparison) -> list[Change]:
    """A change for each row: the biggest regressions first, rows without a score last.

    What the deciding grader found comes before what another one found: their scales may differ.
    """
    arm, names = candidate(comparison), list(_graders(comparison))
    found = [_change(row, comparison.baseline, arm, names) for row in comparison.rows]
    return sorted(found, key=_order)


def _order(change: Change) -> tuple[int, int, float, int]:
    place = ("worse", "equal", "better", "ungraded").index(change.outcome)
    return place, change.rank, change.size, change.row.number


def _graders(comparison: Comparison) -> Iterator[str]:
    names = [grading.name for grading in comparison.graders]
    first = comparison.verdict.grader if comparison.verdict is not None else None
    if first is not None:
        yield first
    yield from (name for name in names if name != first)


def _change(row: Row, baseline: str, arm: str | None, graders: Sequence[str]) -> Change:
    if arm is None:
        return Change(row)
    for rank, grader in enumerate(graders):
        preferred = not row.marks.get(grader) and grader in row.preferences
        before = 0.5 if preferred else row.score(grader, baseline)
        after = row.score(grader, arm)
        if before is not None and after is not None:
            return Change(row, grader, before, after, preferred, rank)
    return Change(row)


def chosen(found: Sequence[Change], most: int) -> list[Change]:
    """At most `most` of the changes, the most telling ones first.

    Half of the room is for the biggest regressions, a quarter for the biggest improvements; rows
    from all over the file fill the rest, so that what stayed equal is seen as well.
    """
    worse = [change for change in found if change.outcome == "worse"]
    better = [change for change in found if change.outcome == "better"]
    first = [*worse[: most // 2], *sorted(better, key=_most_gained)[: most // 4]]
    taken = {change.row.number for change in first}
    rest = sorted(
        (change for change in found if change.row.number not in taken),
        key=lambda change: change.row.number,
    )
    room = most - len(first)
    return first + (
        rest if len(rest) <= room else [rest[i * len(rest) // room] for i in range(room)]
    )


def _most_gained(change: Change) -> tuple[int, float, int]:
    return change.rank, -change.size, change.row.number
