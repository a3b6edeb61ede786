from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from ftjobs.backends.fake import FakeBackend
from ftjobs.schema import ChatMessage, Delta
from tests.server.conftest import Serve, Served
from tests.server.guard.raw import all_of, answer, connected, head

BODY = b'{"model":"fake-base","stream":true,"messages":[{"role":"user","content":"q"}]}'
ASK = head("POST", "/v1/chat/completions", content_type="application/json",
           content_length=len(BODY)) + BODY  # fmt: skip


def seconds_until_closed(sock: Any) -> float:
    began = time.monotonic()
    all_of(sock)
    return time.monotonic() - began


@pytest.mark.parametrize("sent", [b"", b"GET /v1/models HTTP/1.1\r\nhost: local"])
def test_a_head_that_does_not_end_closes_the_connection(serve: Serve, sent: bytes) -> None:
    with serve(patience=0.3) as served, connected(served.url) as sock:
        sock.sendall(sent)
        assert seconds_until_closed(sock) < 5


def test_a_head_byte_by_byte_does_so_too_and_after_a_first_request(serve: Serve) -> None:
    with serve(patience=0.5) as served, connected(served.url) as sock:
        sock.sendall(head("GET", "/v1/models"))
        assert answer(sock)[0] == 200
        began = time.monotonic()
        sock.settimeout(0.05)
        closed = False
        for byte in b"GET / HTTP/1.1\r\nx: " + b"y" * 400:
            sock.sendall(bytes([byte]))
            with suppress(TimeoutError):
                closed = sock.recv(10) == b""
                break
        assert closed
        assert 0.3 < time.monotonic() - began < 5


def test_an_idle_connection_outlives_patience(serve: Serve) -> None:
    with serve(patience=0.2) as served, connected(served.url) as sock:
        for _ in range(2):
            sock.sendall(head("GET", "/v1/models"))
            assert answer(sock)[0] == 200
            sock.settimeout(0.6)
            with pytest.raises(TimeoutError):
                sock.recv(1)
            sock.settimeout(20)


def test_one_address_does_not_take_all_connections(serve: Serve) -> None:
    with serve(connections_per_address=3) as served, ExitStack() as stack:
        held = [stack.enter_context(connected(served.url)) for _ in range(3)]
        for sock in held:
            sock.sendall(head("GET", "/v1/models"))
            assert answer(sock)[0] == 200
        with connected(served.url) as one_more:
            one_more.sendall(head("GET", "/v1/models"))
            status, headers, error = answer(one_more)
            assert (status, error["error"]["code"]) == (503, "too_many_connections")
            assert headers["connection"] == "close"
            assert "retry-after" in headers
            assert all_of(one_more) == b""
        silent = [stack.enter_context(connected(served.url)) for _ in range(8)]
        assert seconds_until_closed(silent[-1]) < 5  # beyond twice as many, nobody is heard
        for sock in (*held, *silent):
            sock.close()
        with connected(served.url) as again:
            again.sendall(head("GET", "/v1/models"))
            assert answer(again)[0] in (200, 503)


def test_so_many_connections_are_open_at_once_from_wherever(serve: Serve) -> None:
    with serve(connections=3) as served, ExitStack() as stack:
        for _ in range(3):
            sock = stack.enter_context(connected(served.url))
            sock.sendall(head("GET", "/v1/models"))
            assert answer(sock)[0] == 200
        with connected(served.url) as one_more:
            one_more.sendall(head("GET", "/v1/models"))
            status, headers, error = answer(one_more)
            assert (status, error["error"]["code"]) == (503, "too_many_connections")
            assert "retry-after" in headers


def test_places_are_given_back(serve: Serve) -> None:
    with serve(connections_per_address=1) as served:
        for _ in range(20):
            with connected(served.url) as sock:
                sock.sendall(head("GET", "/v1/models", connection="close"))
                assert answer(sock)[0] == 200
                assert all_of(sock) == b""


class Long(FakeBackend):
    """An answer of so many pieces; `ended` is set when it is given up, or done."""

    def __init__(self, most: int = 10**9) -> None:
        super().__init__()
        self.most, self.pieces = most, 0
        self.ended = threading.Event()

    def stream(self, model: str, messages: Sequence[ChatMessage], **given: Any) -> Iterator[Delta]:
        try:
            while self.pieces < self.most:
                self.pieces += 1
                yield Delta(content="x" * 10_000)
            yield Delta(finish_reason="stop")
        finally:
            self.ended.set()


def test_a_stream_that_nobody_reads_is_cut_and_takes_little_memory(serve: Serve) -> None:
    backend = Long()
    with serve(backend, patience=0.5) as served, connected(served.url) as sock:
        sock.sendall(ASK)
        assert backend.ended.wait(20)
        assert backend.pieces < 10_000  # the socket's buffers, not all that could be said
        assert served.http.get("/models").status_code == 200


def test_a_client_that_leaves_ends_its_stream(serve: Serve) -> None:
    backend = Long()
    with serve(backend) as served:
        with connected(served.url) as sock:
            sock.sendall(ASK)
            sock.recv(1000)
        assert backend.ended.wait(20)


def test_a_slow_but_steady_reader_has_all_of_it(serve: Serve) -> None:
    """It reads for longer than patience, and never stops for as long."""
    with serve(Long(3000), patience=2.0) as served, connected(served.url) as sock:
        sock.sendall(ASK)
        received, last, began = 0, b"", time.monotonic()
        while not last.endswith(b"0\r\n\r\n"):
            piece = sock.recv(1 << 17)
            assert piece, "cut"
            received, last = received + len(piece), (last + piece)[-100:]
            if time.monotonic() - began < 4.0:
                time.sleep(0.05)
    assert received > 30_000_000
    assert b"[DONE]" in last


def test_no_answer_waits_for_an_acknowledgement(served: Served) -> None:
    """Head and body are sent apart: with Nagle's algorithm the body comes 40 ms later."""
    seconds = []
    with connected(served.url) as sock:
        for _ in range(60):
            began = time.monotonic()
            sock.sendall(head("GET", "/v1/models"))
            assert answer(sock)[0] == 200
            seconds.append(time.monotonic() - began)
    assert min(seconds[-20:]) < 0.03


def test_pipelined_requests_are_answered_in_turn(served: Served) -> None:
    with connected(served.url) as sock:
        sock.sendall(head("GET", "/v1/models") * 3)
        file = b""
        while file.count(b"HTTP/1.1 200 OK") < 3:
            piece = sock.recv(1 << 16)
            assert piece
            file += piece
