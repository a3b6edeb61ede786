"""What the present state of a Fireworks job tells → events: the service has no list of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ftjobs.backends.curves import metrics_of, step_text
from ftjobs.backends.nouns import Raw, instant, mapping, text
from ftjobs.schema import Event, Job

__all__ = ["place_of", "story"]

CREATED, STARTED, MOVING, STEPS, ENDING = 0, 20, 100, 10**9, 2 * 10**9
WAITING: Mapping[str, int] = {"validating_files": 10, "queued": 11}
"""Places in the story of a job: an event's id begins with its place, so that ids have an order."""


def place_of(event_id: str) -> int:
    """Where an event of this module stands in its job's story; before all if it is another's."""
    found = re.match(r"fwevent-(\d{10})-", event_id)
    return int(found[1]) if found else -1


def story(job: Job, raw: Raw, steps: Sequence[Raw]) -> list[Event]:
    """What a job's state tells, oldest first.

    What is implied by the state has the time of creation, what is seen that of the last change.
    """
    word = text(raw.get("state"))
    seen = int(instant(raw.get("updateTime"))) or job.created_at
    end = job.finished_at or max(seen, job.created_at)
    told = [_event(job, CREATED, f"Created fine-tuning job: {job.id}", job.created_at, word)]
    if job.status in ("running", "succeeded"):
        told.append(_event(job, STARTED, "Fine-tuning job started", job.created_at, word))
    if not job.ended:
        told += _present(job, raw, word, max(seen, job.created_at))
    last = max((metrics_of(row).step or 0 for row in steps), default=0)  # the file is whole
    told += [_step(job, row, end, last) for row in steps]
    return told + (_ending(job, word, end) if job.ended else [])


def _present(job: Job, raw: Raw, word: str, now: int) -> list[Event]:
    """How far a job is that has not ended."""
    if job.status in WAITING:
        return [_event(job, WAITING[job.status], f"Job is {job.status} ({word})", now, word)]
    progress = mapping(raw.get("jobProgress"))
    percent, epoch = (_whole(progress.get(field)) for field in ("percent", "epoch"))
    place = MOVING + 2 * (101 * min(epoch, 10**6) + min(percent, 100))
    told = []
    if percent:
        message = f"Epoch {epoch + 1}: {percent} %"
        told.append(_event(job, place, message, now, word, percent=percent, epoch=epoch))
    if word != "JOB_STATE_RUNNING":
        told.append(_event(job, place + 1, f"Job is {job.status} ({word})", now, word))
    return told


def _whole(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _ending(job: Job, word: str, end: int) -> list[Event]:
    if job.status == "succeeded":
        made = f"New fine-tuned model created: {job.fine_tuned_model}"
        return [
            _event(job, ENDING, made, end, word),
            _event(job, ENDING + 1, "The job has successfully completed", end, word),
        ]
    if job.status == "failed":
        said = (job.error and job.error.message) or word
        return [_event(job, ENDING, said, end, word, level="error")]
    return [_event(job, ENDING, "Fine-tuning job cancelled", end, word)]


def _event(
    job: Job, place: int, message: str, when: int, word: str, *, level: str = "info", **data: object
) -> Event:
    return Event(
        id=f"fwevent-{place:010}-{job.id}",
        created_at=when,
        level=level,
        message=message,
        data={"type": word, **data},
    )


def _step(job: Job, row: Raw, when: int, last: int) -> Event:
    metrics = metrics_of(row, total_steps=last)
    return Event(
        id=f"fwevent-{STEPS + (metrics.step or 0):010}-{job.id}",
        created_at=when,
        message=step_text(metrics),
        type="metrics",
        data={**row, **metrics.model_dump(exclude_none=True)},
    )
