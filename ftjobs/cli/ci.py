"""What a pipeline gets of jobs: report files, and on GitHub Actions summary, outputs, annotations.

    @ci.output_option
    def command(…, outputs: Sequence[Path]) -> None:
        with ci.Reporter(app, [job], outputs) as reporter:
            for tick in ticks:
                progress = progress.seen(tick.job, tick.events)
                reporter.seen(progress)

The reports are written at the end of the block, however it ends: at success, at a time-out, at
Ctrl-C.  The outputs of the step name the job at its start already, so that a later step finds it
even if this one is killed.  Every text is made in `ftjobs.reports.ci`; here it is only put where
it belongs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ftjobs.cli.app import App
from ftjobs.cli.show import clean_line, say
from ftjobs.disk import write_text
from ftjobs.errors import FtjobsError
from ftjobs.jobs.progress import Progress
from ftjobs.reports import ci as texts
from ftjobs.schema import Job

if TYPE_CHECKING:
    from ftjobs.evals.result import Comparison
    from ftjobs.jobs.budget import Estimate
    from ftjobs.jobs.plan import Plan

F = TypeVar("F", bound=Callable[..., Any])

FORMATS: Mapping[str, Callable[[Sequence[texts.Outcome]], str]] = {
    ".xml": texts.junit,
    ".md": texts.comment,
    ".json": texts.json,
}
"""Who makes a report, by how its file's name ends."""


OF_COMPARISONS: Mapping[str, Callable[[Comparison], str]] = {
    ".html": lambda comparison: _comparisons().html(comparison),
    ".md": lambda comparison: _comparisons().markdown(comparison),
    ".xml": lambda comparison: _comparisons().junit(comparison),
    ".json": lambda comparison: _comparisons().json(comparison),
}


def _comparisons() -> ModuleType:
    from ftjobs.reports import comparison  # here: few commands compare

    return comparison


def _output_option(endings: Sequence[str], words: str) -> Callable[[F], F]:
    """`-o FILE`, as often as wanted; the command gets `outputs`, a tuple of paths."""

    def places(
        context: click.Context, parameter: click.Parameter, paths: Sequence[Path]
    ) -> tuple[Path, ...]:
        """Refuse a report that could not be written while there is nothing to lose yet."""
        for path in paths:
            shown = clean_line(str(path))
            if path.suffix.lower() not in endings:
                known = f"{', '.join(endings[:-1])} or {endings[-1]}"
                raise click.BadParameter(f"{shown}: reports end in {known}.", context, parameter)
            if not path.parent.is_dir():
                raise click.BadParameter(f"{shown}: there is no such folder.", context, parameter)
        return tuple(paths)

    return click.option(
        "-o",
        "--output",
        "outputs",
        type=click.Path(path_type=Path, dir_okay=False, writable=True),
        multiple=True,
        metavar="FILE",
        callback=places,
        help=f"Write a report: {words}.  May be given again.",
    )


output_option = _output_option([*FORMATS], ".xml for JUnit, .md for a comment, .json")
comparison_option = _output_option(
    [*OF_COMPARISONS], ".html for people, .md for a comment, .xml for JUnit, .json"
)


