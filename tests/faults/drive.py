"""One submission in bad weather, from the check of the data to the final state, and its verdict.

`ours` drives ftjobs; `plain` does what a script with the SDK does, for comparison.  Both are
judged by the same truth: what the service really holds in the end.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import ftjobs
from ftjobs.backends.profiles import ANY_URL
from ftjobs.backends.retry import RetryPolicy
from ftjobs.backends.wire import WireBackend
from ftjobs.errors import FtjobsError
from ftjobs.jobs.ledger import Ledger
from ftjobs.jobs.submit import submit
from ftjobs.jobs.watch import follow
from ftjobs.schema import ENDED, Event, Job
from tests.contract.conftest import write_dataset
from tests.faults.station import Station, in_weather
from tests.faults.weather import DEADLINE, EVENTS_LAG, LIST_LAG, SPEED, Weather, now, sleep, wall
from tests.service import KEY

PATIENCE = 60.0  # real seconds after which a seed counts as hung
PART_SIZE = 900  # bytes; the training file has about four such parts
RETRY = RetryPolicy(total=600, sleep=sleep, now=now)
CAPABILITIES = ANY_URL.capabilities.model_copy(
    update={"list_lag": LIST_LAG, "events_lag": EVENTS_LAG}
)


@dataclass
class Seen:
    """What a client has got to know.  It is filled while the client runs."""

    job_id: str | None = None
    status: str = ""
    events: list[str] = field(default_factory=list)
    disorder: int = 0  # events that were shown after later ones which came with them
    problem: str = ""


@dataclass(frozen=True)
class Verdict:
    """What became of one submission.

    Attributes:
        seed: of the weather.
        created: jobs that the service made.
        surplus: jobs beyond the first that were left to run, and would be paid.
        lost: whether the client ended without the job, or with a wrong idea of its end.
        events_lost: events that were not shown.
        events_repeated: events that were shown again.
        disorder: events shown after later ones that came with them.
        files_doubled: files beyond the first with the same content.
        hung: whether the client was still busy after `PATIENCE`.
        problem: what the client ended with, if not well.
        requests: that arrived at the service.
        seconds: real ones, of the whole seed.
        log: what befell each request.
    """

    seed: int
    created: int
    surplus: int
    lost: bool
    events_lost: int
    events_repeated: int
    disorder: int
    files_doubled: int
    hung: bool
    problem: str
    requests: int
    seconds: float
    log: tuple[str, ...] = field(repr=False)

    @property
    def is_clean(self) -> bool:
        """One intent, one job, the whole story once, and an end."""
        faults = (self.surplus, self.events_lost, self.events_repeated, self.disorder)
        one = self.created == 1 and not self.files_doubled
        return one and not any(faults) and not self.lost and not self.hung and not self.problem


Script = Callable[[Station, Path, Seen], None]


def try_seed(seed: int, script: Script) -> Verdict:
    """Run `script` in the weather of `seed` and compare what it saw with the truth."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        (home / "service").mkdir()
        with in_weather(Weather(seed), home / "service") as station:
            seen = Seen()
            runner = threading.Thread(target=_run, args=(script, station, home, seen), daemon=True)
            runner.start()
            runner.join(PATIENCE)
            if runner.is_alive():
                seen.problem = f"hung: {_stack(runner)}"
            return _judge(seed, station, seen, runner.is_alive(), time.monotonic() - began)


def _run(script: Script, station: Station, home: Path, seen: Seen) -> None:
    try:
        script(station, home, seen)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the client's end
        place = traceback.extract_tb(error.__traceback__)[-1]
        kind = type(error).__name__
        seen.problem = f"{kind}: {error} ({Path(place.filename).name}:{place.lineno})"


def _judge(seed: int, station: Station, seen: Seen, hung: bool, seconds: float) -> Verdict:
    """The verdict, from the truth at this moment."""
    jobs = station.truth
    mine = next((job for job in jobs if job.id == seen.job_id), None)
    shown = Counter(seen.events)
    truth = {event.id for event in station.events_of(mine.id)} if mine else set()
    cancelled = sum(job.status == "cancelled" for job in jobs if job is not mine)
    return Verdict(
        seed=seed,
        created=len(jobs),
        surplus=max(0, len(jobs) - cancelled - 1),
        lost=mine is None or mine.status not in ENDED or mine.status != seen.status,
        events_lost=len(truth - set(shown)),
        events_repeated=sum(shown.values()) - len(shown),
        disorder=seen.disorder,
        files_doubled=max(0, len(station.training_files) - 1),
        hung=hung,
        problem=seen.problem,
        requests=len(station.requests),
        seconds=seconds,
        log=tuple(station.log.lines),
    )


