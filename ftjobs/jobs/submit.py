"""Submit: plan, and carry the plan out at once."""

from __future__ import annotations

from typing import Any

from ftjobs.backends.base import Progress, Trainer
from ftjobs.backends.retry import RetryPolicy
from ftjobs.jobs.ledger import Ledger
from ftjobs.jobs.plan import PATIENCE, Say, Source, apply, plan_job
from ftjobs.schema import Job


def submit(
    backend: Trainer,
    train: Source,
    *,
    ledger: Ledger | None = None,
    progress: Progress | None = None,
    say: Say = lambda _sentence: None,
    retry: RetryPolicy = PATIENCE,
    **how: Any,
) -> Job:
    """The job with this content: the one that exists, or a new one.

    Nothing is sent before all that can be known here is known to be sound.  `how` are the
    keywords of `plan_job`; the others, and what is raised, are those of `apply`.
    """
    plan = plan_job(backend, train, ledger=ledger, **{"priced": False} | how)
    return apply(backend, plan, ledger=ledger, progress=progress, say=say, retry=retry)
