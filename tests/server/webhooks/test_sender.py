"""Deliveries: signed, sent until they are taken, and none in another's way."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from ftjobs.backends.wire import verify_webhook
from ftjobs.jobs.webhook import Receiver
from ftjobs.schema import Job
from ftjobs.server.webhooks import outbox, sender
from ftjobs.server.webhooks.endpoints import Endpoint
from ftjobs.server.webhooks.telling import telling
from tests.server.webhooks.conftest import Rooms, Taker, taking


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes hours takes moments, in as many tries."""
    monkeypatch.setattr("ftjobs.server.webhooks.lookout.REST", 0.02)
    monkeypatch.setattr(outbox, "RESTS", tuple(0.01 for _ in outbox.RESTS))
    monkeypatch.setattr(sender, "REST", 0.02)


def tell(rooms: Rooms, *endpoints: Endpoint, project: str = "a") -> Job:
    """A job that has ended, for these endpoints; a lookout may tell others of its project too."""
    job = rooms.end(rooms.start(project))
    rooms.outbox.tell(job, endpoints)
    return job


@contextmanager
def sending(rooms: Rooms) -> Iterator[None]:
    with telling(rooms.backend, rooms.database, rooms.owners):
        yield


def test_from_a_jobs_end_to_its_receiver(rooms: Rooms, taker: Taker) -> None:
    endpoint = rooms.endpoints.create(taker.url)
    with sending(rooms):
        job = rooms.start()
        while not rooms.outbox.jobs()[0]:
            time.sleep(0.01)
        rooms.end(job)
        [(headers, body)] = taker.wait()
        rooms.until((job.id, "delivered", 1))
    event = openai.OpenAI(api_key="none").webhooks.unwrap(body, headers, secret=endpoint.secret)
    assert event.type == "fine_tuning.job.succeeded"
    assert event.data.id == job.id
    assert verify_webhook(headers, body, endpoint.secret, now=time.time()) == json.loads(body)
    assert rooms.outbox.tallies()[endpoint.id] == outbox.Tally(delivered=1)


