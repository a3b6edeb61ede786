"""What an iterator gives, from a thread of its own to the event loop.

Answers are iterators that block, for minutes.  In the thread pool of the short requests fifty of
them would leave no thread for anything else, so each has its own, as long as its turn lasts.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Generic, TypeVar

__all__ = ["AHEAD", "Pieces"]

AHEAD = 64
"""Pieces that may lie ready: a reader that is slower holds the iterator up."""

T = TypeVar("T")


class Pieces(Generic[T]):
    """The pieces of an iterator that runs in a thread.

    Args:
        begin: makes the iterator, in the thread.
        ended: called in the event loop, once, when the iterator has ended and is closed.
    """

    def __init__(self, begin: Callable[[], Iterator[T]], ended: Callable[[], None]) -> None:
        self._begin, self._ended = begin, ended
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._ready: deque[T] = deque()
        self._error: Exception | None = None
        self._done = False
        self._room = threading.Semaphore(AHEAD)
        self._left = threading.Event()
        # No thread that the end of the process waits for: what it waits for may never come.
        threading.Thread(target=self._run, name="answer", daemon=True).start()

    async def some(self) -> list[T]:
        """The pieces that are there, at least one; none at the end.

        Raises what the iterator raises, after the pieces before it.
        """
        while not (taken := self._take()):
            if self._done and not self._ready:
                if self._error is not None:
                    raise self._error
                return []
            self._news.clear()
            await self._news.wait()
        return taken

    def leave(self) -> None:
        """No more is wanted: the iterator is closed after the piece that it is at."""
        self._left.set()
        self._room.release()

    def _take(self) -> list[T]:
        taken = []
        while self._ready:
            taken.append(self._ready.popleft())
            self._room.release()
        return taken

    # --- in the thread -----------------------------------------------------------------------

    def _run(self) -> None:
        try:
            if not self._left.is_set():
                self._read(self._begin())
        except Exception as error:  # noqa: BLE001 - it is raised where the pieces are read
            self._error = error
        self._tell(self._end)

    def _read(self, pieces: Iterator[T]) -> None:
        try:
            for piece in pieces:
                self._room.acquire()
                if self._left.is_set():
                    return
                self._ready.append(piece)
                if len(self._ready) == 1:  # of more, the loop was told already
                    self._tell(self._news.set)
        finally:
            if (close := getattr(pieces, "close", None)) is not None:
                close()

    def _end(self) -> None:
        self._done = True
        self._news.set()
        self._ended()

    def _tell(self, what: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is there any more
            self._loop.call_soon_threadsafe(what)
