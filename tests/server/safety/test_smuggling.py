"""Requests that two readers could take apart differently: refused, and nothing behind them is read.

(RFC 9112, sections 5 to 7 and 11.2; the shapes are those of PortSwigger's and of h2csmuggler's.)
"""

from __future__ import annotations

import json
import logging
import re
from itertools import product

import pytest

from tests.server.conftest import Serve, Served
from tests.server.guard.raw import all_of, connected
from tests.server.safety.description import ask, operations

HIDDEN = b"GET /v1/models/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
"""A request that stands in the body of another."""
LENGTH = str(len(HIDDEN)).encode()
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)

SHAPES = {
    "CL and TE": (b"Content-Length: 4\r\nTransfer-Encoding: chunked", b"0\r\n\r\n" + HIDDEN),
    "TE and CL": (b"Transfer-Encoding: chunked\r\nContent-Length: " + LENGTH, CHUNKED),
    "two CLs": (b"Content-Length: 0\r\nContent-Length: " + LENGTH, HIDDEN),
    "CLs in one line": (b"Content-Length: 0, " + LENGTH, HIDDEN),
    "a signed CL": (b"Content-Length: +0", HIDDEN),
    "a negative CL": (b"Content-Length: -1", HIDDEN),
    "a hexadecimal CL": (b"Content-Length: 0x0", HIDDEN),
    "a CL with an underscore": (b"Content-Length: 1_0", HIDDEN),
    "a CL in other digits": ("Content-Length: ١".encode(), HIDDEN),
    "a huge CL": (b"Content-Length: " + b"9" * 30, HIDDEN),
    "a CL after a fold": (b"X: a\r\n Content-Length: 0\r\nContent-Length:\r\n 0", HIDDEN),
    "a folded TE": (b"Transfer-Encoding:\r\n chunked", CHUNKED),
    "a space before the colon": (b"Content-Length : 0", HIDDEN),
    "a space before the name": (b" Content-Length: 0", HIDDEN),
    "a TE that is two": (b"Transfer-Encoding: gzip, chunked", CHUNKED),
    "two TEs": (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", CHUNKED),
    "a TE of another kind": (b"Transfer-Encoding: xchunked", CHUNKED),
    "a TE in a vertical tab": (b"Transfer-Encoding: \x0bchunked", CHUNKED),
    "a bare CR": (b"X: a\rContent-Length: 0", HIDDEN),
    "a NUL": (b"X: a\x00b", HIDDEN),
    "a chunk of no size": (b"Transfer-Encoding: chunked", b"\r\n" + HIDDEN),
    "a signed chunk": (b"Transfer-Encoding: chunked", b"-1\r\n" + HIDDEN),
    "a chunk in 0x": (b"Transfer-Encoding: chunked", b"0x0\r\n\r\n" + HIDDEN),
    "a huge chunk": (b"Transfer-Encoding: chunked", b"f" * 40 + b"\r\n" + HIDDEN),
}


def test_what_is_ambiguous_is_refused_with_all_behind_it(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    with serve(patience=1.0) as served:
        # The rooms read the body; the door refuses another host before that.
        for (shape, (header, body)), host in product(SHAPES.items(), (b"localhost", b"evil")):
            with connected(served.url) as sock:
                line = b"POST /v1/fine_tuning/jobs HTTP/1.1\r\nHost: %s\r\n" % host
                kind = b"Content-Type: application/json\r\n"
                sock.sendall(line + kind + header + b"\r\n\r\n" + body)
                refused_once(all_of(sock), shape)
    # What was refused is answered by nobody else, which would fail and fill the log.
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def refused_once(came: bytes, shape: str) -> None:
    statuses = [int(each) for each in re.findall(rb"HTTP/1\.1 (\d+)", came)]
    assert len(statuses) <= 1, f"{shape}: the body was taken for another request"
    assert all(400 <= status < 500 or status == 501 for status in statuses), f"{shape}: {statuses}"
    assert b"smuggled" not in came, shape
    if statuses:
        error = json.loads(came.partition(b"\r\n\r\n")[2])["error"]
        assert error["type"] == "invalid_request_error"


def test_an_honest_body_is_read_to_its_end_and_the_next_request_is_the_next(
    served: Served,
) -> None:
    first = (
        b"POST /v1/fine_tuning/jobs HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    last = b"GET /v1/models/second HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with connected(served.url) as sock:
        sock.sendall(first + CHUNKED + last)
        came = all_of(sock)
    assert re.findall(rb"HTTP/1\.1 (\d+)", came) == [b"400", b"404"]
    assert b"smuggled" not in came
    assert b"second" in came


LINES = (b"GET http://evil.example/v1/models HTTP/1.1", b"CONNECT evil.example:443 HTTP/1.1",
         b"GET /v1/models HTTP/2.0", b"GET  /v1/models HTTP/1.1", b"GET /v1/models",
         b"PRI * HTTP/2.0", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"OPTIONS * HTTP/1.1",
         b"G\xffT / HTTP/1.1", b"GET /\xff HTTP/1.1", b"GET /v1/models?\x00 HTTP/1.1")  # fmt: skip


def test_lines_that_are_no_request_of_ours(serve: Serve) -> None:
    with serve(patience=1.0) as served:
        served.desk.keys.create("a", "read")
        for line in LINES:
            with connected(served.url) as sock:
                sock.sendall(line + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                statuses = [int(each) for each in re.findall(rb"HTTP/1\.1 (\d+)", all_of(sock))]
            assert len(statuses) <= 1, line
            assert {400, 401, 404, 405, 421}.issuperset(statuses), line


def test_a_connection_is_not_made_another_protocol(served: Served) -> None:
    for name in ("h2c", "websocket"):
        headers = {"upgrade": name, "connection": "upgrade, http2-settings", "http2-settings": ""}
        answer = served.http.get("/models", headers=headers)
        assert answer.status_code == 200
        assert "upgrade" not in answer.headers


FOREIGN: tuple[dict[str, str], ...] = (
    {"host": "evil.example"}, {"host": "localhost.evil.example"}, {"host": "localhost@evil"},
    {"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"},
    {"origin": "http://localhost.evil.example"},
)  # fmt: skip


def test_no_route_writes_for_another_site(served: Served) -> None:
    """Forged names reach nothing; pages of other sites may at most read what they cannot see."""
    root = served.url.removesuffix("/v1")
    for headers, operation in product(FOREIGN, operations(served)):
        if "host" in headers or operation.method != "GET":
            ids = ["x"] * len(operation.ids)
            refused = ask(served.http, root, operation, *ids, headers=headers)
            assert refused.status_code == (421 if "host" in headers else 403), operation
            assert "access-control-allow-origin" not in refused.headers


def test_a_forwarded_name_is_not_believed(served: Served) -> None:
    headers = {"host": "evil.example", "x-forwarded-host": "localhost", "x-real-ip": "127.0.0.1"}
    assert served.http.get("/models", headers=headers).status_code == 421
