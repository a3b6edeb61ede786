"""A server with jobs to look at, and clients that read its pages as browsers do."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ftjobs.backends.fake import FakeBackend
from ftjobs.schema import Job, JobSpec
from tests.browser import Browser
from tests.server.conftest import Serve, Served

HOSTILE = (
    "</script><script>document.title='owned'</script>\u202egnp.exe <img src=x onerror=alert(1)>"
)
ROW = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]}

Make = Callable[..., Job]


class Site(httpx2.Client):
    """A client of a server's pages."""

    def __init__(self, served: Served, **options: Any) -> None:
        base = served.url.removesuffix("/v1")
        super().__init__(base_url=base, timeout=30, trust_env=False, **options)

    def token(self, place: str) -> str:
        """What the first form of a page carries."""
        found = re.search(r'name="token" value="([0-9a-f]+)"', self.get(place).text)
        assert found
        return found[1]

    def words(self, place: str) -> str:
        """The text of a page in one line, entities undone."""
        page = re.sub("</?bdi[^>]*>", "", self.get(place).text)
        body = re.sub("<[^>]*>", " ", page)
        return " ".join(html.unescape(body).split())


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend(steps=6)


@pytest.fixture
def running(serve: Serve, backend: FakeBackend) -> Iterator[Served]:
    with serve(backend) as served:
        yield served


@pytest.fixture
def site(running: Served) -> Iterator[Site]:
    with Site(running) as client:
        yield client


@pytest.fixture
def make(backend: FakeBackend, tmp_path: Path) -> Make:
    """Make a job, and let it take so many steps."""
    path = tmp_path / "train.jsonl"
    path.write_text(12 * f"{json.dumps(ROW)}\n")

    def start(moves: int = 0, **spec: Any) -> Job:
        file = backend.upload(path)
        job = backend.create(JobSpec(model="fake-base", training_file=file.id, **spec))
        for _ in range(moves):
            job = backend.retrieve(job.id)
        return job

    return start


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    started = Browser(tmp_path_factory.mktemp("browser"))
    yield started
    started.close()
