"""What Together tells of a job's life → our events: its list of events, and the steps between."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ftjobs.backends.curves import metrics_of, step_text
from ftjobs.backends.nouns import Raw, instant, noun, text
from ftjobs.schema import Event

__all__ = ["level_of", "since", "story"]

LEVELS: Mapping[str, str] = {
    "warning": "warn",
    "legacy_info": "info",
    "legacy_iwarning": "warn",
    "legacy_ierror": "error",
}
TYPES: Mapping[str, str] = {"job_error": "error", "warning": "warn", "billing_limit": "warn"}
"""The level of an event that has none, by its type."""

AFTER_TRAINING = frozenset(
    {"training_complete", "job_complete", "job_error", "job_stopped", "cancel_requested"}
) | {"model_compressing", "model_compression_complete", "model_uploading", "model_upload_complete"}
"""Types of events that no step follows."""

KEPT_ELSEWHERE = frozenset({"message", "created_at", "object", "level", "hash"})
"""Fields of an event that are not in its data."""


@dataclass(frozen=True)
class Told:
    """An event and its place in the story.

    The service gives steps no time, so a story is cut into segments by the events that tell how
    far the training is (anchors).  In a segment the anchor comes first; between its steps and its
    other events no order is known.
    """

    event: Event
    segment: int
    is_anchor: bool = False


def story(job_id: str, said: Iterable[Raw], steps: Iterable[Raw], name: str) -> list[Told]:
    """Events and steps, oldest first, each once."""
    said = _once(said, job_id)
    waiting, total = list(steps), _total_steps(said)
    told: list[Told] = []
    others: list[Told] = []
    started, segment, when = False, 0, 0

    def close(due: int) -> None:
        made = (_step(row, job_id, total, when, name) for row in waiting[:due])
        told.extend([*(Told(event, segment) for event in made), *others])
        del waiting[:due], others[:]

    for raw in said:
        event = _event(raw, job_id, name)
        if not _is_anchor(raw):
            others.append(Told(event, segment))
            continue
        close(_due(raw, waiting) if started else 0)
        started = started or raw.get("type") == "training_start"
        segment, when = segment + 1, event.created_at
        told.append(Told(event, segment, is_anchor=True))
    close(len(waiting))
    return list({each.event.id: each for each in told}.values())


def since(told: Sequence[Told], after: str | None) -> tuple[Event, ...]:
    """The events that follow the one called `after`; all where that id is unknown.

    Where a step and another event may have come in either order, each follows the other: who
    remembers only the last one is given the other again rather than never.
    """
    place = next((n for n, each in enumerate(told) if each.event.id == after), -1)
    if place < 0:
        return tuple(each.event for each in told)
    last = told[place]
    return tuple(
        each.event
        for n, each in enumerate(told)
        if n > place or (n < place and _is_unordered(each, last))
    )


def _is_unordered(one: Told, other: Told) -> bool:
    return (
        one.segment == other.segment
        and not (one.is_anchor or other.is_anchor)
        and (one.event.metrics is None) != (other.event.metrics is None)
    )


def _is_anchor(raw: Raw) -> bool:
    kind = text(raw.get("type"))
    return kind == "training_start" or kind in AFTER_TRAINING or isinstance(raw.get("step"), int)


def _once(said: Iterable[Raw], job_id: str) -> list[Raw]:
    """Events by time, without repeats."""
    return list({_event_id(raw, job_id): raw for raw in _oldest_first(list(said))}.values())


def _oldest_first(said: Sequence[Raw]) -> list[Raw]:
    """Events by time; those of one time as they came, or backwards if the list is."""
    times = [instant(raw.get("created_at")) for raw in said]
    arrived = said[::-1] if times and times[0] > times[-1] else said
    return sorted(arrived, key=lambda raw: instant(raw.get("created_at")))


def _due(raw: Raw, waiting: Sequence[Raw]) -> int:
    """How many of the waiting steps happened before this event."""
    if text(raw.get("type")) in AFTER_TRAINING:
        return len(waiting)
    step = raw.get("step")
    if not isinstance(step, int):
        return 0
    return sum((metrics_of(row).step or 0) <= step for row in waiting)


def _total_steps(said: Iterable[Raw]) -> int | None:
    return next(
        (raw["total_steps"] for raw in said if isinstance(raw.get("total_steps"), int)), None
    )


def _event(raw: Raw, job_id: str, name: str) -> Event:
    known = {
        "id": _event_id(raw, job_id),
        "created_at": int(instant(raw.get("created_at"))),
        "level": level_of(raw),
        "message": text(raw.get("message")) or text(raw.get("type")),
        "type": "message",
        "data": {k: v for k, v in raw.items() if v is not None and k not in KEPT_ELSEWHERE},
    }
    return noun(Event, known, name)


def _event_id(raw: Raw, job_id: str) -> str:
    """An id made of an event's content, since the service gives it none."""
    content = [job_id, *(raw.get(field) for field in ("created_at", "type", "step", "message"))]
    return text(raw.get("hash")) or _digest(content)


def _step(row: Raw, job_id: str, total: int | None, when: int, name: str) -> Event:
    metrics = metrics_of(row, total_steps=total)
    known = {
        "id": _digest([job_id, "metrics", sorted(row.items())]),
        "created_at": max(when, int(instant(row.get("timestamp")))),
        "message": step_text(metrics),
        "type": "metrics",
        "data": {**row, **metrics.model_dump(exclude_none=True)},
    }
    return noun(Event, known, name)


def level_of(raw: Raw) -> str:
    """The level of an event: info, warn, error, or the service's own word."""
    word = text(raw.get("level")) or TYPES.get(text(raw.get("type")), "info")
    return LEVELS.get(word, word)


def _digest(content: Sequence[object]) -> str:
    return "ftevent-" + hashlib.sha256(repr(content).encode()).hexdigest()[:24]
