"""`check`: files → reports of everything that is wrong with them, each read once."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict

from ftjobs.data import parallel
from ftjobs.data.index import Index, overlap_between, overlap_within
from ftjobs.data.part import Inspector, Part, Rules, Seen
from ftjobs.data.reading import (
    BLOCK_BYTES,
    STDIN,
    DamagedError,
    Stamp,
    blocks_of,
    compression_of,
    head_of,
    opened,
    stamp,
)
from ftjobs.data.rules import RULES
from ftjobs.data.scan import Finding
from ftjobs.data.sniff import HEAD_BYTES, sniff
from ftjobs.data.targets import target_named
from ftjobs.errors import ConfigError
from ftjobs.schema import Issue

__all__ = ["Inspector", "Manifest", "Report", "check", "check_all"]


MAX_ISSUES = 100_000
"""Errors, and warnings, that are kept unless more are asked for: some 70 MB each."""


class Manifest(BaseModel):
    """What a file is.  Two files are the same exactly if their `sha256` is.

    `sha256` and `bytes` are those of the JSON Lines, decompressed if the file is compressed with
    `compression` ("gzip", "zstd").  `rows` is the number of lines that are not blank, `method`
    the training method of the first example ("supervised", "dpo", "reinforcement", "completion";
    None if no line is an example).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    bytes: int
    rows: int
    method: str | None
    compression: str | None = None


