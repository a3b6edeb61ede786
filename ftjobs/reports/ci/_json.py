"""Jobs as one JSON document, for scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ftjobs.reports.ci._outcome import Outcome
from ftjobs.reports.words import as_json

if TYPE_CHECKING:
    from ftjobs.backends.failures import Failure

VERSION = 1
"""Raised when a field changes its meaning or goes; new fields may come at any time."""


def json(outcomes: Sequence[Outcome]) -> str:
    """`{"version": 1, "jobs": […]}`.

    Each job is the wire's object under `job`, with `verdict` (succeeded, failed, cancelled,
    unfinished), `identity`, `seconds`, steps, last losses, `checkpoints`, `failure` (what the
    error is known to mean) and `cost`.  What is not known is null.
    """
    document = {"version": VERSION, "jobs": [_row(outcome) for outcome in outcomes]}
    return as_json(document, indent=2) + "\n"


def _row(outcome: Outcome) -> Mapping[str, Any]:
    progress = outcome.progress
    return {
        "job": outcome.job,
        "verdict": outcome.verdict,
        "identity": outcome.identity or None,
        "seconds": outcome.seconds,
        "step": progress.step,
        "total_steps": progress.total,
        "train_loss": progress.train[-1][1] if progress.train else None,
        "valid_loss": progress.valid[-1][1] if progress.valid else None,
        "checkpoints": [point._asdict() for point in outcome.points],
        "failure": _explained(outcome.failure),
        "cost": outcome.cost,
    }


def _explained(failure: Failure | None) -> Mapping[str, str] | None:
    if failure is None:
        return None
    return {"title": failure.title, "cause": failure.cause, "remedy": failure.remedy}
