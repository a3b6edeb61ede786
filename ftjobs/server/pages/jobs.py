"""Jobs: the list, one job, its events, and the buttons that steer it.

What changes while it is looked at is one template, drawn into the page and, by itself, into what
the page asks for every other second.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import dropwhile, islice
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from ftjobs.errors import BackendError
from ftjobs.jobs.progress import Progress
from ftjobs.schema import Event, Job
from ftjobs.server.desk import Reads, Trains
from ftjobs.server.pages import views
from ftjobs.server.pages.room import OursOnly, Room, RoomOf, show
from ftjobs.server.project import Project, Verb

router = APIRouter()

ROWS = 20
"""Jobs of a page."""

EVENTS = 100
"""Events of a page of them."""

NEWEST = 40
"""Events that a job's own page shows."""

QUICK, SLOW = 2, 15
"""Seconds between two looks: while a job goes on, and while one may be resumed or come."""

FILTERS = ("unfinished", "running", "queued", "paused", "succeeded", "failed", "cancelled")

Word = Annotated[str, Query(max_length=200)]


@router.get("/")
def list_jobs(
    request: Request, project: Reads, room: RoomOf, status: Word = "", after: Word = ""
) -> Response:
    """Jobs, newest first."""
    return show(request, "jobs.html", **_jobs(project, room, status, after))


@router.get("/live/jobs")
def live_jobs(
    request: Request, project: Reads, room: RoomOf, status: Word = "", after: Word = ""
) -> Response:
    """What changes of the list."""
    return show(request, "jobs_live.html", **_jobs(project, room, status, after))


def _jobs(project: Project, room: Room, status: str, after: str) -> dict[str, Any]:
    found = list(islice(_chosen(project, status, after), ROWS + 1))
    shown, more = found[:ROWS], len(found) > ROWS
    now = time.time()
    rows = [views.job_row(job, _progress(project, room, job), now) for job in shown]
    moving = any(not row.ended and row.status != "paused" for row in rows)
    return {
        "rows": rows,
        "chosen": status,
        "after": after,
        "filters": FILTERS,
        "older": shown[-1].id if more else "",
        "again": QUICK if moving else 0 if after else SLOW,
    }


def _chosen(project: Project, status: str, after: str) -> Iterator[Job]:
    jobs: Iterator[Job] = project.jobs()
    if after:
        jobs = dropwhile(lambda job: job.id != after, jobs)
        next(jobs, None)
    if status == "unfinished":
        return (job for job in jobs if not job.ended)
    return (job for job in jobs if not status or job.status == status)


def _progress(project: Project, room: Room, job: Job) -> Progress | None:
    """How far a job of the list is; None where it has ended, or cannot be asked just now."""
    if job.ended:
        return None
    try:
        return room.looks.look(project, job).progress
    except BackendError:  # one job that cannot be read hides no other
        return None


@router.get("/jobs/{job_id}")
def show_job(request: Request, project: Reads, room: RoomOf, job_id: str) -> Response:
    """One job."""
    return show(request, "job.html", **_job(project, room, job_id))


@router.get("/live/jobs/{job_id}")
def live_job(request: Request, project: Reads, room: RoomOf, job_id: str) -> Response:
    """What changes of a job."""
    return show(request, "job_live.html", **_job(project, room, job_id))


def _job(project: Project, room: Room, job_id: str) -> dict[str, Any]:
    seen = room.looks.look(project, project.retrieve(job_id))
    progress = seen.progress
    job, capabilities = progress.job, project.capabilities
    checkpoints = project.checkpoints(job_id) if capabilities.checkpoints else ()
    return {
        "job": job,
        "row": views.job_row(job, progress, time.time()),
        "error": job.error,
        "failure": views.failure(job),
        "facts": views.facts(job, progress),
        "settings": views.settings(job),
        "metadata": [(views.brief(k, 80), views.brief(v)) for k, v in job.metadata.items()],
        "method": str((job.method or {}).get("type", "")),
        "charts": seen.charts,
        "checkpoints": [views.check_row(each) for each in reversed(checkpoints)],
        "events": [views.event_row(each) for each in reversed(progress.tail[-NEWEST:])],
        "verbs": _verbs(project, job),
        "again": 0 if seen.complete else SLOW if job.status == "paused" else QUICK,
    }


def _verbs(project: Project, job: Job) -> list[str]:
    """What this caller can do with a job in this state."""
    if job.ended or not project.caller.may("train"):
        return []
    if job.status in ("paused", "pausing"):
        return ["resume", "cancel"]
    return ["pause", "cancel"] if project.capabilities.pause else ["cancel"]


@router.get("/jobs/{job_id}/events")
def list_events(request: Request, project: Reads, job_id: str, start: Word = "") -> Response:
    """Events of a job, newest first, from `start` on."""
    job = project.retrieve(job_id)
    found: list[Event] = []
    if project.capabilities.events:
        events = project.rewind(job_id, start=start or None)
        if start:  # not every backend begins there
            events = dropwhile(lambda event: event.id != start, events)
        found = list(islice(events, EVENTS + 1))
    return show(
        request,
        "events.html",
        job=job,
        events=[views.event_row(each) for each in found[:EVENTS]],
        start=start,
        older="".join(each.id for each in found[EVENTS:]),
    )


@router.post("/jobs/{job_id}/{verb}", dependencies=[OursOnly])
def steer(project: Trains, job_id: str, verb: Verb) -> Response:
    """Cancel, pause or resume a job, and show it."""
    return RedirectResponse(f"/jobs/{project.steer(job_id, verb).id}", 303)
