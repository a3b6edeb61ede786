"""`check`: a file → a report of everything that is wrong with it, in one pass."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict

from ftjobs.data.fast import LONGEST, accept
from ftjobs.data.rules import RULES, Severity
from ftjobs.data.scan import Finding
from ftjobs.data.slow import FOREIGN, Explained, explain_line
from ftjobs.data.sniff import BOM, HEAD_BYTES, sniff
from ftjobs.data.targets import Target, target_named
from ftjobs.errors import ConfigError
from ftjobs.schema import Issue

MAX_LINE_BYTES = 160 * 2**20
"""The longest line that is read: ten images of 10 MB in base64, and room for the text."""

MAX_LINE_ISSUES = 100
"""Issues kept of one line; the others are counted.  More only repeat the same mistake."""

_BLOCK = 2**20


class Manifest(BaseModel):
    """What a file is.  Two files are the same exactly if their `sha256` is.

    `bytes` is the size, `rows` the number of lines that are not blank, `method` the training
    method of the first example ("supervised", "dpo"; None if no line is an example).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    bytes: int
    rows: int
    method: str | None


class Report(BaseModel):
    """What `check` found.

    `lines` counts all lines and `examples` those without an error.  `issues` are in file order,
    those on the file as a whole last; beyond the limits they are only counted, so `error_count`
    and `warning_count` may be larger than what `issues` holds.  `mtime_ns` is the file's time of
    change, in nanoseconds.
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
        """How many issues were counted but not kept."""
        return self.error_count + self.warning_count - len(self.issues)

    @property
    def ok(self) -> bool:
        """Whether there is no error, kept or not."""
        return self.error_count == 0


def check(
    path: str | os.PathLike[str], *, target: str = "local", max_issues: int | None = None
) -> Report:
    """Check a file of training examples for a target (a name in `TARGETS`).

    One pass; the memory grows with the issues kept, not with the file: at most `max_issues`
    errors and as many warnings, so that neither crowds out the other (None: all).  Bad content
    never raises: it is in the report.

    Raises:
        ConfigError: the file cannot be opened or read, or there is no such target.
    """
    profile = target_named(target)
    path = Path(path)
    with opened(path) as file:
        before = os.fstat(file.fileno())
        checker = _Checker(path, profile, max_issues)
        finding = sniff(file.read(HEAD_BYTES), path)
        file.seek(0)
        if finding is not None:
            checker.add(finding, None)
            for block in iter(lambda: file.read(_BLOCK), b""):
                checker.digest.update(block)
        else:
            for number, line in enumerate(lines_of(file, feed=checker.digest.update), start=1):
                checker.line(number, line)
            checker.whole_file()
        if changed(file, before.st_size, before.st_mtime_ns):
            checker.add(Finding("FT504", "the file changed while it was read"), None)
    return checker.report(before)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A regular file, open for reading bytes; every OSError becomes a ConfigError."""
    if "\0" in str(path):
        raise ConfigError("the path holds a zero byte", hint="Check the path.")
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe could block for ever
            what = "a folder" if path.is_dir() else "not a regular file"
            raise ConfigError(f"{path}: is {what}", hint="Give the path of a .jsonl file.")
        with path.open("rb", buffering=_BLOCK) as file:
            yield file
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file", hint="Check the path.") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None


def changed(file: BinaryIO, size: int, mtime_ns: int) -> bool:
    """Whether an open file has another size or time of change than it had."""
    now = os.fstat(file.fileno())
    return (now.st_size, now.st_mtime_ns) != (size, mtime_ns)


def lines_of(
    file: BinaryIO | io.BytesIO,
    *,
    feed: Callable[[bytes], object] = len,
    limit: int = MAX_LINE_BYTES,
) -> Iterator[bytes | None]:
    """The lines with their ends, None for one of more than `limit` bytes.

    `feed` is given every byte, for a checksum.  Only a line feed ends a line.
    """
    while line := file.readline(limit):
        feed(line)
        if len(line) < limit or line.endswith(b"\n"):
            yield line
            continue
        while block := file.readline(_BLOCK):
            feed(block)
            if block.endswith(b"\n"):
                break
        yield None


def _is_error(finding: Finding) -> bool:
    return RULES[finding.code].severity == "error"


