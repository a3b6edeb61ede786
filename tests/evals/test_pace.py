"""How many requests at once: growth, refusals, and requests that wait."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from itertools import pairwise

import pytest

from ftjobs.errors import RateLimitError, ServiceError
from ftjobs.evals.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def full_round(pace: Pace) -> None:
    """As many requests as there is room for, each answered while all are under way."""
    with ExitStack() as turns:
        width = pace.width
        for _ in range(width):
            turns.enter_context(pace.turn())
        for _ in range(width):
            pace.went_well()


def refuse(pace: Pace, after: float | None = None) -> None:
    with pace.turn() as turn, turn.rest(RateLimitError("slow down", retry_after=after)):
        pass


def test_it_doubles_until_it_is_full() -> None:
    pace = Pace(100, start=4)
    widths = []
    for _ in range(5):
        widths.append(pace.width)
        full_round(pace)
    assert widths == [4, 8, 16, 32, 64]


def test_it_is_never_more_than_asked_for() -> None:
    pace = Pace(3, start=20)
    assert pace.width == 3
    full_round(pace)
    assert pace.width == 3


def test_requests_that_do_not_fill_it_say_nothing_about_more() -> None:
    pace = Pace(100, start=4)
    with pace.turn():
        pace.went_well()
    assert pace.width == 4


def test_one_episode_of_refusals_shrinks_it_once() -> None:
    clock = Clock()
    pace = Pace(100, start=50, now=clock)
    for _ in range(5):
        refuse(pace, after=2.0)
    assert pace.width == 40
    clock.time = 1.9
    refuse(pace)
    assert pace.width == 40
    clock.time = 2.0
    refuse(pace)
    assert pace.width == 32


def test_after_a_refusal_it_comes_back_and_then_probes() -> None:
    clock = Clock()
    pace = Pace(100, start=50, now=clock)
    refuse(pace)
    widths = []
    for _ in range(4):
        full_round(pace)
        widths.append(pace.width)
    assert widths[0] >= 48
    assert [b - a for a, b in pairwise(widths)] == [5, 5, 6]  # a tenth a round


def test_a_failing_service_gets_no_more_for_a_while() -> None:
    clock = Clock()
    pace = Pace(100, start=4, now=clock)
    with pace.turn() as turn, turn.rest(ServiceError("down")):
        pass
    full_round(pace)
    assert pace.width == 4
    clock.time = 5.0
    full_round(pace)
    assert pace.width > 4


def test_who_waits_keeps_its_place() -> None:
    pace = Pace(1)
    order = []

    def other() -> None:
        with pace.turn():
            order.append("other")

    thread = threading.Thread(target=other)
    with pace.turn() as turn:
        with turn.rest(ServiceError("again")):
            thread.start()
            thread.join(0.1)
        order.append("back")
    thread.join(10)
    assert order == ["back", "other"]


def test_the_time_of_a_request_is_that_since_it_was_sent_last() -> None:
    clock = Clock()
    pace = Pace(1, now=clock)
    with pace.turn() as turn:
        clock.time = 3.0
        with turn.rest(ServiceError("again")):
            clock.time = 10.0
        clock.time = 10.25
        assert turn.seconds == pytest.approx(0.25)


def test_one_speaks_for_all_that_wait(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    pace = Pace(9, now=clock)
    for news, time in (("", 0), ("wait for 90 s", 1), ("wait for 89 s", 2), ("wait again", 95)):
        clock.time = time
        with pace.turn() as turn, turn.rest(RateLimitError("slow down", retry_after=90), news):
            pass
    assert [record.getMessage() for record in caplog.records] == ["wait for 90 s", "wait again"]
