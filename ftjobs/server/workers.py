"""Jobs go on even if nobody asks for them: after a restart of the machine, or a worker's death."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ftjobs.backends.base import Backend, Hosted
from ftjobs.server.rounds import repeated

__all__ = ["watched_over"]

EVERY = 30.0
"""Seconds from one look to the next."""
_WORKED_ON = frozenset({"validating_files", "queued", "running", "pausing"})


@contextmanager
def watched_over(backend: Backend, *, every: float = EVERY) -> Iterator[None]:
    """Look after the jobs of this machine now and then; a service looks after its own."""
    if isinstance(backend, Hosted):
        yield
        return

    def look() -> None:
        job = next((each for each in backend.jobs() if each.status in _WORKED_ON), None)
        if job is not None:
            backend.retrieve(job.id)  # a job whose worker has died gets another one

    with repeated(look, every=every, name="looking after jobs"):
        yield
