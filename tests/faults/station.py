"""A service in bad weather: the loopback service, struck by the faults of a seed."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ftjobs.backends.fake import FakeBackend
from ftjobs.errors import BackendError, NotFoundError
from ftjobs.schema import Event, File, Job, JobError, JobSpec
from tests.faults.weather import Log, Weather, now, sleep, unruly_page, wall
from tests.service import Fault, Json, Request, Service, _list, _plain, route, serving

TICK = 1.0  # between two steps of a job
FAILURE = JobError(code="server_error", message="The job failed on purpose.")


class Plant(FakeBackend):
    """Jobs whose ids tell nothing about their age, dated by a clock that may be wrong."""

    def __init__(self, weather: Weather) -> None:
        habits = weather.habits
        failure = FAILURE if habits.fate == "fails" else None
        super().__init__(steps=habits.steps, fail_with=failure, fail_at=habits.steps // 2)
        self.said_at: dict[str, float] = {}  # by event id, on the clock that never goes back
        self._ids = random.Random(f"{weather.seed} ids")
        self._skew = habits.skew

    def create(self, spec: JobSpec) -> Job:
        """A job under an id of its own."""
        with self._lock:
            born = super().create(spec)
            run = self._runs.pop(born.id)
            name = f"ftjob-{self._ids.getrandbits(48):012x}"
            first = run.events[0].model_copy(update={"message": f"Created fine-tuning job: {name}"})
            run.events[0] = first
            run.set(id=name)
            self._runs[name] = run
            return run.job

    def _now(self) -> int:
        return int(wall() + self._skew)

    def _say(self, run: Any, message: str, **fields: Any) -> None:
        super()._say(run, message, **fields)
        name = f"ftevent-{self._ids.getrandbits(48):012x}"
        run.events[-1] = run.events[-1].model_copy(update={"id": name})
        self.said_at[name] = now()


class Station(Service):
    """The service, and its log."""

    def __init__(self, weather: Weather, folder: Path) -> None:
        self.plant = Plant(weather)
        super().__init__(self.plant, folder)
        self.weather = weather
        self.log = Log()
        self.clock, self.now = now, lambda: wall() + weather.habits.skew
        self._seen: Counter[str] = Counter()
        self._states: dict[str, list[tuple[float, Job]]] = {}

    # --- what strikes ---------------------------------------------------------------------------

    def take_fault(self, method: str, path: str) -> Fault:
        try:
            action, _ = route(method, path)
        except BackendError:
            action = "unknown"
        with self._lock:
            nth = self._seen[action]
            self._seen[action] += 1
        name, fault = self.weather.fault(action, nth)
        self.log.add(f"{action:15} {path.rpartition('/')[2][-16:]:16} {name}")
        return fault

    def tick(self) -> None:
        super().tick()
        self._note_states()

    def acted(self, request: Request) -> None:
        self._note_states()

    # --- what lags ------------------------------------------------------------------------------

    def get_jobs(self, request: Request) -> Json:
        pairs = {key[9:-1]: value for key, value in request.query.items() if "[" in key}
        habits, at = self.weather.habits, now()
        lag = self._draw(request).random() * habits.list_lag if habits.stale else 0.0
        jobs = [state for job in self.truth if (state := self._state(job.id, at - lag))]
        rows = [job for job in jobs if habits.stale or self._is_out(job.id, habits.list_lag)]
        wanted = [job for job in rows if pairs.items() <= job.metadata.items()]
        order = [job.id for job in self.truth]
        return self._cut([self.wire_job(job) for job in wanted], order, request, 20)

    def get_files(self, request: Request) -> Json:
        habits = self.weather.habits
        lag = habits.list_lag * (self._draw(request).random() if habits.stale else 1.0)
        files = [file for file in self.files() if self._is_out(file.id, lag)]
        order = [file.id for file in self.files()]
        return self._cut([_plain(file) for file in files], order, request, 10_000)

    def get_events(self, request: Request, job_id: str) -> Json:
        self._check_seen(job_id)
        habits, events = self.weather.habits, self.events_of(job_id)[::-1]
        shown = [_plain(event) for event in events if self._is_out(event.id, habits.events_lag)]
        page = self._cut(shown, [event.id for event in events], request, 20)
        return unruly_page(page, self._draw(request)) if habits.unruly else page

    def get_job(self, request: Request, job_id: str) -> Json:
        self._check_seen(job_id)
        job: Json = super().get_job(request, job_id)
        return job

    def get_file(self, request: Request, file_id: str) -> Json:
        self._check_seen(file_id)
        file: Json = super().get_file(request, file_id)
        return file

    # --- the truth ------------------------------------------------------------------------------

    @property
    def truth(self) -> list[Job]:
        """Every job, newest first, as it is now."""
        return list(self.backend.jobs())

    def events_of(self, job_id: str) -> list[Event]:
        """Every event, oldest first, shown or not."""
        return list(self.backend.events(job_id))

    @property
    def training_files(self) -> list[File]:
        """What clients sent."""
        return [file for file in self.files() if file.purpose == "fine-tune"]

    # --- small helpers --------------------------------------------------------------------------

    def _cut(self, rows: list[Json], order: list[str], request: Request, limit: int) -> Json:
        """A page, never longer than this service likes.

        A cursor that this replica does not know yet still has its place in the true order.
        """
        if (after := request.query.get("after")) is not None:
            past = set(order[: order.index(after) + 1])
            rows = [row for row in rows if row["id"] not in past]
        most = min(int(request.query.get("limit", limit)), self.weather.habits.page)
        return _list(rows[:most], has_more=len(rows) > most)

    def _draw(self, request: Request) -> random.Random:
        action, _ = route(request.method, request.path)
        return random.Random(f"{self.weather.seed} {action} {self._seen[action]} lag")

    def _is_out(self, noun_id: str, lag: float) -> bool:
        """Whether what is `lag` seconds late at most, each by its own measure, shows by now."""
        own = lag * random.Random(f"{self.weather.seed} {noun_id}").random()
        born = self.plant.said_at.get(noun_id) or self._born.get(noun_id, 0.0)
        return now() >= born + own

    def _check_seen(self, noun_id: str) -> None:
        if now() < self._born.get(noun_id, 0.0) + self.weather.habits.unseen:
            raise NotFoundError(f"No such object: {noun_id}")

    def _state(self, job_id: str, at: float) -> Job | None:
        """The job as it was then; None before it was born."""
        states = [job for since, job in self._states.get(job_id, []) if since <= at]
        return states[-1] if states else None

    def _note_states(self) -> None:
        with self._lock:
            for job in self.truth:
                states = self._states.setdefault(job.id, [])
                if not states or states[-1][1] != job:
                    states.append((now(), job))


@contextmanager
def in_weather(weather: Weather, folder: Path) -> Iterator[Station]:
    """A station whose jobs live by themselves."""
    with serving(Station(weather, folder)) as station, live(station):
        yield station


@contextmanager
def live(station: Station) -> Iterator[None]:
    """Let its jobs live by themselves."""
    thread = threading.Thread(target=_tick, args=(station,))
    thread.start()
    try:
        yield
    finally:
        station.stopping.set()
        thread.join()


def _tick(station: Station) -> None:
    while not station.stopping.is_set():
        station.tick()
        sleep(TICK)
