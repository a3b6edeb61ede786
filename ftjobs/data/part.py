"""The checks of lines, block by block: of a whole file, or of the part that one process has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from xxhash import xxh3_64_hexdigest

from ftjobs.data import content, private
from ftjobs.data.fast import LONGEST, accept
from ftjobs.data.index import Index
from ftjobs.data.plain import Texts, plain_rows
from ftjobs.data.reading import MAX_LINE_BYTES
from ftjobs.data.rules import Severity
from ftjobs.data.scan import Finding
from ftjobs.data.slow import BLANK, FOREIGN, Explained, explain_line
from ftjobs.data.sniff import BOM
from ftjobs.data.targets import Target

Inspector = Callable[[bytes], Iterable[Finding]]
"""A further look at a line that has no error."""

MAX_LINE_ISSUES = 100
"""Issues kept of one line; the others are counted.  More only repeat the same mistake."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is looked for: `codes` are those that count; the rest as in `check`."""

    target: Target
    codes: frozenset[str]
    max_issues: int | None = None
    inspectors: tuple[Inspector, ...] = ()

    def ask_for(self, hundred: str) -> bool:
        """Whether a code that begins so counts."""
        return any(code.startswith(hundred) for code in self.codes)


class Seen(NamedTuple):
    """A finding: how much it weighs, its line (None: the file as a whole), and who it is."""

    finding: Finding
    severity: Severity
    line: int | None
    fingerprint: str


