"""How much of a request's body may come, and how slowly."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import suppress

from starlette.types import Message, Receive, Scope

from ftjobs.server.options import MiB, Options
from ftjobs.server.refusals import Refusal

__all__ = ["PART_BYTES", "Body", "largest_body", "takes_files"]

PART_BYTES = 64 * MiB
"""The largest part of an upload (the wire's own limit)."""
WRAPPING = 64 * 1024
"""Bytes that a form may add to the file in it."""
SLOWEST = 1000
"""Bytes a second that a body must come with, once patience is over."""
SMALL = 64 * 1024
"""Bytes of a body that are read even if nobody wants them, so that the connection can be kept."""
LINGER = 2.0
"""Seconds for which what a refused client still sends is thrown away, so that it reads why."""

_PART = re.compile(r"/v1/uploads/[^/]+/parts")


def takes_files(method: str, path: str) -> bool:
    """Whether a request brings a file or a part of one."""
    return method == "POST" and (path == "/v1/files" or _PART.fullmatch(path) is not None)


def largest_body(method: str, path: str, options: Options) -> int:
    """Bytes that the body of a request may have."""
    if not takes_files(method, path):
        return options.max_body_bytes
    return (options.max_file_bytes if path == "/v1/files" else PART_BYTES) + WRAPPING


class Body:
    """The body of one request, counted as it comes.

    Args:
        scope: the request.
        receive: where its pieces come from.
        largest: bytes that it may have.
        patience: seconds for each piece, and for the whole beyond what comes at `SLOWEST`.
    """

    def __init__(self, scope: Scope, receive: Receive, *, largest: int, patience: float) -> None:
        headers = dict(scope["headers"])
        length = headers.get(b"content-length")
        chunked = b"transfer-encoding" in headers
        self._receive, self._largest, self._patience = receive, largest, patience
        self._declared = int(length) if length is not None and not chunked else None
        self._expects = b"expect" in headers
        self._ambiguous = chunked and length is not None
        self._received, self._waited = 0, 0.0
        self.complete = not chunked and not self._declared
        self.refusal: Refusal | None = None
        """Why no more of it is read."""

    @property
    def received(self) -> int:
        """Bytes that came."""
        return self._received

    def require_length(self) -> None:
        """Refusal 413 where it says that it is too large, 400 where it gives two lengths."""
        if self._ambiguous:  # a proxy may have taken the other one (RFC 9112, section 6.1)
            self._refuse(Refusal(400, "a body has Content-Length or Transfer-Encoding, not both"))
        if self._declared is not None and self._declared > self._largest:
            self._refuse(self._too_large())

    async def receive(self) -> Message:
        """The next piece; Refusal 413 or 408 in its place.  After the end, what the server says."""
        if self.refusal is not None:
            raise self.refusal
        if self.complete:
            return await self._receive()
        left = self._patience + self._received / SLOWEST - self._waited
        began = time.monotonic()
        try:
            async with asyncio.timeout(min(self._patience, left)):
                message = await self._receive()
        except TimeoutError:
            self._refuse(Refusal(408, "the body of the request came too slowly", code="too_slow"))
        self._waited += time.monotonic() - began
        self._received += len(message.get("body", b""))
        if self._received > self._largest:
            self._refuse(self._too_large())
        self.complete = not message.get("more_body", False)
        return message

    async def read_small(self) -> None:
        """Read the rest where that is little: it is probably there already."""
        if self._expects or self._declared is None or self._declared > SMALL:
            return
        with suppress(Refusal):
            while not self.complete:
                await self.receive()

    async def linger(self) -> None:
        """Throw away what still comes, for a moment."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                while (await self._receive()).get("more_body", False):
                    pass

    def _too_large(self) -> Refusal:
        return Refusal(
            413, f"the request is larger than {self._largest:,} bytes", code="request_too_large"
        )

    def _refuse(self, refusal: Refusal) -> None:
        self.refusal = refusal
        raise refusal
