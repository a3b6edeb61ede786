"""Killed anywhere, run again: it converges on one job (real processes, real SIGKILL)."""

from __future__ import annotations

import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import pytest

from tests.faults.gallows import MOMENTS, alive, gallows, kill_after, machines
from tests.faults.weather import Weather

REQUESTS = 9  # that a submission makes at least; the 8th creates the job


def _kill_at(moment: tuple[str, int], folder: Path, *, forget: bool) -> bool:
    """Whether a submission got as far as `moment`; killed there, it was run again."""
    with gallows(folder) as service:
        machine = next(machines(service, folder))
        service.moment = moment
        service.victim = machine.start()
        if service.victim.wait() is not None:
            return False
        if forget:
            shutil.rmtree(machine.home)
            machine.home.mkdir()
        job = machine.submit()
        assert alive(service.truth) == [job]
        assert forget or len(service.truth) == 1
        assert len(service.training_files) == 1 or forget
    return True


@pytest.mark.parametrize("forget", [False, True], ids=["same machine", "ledger lost"])
def test_killed_at_any_request_and_run_again_there_is_one_job(tmp_path: Path, forget: bool) -> None:
    moments = [(moment, nth) for nth in range(REQUESTS) for moment in MOMENTS]
    with ThreadPoolExecutor(10) as pool:
        reached = list(
            pool.map(
                lambda moment: _kill_at(moment, tmp_path / f"{moment}", forget=forget), moments
            )
        )
    assert all(reached)


# Where a job fails, whoever submits again rightly gets another.
SEEDS = [seed for seed in range(20) if Weather(seed).habits.fate == "succeeds"][:6]


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_at_any_time_in_bad_weather_there_is_one_job(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    with gallows(tmp_path, Weather(seed)) as service:
        machine = next(machines(service, tmp_path))
        for _ in range(3):
            kill_after(machine.start(), rng.uniform(0.05, 0.5))
        job = machine.submit()
        assert len(service.truth) == 1
        assert service.truth[0].id == job


def test_two_at_once_on_one_machine_take_turns(tmp_path: Path) -> None:
    with gallows(tmp_path) as service:
        machine = next(machines(service, tmp_path))
        runs = [machine.start() for _ in range(3)]
        jobs = {run.wait() for run in runs}
        assert jobs == {job.id for job in service.truth}
        assert len(jobs) == 1


def test_two_machines_at_once_pay_for_one_job(tmp_path: Path) -> None:
    """The machine whose job was cancelled may have left before; when it asks again it knows."""

    def race(number: int) -> None:
        folder = tmp_path / str(number)
        with gallows(folder) as service:
            one, other = islice(machines(service, folder), 2)
            runs = [one.start(), other.start()]
            jobs = {run.wait() for run in runs}
            (survivor,) = alive(service.truth)
            assert survivor in jobs
            assert {one.submit(), other.submit()} == {survivor}
            assert alive(service.truth) == [survivor]

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(race, range(6)))
