"""How far a long command is: a bar on a terminal that can draw, a line now and then elsewhere."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import click

from ftjobs.cli.show import can_redraw, clean_line, say, span, terminated_cleanly

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
            yield _lines(label, now)
    except KeyboardInterrupt:
        say("\nStopped. What came is stored: run the same command again to go on.")
        raise


@contextmanager
def _bar(label: str, now: Callable[[], float]) -> Iterator[Move]:
    """A bar that is drawn from the first move on, so that what is said before stands above it."""
    with ExitStack() as stack:
        bar: Any = None
        drawn = -math.inf

        def move(done: int, total: int, note: str) -> None:
            nonlocal bar, drawn
            if bar is None:
                bar = stack.enter_context(_drawn(label))
            if done < bar.pos:  # the next part of the work
                bar.pos, bar.avg, bar.finished, bar.start = 0, [], False, time.time()
                drawn = -math.inf
            if now() - drawn < REDRAWN and done < total:
                return
            drawn = now()
            bar.length, bar.current_item = total, clean_line(note)
            bar.make_step(done - bar.pos)
            bar.render_progress()

        yield move


def _drawn(label: str) -> Any:
    return click.progressbar(
        length=0, label=label, file=sys.stderr, show_pos=True, item_show_func=lambda note: note
    )


def _lines(label: str, now: Callable[[], float]) -> Move:
    start = last = now()
    first: int | None = None

    def move(done: int, total: int, note: str) -> None:
        nonlocal last, first, start
        if first is not None and done < first:  # the next part of the work
            first, start = None, now()
        first = done if first is None else first  # what an earlier run did says nothing of the rate
        if now() - last < EVERY:
            return
        last = now()
        rate = (done - first) / max(last - start, 1e-9)
        left = f", about {span((total - done) / rate)} left" if rate else ""
        about = f", {clean_line(note)}" if note else ""
        say(f"{label}: {done} of {total}{about}{left}")

    return move
