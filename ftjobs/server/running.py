"""How an app is served: the socket, TLS, and a graceful end."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from filelock import FileLock, Timeout

from ftjobs.backends.base import Closes
from ftjobs.disk import write_text
from ftjobs.errors import ConfigError, FtjobsError, StoreError, StoreLockedError
from ftjobs.server.app import create_app, refusal
from ftjobs.server.desk import Desk
from ftjobs.server.guard.body import LINGER
from ftjobs.server.guard.door import Door
from ftjobs.server.guard.hosts import address_of
from ftjobs.server.guard.slow import Config
from ftjobs.server.options import Options

__all__ = ["serve", "serving"]

log = logging.getLogger("ftjobs.server")

KEEP_ALIVE = 30
"""Seconds for which an idle connection is kept: longer than SDKs keep theirs, so that none sends a
request into a connection that is being closed."""
STUCK = 5.0
"""Seconds for what is left when all answers have been ended; then the process ends all the same."""


def serve(
    desk: Desk,
    *,
    started: Callable[[str], None] = lambda _url: None,
    ending: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGINT or SIGTERM.

    `started` is told the URL, once it answers and heeds signals; `ending` is called when it begins
    to end.

    Raises:
        ConfigError: nobody may or can listen at this address, or the certificate cannot be used.
        StoreLockedError: another server has this home.
    """
    with _alone(desk.database.home) as note:
        server, sock = _prepared(desk)
        address = url(desk.options, sock)
        note(address)
        server.serves, server.ends = partial(started, address), ending
        before = set(threading.enumerate())
        try:
            server.run(sockets=[sock])
        except SystemExit:  # uvicorn's way to say that the rooms could not be opened
            raise FtjobsError("the server could not start", hint="Its log says why.") from None
        finally:
            if isinstance(desk.backend, Closes):
                desk.backend.close()
        if all(thread.daemon for thread in set(threading.enumerate()) - before):
            server.last.cancel()


@contextmanager
def serving(desk: Desk) -> Iterator[str]:
    """A server in a thread of this process; gives its base URL, which ends in /v1."""
    server, sock = _prepared(desk)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    try:
        yield f"{url(desk.options, sock)}/v1"
    finally:
        server.should_exit = True
        thread.join(desk.options.shutdown + LINGER + STUCK)
    if thread.is_alive():
        raise FtjobsError("the server did not end in time")


def url(options: Options, sock: socket.socket) -> str:
    """Where clients find the server: by its first name, if it has one."""
    scheme = "https" if options.tls_cert else "http"
    host = f"[{options.host}]" if ":" in options.host else options.host
    if options.host in ("0.0.0.0", "::"):  # noqa: S104 - no client can call it so
        host = next(iter(options.allowed_hosts), "localhost")
    return f"{scheme}://{host}:{sock.getsockname()[1]}"


# --- the socket ----------------------------------------------------------------------------------


def _prepared(desk: Desk) -> tuple[_Server, socket.socket]:
    context = tls(desk.options)
    sock = listen(desk)
    door = Door(create_app(desk), desk, refused=refusal)
    config = Config(
        door,
        desk.options,
        loop="asyncio",
        ws="none",
        log_config=None,
        log_level="error",  # its warnings are about what clients send, a line each, and never end
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="on",
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=desk.options.shutdown + LINGER,
        ssl_context_factory=None if context is None else lambda _config, _default: context,
    )
    return _Server(config, door), sock


def listen(desk: Desk) -> socket.socket:
    """The socket of a server.

    Raises:
        ConfigError: others can reach it and there is no key, or the address cannot be had.
    """
    options = desk.options
    place = f"{options.host}:{options.port}"
    try:
        family, kind, proto, _, where = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM
        )[0]
    except (OSError, UnicodeError):
        raise ConfigError(f"cannot listen at {place}: no such address") from None
    _require_keys(desk, str(where[0]))
    sock = socket.socket(family, kind, proto)  # asyncio sends at once where it knows it is TCP
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # `::` is all addresses
        sock.bind(where)
        sock.listen(2048)
    except OSError as error:
        sock.close()
        raise ConfigError(
            f"cannot listen at {place}: {error.strerror}", hint="Choose another --port."
        ) from None
    return sock


