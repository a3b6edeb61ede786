"""Reports of the dataset checker with everything that is awkward to show, and snapshots."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftjobs.data import RULES, Manifest, Report
from ftjobs.schema import Issue

SNAPSHOTS = Path(__file__).parent / "snapshots"


def issue(code: str, line: int | None = None, column: int | None = None, **given: Any) -> Issue:
    rule = RULES[code]
    made = {"severity": rule.severity, "message": rule.title, "hint": rule.fix} | given
    return Issue(code=code, line=line, column=column, **made)


def report(path: str, *issues: Issue, **given: Any) -> Report:
    """A report of these issues, as `check` would count them."""
    found = tuple(one.model_copy(update={"path": path}) for one in issues)
    counts = {
        "error_count": sum(one.severity == "error" for one in found),
        "warning_count": sum(one.severity == "warning" for one in found),
    }
    manifest = Manifest(sha256="ab" * 32, bytes=1200, rows=12, method="supervised")
    fixed = {"target": "local", "examples": 9, "lines": 12, "manifest": manifest, "mtime_ns": 0}
    return Report.model_validate({"path": path, "issues": found, **fixed, **counts, **given})


AWKWARD = report(
    "データ/train set.jsonl",
    issue("FT204", 3, 109, message="the line ends where ',' or '}' should follow"),
    *[issue("FT107", line, fixable="safe", fingerprint="f1") for line in range(4, 11)],
    issue("FT304", 11, 18, message='unknown key "x"', pointer="/messages/0/x", fingerprint="f2"),
    issue("FT203", 12, 5, message="100 % odd, 灯り: \x1b[31mred\x1b[0m\nand <b>more</b> ::error::"),
    issue("FT502", severity="info", message="file has 9 examples"),
)
OTHER = report("50%,odd:name.jsonl", issue("FT204", 1, 1, message="the line ends"))
CLEAN = report("clean.jsonl", examples=12)


@pytest.fixture
def reports() -> tuple[Report, ...]:
    return AWKWARD, OTHER, CLEAN


@pytest.fixture
def many() -> Report:
    """200 errors and 300 warnings, of two codes each."""
    errors = [issue("FT204" if line % 2 else "FT203", line, 1) for line in range(1, 201)]
    warnings = [issue("FT107" if line % 2 else "FT304", line) for line in range(201, 501)]
    return report("many.jsonl", *errors, *warnings)


@pytest.fixture
def same_as() -> Callable[[str, str], None]:
    """Hold a text against the file of that name in `snapshots`.

    After a change that is meant, write what pytest shows into the file, and review the diff.
    """

    def compare(name: str, text: str) -> None:
        assert text.splitlines() == (SNAPSHOTS / name).read_text("utf-8").splitlines()

    return compare
