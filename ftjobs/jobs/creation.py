"""Creating a job once, through every fault: never two paid jobs for one intent.

The wire has no idempotency key, so a lost answer leaves a question: was the job made?  It is
answered by looking for the job before anything is sent again; lists lag behind, so the look
takes as long as the service's lists may.  Where two machines create at the same moment, both
see both jobs in the end, and the younger one is cancelled by the one who made it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ftjobs.backends.base import Trainer
from ftjobs.backends.retry import TRANSIENT, RetryPolicy
from ftjobs.errors import BackendError, RateLimitError
from ftjobs.jobs.identity import adoptable, jobs_of
from ftjobs.schema import Job, JobSpec

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds between two looks

AGAIN = "Run the same command again: it finds the job if it was made, and never makes two."


@dataclass
class Creation:
    """One intent to create a job.

    Attributes:
        backend: where.
        spec: the job, marked with its identity.
        identity: what the job is found by.
        past: ids of jobs of this identity that ended in vain before; they do not count.
        retry: how long to keep trying, and the clock.
        say: told in a sentence what takes time.
        unsure: whether a create may have been acted on without an answer.
    """

    backend: Trainer
    spec: JobSpec
    identity: str
    past: frozenset[str]
    retry: RetryPolicy
    say: Callable[[str], None]
    unsure: bool = field(default=False, init=False)
    _since: float = field(default=0.0, init=False)

    def job(self) -> Job:
        """The job of this intent, made or found.

        Raises:
            BackendError: the service refused it, or could not be asked whether it was made; then
                the hint says that running again is safe.
        """
        try:
            return self.retry.call(self._attempt, on=TRANSIENT)
        except BackendError as error:
            may_pass = isinstance(error, TRANSIENT)
            if self.unsure and may_pass and (job := self._look_if_possible()):
                return job
            if self.unsure or may_pass:
                error.hint = f"{error.hint}\n{AGAIN}".strip()
            raise

    def doubt(self) -> None:
        """Take it that the job may have been made just now: look before anything is sent."""
        self.say("no answer: looking whether the job was made")
        self.unsure, self._since = True, self.retry.now()

    def _attempt(self) -> Job:
        if self.unsure and (job := self._look()):
            return job
        try:
            return self.backend.create(self.spec)
        except TRANSIENT as error:
            if may_have_acted(error):
                self.doubt()
            raise

    def _look(self) -> Job | None:
        """The job, if it appears for as long as lists may lag behind the last create."""
        made = self._listed(lambda jobs: bool(jobs), since=self._since)
        self.unsure = bool(made)
        return adoptable(made) or next(iter(made), None)

    def _look_if_possible(self) -> Job | None:
        try:
            return self._look()
        except TRANSIENT:
            return None

    def without_double(self, job: Job) -> Job:
        """`job`, or the older one that another machine made at the same moment.

        Every younger double is cancelled.  Where lists cannot be read, or do not show it, `job` is
        returned: an answer that was got must not be lost.

        Raises:
            BackendError: a double could not be cancelled; the hint has the command.
        """
        try:
            made = self._listed(lambda jobs: job.id in {j.id for j in jobs}, since=self.retry.now())
        except BackendError as error:
            self.say(f"could not look for doubles: {error.message}")
            return job
        if job.id not in {other.id for other in made}:
            self.say(
                f"{self.backend.name} does not list job {job.id} by its identity: look for it "
                "before you submit the same again"
            )
        kept = adoptable(made) or job
        for double in made:
            if double.id != kept.id and not double.ended:
                self._cancel(double, kept)
        return kept

    def _listed(self, is_enough: Callable[[list[Job]], bool], *, since: float) -> list[Job]:
        """The jobs of this intent, once they are enough or lists have had time to catch up."""
        end, pause = since + self.backend.capabilities.list_lag, FIRST_PAUSE
        while True:
            is_last = self.retry.now() >= end
            found = jobs_of(self.backend, self.identity)
            made = [job for job in found if job.id not in self.past]
            if is_last or is_enough(made):
                return made
            self.retry.sleep(max(0.0, min(pause, end - self.retry.now())))
            pause = min(2 * pause, LONGEST_PAUSE)

    def _cancel(self, double: Job, kept: Job) -> None:
        self.say(f"job {double.id} is a double of {kept.id}: cancelling it")
        try:
            self.backend.cancel(double.id)
        except BackendError as error:
            error.hint = f"It is a double of {kept.id}.  End it: ftjobs jobs cancel {double.id}"
            raise


def may_have_acted(error: BackendError) -> bool:
    """Whether a service may have done what was asked before this error came."""
    return error.acted is not False and not isinstance(error, RateLimitError)
