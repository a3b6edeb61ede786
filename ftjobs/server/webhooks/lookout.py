"""Finds the jobs that have ended, by the backend's list of jobs, and only while somebody is told.

What an endpoint is told: jobs of its project that had not ended when it was made.  That is known
of a job that a look found unfinished since then, and of one whose own times say so: it began or
ended while no server ran, or between two looks.

A job whose request has no answer yet may have ended already; whose it is will be known later, so
nobody's job waits for the requests that were there before its end was seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from ftjobs.backends.base import Backend, Hosted
from ftjobs.schema import Job
from ftjobs.server.owners import Owners
from ftjobs.server.rounds import repeated
from ftjobs.server.webhooks.endpoints import Endpoint, Endpoints
from ftjobs.server.webhooks.outbox import Outbox

__all__ = ["Lookout"]

REST = 2.0
"""Seconds between two looks at a backend on this machine."""
REST_HOSTED = 20.0
"""Seconds between two looks at a service, which limits how often it may be asked."""
SHARE = 20
"""A rest is so many times as long as the look before it, or longer: long lists take their time."""
LONGEST_REST = 300.0
"""Seconds, while the backend cannot be asked."""
SETTLED = 20
"""Jobs in a row that were told already, after which older ones were too: no list is read further.
More than one, as lists of services may lag."""


class Lookout:
    """Looks again and again.

    Args:
        backend: whose jobs.
        owners: whose job is whose.
        endpoints: who is told.
        outbox: where it is written down.
        unanswered: tokens of the requests whose job may not be its project's yet.
        found: called when there is something to send.
    """

    def __init__(
        self,
        backend: Backend,
        owners: Owners,
        endpoints: Endpoints,
        outbox: Outbox,
        *,
        unanswered: Callable[[], set[str]],
        found: Callable[[], None] = lambda: None,
    ) -> None:
        self._backend, self._owners = backend, owners
        self._endpoints, self._outbox, self._found = endpoints, outbox, found
        self._unanswered = unanswered
        self._rest = REST_HOSTED if isinstance(backend, Hosted) else REST
        self._open, self._told = outbox.jobs()
        self._awaited: dict[str, set[str]] = {}  # what nobody's jobs wait for
        self._looked = False  # to the end of the list, since the start

    def looking(self) -> AbstractContextManager[None]:
        """Look until the block ends."""
        return repeated(
            self._round, every=self._rest, longest=LONGEST_REST, name="looking for ended jobs"
        )

    def _round(self) -> float:
        began = time.monotonic()
        self.look()
        return max(self._rest, SHARE * (time.monotonic() - began))

    def look(self) -> None:
        """Write down what has ended since the last look."""
        if not (endpoints := self._endpoints.all()):
            return
        now = time.time()
        seen, ended = self._listed()
        newest = max(endpoint.created_at for endpoint in endpoints)
        # Written when it tells an endpoint something new, not at every look.
        if news := [job.id for job in seen if self._open.get(job.id, 0.0) <= newest]:
            self._outbox.note_open(news, now)
            self._open |= dict.fromkeys(news, now)
        for job in self._known(ended):
            self._outbox.tell(job, [each for each in endpoints if self._wants(each, job)])
            self._told.add(job.id)
            self._open.pop(job.id, None)
            self._found()

    def _listed(self) -> tuple[list[Job], list[Job]]:
        """Jobs that have not ended, and those that have and were not told, by their ends."""
        seen: list[Job] = []
        ended: list[Job] = []
        missing, settled = set(self._open), 0
        for job in self._backend.jobs():
            missing.discard(job.id)
            settled = settled + 1 if job.id in self._told else 0
            if not job.ended:
                seen.append(job)
            elif job.id not in self._told:
                ended.append(job)
            elif self._looked and settled >= SETTLED and not missing:
                break
        self._looked = True
        return seen, sorted(ended, key=lambda job: job.finished_at or 0)

    def _known(self, ended: list[Job]) -> Iterator[Job]:
        """Those of which it is known whose they are, and that they are nobody's."""
        if not ended:
            return
        unanswered = self._unanswered()  # before owners: a job gets its owner, then the answer
        for job in ended:
            if not self._owners.projects("job", job.id):
                awaited = self._awaited.get(job.id, unanswered) & unanswered
                if awaited:
                    self._awaited[job.id] = awaited
                    continue
            self._awaited.pop(job.id, None)
            yield job

    def _wants(self, endpoint: Endpoint, job: Job) -> bool:
        if job.status not in endpoint.events:
            return False
        if endpoint.project is not None and not self._owners.has("job", job.id, endpoint.project):
            return False
        if self._open.get(job.id, 0.0) >= endpoint.created_at:
            return True
        # A job's times are whole seconds: what ended within that of the endpoint is rather told to
        # one that came after than never told to one that was there.
        second = int(endpoint.created_at)
        return max(job.finished_at or 0, job.created_at) >= second
