"""`ftjobs watch`."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import click

from ftjobs.backends.profiles import is_loopback
from ftjobs.cli import ci, fields
from ftjobs.cli.app import App, Command, json_option, pass_app
from ftjobs.cli.display import Display, attach_command, display_for
from ftjobs.cli.jobs import job_id
from ftjobs.cli.show import clean_line, say, terminated_cleanly
from ftjobs.errors import (
    AuthError,
    BackendError,
    ExitCode,
    FtjobsError,
    NotFoundError,
    StoreError,
    WatchTimeout,
)
from ftjobs.jobs.notify import Notifier, notifier
from ftjobs.jobs.progress import Progress
from ftjobs.jobs.watch import Tick, check_all_succeeded, has_ended
from ftjobs.jobs.webhook import Receiver, address
from ftjobs.schema import Job

SECRETS = ("FTJOBS_WEBHOOK_SECRET", "OPENAI_WEBHOOK_SECRET")
TOLERANCE = 300.0  # seconds that a webhook's timestamp may differ from our clock
NAMED = 5  # jobs that a message names


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
@click.argument("jobs", nargs=-1, metavar="[JOB]...")
@click.option(
    "--metadata",
    multiple=True,
    metavar="KEY=VALUE",
    callback=fields.pairs,
    help="Instead of JOB: all jobs that carry it, also those created meanwhile.",
)
@click.option(
    "--timeout", type=Seconds(min=0), metavar="SECONDS", help="Stop watching then: exit 8."
)
@click.option("--once", is_flag=True, help="Look once, and leave: exit 8 if a job still runs.")
@click.option(
    "--every",
    type=Seconds(min=0),
    default=10,
    show_default=True,
    metavar="SECONDS",
    help="Off a terminal: how often the numbers are repeated.",
)
@click.option(
    "--webhook",
    metavar="HOST:PORT",
    help="Take the service's webhooks there instead of polling; the secret is in "
    "FTJOBS_WEBHOOK_SECRET.",
)
@click.option(
    "--notify",
    metavar="URL|COMMAND",
    envvar="FTJOBS_NOTIFY",
    help="POST there, or run it, for each job that ends.  [env: FTJOBS_NOTIFY]",
)
@click.option(
    "--cancel-on-exit",
    is_flag=True,
    help="Ctrl-C and SIGTERM cancel the jobs instead of leaving them.",
)
@ci.output_option
@json_option
@pass_app
def command(
    app: App,
    /,
    jobs: Sequence[str],
    metadata: Mapping[str, str] | None,
    timeout: float | None,
    once: bool,
    every: float,
    webhook: str | None,
    notify: str | None,
    cancel_on_exit: bool,
    outputs: Sequence[Path],
    as_json: bool,
) -> int:
    """Follow jobs until they end; without JOB, the newest one that runs.

    ftjobs watch
    ftjobs watch ftjob-a1b2c3d4 --timeout 3600
    ftjobs watch --metadata sweep=7 --notify 'notify-send "a job ended"'

    JOB is an id, `latest`, or the first 8 or more digits of a content identity, by which a job
    is found from any machine.

    Ctrl-C and SIGTERM stop watching; the jobs go on.  Exit code 0 if all succeeded, 5 if one
    failed or was cancelled, 8 if one still ran when the time was up.
    """
    if jobs and metadata:
        raise click.UsageError("Give jobs or --metadata, not both.")
    tell = notifier(notify) if notify else None
    found = None if metadata else _find(app, jobs)
    receiver = _receiver(webhook, found) if webhook else None
    many = found is None or len(found) > 1
    display = display_for(app.settings, as_json=as_json, every=every, many=many)
    reporter = ci.Reporter(app, found or (), outputs)
    session = Session(app, display, found or (), reporter, metadata, tell, cancel_on_exit)
    with receiver or nullcontext():
        if receiver is not None:
            say(f"Taking webhooks at {receiver.url}{_in_clear(str(webhook))}")
        how: dict[str, Any] = {"timeout": 0 if once else timeout, "doorbell": receiver}
        if found is not None and not many:
            return session.run(app.client.follow(found[0], **how), once=once)
        ticks = app.client.follow_all(found or (), metadata=metadata, **how)
        return session.run(ticks, once=once)


def follow(app: App, job: Job, display: Display, reporter: ci.Reporter) -> None:
    """Show and report a job until it ends.

    Raises:
        JobEndedError: it ended without success.
    """
    Session(app, display, [job], reporter).run(app.client.follow(job))


@dataclass
class Session:
    """One run of watching: what was seen, and what is to be done about it.

    Args:
        app: the command line.
        display: shows every look.
        known: the jobs, as far as they are known before the first look.
        reporter: reports the jobs once watching is over.
        metadata: what they carry, where they were asked for by that.
        tell: told about each job that has ended.
        cancels: whether an interruption cancels the jobs.
    """

    app: App
    display: Display
    known: Sequence[Job]
    reporter: ci.Reporter
    metadata: Mapping[str, str] | None = None
    tell: Notifier | None = None
    cancels: bool = False
    progress: dict[str, Progress] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    problem: BackendError | None = None

    def __post_init__(self) -> None:
        self.progress.update({job.id: Progress(job) for job in self.known})

    def run(self, ticks: Iterable[Tick], *, once: bool = False) -> int:
        """Show all looks; the exit code.

        Raises:
            JobEndedError: a job ended without success.
            WatchTimeout: a job runs on when the time is up, unless one look was all.
            BackendError: the backend did not answer, and one look was all.
        """
        late = None
        try:
            with self.reporter, self._signals(), self.display:
                for tick in ticks:
                    self._take(tick)
        except WatchTimeout as error:
            late = error
            late.hint = f"Look again: {self._again()}"
        except (AuthError, StoreError):  # neither says anything of the jobs
            say(self._farewell())
            raise
        except KeyboardInterrupt:
            self._leave()
            raise
        finally:
            for failure in self.failures:
                say(clean_line(f"warning: --notify: {failure}"))
        check_all_succeeded([job for job in self._jobs() if has_ended(job)])
        if late is not None and once and self.problem is not None:
            raise self.problem
        if late is not None and not once:
            raise late
        return ExitCode.OK if late is None else ExitCode.STILL_RUNNING

    def _take(self, tick: Tick) -> None:
        job = tick.job
        self.problem = tick.problem or self.problem  # one look at many has a tick for each
        known = self.progress.get(job.id) or Progress(job)
        self.progress[job.id] = known.seen(job, tick.events)
        self.display.show(tick, self.progress[job.id])
        self.reporter.seen(self.progress[job.id])
        if tick.last and self.tell is not None and (wrong := self.tell(job)):
            self.failures.append(wrong)

    def _jobs(self) -> list[Job]:
        return [progress.job for progress in self.progress.values()]

    def _running(self) -> list[Job]:
        return [job for job in self._jobs() if not has_ended(job)]

    # --- being interrupted --------------------------------------------------------------------

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Let SIGTERM say how to come back before it ends the process, or act like Ctrl-C."""
        with terminated_cleanly():
            leave = signal.getsignal(signal.SIGTERM)

            def detach(number: int, frame: FrameType | None) -> None:
                os.write(2, f"\n{self._farewell()}\n".encode(errors="replace"))
                if callable(leave):
                    leave(number, frame)

            handler: Callable[[int, FrameType | None], Any] = detach
            signal.signal(signal.SIGTERM, signal.default_int_handler if self.cancels else handler)
            yield

    def _leave(self) -> None:
        if not self.cancels:
            say(f"\n{self._farewell()}")
            return
        previous = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # one is enough
        try:
            client = self.app.connect(self.app.settings)  # ours was cut off anywhere
            for job in self._running():
                say(clean_line(_cancelled(client.cancel, job)))
        finally:
            signal.signal(signal.SIGTERM, previous)

    def _farewell(self) -> str:
        running = [clean_line(job.id) for job in self._running()]
        if self.progress and not running:  # it was waiting for events that come late
            ended = "the job has ended" if len(self.progress) == 1 else "all jobs have ended"
            return f"Stopped watching; {ended}."
        what = f"; {len(running)} jobs go on" if running else ""
        what = f"; job {running[0]} goes on" if len(running) == 1 else what
        return f"Stopped watching{what}. Watch again:\n  {self._again()}"

    def _again(self) -> str:
        """The command that watches from here what still runs."""
        running = [job.id for job in self._running()]
        pairs = [f"--metadata={key}={value}" for key, value in (self.metadata or {}).items()]
        again = attach_command(self.app, *(pairs or running[:NAMED]))
        more = " …" if not pairs and len(running) > NAMED else ""
        return f"{again}{more}"