def test_the_signature_by_the_specifications_words(rooms: Rooms, taker: Taker) -> None:
    endpoint = rooms.endpoints.create(taker.url)
    with sending(rooms):
        tell(rooms, endpoint)
        [(headers, body)] = taker.wait()
    key = base64.b64decode(endpoint.secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{body.decode()}"
    code = base64.b64encode(hmac.new(key, signed.encode(), hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{code}"
    assert headers["content-type"] == "application/json"
    assert abs(time.time() - int(headers["webhook-timestamp"])) < 30


def test_a_receiver_of_ftjobs_rings(rooms: Rooms) -> None:
    secret = ""
    with Receiver(
        ("127.0.0.1", 0), lambda h, b: verify_webhook(h, b, secret, now=time.time())
    ) as receiver:
        endpoint = rooms.endpoints.create(receiver.url)
        secret = endpoint.secret
        with sending(rooms):
            began = time.monotonic()
            job = tell(rooms, endpoint)
            receiver.wait(20)
            assert time.monotonic() - began < 19
            rooms.until((job.id, "delivered", 1))


def test_what_fails_is_sent_again_under_the_same_id(rooms: Rooms) -> None:
    with taking(statuses=[500, 302, 404, 200]) as taker:
        endpoint = rooms.endpoints.create(taker.url)
        with sending(rooms):
            job = tell(rooms, endpoint)
            taken = taker.wait(4)
            rooms.until((job.id, "delivered", 4))
    assert len({headers["webhook-id"] for headers, _ in taken}) == 1
    assert len({body for _, body in taken}) == 1
    client = openai.OpenAI(api_key="none")
    for headers, body in taken:  # signed anew: receivers refuse what is older than five minutes
        client.webhooks.unwrap(body, headers, secret=endpoint.secret)


def test_a_dead_receiver_is_given_up_and_named(
    rooms: Rooms, caplog: pytest.LogCaptureFixture
) -> None:
    with taking(statuses=[503]) as taker:
        endpoint = rooms.endpoints.create(taker.url + "?token=hush")
        with sending(rooms), caplog.at_level(logging.WARNING):
            job = tell(rooms, endpoint)
            rooms.until((job.id, "given up", len(outbox.RESTS) + 1))
        assert len(taker.taken) == len(outbox.RESTS) + 1
    tally = rooms.outbox.tallies()[endpoint.id]
    assert (tally.waiting, tally.given_up, tally.failure) == (0, 1, "HTTP 503")
    assert job.id in caplog.text
    assert "hush" not in caplog.text
    assert endpoint.secret not in caplog.text


def test_gone_means_gone(rooms: Rooms) -> None:
    with taking(statuses=[410]) as taker:
        endpoint = rooms.endpoints.create(taker.url)
        with sending(rooms):
            job = tell(rooms, endpoint)
            rooms.until((job.id, "given up", 1))


def test_nobody_listens(rooms: Rooms) -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        endpoint = rooms.endpoints.create(f"http://127.0.0.1:{taken.getsockname()[1]}/")
        with sending(rooms):
            job = tell(rooms, endpoint)
            rooms.until((job.id, "given up", len(outbox.RESTS) + 1))
    assert "refused" in rooms.outbox.tallies()[endpoint.id].failure.lower()


def test_no_redirect_is_followed(rooms: Rooms, taker: Taker) -> None:
    with taking(statuses=[307, 308, 301, 204], headers={"location": "/other"}) as first:
        first.headers["location"] = taker.url
        endpoint = rooms.endpoints.create(first.url)
        with sending(rooms):
            job = tell(rooms, endpoint)
            rooms.until((job.id, "delivered", 4))
    assert taker.taken == []


def test_a_redirect_within_one_host_is_not_followed_either(rooms: Rooms) -> None:
    with taking(statuses=[307, 204], headers={"location": "/other"}) as one:
        endpoint = rooms.endpoints.create(one.url)
        with sending(rooms):
            job = tell(rooms, endpoint)
            rooms.until((job.id, "delivered", 2))


def silent(handler: Any) -> None:
    """Take the request, and answer nothing for a long time."""
    handler.server.held.wait(60)


def endless(handler: Any) -> None:
    """Answer with a body that never ends."""
    handler.send_response(500)
    handler.end_headers()
    while not handler.server.held.is_set():
        handler.wfile.write(b"x" * 65536)


def trickling(handler: Any) -> None:
    """Answer with a head that never ends."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while not handler.server.held.wait(0.05):
        handler.wfile.write(b"x-more: 1\r\n")


@pytest.mark.parametrize("answer", [silent, endless, trickling])
def test_a_bad_receiver_is_in_nobodys_way(
    rooms: Rooms, taker: Taker, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    monkeypatch.setattr(sender, "DEADLINE", 1.0)
    monkeypatch.setattr(outbox, "RESTS", ())
    held = threading.Event()
    monkeypatch.setattr(http.server.ThreadingHTTPServer, "held", held, raising=False)
    with taking(answer) as bad:
        one, two = rooms.endpoints.create(bad.url), rooms.endpoints.create(taker.url)
        with sending(rooms):
            began = time.monotonic()
            jobs = [tell(rooms, one, two) for _ in range(2)]
            taker.wait(2)
            rooms.until(*sorted(
                (job.id, state, 1) for job in jobs for state in ("delivered", "given up")
            ), seconds=20)  # fmt: skip
            assert time.monotonic() - began < 10
        held.set()
    assert len(bad.taken) == 2


def test_a_long_wait_that_is_asked_for_is_kept(rooms: Rooms) -> None:
    with taking(statuses=[429], headers={"retry-after": "3600"}) as taker:
        endpoint = rooms.endpoints.create(taker.url)
        with sending(rooms):
            job = tell(rooms, endpoint)
            rooms.until((job.id, "waiting", 1))
    [(due,)] = rooms.database.rows("SELECT due FROM deliveries")
    assert 3500 < due - time.time() < 3600 * 1.25


def test_a_restart_sends_what_was_not_taken(tmp_path: Path) -> None:
    with taking(statuses=[500, 204]) as taker:
        first = Rooms(tmp_path)
        endpoint = first.endpoints.create(taker.url)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(outbox, "RESTS", (0.5,))
            with sending(first):
                job = tell(first, endpoint)
                first.until((job.id, "waiting", 1))
        first.database.close()
        second = Rooms(tmp_path, first.backend)
        with sending(second):
            second.until((job.id, "delivered", 2))
        second.database.close()
    assert len({headers["webhook-id"] for headers, _ in taker.taken}) == 1


def test_what_was_under_way_at_the_end_is_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "FAREWELL", 0.05)
    held = threading.Event()

    def slow(handler: Any) -> None:
        held.wait(20)
        handler.send_response(204)
        handler.end_headers()

    with taking(slow) as taker:
        first = Rooms(tmp_path)
        endpoint = first.endpoints.create(taker.url)
        with sending(first):
            job = tell(first, endpoint)
            taker.wait()
        assert first.states() == [(job.id, "waiting", 0)]
        first.database.close()
        held.set()
        second = Rooms(tmp_path, first.backend)
        with sending(second):
            second.until((job.id, "delivered", 1))
        second.database.close()
    assert len({headers["webhook-id"] for headers, _ in taker.taken}) == 1


def test_a_deleted_endpoint_gets_nothing_more(rooms: Rooms) -> None:
    arrived, deleted = threading.Event(), threading.Event()

    def slow(handler: Any) -> None:
        arrived.set()
        deleted.wait(20)
        handler.send_error(500)

    with taking(slow) as taker:
        endpoint, other = (rooms.endpoints.create(taker.url, project=name) for name in "ab")
        with sending(rooms):
            tell(rooms, endpoint)
            assert arrived.wait(20)
            rooms.endpoints.delete(endpoint.id)
            last = tell(rooms, endpoint, other, project="b")
            deleted.set()
            rooms.until((last.id, "given up", len(outbox.RESTS) + 1))
        # Whatever waited for the deleted one had as much time as the other's tries.
        assert len(taker.taken) == 1 + len(outbox.RESTS) + 1


def test_a_thread_that_cannot_be_had_delays_a_delivery_alone(
    rooms: Rooms, taker: Taker, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start
    failed: list[threading.Thread] = []

    def starting(thread: threading.Thread) -> None:
        if thread.name == "ftjobs-webhook" and len(failed) < 2:
            failed.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", starting)
    endpoint = rooms.endpoints.create(taker.url)
    with sending(rooms):
        job = tell(rooms, endpoint)
        rooms.until((job.id, "delivered", 1))
    assert len(failed) == 2


def test_so_many_are_under_way_at_once_and_no_more(
    rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = threading.Event()

    def slow(handler: Any) -> None:
        held.wait(20)
        handler.send_response(204)
        handler.end_headers()

    looks: list[int] = []
    due = rooms.outbox.due

    def counted(self: outbox.Outbox, **how: Any) -> list[outbox.Delivery]:
        looks.append(len(how["without"]))
        return due(**how)

    monkeypatch.setattr(outbox.Outbox, "due", counted)
    with taking(slow) as taker:
        endpoints = [rooms.endpoints.create(taker.url) for _ in range(sender.AT_ONCE + 4)]
        job = tell(rooms, *endpoints)
        with sending(rooms):
            taker.wait(sender.AT_ONCE)
            end = time.monotonic() + 20
            while looks.count(sender.AT_ONCE) < 3:  # nothing more is sent, however often it looks
                assert time.monotonic() < end, looks
                time.sleep(0.01)
            assert len(taker.taken) == sender.AT_ONCE
            held.set()
            rooms.until(*[(job.id, "delivered", 1)] * len(endpoints))


def test_rests_grow_over_hours_and_are_shaken(
    rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    assert sorted(outbox.RESTS) == list(outbox.RESTS)
    assert 12 < sum(outbox.RESTS) / 3600 < 36
    endpoint = rooms.endpoints.create("http://127.0.0.1:9/")
    dues = []
    for _ in range(8):
        tell(rooms, endpoint)
        [delivery] = rooms.outbox.due(without=())
        now = time.time()
        assert rooms.outbox.failed(delivery, "HTTP 500")
        [(due,)] = rooms.database.rows("SELECT due FROM deliveries WHERE id=?", delivery.id)
        dues.append(due - now)
    assert min(dues) >= outbox.RESTS[0]
    assert max(dues) < outbox.RESTS[0] * 1.25 + 1
    assert len(set(dues)) > 1


def test_a_clock_that_was_set_back_delays_no_delivery_for_years(
    rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = rooms.endpoints.create("http://127.0.0.1:9/")
    years = time.time() + 3 * 365 * 24 * 3600
    with monkeypatch.context() as ahead:
        ahead.setattr(time, "time", lambda: years)
        tell(rooms, endpoint)
        [delivery] = rooms.outbox.due(without=())
        assert rooms.outbox.failed(delivery, "HTTP 500")
    assert [each.id for each in rooms.outbox.due(without=())] == [delivery.id]
    assert rooms.outbox.failed(delivery, "HTTP 503", rest=outbox.LONGEST_REST)
    assert not rooms.outbox.due(without=())  # the longest rest is no such thing


def test_old_deliveries_are_forgotten_and_their_jobs_are_not(
    rooms: Rooms, taker: Taker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftjobs.server.webhooks.telling.CLEANED", 0.02)
    endpoint = rooms.endpoints.create(taker.url, project="a")
    later = rooms.endpoints.create("http://127.0.0.1:9/", project="b")
    with sending(rooms):
        job = tell(rooms, endpoint)
        rooms.until((job.id, "delivered", 1))
        monkeypatch.setattr(outbox, "RESTS", (3600.0,))
        waiting = tell(rooms, later, project="b")
        rooms.until(*sorted([(job.id, "delivered", 1), (waiting.id, "waiting", 1)]))
        rooms.database.write("UPDATE deliveries SET created_at=?", time.time() - outbox.KEPT - 1)
        rooms.until((waiting.id, "waiting", 1))  # a server that runs for months forgets too
    assert rooms.outbox.jobs()[1] == {job.id, waiting.id}
