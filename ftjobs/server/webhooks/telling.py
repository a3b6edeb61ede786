"""Webhooks while a server runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ftjobs.backends.base import Backend
from ftjobs.server.database import Database
from ftjobs.server.owners import Owners
from ftjobs.server.webhooks.endpoints import Endpoints
from ftjobs.server.webhooks.lookout import Lookout
from ftjobs.server.webhooks.outbox import Outbox
from ftjobs.server.webhooks.sender import FAREWELL, Sender

__all__ = ["telling"]


@contextmanager
def telling(backend: Backend, database: Database, owners: Owners) -> Iterator[None]:
    """Tell the endpoints of jobs that end."""
    endpoints, outbox = Endpoints(database), Outbox(database)
    outbox.clean()
    sender = Sender(outbox)
    lookout = Lookout(backend, owners, endpoints, outbox, found=sender.wake)
    stop = threading.Event()
    threads = [
        threading.Thread(target=each.run, args=(stop,), name="ftjobs-webhooks", daemon=True)
        for each in (lookout, sender)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        sender.wake()
        for thread in threads:  # a look at a service may take long: it is not waited for
            thread.join(FAREWELL + 1)
