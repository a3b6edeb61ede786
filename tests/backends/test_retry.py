"""The retry policy, on a clock that only its own waits move."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.backends.retry import PERMANENT, TRANSIENT, RetryPolicy
from ftjobs.errors import (
    BackendError,
    QuotaError,
    RateLimitError,
    ServiceError,
)


@dataclass
class Clock:
    time: float = 1000.0
    waits: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.time += seconds

    def now(self) -> float:
        return self.time


@dataclass
class Script:
    """An attempt that raises the errors one after the other, then returns "done"."""

    errors: list[BackendError]
    calls: int = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def policy(clock: Clock, **settings: float) -> RetryPolicy:
    return RetryPolicy(sleep=clock.sleep, now=clock.now, **settings)


def test_success_needs_no_wait() -> None:
    clock = Clock()
    assert policy(clock).call(Script([]), on=TRANSIENT) == "done"
    assert clock.waits == []


def test_every_error_of_a_backend_is_transient_or_permanent() -> None:
    assert set(BackendError.__subclasses__()) == {*TRANSIENT, *PERMANENT}


@pytest.mark.parametrize("kind", TRANSIENT)
def test_transient_errors_are_tried_again(kind: type[BackendError]) -> None:
    clock, script = Clock(), Script([kind("a"), kind("b")])
    assert policy(clock).call(script, on=TRANSIENT) == "done"
    assert (script.calls, len(clock.waits)) == (3, 2)


@pytest.mark.parametrize("kind", PERMANENT)
@pytest.mark.parametrize("on", [TRANSIENT, (BackendError,), (Exception,)])
def test_permanent_errors_are_not(kind: type[BackendError], on: tuple[type, ...]) -> None:
    clock, script = Clock(), Script([kind("no", retry_after=1)])
    with pytest.raises(kind, match="no"):
        policy(clock).call(script, on=on)
    assert (script.calls, clock.waits) == (1, [])


def test_only_what_the_caller_named_is_tried_again() -> None:
    script = Script([ServiceError("broken")])
    with pytest.raises(ServiceError):
        policy(Clock()).call(script, on=(RateLimitError,))
    assert script.calls == 1


def test_a_permanent_error_ends_a_row_of_transient_ones() -> None:
    script = Script([ServiceError("a"), QuotaError("spent"), ServiceError("b")])
    with pytest.raises(QuotaError):
        policy(Clock()).call(script, on=TRANSIENT)
    assert script.calls == 2


def test_errors_of_other_trees_pass_at_once() -> None:
    def broken() -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        policy(Clock()).call(broken, on=TRANSIENT)


def test_a_wait_that_is_too_long_is_not_begun() -> None:
    clock, script = Clock(), Script([RateLimitError("later", retry_after=61)])
    with pytest.raises(RateLimitError, match="later"):
        policy(clock, total=60).call(script, on=TRANSIENT)
    assert clock.waits == []


def test_slow_attempts_count_towards_the_total() -> None:
    clock = Clock()

    def slow() -> str:
        clock.time += 40
        raise ServiceError(f"at {clock.time}")

    with pytest.raises(ServiceError, match=r"at 1080\."):
        policy(clock, total=60).call(slow, on=TRANSIENT)
    assert len(clock.waits) == 1


@given(
    afters=st.lists(st.none() | st.floats(0, 30), min_size=1, max_size=20),
    total=st.floats(0, 200),
)
def test_waits_are_exact_or_in_their_window_and_end_in_time(
    afters: list[float | None], total: float
) -> None:
    clock = Clock()
    errors: list[BackendError] = [RateLimitError("slow down", retry_after=s) for s in afters]
    script = Script(errors)
    try:
        policy(clock, total=total, first=1, longest=20, shortest=0.1).call(script, on=TRANSIENT)
    except RateLimitError:
        pass
    else:
        assert script.calls == len(afters) + 1
    assert clock.time - 1000 <= total + 1e-6
    for number, (wait, asked) in enumerate(zip(clock.waits, afters, strict=False)):
        if asked:
            assert wait == asked
        else:
            assert 0.1 <= wait <= min(20, 2**number) + 1e-9


def test_waits_without_advice_differ() -> None:
    clock = Clock()
    with pytest.raises(ServiceError):
        policy(clock, total=1000).call(Script([ServiceError("x")] * 999), on=TRANSIENT)
    assert len(set(clock.waits)) > 10
