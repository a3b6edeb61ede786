"""Jobs go on even if nobody asks for them: after a restart of the machine, or a worker's death."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ftjobs.backends.base import Backend, Hosted
from ftjobs.errors import FtjobsError

__all__ = ["watched_over"]

log = logging.getLogger("ftjobs.server")

EVERY = 30.0
"""Seconds from one look to the next."""
_WORKED_ON = frozenset({"validating_files", "queued", "running", "pausing"})


@contextmanager
def watched_over(backend: Backend, *, every: float = EVERY) -> Iterator[None]:
    """Look after the jobs of this machine now and then; a service looks after its own."""
    if isinstance(backend, Hosted):
        yield
        return
    stop = threading.Event()
    thread = threading.Thread(target=_watch, args=(backend, stop, every), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _watch(backend: Backend, stop: threading.Event, every: float) -> None:
    while True:
        try:
            job = next((each for each in backend.jobs() if each.status in _WORKED_ON), None)
            if job is not None:
                backend.retrieve(job.id)  # a job whose worker has died gets another one
        except FtjobsError as error:
            log.warning("jobs cannot be looked after: %s", error.message)
        if stop.wait(every):
            return
