"""An answer under way: its turn, its thread, and its end when the client leaves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import anyio
from anyio.abc import TaskGroup
from fastapi import Request, Response
from starlette.types import Message, Receive, Scope, Send

from ftjobs.errors import FtjobsError
from ftjobs.server.desk import Desk
from ftjobs.server.pieces import Pieces
from ftjobs.server.refusals import Refusal, logged, refuse
from ftjobs.server.turns import Turns

__all__ = ["DONE", "QUIET", "Answer", "answer"]

QUIET = 10.0
"""Seconds after which a stream that says nothing says that it is alive: proxies cut silent ones."""
LEFT = 499
"""What is written of a client that left before there was an answer.  Nobody reads it."""
ALIVE, DONE = b": still at work\n\n", b"data: [DONE]\n\n"


def answer(
    request: Request, begin: Callable[[], Iterator[bytes]], *, streamed: bool | None
) -> Answer:
    """The response that takes its turn, and then sends what `begin` gives.

    Args:
        request: whose answer it is.
        begin: called in a thread of its own.  Empty pieces are not sent: they are where an
            iterator can be closed.
        streamed: whether its pieces are server-sent events, or together one JSON body.
    """
    desk: Desk = request.app.state.desk
    project: str = request.state.caller.project
    request_id: str = getattr(request.state, "request_id", "")
    kind = Streamed if streamed else Answer
    return kind(desk.turns, project, begin, request_id)


class Answer(Response):
    """A JSON body, sent when it is whole."""

    media_type = "application/json"

    def __init__(
        self, turns: Turns, project: str, begin: Callable[[], Iterator[bytes]], request_id: str
    ) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._turns, self._project, self._begin = turns, project, begin
        self._request_id = request_id
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or raise what is to be answered instead; end when the client leaves."""
        failed: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_until_left, receive, tasks.cancel_scope)
            self._beside(tasks, send)
            try:
                await self._answer(send)
            except Exception as error:  # noqa: BLE001 - a task group would wrap it
                failed = error
            tasks.cancel_scope.cancel()
        if failed is not None:
            raise failed
        if not self._started:
            await Response(status_code=LEFT)(scope, receive, send)

    def _beside(self, tasks: TaskGroup, send: Send) -> None:
        """What goes on beside the answer."""

    async def _answer(self, send: Send) -> None:
        body: list[bytes] = []

        async def keep(piece: bytes) -> None:
            body.append(piece)

        await self._read(keep)
        whole = b"".join(body)
        self.headers["content-length"] = str(len(whole))
        await self._start(send)
        await send({"type": "http.response.body", "body": whole})

    async def _read(self, use: Callable[[bytes], Awaitable[None]]) -> None:
        """Give the answer's pieces to `use` when it is its turn; those that lie ready as one."""
        await self._turns.take(self._project)
        try:
            pieces = Pieces(self._begin, self._turns.release)
        except RuntimeError:  # no thread can be started
            self._turns.release()
            raise Refusal(503, "the server has too much to do", code="overloaded") from None
        try:
            while ready := await pieces.some():
                await use(b"".join(ready))
        finally:
            pieces.leave()

    async def _start(self, send: Send) -> None:
        self._started = True
        start: Message = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        await send(start)


class Streamed(Answer):
    """Server-sent events.  An error after the first is an event too, and no [DONE] follows it."""

    media_type = "text/event-stream"

    def _beside(self, tasks: TaskGroup, send: Send) -> None:
        self.headers["x-accel-buffering"] = "no"
        self._writing = anyio.Lock()
        tasks.start_soon(self._live, send)

    async def _answer(self, send: Send) -> None:
        failed: Exception | None = None
        try:
            await self._read(partial(self._write, send))
        except Exception as error:
            if not self._started:
                raise
            failed = error
            known = error if isinstance(error, FtjobsError) else self._broken()
            told = refuse(logged(known, self._request_id))
            await self._write(send, b"data: " + bytes(told.body) + b"\n\n")
        await self._write(send, b"", more=False)
        if failed is not None and not isinstance(failed, FtjobsError):
            raise failed  # for the log

    def _broken(self) -> Refusal:
        return Refusal(500, f"the server failed; its log says where: {self._request_id}")

    async def _live(self, send: Send) -> None:
        while True:
            await anyio.sleep(QUIET)
            await self._write(send, ALIVE)

    async def _write(self, send: Send, piece: bytes, *, more: bool = True) -> None:
        if more and not piece:
            return
        async with self._writing:
            if not self._started:
                await self._start(send)
            await send({"type": "http.response.body", "body": piece, "more_body": more})


async def _until_left(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
