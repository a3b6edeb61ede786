"""How watched jobs are shown: full, plain, json or quiet, and which of them is right here."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol

import click

from ftjobs.cli.app import App
from ftjobs.cli.show import can_redraw, clean_line, emit, span, when
from ftjobs.config import Settings
from ftjobs.errors import BackendError, NotFoundError
from ftjobs.jobs.progress import Progress
from ftjobs.jobs.watch import Tick, has_ended
from ftjobs.reports.cells import cut, pad
from ftjobs.schema import Job

COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "bright_red", "bright_cyan")
LASTING = 10.0  # seconds of trouble that are worth a line
SHORT = 8  # characters of a job's short name, unless two would be the same


class Display(Protocol):
    """Shows jobs.  `show` is called after each look at one."""

    def __enter__(self) -> Display: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...

    def show(self, tick: Tick, progress: Progress) -> None:
        """Show one look, and the progress of its job that it is part of."""
        ...


def display_for(
    settings: Settings, *, as_json: bool = False, every: float = 10, many: bool = False
) -> Display:
    """The display that flags, settings, terminal and environment ask for.

    `every` is how often the plain display repeats running jobs' numbers, in seconds; `many`
    says that more than one job is watched.
    """
    name = "json" if as_json else choose(settings.display, sys.stdout.isatty(), os.environ)
    if name == "full":
        from ftjobs.cli.monitor import Board, Full

        return Board() if many else Full()
    if name == "plain":
        return Plain(every=every, names=Names() if many else None)
    return Json() if name == "json" else Quiet()


def choose(wanted: str, is_terminal: bool, environ: Mapping[str, str]) -> str:
    """The name of the display: what was asked for, or full on a terminal that can draw."""
    if wanted != "auto":
        return wanted
    return "full" if is_terminal and can_redraw(environ) else "plain"


def attach_command(app: App, *jobs: str) -> str:
    """The command that watches these jobs from the same place."""
    backend = ["--backend", app.backend] if app.backend else []
    return shlex.join(["ftjobs", *backend, "watch", *map(clean_line, jobs)])


class Names:
    """Short names of jobs, which stay what they are once they were given."""

    def __init__(self) -> None:
        self._given: dict[str, str] = {}

    def of(self, job: Job) -> str:
        """A few characters of the job's id that no other job was given."""
        if job.id not in self._given:
            clean = clean_line(job.id)
            own = clean.partition("-")[2] or clean
            lengths = range(SHORT, min(len(own), 4 * SHORT) + 1)
            starts = [own[:length] for length in lengths] or [own]
            free = [start for start in starts if start not in self._given.values()]
            self._given[job.id] = cut(free[0] if free else clean, 4 * SHORT)
        return self._given[job.id]

    def place(self, job: Job) -> int:
        """When the job was named, counted from 0."""
        self.of(job)
        return list(self._given).index(job.id)


class Quiet:
    """Shows nothing: the exit code says it all."""

    def __enter__(self) -> Quiet:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def show(self, tick: Tick, progress: Progress) -> None:
        """Show nothing."""


class Json(Quiet):
    """Every event as a line of JSON with its job's id, and each job once it has ended."""

    def show(self, tick: Tick, progress: Progress) -> None:  # noqa: ARG002 - the protocol's
        """Print the events, and the job when nothing more will come of it."""
        for event in tick.events:
            emit({**event.model_dump(), "fine_tuning_job_id": tick.job.id})
        if tick.last:
            emit(tick.job)
        sys.stdout.flush()


@dataclass
class _Printed:
    """What the plain display has said of one job."""

    status: str = ""
    counted: float = field(default_factory=time.monotonic)


