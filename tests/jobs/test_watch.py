import logging
import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftjobs.backends.base import Trainer
from ftjobs.backends.fake import FakeBackend
from ftjobs.backends.profiles import ANY_URL
from ftjobs.backends.retry import RetryPolicy
from ftjobs.backends.wire import WireBackend
from ftjobs.errors import (
    AuthError,
    BackendError,
    JobCancelled,
    JobFailed,
    NotFoundError,
    RateLimitError,
    UnreachableError,
    WatchTimeout,
)
from ftjobs.jobs.watch import (
    LONGEST,
    SAFETY,
    Tick,
    check_all_succeeded,
    check_succeeded,
    events_of,
    has_ended,
    outcome,
)
from ftjobs.jobs.watch import follow as follow_job
from ftjobs.schema import Capabilities, Event, Job, JobSpec
from tests import service
from tests.jobs.hostile import EPOCH, FAULTS, Clock, Hostile, life

Look = tuple[Job, Sequence[Event]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


def follow(backend: Trainer, job: Job | str, clock: Clock, **how: Any) -> Iterator[Tick]:
    """Follow in simulated time, without jitter."""
    return follow_job(
        backend, job, sleep=clock.sleep, now=clock.now, wall=clock.wall, jitter=lambda: 0.0, **how
    )


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
    ticks = list(follow(backend, job.id, clock))
    assert list(events_of(ticks)) == list(backend.events(job.id))
    assert ticks[-1].job.status == "succeeded"


def test_it_takes_up_again_after_an_event(
    clock: Clock, tmp_path_factory: pytest.TempPathFactory
) -> None:
    backend = FakeBackend(steps=3)
    job = started(backend, tmp_path_factory)
    first = list(events_of(follow(backend, job.id, clock)))
    again = follow(backend, job.id, clock, after=first[4].id)
    assert list(events_of(again)) == first[5:]


def test_a_job_that_ends_between_status_and_events_loses_nothing(clock: Clock) -> None:
    e1, e2, e3 = event("1", 1), event("2", 2), event("3", 3)
    backend = Scripted((job_in("running"), [e1, e2]), (job_in("succeeded"), [e1, e2, e3]))
    assert list(events_of(follow(backend, "j", clock))) == [e1, e2, e3]


def test_a_late_event_of_the_same_second_is_not_lost(clock: Clock) -> None:
    e1, e2, late = event("1", 10), event("2", 10), event("late", 10)
    backend = Scripted((job_in("running"), [e1, e2]), (job_in("succeeded"), [e1, late, e2]))
    found = list(events_of(follow(backend, "j", clock)))
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
    found = events_of(follow(Scripted(*looks), "j", clock))
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
    ticks = follow(backend, job.id, clock)
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
    assert list(events_of(follow(Cut(done, done), "j", clock))) == [last]


def test_retry_after_is_obeyed(clock: Clock) -> None:
    running: Look = (job_in("running"), [])
    limited = RateLimitError("slow down", retry_after=77)
    backend = Scripted(running, limited, (job_in("succeeded"), []))
    list(follow(backend, "j", clock))
    assert clock.rests[-1] == 77


@pytest.mark.parametrize("error", [AuthError("no"), NotFoundError("gone")])
def test_faults_that_cannot_pass_are_raised(error: BackendError, clock: Clock) -> None:
    backend = Scripted((job_in("running"), []), error)
    with pytest.raises(type(error)):
        list(follow(backend, "j", clock))


def test_a_job_that_was_never_seen_is_not_waited_for(clock: Clock) -> None:
    with pytest.raises(UnreachableError):
        list(follow(Scripted(UnreachableError("down")), "j", clock))
    assert clock.rests == []


def test_an_unknown_status_is_said_once_and_watched_on(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    odd: Look = (job_in("compressing"), [])
    backend = Scripted(odd, odd, odd, (job_in("succeeded"), []))
    with caplog.at_level(logging.WARNING, "ftjobs"):
        ticks = list(follow(backend, "j", clock))
    assert len(ticks) == 4
    assert [r.getMessage() for r in caplog.records] == [
        "job 'j': unknown status 'compressing'; still watching"
    ]


def test_an_unknown_status_with_an_end_is_an_end(clock: Clock) -> None:
    over = job_in("user_error", finished_at=5)
    ticks = list(follow(Scripted((over, [])), "j", clock))
    with pytest.raises(JobFailed, match="user_error"):
        outcome(ticks)
    assert not has_ended(job_in("paused", finished_at=5))


def test_a_timeout_leaves_the_job_alone(clock: Clock) -> None:
    looks: list[Look] = [(job_in("running"), [])] * 99
    with pytest.raises(WatchTimeout, match="still running after 10 s") as caught:
        list(follow(Scripted(*looks), "j", clock, timeout=10))
    assert clock.time == 10
    assert caught.value.job.status == "running"


def test_a_retry_after_beyond_the_timeout_ends_the_watch_without_another_look(
    clock: Clock,
) -> None:
    backend = Scripted((job_in("running"), []), RateLimitError("slow down", retry_after=77))
    with pytest.raises(WatchTimeout):
        list(follow(backend, "j", clock, timeout=30))
    assert (clock.time, backend.looks) == (30, [])


def test_a_timeout_in_an_outage_says_how_old_its_news_is(clock: Clock) -> None:
    backend = Lagging((job_in("running"), []), *[UnreachableError("no route")] * 99)
    said = "job j is still running after 9 s, as last seen; there is no answer now: no route"
    with pytest.raises(WatchTimeout, match=said):
        list(follow(backend, "j", clock, timeout=9))


def test_a_timeout_of_nothing_looks_once(clock: Clock) -> None:
    with pytest.raises(WatchTimeout):
        list(follow(Scripted((job_in("queued"), [])), "j", clock, timeout=0))


def test_rests_grow_while_nothing_happens_and_shrink_when_something_does(clock: Clock) -> None:
    one = event("1", 1)
    quiet: list[Look] = [(job_in("running"), [])] * 200
    backend = Scripted(*quiet, (job_in("running"), [one]), (job_in("succeeded"), [one]))
    list(follow(backend, "j", clock))
    assert clock.rests[:200] == sorted(clock.rests[:200])
    assert clock.rests[199] == LONGEST
    assert clock.rests[200] == 1.0


def test_a_service_without_events_is_asked_for_none(clock: Clock) -> None:
    class Mute(FakeBackend):
        def events(self, job_id: str, *, after: str | None = None) -> Sequence[Event]:
            raise AssertionError("asked")

    backend = Mute(capabilities=Capabilities(events=False))
    backend.retrieve = Scripted((job_in("succeeded"), [])).retrieve  # type: ignore[method-assign]
    ticks = list(follow(backend, "j", clock))
    assert [tick.job.status for tick in ticks] == ["succeeded"]


def test_check_succeeded() -> None:
    job = job_in("succeeded")
    assert check_succeeded(job) is job
    with pytest.raises(JobCancelled):
        check_succeeded(job_in("cancelled"))
    with pytest.raises(JobFailed, match="server_error: it broke"):
        check_succeeded(job_in("failed", error={"code": "server_error", "message": "it broke"}))


def test_check_all_succeeded() -> None:
    good, bad, off = (job_in(status) for status in ("succeeded", "failed", "cancelled"))
    check_all_succeeded([good, good])
    with pytest.raises(JobCancelled, match="1 of 2 jobs did not succeed: j cancelled"):
        check_all_succeeded([good, off])
    with pytest.raises(JobFailed, match="2 of 3 jobs") as caught:
        check_all_succeeded([good, off, bad])
    assert caught.value.job is bad
    with pytest.raises(JobFailed, match=r"12 of 12 .* and 7 more"):
        check_all_succeeded([bad] * 12)
    with pytest.raises(JobFailed, match="job j ended as failed"):
        check_all_succeeded([bad])


# --- copies that lag ------------------------------------------------------------------------------

LAGS = Capabilities(list_lag=10.0, events_lag=5.0)


class Lagging(Scripted):
    """A scripted service that owns up to its lags, and writes down what it was asked."""

    def __init__(self, *looks: Look | BackendError) -> None:
        super().__init__(*looks)
        self.capabilities = LAGS
        self.asked: list[str | None] = []

    def events(self, job_id: str, *, after: str | None = None) -> Sequence[Event]:
        self.asked.append(after)
        return super().events(job_id, after=after)


def test_events_may_come_late_after_the_end(clock: Clock) -> None:
    e1, e2, late = event("1", 1), event("2", 2), event("late", 1)
    running, over = job_in("running"), job_in("succeeded", finished_at=EPOCH)
    looks: list[Look] = [(running, [e1]), (over, [e1, e2]), (over, [e1, e2])]
    backend = Lagging(*looks, *[(over, [e1, late, e2])] * 9)
    found = list(events_of(follow(backend, "j", clock)))
    assert found == [e1, e2, late]
    assert 5 <= clock.time <= 8


def test_the_whole_list_is_read_only_at_the_start_and_once_at_the_end(clock: Clock) -> None:
    known = [event(str(at), EPOCH + at) for at in range(300)]
    looks: list[Look] = [(job_in("running"), known[: 3 * look]) for look in range(1, 100)]
    backend = Lagging(*looks, *[(job_in("succeeded"), known)] * 9)
    assert list(events_of(follow(backend, "j", clock))) == known
    whole = [place for place, after in enumerate(backend.asked) if after is None]
    assert whole[-1] == len(backend.asked) - 1
    assert len(whole) <= 4  # until the first events are old enough to start from


def test_a_job_that_ended_long_ago_is_looked_at_once(clock: Clock) -> None:
    clock.time = 100_000
    over = job_in("succeeded", finished_at=EPOCH)
    backend = Lagging((over, [event("1", 1)]))
    assert [e.id for e in events_of(follow(backend, "j", clock))] == ["1"]
    assert (backend.asked, clock.rests) == ([None], [])


def test_a_job_that_ended_hours_ago_by_a_wrong_clock_still_gives_its_late_events(
    clock: Clock,
) -> None:
    clock.time = 5 * 3600  # or it has ended just now, and the service's clock is late
    over = job_in("succeeded", finished_at=EPOCH)
    e1, e2 = event("1", 1), event("2", 2)
    backend = Lagging((over, [e1]), *[(over, [e1, e2])] * 20)
    assert list(events_of(follow(backend, "j", clock))) == [e1, e2]


def test_a_last_list_that_lacks_what_it_had_is_read_again_but_not_for_ever(clock: Clock) -> None:
    e1, e2, e3 = event("1", 1), event("2", 2), event("3", 3)
    over = job_in("succeeded")
    backend = Scripted((job_in("running"), [e1, e2]), (over, [e1]), (over, [e1, e2, e3]))
    assert list(events_of(follow(backend, "j", clock))) == [e1, e2, e3]
    forgetful = Scripted((job_in("running"), [e1, e2]), *[(over, [e1])] * 3)
    assert list(events_of(follow(forgetful, "j", clock))) == [e1, e2]


def test_a_status_that_goes_back_for_a_moment_is_not_shown(clock: Clock) -> None:
    words = ["queued", "running", "queued", "running", "succeeded", "running", *["succeeded"] * 9]
    backend = Lagging(*[(job_in(word), []) for word in words])
    shown = [tick.job.status for tick in follow(backend, "j", clock)]
    assert shown[:6] == ["queued", "running", "running", "running", "succeeded", "succeeded"]


def test_a_job_that_really_goes_back_is_believed_in_the_end(clock: Clock) -> None:
    words = ["running", *["queued"] * 30, *["succeeded"] * 9]
    backend = Lagging(*[(job_in(word), []) for word in words])
    shown = [tick.job.status for tick in follow(backend, "j", clock)]
    assert 3 <= shown.count("running") <= 12
    assert "queued" in shown
    at_once = Scripted(*[(job_in(word), []) for word in ["running", "queued", "succeeded"]])
    assert [t.job.status for t in follow(at_once, "j", clock)] == ["running", "queued", "succeeded"]


def test_a_job_that_was_just_created_may_be_unknown_for_a_while(clock: Clock) -> None:
    looks = [NotFoundError("none")] * 4
    backend = Lagging(*looks, *[(job_in("succeeded"), [])] * 9)
    ticks = list(follow(backend, job_in("queued"), clock))
    assert [tick.job.status for tick in ticks[:5]] == ["queued"] * 4 + ["succeeded"]
    assert all(tick.problem is None for tick in ticks)


def test_a_job_that_stays_unknown_is_gone(clock: Clock) -> None:
    with pytest.raises(NotFoundError):
        list(follow(Lagging(*[NotFoundError("none")] * 99), job_in("queued"), clock))
    assert 10 <= clock.time <= 40
    with pytest.raises(NotFoundError):
        list(follow(Lagging(NotFoundError("none")), "typo", clock))


def test_an_outage_before_the_first_look_is_waited_out_where_the_job_is_known(
    clock: Clock,
) -> None:
    backend = Scripted(UnreachableError("down"), (job_in("succeeded"), []))
    assert [bool(tick.problem) for tick in follow(backend, job_in("queued"), clock)] == [1, 0]


def test_a_service_that_has_no_events_after_all_is_watched_on(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    class Without(Lagging):
        def events(self, job_id: str, *, after: str | None = None) -> Sequence[Event]:
            raise NotFoundError("no such path")

    backend = Without(*[(job_in("running"), [])] * 50, (job_in("succeeded"), []))
    ticks = list(follow(backend, "j", clock))
    assert (len(ticks), ticks[-1].job.status) == (51, "succeeded")
    assert [r.getMessage() for r in caplog.records] == ["job 'j': the service has no events of it"]


def test_a_time_out_just_after_the_end_still_reads_the_last_events(clock: Clock) -> None:
    e1, e2 = event("1", 1), event("2", 2)
    looks: list[Look] = [(job_in("running"), []), (job_in("succeeded"), [e1])]
    backend = Lagging(*looks, *[(job_in("succeeded"), [e1, e2])] * 9)
    assert list(events_of(follow(backend, "j", clock, timeout=2.5))) == [e1, e2]
    assert clock.time == 2.5


def test_a_doorbell_replaces_polling(clock: Clock) -> None:
    waits: list[float] = []

    class Bell:
        def wait(self, seconds: float) -> None:
            waits.append(seconds)
            clock.time += 100

    running: Look = (job_in("running"), [])
    slow = RateLimitError("slow down", retry_after=77)
    backend = Scripted(running, running, slow, running, (job_in("succeeded"), []))
    list(follow(backend, "j", clock, doorbell=Bell()))
    assert waits == [SAFETY] * 3
    assert clock.rests == [77]


# --- over HTTP -----------------------------------------------------------------------------------


def test_ten_minutes_of_resets_lose_no_event(
    clock: Clock, tmp_path_factory: pytest.TempPathFactory
) -> None:
    policy = RetryPolicy(sleep=clock.sleep, now=clock.now)
    scripted = FakeBackend(steps=50)
    started(scripted, tmp_path_factory)
    with service.running(scripted) as loopback:
        there = WireBackend("test", ANY_URL.at(loopback.url), service.KEY, retry=policy)
        with closing(there) as backend:
            given_events: list[Event] = []
            troubled = 0
            for tick in follow(backend, next(backend.jobs()), clock):
                given_events += tick.events
                troubled += tick.problem is not None
                loopback.tick()
                if tick.job.status == "running" and not troubled:
                    loopback.fault("GET", "", lost="before", times=160)
        assert clock.time > 600
        assert troubled > 20
        assert given_events == list(scripted.events(tick.job.id))
        assert max(clock.rests) <= LONGEST


# --- everything at once --------------------------------------------------------------------------


@settings(max_examples=400, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_no_service_makes_it_lose_or_repeat_an_event_or_hang(seed: int) -> None:
    rng = random.Random(seed)
    clock = Clock(limit=10_000)
    one = life("j", rng, start=0.0, lag=3.0)
    backend = Hostile(
        [one],
        clock,
        rng,
        faults=rng.choice([0, 0.2, 0.6]),
        outage=rng.choice([(0.0, 0.0), (10.0, 700.0)]),
    )
    job = one.at(one.statuses[0][0])
    assert job is not None
    ticks = list(
        follow_job(
            backend, job, sleep=clock.sleep, now=clock.now, wall=clock.wall, jitter=rng.random
        )
    )
    given_ids = [e.id for e in events_of(ticks)]
    assert sorted(given_ids) == sorted(e.id for _, e in one.events)
    for tick in ticks:
        made = [e.created_at for e in tick.events]
        assert made == sorted(made)
    words = [word for _, word in one.statuses]
    shown = (tick.job.status for tick in ticks)
    places = [words.index(word) for word in shown if word != "compressing"]
    assert places == sorted(places)
    assert ticks[-1].job == one.at(clock.limit)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_looks_are_bounded(seed: int) -> None:
    rng = random.Random(seed)
    clock = Clock(limit=10_000)
    one = life("j", rng, start=0.0, lag=3.0)
    backend = Hostile([one], clock, rng, faults=0, stale=0)
    list(follow_job(backend, "j", sleep=clock.sleep, now=clock.now, wall=clock.wall))
    assert all(0.5 <= rest <= LONGEST for rest in clock.rests[:-1])
    assert len(backend.calls) <= 2 * (clock.time / 0.9 + 2)
    assert clock.time <= one.end + LONGEST + 6 + 1
