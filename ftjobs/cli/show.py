"""Small things that many commands print with."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from types import FrameType

import click

from ftjobs.reports.cells import clean, table


def say(message: str) -> None:
    """A message for people, on standard error.  One that cannot be written is no failure."""
    with suppress(OSError):
        click.echo(message, err=True)


def clean_line(text: str) -> str:
    """Untrusted text as one line that a terminal can be shown."""
    return " ".join(clean(text).split("\n"))


def emit(value: object) -> None:
    """`value` as one line of JSON on standard output.  A number that is none becomes null."""
    from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    try:
        line = to_json(value, inf_nan_mode="null", ensure_ascii=not utf8).decode()
    except PydanticSerializationError:  # half a surrogate pair: a file name that is no UTF-8
        line = json.dumps(to_jsonable_python(value, inf_nan_mode="null"))
    click.echo(line)


def show_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, nothing: str) -> None:
    """Aligned columns on standard output, or a message that there is nothing to list."""
    if rows:
        click.echo(table(head, rows))
    else:
        say(nothing)


def show_pairs(pairs: Sequence[tuple[str, object]]) -> None:
    """`name  value` lines; what has no value is left out."""
    given = [(name, str(value)) for name, value in pairs if value not in (None, "", (), {})]
    longest = max((len(name) for name, _ in given), default=0)
    for name, value in given:
        click.echo(f"{name:<{longest}}  {clean_line(value)}")


def when(seconds: int | None) -> str:
    """A Unix time as ISO 8601 in UTC; "" for none."""
    if seconds is None:
        return ""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return str(seconds)


def span(seconds: float) -> str:
    """A length of time in words: 45 s, 3 min 12 s, 2 h 5 min, 3 d 4 h."""
    whole = round(seconds)
    for size, unit, smaller, small in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"


def size(count: int) -> str:
    """A number of bytes in words."""
    value = float(count)
    for unit in ("B", "KB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def can_redraw(environ: Mapping[str, str]) -> bool:
    """Whether a terminal of this environment is more than a log."""
    return not environ.get("CI") and environ.get("TERM") != "dumb"


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, if that is a terminal that can draw, and a function to move it."""
    can_draw = sys.stderr.isatty() and can_redraw(os.environ)
    with (
        terminated_cleanly() if can_draw else nullcontext(),
        click.progressbar(length=0, label=label, file=sys.stderr, hidden=not can_draw) as bar,
    ):

        def move(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        yield move


@contextmanager
def terminated_cleanly() -> Iterator[None]:
    """Let SIGTERM give the terminal its cursor back before it ends the process; jobs go on.

    The handler raises nothing: an exception between a lock and its release, say inside a thread
    pool, would leave the lock taken and hang the process for good.
    """

    def leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signal's signature
        for stream in (sys.stdout, sys.stderr):
            if stream.isatty():
                os.write(stream.fileno(), b"\x1b[?25h\n")
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
