"""What was read of jobs, so that each further look reads only what is new.

One look serves everybody who watches a job: ten open pages ask the backend as often as one.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import cast

from markupsafe import Markup

from ftjobs.backends.base import Trainer
from ftjobs.jobs.progress import Progress
from ftjobs.jobs.watched import Watched
from ftjobs.schema import Capabilities, Event, Job
from ftjobs.server.pages.curves import charts
from ftjobs.server.project import Project

__all__ = ["Looks", "Seen"]

FRESH = 1.0
"""Seconds for which a look is good enough for the next one who asks."""

POINTS = 1_000_000
"""Points of curves that are kept in memory, of all jobs together: some 100 MB."""


class _Eyes:
    """The events of a job, as whoever looks just now may read them."""

    def __init__(self, capabilities: Capabilities) -> None:
        self.capabilities = capabilities
        self.project: Project | None = None

    def events(self, job_id: str, *, after: str | None = None) -> Sequence[Event]:
        return () if self.project is None else self.project.events(job_id, after=after)


class Seen:
    """What was seen of a job: its progress, and its curves, which are drawn once for everybody.

    It is `complete` once the job has ended and its last events have come.
    """

    def __init__(self, progress: Progress, *, complete: bool = False) -> None:
        self.progress, self.complete = progress, complete

    @cached_property
    def charts(self) -> Markup:
        """Loss and accuracy as figures."""
        return charts(self.progress)


class _Look:
    """One job: what was seen of it, and when."""

    def __init__(self, job: Job, capabilities: Capabilities, now: Callable[[], float]) -> None:
        self.eyes = _Eyes(capabilities)
        # Of a backend's methods, it needs no others: what it observes is handed to it.
        self.watched = Watched(cast(Trainer, self.eyes), job, now=now, wall=time.time)
        self.seen, self.lock, self.at = Seen(Progress(job)), threading.Lock(), float("-inf")

    def look(self, project: Project, job: Job, now: float) -> Seen:
        self.watched.observe(job)
        shown = self.watched.job or job
        is_due = now - self.at >= FRESH or shown.status != self.seen.progress.job.status
        events: Sequence[Event] = ()
        if is_due and not self.watched.done:
            self.eyes.project = project
            events, self.at = self.watched.events(), now
        progress, complete = self.seen.progress, self.watched.done
        if events or shown != progress.job or complete != self.seen.complete:
            self.seen = Seen(progress.seen(shown, events), complete=complete)
        return self.seen

    @property
    def points(self) -> int:
        seen = self.seen.progress
        return sum(map(len, (seen.train, seen.valid, seen.train_accuracy, seen.valid_accuracy)))


class Looks:
    """Jobs and how far they are, those that were looked at last.

    Args:
        now: a clock that never goes back, in seconds.
        points: of curves, that are kept.
    """

    def __init__(self, *, now: Callable[[], float] = time.monotonic, points: int = POINTS) -> None:
        self._now, self._points = now, points
        self._lock = threading.Lock()
        self._looks: OrderedDict[str, _Look] = OrderedDict()

    def look(self, project: Project, job: Job) -> Seen:
        """How far a job is, its newest events read; `job` is this project's, just retrieved.

        Raises:
            BackendError: the events cannot be read; the next look reads them.
        """
        look = self._of(project, job)
        with look.lock:
            return look.look(project, job, self._now())

    def _of(self, project: Project, job: Job) -> _Look:
        with self._lock:
            if job.id not in self._looks:
                self._looks[job.id] = _Look(job, project.capabilities, self._now)
            self._looks.move_to_end(job.id)
            self._forget(job.id)
            return self._looks[job.id]

    def _forget(self, kept: str) -> None:
        """Drop what was not looked at for longest, where there are too many points."""
        points = 0
        for job_id in [*reversed(self._looks)]:
            points += self._looks[job_id].points
            if points > self._points and job_id != kept:
                del self._looks[job_id]
