"""Accepted warnings: what a team has looked at and lives with, in a file under version control.

    {
     "version": 1,
     "accepted": [
      {"code": "FT107", "fingerprint": "2c1b…", "count": 2},
      …

An entry knows an issue by its code and fingerprint, which stay when the row moves, and accepts
it `count` times.  Errors are never accepted: a job would still fail on them.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ftjobs.data.checker import Report
from ftjobs.errors import ConfigError
from ftjobs.schema import Issue

__all__ = ["Baseline", "Entry", "Hidden"]


class Entry(BaseModel):
    """A warning that is accepted `count` times."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    fingerprint: Annotated[str, Field(min_length=1)]
    count: Annotated[int, Field(ge=1)] = 1


class Hidden(NamedTuple):
    """Reports without the accepted warnings, how many these were, and the entries left over.

    `stale` entries match less often than they say: the rows were repaired or removed.
    """

    reports: tuple[Report, ...]
    accepted: int
    stale: tuple[Entry, ...]


class Baseline(BaseModel):
    """The accepted warnings, sorted by code and fingerprint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    accepted: tuple[Entry, ...] = ()

    @classmethod
    def of(cls, reports: Iterable[Report]) -> Baseline:
        """The baseline that accepts every warning of these reports."""
        counts = Counter(
            _key(issue) for report in reports for issue in report.issues if _can_accept(issue)
        )
        return cls(
            accepted=tuple(
                Entry(code=code, fingerprint=fingerprint, count=count)
                for (code, fingerprint), count in sorted(counts.items())
            )
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Baseline:
        """Read a baseline.

        Raises:
            ConfigError: there is no such file, or it is no baseline.
        """
        hint = "Write one with ftjobs data check FILES --write-baseline FILE."
        try:
            return cls.model_validate_json(Path(path).read_bytes())
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror or error}", hint=hint) from None
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise ConfigError(f"{path}: no baseline: {where}: {first['msg']}", hint=hint) from None

    def dump(self) -> str:
        """The file's text: JSON, an entry a line, so that versions can be compared."""
        entries = ",\n".join(f"  {json.dumps(entry.model_dump())}" for entry in self.accepted)
        listed = f"[\n{entries}\n ]" if entries else "[]"
        return f'{{\n "version": {self.version},\n "accepted": {listed}\n}}\n'

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file; one that is there is replaced as a whole.

        Raises:
            ConfigError: it cannot be written.
            FtjobsError: the disk is full.
        """
        from ftjobs.disk import write_text

        write_text(Path(path), self.dump())

    def hide(self, reports: Iterable[Report]) -> Hidden:
        """The reports without the warnings that are accepted.

        Give it reports that kept every issue (`max_issues=None`): what a report has only counted
        cannot be known by its fingerprint, and looks like an entry left over.
        """
        left: Counter[tuple[str, str]] = Counter()
        for entry in self.accepted:  # added up: a merge of two versions may repeat one
            left[entry.code, entry.fingerprint] += entry.count
        before = left.total()
        shown = tuple(_without(report, left) for report in reports)
        stale = (
            Entry(code=code, fingerprint=fingerprint, count=count)
            for (code, fingerprint), count in sorted(left.items())
            if count
        )
        return Hidden(shown, before - left.total(), tuple(stale))


def _without(report: Report, left: Counter[tuple[str, str]]) -> Report:
    """The report without what `left` accepts, which is taken off it."""
    kept = tuple(_not_accepted(report.issues, left))
    gone = Counter(issue.severity for issue in report.issues)
    gone.subtract(issue.severity for issue in kept)
    return report.model_copy(
        update={"issues": kept, "warning_count": report.warning_count - gone["warning"]}
    )


def _not_accepted(issues: Iterable[Issue], left: Counter[tuple[str, str]]) -> Iterator[Issue]:
    for issue in issues:
        if _can_accept(issue) and left[_key(issue)] > 0:
            left[_key(issue)] -= 1
        else:
            yield issue


def _can_accept(issue: Issue) -> bool:
    return issue.severity != "error" and bool(issue.fingerprint)


def _key(issue: Issue) -> tuple[str, str]:
    return issue.code, issue.fingerprint
