"""Calls end in time, and the key stays at home, whatever the other side does."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import httpx2
import pytest

from ftjobs.backends import transport
from ftjobs.backends.transport import _redirected, each_in_time, open_client
from ftjobs.errors import ConfigError

KEY = {"Authorization": "Bearer sk-secret", "api-key": "sk-secret", "Accept": "x/y"}
OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
Answer = Callable[[socket.socket], None]


@dataclass
class Server:
    """Whatever `answer` does with each connection, on loopback."""

    answer: Answer
    heads: list[bytes] = field(default_factory=list)
    url: str = ""
    stopping: threading.Event = field(default_factory=threading.Event)

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self.answer(connection)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):  # to close over unread bytes would be a reset
                pass

    def head(self, connection: socket.socket) -> bytes:
        """Read one request up to its body."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                raise ConnectionError
            data += piece
        self.heads.append(data)
        return data


@contextmanager
def serving(answer: Callable[[Server, socket.socket], None]) -> Iterator[Server]:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = Server(lambda connection: answer(server, connection))
        server.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        threading.Thread(target=server.serve, args=(listener,), daemon=True).start()
        yield server
        server.stopping.set()
        listener.shutdown(socket.SHUT_RDWR)


def trickle(server: Server, connection: socket.socket, data: bytes) -> None:
    for place in range(len(data)):
        connection.sendall(data[place : place + 1])
        if server.stopping.wait(0.05):
            return


def slow_head(server: Server, connection: socket.socket) -> None:
    server.head(connection)
    trickle(server, connection, b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000)


