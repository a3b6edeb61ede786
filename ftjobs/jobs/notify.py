"""Tell somebody that a job has ended: a POST of JSON, or a command."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Protocol
from urllib.parse import urlsplit

from ftjobs.backends.post import post_json
from ftjobs.errors import ConfigError, FtjobsError, ServiceError, UnreachableError
from ftjobs.schema import Job

__all__ = ["Notifier", "notifier"]

TRIES = 3
DEADLINE = 10.0  # seconds for one POST
PATIENCE = 60.0  # seconds for a command
FIRST_REST = 1.0  # seconds; doubled for each further try
LOST_CAUSE = 3  # failures in a row after which nobody is told any more


class Notifier(Protocol):
    """Tells somebody about a job that has ended."""

    def __call__(self, job: Job) -> str | None:
        """Tell about `job`.  What went wrong, in one line that quotes no secret; None for nothing.

        After three failures in a row it gives up: a dead address must not hold hundreds of jobs.
        """
        ...


def notifier(target: str, *, sleep: Callable[[float], None] = time.sleep) -> Notifier:
    """The notifier of a URL or a command.

    A URL gets `{"job": …, "status": …, "model": …, "error": …}` by POST, with three tries of ten
    seconds each.  A command is split as a shell would, but runs without one, and finds
    `FTJOBS_JOB_ID`, `FTJOBS_STATUS` and `FTJOBS_MODEL` in its environment; it has a minute.

    Raises:
        ConfigError: `target` is neither.
    """
    tell = _url(target, sleep) if target.startswith(("http://", "https://")) else _command(target)
    return _Patient(tell)


class _Patient:
    def __init__(self, tell: Callable[[Job], str | None]) -> None:
        self._tell = tell
        self._failures = 0

    def __call__(self, job: Job) -> str | None:
        if self._failures >= LOST_CAUSE:
            return None
        wrong = self._tell(job)
        self._failures = self._failures + 1 if wrong else 0
        if wrong and self._failures == LOST_CAUSE:
            return f"{wrong}; nothing more is sent there"
        return wrong


def message(job: Job) -> dict[str, object]:
    """What a URL is sent about a job."""
    error = job.error and {"code": job.error.code, "message": job.error.message}
    return {"job": job.id, "status": job.status, "model": job.fine_tuned_model, "error": error}


# --- a URL ---------------------------------------------------------------------------------------


def _url(url: str, sleep: Callable[[float], None]) -> Callable[[Job], str | None]:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host:
        raise ConfigError("--notify: not a URL", hint="It looks like https://host/path.")

    def tell(job: Job) -> str | None:
        for rest in [FIRST_REST * 2**number for number in range(TRIES - 1)] + [0.0]:
            try:
                post_json(url, message(job), deadline=DEADLINE)
            except (ServiceError, UnreachableError) as error:
                wrong = error.message
                if rest:
                    sleep(rest)
            except FtjobsError as error:
                return f"{host}: {error.message}"
            else:
                return None
        return f"{host}: {wrong} ({TRIES} tries)"

    return tell


# --- a command -----------------------------------------------------------------------------------


def _command(line: str) -> Callable[[Job], str | None]:
    try:
        argv = shlex.split(line)
    except ValueError as error:
        raise ConfigError(f"--notify: cannot split the command: {error}") from None
    if not argv or shutil.which(argv[0]) is None:
        raise ConfigError(
            "--notify: there is no such command",
            hint="Give a URL (https://host/path), or a program with its arguments.",
        )
    return lambda job: _run(argv, _environment(job))


def _run(argv: list[str], environment: Mapping[str, str]) -> str | None:
    """Run a program; its output goes to standard error, as standard output is for data."""
    try:
        done = subprocess.run(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=2,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{argv[0]} took more than {PATIENCE:g} s"
    except OSError as error:
        return f"{argv[0]}: {error.strerror}"
    return f"{argv[0]} ended with {done.returncode}" if done.returncode else None


def _environment(job: Job) -> dict[str, str]:
    """Ours, and the job; a service's words lose what no terminal should be shown."""
    about = {
        "FTJOBS_JOB_ID": job.id,
        "FTJOBS_STATUS": job.status,
        "FTJOBS_MODEL": job.fine_tuned_model or "",
    }
    clean = {name: "".join(filter(str.isprintable, value)) for name, value in about.items()}
    return {**os.environ, **clean}
