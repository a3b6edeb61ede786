from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ftjobs.server.guard import rates
from ftjobs.server.guard.rates import Rates, origin_of


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_minutes_worth_at_once_and_then_evenly() -> None:
    clock = Clock()
    buckets = Rates(60, now=clock)
    assert [buckets.take("a") for _ in range(60)] == [0] * 60
    assert buckets.take("a") == 1.0
    clock.now += 0.5
    assert buckets.take("a") == 0.5  # what was refused costs nothing
    clock.now += 0.5
    assert buckets.take("a") == 0.0
    assert buckets.take("b") == 0.0


@given(st.integers(1, 20), st.lists(st.floats(0, 30), max_size=80))
def test_no_window_holds_more_than_its_share(per_minute: int, pauses: list[float]) -> None:
    clock = Clock()
    buckets = Rates(per_minute, now=clock)
    taken = []
    for pause in pauses:
        clock.now += pause
        wait = buckets.take("a")
        if wait == 0:
            taken.append(clock.now)
        else:
            assert 0 < wait <= 60 / per_minute
    for i, start in enumerate(taken):
        for j in range(i, len(taken)):
            assert j - i + 1 <= per_minute + (taken[j] - start) * per_minute / 60 + 1e-6


def test_what_is_remembered_has_a_bound() -> None:
    buckets = Rates(1, now=Clock())
    for number in range(rates.MOST + 100):
        buckets.take(str(number))
    assert len(buckets._buckets) == rates.MOST
    assert buckets.take(str(rates.MOST + 99)) > 0  # the latest are remembered


def test_an_ipv6_household_is_one_origin() -> None:
    assert origin_of("2001:db8:1:2:3::4") == origin_of("2001:db8:1:2::9")
    assert origin_of("2001:db8:1:2::1") != origin_of("2001:db8:1:3::1")
    assert origin_of("::ffff:192.0.2.1") == origin_of("192.0.2.1") == "192.0.2.1"