def _cancelled(cancel: Callable[[Job], Job], job: Job) -> str:
    try:
        return f"Job {job.id} is {cancel(job).status}."
    except FtjobsError as error:
        return f"Job {job.id} could not be cancelled and may go on: {error.message}"


# --- which jobs ----------------------------------------------------------------------------------


def _find(app: App, words: Sequence[str]) -> list[Job]:
    """The jobs that `words` stand for, each once; without words, the newest that runs."""
    if not words:
        return [_newest_unfinished(app)]
    found = (_look_up(app, word) for word in dict.fromkeys(words))
    return list({job.id: job for job in found}.values())


def _look_up(app: App, word: str) -> Job:
    """The job that `word` stands for.  One that was just created may take a while to appear."""
    found = job_id(app.client, word)
    end = time.monotonic() + app.client.backend.capabilities.list_lag
    said = False
    while True:
        try:
            return app.client.job(found)
        except NotFoundError:
            if time.monotonic() >= end:
                raise
        if not said:
            lag = app.client.backend.capabilities.list_lag
            say(clean_line(f"No job {found} yet; a new one may take {lag:g} s to appear."))
        said = True
        time.sleep(1)


def _newest_unfinished(app: App) -> Job:
    for job in app.client.jobs():
        if not has_ended(job):
            return job
    raise NotFoundError(
        "no job is under way", hint="ftjobs watch latest shows the last one; ftjobs jobs list all."
    )


# --- webhooks ------------------------------------------------------------------------------------


def _in_clear(place: str) -> str:
    """What to know of a place that others can reach: deliveries are signed, but not encrypted."""
    host, _ = address(place)
    return "" if is_loopback(host) else " in plain HTTP: put TLS before it"


def _receiver(place: str, jobs: Sequence[Job] | None) -> Receiver:
    """The receiver at HOST:PORT for these jobs or any, with the secret of the environment."""
    from ftjobs.backends.wire import verify_webhook

    secret = _secret(os.environ)
    with suppress(AuthError):  # a delivery of nothing: a secret that cannot be used is said now
        verify_webhook({}, b"", secret, now=0)

    def verify(headers: Mapping[str, str], body: bytes) -> Mapping[str, Any]:
        return verify_webhook(headers, body, secret, now=time.time(), tolerance=TOLERANCE)

    ids = None if jobs is None else {job.id for job in jobs}
    return Receiver(address(place), verify, wants=lambda job: ids is None or job in ids)


def _secret(environ: Mapping[str, str]) -> str:
    for name in SECRETS:
        if secret := environ.get(name, "").strip():
            return secret
    raise AuthError(f"{SECRETS[0]} is not set", hint="Set it to the secret of the webhook.")
