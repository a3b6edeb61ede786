"""HTTP with a deadline: the one place that makes an `httpx2.Client`.

A time-out of HTTP libraries is the longest silence between two bytes; a service that sends a byte
now and then holds a call for ever.  Here every call also has a deadline, which covers looking up
the name, connecting, TLS, redirects, the request, and the last byte of the answer.

It imports httpx2, which costs a tenth of a second: import this module inside functions.
"""

from __future__ import annotations

import contextvars
import math
import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import httpcore2
import httpx2

from ftjobs.errors import ConfigError

__all__ = ["SLOWEST", "each_in_time", "in_time", "open_client"]

T = TypeVar("T")

SLOWEST = 128 * 1024
"""Bytes a second: the deadline of a call grows by a second with each so many bytes that move, so
that large files have their time, and trickling bytes gain none."""

LARGEST = 64 << 20
"""Bytes of an answer that is kept in memory, unpacked, or of one piece of a stream; an endless one
ends here.  Files, which may be larger, are streamed."""

LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=100)
"""How many requests are under way at once is decided by who sends them."""

MOST_REDIRECTS = 5
SLICE = 16 * 1024  # one TLS record: what is written between two looks at the clock
HARMLESS = frozenset({"accept", "accept-encoding", "user-agent"})


def open_client(
    timeout: float,
    deadline: float,
    *,
    slowest: float = SLOWEST,
    verify: ssl.SSLContext | bool = True,
    bare: bool = False,
) -> httpx2.Client:
    """A client whose every call ends in time.  Thread-safe; close it after use.

    Proxies and trusted certificates come from where httpx2 takes them: the environment and the
    system.  Redirects are followed with the key within one origin, without it and only by GET to
    others, and never from https to http.

    Args:
        timeout: seconds without a byte after which a call fails (`httpx2.TimeoutException`).
        deadline: seconds for a whole call, and one more for each `slowest` bytes that move.  A
            streamed call (`stream=True`) has it up to the head of the answer, and to the end of a
            refusal; see `in_time`.
        slowest: bytes a second that a transfer must move to go on for ever.
        verify: as in httpx2.
        bare: follow no redirect, and of a streamed call never read the body, be it a refusal's.

    Raises:
        ConfigError: the environment names a proxy or certificates that cannot be used.
    """
    try:
        return _Client(timeout, deadline, slowest, verify, bare)
    except ImportError:
        raise ConfigError(
            "the environment names a SOCKS proxy, which needs the package socksio",
            hint="Install it: pip install socksio",
        ) from None
    except OSError as error:
        raise ConfigError(
            f"the certificates cannot be read: {error.strerror or error}",
            hint="Check SSL_CERT_FILE and SSL_CERT_DIR.",
        ) from None
    except (ValueError, httpx2.InvalidURL):  # not quoted: its address may hold a password
        raise ConfigError(
            "the environment names a proxy that is none",
            hint="Check HTTP_PROXY, HTTPS_PROXY and ALL_PROXY: http://host:port",
        ) from None


@contextmanager
def in_time(deadline: float, *, slowest: float = SLOWEST) -> Iterator[None]:
    """What this thread reads of a streamed call inside the block has a deadline too.

    Args:
        deadline: seconds for the block, and one more for each `slowest` bytes that move.
        slowest: bytes a second that a transfer must move to go on for ever.
    """
    with _within(_Deadline(deadline, slowest)):
        yield


def each_in_time(pieces: Iterator[T], deadline: float) -> Iterator[T]:
    """`pieces`, read from a streamed call; each has `deadline` seconds and `LARGEST` bytes."""
    end = object()
    while True:
        with _within(_Deadline(deadline, math.inf, LARGEST)):
            piece: T | object = next(pieces, end)
        if piece is end:
            return
        yield cast("T", piece)


class _Client(httpx2.Client):
    def __init__(
        self,
        timeout: float,
        deadline: float,
        slowest: float,
        verify: ssl.SSLContext | bool,
        bare: bool,
    ) -> None:
        waits = httpx2.Timeout(timeout, pool=min(timeout, deadline))
        super().__init__(timeout=waits, verify=verify, limits=LIMITS)
        self._seconds, self._slowest, self._bare = deadline, slowest, bare
        for transport in {self._transport, *self._mounts.values()} - {None}:
            # httpx2 has no other way to give its own proxies and certificates our sockets.
            pool: Any = transport._pool  # type: ignore[union-attr]
            pool._network_backend = _Network(pool._network_backend)

    def send(
        self,
        request: httpx2.Request,
        *,
        stream: bool = False,
        auth: Any = httpx2.USE_CLIENT_DEFAULT,
        follow_redirects: Any = httpx2.USE_CLIENT_DEFAULT,  # noqa: ARG002 - always as above
    ) -> httpx2.Response:
        """As in httpx2, in time, and with the key kept at home."""
        with _within(_Deadline(self._seconds, self._slowest)):
            for _ in range(MOST_REDIRECTS):
                answer = super().send(request, stream=True, auth=auth, follow_redirects=False)
                following = None if self._bare else _redirected(request, answer)
                if following is None:
                    is_streamed = stream and (self._bare or answer.is_success)
                    return answer if is_streamed else _whole(answer)
                answer.close()
                request = following
        raise httpx2.TooManyRedirects(f"more than {MOST_REDIRECTS} redirects", request=request)


