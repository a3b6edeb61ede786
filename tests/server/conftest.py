"""A real server on loopback, over any backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ftjobs.backends.base import Backend
from ftjobs.backends.fake import FakeBackend
from ftjobs.server.database import Database
from ftjobs.server.desk import Desk
from ftjobs.server.options import Options
from ftjobs.server.running import serving

Serve = Callable[..., AbstractContextManager["Served"]]


class Served:
    """A running server: its desk, and a client of its `/v1`."""

    def __init__(self, desk: Desk, url: str) -> None:
        self.desk, self.url = desk, url
        self.http = httpx2.Client(base_url=url, timeout=30, trust_env=False)
        self._clients = [self.http]

    def as_(self, project: str, scope: Any = "train") -> httpx2.Client:
        """A client with a new key."""
        _, text = self.desk.keys.create(project, scope)
        headers = {"authorization": f"Bearer {text}"}
        client = httpx2.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False)
        self._clients.append(client)
        return client

    def close(self) -> None:
        """Close the clients."""
        for client in self._clients:
            client.close()


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Starts servers: `with serve(backend, port=0) as served`."""

    @contextmanager
    def start(backend: Backend | None = None, **options: Any) -> Iterator[Served]:
        database = Database(tmp_path / "home")
        desk = Desk(backend or FakeBackend(), Options(**{"port": 0} | options), database)
        try:
            with serving(desk) as url, closing(Served(desk, url)) as served:
                yield served
        finally:
            database.close()

    return start


@pytest.fixture
def served(serve: Serve) -> Iterator[Served]:
    """A server over a fake backend, without keys."""
    with serve() as running:
        yield running
