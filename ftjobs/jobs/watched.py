"""One watched job: what is known of it, which of its events were given, and whether that is all.

Services answer from copies that lag: a status goes back for a moment, a job that was just created
is not found, a list lacks an event that it had, an event comes seconds after later ones.  None of
it is news, and none of it may lose or repeat an event.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from ftjobs.backends.base import Trainer
from ftjobs.backends.retry import at_most
from ftjobs.errors import NotFoundError
from ftjobs.schema import ENDED, Event, Job

KNOWN = ENDED | {"validating_files", "queued", "running", "pausing", "paused", "cancelling"}
FORWARD = ("validating_files", "queued", "running")
"""The statuses that a job goes through in this order, unless it was paused in between."""

OVERLAP = 5.0  # seconds of events that are asked for again, where the service promises no less
SKEW = 86_400.0  # seconds that a service's clock may differ from ours, at the worst
ODD_LOOKS = 3  # odd answers in a row that are always put down to a lagging copy
PATIENCE = 5.0  # seconds for which the backend may repeat a call before the watcher hears of it
SWEEPS = 3  # last readings of the whole list, if it lacks events that it had

log = logging.getLogger("ftjobs")

Clock = Callable[[], float]


def has_ended(job: Job) -> bool:
    """True once the job is over, even under a final status that is not the wire's."""
    return job.ended or (job.status not in KNOWN and job.finished_at is not None)


@dataclass
class Grace:
    """How long odd answers are put down to a copy that lags: `seconds`, and a few looks at least.

    Without `seconds`, the service has no such copies, and every answer counts at once.
    """

    seconds: float
    now: Clock
    looks: int = 0
    began: float = 0.0

    def allows(self, asked: float | None = None) -> bool:
        """Whether one more odd answer in a row may be a lagging copy's.

        `asked` is when the question was sent, by `now`: an answer that took long is as old as
        its question.  None for just now.
        """
        asked = self.now() if asked is None else asked
        if self.looks == 0:
            self.began = asked
        self.looks += 1
        is_brief = self.looks < ODD_LOOKS or asked - self.began < self.seconds
        return self.seconds > 0 and is_brief

    def renew(self) -> None:
        """Note a sound answer."""
        self.looks = 0


