"""How far a long command is: a bar on a terminal that can draw, a line now and then elsewhere."""

from __future__ import annotations

import logging
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import click

from ftjobs.cli.show import can_redraw, clean_line, say, span, terminated_cleanly
from ftjobs.reports.cells import cut

EVERY = 10  # seconds between two lines
REDRAWN = 0.1  # seconds between two drawings of a bar

Move = Callable[[int, int, str], None]
"""Called with (done, total, a note on what is under way)."""


@contextmanager
def meter(label: str, *, now: Callable[[], float] = time.monotonic) -> Iterator[Move]:
    """A function to move the meter with, on standard error.  Ctrl-C is told how to go on."""
    try:
        if sys.stderr.isatty() and can_redraw(os.environ):
            with terminated_cleanly(), _bar(label, now) as move:
                yield move
        else:
            with _warnings(lambda: None, lambda: None):
                yield _lines(label, now)
    except KeyboardInterrupt:
        say("\nStopped. What came is stored: run the same command again to go on.")
        raise


@contextmanager
def _bar(label: str, now: Callable[[], float]) -> Iterator[Move]:
    """A bar that is drawn from the first move on, so that what is said before stands above it."""
    bar: Any = None
    drawn = -math.inf

    def erase() -> None:
        if bar is not None:
            click.echo("\r\x1b[K", file=sys.stderr, nl=False)

    def redraw() -> None:
        if bar is not None:
            bar._last_line = None  # or it draws nothing, since nothing has moved
            bar.render_progress()

    left = _Left(now)
    with ExitStack() as stack, _warnings(erase, redraw):

        def move(done: int, total: int, note: str) -> None:
            nonlocal bar, drawn
            if bar is None:
                bar = stack.enter_context(_drawn(label))
            if done < bar.pos:  # the next part of the work
                drawn = -math.inf
            words = ", ".join(filter(None, (note, left(done, total))))
            if now() - drawn < REDRAWN and done < total:
                return
            drawn = now()
            bar.length, bar.pos, bar.finished = total, done, done >= total
            bar.current_item = cut(clean_line(words), max(8, _columns() - _taken(bar)))
            bar.render_progress()

        yield move


def _columns() -> int:
    return shutil.get_terminal_size().columns


def _taken(bar: Any) -> int:
    """Columns before the note; none is left free at the end, where some terminals wrap."""
    return len(f"{bar.label}  [{' ' * bar.width}]  {bar.format_pos()}  ") + 1


def _drawn(label: str) -> Any:
    return click.progressbar(
        length=0,
        label=label,
        file=sys.stderr,
        width=max(4, min(30, _columns() - 60)),
        show_eta=False,
        show_pos=True,
        item_show_func=lambda note: note,
    )


class _Left:
    """How long it takes yet, in words, by the rate of this run and this part of the work.

    What an earlier run did says nothing of the rate.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._first = self._last = -1
        self._start = now()

    def __call__(self, done: int, total: int) -> str:
        if self._first < 0 or done < self._last:
            self._first, self._start = done, self._now()
        self._last = done
        if done == self._first or done >= total:
            return ""
        seconds = (self._now() - self._start) * (total - done) / (done - self._first)
        return f"about {span(seconds)} left"


class _Warnings(logging.Handler):
    """What the library warns of, such as a service that asks to wait: above the bar."""

    def __init__(self, before: Callable[[], None], after: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._before, self._after = before, after

    def emit(self, record: logging.LogRecord) -> None:
        self._before()
        say(clean_line(record.getMessage()))
        self._after()


@contextmanager
def _warnings(before: Callable[[], None], after: Callable[[], None]) -> Iterator[None]:
    """Show warnings, with `before` and `after` each of them."""
    log, handler = logging.getLogger("ftjobs"), _Warnings(before, after)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


def _lines(label: str, now: Callable[[], float]) -> Move:
    last, left = now(), _Left(now)

    def move(done: int, total: int, note: str) -> None:
        nonlocal last
        words = [clean_line(note), left(done, total)]
        if now() - last >= EVERY:
            last = now()
            say(", ".join([f"{label}: {done} of {total}", *filter(None, words)]))

    return move
