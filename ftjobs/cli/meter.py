"""How far a long command is: a bar on a terminal that can draw, a line now and then elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from ftjobs.cli.show import can_redraw, clean_line, say, span, terminated_cleanly

EVERY = 10  # seconds between two lines

Move = Callable[[int, int, str], None]
"""Called with (done, total, a note on what is under way)."""


@contextmanager
def meter(label: str, *, now: Callable[[], float] = time.monotonic) -> Iterator[Move]:
    """A function to move the meter with, on standard error.  Ctrl-C is told how to go on."""
    try:
        if sys.stderr.isatty() and can_redraw(os.environ):
            with terminated_cleanly(), _bar(label) as move:
                yield move
        else:
            yield _lines(label, now)
    except KeyboardInterrupt:
        say("\nStopped. What came is stored: run the same command again to go on.")
        raise


@contextmanager
def _bar(label: str) -> Iterator[Move]:
    with click.progressbar(
        length=0, label=label, file=sys.stderr, show_pos=True, item_show_func=lambda note: note
    ) as bar:

        def move(done: int, total: int, note: str) -> None:
            bar.length, bar.current_item = total, clean_line(note)
            bar.make_step(done - bar.pos)
            bar.render_progress()

        yield move


def _lines(label: str, now: Callable[[], float]) -> Move:
    start = last = now()
    first: int | None = None

    def move(done: int, total: int, note: str) -> None:
        nonlocal last, first
        first = done if first is None else first  # what an earlier run did says nothing of the rate
        if now() - last < EVERY:
            return
        last = now()
        rate = (done - first) / (last - start)
        left = f", about {span((total - done) / rate)} left" if rate else ""
        about = f", {clean_line(note)}" if note else ""
        say(f"{label}: {done} of {total}{about}{left}")

    return move
