"""Receivers on loopback, and a server's rooms without a server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ftjobs.backends.fake import FakeBackend
from ftjobs.schema import Job, JobSpec
from ftjobs.server.database import Database
from ftjobs.server.once import Once
from ftjobs.server.owners import Owners
from ftjobs.server.projects.jobs import CREATE
from ftjobs.server.webhooks.endpoints import Endpoints
from ftjobs.server.webhooks.lookout import Lookout
from ftjobs.server.webhooks.outbox import Outbox

TRAIN = Path(__file__).parents[3] / "datasets/support/train.jsonl"


@dataclass
class Taker:
    """Somebody who takes deliveries: answers with `statuses` in turn, the last again and again."""

    url: str = ""
    statuses: list[int] = field(default_factory=lambda: [204])
    headers: dict[str, str] = field(default_factory=dict)
    taken: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def wait(self, count: int = 1, seconds: float = 20.0) -> list[tuple[dict[str, str], bytes]]:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.taken) >= count, seconds), self.taken
            return list(self.taken)


@contextmanager
def taking(answer: Callable[[Any], None] | None = None, **how: Any) -> Iterator[Taker]:
    """A receiver; `answer` gets the handler of each request instead, after it was noted."""
    taker = Taker(**how)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            with taker.arrived:
                number = len(taker.taken)
                taker.taken.append(({k.lower(): v for k, v in self.headers.items()}, body))
                taker.arrived.notify_all()
            if answer is not None:
                answer(self)
                return
            self.send_response(taker.statuses[min(number, len(taker.statuses) - 1)])
            for name, value in taker.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *args: Any) -> None:
            pass  # the sender went away, as it should

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        taker.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
        try:
            yield taker
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def taker() -> Iterator[Taker]:
    with taking() as one:
        yield one


class Rooms:
    """What webhooks need of a server, over a scripted backend."""

    def __init__(self, home: Path, backend: FakeBackend | None = None) -> None:
        self.home = home
        self.backend = backend or FakeBackend(steps=2)
        self.database = Database(home)
        self.owners = Owners(self.database)
        self.endpoints, self.outbox = Endpoints(self.database), Outbox(self.database)

    def lookout(self) -> Lookout:
        unanswered = partial(Once(self.database).unanswered, CREATE)
        return Lookout(
            self.backend, self.owners, self.endpoints, self.outbox, unanswered=unanswered
        )

    def start(self, project: str | None = "a") -> Job:
        """A new job of a project; None: nobody's."""
        file = self.backend.upload(TRAIN)
        job = self.backend.create(JobSpec(model="fake-base", training_file=file.id))
        if project is not None:
            self.owners.add("job", job.id, project)
        return job

    def end(self, job: Job) -> Job:
        """Let a job run to its end."""
        while not job.ended:
            job = self.backend.retrieve(job.id)
        return job

    def states(self) -> list[tuple[Any, ...]]:
        """(job, state, tries) of every delivery."""
        sql = "SELECT job, state, tries FROM deliveries ORDER BY job, state"
        return self.database.rows(sql)

    def until(self, *wanted: tuple[Any, ...], seconds: float = 20.0) -> None:
        """Wait until the deliveries are in these states."""
        end = time.monotonic() + seconds
        while self.states() != list(wanted):
            assert time.monotonic() < end, self.states()
            time.sleep(0.01)


@pytest.fixture
def rooms(tmp_path: Path) -> Iterator[Rooms]:
    made = Rooms(tmp_path / "home")
    yield made
    made.database.close()
