"""How a watched job is shown: full, plain, json or quiet, and which of them is right here."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol

import click

from ftjobs.cli.app import App
from ftjobs.cli.show import can_redraw, clean_line, emit, span, when
from ftjobs.config import Settings
from ftjobs.jobs.progress import Progress
from ftjobs.jobs.watch import Tick, has_ended


class Display(Protocol):
    """Shows one job.  `show` is called after each look, `close` once watching is over."""

    def __enter__(self) -> Display: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...

    def show(self, tick: Tick, progress: Progress) -> None:
        """Show one look, and the progress that it is part of."""
        ...


def display_for(settings: Settings, *, as_json: bool = False, every: float = 10) -> Display:
    """The display that flags, settings, terminal and environment ask for.

    `every` is how often the plain display repeats a running job's numbers, in seconds.
    """
    name = "json" if as_json else choose(settings.display, sys.stdout.isatty(), os.environ)
    if name == "full":
        from ftjobs.cli.monitor import Full

        return Full()
    if name == "plain":
        return Plain(every=every)
    return Json() if name == "json" else Quiet()


def choose(wanted: str, is_terminal: bool, environ: Mapping[str, str]) -> str:
    """The name of the display: what was asked for, or full on a terminal that can draw."""
    if wanted != "auto":
        return wanted
    return "full" if is_terminal and can_redraw(environ) else "plain"


def attach_command(app: App, job_id: str) -> str:
    """The command that watches this job from the same place."""
    backend = ["--backend", app.backend] if app.backend else []
    return shlex.join(["ftjobs", *backend, "watch", clean_line(job_id)])


class Quiet:
    """Shows nothing: the exit code says it all."""

    def __enter__(self) -> Quiet:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def show(self, tick: Tick, progress: Progress) -> None:
        """Show nothing."""


class Json(Quiet):
    """Every event as a line of JSON, then the job that ended."""

    def show(self, tick: Tick, progress: Progress) -> None:  # noqa: ARG002 - the protocol's
        """Print the events, and the job once it has ended."""
        for event in tick.events:
            emit(event)
        if has_ended(tick.job) and tick.problem is None:
            emit(tick.job)
        sys.stdout.flush()


class Plain(Quiet):
    """A line for each event and change of status, and the numbers every so many seconds."""

    def __init__(self, *, every: float = 10) -> None:
        self.every = every
        self.status = ""
        self.counted = time.monotonic()
        self.troubled = False

    def show(self, tick: Tick, progress: Progress) -> None:
        """Print what is new."""
        for event in tick.events:
            if event.type != "metrics":
                level = "" if event.level == "info" else f"{event.level}: "
                _line(event.created_at, level + event.message)
        now = int(time.time())
        if bool(tick.problem) != self.troubled:
            self.troubled = bool(tick.problem)
            _line(now, f"no answer, trying on: {tick.problem}" if tick.problem else "back")
        if has_ended(tick.job):
            if tick.problem is None:
                _line(now, summary(progress))
        elif tick.job.status != self.status:
            self.status = tick.job.status
            _line(now, f"status {self.status}")
        elif time.monotonic() - self.counted >= self.every:
            self.counted = time.monotonic()
            _line(now, numbers(progress, now))


def _line(at: int, text: str) -> None:
    click.echo(f"{when(at)}  {clean_line(text)}")
    sys.stdout.flush()


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
