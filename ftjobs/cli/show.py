"""Small things that many commands print with."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from types import FrameType

import click

from ftjobs.reports.cells import clean, cut, disarmed, table
from ftjobs.reports.words import as_json
from ftjobs.reports.words import size as size
from ftjobs.reports.words import span as span
from ftjobs.reports.words import when as when


def say(message: str) -> None:
    """A message for people, on standard error.  One that cannot be written is no failure."""
    with suppress(OSError):
        click.echo(message, err=True)


_OBEYED = re.compile(
    r"[\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]|(?<=##)\[|(?<=##vso)\["
)
"""What JSON may hold as it is, but a terminal or a pipeline's log would obey."""


def clean_line(text: str) -> str:
    """Untrusted text as one line that neither a terminal nor a pipeline's log obeys."""
    return disarmed(" ".join(clean(text).split("\n")))


def is_runner(environ: Mapping[str, str]) -> bool:
    """Whether what is printed becomes the log of GitHub Actions or Azure Pipelines."""
    return environ.get("GITHUB_ACTIONS") == "true" or "TF_BUILD" in environ


def emit(value: object) -> None:
    """`value` as one line of JSON on standard output.  A number that is none becomes null."""
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    line = as_json(value, ascii_only=not utf8)
    click.echo(_OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", line))  # only strings hold it


def show_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, nothing: str) -> None:
    """Aligned columns on standard output, or a message that there is nothing to list."""
    if rows:
        click.echo(table(head, [[clean_line(cell) for cell in row] for row in rows]))
    else:
        say(nothing)


def show_pairs(pairs: Sequence[tuple[str, object]]) -> None:
    """`name  value` lines; what has no value is left out."""
    given = [(name, str(value)) for name, value in pairs if value not in (None, "", (), {})]
    longest = max((len(name) for name, _ in given), default=0)
    for name, value in given:
        click.echo(f"{name:<{longest}}  {clean_line(value)}")


def can_redraw(environ: Mapping[str, str]) -> bool:
    """Whether a terminal of this environment is more than a log."""
    return not environ.get("CI") and environ.get("TERM") != "dumb"


Move = Callable[[int, int], None]
EVERY = 10.0  # seconds between two lines about a transfer, where no bar can be drawn


@contextmanager
def progress_bar(label: str, *, in_bytes: bool = False) -> Iterator[Move]:
    """A bar on standard error, if that is a terminal that can draw, and a function to move it.

    With `in_bytes` the bar says how much of how much is done and how fast; where none can be
    drawn, lines say it.
    """
    can_draw = sys.stderr.isatty() and can_redraw(os.environ)
    with (
        terminated_cleanly() if can_draw else nullcontext(),
        click.progressbar(
            length=0,
            label=label,
            file=sys.stderr,
            hidden=not can_draw,
            width=12 if in_bytes else 36,
            show_eta=not in_bytes,
            item_show_func=_what_fits if in_bytes else None,
        ) as bar,
    ):
        started = said = time.monotonic()
        first = 0

        def move(done: int, total: int) -> None:
            nonlocal started, said, first
            now = time.monotonic()
            if done < bar.pos:  # the next file
                bar.finished, bar.avg, bar.pos = False, [], done
                started, first = now, done
            words = transfer(done, total, done - first, now - started) if in_bytes else None
            bar.length = total
            bar.update(done - bar.pos, words)
            if words and not can_draw and now - said >= EVERY:
                said = now
                say(f"{label}: {words}")

        yield move


def _what_fits(words: str | None) -> str | None:
    """What a line has room for, beside label and bar."""
    return words and cut(words, max(8, shutil.get_terminal_size().columns - 36))


def transfer(done: int, total: int, moved: int, seconds: float) -> str:
    """How far a transfer is, how fast, and for how long yet: `moved` bytes took `seconds`."""
    words = f"{size(done)} of {size(total)}" if total else size(done)
    if moved <= 0 or seconds < 1:
        return words
    rate = moved / seconds
    left = f", {span((total - done) / rate)} left" if total > done else ""
    return f"{words}, {size(round(rate))}/s{left}"


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