def _require_keys(desk: Desk, address: str) -> None:
    if desk.keys.any():
        return
    found = address_of(address)
    hint = "Make one: ftjobs serve keys create --project NAME --scope train"
    if found is None or not found.is_loopback:
        raise ConfigError(
            f"{desk.options.host} can be reached from other machines, and there is no API key",
            hint=hint,
        )
    if desk.options.allowed_hosts:
        raise ConfigError("allowed_hosts lets others call, and there is no API key", hint=hint)


def tls(options: Options) -> ssl.SSLContext | None:
    """TLS 1.2 or newer, where there is a certificate.  ConfigError if it cannot be used."""
    if options.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # An encrypted key would be asked for at a terminal that may not be there.
        context.load_cert_chain(options.tls_cert, options.tls_key, password=lambda: "")
    except ssl.SSLError:
        where = f"{options.tls_cert} and {options.tls_key}" if options.tls_key else options.tls_cert
        raise ConfigError(
            f"no certificate and its key are in {where}",
            hint="Both are PEM, and the key has no passphrase; --tls-key names its file.",
        ) from None
    except OSError as error:
        # Python does not say which of the two it is.
        files = " or ".join(str(each) for each in (options.tls_cert, options.tls_key) if each)
        raise ConfigError(f"cannot read {files}: {error.strerror}") from None
    return context


# --- one server of a home ------------------------------------------------------------------------


@contextmanager
def _alone(home: Path) -> Iterator[Callable[[str], None]]:
    """Hold a home against other servers; gives what notes where it is served."""
    about = home / "serve.json"
    lock = FileLock(home / "serve.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise StoreLockedError(
            f"{home} is served already{_holder(about)}",
            hint="End that server first, or set FTJOBS_HOME to another folder.",
        ) from None
    except OSError as error:
        raise StoreError(f"{home} cannot be locked: {error.strerror}") from None
    try:
        yield lambda address: write_text(
            about, json.dumps({"pid": os.getpid(), "url": address}) + "\n"
        )
    finally:
        lock.release()


def _holder(about: Path) -> str:
    try:
        found = json.loads(about.read_text("utf-8"))
        return f" by process {found['pid']} at {found['url']}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


# --- the end -------------------------------------------------------------------------------------


class _Server(uvicorn.Server):
    """uvicorn, whose end is an end: nothing goes on for longer than was allowed."""

    def __init__(self, config: Config, door: Door) -> None:
        super().__init__(config)
        self._door, self._seconds = door, config.options.shutdown
        self._patience = config.options.patience
        self.serves: Callable[[], None] = lambda: None
        self.ends: Callable[[], None] = lambda: None
        # A thread that hangs in a model or a service would keep the process for ever.  All that
        # was acknowledged is on the disk.
        self.last = threading.Timer(self._seconds + LINGER + STUCK, os._exit, (1,))
        self.last.daemon = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let signals end the server, and the program after it with success."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {each: signal.signal(each, self._stop) for each in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; a TLS handshake has the time of a head."""
        if self.config.ssl is not None:
            loop: Any = asyncio.get_running_loop()
            loop.create_server = partial(loop.create_server, ssl_handshake_timeout=self._patience)
        await super().startup(sockets)
        if self.started:
            self.serves()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Wait for the answers under way, and cut those that take too long."""
        self.ends()
        cut = asyncio.create_task(self._cut())
        try:
            await super().shutdown(sockets)
        finally:
            cut.cancel()

    async def _cut(self) -> None:
        await asyncio.sleep(self._seconds)
        await self._door.cut()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if not self.should_exit:
            self.last.start()
        self.handle_exit(number, frame)
