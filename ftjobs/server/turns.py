"""Turns: how many answers are written at once, and whose is next.

Projects that wait take turns, so that one which asks a thousand times does not keep another from
its first answer.  Where no more may wait, the project with the longest line loses its latest.
(Stochastic fairness queueing with longest queue drop: McKenney, 1990.)
"""

from __future__ import annotations

import asyncio
from collections import deque

from ftjobs.server.refusals import Refusal

__all__ = ["Turns"]

AGAIN = 5.0
"""Seconds after which a client that found no place should ask again."""


class Turns:
    """Turns to answer.  Everything here happens in the event loop's thread.

    Args:
        at_once: how many have a turn at the same time.
        waiting: how many wait for one; more are refused.
    """

    def __init__(self, at_once: int, waiting: int) -> None:
        self.at_once, self.places = at_once, waiting
        self.taken = 0
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}  # the next project is the first

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._lines.values()))

    async def take(self, project: str) -> None:
        """Wait for a turn; `release` ends it.

        Raises:
            Refusal: 429, too many wait.
        """
        if self.taken < self.at_once:
            self.taken += 1
            return
        if self.waiting >= self.places:
            self._make_place(project)
        ticket = asyncio.get_running_loop().create_future()
        self._lines.setdefault(project, deque()).append(ticket)
        try:
            await ticket
        except asyncio.CancelledError:
            if ticket.cancelled():
                self._drop(project, ticket)
            elif ticket.exception() is None:  # its turn came in the moment in which it left
                self.release()
            raise

    def release(self) -> None:
        """End a turn: it is the next one's."""
        while self._lines:
            project = next(iter(self._lines))
            line = self._lines.pop(project)
            ticket = line.popleft()
            if line:
                self._lines[project] = line  # behind all others
            if not ticket.done():
                ticket.set_result(None)
                return
        self.taken -= 1

    def _make_place(self, project: str) -> None:
        longest = max(self._lines, key=lambda each: len(self._lines[each]), default=project)
        mine = len(self._lines.get(project, ()))
        if len(self._lines.get(longest, ())) <= mine + 1:
            raise _refusal()
        ticket = self._lines[longest][-1]
        self._drop(longest, ticket)
        if not ticket.done():
            ticket.set_exception(_refusal())

    def _drop(self, project: str, ticket: asyncio.Future[None]) -> None:
        line = self._lines.get(project, deque())
        if ticket in line:
            line.remove(ticket)
            if not line:
                del self._lines[project]


def _refusal() -> Refusal:
    return Refusal(
        429, "too many requests wait for an answer", code="too_many_chats", retry_after=AGAIN
    )
