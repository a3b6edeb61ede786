"""The retry policy, on a clock that only its own waits move."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.backends.retry import PERMANENT, TRANSIENT, RetryPolicy, around_waits, at_most
from ftjobs.errors import (
    BackendError,
    QuotaError,
    RateLimitError,
    ServiceError,
    UnreachableError,
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
    ours = {kind for kind in BackendError.__subclasses__() if kind.__module__ == "ftjobs.errors"}
    assert ours == {*TRANSIENT, *PERMANENT}


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
    clock, script = Clock(), Script([RateLimitError("later", retry_after=601)])
    with pytest.raises(RateLimitError, match="later"):
        policy(clock).call(script, on=TRANSIENT)
    assert clock.waits == []


def test_waits_that_are_asked_for_add_up_to_an_end() -> None:
    clock, script = Clock(), Script([RateLimitError("later", retry_after=250)] * 9)
    with pytest.raises(RateLimitError):
        policy(clock).call(script, on=TRANSIENT)
    assert (script.calls, clock.waits) == (3, [250, 250])


def test_waits_that_are_asked_for_leave_the_own_ones_their_time() -> None:
    clock = Clock()
    errors = [RateLimitError("later", retry_after=300), ServiceError("a"), ServiceError("b")]
    assert policy(clock).call(Script([*errors]), on=TRANSIENT) == "done"
    assert clock.waits[0] == 300


def test_trying_in_vain_is_said_once_and_soon(caplog: pytest.LogCaptureFixture) -> None:
    clock = [0.0]
    policy = RetryPolicy(sleep=lambda s: clock.__setitem__(0, clock[0] + s), now=lambda: clock[0])

    def attempt() -> None:
        raise UnreachableError("host: refused", hint="Check the address.")

    with pytest.raises(UnreachableError):
        policy.call(attempt, on=TRANSIENT)
    (record,) = caplog.records
    assert record.getMessage().startswith("host: refused; trying on for up to 5")


@pytest.mark.parametrize(("asked", "said"), [(4.0, False), (60.0, True), (121.0, True)])
def test_a_long_wait_is_announced_before_it_begins(
    asked: float, said: bool, caplog: pytest.LogCaptureFixture
) -> None:
    clock, texts = Clock(), list[str]()

    def sleep(seconds: float) -> None:
        texts.append(caplog.text)
        clock.sleep(seconds)

    errors: list[BackendError] = [RateLimitError("x: slow down", retry_after=asked)]
    RetryPolicy(sleep=sleep, now=clock.now).call(Script(errors), on=TRANSIENT)
    assert (f"x: slow down; asked to wait, going on in {asked:.0f} s" in texts[0]) is said
    assert {record.name for record in caplog.records} <= {"ftjobs"}


@pytest.mark.parametrize(("word", "calls"), [(False, 1), (True, 2), (None, 2)])
def test_the_services_own_word_against_a_repeat_is_obeyed(word: bool | None, calls: int) -> None:
    script = Script([ServiceError("broken", should_retry=word)])
    try:
        policy(Clock()).call(script, on=TRANSIENT)
    except ServiceError:
        assert word is False
    assert script.calls == calls


def test_slow_attempts_count_towards_the_total() -> None:
    clock = Clock()

    def slow() -> str:
        clock.time += 40
        raise ServiceError(f"at {clock.time}")

    with pytest.raises(ServiceError, match=r"at 1080\."):
        policy(clock, total=60).call(slow, on=TRANSIENT)
    assert len(clock.waits) == 1


@given(
    afters=st.lists(st.none() | st.floats(0, 300), min_size=1, max_size=20),
    total=st.floats(0, 200),
    asked=st.floats(0, 1000),
)
def test_waits_are_exact_or_in_their_window_and_end_in_time(
    afters: list[float | None], total: float, asked: float
) -> None:
    clock = Clock()
    errors: list[BackendError] = [RateLimitError("slow down", retry_after=s) for s in afters]
    script = Script(errors)
    waiting = policy(clock, total=total, asked=asked, first=1, longest=20, shortest=0.1)
    try:
        waiting.call(script, on=TRANSIENT)
    except RateLimitError:
        pass
    else:
        assert script.calls == len(afters) + 1
    pairs = list(zip(clock.waits, afters, strict=False))
    assert sum(wait for wait, after in pairs if after) <= asked + 1e-6
    assert sum(wait for wait, after in pairs if not after) <= total + 1e-6
    for number, (wait, after) in enumerate(pairs):
        if after:
            assert wait == after
        else:
            assert 0.1 <= wait <= min(20, 2**number) + 1e-9


def test_waits_without_advice_differ() -> None:
    clock = Clock()
    with pytest.raises(ServiceError):
        policy(clock, total=1000).call(Script([ServiceError("x")] * 999), on=TRANSIENT)
    assert len(set(clock.waits)) > 10


def test_a_caller_may_have_less_patience() -> None:
    clock, script = Clock(), Script([ServiceError(str(n)) for n in range(99)])
    with at_most(5), at_most(3), pytest.raises(ServiceError):
        policy(clock, total=60).call(script, on=TRANSIENT)
    assert sum(clock.waits) <= 3
    with at_most(60), pytest.raises(ServiceError):
        policy(clock, total=1).call(script, on=TRANSIENT)
    assert sum(clock.waits) <= 4
    limited = Script([RateLimitError("slow down", retry_after=10)])
    with at_most(5), pytest.raises(RateLimitError):
        policy(clock).call(limited, on=TRANSIENT)
    assert policy(clock).call(Script([RateLimitError("", retry_after=10)]), on=TRANSIENT) == "done"


def test_who_waits_for_many_is_given_the_words(caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []

    @contextmanager
    def enter(_error: BackendError, news: str) -> Iterator[None]:
        told.append(news)
        yield

    answers = iter([RateLimitError("slow down", retry_after=after) for after in (1.0, 300.0)])

    def attempt() -> str:
        for error in answers:
            raise error
        return "yes"

    with around_waits(enter):
        assert RetryPolicy(sleep=lambda _seconds: None).call(attempt, on=TRANSIENT) == "yes"
    assert told == ["", "slow down; asked to wait, going on in 300 s"]
    assert not caplog.records
