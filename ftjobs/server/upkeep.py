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
from ftjobs.server.rounds import repeated

__all__ = ["clean", "recover", "upkeep"]

PAUSE = 600.0
"""Seconds from one round to the next."""
PATIENCE = 5.0
"""Seconds for which the first request waits for what an earlier server has left to be learned."""

log = logging.getLogger("ftjobs.server")


@contextmanager
def upkeep(rooms: Rooms) -> Iterator[None]:
    """Take up what was left without an answer, and clean, both at once and now and then."""
    rooms.spool.clean(rooms.uploads.all_parts())  # before the first file comes
    recovered = threading.Event()

    def learn() -> None:
        try:
            recover(rooms)
        finally:
            recovered.set()

    with (
        repeated(learn, every=PAUSE, name="recovery"),
        repeated(lambda: clean(rooms), every=PAUSE, name="cleaning"),
    ):
        recovered.wait(PATIENCE)
        yield


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


def _of(rooms: Rooms, project: str) -> Project:
    return Project(rooms, Caller(project, "train"))
