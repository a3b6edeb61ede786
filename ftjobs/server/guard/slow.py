"""Connections that send or read too slowly, or are too many.

uvicorn has a time limit for a connection that is idle, and none for a head that comes byte by byte
or for an answer that nobody reads.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import h11
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from ftjobs.server.guard.door import HEAD_BYTES
from ftjobs.server.guard.rates import origin_of
from ftjobs.server.guard.strict import Strict
from ftjobs.server.options import Options
from ftjobs.server.refusals import Refusal, error_body, refuse

__all__ = ["Config", "Protocol"]

OVERFLOW = 2
"""How many times as many connections as are served are kept long enough to be told."""


class Config(uvicorn.Config):
    """uvicorn's settings, with what one server's connections share."""

    def __init__(self, app: Any, options: Options, **settings: Any) -> None:
        super().__init__(app, http=Protocol, **settings)
        self.options = options
        self.by_address: Counter[str] = Counter()


class _Counted:
    """A transport that knows how many bytes it was given."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.written = 0

    def write(self, data: bytes) -> None:
        self.written += len(data)
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Protocol(H11Protocol):
    """A connection that has `patience`, and no more."""

    config: Config
    transport: Any

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count it, and begin to wait for a head."""
        counted = _Counted(transport)
        self.conn = Strict(h11.SERVER, HEAD_BYTES)
        super().connection_made(counted)  # type: ignore[arg-type]
        options, origin = self.config.options, origin_of(self.client[0] if self.client else "")
        self._origin, self._taken = origin, 0
        self._head: asyncio.TimerHandle | None = None
        self.config.by_address[origin] += 1
        share = max(
            len(self.connections) / options.connections,
            self.config.by_address[origin] / options.connections_per_address,
        )
        if share > OVERFLOW:
            self.transport.abort()
        elif share > 1:
            self.app = _busy
        self._reading = self.loop.call_later(options.patience, self._require_reader)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        super().connection_lost(exc)
        self.config.by_address[self._origin] -= 1
        if not self.config.by_address[self._origin]:
            del self.config.by_address[self._origin]
        self._reading.cancel()
        if self._head is not None:
            self._head.cancel()

    def data_received(self, data: bytes) -> None:
        """Take what came; a head that has begun must end in time."""
        super().data_received(data)
        self._watch_head()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, in the wire's shape."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()  # an answer is under way
            return
        answer = error_body(400, msg, headers={"connection": "close"})
        start = h11.Response(status_code=400, headers=answer.raw_headers)
        for event in (start, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event))
        self.transport.close()
        if self.cycle is not None:  # its body was broken: what the rooms answer, nobody gets
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _watch_head(self) -> None:
        waits = self.conn.their_state is h11.IDLE
        if waits and self._head is None:
            self._head = self.loop.call_later(self.config.options.patience, self.transport.close)
        elif not waits and self._head is not None:
            self._head.cancel()
            self._head = None

    def _require_reader(self) -> None:
        """Cut whoever took nothing of what was there for them since the last look."""
        waiting = self.transport.get_write_buffer_size()
        taken = self.transport.written - waiting
        if waiting and taken == self._taken:
            self.transport.abort()
            return
        self._taken = taken if waiting else -1  # the next wait begins with what comes next
        self._reading = self.loop.call_later(self.config.options.patience, self._require_reader)


async def _busy(scope: Scope, receive: Receive, send: Send) -> None:
    """What is answered instead of the rooms."""
    busy = Refusal(503, "too many connections are open", code="too_many_connections",
                   retry_after=1.0)  # fmt: skip
    answer = refuse(busy)
    answer.headers["connection"] = "close"
    await answer(scope, receive, send)
