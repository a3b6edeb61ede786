"""Many requests at once, from threads that nobody has to wait for."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from ftjobs.backends.retry import around_waits
from ftjobs.evals.pace import Pace, Turn

__all__ = ["pooled"]

T = TypeVar("T")
R = TypeVar("R")

GRACE = 3.0
"""Seconds that an interrupted run waits for answers under way, which are paid for."""

TICK = 0.05  # seconds between two looks at who still works


def pooled(tasks: Sequence[T], do: Callable[[T, Turn], R], pace: Pace) -> Generator[R, None, None]:
    """The results of `do` as they come, as many at once as `pace` admits.

    The first exception of `do` ends the run and is raised once all that is under way has ended.
    Where the caller is interrupted, or closes the iterator, what is under way has a few seconds.
    Neither waits for a request that waits to be sent again: nothing is paid for it yet.
    """
    return _Pool(tasks, do, pace).results()


class _Pool(Generic[T, R]):
    def __init__(self, tasks: Sequence[T], do: Callable[[T, Turn], R], pace: Pace) -> None:
        self._todo = deque(tasks)
        self._do = do
        self._pace = pace
        self._came: SimpleQueue[R | _Failed | None] = SimpleQueue()
        self._threads = 0

    def results(self) -> Generator[R, None, None]:
        failures: list[BaseException] = []
        try:
            self._hire()
            while self._threads and not (failures and self._is_idle()):
                try:
                    outcome = self._came.get(timeout=TICK if failures else None)
                except Empty:
                    continue
                if outcome is None:
                    self._threads -= 1
                elif isinstance(outcome, _Failed):
                    failures.append(outcome.error)
                    self._todo.clear()
                else:
                    yield outcome
                self._hire()
        except BaseException:
            self._todo.clear()
            self._wait_for_ends()
            raise
        if failures:
            raise failures[0]

    def _hire(self) -> None:
        """Start as many threads as have something to do."""
        for _ in range(min(self._pace.width - self._threads, len(self._todo))):
            self._threads += 1
            # Daemons: at Ctrl-C nobody waits for one that was asked to come back in minutes.
            thread = threading.Thread(target=self._work, name="ftjobs-ask", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # a container may allow no more; those that run do the work
                self._threads -= 1
                if not self._threads:
                    raise
                return

    def _work(self) -> None:
        """Work until nothing is left to do; a None says that this thread has ended."""
        try:
            while self._one():
                pass
        except BaseException as error:  # noqa: BLE001 - it is raised by `results`
            self._came.put(_Failed(error))
        self._came.put(None)

    def _one(self) -> bool:
        """Do one task; False if none is left."""
        with self._pace.turn() as turn, around_waits(turn.rest):
            try:
                task = self._todo.popleft()  # not before its turn: by then the run may be over
            except IndexError:
                return False
            self._came.put(self._do(task, turn))
            self._pace.went_well()
        return True

    def _is_idle(self) -> bool:
        """Whether no request is under way but those that rest, and nothing is left to be taken."""
        return not self._pace.busy and self._came.empty()  # in this order: it comes, then leaves

    def _wait_for_ends(self) -> None:
        end = time.monotonic() + GRACE
        while not self._is_idle() and time.monotonic() < end:
            with suppress(Empty):
                self._came.get(timeout=TICK)


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error
