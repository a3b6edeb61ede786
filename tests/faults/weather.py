"""What goes wrong, and when: a pure function of a seed.

`Weather(seed)` draws the habits of a service for one submission (how far its lists lag, how late
its events come, how wrong its clock is) and what befalls each request.  The n-th request of an
action meets the same fate in every run of a seed, in whatever order requests of other actions
come.  Faults are bounded: never more than `IN_A_ROW` of one action in a row, none after `CALM`
requests of it, and lags stay below what the client is told.  A right client always succeeds.

All times are in the seconds of a world that runs `SPEED` times as fast as ours, unless a name
says otherwise.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tests.service import Fault, Json

SPEED = 50.0
LIST_LAG = 15.0  # what the client is told; real lags stay below
EVENTS_LAG = 10.0
DEADLINE = 0.4  # of a call, in real seconds
LATE = 0.55  # a stalled answer, in real seconds
IN_A_ROW = 3
CALM = 40

HTML = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
HOUR = 3600
EPOCH = 1_790_000_000

Kind = Callable[[random.Random], dict[str, Any]]
"""The fields of a `Fault`."""


def now() -> float:
    """A clock of the fast world that never goes back."""
    return time.monotonic() * SPEED


def wall() -> float:
    """The fast world's time of day, in Unix seconds."""
    return EPOCH + now() % 1e6


def sleep(seconds: float) -> None:
    """Sleep in the fast world."""
    time.sleep(max(0.0, seconds) / SPEED)


REFUSALS: Mapping[str, Kind] = {
    "429, Retry-After": lambda r: {"status": 429, "headers": {"Retry-After": str(r.randint(1, 4))}},
    "429, retry-after-ms": lambda r: {"status": 429, "headers": {"retry-after-ms": "700"}},
    "500": lambda r: {"status": 500},
    "502, HTML": lambda r: {"status": 502, "body": HTML},
    "503, Retry-After": lambda r: {"status": 503, "headers": {"Retry-After": "1"}},
    "503, HTML": lambda r: {"status": 503, "body": HTML},
    "reset before it acted": lambda r: {"lost": "before"},
    "reset during the request": lambda r: {"lost": "during"},
}
"""The service did nothing."""

LOST_ANSWERS: Mapping[str, Kind] = {
    "reset after it acted": lambda r: {"lost": "after"},
    "500 after it acted": lambda r: {"status": 500, "acts": True},
    "504, HTML, after it acted": lambda r: {"status": 504, "acts": True, "body": HTML},
    "answer cut off": lambda r: {"cut": r.randint(0, 60)},
    "truncated JSON": lambda r: {"body": b'{"id": "ftjob-'},
    "no JSON": lambda r: {"body": HTML},
}
"""The service did what was asked, and the answer is lost."""

SLOW: Mapping[str, Kind] = {
    "stalls after it acted": lambda r: {"stall": LATE},
    "trickles": lambda r: {"trickle": 0.05},
}
"""Like a lost answer, but it takes longer than the deadline: dear, so drawn seldom."""