class Part:
    """What was found in the lines so far.  It pickles, and parts of one file can be joined."""

    def __init__(self, rules: Rules, *, first: bool = True) -> None:
        self.rules = rules
        self._first = first  # whether the file begins here
        self.method: str | None = None
        self.lines = self.rows = self.examples = 0
        self.seen: list[Seen] = []
        self.counts: Counter[Severity] = Counter()
        self._kept: Counter[Severity] = Counter()
        self.foreign: Counter[str] = Counter()  # rows of known foreign shapes, by code
        self.index = Index()

    def add(
        self,
        finding: Finding,
        line: int | None,
        source: bytes = b"",
        *,
        severity: Severity | None = None,
        keep: bool = True,
    ) -> None:
        """Count a finding if its code counts, and keep it if there is room.

        `source` is what makes it the same finding in another file: usually the line.
        """
        if finding.code in self.rules.codes:
            severity = severity or self.rules.target.severity_of(finding.code)
            self.counts[severity] += 1
            if keep and self._has_room(severity):
                self._keep(Seen(finding, severity, line, _fingerprint(finding, source)))

    def _has_room(self, severity: Severity) -> bool:
        room = self.rules.max_issues
        return room is None or self._kept[severity] < room

    def _keep(self, seen: Seen) -> None:
        self._kept[seen.severity] += 1
        self.seen.append(seen)

    def join(self, later: Part) -> None:
        """Add what was found in the lines that follow, in a part of the same method."""
        for code in self.foreign.keys() & later.foreign.keys():  # of which one is enough
            later.counts[self.rules.target.severity_of(code)] -= 1
        for seen in later.seen:
            if not self.foreign[seen.finding.code] and self._has_room(seen.severity):
                self._keep(seen._replace(line=(seen.line or 0) + self.lines))
        self.counts += later.counts
        self.foreign += later.foreign
        self.lines += later.lines
        self.rows += later.rows
        self.examples += later.examples
        self.index.extend(later.index)

    def block(self, data: bytes | None) -> None:
        """Check whole lines; None stands for one line that is too long."""
        if data is None:
            self._too_long()
            return
        if self._first and self.lines == 0 and data.startswith(BOM):
            self.add(Finding("FT101", "the file starts with a byte order mark"), 1)
            data = data.removeprefix(BOM)
        lines = data.split(b"\n")
        if len(lines) > 1 and not lines[-1]:
            lines.pop()
        suspects = self._suspects(data, lines)
        plain = self._plain(lines)
        for at, texts in enumerate(plain):
            self.lines += 1
            if texts is not None:
                self.index.add(texts)
            elif not self._line(lines[at]):
                continue
            for look in self.rules.inspectors:
                self._look(look, lines[at])
            if at in suspects:
                self._look(private.inspect, lines[at])
        examples = len(lines) - plain.count(None)
        self.rows += examples
        self.examples += examples

    def _suspects(self, data: bytes, lines: Sequence[bytes]) -> Set[int]:
        """The indices of the lines that may hold something private."""
        starts = set(private.candidates(data)) if self.rules.ask_for("FT7") else None
        if not starts:
            return frozenset()
        offsets = accumulate((len(line) + 1 for line in lines), initial=0)
        return {at for at, offset in enumerate(offsets) if offset in starts}

    def _look(self, look: Inspector, line: bytes) -> None:
        for finding in look(line):
            self.add(finding, self.lines, line)

    def _plain(self, lines: Sequence[bytes]) -> Sequence[Texts | None]:
        """The texts of the lines that are sound without a closer look."""
        faults = content.may_hold_faults if self.rules.ask_for("FT6") else _never
        if self.method is None:  # the first row decides what the others should be
            first = next((line for line in lines if line.strip()), b"")
            if plain_rows([first], faults) == [None]:
                return [None] * len(lines)
            self.method = "supervised"
        return plain_rows(lines, faults) if self.method == "supervised" else [None] * len(lines)

    def _line(self, line: bytes) -> bool:
        """Check a line closely; whether it is an example without an error."""
        if len(line) > MAX_LINE_BYTES:
            self.lines -= 1
            self._too_long()
            return False
        if not line.strip(b" \t\r"):  # JSON's white space, and no other
            self.index.skip()
            self.add(BLANK, self.lines, line)
            return False
        target = self.rules.target
        accepted = accept(line, target) if len(line) <= LONGEST else None
        if accepted is not None and self.method in {None, accepted.method}:
            self.method = accepted.method
            self.rows += 1
            self.examples += 1
            self.index.add(accepted.texts)
            return True
        return self._told(line, explain_line(line, target=target))

    def _told(self, line: bytes, explained: Explained) -> bool:
        """Count a row and what was found in it; whether it is an example without an error."""
        method, findings = explained
        self.rows += 1
        self.method = self.method or method
        if method is not None and method != self.method:
            message = f"this {method} example is in a {self.method} file"
            findings = (*findings, Finding("FT503", message, 0))
        counted = [finding for finding in findings if finding.code in self.rules.codes]
        counted.sort(key=self._is_error, reverse=True)  # errors are kept first
        for rank, finding in enumerate(counted):
            self._tell(finding, line, keep=rank < MAX_LINE_ISSUES)
        sound = method is not None and not (counted and self._is_error(counted[0]))
        self.examples += sound
        self.index.add_line(line, method if sound else None)
        return sound

    def _tell(self, finding: Finding, line: bytes, *, keep: bool) -> None:
        """Add a finding; of a known foreign shape only the first one of the file."""
        if finding.code in FOREIGN:
            self.foreign[finding.code] += 1
            if self.foreign[finding.code] > 1:
                return
        self.add(finding, self.lines, line, keep=keep)

    def _is_error(self, finding: Finding) -> bool:
        return self.rules.target.severity_of(finding.code) == "error"

    def _too_long(self) -> None:
        self.lines += 1
        self.rows += 1
        self.index.skip()
        message = f"the line has more than {MAX_LINE_BYTES // 2**20} MiB"
        self.add(Finding("FT210", message), self.lines)


def _fingerprint(finding: Finding, source: bytes) -> str:
    """As long as the line takes to hash: not for what is only counted."""
    words = finding.code, finding.pointer, "" if source else finding.message
    return xxh3_64_hexdigest("\0".join(words).encode() + source)


def _never(data: bytes) -> bool:  # noqa: ARG001 - stands for content.may_hold_faults
    return False
