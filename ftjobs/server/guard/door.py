"""The door itself: one ASGI application around another, and the order of the guards."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from starlette.requests import ClientDisconnect, Request, cookie_parser
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ftjobs.errors import FtjobsError
from ftjobs.server.caller import Caller
from ftjobs.server.desk import Desk
from ftjobs.server.guard.audit import Audit
from ftjobs.server.guard.body import takes_files
from ftjobs.server.guard.exchange import Exchange
from ftjobs.server.guard.hosts import Hosts
from ftjobs.server.guard.rates import Rates, origin_of
from ftjobs.server.refusals import Refusal, error_body
from ftjobs.server.sessions import COOKIE

__all__ = ["Door"]

log = logging.getLogger("ftjobs.server")

OPEN = frozenset({"/healthz", "/readyz", "/login"})
"""Paths that need no key, as whatever lies below `STATIC` does not."""
STATIC = "/static/"

HEADERS = 100
"""The most headers of a request."""
HEAD_BYTES = 32 * 1024
"""The largest head of a request."""
UPLOAD_AGAIN = 2.0
"""Seconds after which a client that found no place for a file should ask again."""


class Door:
    """What stands between a socket and the rooms.

    Args:
        app: the rooms.
        desk: what all requests share.
        refused: makes the answer to a request that met an error.
    """

    def __init__(
        self, app: ASGIApp, desk: Desk, *, refused: Callable[[Request, FtjobsError], Response]
    ) -> None:
        self.app, self.desk, self._refused = app, desk, refused
        self._hosts = Hosts(desk.options)
        self._rates = Rates(desk.options.requests_per_minute)
        self._audit = Audit(desk.database.home / "audit.log")
        self._uploads = 0
        self._under_way: set[Exchange] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["app"] = self.app  # for what is answered before the rooms are asked
        exchange = Exchange(scope, receive, send, self.desk.options)
        self._under_way.add(exchange)
        try:
            with self.desk.metrics.request():
                await self._answer(exchange)
        finally:
            self._under_way.discard(exchange)
            self._note(exchange)

    async def cut(self) -> None:
        """End every answer under way, streams with an error."""
        await asyncio.gather(*(each.cut() for each in self._under_way), return_exceptions=True)

    # --- one request -------------------------------------------------------------------------

    async def _answer(self, exchange: Exchange) -> None:
        try:
            self._admit(exchange)
            exchange.body.require_length()
            with self._place(exchange):
                await self.app(exchange.scope, exchange.receive, exchange.send)
        except FtjobsError as error:
            await exchange.answer(self._refused(Request(exchange.scope), error))
        except ClientDisconnect:
            pass
        except Exception as error:  # noqa: BLE001 - nothing of it may reach a client
            log.error("%s failed: %s", exchange.id, _where(error))  # noqa: TRY400
            await exchange.answer(error_body(500, f"the server failed: {exchange.id}"))
        else:
            if exchange.body.refusal is not None:  # the rooms took it for an error of their own
                refusal = exchange.body.refusal
                await exchange.answer(self._refused(Request(exchange.scope), refusal))

    def _admit(self, exchange: Exchange) -> None:
        """The guards, the cheapest first.  Refusal where one says no."""
        headers = exchange.headers
        _require_head(exchange)
        self._hosts.require_host(headers.get("host", ""))
        self._hosts.require_own_page(
            exchange.method,
            headers.get("host", ""),
            headers.get("origin"),
            headers.get("sec-fetch-site", ""),
        )
        if exchange.path in OPEN or exchange.path.startswith(STATIC):
            if exchange.method == "POST":  # somebody tries keys
                self._require_rate(f"address {origin_of(exchange.address)}")
            return
        try:
            caller = self._caller(exchange)
        except Refusal:
            self._require_rate(f"address {origin_of(exchange.address)}")
            raise
        exchange.admit(caller)
        self._require_rate(f"key {caller.key_id}" if caller.key_id else exchange.address)

    def _caller(self, exchange: Exchange) -> Caller:
        headers = exchange.headers
        session = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        caller = self.desk.caller(headers.get("authorization", ""), session)
        if not caller.key_id and ("x-forwarded-for" in headers or "forwarded" in headers):
            # A proxy lets others reach a server that takes everybody for this machine's user.
            raise Refusal(
                401, "behind a proxy this server needs API keys: ftjobs serve keys create",
                code="missing_api_key",
            )  # fmt: skip
        return caller

    def _require_rate(self, who: str) -> None:
        if wait := self._rates.take(who):
            raise Refusal(
                429,
                f"more than {self.desk.options.requests_per_minute} requests a minute",
                code="rate_limit_exceeded",
                retry_after=wait,
            )

    @contextmanager
    def _place(self, exchange: Exchange) -> Iterator[None]:
        """Room for a file, where the request brings one."""
        if not takes_files(exchange.method, exchange.path):
            yield
            return
        if self._uploads >= self.desk.options.uploads:
            raise Refusal(
                429, "too many files come at once", code="too_many_uploads",
                retry_after=UPLOAD_AGAIN,
            )  # fmt: skip
        self._uploads += 1
        try:
            yield
        finally:
            self._uploads -= 1

    def _note(self, exchange: Exchange) -> None:
        seconds = time.monotonic() - exchange.began
        route, status, caller = exchange.route, exchange.outcome, exchange.caller
        self.desk.metrics.answered(exchange.method, route, status, seconds)
        self._audit.write(
            {
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "request_id": exchange.id,
                "address": exchange.address,
                "key": caller.key_id if caller else "",
                "project": caller.project if caller else "",
                "method": exchange.method[:20],
                "route": route,
                "status": status,
                "received": exchange.body.received,
                "sent": exchange.sent,
                "ms": round(seconds * 1000, 1),
            }
        )


def _require_head(exchange: Exchange) -> None:
    raw = exchange.scope["headers"]
    size = sum(len(name) + len(value) + 4 for name, value in raw)
    size += len(exchange.scope["raw_path"]) + len(exchange.scope["query_string"])
    if len(raw) > HEADERS or size > HEAD_BYTES:
        raise Refusal(431, "the head of the request is too large", code="head_too_large")


def _where(error: BaseException) -> str:
    """Which error, and where in the code.  Its message may hold what a client sent."""
    frames = "".join(traceback.format_tb(error.__traceback__)).rstrip()
    return f"{type(error).__name__}\n{frames}"
