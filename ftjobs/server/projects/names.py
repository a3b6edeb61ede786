"""Names that were found once, so that a chat request costs no look at the backend.

Only what was found is remembered, never that something is missing.  Whose a job is, is asked anew
each time; a name that outlives its model is refused by the backend.
"""

from __future__ import annotations

__all__ = ["Names"]


class Names:
    """Names of base models, of the jobs that made the others, and of jobs that are over.

    Each change is one operation on a dictionary, which threads do not get in between of.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, str] = {}
        self._bases: set[str] = set()
        self._settled: set[str] = set()

    def job(self, name: str) -> str | None:
        """The job that made a tuned model or a checkpoint; None where it was not found yet."""
        return self._jobs.get(name)

    def learn(self, name: str, job_id: str) -> None:
        """A job made this model, whatever it was taken for before."""
        self._jobs[name] = job_id
        self._bases.discard(name)

    def is_base(self, name: str) -> bool:
        """Whether it was found to be a base model."""
        return name in self._bases

    def learn_base(self, name: str) -> None:
        """It is a base model, unless a job is known to have made it."""
        if name not in self._jobs:
            self._bases.add(name)

    def forget(self, job_id: str) -> None:
        """The models of a job may be gone."""
        for name in [name for name, made_by in list(self._jobs.items()) if made_by == job_id]:
            self._jobs.pop(name, None)

    def is_settled(self, job_id: str) -> bool:
        """Whether a job is over, and its result files are known to be its project's."""
        return job_id in self._settled

    def settle(self, job_id: str) -> None:
        """It is."""
        self._settled.add(job_id)