@dataclass(frozen=True)
class Weather:
    """The faults of one seed."""

    seed: int

    @cached_property
    def habits(self) -> Habits:
        """What the service is like for the whole of the seed."""
        rng = random.Random(f"habits {self.seed}")
        fate = rng.choices(["succeeds", "fails", "is cancelled"], [7, 2, 1])[0]
        return Habits(
            fault_rate=rng.choice([0.02, 0.1, 0.2, 0.4]),
            skew=rng.choice([0, 0, -5 * HOUR, -1, 1, 7 * HOUR]),
            list_lag=rng.choice([0, 0.5, 0.9]) * LIST_LAG,
            stale=rng.random() < 0.5,
            # A job that cannot be found cannot be cancelled either.
            unseen=0 if fate == "is cancelled" else rng.choice([0, 0, 0.5]) * LIST_LAG,
            events_lag=rng.choice([0, 0, 0.5, 0.9]) * EVENTS_LAG,
            unruly=rng.random() < 0.6,
            page=rng.choice([3, 7, 100]),
            steps=rng.randint(1, 12),
            fate=fate,
            in_parts=rng.random() < 0.5,
            away=rng.choice([0, 0, 0, LIST_LAG + 10 * rng.random()]),
        )

    def fault(self, action: str, nth: int) -> tuple[str, Fault]:
        """What befalls the n-th request (from 0) of an action, with its name; "" for nothing."""
        if not self._strikes(action, nth) or self._has_lasted(action, nth):
            return "", Fault("", "")
        rng = random.Random(f"{self.seed} {action} {nth} which")
        kinds = rng.choices([REFUSALS, LOST_ANSWERS, SLOW], [45, 50, 5])[0]
        # Wrong bytes of a file, with a right status and length, are nothing that one could notice.
        bad = {"truncated JSON", "no JSON"} if action == "get_content" else set()
        name = rng.choice(sorted(set(kinds) - bad))
        return name, Fault("", "", **kinds[name](rng))

    def _strikes(self, action: str, nth: int) -> bool:
        if not 0 <= nth < CALM:
            return False
        # What the whole matter hangs on is struck most.
        rate = max(self.habits.fault_rate, 0.3) if action in CRUCIAL else self.habits.fault_rate
        return random.Random(f"{self.seed} {action} {nth}").random() < rate

    def _has_lasted(self, action: str, nth: int) -> bool:
        """Whether the requests just before this one were struck as often as may be."""
        lasted = 0
        while self._strikes(action, nth - 1 - lasted):
            lasted += 1
        return lasted % (IN_A_ROW + 1) == IN_A_ROW


class Calm(Weather):
    """Nothing goes wrong; lists lag, a little for one object and nearly too much for another."""

    @cached_property
    def habits(self) -> Habits:
        return Habits(
            fault_rate=0,
            skew=0,
            list_lag=0.9 * LIST_LAG,
            stale=False,
            unseen=0,
            events_lag=0,
            unruly=False,
            page=100,
            steps=200,
            fate="succeeds",
            in_parts=False,
            away=0,
        )

    def fault(self, action: str, nth: int) -> tuple[str, Fault]:
        return "", Fault("", "")


CRUCIAL = frozenset({"post_jobs", "post_files", "post_complete", "post_parts", "post_verb"})


@dataclass(frozen=True)
class Habits:
    """A service's character.

    Attributes:
        fault_rate: the share of requests that meet a fault.
        skew: seconds by which its clock is ahead of ours.
        list_lag: seconds by which lists lag, at most.
        stale: whether it is whole replicas that lag, statuses and all, or single objects.
        unseen: seconds during which a new object is "not found" even by its id.
        events_lag: seconds by which events are late, at most.
        unruly: whether event pages repeat rows and shuffle them.
        page: rows of a page, at most.
        steps: of the job.
        fate: how the job ends.
        in_parts: whether ftjobs sends the training file in parts.
        away: seconds before anybody follows the job, knowing nothing but its id.
    """

    fault_rate: float
    skew: float
    list_lag: float
    stale: bool
    unseen: float
    events_lag: float
    unruly: bool
    page: int
    steps: int
    fate: str
    in_parts: bool
    away: float


@dataclass
class Log:
    """What happened, for whoever looks into a seed."""

    lines: list[str] = field(default_factory=list)
    began: float = field(default_factory=now)

    def add(self, text: str) -> None:
        self.lines.append(f"{now() - self.began:7.2f} {text}")


def unruly_page(page: Json, rng: random.Random) -> Json:
    """A page of events with rows repeated and shuffled; its last row, the cursor, stays last."""
    if len(page["data"]) < 2:
        return page
    *rows, last = page["data"]
    rows += rng.sample(rows, min(2, len(rows)))
    rng.shuffle(rows)
    return page | {"data": [*rows, last]}
