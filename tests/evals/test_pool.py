"""Threads that ask: how they end, and that no task is lost or done twice."""

from __future__ import annotations

import random
import threading
import time
from contextlib import closing

import pytest

from ftjobs.errors import NotFoundError, RateLimitError, ServiceError
from ftjobs.evals.pace import Pace, Turn
from ftjobs.evals.pool import pooled


@pytest.mark.parametrize("seed", range(5))
def test_every_task_is_done_once_whatever_the_service_does(seed: int) -> None:
    rng = random.Random(seed)
    fates = [rng.choice(["well", "well", "refused", "down"]) for _ in range(400)]
    under_way = peak = 0
    lock = threading.Lock()

    def do(task: int, turn: Turn) -> int:
        nonlocal under_way, peak
        with lock:
            under_way += 1
            peak = max(peak, under_way)
        if fates[task] != "well":
            error = RateLimitError("slow") if fates[task] == "refused" else ServiceError("down")
            with turn.rest(error):
                time.sleep(0.001)
        with lock:
            under_way -= 1
        return task

    assert sorted(pooled(range(400), do, Pace(30))) == list(range(400))
    assert 2 < peak <= 30


@pytest.mark.parametrize("ending", [NotFoundError, KeyboardInterrupt])
def test_nobody_waits_for_a_request_that_rests(ending: type[BaseException]) -> None:
    released, resting = threading.Event(), threading.Event()

    def do(task: int, turn: Turn) -> int:
        if task:
            with turn.rest(RateLimitError("come back in an hour")):
                resting.set()
                released.wait(20)
        resting.wait(20)
        if ending is NotFoundError:
            raise NotFoundError("gone")
        return task

    start = time.monotonic()
    with pytest.raises(ending), closing(pooled(range(9), do, Pace(3))) as came:  # noqa: PT012
        next(came)
        raise KeyboardInterrupt
    assert time.monotonic() - start < 2
    released.set()


def test_what_is_under_way_is_waited_for_when_another_fails() -> None:
    done = []

    def do(task: int, _turn: Turn) -> int:
        if task == 0:
            raise NotFoundError("gone")
        time.sleep(0.3)
        done.append(task)
        return task

    with pytest.raises(NotFoundError):
        list(pooled(range(3), do, Pace(3)))
    assert sorted(done) == [1, 2]


def test_where_no_more_threads_are_to_be_had_those_that_run_do_it_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = threading.Thread.start
    started: list[threading.Thread] = []

    def limited(thread: threading.Thread) -> None:
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    assert sorted(pooled(range(50), lambda task, _turn: task, Pace(20))) == list(range(50))
