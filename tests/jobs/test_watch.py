import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.backends.fake import FakeBackend
from ftjobs.errors import (
    AuthError,
    BackendError,
    DeadlineError,
    JobCancelled,
    JobFailed,
    NotFoundError,
    RateLimitError,
    ServiceError,
    UnreachableError,
    WatchTimeout,
)
from ftjobs.jobs.watch import LONGEST, check_succeeded, events_of, follow, has_ended, outcome
from ftjobs.schema import Capabilities, Event, Job, JobSpec

Look = tuple[Job, Sequence[Event]]

FAULTS = [UnreachableError, ServiceError, DeadlineError, RateLimitError]


@dataclass
class Clock:
    """Time that passes only while somebody sleeps."""

    time: float = 0.0
    rests: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.rests.append(seconds)
        self.time += seconds

    def now(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


def started(backend: FakeBackend, tmp_path_factory: pytest.TempPathFactory) -> Job:
    path = tmp_path_factory.mktemp("files") / "t.jsonl"
    path.write_bytes(b"{}\n" * 10)
    return backend.create(JobSpec(model="fake-base", training_file=backend.upload(path).id))


def job_in(status: str, **fields: object) -> Job:
    values = {"id": "j", "created_at": 0, "model": "m", "training_file": "f", "status": status}
    return Job.model_validate({**values, **fields})


class Scripted(FakeBackend):
    """Answers each look from a list: a job, the events it has by then, or an error."""

    def __init__(self, *looks: Look | BackendError) -> None:
        super().__init__()
        self.looks = list(looks)
        self.known: Sequence[Event] = ()

    def retrieve(self, job_id: str) -> Job:
        look = self.looks.pop(0)
        if isinstance(look, BackendError):
            raise look
        job, self.known = look
        return job

    def events(self, job_id: str, *, after: str | None = None) -> Sequence[Event]:
        ids = [event.id for event in self.known]
        return self.known[ids.index(after) + 1 if after in ids else 0 :]


def event(name: str, at: int) -> Event:
    return Event(id=name, created_at=at, message=name)


def test_each_event_once_oldest_first_to_the_last(
    clock: Clock, tmp_path_factory: pytest.TempPathFactory
) -> None:
    backend = FakeBackend(steps=20)
    job = started(backend, tmp_path_factory)
    ticks = list(follow(backend, job.id, sleep=clock.sleep, now=clock.now))
    assert list(events_of(ticks)) == list(backend.events(job.id))
    assert ticks[-1].job.status == "succeeded"


def test_it_takes_up_again_after_an_event(
    clock: Clock, tmp_path_factory: pytest.TempPathFactory
) -> None:
    backend = FakeBackend(steps=3)
    job = started(backend, tmp_path_factory)
    first = list(events_of(follow(backend, job.id, sleep=clock.sleep, now=clock.now)))
    again = follow(backend, job.id, after=first[4].id, sleep=clock.sleep, now=clock.now)
    assert list(events_of(again)) == first[5:]


def test_a_job_that_ends_between_status_and_events_loses_nothing(clock: Clock) -> None:
    e1, e2, e3 = event("1", 1), event("2", 2), event("3", 3)
    backend = Scripted((job_in("running"), [e1, e2]), (job_in("succeeded"), [e1, e2, e3]))
    assert list(events_of(follow(backend, "j", sleep=clock.sleep, now=clock.now))) == [e1, e2, e3]


def test_a_late_event_of_the_same_second_is_not_lost(clock: Clock) -> None:
    e1, e2, late = event("1", 10), event("2", 10), event("late", 10)
    backend = Scripted((job_in("running"), [e1, e2]), (job_in("succeeded"), [e1, late, e2]))
    found = list(events_of(follow(backend, "j", sleep=clock.sleep, now=clock.now)))
    assert found == [e1, e2, late]


@given(data=st.data())
def test_no_order_within_a_second_loses_or_repeats_an_event(data: st.DataObject) -> None:
    times = sorted(data.draw(st.lists(st.integers(0, 20), min_size=1, max_size=30)))
    events = [event(str(i), at) for i, at in enumerate(times)]
    shuffle = random.Random(data.draw(st.integers()))
    looks = []
    for end in [*sorted(data.draw(st.lists(st.integers(0, len(events))))), len(events)]:
        shown = sorted(events[:end], key=lambda e: (e.created_at, shuffle.random()))
        looks.append((job_in("succeeded" if end == len(events) else "running"), shown))
    clock = Clock()
    found = events_of(follow(Scripted(*looks), "j", sleep=clock.sleep, now=clock.now))
    assert sorted(int(e.id) for e in found) == list(range(len(events)))


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("method", ["retrieve", "events"])
def test_faults_that_can_pass_are_waited_out(
    fault: type[BackendError],
    method: str,
    clock: Clock,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    backend = FakeBackend(steps=4)
    job = started(backend, tmp_path_factory)
    ticks = follow(backend, job.id, sleep=clock.sleep, now=clock.now)
    found = list(next(ticks).events)
    backend.fail_next(method, *(fault("not now") for _ in range(30)))
    rest = list(ticks)
    assert [*found, *events_of(rest)] == list(backend.events(job.id))
    assert sum(tick.problem is not None for tick in rest) == 30
    assert max(clock.rests) == LONGEST


def test_a_fault_at_the_very_end_loses_nothing(clock: Clock) -> None:
    last = event("last", 1)

    class Cut(Scripted):
        def events(self, job_id: str, *, after: str | None = None) -> Sequence[Event]:
            if len(self.looks) == 1:
                raise UnreachableError("cut")
            return super().events(job_id, after=after)

    done = (job_in("succeeded"), [last])
    assert list(events_of(follow(Cut(done, done), "j", sleep=clock.sleep, now=clock.now))) == [last]


def test_retry_after_is_obeyed(clock: Clock) -> None:
    running: Look = (job_in("running"), [])
    limited = RateLimitError("slow down", retry_after=77)
    backend = Scripted(running, limited, (job_in("succeeded"), []))
    list(follow(backend, "j", sleep=clock.sleep, now=clock.now))
    assert clock.rests[-1] == 77


@pytest.mark.parametrize("error", [AuthError("no"), NotFoundError("gone")])
def test_faults_that_cannot_pass_are_raised(error: BackendError, clock: Clock) -> None:
    backend = Scripted((job_in("running"), []), error)
    with pytest.raises(type(error)):
        list(follow(backend, "j", sleep=clock.sleep, now=clock.now))


def test_a_job_that_was_never_seen_is_not_waited_for(clock: Clock) -> None:
    with pytest.raises(UnreachableError):
        list(follow(Scripted(UnreachableError("down")), "j", sleep=clock.sleep, now=clock.now))
    assert clock.rests == []


def test_an_unknown_status_is_said_once_and_watched_on(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    odd: Look = (job_in("compressing"), [])
    backend = Scripted(odd, odd, odd, (job_in("succeeded"), []))
    with caplog.at_level(logging.WARNING, "ftjobs"):
        ticks = list(follow(backend, "j", sleep=clock.sleep, now=clock.now))
    assert len(ticks) == 4
    assert [r.getMessage() for r in caplog.records] == [
        "job j: unknown status 'compressing'; still watching"
    ]


def test_an_unknown_status_with_an_end_is_an_end(clock: Clock) -> None:
    over = job_in("user_error", finished_at=5)
    ticks = list(follow(Scripted((over, [])), "j", sleep=clock.sleep, now=clock.now))
    with pytest.raises(JobFailed, match="user_error"):
        outcome(ticks)
    assert not has_ended(job_in("paused", finished_at=5))


def test_a_timeout_leaves_the_job_alone(clock: Clock) -> None:
    looks: list[Look] = [(job_in("running"), [])] * 99
    with pytest.raises(WatchTimeout, match="still running after 10 s") as caught:
        list(follow(Scripted(*looks), "j", timeout=10, sleep=clock.sleep, now=clock.now))
    assert clock.time == 10
    assert caught.value.job.status == "running"


def test_a_timeout_of_nothing_looks_once(clock: Clock) -> None:
    with pytest.raises(WatchTimeout):
        list(follow(Scripted((job_in("queued"), [])), "j", timeout=0, now=clock.now))


def test_rests_grow_while_nothing_happens_and_shrink_when_something_does(clock: Clock) -> None:
    quiet: list[Look] = [(job_in("running"), [])] * 200
    backend = Scripted(*quiet, (job_in("running"), [event("1", 1)]), (job_in("succeeded"), []))
    list(follow(backend, "j", sleep=clock.sleep, now=clock.now))
    assert clock.rests[:200] == sorted(clock.rests[:200])
    assert clock.rests[199] == LONGEST
    assert clock.rests[200] == 1.0


def test_a_service_without_events_is_asked_for_none(clock: Clock) -> None:
    class Mute(FakeBackend):
        def events(self, job_id: str, *, after: str | None = None) -> Sequence[Event]:
            raise AssertionError("asked")

    backend = Mute(capabilities=Capabilities(events=False))
    backend.retrieve = Scripted((job_in("succeeded"), [])).retrieve  # type: ignore[method-assign]
    ticks = list(follow(backend, "j", sleep=clock.sleep, now=clock.now))
    assert [tick.job.status for tick in ticks] == ["succeeded"]


def test_check_succeeded() -> None:
    job = job_in("succeeded")
    assert check_succeeded(job) is job
    with pytest.raises(JobCancelled):
        check_succeeded(job_in("cancelled"))
    with pytest.raises(JobFailed, match="server_error: it broke"):
        check_succeeded(job_in("failed", error={"code": "server_error", "message": "it broke"}))
