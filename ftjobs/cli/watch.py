"""`ftjobs watch`."""

from __future__ import annotations

import math
from itertools import islice
from typing import Any

import click

from ftjobs.cli.app import App, Command, json_option, pass_app
from ftjobs.cli.display import Display, attach_command, display_for
from ftjobs.cli.jobs import job_id
from ftjobs.cli.show import clean_line, say, terminated_cleanly
from ftjobs.errors import NotFoundError
from ftjobs.jobs.progress import Progress
from ftjobs.jobs.watch import check_succeeded, has_ended
from ftjobs.schema import Job


class Seconds(click.FloatRange):
    """A number of seconds; NaN, which passes every comparison with a bound, is none."""

    name = "seconds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The seconds that a text stands for."""
        seconds = float(super().convert(value, param, ctx))
        if math.isnan(seconds):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return seconds


@click.command(cls=Command)
@click.argument("job", required=False)
@click.option("--timeout", type=Seconds(min=0), metavar="SECONDS", help="Then exit 8.")
@click.option("--once", is_flag=True, help="Look once, and leave.")
@click.option(
    "--every",
    type=Seconds(min=0),
    default=10,
    show_default=True,
    metavar="SECONDS",
    help="Off a terminal: how often the numbers are repeated.",
)
@json_option
@pass_app
def command(
    app: App, job: str | None, timeout: float | None, once: bool, every: float, as_json: bool
) -> None:
    """Follow JOB (an id, or `latest`) until it ends; without it, the newest one that runs.

    ftjobs watch
    ftjobs watch ftjob-a1b2c3d4 --timeout 3600
    ftjobs watch latest --json

    Ctrl-C stops watching; the job goes on.  Exit code 0 if the job succeeded, 5 if it failed or
    was cancelled, 8 if it still ran when the time was up.
    """
    found = app.client.job(job_id(app.client, job)) if job else _newest_unfinished(app)
    follow(app, found, display_for(app.settings, as_json=as_json, every=every), timeout, once=once)


def follow(
    app: App, job: Job, display: Display, timeout: float | None = None, *, once: bool = False
) -> None:
    """Show a job until it ends.

    Raises:
        JobEndedError: it ended without success.
        WatchTimeout: it runs on after `timeout` seconds.
    """
    progress = Progress(job)
    ticks = app.client.follow(job, timeout=timeout)
    try:
        with terminated_cleanly(), display:
            for tick in islice(ticks, 1) if once else ticks:
                progress = progress.seen(tick.job, tick.events)
                display.show(tick, progress)
    except KeyboardInterrupt:
        say(f"\nStopped watching; job {clean_line(job.id)} goes on. Watch it again:")
        say(f"  {attach_command(app, job.id)}")
        raise
    if has_ended(progress.job):
        check_succeeded(progress.job)


def _newest_unfinished(app: App) -> Job:
    for job in app.client.jobs():
        if not job.ended:
            return job
    raise NotFoundError(
        "no job is under way", hint="ftjobs watch latest shows the last one; ftjobs jobs list all."
    )
