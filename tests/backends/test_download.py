"""Downloads over a wire that is cut, with services that know ranges, ignore them, or lie."""

from __future__ import annotations

import io
import random
import socket
import struct
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftjobs.backends.base import Downloads
from ftjobs.backends.profiles import ANY_URL
from ftjobs.backends.retry import RetryPolicy
from ftjobs.backends.together import TogetherBackend
from ftjobs.backends.wire import WireBackend
from ftjobs.errors import UnreachableError

CONTENT = random.Random(4).randbytes(50_000)


@dataclass
class Server:
    """What it sends, and how: `cuts` are the bytes of each answer after which it resets."""

    content: bytes = CONTENT
    ranges: str = "honoured"  # ignored, shifted
    cuts: list[int] = field(default_factory=list)
    framed: bool = True
    url: str = ""
    asked: list[str] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state: Server

    def do_GET(self) -> None:
        state = self.server_state
        asked = self.headers.get("Range", "")
        state.asked.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-") or 0)
        if state.ranges == "ignored":
            start = 0
        if start >= len(state.content) > 0:
            return self._head(416, b"", {"Content-Range": f"bytes */{len(state.content)}"})
        sent_from = start + 7 if start and state.ranges == "shifted" else start
        body = state.content[sent_from:]
        span = f"bytes {sent_from}-{len(state.content) - 1}/{len(state.content)}"
        self._head(206 if start else 200, body, {"Content-Range": span} if start else {})
        cut = state.cuts.pop(0) if state.cuts else None
        self.wfile.write(body[:cut])
        if cut is not None:
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
        return None

    def _head(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.server_state.framed:
            self.send_header("Content-Length", str(len(body)))
        else:
            self.close_connection = True
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silence."""


KINDS = (WireBackend, TogetherBackend)


@contextmanager
def serving(
    state: Server, kind: type[WireBackend | TogetherBackend] = WireBackend
) -> Iterator[WireBackend | TogetherBackend]:
    handler = type("Handler", (_Handler,), {"server_state": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    profile = ANY_URL.model_copy(update={"base_url": f"http://127.0.0.1:{server.server_port}/v1"})
    waited: list[float] = []
    policy = RetryPolicy(sleep=waited.append, now=lambda: sum(waited))
    backend = kind("loopback", profile, "sk-download", retry=policy)
    try:
        yield backend
    finally:
        backend.close()
        server.shutdown()
        server.server_close()
        thread.join()


@given(
    cuts=st.lists(st.integers(0, 60_000), max_size=6),
    held=st.integers(0, len(CONTENT) - 1),
    ranges=st.sampled_from(["honoured", "ignored", "shifted"]),
)
@settings(max_examples=25, deadline=None)
def test_every_byte_comes_once_whatever_is_cut(cuts: list[int], held: int, ranges: str) -> None:
    target = io.BytesIO(CONTENT[:held])
    target.seek(0, io.SEEK_END)
    with serving(Server(cuts=cuts, ranges=ranges)) as backend:
        backend.download("file-1", target)
    assert target.getvalue() == CONTENT


@pytest.mark.parametrize("kind", KINDS)
def test_it_goes_on_where_it_was_cut(kind: type[WireBackend | TogetherBackend]) -> None:
    state, target, seen = Server(cuts=[20_000, 10_000]), io.BytesIO(), []
    with serving(state, kind) as backend:
        assert isinstance(backend, Downloads)
        backend.download("file-1", target, progress=lambda *now: seen.append(now))
    starts = [int(asked[6:-1] or 0) if asked else 0 for asked in state.asked]
    assert starts[0] == 0
    assert starts == sorted(starts)  # resets may swallow the last bytes, never all of them
    assert target.getvalue() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_longer_start_is_thrown_away() -> None:
    target = io.BytesIO(CONTENT + b"of something else")
    target.seek(0, io.SEEK_END)
    with serving(Server()) as backend:
        backend.download("file-1", target)
    assert target.getvalue() == CONTENT


def test_a_body_that_never_gets_further_is_an_error() -> None:
    state, target = Server(cuts=[1_000] * 500, ranges="ignored"), io.BytesIO()
    with serving(state) as backend, pytest.raises(UnreachableError):
        backend.download("file-1", target)
    assert len(state.asked) < 60


def test_an_empty_file_and_one_of_no_stated_length() -> None:
    for content in (b"", b"x" * 3_000_000):
        target = io.BytesIO()
        with serving(Server(content=content, framed=False)) as backend:
            backend.download("file-1", target)
        assert target.getvalue() == content


def test_no_connection_leaves_the_target_alone() -> None:
    target = io.BytesIO(b"held")
    target.seek(4)
    with serving(Server()) as backend:
        pass  # the server is gone
    with pytest.raises(UnreachableError):
        backend.download("file-1", target)
    assert target.getvalue() == b"held"


@pytest.mark.parametrize("kind", KINDS)
def test_memory_stays_flat(kind: type[WireBackend | TogetherBackend]) -> None:
    size = 64 << 20
    with serving(Server(content=bytes(size)), kind) as backend:
        tracemalloc.start()
        try:
            backend.download("file-1", _Counter())  # type: ignore[arg-type]
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < size // 4


class _Counter:
    """A target that keeps nothing."""

    place = 0

    def tell(self) -> int:
        return self.place

    def seek(self, place: int) -> None:
        self.place = place

    def truncate(self) -> None:
        """There is nothing to cut."""

    def write(self, data: bytes) -> None:
        self.place += len(data)
