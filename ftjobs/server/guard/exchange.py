"""One request with its answer, as the door sees it."""

from __future__ import annotations

import json
import secrets
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from ftjobs.server.caller import Caller
from ftjobs.server.guard.body import Body, largest_body
from ftjobs.server.options import Options
from ftjobs.server.refusals import Refusal, refuse

__all__ = ["Exchange"]

CLIENT_LEFT = 499
"""The status in audit and metrics where nobody was there to be answered (nginx's)."""

PAGE_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
}
"""Of all that is HTML; a page may set its own instead."""


class Exchange:
    """A request, and what was sent of its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, options: Options) -> None:
        self.scope, self._send = scope, send
        self.method, self.path = scope["method"], scope["path"]
        self.headers = Headers(scope=scope)
        self.id = f"req_{secrets.token_hex(16)}"
        self.began = time.monotonic()
        largest = largest_body(self.method, self.path, options)
        self.body = Body(scope, receive, largest=largest, patience=options.patience)
        self.caller: Caller | None = None
        self.status: int | None = None
        self.sent = 0
        self._streams = self._over = self._left = False
        scope.setdefault("state", {})["request_id"] = self.id

    @property
    def address(self) -> str:
        """Who is connected; behind a proxy, that."""
        client = self.scope.get("client")
        return str(client[0]) if client else ""

    @property
    def outcome(self) -> int:
        """The status of the answer, or that nobody was there to have it."""
        return CLIENT_LEFT if self._left else self.status or 500

    @property
    def route(self) -> str:
        """The template of the path, which holds no id."""
        path = getattr(self.scope.get("route"), "path", "")
        if not path:
            return "other"
        # A router does not know the prefix under which it was included.
        inner = self.path.startswith("/v1/") and not path.startswith("/v1/")
        return f"/v1{path}" if inner else str(path)

    def admit(self, caller: Caller) -> None:
        """Note who asks."""
        self.caller = caller
        self.scope["state"]["caller"] = caller

    async def receive(self) -> Message:
        """What the rooms receive."""
        message = await self.body.receive()
        self._left |= message["type"] == "http.disconnect" and not self._over
        return message

    async def send(self, message: Message) -> None:
        """What the rooms send."""
        if self._over or (self.status is None and self.body.refusal is not None):
            return  # nobody wants it any more, or it is what a room made of the refusal
        if message["type"] == "http.response.start":
            await self._begin(message)
        elif message["type"] == "http.response.body":
            await self._go_on(message)
        else:
            await self._send(message)

    async def answer(self, response: Response) -> None:
        """Answer in the place of the rooms, unless they have begun to."""
        if self.status is None:
            self.body.refusal = None  # it is being answered
            await response(self.scope, self.receive, self.send)

    async def cut(self) -> None:
        """End the answer now: the server goes down."""
        if self.status is None:
            going = Refusal(503, "the server is going down", code="shutting_down", retry_after=5.0)
            await self.answer(refuse(going))
        elif self._streams and not self._over:
            error = {"message": "the server is going down", "type": "server_error",
                     "param": None, "code": "shutting_down"}  # fmt: skip
            last = f"data: {json.dumps({'error': error})}\n\n".encode()
            await self.send({"type": "http.response.body", "body": last, "more_body": False})

    async def _begin(self, message: Message) -> None:
        await self.body.read_small()
        headers = MutableHeaders(raw=list(message.get("headers", ())))
        kind = headers.get("content-type", "").partition(";")[0]
        self._streams = kind == "text/event-stream"
        headers["x-request-id"] = self.id
        headers["x-content-type-options"] = "nosniff"
        headers.setdefault("cross-origin-resource-policy", "same-origin")
        headers.setdefault("cache-control", "no-store")
        for name, text in PAGE_HEADERS.items() if kind == "text/html" else ():
            headers.setdefault(name, text)
        if not self.body.complete:
            headers["connection"] = "close"  # what still comes is no request
        self.status = message["status"]
        await self._send({**message, "headers": headers.raw})

    async def _go_on(self, message: Message) -> None:
        self.sent += len(message.get("body", b""))
        if message.get("more_body", False):
            await self._send(message)
            return
        self._over = True
        if not self.body.complete:
            await self._send({**message, "more_body": True})
            await self.body.linger()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)
