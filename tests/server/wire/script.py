"""A backend whose answers a test holds in its hands, and clients that ask for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai

from ftjobs.backends.base import Backend, Tools
from ftjobs.backends.fake import FakeBackend
from ftjobs.schema import ChatMessage, Delta, Sampling
from ftjobs.server.database import Database
from ftjobs.server.desk import Desk
from ftjobs.server.options import Options
from ftjobs.server.running import serving
from tests.server.conftest import Served

PLAIN = Sampling()
MODEL = "fake-base"


class Script(FakeBackend):
    """Answers with what `write` gives; knows which answers are being written, and were closed."""

    def __init__(self, write: Callable[[str], Iterator[Delta]], **more: Any) -> None:
        super().__init__(**more)
        self.write = write
        self.tools: Tools = ()
        self.begun: list[str] = []
        self.closed: list[str] = []
        self.change = threading.Condition()

    def stream(
        self,
        model: str,
        messages: Sequence[ChatMessage],
        *,
        sampling: Sampling = PLAIN,
        tools: Tools = (),
    ) -> Iterator[Delta]:
        self.tools = tools
        return self._written(str(messages[-1].content))

    def _written(self, question: str) -> Iterator[Delta]:
        self._note(self.begun, question)
        try:
            yield from self.write(question)
        finally:
            self._note(self.closed, question)

    def _note(self, notes: list[str], question: str) -> None:
        with self.change:
            notes.append(question)
            self.change.notify_all()

    def wait(self, condition: Callable[[], bool], seconds: float = 10) -> None:
        with self.change:
            assert self.change.wait_for(condition, seconds)


@contextmanager
def running(backend: Backend, home: Path, **options: Any) -> Iterator[Served]:
    """A server whose life is not a test's."""
    database = Database(home)
    desk = Desk(backend, Options(**{"port": 0} | options), database)
    with serving(desk) as url:
        served = Served(desk, url)
        yield served
        served.http.close()
    database.close()


def words(text: str, reason: str = "stop") -> Iterator[Delta]:
    """An answer word by word."""
    yield from (Delta(content=word) for word in text.split(" ") if word)
    yield Delta(finish_reason=reason)


def chat(question: str = "q", **more: Any) -> dict[str, Any]:
    """The body of a request."""
    return {"model": MODEL, "messages": [{"role": "user", "content": question}]} | more


def sdk(served: Served, **more: Any) -> openai.OpenAI:
    """OpenAI's own client, which refuses answers that are not of the wire's form."""
    return openai.OpenAI(
        base_url=served.url, api_key="none", max_retries=0, timeout=30,
        _strict_response_validation=True, **more,
    )  # fmt: skip
