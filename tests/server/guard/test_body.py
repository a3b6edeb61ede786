from __future__ import annotations

import time
from contextlib import ExitStack, suppress

import httpx2
import pytest

from ftjobs.server.guard import body
from ftjobs.server.guard.body import largest_body, takes_files
from ftjobs.server.options import Options
from tests.server.conftest import Serve, Served
from tests.server.guard.raw import all_of, answer, connected, head

CHAT = "/v1/chat/completions"
JSON = "application/json"


def test_files_may_be_larger_than_other_requests() -> None:
    options = Options(max_body_bytes=1, max_file_bytes=2)
    assert largest_body("POST", "/v1/chat/completions", options) == 1
    assert largest_body("POST", "/v1/files", options) == 2 + body.WRAPPING
    assert largest_body("POST", "/v1/uploads/u_1/parts", options) == body.PART_BYTES + body.WRAPPING
    for method, path in (("PUT", "/v1/files"), ("POST", "/v1/files/x"), ("POST", "/v1/files/"),
                         ("POST", "/v1/uploads"), ("POST", "/v1/uploads/a/b/parts"),
                         ("POST", "/v1/uploads/u_1/complete")):  # fmt: skip
        assert not takes_files(method, path)
        assert largest_body(method, path, options) == 1


def test_what_says_that_it_is_too_large_is_not_waited_for(serve: Serve) -> None:
    with serve(max_body_bytes=1000) as served, connected(served.url) as sock:
        sock.sendall(head("POST", CHAT, content_length=10**12, content_type=JSON))
        status, headers, error = answer(sock)
    assert (status, error["error"]["code"]) == (413, "request_too_large")
    assert headers["connection"] == "close"


def test_who_asks_before_sending_is_told_before_sending(serve: Serve) -> None:
    with serve(max_body_bytes=1000) as served, connected(served.url) as sock:
        sock.sendall(head("POST", CHAT, content_length=2000, expect="100-continue"))
        assert answer(sock)[0] == 413
    with serve() as served, connected(served.url) as sock:
        sock.sendall(head("POST", CHAT, content_length=2, content_type=JSON, expect="100-continue"))
        assert sock.recv(100).startswith(b"HTTP/1.1 100 ")
        sock.sendall(b"{}")
        assert answer(sock)[0] == 400


@pytest.mark.parametrize("path", [CHAT, "/v1/nothing", "/v1/models"])
def test_a_body_without_end_is_cut(serve: Serve, path: str) -> None:
    """Whether anybody reads it or not."""
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with serve(max_body_bytes=200_000) as served, connected(served.url) as sock:
        sock.sendall(head("POST", path, transfer_encoding="chunked", content_type=JSON))
        began, sent = time.monotonic(), 0
        with suppress(ConnectionError):
            while time.monotonic() - began < 20:
                sock.sendall(piece)
                sent += len(piece)
        assert time.monotonic() - began < body.LINGER + 5
        assert served.http.get("/models").status_code == 200


def test_a_body_that_turns_out_too_large_gets_413(serve: Serve) -> None:
    with serve(max_body_bytes=1000) as served, connected(served.url) as sock:
        sock.sendall(head("POST", CHAT, transfer_encoding="chunked", content_type=JSON))
        sock.sendall(b"7d0\r\n" + b" " * 2000 + b"\r\n")
        status, headers, error = answer(sock)
    assert (status, error["error"]["code"]) == (413, "request_too_large")
    assert headers["connection"] == "close"


def test_a_body_that_stops_gets_408(serve: Serve) -> None:
    with serve(patience=0.3) as served, connected(served.url) as sock:
        sock.sendall(head("POST", CHAT, content_length=100, content_type=JSON) + b'{"model"')
        status, _, error = answer(sock)
    assert (status, error["error"]["code"]) == (408, "too_slow")


def test_a_body_that_trickles_gets_408_too(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(patience=0.4) as served, connected(served.url) as sock:
        sock.sendall(head("POST", CHAT, content_length=5000, content_type=JSON))
        sock.settimeout(0.1)  # a byte every 0.1 s: each piece is in time, the whole is not
        received = b""
        for _ in range(50):
            sock.sendall(b" ")
            with suppress(TimeoutError):
                received = sock.recv(4096)
                break
    assert received.startswith(b"HTTP/1.1 408 ")


def test_two_lengths_are_refused(served: Served) -> None:
    with connected(served.url) as sock:
        sock.sendall(head("POST", CHAT, transfer_encoding="chunked", content_length=5))
        sock.sendall(b"0\r\n\r\nGET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n")
        found = all_of(sock)
    assert found.startswith(b"HTTP/1.1 400 ")
    assert found.count(b"HTTP/1.1") == 1  # what follows is no request


def test_a_small_body_that_nobody_wants_costs_no_connection(served: Served) -> None:
    with connected(served.url) as sock:
        for _ in range(2):
            sock.sendall(head("POST", "/v1/nothing", content_length=5) + b"hello")
            status, headers, _ = answer(sock)
            assert (status, headers.get("connection")) == (404, None)


def test_only_so_many_files_come_at_once(serve: Serve) -> None:
    with serve(uploads=2) as served, ExitStack() as stack:
        began = head("POST", "/v1/files", content_length=1000, content_type="multipart/form-data; "
                     "boundary=x")  # fmt: skip
        busy = [stack.enter_context(connected(served.url)) for _ in range(2)]
        for sock in busy:
            sock.sendall(began)
        refused = until(served, 429)  # both have come in
        assert refused.json()["error"]["code"] == "too_many_uploads"
        assert served.http.get("/models").status_code == 200
        for sock in busy:
            sock.close()
        until(served, 415)


def until(served: Served, status: int) -> httpx2.Response:
    """The answer to a form without a content type, once it has this status."""
    last = time.monotonic() + 20
    while (found := served.http.post("/files", content=b"")).status_code != status:
        assert time.monotonic() < last, found.text
    return found