class Plain(Quiet):
    """A line for each event and change of status, and the numbers every so many seconds.

    Of many jobs, each line begins with the job's short name, and the numbers of one of them are
    repeated at a time.
    """

    def __init__(self, *, every: float = 10, names: Names | None = None) -> None:
        self.every = every
        self.names = names
        self.printed: dict[str, _Printed] = {}
        self.troubled: dict[str, float] = {}
        self.told_trouble = False
        self.running: set[str] = set()

    def show(self, tick: Tick, progress: Progress) -> None:
        """Print what is new."""
        job, now = tick.job, int(time.time())
        for event in tick.events:
            if event.type != "metrics":
                level = "" if event.level == "info" else f"{event.level}: "
                self._line(event.created_at, level + event.message, job)
        self._trouble(tick, now)
        (self.running.discard if has_ended(job) else self.running.add)(job.id)
        printed = self.printed.setdefault(job.id, _Printed())
        if tick.last:
            self._line(now, summary(progress), job)
        elif job.status != printed.status:
            printed.status = job.status
            self._line(now, "  ".join([f"status {job.status}", *losses(progress)]), job)
        elif has_ended(job):
            pass  # its late events are waited for
        elif time.monotonic() - printed.counted >= self.every * max(1, len(self.running)):
            printed.counted = time.monotonic()
            self._line(now, numbers(progress, now), job)

    def _trouble(self, tick: Tick, now: int) -> None:
        """Say when trouble lasts, and when the last job's is over; what passes is not told."""
        if isinstance(tick.problem, NotFoundError):
            self.troubled.pop(tick.job.id, None)
            self._line(now, trouble(tick.problem), tick.job)
            return
        if tick.problem is None:
            self.troubled.pop(tick.job.id, None)
            if self.told_trouble and not self.troubled:
                self.told_trouble = False
                self._line(now, "back")
            return
        since = self.troubled.setdefault(tick.job.id, time.monotonic())
        lasts = time.monotonic() - since >= LASTING or (tick.problem.retry_after or 0) >= LASTING
        if lasts and not self.told_trouble:
            self.told_trouble = True
            self._line(now, trouble(tick.problem))

    def _line(self, at: int, text: str, job: Job | None = None) -> None:
        name = ""
        if self.names is not None:
            name = pad(self.names.of(job) if job else "", SHORT) + "  "
        if job is not None and self.names is not None and may_colour():
            name = click.style(name, fg=COLOURS[self.names.place(job) % len(COLOURS)])
        click.echo(f"{when(at)}  {name}{clean_line(text)}")
        sys.stdout.flush()


def may_colour() -> bool:
    """Whether standard output is a terminal that wants colours."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not plain


def trouble(problem: BackendError) -> str:
    """What is wrong, and how long the service wants to be left alone."""
    if isinstance(problem, NotFoundError):
        return f"gone: {problem.message}"
    asked = problem.retry_after or 0.0
    waits = f" (the service asks to wait {span(min(asked, 86400))})" if asked >= LASTING else ""
    return f"no answer, trying on: {problem.message}{waits}"


def numbers(progress: Progress, now: float) -> str:
    """Status, step, losses, speed, time left and quiet time, as far as each is known."""
    parts = [progress.job.status, *losses(progress)]
    if progress.tokens_per_second is not None:
        parts.append(f"{progress.tokens_per_second:,.0f} tokens/s")
    if (eta := progress.eta(now)) is not None:
        parts.append(f"est. {span(eta)} left")
    if (idle := progress.idle(now)) is not None and idle >= 30:
        parts.append(f"no event for {span(idle)}")
    return "  ".join(parts)


def losses(progress: Progress) -> list[str]:
    """Step and last losses, as far as each is known."""
    parts = []
    if progress.step is not None:
        parts.append(f"step {progress.step}/{progress.total or '?'}")
    if progress.train:
        parts.append(f"train loss {progress.train[-1][1]:.4f}")
    if progress.valid:
        parts.append(f"valid loss {progress.valid[-1][1]:.4f}")
    return parts


def summary(progress: Progress) -> str:
    """One line about a job that has ended."""
    job = progress.job
    took = "" if job.finished_at is None else f" after {span(job.finished_at - job.created_at)}"
    model = [f"model {job.fine_tuned_model}"] if job.fine_tuned_model else []
    return f"{job.id} {job.status}{took}: " + (", ".join([*losses(progress), *model]) or "no step")


def counts(jobs: Sequence[Job]) -> str:
    """How many jobs there are in each status: `5 jobs: 3 running, 2 succeeded`."""
    by_status: dict[str, int] = {}
    for job in jobs:
        by_status[job.status] = by_status.get(job.status, 0) + 1
    parts = (f"{count} {clean_line(status)}" for status, count in by_status.items())
    return f"{len(jobs)} jobs: " + ", ".join(parts)
