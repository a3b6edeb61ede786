"""Clients that are killed: real processes, a real SIGKILL, at a request that the service picks."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from uuid import uuid4

from ftjobs.jobs.ledger import Ledger
from ftjobs.jobs.submit import submit
from ftjobs.schema import Job
from tests.contract.conftest import write_dataset
from tests.faults.drive import RETRY, backend_of, settings
from tests.faults.station import Station, live
from tests.faults.weather import Calm, Weather
from tests.service import Fault, Request, serving

MOMENTS = ("begun", "arrived", "acted")
"""A request's head is there; all of it is there; it was carried out and is not answered yet."""

LONGEST = 60.0  # real seconds of a process

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload([__name__, "openai"])


class Gallows(Station):
    """A service that kills `victim` when its `nth` request (from 0) reaches `moment`."""

    victim: Run | None = None
    moment: tuple[str, int] = ("", 0)

    def __init__(self, weather: Weather, folder: Path) -> None:
        super().__init__(weather, folder)
        self._reached: Counter[str] = Counter()

    def take_fault(self, method: str, path: str) -> Fault:
        self._reach("begun")
        return super().take_fault(method, path)

    def arrived(self, request: Request) -> None:
        super().arrived(request)
        self._reach("arrived")

    def acted(self, request: Request) -> None:
        super().acted(request)
        self._reach("acted")

    def _reach(self, moment: str) -> None:
        with self._lock:
            here = (moment, self._reached[moment])
            self._reached[moment] += 1
        if here == self.moment and self.victim is not None:
            _kill(self.victim.process.pid or 0)


def _kill(pid: int) -> None:
    """Kill a process and wait until it is gone.  (`join` is for one thread alone, the test's.)"""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        while True:
            os.kill(pid, 0)
            time.sleep(0.001)


@dataclass(frozen=True)
class Run:
    """A process that submits.  What it leaves behind tells how it ended.

    (An exit status would too, but multiprocessing loses it where two threads ask for it.)
    """

    process: ForkServerProcess
    said: Path

    def wait(self) -> str | None:
        """The job's id once the process has ended; None if it was killed."""
        self.process.join(LONGEST)
        assert not self.process.is_alive(), "the process hangs"
        word, _, text = self.said.read_text().partition(" ") if self.said.exists() else ("", "", "")
        assert word != "problem", text
        return text or None


@dataclass(frozen=True)
class Machine:
    """A place that submits: a home of its own, and the same data as all others."""

    station: Station
    home: Path
    dataset: Path

    def start(self) -> Run:
        """Submit in a process."""
        said = self.home.with_name(f"{self.home.name}-{uuid4().hex}")
        args = (self.station.url, self.home, self.dataset, said)
        process = _processes.Process(target=_submit, args=args)
        process.start()
        return Run(process, said)

    def submit(self) -> str:
        """Submit in a process that must end well; the job's id."""
        job = self.start().wait()
        assert job is not None
        return job


@contextmanager
def gallows(folder: Path, weather: Weather | None = None) -> Iterator[Gallows]:
    """A service in fair weather, or another, whose jobs live by themselves."""
    (folder / "service").mkdir(parents=True)
    with serving(Gallows(weather or Calm(0), folder / "service")) as service, live(service):
        yield service


def machines(service: Station, folder: Path) -> Iterator[Machine]:
    """Machines without end, each with an empty home."""
    dataset = write_dataset(folder / "train.jsonl")
    for number in itertools.count():
        home = folder / f"home-{number}"
        home.mkdir()
        yield Machine(service, home, dataset)


def alive(jobs: Sequence[Job]) -> list[str]:
    """The ids of the jobs that will be paid."""
    return [job.id for job in jobs if job.status not in ("cancelled", "failed")]


def _submit(url: str, home: Path, dataset: Path, said: Path) -> None:
    try:
        with closing(backend_of(url, home)) as backend:
            job = submit(backend, dataset, ledger=Ledger(home), retry=RETRY, **settings())
        said.write_text(f"job {job.id}")
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent tells it
        said.write_text(f"problem {type(error).__name__}: {error}")


def kill_after(run: Run, seconds: float) -> str | None:
    """Kill a process unless it has ended before; the job's id if it has."""
    timer = threading.Timer(seconds, _kill, [run.process.pid])
    timer.start()
    try:
        return run.wait()
    finally:
        timer.cancel()
