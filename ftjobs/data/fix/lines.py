"""One line → the lines that replace it, and what was done to it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ftjobs.data import private
from ftjobs.data.fix.edits import Fix, Row, Trail, compatible, edited
from ftjobs.data.fix.table import Mode
from ftjobs.data.scan import Finding
from ftjobs.data.slow import Explained, explain_line

MAX_ROUNDS = 200
"""Rounds of repairs for a line: every round repairs all it can, so that few lines need five."""


class Mend(NamedTuple):
    """A repair that was made.  `at` is the offset in the source line, in characters."""

    code: str
    what: str
    at: int
    pointer: str


class Mended(NamedTuple):
    """A line of the new file.

    It has to go if `why` names a reason.  `method` is that of the row; None where it cannot be
    known.
    """

    text: str
    method: str | None
    mends: tuple[Mend, ...] = ()
    why: Finding | None = None


class _Draft(NamedTuple):
    text: str
    trail: Trail
    mends: tuple[Mend, ...] = ()


def mend(line: str, mode: Mode) -> Iterator[Mended]:
    """The lines that replace a line: more than one where it held several values.

    A line that stays unreadable is left as it is.  What the mode drops has its reason with it.
    """
    waiting = [_Draft(line, Trail())]
    while waiting:
        before = waiting.pop()
        draft, explained = _repaired(before, mode)
        if "\n" in draft.text:
            waiting += reversed(list(_parts(draft)))
        else:
            why = _reason(draft, explained, mode)
            kept = before if _is_unreadable(draft, explained) else draft
            yield Mended(kept.text, explained.method, kept.mends, why)


def _repaired(draft: _Draft, mode: Mode) -> tuple[_Draft, Explained]:
    """The draft after all repairs, or as soon as it falls into several lines."""
    for _ in range(MAX_ROUNDS):
        explained = _explained(draft.text.encode(), mode)
        made = _round(Row(draft.text), explained.findings, mode)
        if not made:
            break
        draft = _applied(draft, made)
        if "\n" in draft.text:
            break
    return draft, explained


def _explained(line: bytes, mode: Mode) -> Explained:
    """What is wrong with a line; what is private in it counts only where it may be replaced."""
    explained = explain_line(line, target=mode.target)
    if not mode.unsafe:
        return explained
    return explained._replace(findings=(*explained.findings, *private.inspect(line)))


def _round(row: Row, findings: Sequence[Finding], mode: Mode) -> list[tuple[Fix, Finding]]:
    """The repairs that can be made at once: those of the lowest hundred of codes.

    What is said about a row only counts once the line can be read.
    """
    ranked = sorted(findings, key=lambda one: one.code)
    for _, group in itertools.groupby(ranked, key=lambda one: one.code[:3]):
        found = ((mode.fix(row, one), one) for one in group)
        fixes = [(fix, one) for fix, one in found if fix is not None and fix.edits]
        if fixes:
            return [fixes[place] for place in compatible(fixes)]
    return []


def _applied(draft: _Draft, made: Sequence[tuple[Fix, Finding]]) -> _Draft:
    mends = [
        Mend(one.code, fix.what, draft.trail.source(one.at or 0), one.pointer) for fix, one in made
    ]
    text, step = edited(draft.text, [edit for fix, _ in made for edit in fix.edits])
    return _Draft(text, draft.trail.then(step), (*draft.mends, *mends))


def _parts(draft: _Draft) -> Iterator[_Draft]:
    """The lines of a draft; what was done so far counts for the first."""
    start = 0
    for number, text in enumerate(draft.text.split("\n")):
        yield _Draft(text, draft.trail.cut(start), () if number else draft.mends)
        start += len(text) + 1


def _reason(draft: _Draft, explained: Explained, mode: Mode) -> Finding | None:
    """The finding for which a row has to go."""
    row = Row(draft.text)
    for finding in explained.findings:
        fix = mode.fix(row, finding)
        if mode.drops(finding.code) or (fix is not None and fix.drop):
            return finding
    return None


def _is_unreadable(draft: _Draft, explained: Explained) -> bool:
    if all(one.code > "FT3" or one.code == "FT107" for one in explained.findings):
        return False
    return Row(draft.text).root is None
