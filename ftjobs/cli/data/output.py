"""Where reports of the checker go, and in which format."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from ftjobs.cli.data.found import Found
from ftjobs.cli.show import can_redraw, clean_line, say
from ftjobs.data import Report
from ftjobs.data.reading import STDIN
from ftjobs.reports import dataset
from ftjobs.schema import Issue

FORMATS = ("text", "plain", "json", "sarif", "github", "html")
ENDINGS = {
    ".sarif": "sarif",
    ".sarif.json": "sarif",
    ".json": "json",
    ".jsonl": "json",
    ".html": "html",
}
"""The format of a file by how its name ends; of any other it is plain."""


@dataclass(frozen=True, slots=True)
class Output:
    """A format, and the file to write; None is standard output."""

    form: str
    path: Path | None

    @classmethod
    def of(cls, wanted: str | None, path: Path | None) -> Output:
        """The output in the wanted format, or in the one that fits the place; - is no file."""
        if path == STDIN:
            path = None
        if wanted:
            return cls(wanted, path)
        if path is None:
            drawn = sys.stdout.isatty() and can_redraw(os.environ)
            return cls("text" if drawn else "plain", None)
        name = path.name.lower()
        return cls(
            next((form for end, form in ENDINGS.items() if name.endswith(end)), "plain"), path
        )

    def show(self, found: Found) -> None:
        """Write the report, and for people, say on standard error what it comes to.

        Raises:
            ConfigError: the file cannot be written.
            FtjobsError: the disk is full.
        """
        self._write(self._render(found))
        if self.form == "github":
            _append_summary(found.reports)
        if self.form != "json":
            _conclude(found)

    def _render(self, found: Found) -> str:
        reports, problems = found.reports, [problem.message for problem in found.problems]
        if self.form == "json":
            ascii_only = self.path is None and not _speaks_utf8()
            return dataset.jsonl(reports, fixed=found.fixed, ascii_only=ascii_only)
        if self.form == "sarif":
            code = found.exit_code
            return dataset.sarif(reports, roots=_roots(), exit_code=code, problems=problems)
        if self.form == "github":
            return dataset.github(reports, roots=_roots(), problems=problems)
        if self.form == "html":
            return dataset.html(reports, statistics=found.statistics)
        if self.form == "text":
            width = shutil.get_terminal_size((100, 24)).columns
            colour = self.path is None and _has_colour()
            return dataset.text(reports, width=width, colour=colour)
        return dataset.plain(reports)

    def _write(self, text: str) -> None:
        if self.path is None:
            if text:
                click.echo(text, color=True)  # coloured only if `_has_colour`
            return
        from ftjobs.disk import write_text

        write_text(self.path, f"{text}\n")
        say(f"Written: {clean_line(str(self.path))}")


def _speaks_utf8() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def _has_colour() -> bool:
    """Whether standard output takes colours (https://no-color.org)."""
    return sys.stdout.isatty() and can_redraw(os.environ) and not os.environ.get("NO_COLOR")


def _roots() -> dataset.Roots:
    """The repository in CI, otherwise the working folder."""
    cwd = Path.cwd()
    return dataset.Roots(cwd / os.environ.get("GITHUB_WORKSPACE", ""), cwd)


def _append_summary(reports: Sequence[Report]) -> None:
    """Add to the summary of the GitHub step, where there is one and it has room."""
    if not (name := os.environ.get("GITHUB_STEP_SUMMARY")):
        return
    path = Path(name)
    try:
        room = dataset.SUMMARY_BYTES - (path.stat().st_size if path.exists() else 0)
        with path.open("a", encoding="utf-8", errors="replace", newline="\n") as file:
            file.write(dataset.summary(reports, most_bytes=room))
    except OSError as error:  # the check itself is done: its result must not be lost for this
        say(f"The step's summary cannot be written: {clean_line(error.strerror or str(error))}")


def _conclude(found: Found) -> None:
    if found.fixed is not None:
        say(dataset.fixes(found.fixed))
    for report in found.reports:
        say(dataset.verdict(report))
    issues = [issue for report in found.reports for issue in report.issues]
    if found.gap:
        say(found.gap)
    if found.fixed is None and (may_fix := _fixes(issues)):
        say(may_fix)
    if codes := {issue.code for issue in issues}:
        say(f"What a code means: ftjobs explain {'CODE' if len(codes) > 1 else codes.pop()}")


def _fixes(issues: Sequence[Issue]) -> str:
    """How much of it the program may be able to repair, in a sentence; "" if nothing.

    Which of them it can, is only known once it has tried: `FixReport` counts that.
    """
    counts = Counter(issue.fixable for issue in issues)
    safe, unsafe = counts["safe"], counts["unsafe"]
    parts = [f"{safe:,} with --fix OUT"] if safe else []
    if unsafe:
        way = "more with --unsafe-fixes" if safe else "with --fix OUT --unsafe-fixes"
        parts.append(f"{unsafe:,} {way}")
    return f"May be repaired: {', '.join(parts)}." if parts else ""
