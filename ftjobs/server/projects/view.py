"""What all nouns of a project share: the rooms, who asks, and what is whose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ftjobs.backends.base import Backend, Hosted
from ftjobs.errors import NotFoundError
from ftjobs.schema import Capabilities
from ftjobs.server.caller import Caller
from ftjobs.server.database import Database
from ftjobs.server.locks import Counts, Locks
from ftjobs.server.metrics import Metrics
from ftjobs.server.once import Once, digest_of
from ftjobs.server.options import Options
from ftjobs.server.owners import Kind, Owned, Owners
from ftjobs.server.projects.names import Names
from ftjobs.server.quota import Quota
from ftjobs.server.spool import Spool
from ftjobs.server.uploads import UploadTable
from ftjobs.server.words import Words

__all__ = ["Rooms", "View"]


class Rooms:
    """What all projects of one server share."""

    def __init__(self, backend: Backend, options: Options, database: Database) -> None:
        self.backend, self.options = backend, options
        self.owners, self.once = Owners(database), Once(database)
        self.uploads = UploadTable(database)
        self.quota = Quota(
            options.quota_bytes,
            lambda project: self.owners.size(project) + self.uploads.pending_bytes(project),
        )
        self.spool = Spool(database.home)
        self.words = Words(options.models, database.home)
        self.names, self.locks, self.creating = Names(), Locks(), Counts()
        self.metrics = Metrics()


class View:
    """The backend as one caller sees it."""

    def __init__(self, rooms: Rooms, caller: Caller) -> None:
        self.rooms, self.caller = rooms, caller
        self.backend, self.options, self.owners = rooms.backend, rooms.options, rooms.owners
        self.project = caller.project

    @property
    def capabilities(self) -> Capabilities:
        """What the backend can do."""
        return self.backend.capabilities

    @property
    def is_hosted(self) -> bool:
        """Whether a service answers, which may see images and reads calls of tools itself."""
        return isinstance(self.backend, Hosted)

    def once(
        self, key: str | None, action: str, request: Any, act: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """The answer to a request that may be sent again under an Idempotency-Key; see `Once`."""
        digest = digest_of(action, request)
        return self.rooms.once.run(self.project, key, digest, lambda _token: act())

    def knows(self, key: str) -> bool:
        """Whether a request of this project came under an Idempotency-Key before."""
        return self.rooms.once.knows(self.project, key)

    def _sees(self, kind: Kind, id_: str) -> bool:
        return self.caller.sees_all or self.owners.has(kind, id_, self.project)

    def _owned(self, kind: Kind) -> Mapping[str, Owned] | None:
        """Ids that are this project's, the latest first; None for a caller who sees all."""
        return None if self.caller.sees_all else self.owners.of(kind, self.project)


def no_file(file_id: str) -> NotFoundError:
    """There is no such file for this project."""
    return NotFoundError(f"No such File object: {file_id[:200]}", param="id", code="not_found")


def no_job(job_id: str) -> NotFoundError:
    """There is no such job for this project."""
    return NotFoundError(f"Could not find fine tune: {job_id[:200]}", code="fine_tune_not_found")