class Watched:
    """One job under watch.

    After a look, `observe` takes the job's new state and `events` reads what is new, in this
    order: a job that ends in between then keeps its last events for the next look.  `done` says
    that the job has ended and that every event was given.

    Args:
        backend: where the job runs.
        job: the job, or its id.  A `Job` is known to exist: while the service does not find it
            yet, its last known state stands.
        after: the id of an event; only later ones are given.
        now: a clock that never goes back, in seconds.
        wall: the time of day, in Unix seconds.
    """

    def __init__(
        self, backend: Trainer, job: Job | str, *, after: str | None = None, now: Clock, wall: Clock
    ) -> None:
        self.id = job if isinstance(job, str) else job.id
        self.job = None if isinstance(job, str) else job
        self.done = False
        self.moved = True
        self._backend = backend
        self._given = _Given(after, max(OVERLAP, backend.capabilities.events_lag))
        self._lag = backend.capabilities.events_lag
        self._mute = not backend.capabilities.events
        self._now, self._wall = now, wall
        self._ended_at: float | None = None
        self._lived = False
        self._sweeps = 0
        list_lag = backend.capabilities.list_lag
        self._status_grace = Grace(list_lag, now)
        self._found_grace = Grace(list_lag, now)
        self._events_grace = Grace(list_lag, now)
        self._left: set[str] = set()
        self._warned: set[str] = set()

    @property
    def ended(self) -> bool:
        """Whether a look has shown the job's end; events may still come."""
        return self._ended_at is not None

    @property
    def last_events(self) -> float | None:
        """Seconds until the last reading of events is due, 0 or more; None if none is to come."""
        if self._ended_at is None or self.done:
            return None
        return max(0.0, self._ended_at + self._lag - self._now())

    def hurry(self) -> None:
        """Make the next reading of events the last one, as far as the job has ended."""
        self._lag = 0.0

    def retrieve(self) -> Job:
        """Ask for the job's state.

        Raises:
            NotFoundError: there is no such job, and it is no matter of lag.
            BackendError: the service did not answer.
        """
        asked = self._now()
        try:
            with self.sending():
                job = self._backend.retrieve(self.id)
        except NotFoundError:
            if self.job is not None and self._found_grace.allows(asked):
                return self.job
            raise
        self._found_grace.renew()
        return job

    def sending(self) -> AbstractContextManager[None]:
        """What to ask the backend in: once the job is known, the watcher itself is patient."""
        return nullcontext() if self.job is None else at_most(PATIENCE)

    def observe(self, job: Job) -> None:
        """Take a new state in, unless it is older than the one that is known."""
        if self._is_stale(job):
            return
        self.moved = self.moved or job != self.job
        self._leave(job.status)
        self.job = job
        self._warn_once(job)
        if not has_ended(job):
            self._lived = True
        elif self._ended_at is None:
            self._ended_at = self._now()

    def events(self) -> tuple[Event, ...]:
        """The events that were not given before, oldest first.

        Each reading asks for the latest ones only, but for the first and the last.

        Raises:
            BackendError: the service did not answer; nothing is lost, ask again.
        """
        is_last = self._is_complete()
        fresh, lacks = ((), False) if self._mute else self._read(whole=is_last)
        self._sweeps += is_last
        self.done = is_last and (not lacks or self._sweeps >= SWEEPS)
        self.moved = False
        return fresh

    def _read(self, *, whole: bool) -> tuple[tuple[Event, ...], bool]:
        given, asked = self._given, self._now()
        try:
            with self.sending():
                found = self._backend.events(self.id, after=given.start if whole else given.anchor)
        except NotFoundError:
            if given.start is not None:
                raise  # it may be that event which is not there
            if not self._events_grace.allows(asked):
                self._mute = True
                log.warning("job %r: the service has no events of it", self.id)
            return (), False
        self._events_grace.renew()
        return given.take(found), whole and given.misses(found)

    def _is_complete(self) -> bool:
        """Whether every event of the job must be there by now."""
        if self._ended_at is None:
            return False
        if self._mute or self._now() - self._ended_at >= self._lag:
            return True
        finished = None if self._lived or self.job is None else self.job.finished_at
        return finished is not None and self._wall() - finished > self._lag + SKEW

    def _is_stale(self, job: Job) -> bool:
        known = self.job
        if known is None:
            return False
        if has_ended(known) and self.ended and not has_ended(job):
            return True  # an end is for ever
        if job.status in self._left and self._status_grace.allows():
            return True
        self._status_grace.renew()
        return False

    def _leave(self, status: str) -> None:
        """Note which statuses lie behind one that is observed."""
        if self.job is not None and self.job.status != status:
            self._left.add(self.job.status)
        if status in FORWARD:
            self._left.update(FORWARD[: FORWARD.index(status)])
        self._left.discard(status)

    def _warn_once(self, job: Job) -> None:
        if job.status not in KNOWN and job.status not in self._warned:
            self._warned.add(job.status)
            log.warning("job %r: unknown status %r; still watching", job.id, job.status)


class _Given:
    """Which events were given.

    Events of one second have no stable order, and a late one is sorted before some that were
    given.  So each reading starts `overlap` seconds before the newest event, at `anchor`, and
    ids tell what is new.
    """

    def __init__(self, start: str | None, overlap: float) -> None:
        self.start = self.anchor = start
        self._overlap = overlap
        self._ids: set[str] = set()
        self._recent: list[Event] = []

    def take(self, found: Sequence[Event]) -> tuple[Event, ...]:
        """Those of `found` that were not given yet, oldest first; from now on they are."""
        fresh = {e.id: e for e in found if e.id not in self._ids and e.id != self.start}
        ordered = sorted(fresh.values(), key=lambda event: event.created_at)
        self._ids.update(fresh)
        self._recent = sorted([*self._recent, *ordered], key=lambda event: event.created_at)
        recent = self._recent
        if old := next((place for place, e in enumerate(recent) if not self._is_old(e)), 0):
            self.anchor = recent[old - 1].id
            del recent[:old]
        return tuple(ordered)

    def misses(self, found: Sequence[Event]) -> bool:
        """Whether a whole list lacks events that were given: then it is not the newest."""
        return not self._ids <= {event.id for event in found}

    def _is_old(self, event: Event) -> bool:
        return event.created_at < self._recent[-1].created_at - self._overlap