class Report(BaseModel):
    """What `check` found.

    `lines` counts all lines and `examples` those without an error.  `issues` are in file order,
    those on the file as a whole last; beyond the limits they are only counted, so `error_count`
    and `warning_count` may be larger than what `issues` holds.  `mtime_ns` is the file's time of
    change, in nanoseconds; 0 for standard input.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    target: str
    examples: int
    lines: int
    issues: tuple[Issue, ...]
    error_count: int
    warning_count: int
    manifest: Manifest
    mtime_ns: int

    @property
    def errors(self) -> tuple[Issue, ...]:
        """The issues for which a job would fail."""
        return tuple(issue for issue in self.issues if issue.severity == "error")

    @property
    def warnings(self) -> tuple[Issue, ...]:
        """The issues with which a job may run, but perhaps not as meant."""
        return tuple(issue for issue in self.issues if issue.severity == "warning")

    @property
    def truncated(self) -> int:
        """How many errors and warnings were counted but not kept."""
        return self.error_count + self.warning_count - len(self.errors) - len(self.warnings)

    @property
    def ok(self) -> bool:
        """Whether there is no error, kept or not."""
        return self.error_count == 0


def check(
    path: str | os.PathLike[str],
    *,
    target: str = "local",
    select: Iterable[str] = (),
    ignore: Iterable[str] = (),
    max_issues: int | None = MAX_ISSUES,
    inspectors: Sequence[Inspector] = (),
    processes: int = 1,
) -> Report:
    """Check a file of training examples for a target (a name in `TARGETS`).

    One pass; the memory grows by 16 bytes a row and with the issues kept: at most `max_issues`
    errors and as many warnings, so that neither crowds out the other (None: all).  Bad content
    never raises: it is in the report.

    Args:
        path: JSON Lines, plain or compressed with gzip or Zstandard; "-" is standard input.
        target: whose rules count.
        select: beginnings of codes, such as "FT4" or "FT801": only these are looked for.
        ignore: beginnings of codes that are not looked for.
        max_issues: how many errors, and how many warnings, are kept; None for all of them.
        inspectors: further looks at each line that has no error.
        processes: how many share the work on a large file.

    Raises:
        ConfigError: the file cannot be opened or read, or there is no such target or code.
    """
    (report,) = check_all(
        [path],
        target=target,
        select=select,
        ignore=ignore,
        max_issues=max_issues,
        inspectors=inspectors,
        processes=processes,
    )
    return report


def check_all(
    paths: Sequence[str | os.PathLike[str]],
    *,
    target: str = "local",
    select: Iterable[str] = (),
    ignore: Iterable[str] = (),
    max_issues: int | None = MAX_ISSUES,
    inspectors: Sequence[Inspector] = (),
    processes: int = 1,
) -> tuple[Report, ...]:
    """`check` several files, and each against those before it (FT811, FT812).

    Raises:
        ConfigError: as `check`, or standard input is given twice.
    """
    if [*map(Path, paths)].count(STDIN) > 1:
        raise ConfigError(
            "standard input is given twice, but can be read only once",
            hint="Write it to a file first.",
        )
    rules = Rules(target_named(target), codes(select, ignore), max_issues, tuple(inspectors))
    reports: list[Report] = []
    known: list[tuple[str, Index]] = []
    for path in map(Path, paths):
        checker = _Checker(path, rules)
        checker.read(processes)
        checker.overlap(known)
        reports.append(checker.report())
        known.append((str(path), checker.index))
    return tuple(reports)


def codes(select: Iterable[str], ignore: Iterable[str]) -> frozenset[str]:
    """The codes that begin with one of `select` (all, if it is empty) and with none of `ignore`.

    Raises:
        ConfigError: no code begins like that.
    """
    wanted, unwanted = (tuple(word.upper() for word in words) for words in (select, ignore))
    for word in (*wanted, *unwanted):
        if not word or not any(code.startswith(word) for code in RULES):
            hint = "Codes look like FT401; FT4 stands for all that begin so."
            raise ConfigError(f"no code begins with {word[:20]!r}", hint=hint)
    chosen = (code for code in RULES if not wanted or code.startswith(wanted))
    return frozenset(code for code in chosen if not unwanted or not code.startswith(unwanted))


class _Checker:
    """The checks of one file, and what they found."""

    def __init__(self, path: Path, rules: Rules) -> None:
        self._path = path
        self._rules = rules
        self._part = Part(rules)
        self._digest = hashlib.sha256()
        self._bytes = self._mtime_ns = 0
        self._compression: str | None = None

    @property
    def index(self) -> Index:
        return self._part.index

    def read(self, processes: int) -> None:
        """Read the file, once, and look at every line."""
        with opened(self._path) as file:
            before = stamp(file)
            self._mtime_ns = 0 if self._path == STDIN else before.mtime_ns
            self._compression = compression_of(file)
            try:
                self._read(file, before, processes)
            except DamagedError as error:
                self._part.add(Finding(error.code, str(error)), self._part.lines + 1)
            if stamp(file) != before:
                self._part.add(Finding("FT504", "the file changed while it was read"), None)

    def _read(self, file: BinaryIO, before: Stamp, processes: int) -> None:
        head = head_of(file, HEAD_BYTES)
        finding = sniff(head, self._path)
        if finding is not None:
            self._part.add(finding, None)
            self._feed(head)
            for block in iter(lambda: file.read(BLOCK_BYTES), b""):
                self._feed(block)
            return
        if not self._shared(file, head, before, processes):
            for data in blocks_of(file, head=head, feed=self._feed):
                self._part.block(data)
        self._whole_file()

    def _shared(self, file: BinaryIO, head: bytes, before: Stamp, processes: int) -> bool:
        """Whether other processes read the file."""
        large = self._compression is None and before.size >= parallel.LEAST_BYTES
        if processes < 2 or not large or self._rules.inspectors or self._path == STDIN:
            return False

        def digest() -> None:
            for data in chain([head], iter(lambda: file.read(BLOCK_BYTES), b"")):
                self._feed(data)

        part = parallel.read_shared(self._path, before, self._rules, processes, digest)
        if part is None:  # start over
            file.seek(len(head))
            self._digest, self._bytes = hashlib.sha256(), 0
            return False
        self._part = part
        return True

    def _feed(self, data: bytes) -> None:
        self._digest.update(data)
        self._bytes += len(data)

    def _whole_file(self) -> None:
        """What only the end of the file shows."""
        part, target = self._part, self._rules.target
        method = part.method
        if not part.rows:
            what = "holds only blank lines" if part.lines else "is empty"
            part.add(Finding("FT501", f"the file {what}"), None)
        elif part.rows < target.min_examples:
            part.add(Finding("FT502", self._too_few()), None, severity=target.too_few)
        if method is not None and method not in target.methods:
            message = f"{target.name} does not train with {method} examples"
            part.add(Finding("FT507", message), None)
        most = target.limit(method)
        if most is not None and part.rows > most:
            message = f"file has {part.rows:,} examples; {target.name} takes at most {most:,}"
            part.add(Finding("FT505", message), None)
        if target.max_bytes is not None and self._bytes > target.max_bytes:
            message = f"file has {self._bytes:,} bytes; {target.name} takes {target.max_bytes:,}"
            part.add(Finding("FT506", message), None)
        if self._compression and target.hosted:
            message = f"the file is compressed ({self._compression}); {target.name} takes it plain"
            part.add(Finding("FT106", message), None)

    def _too_few(self) -> str:
        rows, target = self._part.rows, self._rules.target
        has = f"file has {rows} example{'s' if rows > 1 else ''}"
        strict = target.too_few == "error"
        wants = "but must have at least" if strict else "but hosted services want at least"
        return f"{has}, {wants} {target.min_examples}"

    def overlap(self, known: Sequence[tuple[str, Index]]) -> None:
        """Compare the rows with each other, and with those of other files."""
        asked_for = self._rules.codes & {"FT801", "FT802", "FT811", "FT812"}
        if not asked_for:
            return
        answered = self._part.method in {"supervised", "completion"}
        contradictions = "FT802" in asked_for and answered
        for line, finding in overlap_within(self.index, contradictions=contradictions):
            self._overlaps(line, finding)
        for line, finding in overlap_between(self.index, known):
            self._overlaps(line, finding)

    def _overlaps(self, line: int, finding: Finding) -> None:
        source = self.index.rows[line - 1].to_bytes(8, "big")
        self._part.add(finding, line, source)

    def report(self) -> Report:
        """What was found, in file order."""
        part = self._part
        return Report(
            path=self._path,
            target=self._rules.target.name,
            examples=part.examples,
            lines=part.lines,
            issues=tuple(self._issue(seen) for seen in sorted(part.seen, key=_place)),
            error_count=part.counts["error"],
            warning_count=part.counts["warning"],
            manifest=Manifest(
                sha256=self._digest.hexdigest(),
                bytes=self._bytes,
                rows=part.rows,
                method=part.method,
                compression=self._compression,
            ),
            mtime_ns=self._mtime_ns,
        )

    def _issue(self, seen: Seen) -> Issue:
        finding, severity, line, fingerprint = seen
        rule, rows = RULES[finding.code], self._part.foreign[finding.code]
        more = f", as in {rows - 1} more lines" if rows > 1 else ""
        return Issue.model_construct(  # of what is known to be valid: a third of the time,
            _ISSUE,  # and half the memory where there are a million
            code=finding.code,
            severity=severity,
            message=finding.message + more,
            path=str(self._path),
            line=line,
            column=None if finding.at is None else finding.at + 1,
            pointer=finding.pointer,
            hint=rule.fix,
            fingerprint=fingerprint,
            fixable=rule.fixable,
        )


_ISSUE = {*Issue.model_fields}


def _place(seen: Seen) -> tuple[float, int, str]:
    """Where a finding stands: the file as a whole comes last."""
    line = math.inf if seen.line is None else seen.line
    return line, seen.finding.at or 0, seen.finding.code
