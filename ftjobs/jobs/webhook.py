"""Receive webhooks: a small HTTP server on this machine that rings when a watched job has ended.

It believes nothing but a valid signature (https://www.standardwebhooks.com), answers no more than
a status, and holds little: eight connections, ten seconds and 64 KB each.
"""

from __future__ import annotations

import logging
import re
import socket
import socketserver
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from ftjobs.errors import ConfigError, FtjobsError

__all__ = ["PATH", "Receiver", "address"]

PATH = "/webhook"
LONGEST_BODY = 64 * 1024  # bytes
DEADLINE = 10.0  # seconds for one connection
AT_ONCE = 8  # connections
REMEMBERED = 10_000  # ids of deliveries; a replay that is older fails by its timestamp
EVENT = "fine_tuning.job."

Verify = Callable[[Mapping[str, str], bytes], Mapping[str, Any]]
"""(headers in lower case, body) → the event.  Raises an `FtjobsError` for a bad signature."""

log = logging.getLogger("ftjobs")


def address(text: str) -> tuple[str, int]:
    """HOST:PORT as a pair; an IPv6 address stands in brackets.  ConfigError where it is none."""
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.%a-z]+)\]|([^:\[\]\s]+)):(\d{1,5})", text)
    if match is None or int(match[3]) > 65535:
        raise ConfigError(
            f"--webhook: {text!r} is not HOST:PORT", hint="Such as 127.0.0.1:8787 or [::1]:8787."
        )
    return match[1] or match[2], int(match[3])


class Receiver:
    """A doorbell that webhooks ring; a context manager, listening from its making on.

    Args:
        place: host and port to listen at; port 0 takes a free one.
        verify: checks a delivery's signature and returns its event.
        wants: whether a job's id is one that is watched.

    Raises:
        ConfigError: nobody can listen there.
    """

    def __init__(
        self,
        place: tuple[str, int],
        verify: Verify,
        *,
        wants: Callable[[str], bool] = lambda _job_id: True,
    ) -> None:
        self._verify, self._wants = verify, wants
        self._rung = threading.Event()
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()
        self._warned = False
        self._server = _listen(place, self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True
        )

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where deliveries are taken."""
        host, port = self._server.server_address[:2]
        name = f"[{host!s}]" if ":" in str(host) else str(host)
        return f"http://{name}:{port}{PATH}"

    def wait(self, seconds: float) -> None:
        """Return once it has rung since the last wait, or after so many seconds."""
        if self._rung.wait(seconds):
            self._rung.clear()

    def deliver(self, headers: Mapping[str, str], body: bytes) -> HTTPStatus:
        """Take one delivery; the status to answer."""
        try:
            event = self._verify(headers, body)
        except FtjobsError:
            self._warn_once()
            return HTTPStatus.BAD_REQUEST
        if self._is_new(headers.get("webhook-id", "")) and self._is_wanted(event):
            self._rung.set()
        return HTTPStatus.NO_CONTENT

    def _warn_once(self) -> None:
        with self._lock:
            first, self._warned = not self._warned, True
        if first:
            log.warning("a webhook without a valid signature was refused; is the secret right?")

    def _is_new(self, delivery: str) -> bool:
        with self._lock:
            if delivery in self._seen:
                return False
            self._seen[delivery] = None
            if len(self._seen) > REMEMBERED:
                self._seen.popitem(last=False)
            return True

    def _is_wanted(self, event: Mapping[str, Any]) -> bool:
        data = event.get("data")
        job_id = data.get("id") if isinstance(data, Mapping) else None
        is_about_a_job = str(event.get("type", "")).startswith(EVENT)
        return is_about_a_job and isinstance(job_id, str) and self._wants(job_id)


# --- HTTP ----------------------------------------------------------------------------------------


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 2 * AT_ONCE

    def __init__(self, place: tuple[str, int], family: int, receiver: Receiver) -> None:
        self.address_family = family
        self.receiver = receiver
        self._places = threading.BoundedSemaphore(AT_ONCE)
        super().__init__(place, _Handler)

    def server_bind(self) -> None:
        """Bind without asking the network for this machine's name."""
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)  # the service delivers again later

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        late = threading.Timer(DEADLINE, _cut, [request])
        late.daemon = True
        late.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            late.cancel()
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that goes away is no matter of ours."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version, sys_version = "ftjobs", ""
    timeout = DEADLINE
    error_message_format = ""  # answers hold nothing of what was asked

    def do_POST(self) -> None:
        """Take a delivery."""
        self._answer(self._status())

    def _status(self) -> HTTPStatus:
        length, *others = self.headers.get_all("Content-Length", [""])
        others += self.headers.get_all("Transfer-Encoding", [])
        if self.path.partition("?")[0] != PATH:
            return HTTPStatus.NOT_FOUND
        if others or not re.fullmatch(r"[0-9]{1,9}", length):  # a proxy may have read another one
            return HTTPStatus.LENGTH_REQUIRED
        if int(length) > LONGEST_BODY:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            return HTTPStatus.BAD_REQUEST
        headers = {name.lower(): value for name, value in self.headers.items()}
        return self.server.receiver.deliver(headers, body)

    def _answer(self, status: HTTPStatus) -> None:
        self.send_response(status)
        if status is not HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()

    def send_error(
        self,
        code: int,
        message: str | None = None,  # noqa: ARG002 - the library's signature
        explain: str | None = None,  # noqa: ARG002
    ) -> None:
        """Answer a request that is none, or another verb than POST, with a bare status."""
        is_verb = code == HTTPStatus.NOT_IMPLEMENTED
        self._answer(HTTPStatus.METHOD_NOT_ALLOWED if is_verb else HTTPStatus(code))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Nothing: what strangers ask for belongs in no log."""


def _cut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # it is closed already
        return


def _listen(place: tuple[str, int], receiver: Receiver) -> _Server:
    host, port = place
    try:
        family, *_, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return _Server((str(where[0]), int(where[1])), family, receiver)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "no such host"
        raise ConfigError(f"--webhook: cannot listen at {host}:{port}: {reason}") from None
