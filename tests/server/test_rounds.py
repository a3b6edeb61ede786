"""Rounds go on whatever happens in one, and end when they should."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from ftjobs.errors import StoreError
from ftjobs.server import rounds
from ftjobs.server.rounds import repeated


class Work:
    """Raises each of these in turn, then does its work."""

    def __init__(self, *errors: Exception, rest: float | None = None) -> None:
        self._errors, self._rest = list(errors), rest
        self._asked = threading.Condition()
        self.rounds = 0

    def __call__(self) -> float | None:
        with self._asked:
            self.rounds += 1
            self._asked.notify_all()
        if self._errors:
            raise self._errors.pop(0)
        return self._rest

    def wait(self, rounds: int) -> bool:
        with self._asked:
            return self._asked.wait_for(lambda: self.rounds >= rounds, 20)


class Clock(threading.Event):
    """Notes rests, which take no time."""

    def __init__(self) -> None:
        super().__init__()
        self.rests: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.rests.append(timeout)
        return super().wait(0.001)


def test_no_error_ends_the_rounds_and_the_first_of_a_kind_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kinds = [StoreError("full"), StoreError("full"), RuntimeError("no thread"), StoreError("full")]
    work = Work(*kinds)
    with caplog.at_level(logging.WARNING), repeated(work, every=0.001, name="tests"):
        assert work.wait(len(kinds) + 1)
    told = [(each.getMessage(), each.exc_info is not None) for each in caplog.records]
    assert told == [("tests: full", False), ("tests", True), ("tests: full", False)]


def test_rests_grow_while_rounds_fail_up_to_the_longest() -> None:
    work, clock = Work(*(StoreError("away") for _ in range(4))), Clock()
    with repeated(work, every=2.0, longest=10.0, name="tests", woken=clock):
        assert work.wait(6)
    assert clock.rests[:5] == [4.0, 8.0, 10.0, 10.0, 2.0]


def test_rests_do_not_grow_where_nobody_says_how_far() -> None:
    work, clock = Work(*(StoreError("away") for _ in range(2))), Clock()
    with repeated(work, every=2.0, name="tests", woken=clock):
        assert work.wait(4)
    assert clock.rests[:3] == [2.0, 2.0, 2.0]


def test_a_round_may_say_how_long_its_rest_is() -> None:
    work, clock = Work(rest=7.0), Clock()
    with repeated(work, every=2.0, name="tests", woken=clock):
        assert work.wait(2)
    assert clock.rests[0] == 7.0


def test_a_rest_ends_when_it_is_woken_and_when_the_block_ends() -> None:
    work, woken = Work(), threading.Event()
    with repeated(work, every=60.0, name="tests", woken=woken):
        assert work.wait(1)
        woken.set()
        assert work.wait(2)
        began = time.monotonic()
    assert time.monotonic() - began < rounds.FAREWELL
    assert work.rounds == 2


def test_a_round_that_never_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "FAREWELL", 0.01)
    held, began = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        held.wait(30)

    with repeated(work, every=0.0, name="tests"):
        assert began.wait(10)
    assert not held.is_set()
    held.set()