class _Checker:
    """The state of one pass."""

    def __init__(self, path: Path, target: Target, max_issues: int | None) -> None:
        self.digest = hashlib.sha256()
        self._path = path
        self._target = target
        self._room = max_issues
        self._issues: list[Issue] = []
        self._counts: dict[Severity, int] = {"error": 0, "warning": 0}
        self._foreign: dict[str, tuple[int | None, int]] = {}  # code → place in issues, rows
        self._method: str | None = None
        self._lines = self._rows = self._examples = 0

    def line(self, number: int, line: bytes | None) -> None:
        """Check one line; None stands for one that is too long."""
        self._lines = number
        if line is None:
            self._rows += 1
            message = f"the line has more than {MAX_LINE_BYTES // 2**20} MiB"
            self.add(Finding("FT210", message), number)
            return
        if number == 1 and line.startswith(BOM):
            self.add(Finding("FT101", "the file starts with a byte order mark"), number)
            line = line.removeprefix(BOM)
        if len(line) <= LONGEST and (method := accept(line)):
            self._row(number, method, sound=True)
        else:
            self._explain(number, explain_line(line))

    def _explain(self, number: int, explained: Explained) -> None:
        method, findings = explained
        if findings and findings[0].code == "FT107":
            self.add(findings[0], number)
            return
        self._row(number, method, sound=not any(map(_is_error, findings)))
        ranked = sorted(findings, key=lambda finding: not _is_error(finding))
        kept = set(ranked[:MAX_LINE_ISSUES])
        for finding in findings:
            self._tally(finding, number, keep=finding in kept)

    def _row(self, number: int, method: str | None, *, sound: bool) -> None:
        self._rows += 1
        self._method = self._method or method
        if method is not None and method != self._method:
            message = f"this {method} example is in a {self._method} file"
            self.add(Finding("FT503", message, 0), number)
        elif sound:
            self._examples += 1

    def _tally(self, finding: Finding, number: int, *, keep: bool) -> None:
        """Add a finding, but only the first of every foreign shape."""
        if finding.code not in FOREIGN:
            self.add(finding, number, keep=keep)
        elif finding.code in self._foreign:
            place, rows = self._foreign[finding.code]
            self._foreign[finding.code] = (place, rows + 1)
        else:
            kept = self.add(finding, number, keep=keep)
            self._foreign[finding.code] = (len(self._issues) - 1 if kept else None, 1)

    def add(
        self,
        finding: Finding,
        line: int | None,
        *,
        severity: Severity | None = None,
        keep: bool = True,
    ) -> bool:
        """Count a finding, and keep it as an issue if there is room; say whether it was kept."""
        rule = RULES[finding.code]
        severity = severity or rule.severity
        self._counts[severity] += 1
        if not keep or (self._room is not None and self._counts[severity] > self._room):
            return False
        issue = Issue(
            code=finding.code,
            severity=severity,
            message=finding.message,
            path=str(self._path),
            line=line,
            column=None if finding.at is None else finding.at + 1,
            pointer=finding.pointer,
            hint=rule.fix,
        )
        self._issues.append(issue)
        return True

    def whole_file(self) -> None:
        """What only the end of the file shows."""
        for place, rows in self._foreign.values():
            if place is not None and rows > 1:
                issue = self._issues[place]
                message = f"{issue.message}, as in {rows - 1} more lines"
                self._issues[place] = issue.model_copy(update={"message": message})
        least = self._target.min_examples
        if not self._rows:
            what = "holds only blank lines" if self._lines else "is empty"
            self.add(Finding("FT501", f"the file {what}"), None)
        elif self._rows < least:
            has = f"file has {self._rows} example{'s' if self._rows > 1 else ''}"
            strict = self._target.too_few == "error"
            wants = "but must have at least" if strict else "but hosted services want at least"
            message = f"{has}, {wants} {least}"
            self.add(Finding("FT502", message), None, severity=self._target.too_few)

    def report(self, status: os.stat_result) -> Report:
        return Report(
            path=self._path,
            target=self._target.name,
            examples=self._examples,
            lines=self._lines,
            issues=tuple(self._issues),
            error_count=self._counts["error"],
            warning_count=self._counts["warning"],
            manifest=Manifest(
                sha256=self.digest.hexdigest(),
                bytes=status.st_size,
                rows=self._rows,
                method=self._method,
            ),
            mtime_ns=status.st_mtime_ns,
        )
