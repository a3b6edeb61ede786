"""What is done for projects when nobody asks: after a crash, and when time is over."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ftjobs.errors import FtjobsError
from ftjobs.server.caller import Caller
from ftjobs.server.project import Project, Rooms
from ftjobs.server.projects.jobs import CREATE

__all__ = ["clean", "recover", "upkeep"]

PAUSE = 600.0
"""Seconds from one cleaning to the next."""
PATIENCE = 5.0
"""Seconds for which the first request waits for what an earlier server has left to be learned."""

log = logging.getLogger("ftjobs.server")


@contextmanager
def upkeep(rooms: Rooms) -> Iterator[None]:
    """Take up what a server that died has left, then clean now and then."""
    rooms.spool.clean(rooms.uploads.all_parts())  # before the first file comes
    recovered, over = threading.Event(), threading.Event()

    def tend() -> None:
        _try(recover, rooms)
        recovered.set()
        while not over.is_set():
            _try(clean, rooms)
            over.wait(PAUSE)

    thread = threading.Thread(target=tend, name="upkeep", daemon=True)
    thread.start()
    recovered.wait(PATIENCE)
    try:
        yield
    finally:
        over.set()
        thread.join(PATIENCE)


def recover(rooms: Rooms) -> None:
    """Jobs that were created, and of which nobody was told, become their projects'."""

    def find(project: str, action: str, token: str) -> dict[str, Any] | None:
        return _of(rooms, project).recover(token) if action == CREATE else None

    rooms.once.settle(find)


def clean(rooms: Rooms) -> None:
    """Remove what has expired."""
    rooms.once.clean()
    for upload_id in rooms.uploads.overdue():
        if upload := rooms.uploads.find(upload_id):
            _of(rooms, upload.project).expire_upload(upload_id)
    rooms.uploads.clean()
    kept: list[FtjobsError] = []
    for file_id, project in rooms.owners.expired():
        try:
            _of(rooms, project).expire(file_id)
        except FtjobsError as error:  # the others may have better luck
            kept.append(error)
    if kept:
        log.warning("expired files that cannot be deleted: %d: %s", len(kept), kept[-1])


def _try(work: Any, rooms: Rooms) -> None:
    try:
        work(rooms)
    except FtjobsError as error:  # the next time, then
        log.warning("%s: %s", work.__name__, error)


def _of(rooms: Rooms, project: str) -> Project:
    return Project(rooms, Caller(project, "train"))
