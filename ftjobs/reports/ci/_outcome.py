"""What is reported of a job: the facts that every format shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from ftjobs.backends.failures import Failure, failure_of
from ftjobs.jobs.watch import has_ended
from ftjobs.reports.markdown import one_line
from ftjobs.reports.words import span
from ftjobs.schema import IDENTITY, Job

if TYPE_CHECKING:
    from ftjobs.jobs.budget import Estimate
    from ftjobs.jobs.progress import Progress

Verdict = Literal["succeeded", "failed", "cancelled", "unfinished"]

LONGEST_SECONDS = 10**10
"""More, about three centuries, is a clock that is wrong."""

LONGEST_WORDS = 4_000
"""Characters that are kept of a service's reason."""

_SUFFIX_IDENTITY = re.compile(r"-([0-9a-f]{12})\Z")


class Point(NamedTuple):
    """A checkpoint: its step, losses where they were measured, and the model's name."""

    step: int
    train_loss: float | None
    valid_loss: float | None
    model: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """A job as a pipeline is told of it.

    Attributes:
        progress: what was seen of it.
        now: when that was, in Unix seconds.
        cost: the estimate that it was submitted with.
    """

    progress: Progress
    now: float
    cost: Estimate | None = None

    @property
    def job(self) -> Job:
        """Its last state."""
        return self.progress.job

    @property
    def verdict(self) -> Verdict:
        """How it stands: a final status that is not the wire's counts as failed."""
        if not has_ended(self.job):
            return "unfinished"
        if self.job.status in ("succeeded", "cancelled"):
            return "succeeded" if self.job.status == "succeeded" else "cancelled"
        return "failed"

    @property
    def headline(self) -> str:
        """The verdict in a line, with the service's own word where the job has not ended."""
        status = one_line(self.job.status)
        return f"still {status}" if self.verdict == "unfinished" else status

    @property
    def reason(self) -> str:
        """The service's words about why it failed, in one line; "" where it gives none."""
        error = self.job.error
        words = [] if error is None else [error.code, error.message]
        return ": ".join(one_line(word[:LONGEST_WORDS]) for word in words if word)

    @property
    def failure(self) -> Failure | None:
        """What these words are known to mean."""
        return failure_of(self.job.error)

    @property
    def identity(self) -> str:
        """The identity of its content (`ftjobs.jobs.identity`), as far as the job tells it."""
        if given := self.job.metadata.get(IDENTITY):
            return given
        match = _SUFFIX_IDENTITY.search(self.job.suffix or "")
        return match[1] if match else ""

    @property
    def seconds(self) -> float:
        """How long it has taken, queueing included."""
        end = self.now if self.job.finished_at is None else self.job.finished_at
        return float(min(max(0, end - self.job.created_at), LONGEST_SECONDS))

    @property
    def points(self) -> tuple[Point, ...]:
        """Its checkpoints, in order of appearance."""
        train, valid = dict(self.progress.train), dict(self.progress.valid)
        return tuple(
            Point(step, train.get(step), valid.get(step), model)
            for step, model in self.progress.checkpoints
        )

    def facts(self) -> Iterator[tuple[str, str]]:
        """(name, text) in the order to show them, "" for unknown.  Texts are untrusted."""
        job, progress = self.job, self.progress
        yield "Job", job.id
        yield "Status", job.status
        yield "Base model", job.model
        yield "Fine-tuned model", job.fine_tuned_model or ""
        yield "Steps", _steps(progress)
        yield "Training loss", _last(progress.train)
        yield "Validation loss", _last(progress.valid)
        yield "Duration", span(self.seconds)
        yield "Trained tokens", "" if job.trained_tokens is None else f"{job.trained_tokens:,}"
        yield "Cost estimate", "" if self.cost is None else money(self.cost)
        yield "Identity", self.identity


def money(cost: Estimate) -> str:
    """A cost in words: what is expected, and the most that it can be."""
    from ftjobs.data.cost import dollars  # here: they bring the whole checker along
    from ftjobs.jobs.budget import bound

    if cost.local:
        return "none: your own machine"
    if cost.usd is None:
        return "unknown: no price for this model"
    most = "" if cost.most_usd is None else f", at most {bound(cost.most_usd)}"
    return f"{dollars(cost.usd)}{most}"


def number(value: float | None) -> str:
    """A loss with four digits; "" for none."""
    return "" if value is None else f"{value:.4f}"


def _steps(progress: Progress) -> str:
    if progress.step is None:
        return ""
    return f"{progress.step:,} of {progress.total:,}" if progress.total else f"{progress.step:,}"


def _last(series: tuple[tuple[int, float], ...]) -> str:
    return number(series[-1][1]) if series else ""
