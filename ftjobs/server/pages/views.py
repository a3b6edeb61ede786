"""What pages say of jobs and files: plain values for the templates, in words and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ftjobs.backends.failures import Failure, failure_of
from ftjobs.jobs.progress import Progress, valid_accuracy, valid_loss
from ftjobs.reports.words import many, size, span, when
from ftjobs.schema import Checkpoint, Event, File, Job

__all__ = ["brief", "check_row", "event_row", "facts", "file_row", "job_row", "settings"]

LONG = 600
"""Characters of a text that a page shows."""

TONES = {
    "succeeded": "ok",
    "failed": "error",
    "cancelled": "faint",
    "paused": "warning",
    "pausing": "warning",
    "running": "info",
}
SIGNS = {"ok": "✓", "error": "✗", "faint": "–", "warning": "‖", "info": "●", "": "○"}
LEVELS = {"error": "error", "warn": "warning", "warning": "warning"}


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job in a line.

    `fraction` is from 0 to 1, None while it is unknown; `time` says what is left, or what it took.
    """

    id: str
    status: str
    tone: str
    sign: str
    name: str
    model: str
    tuned: str
    created: str
    finished: str
    age: str
    fraction: float | None
    step: str
    time: str
    ended: bool


def brief(text: object, most: int = LONG) -> str:
    """The start of a text, and how much of it is missing."""
    words = str(text)
    if len(words) <= most:
        return words
    return f"{words[:most]}… ({many(len(words) - most, 'character')} more)"


def job_row(job: Job, progress: Progress | None, now: float) -> JobRow:
    """A job, with how far it is where that was read.  `now` is in Unix seconds."""
    tone = TONES.get(job.status, "")
    return JobRow(
        id=job.id,
        status=brief(job.status, 40),
        tone=tone,
        sign=SIGNS[tone],
        name=brief(job.suffix or "", 80),
        model=brief(job.model, 120),
        tuned=job.fine_tuned_model or "",
        created=when(job.created_at),
        finished=when(job.finished_at),
        age=f"{_about(max(0.0, now - job.created_at))} ago",
        fraction=_fraction(job, progress),
        step=_step(progress),
        time=_time(job, progress, now),
        ended=job.ended,
    )


def _fraction(job: Job, progress: Progress | None) -> float | None:
    if job.status == "succeeded":
        return 1.0
    return None if progress is None else progress.fraction


def _step(progress: Progress | None) -> str:
    if progress is None or progress.step is None:
        return ""
    return f"{progress.step:,}" + (f" of {progress.total:,}" if progress.total else "")


def _time(job: Job, progress: Progress | None, now: float) -> str:
    if job.ended:
        took = None if job.finished_at is None else job.finished_at - job.created_at
        return "" if took is None else f"took {span(max(0, took))}"
    left = None if progress is None else progress.eta(now)
    return "" if left is None else f"about {_about(left)} left"


def _about(seconds: float) -> str:
    """A length of time; from ten minutes on, seconds say nothing."""
    return span(seconds if seconds < 600 else 60 * round(seconds / 60))


def facts(job: Job, progress: Progress) -> list[tuple[str, str]]:
    """What else is known of a job, in short."""
    known = {
        "Seed": job.seed,
        "Trained tokens": None if job.trained_tokens is None else f"{job.trained_tokens:,}",
        "Speed": progress.tokens_per_second
        and job.status == "running"
        and f"{progress.tokens_per_second:,.0f} tokens/s",
        "Metrics to": ", ".join(str(each.get("type", "")) for each in job.integrations),
    }
    return [(name, brief(value)) for name, value in known.items() if value not in (None, "", False)]


def settings(job: Job) -> list[tuple[str, str, str]]:
    """(name, in force, asked) of a job's hyperparameters; asked is "" where it is the same."""
    method = (job.method or {}).get("type", "")
    asked = _mapping(_mapping(job.method).get(str(method))).get("hyperparameters")
    wanted = {**_mapping(asked)}
    rows = []
    for name in {**job.hyperparameters, **wanted}:
        value = job.hyperparameters.get(name)
        was = wanted.get(name, value)
        rows.append((brief(name, 80), _told(value), "" if was == value else _told(was)))
    return rows


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _told(value: object) -> str:
    return brief(f"{value:g}" if isinstance(value, float) else value, 200)


def failure(job: Job) -> Failure | None:
    """What is known of the error that a job ended with."""
    return failure_of(job.error)


def event_row(event: Event) -> dict[str, str]:
    """An event in a line."""
    return {
        "id": event.id,
        "at": when(event.created_at),
        "tone": LEVELS.get(event.level, ""),
        "level": brief(event.level, 20) if event.level in LEVELS else "",
        "message": brief(event.message),
    }


def check_row(checkpoint: Checkpoint) -> dict[str, str]:
    """A checkpoint in a line; numbers that were not measured are ""."""
    metrics = checkpoint.metrics
    numbers = {
        "train_loss": metrics.train_loss,
        "valid_loss": valid_loss(metrics),
        "train_accuracy": metrics.train_mean_token_accuracy,
        "valid_accuracy": valid_accuracy(metrics),
    }
    shown = {name: "" if value is None else f"{value:.4f}" for name, value in numbers.items()}
    model = checkpoint.fine_tuned_model_checkpoint
    return {"id": checkpoint.id, "step": f"{checkpoint.step_number:,}", "model": model, **shown}


def file_row(file: File) -> dict[str, str]:
    """A file in a line."""
    return {
        "id": file.id,
        "name": brief(file.filename, 200),
        "size": size(file.bytes),
        "purpose": brief(file.purpose, 40),
        "status": brief(file.status, 40),
        "created": when(file.created_at),
        "expires": when(file.expires_at),
        "details": brief(file.status_details or ""),
        "sha256": file.sha256 or "",
    }
