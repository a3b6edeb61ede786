"""What a conversion did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

MAX_REASONS = 100
"""Reasons told apart; rows with any further reason are counted together."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Place(_Frozen):
    """A row of the source: its number, from 1, in the report's unit.

    `detail` says more about it, and holds nothing of its text.
    """

    number: int
    detail: str = ""


class Tally(_Frozen):
    """How many rows something holds for, and the first of them."""

    reason: str
    count: int
    places: tuple[Place, ...]


class ConversionReport(_Frozen):
    """What `convert` read, wrote and dropped: `read` is `written` plus all that was dropped,
    but for turns of one conversation, each a row that was read.

    `container` and `shape` are what the source was read as (names that `--from` takes; `shape` is
    None if no row has one), `detected` says it in words, `encoding` is a text's.  `unit` is what
    places count: "line", "row", or "item" of a list.  `dropped` says why rows became no example,
    `notes` what else there is to know about rows that did, `unused` lists columns and keys that
    no example holds. `preview` are the first examples, if they were asked for; it is not part of
    a dump.
    """

    source: str
    out: str | None
    container: str
    shape: str | None
    detected: str
    encoding: str | None
    unit: str
    read: int
    written: int
    dropped: tuple[Tally, ...]
    notes: tuple[Tally, ...]
    unused: tuple[str, ...]
    preview: tuple[Mapping[str, Any], ...] = Field((), exclude=True, repr=False)

    @property
    def dropped_rows(self) -> int:
        """How many rows became no example."""
        return sum(tally.count for tally in self.dropped)

    @property
    def ok(self) -> bool:
        """Whether anything was written."""
        return self.written > 0


class Counter:
    """Counts reasons and keeps the first `keep` places of each."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._counts: dict[str, int] = {}
        self._places: dict[str, list[Place]] = {}

    def add(self, reason: str, number: int, detail: str = "") -> None:
        """Count one row."""
        if reason not in self._counts and len(self._counts) >= MAX_REASONS:
            reason = "other reasons"
        self._counts[reason] = self._counts.get(reason, 0) + 1
        places = self._places.setdefault(reason, [])
        if len(places) < self._keep:
            places.append(Place(number=number, detail=detail))

    def tallies(self) -> tuple[Tally, ...]:
        """The most frequent reason first."""
        ranked = sorted(self._counts.items(), key=lambda item: -item[1])
        return tuple(
            Tally(reason=reason, count=count, places=tuple(self._places[reason]))
            for reason, count in ranked
        )
