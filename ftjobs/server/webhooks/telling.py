"""Webhooks while a server runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from ftjobs.backends.base import Backend
from ftjobs.server.database import Database
from ftjobs.server.once import Once
from ftjobs.server.owners import Owners
from ftjobs.server.projects.jobs import CREATE
from ftjobs.server.rounds import repeated
from ftjobs.server.webhooks.endpoints import Endpoints
from ftjobs.server.webhooks.lookout import Lookout
from ftjobs.server.webhooks.outbox import Outbox
from ftjobs.server.webhooks.sender import Sender

__all__ = ["telling"]

CLEANED = 3600.0
"""Seconds after which what ended long ago is forgotten again."""


@contextmanager
def telling(backend: Backend, database: Database, owners: Owners) -> Iterator[None]:
    """Tell the endpoints of jobs that end."""
    endpoints, outbox = Endpoints(database), Outbox(database)
    sender = Sender(outbox)
    lookout = Lookout(
        backend,
        owners,
        endpoints,
        outbox,
        unanswered=partial(Once(database).unanswered, CREATE),
        found=sender.wake,
    )
    with (
        repeated(outbox.clean, every=CLEANED, name="forgetting old webhooks"),
        sender.sending(),
        lookout.looking(),
    ):
        yield
