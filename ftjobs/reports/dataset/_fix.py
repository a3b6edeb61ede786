"""What a repair did, for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ftjobs.reports.dataset._words import many, one_line

if TYPE_CHECKING:
    from ftjobs.data.fix import FixReport

DROPS = 10
"""Dropped rows that are named."""


def fixes(report: FixReport) -> str:
    """What was repaired, by code, and which rows were dropped and why."""
    return "\n".join(_lines(report))


def _lines(report: FixReport) -> Iterator[str]:
    source, new = one_line(str(report.source)), one_line(str(report.path))
    if not report.changed:
        yield f"{new}: nothing of {source} could be repaired: it is a copy"
        return
    repaired = many(sum(report.repaired.values()), "repair")
    yield f"{new}: {repaired} of {source}{_by_code(report.repaired)}"
    if dropped := sum(report.dropped.values()):
        yield f"{new}: {many(dropped, 'row')} dropped{_by_code(report.dropped)}"
    for drop in report.drops[:DROPS]:
        yield f"  {source}:{drop.line}: {drop.code} {one_line(drop.reason)}"
    if dropped > DROPS:
        yield f"  and {dropped - DROPS:,} more: --json names them"


def _by_code(counts: Mapping[str, int]) -> str:
    listed = ", ".join(f"{code} {count:,}×" for code, count in sorted(counts.items()))
    return f" ({listed})" if listed else ""
