"""What was done to a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ftjobs.data.checker import Report

MAX_PATCHES = 1000
"""Patches, and dropped lines, that a report lists; the others are counted."""


class _Noun(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Patch(_Noun):
    """One repair.

    It was made in `line` of the source at `column` (both from 1, column in characters; None where
    the line or the file as a whole is meant), inside the value at `pointer` (RFC 6901), and stands
    in `new_line` of the new file (None where nothing is left of the line).  `what` says in words
    what was done, without any text of the row.
    """

    code: str
    line: int
    column: int | None = None
    pointer: str = ""
    what: str
    new_line: int | None = None


class Drop(_Noun):
    """A row that is not in the new file: `line` of the source (from 1), and why."""

    code: str
    line: int
    reason: str


class FixReport(_Noun):
    """What `fix` did to `source`, and what is left to do in the new file, `path`.

    `repaired` and `dropped` count all repairs and all dropped rows by code; `patches` and `drops`
    list the first `MAX_PATCHES` of each, in file order.  Only `unsafe` repairs drop rows.
    `remaining` is what `check` says about the new file.
    """

    source: Path
    path: Path
    unsafe: bool
    repaired: Mapping[str, int]
    dropped: Mapping[str, int]
    patches: tuple[Patch, ...]
    drops: tuple[Drop, ...]
    remaining: Report

    @property
    def changed(self) -> bool:
        """Whether the new file differs from the source."""
        return bool(self.repaired or self.dropped)


class Journal:
    """Collects patches and drops while a file is repaired, in bounded memory."""

    def __init__(self) -> None:
        self.repaired: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.patches: list[Patch] = []
        self.drops: list[Drop] = []

    def patch(self, patch: Patch) -> None:
        """Count a repair, and list it if there is room."""
        self.repaired[patch.code] += 1
        if len(self.patches) < MAX_PATCHES:
            self.patches.append(patch)

    def drop(self, drop: Drop) -> None:
        """Count a dropped row, and list it if there is room."""
        self.dropped[drop.code] += 1
        if len(self.drops) < MAX_PATCHES:
            self.drops.append(drop)

    def report(self, source: Path, path: Path, *, unsafe: bool, remaining: Report) -> FixReport:
        """The report of all that was collected."""
        return FixReport(
            source=source,
            path=path,
            unsafe=unsafe,
            repaired=dict(sorted(self.repaired.items())),
            dropped=dict(sorted(self.dropped.items())),
            patches=tuple(self.patches),
            drops=tuple(self.drops),
            remaining=remaining,
        )
