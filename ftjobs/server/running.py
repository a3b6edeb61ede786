"""How an app is served: the socket, time limits, and a graceful end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from ftjobs.errors import ConfigError, FtjobsError
from ftjobs.server.app import create_app
from ftjobs.server.desk import Desk
from ftjobs.server.options import Options

__all__ = ["serve", "serving"]


def serve(desk: Desk) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        ConfigError: nobody may or can listen at this address.
    """
    sock = listen(desk)
    uvicorn.Server(_config(desk)).run(sockets=[sock])


@contextmanager
def serving(desk: Desk) -> Iterator[str]:
    """A server in a thread of this process; gives its base URL, which ends in /v1."""
    sock = listen(desk)
    server = uvicorn.Server(_config(desk))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    try:
        yield f"{url(desk.options, sock)}/v1"
    finally:
        server.should_exit = True
        thread.join(desk.options.shutdown + 5)
    if thread.is_alive():
        raise FtjobsError("the server did not end in time")


def listen(desk: Desk) -> socket.socket:
    """The socket of a server.

    Raises:
        ConfigError: the address is not this machine's alone and there is no key, or it is taken.
    """
    options = desk.options
    if not options.is_loopback and not desk.keys.any():
        raise ConfigError(
            f"{options.host} can be reached from other machines, and there is no API key",
            hint="Make one: ftjobs serve keys create --project NAME --scope train",
        )
    try:
        found = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)
        sock = socket.socket(found[0][0], socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((options.host, options.port))
        sock.listen(2048)
    except OSError as error:
        place = f"{options.host}:{options.port}"
        raise ConfigError(f"cannot listen at {place}: {error.strerror}") from None
    return sock


def url(options: Options, sock: socket.socket) -> str:
    """Where clients find the server."""
    scheme = "https" if options.tls_cert else "http"
    host = f"[{options.host}]" if ":" in options.host else options.host
    return f"{scheme}://{host}:{sock.getsockname()[1]}"


def _config(desk: Desk) -> uvicorn.Config:
    options = desk.options
    return uvicorn.Config(
        create_app(desk),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="on",
        limit_concurrency=options.connections,
        timeout_graceful_shutdown=int(options.shutdown),
        ssl_certfile=options.tls_cert,
        ssl_keyfile=options.tls_key,
    )
