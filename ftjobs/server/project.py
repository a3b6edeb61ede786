"""The backend as one project sees it: pages and wire read and write through it, and only so.

What is another project's does not exist here: no list, no id, no `after` and no error tells of it.
Names of base models are those that clients know: a model that lies in a folder has a name of the
operator's choice, and no path ever leaves.  Callers with the scope admin, and whoever is on this
machine where no key was made, see everything.

What projects can still learn of each other: how busy the machine is, by how long they wait; the
names that base models have; and, with a backend that knows files by their bytes (the local one),
that the id of a file is the same for whoever has the same bytes, name and purpose, which two
projects can find out together.  Such a file is stored a second time in no less time than the first.
With a hosted backend whose tuned models have names like those of base models, a tuned model can be
taken for a base model in the moment in which the service lists it and its job does not name it yet.
"""

from __future__ import annotations

import logging
from typing import Any

from ftjobs.errors import FtjobsError
from ftjobs.server.caller import Caller
from ftjobs.server.projects.jobs import CREATE
from ftjobs.server.projects.models import Models
from ftjobs.server.projects.uploads import Uploads
from ftjobs.server.projects.view import Rooms

__all__ = ["Project", "Rooms", "clean", "recover_all"]

log = logging.getLogger("ftjobs.server")


class Project(Uploads, Models):
    """What one caller can do; made for each request."""


def recover_all(rooms: Rooms) -> None:
    """Take up what a server that died has left; called before the first request.

    Jobs that were created and not answered for become their projects'; half-received files go.
    """
    rooms.spool.clean(rooms.uploads.all_parts())

    def recover(project: str, action: str, token: str) -> dict[str, Any] | None:
        return _of(rooms, project).recover(token) if action == CREATE else None

    rooms.once.settle(recover)
    clean(rooms)


def clean(rooms: Rooms) -> None:
    """Remove what has expired; called now and then."""
    rooms.once.clean()
    for upload_id in rooms.uploads.overdue():
        if upload := rooms.uploads.find(upload_id):
            _of(rooms, upload.project).expire_upload(upload_id)
    rooms.uploads.clean()
    for file_id, project in rooms.owners.expired():
        try:
            _of(rooms, project).expire(file_id)
        except FtjobsError as error:  # the next time, then
            log.warning("the file %s has expired and stays: %s", file_id, error)


def _of(rooms: Rooms, project: str) -> Project:
    return Project(rooms, Caller(project, "train"))