def _whole(answer: httpx2.Response) -> httpx2.Response:
    """The answer with its body, as `read` would leave it; httpx2 itself knows no limit."""
    body = bytearray()
    try:
        for piece in answer.iter_bytes():
            body += piece
            if len(body) > LARGEST:
                raise httpx2.ReadError(f"an answer of more than {LARGEST} bytes")
    finally:
        answer.close()
    answer._content = bytes(body)
    return answer


def _redirected(request: httpx2.Request, answer: httpx2.Response) -> httpx2.Request | None:
    """What to send next; None where the answer is no redirect, or one that is not followed."""
    following = answer.next_request
    if following is None or following.method != request.method:
        return None
    here, there = request.url, following.url
    if here.scheme == "https" and there.scheme != "https":
        return None
    if _is_home(here, there):
        return following
    if request.method != "GET":
        return None  # a body may hold training data
    for name in set(following.headers) - HARMLESS - {"host"}:
        del following.headers[name]
    return following


def _is_home(here: httpx2.URL, there: httpx2.URL) -> bool:
    """Whether both are one origin, or the second is the first with TLS."""
    upgraded = here.port is None and there.port is None and here.scheme == "http"
    return here.host == there.host and (
        (here.scheme, here.port) == (there.scheme, there.port) or upgraded
    )


# --- the clock -----------------------------------------------------------------------------------


class _Deadline:
    """The end of the call that this thread is in."""

    def __init__(self, seconds: float, slowest: float, largest: float = math.inf) -> None:
        self._seconds, self._slowest, self._left = seconds, slowest, largest
        self._end = time.monotonic() + seconds

    def left(self, timeout: float | None, late: type[Exception]) -> float:
        """Seconds to wait for the next step: `timeout`, or less where the end comes before."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise late(f"no whole answer in {self._seconds:g} s")
        return left if timeout is None else min(timeout, left)

    def moved(self, size: int) -> None:
        self._end += size / self._slowest
        self._left -= size
        if self._left < 0:
            raise httpcore2.ReadError(f"a piece of more than {LARGEST} bytes")


_current: contextvars.ContextVar[_Deadline | None] = contextvars.ContextVar("deadline")


@contextmanager
def _within(deadline: _Deadline) -> Iterator[None]:
    token = _current.set(deadline)
    try:
        yield
    finally:
        _current.reset(token)


def _left(timeout: float | None, late: type[Exception]) -> float | None:
    """`timeout` as it is after a stream's opening, which has no deadline."""
    deadline = _current.get(None)
    return timeout if deadline is None else deadline.left(timeout, late)


def _moved(size: int) -> None:
    if deadline := _current.get(None):
        deadline.moved(size)


# --- sockets -------------------------------------------------------------------------------------


class _Network(httpcore2.NetworkBackend):
    """Connections that look at the clock."""

    def __init__(self, inner: httpcore2.NetworkBackend) -> None:
        self._inner = inner

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Try each address of `host` until one answers."""
        failure: Exception | None = None
        for address in _addresses(host, port, _left(timeout, httpcore2.ConnectTimeout)):
            left = _left(timeout, httpcore2.ConnectTimeout)
            try:
                stream = self._inner.connect_tcp(address, port, left, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
            else:
                return _Stream(stream)
        raise failure or httpcore2.ConnectError(f"{host} has no address")

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        left = _left(timeout, httpcore2.ConnectTimeout)
        return _Stream(self._inner.connect_unix_socket(path, left, socket_options))

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)


class _Stream(httpcore2.NetworkStream):
    """A connection that looks at the clock before every step."""

    def __init__(self, inner: httpcore2.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._inner.read(max_bytes, _left(timeout, httpcore2.ReadTimeout))
        _moved(len(data))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), SLICE):
            piece = buffer[start : start + SLICE]
            self._inner.write(piece, _left(timeout, httpcore2.WriteTimeout))
            _moved(len(piece))

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        left = _left(timeout, httpcore2.ConnectTimeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)

    def close(self) -> None:
        self._inner.close()


def _addresses(host: str, port: int, timeout: float | None) -> list[str]:
    """The addresses of a name.  The system's look-up cannot be told to hurry, so a thread waits."""
    answers: queue.SimpleQueue[list[str] | OSError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answers.put(list(dict.fromkeys(str(address[0]) for *_, address in found)))
        except (OSError, UnicodeError) as error:  # a label of more than 63 letters is no name
            answers.put(OSError(str(error)))

    threading.Thread(target=look_up, name="ftjobs-name", daemon=True).start()
    try:
        answer = answers.get(timeout=timeout)
    except queue.Empty:
        raise httpcore2.ConnectTimeout(f"{host}: no address in {timeout:g} s") from None
    if isinstance(answer, OSError):
        raise httpcore2.ConnectError(str(answer)) from None
    return answer