def _stack(thread: threading.Thread) -> str:
    frame = sys._current_frames().get(thread.ident or 0)
    if frame is None:
        return "gone"
    places = traceback.extract_stack(frame)[-6:]
    return " < ".join(f"{Path(p.filename).name}:{p.lineno} {p.name}" for p in places[::-1])


# --- ftjobs -------------------------------------------------------------------------------------


def backend_of(url: str, journal: Path, *, in_parts: bool = False) -> WireBackend:
    """ftjobs' way to the service, on the fast world's clock; `in_parts` makes parts small."""
    profile = ANY_URL.at(url).model_copy(update={"capabilities": CAPABILITIES, "parts": in_parts})
    limits = {"timeout": DEADLINE, "deadline": DEADLINE}
    return WireBackend(
        "station", profile, KEY, retry=RETRY, journal=journal, part_size=PART_SIZE, **limits
    )


def ours(station: Station, home: Path, seen: Seen) -> None:
    """Check, submit, perhaps come back later, follow to the end; then submit again elsewhere."""
    dataset = ftjobs.read(write_dataset(home / "train.jsonl"))
    habits = station.weather.habits
    with closing(backend_of(station.url, home / "home", in_parts=habits.in_parts)) as backend:
        job = submit(backend, dataset, ledger=Ledger(home / "home"), retry=RETRY, **settings())
        seen.job_id = job.id
        sleep(habits.away)
        followed = job.id if habits.away else job
        _follow(backend, followed, seen, cancels=habits.fate == "is cancelled")
        if seen.status == "succeeded":
            again = submit(backend, dataset, ledger=None, retry=RETRY, **settings())
            if again.id != job.id:
                raise FtjobsError(f"the second machine got {again.id}, not {job.id}")


def settings() -> dict[str, Any]:
    """The job that everybody wants."""
    return {"model": "fake-base", "suffix": "storm", "hyperparameters": {"n_epochs": 2}}


def _follow(backend: WireBackend, job: Job | str, seen: Seen, *, cancels: bool) -> None:
    for tick in follow(backend, job, sleep=sleep, now=now, wall=wall):
        seen.events += [event.id for event in tick.events]
        seen.disorder += _disorder(tick.events)
        seen.status = tick.job.status
        if cancels and tick.job.status == "running":
            backend.cancel(tick.job.id)
            cancels = False


def _disorder(events: Sequence[Event]) -> int:
    times = [event.created_at for event in events]
    return sum(a > b for a, b in pairwise(times))


# --- the plain SDK ------------------------------------------------------------------------------


def plain(station: Station, home: Path, seen: Seen) -> None:
    """Upload, create, poll, list the events: the SDK with its defaults, on the fast clock."""
    import openai

    class Fast(openai.OpenAI):
        def _calculate_retry_timeout(self, *args: Any, **kwargs: Any) -> float:
            return super()._calculate_retry_timeout(*args, **kwargs) / SPEED

    path = write_dataset(home / "train.jsonl")
    with Fast(api_key=KEY, base_url=station.url, timeout=DEADLINE) as client:
        file = client.files.create(file=path, purpose="fine-tune")
        client.files.wait_for_processing(file.id, poll_interval=1 / SPEED)
        job = client.fine_tuning.jobs.create(
            model="fake-base",
            training_file=file.id,
            suffix="storm",
            method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}},
        )
        seen.job_id = job.id
        cancels = station.weather.habits.fate == "is cancelled"
        while job.status not in ENDED:
            sleep(1)
            job = client.fine_tuning.jobs.retrieve(job.id)
            seen.status = job.status
            if cancels and job.status == "running":
                job = client.fine_tuning.jobs.cancel(job.id)
                cancels = False
        seen.status = job.status
        seen.events = [event.id for event in client.fine_tuning.jobs.list_events(job.id)]
