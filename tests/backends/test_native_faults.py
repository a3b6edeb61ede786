"""Submitting to Together and Fireworks through random faults: one intent is one job, every time."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from ftjobs.backends.fireworks import FireworksBackend
from ftjobs.backends.profiles import PROFILES
from ftjobs.backends.retry import RetryPolicy
from ftjobs.backends.together import TogetherBackend
from ftjobs.errors import BackendError
from ftjobs.jobs.submit import submit
from tests import fireworks_service, together_service
from tests.native import KEY, Loopback

SEEDS = range(12)
FAULTS: list[dict[str, Any]] = [
    {"lost": "before"},
    {"lost": "after"},
    {"cut": 10},
    {"status": 429, "headers": {"Retry-After": "3"}},
    {"status": 500},
    {"status": 500, "acts": True},
    {"status": 502, "body": b"<html>Bad Gateway</html>"},
    {"status": 503, "acts": True, "headers": {"Retry-After": "1"}},
    {"body": b'{"id": "tru'},
]
PLACES = [("POST", ".*"), ("GET", ".*"), ("PUT", ".*"), ("POST", "/fine-tunes|Jobs")]


def write_train(path: Path) -> Path:
    answer = {"role": "assistant", "content": "a"}
    rows = [{"messages": [{"role": "user", "content": f"q {n}"}, answer]} for n in range(12)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@contextmanager
def together(policy: RetryPolicy) -> Iterator[tuple[Any, TogetherBackend]]:
    with together_service.running() as service:
        profile = PROFILES["together"].at(service.url)
        with closing(TogetherBackend("together", profile, KEY, retry=policy)) as backend:
            yield service, backend


@contextmanager
def fireworks(policy: RetryPolicy) -> Iterator[tuple[Any, FireworksBackend]]:
    with fireworks_service.running() as service:
        profile = PROFILES["fireworks"].at(service.url).filled({})
        with closing(FireworksBackend("fireworks", profile, KEY, retry=policy)) as backend:
            yield service, backend


def break_something(service: Loopback, draw: random.Random) -> None:
    for _ in range(draw.randint(1, 6)):
        method, path = draw.choice(PLACES)
        where = draw.choice([service, service.storage])  # type: ignore[attr-defined]
        where.fault(method, path, **draw.choice(FAULTS), times=draw.randint(1, 3))


@pytest.mark.parametrize("opened", [together, fireworks])
@pytest.mark.parametrize("seed", SEEDS)
def test_one_intent_is_one_job(tmp_path: Path, opened: Callable[..., Any], seed: int) -> None:
    draw, waits = random.Random(seed), list[float]()
    train = write_train(tmp_path / "train.jsonl")
    policy = RetryPolicy(total=30, sleep=waits.append, now=lambda: sum(waits))
    base = together_service.BASE if opened is together else fireworks_service.BASE
    with opened(policy) as (service, backend):
        break_something(service, draw)
        found: set[str] = set()
        for _ in range(20):  # whoever fails runs the same command again
            try:
                found.add(submit(backend, str(train), model=base, retry=policy).id)
            except BackendError:
                continue
            if len(service.faults) == sum(fault.times == 0 for fault in service.faults):
                break
        assert len(found) == 1
        assert len(service.runs) == 1
