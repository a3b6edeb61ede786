"""HTTP by hand, for clients that no library would be."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

Heads = dict[str, str]


@contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    """A connection to the server at a base URL, which waits 20 s at most."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    with closing(socket.create_connection((parts.hostname, parts.port or 80), timeout=20)) as sock:
        yield sock


def head(method: str, path: str, **headers: object) -> bytes:
    """The head of a request to localhost."""
    given = {"host": "localhost"} | {k.replace("_", "-"): v for k, v in headers.items()}
    lines = "".join(f"{name}: {text}\r\n" for name, text in given.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")


def all_of(sock: socket.socket) -> bytes:
    """What comes until the other side closes."""
    pieces = []
    with suppress(ConnectionError):
        while piece := sock.recv(1 << 16):
            pieces.append(piece)
    return b"".join(pieces)


def answer(sock: socket.socket) -> tuple[int, Heads, Any]:
    """One answer: its status, headers and JSON, by its Content-Length."""
    file = sock.makefile("rb")
    status = int(file.readline().split()[1])
    headers = {}
    while (line := file.readline().strip()) != b"":
        name, _, text = line.decode("latin-1").partition(":")
        headers[name.lower()] = text.strip()
    body = file.read(int(headers.get("content-length", 0)))
    return status, headers, json.loads(body) if body else None
