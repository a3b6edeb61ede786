"""Which ends are told, and to whom: exactly one delivery for each endpoint."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
)

from ftjobs.errors import UnreachableError
from ftjobs.schema import Job
from ftjobs.server.once import Once, digest_of
from ftjobs.server.projects.jobs import CREATE
from ftjobs.server.webhooks import lookout as module
from tests.server.webhooks.conftest import Rooms

URL = "http://127.0.0.1:9/"


def told(rooms: Rooms) -> list[tuple[str, str]]:
    """(endpoint, job) of every delivery."""
    return sorted(rooms.database.rows("SELECT endpoint, job FROM deliveries"))


def test_an_end_is_told_once(rooms: Rooms) -> None:
    endpoint = rooms.endpoints.create(URL)
    lookout, job = rooms.lookout(), rooms.start()
    lookout.look()
    assert told(rooms) == []
    rooms.end(job)
    for _ in range(3):
        lookout.look()
    rooms.lookout().look()  # a server that was restarted
    assert told(rooms) == [(endpoint.id, job.id)]


def test_the_payload_is_that_of_openai(rooms: Rooms) -> None:
    rooms.endpoints.create(URL)
    lookout, job = rooms.lookout(), rooms.start()
    lookout.look()
    ended = rooms.backend.cancel(job.id)
    lookout.look()
    [(body,)] = rooms.database.rows("SELECT body FROM deliveries")
    event = json.loads(body)
    assert event.pop("id").startswith("evt_")
    assert event == {
        "object": "event",
        "created_at": ended.finished_at,
        "type": "fine_tuning.job.cancelled",
        "data": {"id": job.id},
    }


def test_nobody_is_told_of_what_ended_before(rooms: Rooms) -> None:
    rooms.end(rooms.start())
    rooms.endpoints.create(URL)
    lookout = rooms.lookout()
    lookout.look()
    assert told(rooms) == []
    job = rooms.start()
    lookout.look()
    rooms.end(job)
    lookout.look()
    later = rooms.endpoints.create(URL)
    lookout.look()
    assert [of for _, of in told(rooms)] == [job.id]
    assert later.id not in {endpoint for endpoint, _ in told(rooms)}


def test_what_ended_while_no_server_ran_is_told(rooms: Rooms) -> None:
    endpoint = rooms.endpoints.create(URL)
    job = rooms.start()
    rooms.lookout().look()
    rooms.end(job)
    rooms.lookout().look()
    assert told(rooms) == [(endpoint.id, job.id)]


@pytest.mark.parametrize(("field", "seconds", "is_told"), [
    ("created_at", 5, True), ("finished_at", 5, True), ("finished_at", 0, True),
    ("finished_at", -1, False),
])  # fmt: skip
def test_what_began_or_ended_unseen_is_known_by_its_times(
    rooms: Rooms, monkeypatch: pytest.MonkeyPatch, field: str, seconds: int, is_told: bool
) -> None:
    endpoint = rooms.endpoints.create(URL)
    job = rooms.end(rooms.start())
    dated = job.model_copy(update={field: int(endpoint.created_at) + seconds})
    monkeypatch.setattr(rooms.backend, "jobs", lambda: iter([dated]))
    rooms.lookout().look()
    assert told(rooms) == ([(endpoint.id, job.id)] if is_told else [])


def test_a_project_hears_of_its_own_jobs(rooms: Rooms) -> None:
    of_a = rooms.endpoints.create(URL, project="a")
    of_b = rooms.endpoints.create(URL, project="b")
    of_all = rooms.endpoints.create(URL)
    jobs = [rooms.start(project) for project in ("a", "b", "c")]
    lookout = rooms.lookout()
    lookout.look()
    for job in jobs:
        rooms.end(job)
    lookout.look()
    expected = [(of_a.id, jobs[0].id), (of_b.id, jobs[1].id)]
    assert told(rooms) == sorted(expected + [(of_all.id, job.id) for job in jobs])


def test_a_job_that_ends_before_it_is_known_whose_it_is_is_told_to_its_project(
    rooms: Rooms,
) -> None:
    endpoint = rooms.endpoints.create(URL, project="a")
    once, lookout, jobs = Once(rooms.database), rooms.lookout(), []

    def create(_token: str) -> dict[str, Any]:
        jobs.append(rooms.start(None))
        lookout.look()
        rooms.end(jobs[0])
        raise KeyboardInterrupt  # the server was killed

    def adopt(project: str, _action: str, _token: str) -> dict[str, Any]:
        rooms.owners.add("job", jobs[0].id, project)
        return {}

    with pytest.raises(KeyboardInterrupt):
        once.run("a", None, digest_of(CREATE, 1), create, recover=lambda _token: None)
    lookout.look()
    rooms.lookout().look()  # a server that was restarted
    assert told(rooms) == []
    once.settle(adopt)
    lookout.look()
    assert told(rooms) == [(endpoint.id, jobs[0].id)]


def test_nobodys_job_waits_for_those_requests_alone_that_were_there_before_its_end(
    rooms: Rooms,
) -> None:
    endpoint, of_a = rooms.endpoints.create(URL), rooms.endpoints.create(URL, project="a")
    once, lookout = Once(rooms.database), rooms.lookout()
    job, other = rooms.start(None), rooms.start()

    def create(_token: str) -> dict[str, Any]:
        rooms.end(job), rooms.end(other)
        lookout.look()
        assert told(rooms) == sorted([(endpoint.id, other.id), (of_a.id, other.id)])
        return {}

    def later(_token: str) -> dict[str, Any]:
        lookout.look()
        assert (endpoint.id, job.id) in told(rooms)
        return {}

    lookout.look()
    once.run("a", "1", digest_of(CREATE, 1), create)
    once.run("a", "2", digest_of(CREATE, 2), later)
    assert (of_a.id, job.id) not in told(rooms)


def test_an_endpoint_hears_of_the_events_it_wants(rooms: Rooms) -> None:
    wants = rooms.endpoints.create(URL, events=["cancelled"])
    jobs = [rooms.start(), rooms.start()]
    lookout = rooms.lookout()
    lookout.look()
    rooms.end(jobs[0])
    rooms.backend.cancel(jobs[1].id)
    lookout.look()
    assert told(rooms) == [(wants.id, jobs[1].id)]


def test_no_backend_is_asked_while_nobody_is_told(
    rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms.backend, "jobs", None)  # a call would raise
    rooms.lookout().look()


def test_a_long_list_is_read_once(rooms: Rooms, monkeypatch: pytest.MonkeyPatch) -> None:
    rooms.endpoints.create(URL)
    for _ in range(200):
        rooms.backend.cancel(rooms.start().id)
    lookout = rooms.lookout()
    read: list[str] = []
    listed = rooms.backend.jobs

    def jobs() -> Iterator[Job]:
        for job in listed():
            read.append(job.id)
            yield job

    monkeypatch.setattr(rooms.backend, "jobs", jobs)
    lookout.look()
    assert len(read) == 200
    job = rooms.start()
    read.clear()
    lookout.look()
    rooms.end(job)
    lookout.look()
    assert [of for _, of in told(rooms)] == [job.id]
    assert len(read) < 2 * (module.SETTLED + 2)


def test_an_unfinished_job_below_many_ended_ones_is_still_found(rooms: Rooms) -> None:
    rooms.endpoints.create(URL)
    old = rooms.start()
    lookout = rooms.lookout()
    for _ in range(2 * module.SETTLED):
        rooms.backend.cancel(rooms.start().id)
    lookout.look()
    rooms.end(old)
    lookout.look()
    assert old.id in {of for _, of in told(rooms)}


def test_looking_writes_nothing_while_nothing_happens(rooms: Rooms) -> None:
    rooms.endpoints.create(URL)
    rooms.start()
    lookout = rooms.lookout()
    lookout.look()
    before = rooms.database.rows("SELECT total_changes()")
    lookout.look()
    assert rooms.database.rows("SELECT total_changes()") == before


@pytest.mark.parametrize("error", [UnreachableError("gone"), RuntimeError("unforeseen")])
def test_a_backend_that_cannot_be_asked_is_asked_again(
    rooms: Rooms, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(module, "REST", 0.01)
    rooms.endpoints.create(URL)
    job = rooms.start()
    lookout = rooms.lookout()
    lookout.look()
    rooms.end(job)
    rooms.backend.fail_next("jobs", error, error)
    with lookout.looking():
        rooms.until((job.id, "waiting", 0))


class Ends(RuleBasedStateMachine):
    """Whatever happens in whatever order, an endpoint is told of each end since it was made, once.

    Times do not help: those of a scripted backend are no seconds, so each change is looked at.
    """

    jobs = Bundle("jobs")

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.rooms = Rooms(Path(self.folder.name))
        self.lookout = self.rooms.lookout()
        self.open: dict[str, set[str]] = {}  # endpoints that were there while a job was open
        self.expected: set[tuple[str, str]] = set()

    @rule(target=jobs)
    def start(self) -> Job:
        job = self.rooms.start()
        self.open[job.id] = {each.id for each in self.rooms.endpoints.all()}
        self.lookout.look()
        return job

    @rule(job=consumes(jobs), cancelled=st.booleans())
    def end(self, job: Job, cancelled: bool) -> None:
        self.expected |= {(endpoint, job.id) for endpoint in self.open.pop(job.id)}
        self.rooms.backend.cancel(job.id) if cancelled else self.rooms.end(job)

    @rule()
    def add(self) -> None:
        made = self.rooms.endpoints.create(URL)
        self.lookout.look()
        for endpoints in self.open.values():
            endpoints.add(made.id)

    @rule(number=st.integers(0, 9))
    def remove(self, number: int) -> None:
        if found := self.rooms.endpoints.all():
            gone = found[number % len(found)].id
            self.rooms.endpoints.delete(gone)
            self.expected = {pair for pair in self.expected if pair[0] != gone}
            for endpoints in self.open.values():
                endpoints.discard(gone)

    @rule()
    def look(self) -> None:
        self.lookout.look()

    @rule()
    def restart(self) -> None:
        self.lookout = self.rooms.lookout()
        self.lookout.look()

    @invariant()
    def no_other_is_told(self) -> None:
        if hasattr(self, "rooms"):
            assert set(told(self.rooms)) <= self.expected

    def teardown(self) -> None:
        if not hasattr(self, "rooms"):
            return
        with self.folder:
            self.lookout.look()
            found = told(self.rooms)
            self.rooms.database.close()
        assert found == sorted(self.expected)


TestEnds = Ends.TestCase
TestEnds.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
