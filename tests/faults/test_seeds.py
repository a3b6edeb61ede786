"""A fixed share of the seeds of `python -m tests.benchmarks.faults`, and the weather itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.drive import ours, plain, try_seed
from tests.faults.weather import (
    CALM,
    CRUCIAL,
    EVENTS_LAG,
    IN_A_ROW,
    LIST_LAG,
    LOST_ANSWERS,
    REFUSALS,
    SLOW,
    Weather,
)

ACTIONS = sorted(CRUCIAL | {"get_job", "get_jobs", "get_files", "get_events"})


def test_submissions_in_bad_weather_are_whole() -> None:
    with ThreadPoolExecutor(10) as pool:
        verdicts = list(pool.map(lambda seed: try_seed(seed, ours), range(60)))
    assert [verdict for verdict in verdicts if not verdict.is_clean] == []


def test_the_same_weather_breaks_a_script_that_trusts_its_sdk() -> None:
    with ThreadPoolExecutor(10) as pool:
        verdicts = list(pool.map(lambda seed: try_seed(seed, plain), range(20)))
    assert any(verdict.created > 1 for verdict in verdicts)
    assert any(verdict.lost for verdict in verdicts)


@pytest.mark.parametrize("seed", [0, 7, 123456])
def test_weather_is_a_pure_function_of_its_seed(seed: int) -> None:
    first, again = Weather(seed), Weather(seed)
    asked = [(action, nth) for action in ACTIONS for nth in range(50)]
    fates = {each: first.fault(*each) for each in asked}
    assert fates == {each: again.fault(*each) for each in reversed(asked)}
    assert first.habits == again.habits
    assert fates != {each: Weather(seed + 1).fault(*each) for each in asked}


def test_weather_is_bounded_and_leaves_nothing_out() -> None:
    met = set()
    for seed in range(300):
        weather = Weather(seed)
        assert weather.habits.list_lag < LIST_LAG
        assert weather.habits.events_lag < EVENTS_LAG
        for action in ACTIONS:
            names = [weather.fault(action, nth)[0] for nth in range(CALM + 10)]
            met |= set(names)
            assert not any(names[CALM:])
            runs = "".join("x" if name else " " for name in names).split()
            assert max(map(len, runs), default=0) <= IN_A_ROW
    assert met == {"", *REFUSALS, *LOST_ANSWERS, *SLOW}