def slow_body(server: Server, connection: socket.socket) -> None:
    server.head(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    trickle(server, connection, b"x" * 1000)


def slow_chunks(server: Server, connection: socket.socket) -> None:
    server.head(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    trickle(server, connection, b"1\r\nx\r\n" * 200)


def slow_error(server: Server, connection: socket.socket) -> None:
    server.head(connection)
    connection.sendall(b"HTTP/1.1 500 Oh\r\nContent-Length: 1000\r\n\r\n")
    trickle(server, connection, b"x" * 1000)


def endless_interims(server: Server, connection: socket.socket) -> None:
    server.head(connection)
    while not server.stopping.wait(0.05):
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")


def slow_redirects(server: Server, connection: socket.socket) -> None:
    server.head(connection)
    server.stopping.wait(0.15)
    connection.sendall(b"HTTP/1.1 307 Go\r\nLocation: /\r\nConnection: close\r\n\r\n")


def silence(server: Server, connection: socket.socket) -> None:
    server.stopping.wait(10)


SLOW = [slow_head, slow_body, slow_chunks, slow_error, endless_interims, slow_redirects, silence]


@pytest.mark.parametrize("answer", SLOW)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_call_ends_at_its_deadline(answer: Any, method: str) -> None:
    with serving(answer) as server, closing(open_client(timeout=5, deadline=0.25)) as client:
        began = time.monotonic()
        with pytest.raises(httpx2.TimeoutException):
            client.request(method, server.url)
        assert 0.2 < time.monotonic() - began < 1.0


def test_silence_ends_a_call_before_its_deadline() -> None:
    with serving(silence) as server, closing(open_client(timeout=0.2, deadline=30)) as client:
        began = time.monotonic()
        with pytest.raises(httpx2.ReadTimeout):
            client.get(server.url)
        assert time.monotonic() - began < 1.0


def test_a_service_that_reads_by_sips_cannot_hold_an_upload() -> None:
    def sip(server: Server, connection: socket.socket) -> None:
        while not server.stopping.wait(0.02) and connection.recv(512):
            pass

    rate = 64 << 20  # the kernel's buffers take megabytes at once, which must not buy time here
    with serving(sip) as server, closing(open_client(5, 0.5, slowest=rate)) as client:
        began = time.monotonic()
        with pytest.raises(httpx2.TimeoutException):
            client.post(server.url, content=bytes(64 << 20))
        assert time.monotonic() - began < 1.5


@pytest.mark.parametrize("script", [b"", b"\x16\x03\x03\x40\x00" + b"x" * 1000])
def test_a_handshake_ends_at_the_deadline(script: bytes) -> None:
    def answer(server: Server, connection: socket.socket) -> None:
        trickle(server, connection, script)
        server.stopping.wait(10)

    with serving(answer) as server, closing(open_client(timeout=5, deadline=0.5)) as client:
        began = time.monotonic()
        with pytest.raises(httpx2.ConnectTimeout):
            client.get(server.url.replace("http:", "https:"))
        assert time.monotonic() - began < 1.0


def test_a_name_server_that_is_silent_cannot_hold_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: released.wait(10) and [])
    with closing(open_client(timeout=5, deadline=0.3)) as client:
        began = time.monotonic()
        with pytest.raises(httpx2.ConnectTimeout, match="no address"):
            client.get("http://name.invalid/")
        assert time.monotonic() - began < 1.0
    released.set()


@pytest.mark.parametrize("host", ["no-such-name.invalid", "a" * 64 + ".invalid"])
def test_a_name_that_is_none_was_never_reached(host: str) -> None:
    with closing(open_client(timeout=5, deadline=5)) as client, pytest.raises(httpx2.ConnectError):
        client.get(f"http://{host}/")


def test_every_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def two(host: str, port: int, *rest: Any, **how: Any) -> Any:
        return [
            row for each in ("127.0.0.2", "127.0.0.1") for row in real(each, port, *rest, **how)
        ]

    with serving(plain) as server:
        monkeypatch.setattr(socket, "getaddrinfo", two)
        with closing(open_client(timeout=5, deadline=5)) as client:
            assert client.get(server.url.replace("127.0.0.1", "two.invalid")).text == "ok"


def test_bytes_that_move_have_their_time() -> None:
    size = 512 * 1024

    def answer(server: Server, connection: socket.socket) -> None:
        got = len(server.head(connection).partition(b"\r\n\r\n")[2])
        while got < size:
            got += len(connection.recv(65536))
        server.stopping.wait(0.8)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        connection.sendall(bytes(size // 2))
        server.stopping.wait(0.8)
        connection.sendall(bytes(size // 2))

    with serving(answer) as server, closing(open_client(timeout=5, deadline=0.5)) as client:
        assert client.post(server.url, content=bytes(size)).content == bytes(size)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("status", [b"200 OK", b"500 Oh"])
def test_an_endless_answer_ends(
    monkeypatch: pytest.MonkeyPatch, status: bytes, packed: bool
) -> None:
    monkeypatch.setattr(transport, "LARGEST", 1 << 20)
    body = gzip.compress(bytes(2 << 20)) if packed else bytes(65536)

    def answer(server: Server, connection: socket.socket) -> None:
        server.head(connection)
        encoding = b"Content-Encoding: gzip\r\n" * packed
        connection.sendall(b"HTTP/1.1 %b\r\n%bConnection: close\r\n\r\n" % (status, encoding))
        while not server.stopping.is_set():
            connection.sendall(body)

    with serving(answer) as server, closing(open_client(5, 60)) as client:
        with pytest.raises(httpx2.ReadError, match="more than"):
            client.get(server.url)
        if status == b"200 OK":
            with client.stream("GET", server.url) as stream:  # files may be larger
                assert sum(map(len, islice(stream.iter_bytes(65536), 32))) == 2 << 20


def test_a_refusal_of_a_stream_has_a_deadline_too() -> None:
    with serving(slow_error) as server, closing(open_client(5, 0.25)) as client:
        began = time.monotonic()
        with pytest.raises(httpx2.TimeoutException), client.stream("GET", server.url):
            pass
        assert time.monotonic() - began < 1.0


@pytest.mark.parametrize("piece", [b"data: " + b"x" * 65536, b"x" * 40, b": ping\n\n"])
def test_each_piece_of_a_stream_has_its_time_and_size(
    monkeypatch: pytest.MonkeyPatch, piece: bytes
) -> None:
    monkeypatch.setattr(transport, "LARGEST", 1 << 20)

    def answer(server: Server, connection: socket.socket) -> None:
        server.head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for number in range(3):  # later than one deadline, all in all
            server.stopping.wait(0.4)
            connection.sendall(b"data: %d\n\n" % number)
        while not server.stopping.wait(0.001):
            connection.sendall(piece)

    told: list[str] = []
    with serving(answer) as server, closing(open_client(5, 5)) as client:
        began = time.monotonic()
        with client.stream("GET", server.url) as stream:
            events = each_in_time(iter(httpx2.EventSource(stream)), 1.0)
            with pytest.raises((httpx2.ReadError, httpx2.ReadTimeout)):
                told.extend(event.data for event in events)
        assert told == ["0", "1", "2"]
        assert time.monotonic() - began < 4.0


def test_a_stream_has_a_deadline_for_its_opening_only() -> None:
    def answer(server: Server, connection: socket.socket) -> None:
        slow = b"/slow" in server.head(connection)
        if slow:
            trickle(server, connection, b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        trickle(server, connection, b"x" * 20)
        server.stopping.wait(10)

    with serving(answer) as server, closing(open_client(timeout=0.4, deadline=0.5)) as client:
        pieces: list[bytes] = []
        with pytest.raises(httpx2.ReadTimeout), client.stream("GET", server.url) as stream:
            pieces.extend(stream.iter_raw())
        assert b"".join(pieces) == b"x" * 20  # a second of pieces, then a silence
        with pytest.raises(httpx2.TimeoutException), client.stream("GET", f"{server.url}/slow"):
            pass


# --- redirects -----------------------------------------------------------------------------------


def redirecting(to: str, code: int = 307) -> Callable[[Server, socket.socket], None]:
    def answer(server: Server, connection: socket.socket) -> None:
        if server.head(connection).split(b" ")[1] != b"/from":
            return connection.sendall(OK)
        line = f"HTTP/1.1 {code} Go\r\nLocation: {to}\r\nConnection: close\r\n\r\n"
        return connection.sendall(line.encode())

    return answer


def plain(server: Server, connection: socket.socket) -> None:
    server.head(connection)
    connection.sendall(OK)


def test_a_redirect_at_home_keeps_key_method_and_body() -> None:
    with serving(redirecting("/there")) as server, closing(open_client(5, 5)) as client:
        assert client.post(f"{server.url}/from", content=b"body", headers=KEY).text == "ok"
        assert server.heads[-1].startswith(b"POST /there")
        assert server.heads[-1].lower().count(b"sk-secret") == 2


def test_no_other_host_gets_a_key() -> None:
    with (
        serving(plain) as other,
        serving(redirecting(f"{other.url}/there?signed=1")) as server,
        closing(open_client(5, 5)) as client,
    ):
        assert client.get(f"{server.url}/from", headers=KEY).text == "ok"
        (head,) = other.heads
        assert head.startswith(b"GET /there?signed=1")
        assert b"sk-secret" not in head
        assert b"x/y" in head


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_no_other_host_gets_a_body(code: int) -> None:
    with (
        serving(plain) as other,
        serving(redirecting(f"{other.url}/there", code)) as server,
        closing(open_client(5, 5)) as client,
    ):
        answer = client.post(f"{server.url}/from", content=b"training data", headers=KEY)
        assert (answer.status_code, other.heads) == (code, [])


def test_a_post_never_becomes_a_get() -> None:
    with serving(redirecting("/there", 303)) as server, closing(open_client(5, 5)) as client:
        assert client.post(f"{server.url}/from").status_code == 303
        assert len(server.heads) == 1


@pytest.mark.parametrize(
    ("here", "there", "is_followed", "keeps_key"),
    [
        ("https://a.example/x", "https://a.example/y", True, True),
        ("http://a.example/x", "https://a.example/y", True, True),
        ("https://a.example/x", "http://a.example/y", False, False),
        ("https://a.example/x", "http://b.example/y", False, False),
        ("https://a.example/x", "https://b.example/y", True, False),
        ("https://a.example/x", "https://a.example:8443/y", True, False),
    ],
)
def test_a_redirect_never_leaves_tls_and_takes_the_key_nowhere_else(
    here: str, there: str, is_followed: bool, keeps_key: bool
) -> None:
    key = {"Authorization": "Bearer sk-1", "api-key": "sk-1"}
    answer = httpx2.Response(307)
    answer.next_request = httpx2.Request("GET", there, headers=key)
    following = _redirected(httpx2.Request("GET", here, headers=key), answer)
    assert (following is not None) is is_followed
    kept = {name for name in key if following is not None and name in following.headers}
    assert bool(kept) is keeps_key


def test_redirects_end() -> None:
    with serving(redirecting("/from")) as server, closing(open_client(5, 5)) as client:
        with pytest.raises(httpx2.TooManyRedirects):
            client.get(f"{server.url}/from")
        assert len(server.heads) == 5


@pytest.mark.parametrize(
    ("here", "there", "home"),
    [
        ("https://h/a", "https://h/b", True),
        ("http://h/a", "https://h/b", True),
        ("https://h/a", "https://h:444/b", False),
        ("http://h:8000/a", "https://h:8443/b", False),
        ("https://h/a", "https://x.h/b", False),
    ],
)
def test_what_is_home(here: str, there: str, home: bool) -> None:
    from ftjobs.backends.transport import _is_home

    assert _is_home(httpx2.URL(here), httpx2.URL(there)) is home


# --- proxies -------------------------------------------------------------------------------------


def test_the_environments_proxy_is_used_and_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(plain) as proxy, serving(slow_body) as slow:
        monkeypatch.setenv("http_proxy", proxy.url)
        with closing(open_client(5, 5)) as client:
            assert client.get("http://far.invalid/x").text == "ok"
        assert proxy.heads[-1].startswith(b"GET http://far.invalid/x")
        monkeypatch.setenv("http_proxy", slow.url)
        with closing(open_client(5, 0.5)) as client:
            began = time.monotonic()
            with pytest.raises(httpx2.ReadTimeout):
                client.get("http://far.invalid/x")
            assert time.monotonic() - began < 1.0
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with closing(open_client(5, 5)) as client:
            assert client.get(proxy.url).text == "ok"
        assert proxy.heads[-1].startswith(b"GET / ")


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("ALL_PROXY", "socks5://me:pass@h:1", "socksio"),
        ("HTTPS_PROXY", "foo://me:pass@h", "HTTPS_PROXY"),
        ("HTTPS_PROXY", "http://me:pass@h:port", "HTTPS_PROXY"),
        ("SSL_CERT_FILE", "/no/such/pass", "SSL_CERT_FILE"),
        ("SSL_CERT_FILE", __file__, "SSL_CERT_FILE"),
    ],
)
def test_an_environment_that_cannot_be_used_is_told_without_its_password(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, hint: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        open_client(1, 1)
    assert hint in caught.value.hint
    assert "pass" not in str(caught.value)