class Reporter:
    """Reports of the jobs that a command follows, written when its block ends.

    Args:
        app: the run of the command line.
        jobs: the jobs, as far as they are known when the block begins.
        outputs: the files to write, as `output_option` gives them.
        cost: the estimate that a job was submitted with.
        now: the time in Unix seconds.

    Raises:
        ConfigError: a file cannot be written, and nothing worse has happened in the block.
    """

    def __init__(
        self,
        app: App,
        jobs: Sequence[Job],
        outputs: Sequence[Path] = (),
        *,
        cost: Estimate | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._app = app
        self._files = outputs
        self._cost = cost
        self._now = now
        self._seen = {job.id: Progress(job) for job in jobs}

    def __enter__(self) -> Reporter:
        if self._seen:
            _step_outputs(self._outcomes())
        return self

    def seen(self, progress: Progress) -> None:
        """Keep what is known of a job now."""
        self._seen[progress.job.id] = progress

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        outcomes = self._outcomes()
        if not outcomes:
            return
        try:
            _tell_runner(outcomes, quiet=self._app.settings.display == "quiet")
            _write(outcomes, self._files)
        except FtjobsError as problem:
            if error is None:
                raise
            say(f"error: {clean_line(problem.message)}")  # what ended the block matters more

    def _outcomes(self) -> list[texts.Outcome]:
        now = self._now()
        return [texts.Outcome(progress, now, self._cost) for progress in self._seen.values()]


def report(
    app: App, jobs: Sequence[Job], outputs: Sequence[Path] = (), *, cost: Estimate | None = None
) -> None:
    """Report jobs that are not followed, as they are now.

    Raises:
        ConfigError: a file cannot be written.
    """
    with Reporter(app, jobs, outputs, cost=cost):
        pass


def report_comparison(app: App, comparison: Comparison, outputs: Sequence[Path] = ()) -> None:
    """Write a comparison's reports, and tell GitHub's runner of it.

    Raises:
        ConfigError: a file cannot be written.
    """
    if os.environ.get("GITHUB_ACTIONS") == "true":
        made = _comparisons()
        if app.settings.display != "quiet":
            say(made.workflow_commands(comparison))
        if path := _file("GITHUB_OUTPUT"):
            _append(path, made.outputs(comparison))
        if path := _file("GITHUB_STEP_SUMMARY"):
            _append(path, made.summary(comparison, most_bytes=_room(path)))
    for path in outputs:
        write_text(path, OF_COMPARISONS[path.suffix.lower()](comparison))
        say(f"Written: {clean_line(str(path))}")


def is_comment(path: Path) -> bool:
    """Whether a plan in this file is a comment for people."""
    return path.suffix.lower() == ".md"


def report_plan(plan: Plan, comments: Sequence[Path] = ()) -> None:
    """Write a plan as comments, and into the summary of a GitHub step.

    Raises:
        ConfigError: a file cannot be written.
    """
    text = texts.plan_comment(plan)
    for path in comments:
        write_text(path, text)
    if (summary := _file("GITHUB_STEP_SUMMARY")) and len(text.encode()) <= _room(summary):
        _append(summary, text)


def _write(outcomes: Sequence[texts.Outcome], paths: Sequence[Path]) -> None:
    for path in paths:
        write_text(path, FORMATS[path.suffix.lower()](outcomes))
        say(f"Written: {clean_line(str(path))}")


def _tell_runner(outcomes: Sequence[texts.Outcome], *, quiet: bool) -> None:
    """Tell GitHub's runner; its commands go to standard error, where `$(…)` catches none."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    if not quiet:
        say(texts.workflow_commands(outcomes))
    _step_outputs(outcomes)
    if path := _file("GITHUB_STEP_SUMMARY"):
        _append(path, texts.summary(outcomes, most_bytes=_room(path)))


def _step_outputs(outcomes: Sequence[texts.Outcome]) -> None:
    if path := _file("GITHUB_OUTPUT"):
        _append(path, texts.outputs(outcomes))


def _file(variable: str) -> Path | None:
    """The file that the runner names for something, if this is GitHub's runner."""
    name = os.environ.get(variable)
    return Path(name) if name and os.environ.get("GITHUB_ACTIONS") == "true" else None


def _room(path: Path) -> int:
    """Bytes that a summary may grow by, beside the end of a line that it may lack."""
    try:
        return texts.SUMMARY_BYTES - path.stat().st_size - 1
    except OSError:
        return texts.SUMMARY_BYTES - 1


def _append(path: Path, text: str) -> None:
    """Add lines to a file of the runner.  The job is made: it must not be lost for a summary."""
    try:
        with path.open("ab+") as file:
            if file.tell() and text:
                file.seek(-1, os.SEEK_END)
                text = text if file.read(1) == b"\n" else f"\n{text}"
            file.write(text.encode(errors="replace"))
    except OSError as error:
        say(
            f"{clean_line(str(path))} cannot be written: {clean_line(error.strerror or str(error))}"
        )
