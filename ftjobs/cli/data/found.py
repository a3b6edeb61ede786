"""What `ftjobs data check` finds: reports, and why some files have none."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftjobs.data import Report, check
from ftjobs.data.checker import Inspector, check_all, codes
from ftjobs.data.reading import STDIN
from ftjobs.data.rules import RULES
from ftjobs.data.stats import Statistics, statistics
from ftjobs.data.targets import target_named
from ftjobs.data.tokens import TokenCounter
from ftjobs.errors import ExitCode, FtjobsError
from ftjobs.reports import dataset
from ftjobs.schema import Issue

if TYPE_CHECKING:
    from ftjobs.data.fix import FixReport

NEAR = frozenset({"FT803", "FT813"})
SAME: Mapping[str, str] = {"FT801": "FT803", "FT811": "FT813"}
"""What near duplicates are called, by what the same rows are called."""

BETWEEN = frozenset({"FT811", "FT812", "FT813"})


@dataclass(frozen=True, slots=True)
class Found:
    """What a check came to.

    `problems` are why other files have no report, `codes` are those that were looked for, `gap`
    says which errors were not, `fixed` is what was repaired before, and `statistics` say what the
    files hold, where that was asked.
    """

    reports: Sequence[Report]
    problems: Sequence[FtjobsError] = ()
    codes: Collection[str] = frozenset()
    gap: str = ""
    fixed: FixReport | None = None
    statistics: Mapping[Path, Statistics] | None = None

    @property
    def exit_code(self) -> ExitCode:
        """That of the first problem; 3 if a file has errors."""
        if self.problems:
            return self.problems[0].exit_code
        return ExitCode.OK if all(report.ok for report in self.reports) else ExitCode.DATASET

    def capped(self, most: int | None) -> Found:
        """The same with at most so many errors and so many warnings kept of each file."""
        return replace(self, reports=[_capped(report, most) for report in self.reports])


def _capped(report: Report, most: int | None) -> Report:
    seen: Counter[str] = Counter()

    def has_room(issue: Issue) -> bool:
        seen[issue.severity] += 1
        return most is None or seen[issue.severity] <= most

    return report.model_copy(update={"issues": tuple(filter(has_room, report.issues))})


def find(files: Sequence[Path], *, near: float | None = None, **how: Any) -> Found:
    """Check the files that are there, and say what is wrong with the others.

    `how` are the keywords of `ftjobs.data.check_all`; `near` is the similarity from which rows
    count as near duplicates, None not to search for them.

    Raises:
        ConfigError: a code or a similarity that cannot be looked for.
    """
    there = [path for path in files if _is_there(path)]
    looked_for = frozenset(_looked_for(there, near=near, **how))
    reports = _with_near(check_all(there, **how), near, looked_for) if there else []
    problems: list[FtjobsError] = []
    for path in files:
        if path not in there:
            try:
                check(path, target=how["target"])
            except FtjobsError as error:
                problems.append(error)
    return Found(reports, problems, looked_for)


def gap(*, target: str, select: Sequence[str], ignore: Sequence[str], **_: object) -> str:
    """Which errors a check with these codes leaves out, though submit does not; "" if none."""
    judge = target_named(target)
    left_out = frozenset(RULES) - codes(select, ignore)
    errors = [code for code in left_out if dataset.severity(RULES[code], judge) == "error"]
    if not errors:
        return ""
    if select:
        return f"Only {_named(select)} looked for: submit looks for every error."
    names = [word for word in ignore if any(code.startswith(word.upper()) for code in errors)]
    return f"{_named(names)} left out: submit looks for every error."


def _named(words: Sequence[str]) -> str:
    names = list(dict.fromkeys(word.upper() for word in words))
    return f"{dataset.listed(names)} {'was' if len(names) == 1 else 'were'}"


def _looked_for(
    files: Sequence[Path],
    *,
    near: float | None,
    select: Sequence[str],
    ignore: Sequence[str],
    inspectors: Sequence[Inspector],
    **_: Any,
) -> Iterator[str]:
    """The codes that this check can find."""
    for code in codes(select, ignore):
        if not (
            (code in NEAR and near is None)
            or (code in BETWEEN and len(files) < 2)
            or (code.startswith("FT9") and not inspectors)
        ):
            yield code


def _is_there(path: Path) -> bool:
    """Whether it can be opened, so that a mistyped name does not hide what the others hold."""
    if path == STDIN:
        return True
    return "\0" not in str(path) and os.access(path, os.R_OK) and path.is_file()


def _with_near(
    reports: Sequence[Report], threshold: float | None, wanted: Collection[str]
) -> Sequence[Report]:
    """The reports and, if a threshold is given, their near duplicates."""
    if threshold is None:
        return reports
    from ftjobs.data import near

    paths = [report.path for report in reports if report.path != STDIN]  # that cannot be reread
    pairs = near.near_duplicates(paths, threshold=threshold)
    found = [issue for issue in near.issues(pairs) if issue.code in wanted]
    return [
        _with_issues(report, [issue for issue in found if issue.path == str(report.path)])
        for report in reports
    ]


def _with_issues(report: Report, found: Sequence[Issue]) -> Report:
    """The report with near duplicates in their places, but for rows that are the same anyway."""
    known = {(SAME[issue.code], issue.line) for issue in report.issues if issue.code in SAME}
    more = [issue for issue in found if (issue.code, issue.line) not in known]
    issues = sorted((*report.issues, *more), key=lambda issue: issue.line or math.inf)
    count = report.warning_count + len(more)
    return report.model_copy(update={"issues": tuple(issues), "warning_count": count})


def count(reports: Sequence[Report], counter: TokenCounter | None) -> Mapping[Path, Statistics]:
    """What the files hold; standard input is gone by now."""
    paths = [report.path for report in reports if report.path != STDIN]
    return {path: statistics(path, counter) for path in paths}
