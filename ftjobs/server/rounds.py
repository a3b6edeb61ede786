"""What a server does again and again beside its requests, in a thread, whatever goes wrong."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ftjobs.errors import FtjobsError

__all__ = ["repeated"]

log = logging.getLogger("ftjobs.server")

FAREWELL = 3.0
"""Seconds for which a round under way is waited for: one that asks a service may take longer."""


@contextmanager
def repeated(
    work: Callable[[], float | None],
    *,
    every: float,
    name: str,
    longest: float = 0.0,
    woken: threading.Event | None = None,
) -> Iterator[None]:
    """Do `work` at once, and again and again until the block ends.

    An error ends a round, never the thread.  Of several of a kind in a row the first is logged.

    Args:
        work: one round; what it returns is the seconds to the next one, None for `every`.
        every: seconds from the end of a round to the next one.
        name: what it is, for the log.
        longest: seconds to which the rest grows while one round after another fails; no longer
            than `every`, it does not grow.
        woken: ends a rest, once it is set.
    """
    woken = woken or threading.Event()
    over = threading.Event()

    def run() -> None:
        failed, logged = 0, None
        while not over.is_set():
            try:
                rest = work()
                rest, failed, logged = every if rest is None else rest, 0, None
            except Exception as error:  # noqa: BLE001 - it is logged, and the next may do
                if type(error) is not logged:
                    _log(name, error)
                failed, logged = min(failed + 1, 10), type(error)
                rest = min(2**failed * every, max(longest, every))
            woken.wait(rest)
            woken.clear()

    thread = threading.Thread(target=run, name=f"ftjobs {name}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        woken.set()
        thread.join(FAREWELL)


def _log(name: str, error: Exception) -> None:
    if isinstance(error, FtjobsError):
        log.warning("%s: %s", name, error.message)
    else:  # nobody foresaw it: where it was
        log.error("%s", name, exc_info=error)
