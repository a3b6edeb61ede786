import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftjobs.backends.fake import FakeBackend
from ftjobs.errors import (
    AuthError,
    BackendError,
    ConfigError,
    NotFoundError,
    ServiceError,
    UnreachableError,
    WatchTimeout,
)
from ftjobs.jobs.fleet import RATE, follow_all
from ftjobs.jobs.watch import LONGEST, SAFETY, Tick
from ftjobs.schema import Capabilities, Event, Job, JobSpec
from tests.jobs.hostile import EPOCH, Clock, Hostile, Life, life


@pytest.fixture
def clock() -> Clock:
    return Clock(limit=20_000)


def watch(backend: FakeBackend, clock: Clock, *jobs: Job | str, **how: Any) -> Iterator[Tick]:
    """Follow in simulated time."""
    how = {"jitter": lambda: 0.0} | how
    return follow_all(backend, jobs, sleep=clock.sleep, now=clock.now, wall=clock.wall, **how)


def steady(name: str, *, seconds: float, every: float = 10.0, start: float = 0.0) -> Life:
    """A job that runs from its start and has an event every so many seconds."""
    job = Job(id=name, created_at=EPOCH + int(start), status="", model="m", training_file="f")
    count = int(seconds // every)
    events = [
        (start + at * every, Event(id=f"{name}-{at}", created_at=EPOCH + int(at), message=str(at)))
        for at in range(count)
    ]
    statuses = ((start, "running"), (start + seconds, "succeeded"))
    return Life(job, statuses, tuple(events))


def calm(clock: Clock, *lives: Life, lag: float = 5.0) -> Hostile:
    return Hostile(lives, clock, random.Random(1), faults=0, stale=0, lag=lag)


def given_ids(ticks: Sequence[Tick]) -> list[str]:
    return [event.id for tick in ticks for event in tick.events]


def all_ids(backend: Hostile) -> list[str]:
    return [event.id for each in backend.lives.values() for _, event in each.events]


def test_every_event_of_every_job_once(clock: Clock) -> None:
    backend = calm(clock, steady("a", seconds=100), steady("b", seconds=300, start=50))
    clock.time = 60
    ticks = list(watch(backend, clock, "a", "b"))
    assert sorted(given_ids(ticks)) == sorted(all_ids(backend))
    last = {tick.job.id: tick.job.status for tick in ticks}
    assert last == {"a": "succeeded", "b": "succeeded"}


def cycles(backend: Hostile) -> list[list[tuple[str, float, str | None]]]:
    """The calls of each cycle: it begins with a list call."""
    found: list[list[tuple[str, float, str | None]]] = []
    for call in backend.calls:
        if call[0] == "jobs":
            found.append([])
        found[-1].append(call)
    return found


def test_a_cycle_is_one_list_call_and_events_of_half_of_those_that_run(clock: Clock) -> None:
    backend = calm(clock, *(steady(f"j{n}", seconds=900, every=7) for n in range(40)))
    clock.time = 1
    list(watch(backend, clock, *backend.lives))
    middle = cycles(backend)[1:-8]
    assert len(middle) > 50
    assert {len(calls) for calls in middle} == {1 + 1 + 20}  # one job asked for itself, in turn


def test_an_event_is_seen_within_two_cycles(clock: Clock) -> None:
    backend = calm(clock, *(steady(f"j{n}", seconds=900, every=7) for n in range(41)))
    came = {event.id: at for each in backend.lives.values() for at, event in each.events}
    clock.time = 1
    seen: dict[str, float] = {}
    for tick in watch(backend, clock, *backend.lives):
        seen |= {event.id: clock.time for event in tick.events}
    starts = [calls[0][1] for calls in cycles(backend)][:-8]
    interval = (2 + 21) / RATE
    assert max(b - a for a, b in pairwise(starts)) <= interval
    late = [seen[name] - max(at, 1) for name, at in came.items()]
    assert max(late) <= 2 * interval


def test_queued_jobs_cost_nothing_but_the_list(clock: Clock) -> None:
    job = Job(id="q", created_at=EPOCH, status="", model="m", training_file="f")
    queued = Life(job, ((0, "queued"), (600, "running"), (700, "succeeded")), ())
    backend = calm(clock, queued, steady("r", seconds=5))
    list(watch(backend, clock, "q", "r"))
    while_queued = [call for call in backend.calls if call[0] == "events" and 20 < call[1] < 600]
    assert while_queued == []
    rests = clock.rests[20:60]
    assert max(rests) <= LONGEST


def test_the_list_is_read_only_as_far_as_the_oldest_unfinished_job(clock: Clock) -> None:
    class Counted(Hostile):
        taken = 0

        def jobs(self, *, metadata: Mapping[str, str] | None = None) -> Iterator[Job]:
            for job in super().jobs(metadata=metadata):
                self.taken += 1
                yield job

    old = [steady(f"old{n}", seconds=1, start=float(n)) for n in range(1000)]
    mine = [steady("a", seconds=200, start=1000), steady("b", seconds=100, start=1010)]
    new = [steady(f"new{n}", seconds=1, start=1011 + n / 100) for n in range(10)]
    backend = Counted([*old, *mine, *new], clock, random.Random(2), faults=0, stale=0)
    clock.time = 1050
    list(watch(backend, clock, "a", "b"))
    assert backend.taken <= 13 * backend.count("jobs")


def test_what_the_list_lacks_is_asked_for(clock: Clock) -> None:
    many = [steady(f"n{n}", seconds=1, start=100 + n / 1000) for n in range(1500)]
    backend = calm(clock, steady("deep", seconds=200), *many)
    clock.time = 150
    ticks = list(watch(backend, clock, "deep"))
    assert sorted(given_ids(ticks)) == sorted(e.id for _, e in backend.lives["deep"].events)


def test_jobs_of_metadata_may_come_meanwhile(clock: Clock) -> None:
    backend = calm(clock, steady("a", seconds=100), steady("b", seconds=100, start=50))
    ticks = list(watch(backend, clock, metadata={"sweep": "7"}))
    assert sorted(given_ids(ticks)) == sorted(all_ids(backend))


def test_metadata_that_no_job_carries(clock: Clock) -> None:
    with pytest.raises(NotFoundError, match="no job carries sweep=7, x=y"):
        list(watch(calm(clock), clock, metadata={"sweep": "7", "x": "y"}))
    assert 10 <= clock.time <= 40  # lists may lag behind a create
    with pytest.raises(NotFoundError, match="no job carries"):
        list(watch(calm(clock), clock, metadata={"sweep": "7"}, timeout=1))


@pytest.mark.parametrize("how", [{}, {"metadata": {}}, {"jobs": ["a"], "metadata": {"k": "v"}}])
def test_either_jobs_or_metadata(clock: Clock, how: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="give the jobs"):
        list(watch(calm(clock), clock, *how.pop("jobs", ()), **how))


def test_a_typing_mistake_is_said_at_once(clock: Clock) -> None:
    class Honest(Hostile):
        def retrieve(self, job_id: str) -> Job:
            if job_id not in self.lives:
                raise NotFoundError(f"no job {job_id}")
            return super().retrieve(job_id)

    backend = Honest([steady("a", seconds=9)], clock, random.Random(1), faults=0, stale=0)
    with pytest.raises(NotFoundError, match="no job typo"):
        list(watch(backend, clock, "a", "typo"))
    assert clock.rests == []


def test_a_job_that_is_deleted_ends_no_watch_of_the_others(clock: Clock) -> None:
    class Deleting(Hostile):
        def retrieve(self, job_id: str) -> Job:
            if job_id == "b" and self.clock.time > 60:
                raise NotFoundError("no job b")
            return super().retrieve(job_id)

        def jobs(self, *, metadata: Mapping[str, str] | None = None) -> Iterator[Job]:
            listed = super().jobs(metadata=metadata)
            return (job for job in listed if job.id != "b" or self.clock.time <= 60)

    lives = [steady(name, seconds=300) for name in "abc"]
    backend = Deleting(lives, clock, random.Random(1), faults=0, stale=0)
    clock.time = 1
    ticks: list[Tick] = []
    with pytest.raises(NotFoundError, match="no job b"):
        ticks.extend(tick for tick in watch(backend, clock, *"abc"))
    assert [tick.job.id for tick in ticks if isinstance(tick.problem, NotFoundError)] == ["b"]
    assert {tick.job.id for tick in ticks if tick.last} == {"a", "c"}
    others = [name for name in all_ids(backend) if not name.startswith("b-")]
    assert [name for name in sorted(given_ids(ticks)) if not name.startswith("b-")] == sorted(
        others
    )


def test_a_timeout_names_what_still_runs(clock: Clock) -> None:
    backend = calm(clock, *(steady(name, seconds=1000) for name in "abc"), steady("d", seconds=5))
    with pytest.raises(WatchTimeout, match="3 jobs still run after 60 s") as caught:
        list(watch(backend, clock, *"abcd", timeout=60))
    assert clock.time == 60
    assert caught.value.job.status == "running"


def test_a_timeout_of_nothing_looks_once_at_each(clock: Clock) -> None:
    backend = calm(clock, *(steady(name, seconds=1000) for name in "abc"))
    clock.time = 50
    ticks: list[Tick] = []
    with pytest.raises(WatchTimeout):
        ticks.extend(tick for tick in watch(backend, clock, *"abc", timeout=0))
    assert clock.rests == []
    assert backend.count("jobs") == 1


def test_a_timeout_just_after_the_end_reads_the_last_events(clock: Clock) -> None:
    backend = calm(clock, steady("a", seconds=21))
    ticks = list(watch(backend, clock, "a", timeout=22))
    assert sorted(given_ids(ticks)) == sorted(all_ids(backend))
    assert clock.time == 22


def test_a_timeout_in_an_outage_says_how_old_its_news_is(clock: Clock) -> None:
    backend = Hostile(
        [steady("a", seconds=900)], clock, random.Random(1), faults=0, stale=0, outage=(100, 700)
    )
    with pytest.raises(WatchTimeout, match=r"a is still running after 200 s, as last seen; .*: "):
        list(watch(backend, clock, "a", timeout=200))


def test_permanent_errors_end_it_at_once(clock: Clock) -> None:
    backend = calm(clock, steady("a", seconds=100))
    ticks = watch(backend, clock, "a")
    next(ticks)
    backend.jobs = lambda **_: (_ for _ in ()).throw(AuthError("no"))  # type: ignore[method-assign]
    with pytest.raises(AuthError):
        list(ticks)


def test_an_outage_before_anything_was_seen_is_an_error(clock: Clock) -> None:
    backend = Hostile([], clock, random.Random(1), faults=0, outage=(0, 100))
    with pytest.raises(UnreachableError):
        list(watch(backend, clock, "a"))


def test_a_job_whose_events_always_fail_holds_up_no_other(clock: Clock) -> None:
    class Poisoned(Hostile):
        def events(self, job_id: str, *, after: str | None = None) -> Sequence[Event]:
            if job_id == "bad" and self.clock.time < 500:
                raise ServiceError("broken")
            return super().events(job_id, after=after)

    lives = [steady("bad", seconds=200), *(steady(f"j{n}", seconds=200) for n in range(5))]
    backend = Poisoned(lives, clock, random.Random(1), faults=0, stale=0)
    clock.time = 1
    seen: dict[str, float] = {}
    for tick in watch(backend, clock, *backend.lives):
        seen |= {event.id: clock.time for event in tick.events}
    assert sorted(seen) == sorted(all_ids(backend))
    assert all(at < 300 for name, at in seen.items() if not name.startswith("bad"))


def test_an_outage_is_told_of_every_job_and_loses_nothing(clock: Clock) -> None:
    lives = [steady("a", seconds=900), steady("b", seconds=900)]
    backend = Hostile(lives, clock, random.Random(1), faults=0, stale=0, outage=(100, 700))
    ticks = list(watch(backend, clock, "a", "b"))
    troubled: list[BackendError] = [tick.problem for tick in ticks if tick.problem]
    assert len(troubled) == 2 * len(set(map(id, troubled)))
    assert sorted(given_ids(ticks)) == sorted(all_ids(backend))


def test_a_doorbell_replaces_polling(clock: Clock) -> None:
    class Bell:
        waits: tuple[float, ...] = ()

        def wait(self, seconds: float) -> None:
            self.waits = (*self.waits, seconds)
            clock.time += min(seconds, 150)

    bell = Bell()
    backend = calm(clock, steady("a", seconds=100), steady("b", seconds=200))
    ticks = list(watch(backend, clock, "a", "b", doorbell=bell))
    assert bell.waits[0] == SAFETY
    assert backend.count("jobs") < 20
    assert sorted(given_ids(ticks)) == sorted(all_ids(backend))


def test_a_scripted_backend_comes_to_its_end(clock: Clock, tmp_path: Path) -> None:
    backend = FakeBackend(steps=3)
    path = tmp_path / "t.jsonl"
    path.write_bytes(b"{}\n" * 10)
    spec = JobSpec(model="fake-base", training_file=backend.upload(path).id)
    jobs = [backend.create(spec) for _ in range(3)]
    ticks = list(watch(backend, clock, *jobs))
    assert [t.job.status for t in ticks[-1:]] == ["succeeded"]
    expected = [event.id for job in jobs for event in backend.events(job.id)]
    assert sorted(given_ids(ticks)) == sorted(expected)


def test_a_service_without_events_is_asked_for_none(clock: Clock) -> None:
    backend = calm(clock, steady("a", seconds=50))
    backend.capabilities = Capabilities(events=False)
    assert given_ids(list(watch(backend, clock, "a"))) == []
    assert backend.count("events") == 0


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_no_service_makes_it_lose_or_repeat_an_event_or_hang(seed: int) -> None:
    rng = random.Random(seed)
    clock = Clock(limit=30_000)
    lives = [life(f"j{n}", rng, start=rng.choice([0.0, 0.0, 9.0]), lag=3.0) for n in range(6)]
    outage = rng.choice([(0.0, 0.0), (20.0, 700.0)])
    faults = rng.choice([0, 0.1, 0.4])
    backend = Hostile(lives, clock, rng, faults=faults, outage=outage)
    clock.time = 9.0
    jobs = [each.at(each.statuses[0][0]) for each in lives]
    ticks = list(watch(backend, clock, *filter(None, jobs), jitter=rng.random))
    assert sorted(given_ids(ticks)) == sorted(all_ids(backend))
    for each in lives:
        mine = [tick for tick in ticks if tick.job.id == each.job.id]
        words = [word for _, word in each.statuses]
        shown = [word for word, _ in groupby(tick.job.status for tick in mine)]
        places = [words.index(word) for word in shown if word != "compressing"]
        assert places == sorted(places)
        assert mine[-1].job == each.at(clock.limit)
