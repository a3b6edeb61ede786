"""Idempotency-Key: one answer for one request, also in races and after crashes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ftjobs.errors import DeadlineError, InvalidRequestError, StoreError
from ftjobs.server.database import Database
from ftjobs.server.once import KEPT, WAITING, Once, digest_of
from ftjobs.server.refusals import Refusal
from tests.server.conftest import Served
from tests.server.wire.data import create, send, sent


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = Database(tmp_path / "home")
    yield found
    found.close()


@pytest.fixture
def once(database: Database) -> Once:
    return Once(database)


def counting(answer: Any = None) -> tuple[list[str], Callable[[str], dict[str, Any]]]:
    """What counts how often it is done, and with which tokens."""
    tokens: list[str] = []

    def act(token: str) -> dict[str, Any]:
        tokens.append(token)
        if isinstance(answer, Exception):
            raise answer
        return {"number": len(tokens)}

    return tokens, act


def test_a_request_is_carried_out_once(once: Once) -> None:
    done, act = counting()
    assert [once.run("p", "k", "d", act)["number"] for _ in range(3)] == [1, 1, 1]
    assert len(done) == 1
    assert once.run("q", "k", "d", act) == {"number": 2}  # another project's key
    assert once.run("p", "l", "d", act) == {"number": 3}
    assert once.run("p", None, "d", act) == {"number": 4}


def test_an_answer_that_is_known_is_given_though_the_disk_is_full(
    once: Once, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise StoreError("the disk is full")

    _, act = counting()
    once.run("p", "k", "d", act)
    monkeypatch.setattr(database, "write", full)
    with pytest.raises(StoreError):
        once.run("p", "l", "d", act)
    assert once.run("p", "k", "d", act) == {"number": 1}


def test_another_request_under_a_key_is_refused(once: Once) -> None:
    done, act = counting()
    once.run("p", "k", digest_of("a", {"x": 1, "y": 2}), act)
    once.run("p", "k", digest_of("a", {"y": 2, "x": 1}), act)
    for digest in (digest_of("b", {"x": 1, "y": 2}), digest_of("a", {"x": 1})):
        with pytest.raises(Refusal) as refused:
            once.run("p", "k", digest, act)
        assert (refused.value.status, refused.value.should_retry) == (400, False)
    assert len(done) == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "-internal", "a\nb", "a\0b"])
def test_a_key_that_cannot_be_one(once: Once, key: str) -> None:
    done, act = counting()
    with pytest.raises(Refusal, match="Idempotency-Key"):
        once.run("p", key, "d", act)
    assert done == []


def test_what_was_refused_may_be_sent_again(once: Once) -> None:
    _, refuse = counting(InvalidRequestError("no"))
    with pytest.raises(InvalidRequestError):
        once.run("p", "k", "d", refuse)
    _, act = counting()
    assert once.run("p", "k", "other", act) == {"number": 1}


@pytest.mark.parametrize(
    "error", [DeadlineError("late"), StoreError("disk"), RuntimeError("bug")], ids=repr
)
def test_what_may_have_been_done_is_looked_for(once: Once, error: Exception) -> None:
    tokens, fail = counting(error)
    with pytest.raises(type(error)):
        once.run("p", "k", "d", fail)
    done, act = counting()
    found = once.run("p", "k", "d", act, recover=lambda token: {"found": token})
    assert found == {"found": tokens[0]}
    assert done == []
    assert once.run("p", "k", "d", act) == found


def test_what_was_not_done_is_done(once: Once) -> None:
    tokens, fail = counting(DeadlineError("late"))
    with pytest.raises(DeadlineError):
        once.run("p", "k", "d", fail)
    done, act = counting()
    assert once.run("p", "k", "d", act, recover=lambda _: None) == {"number": 1}
    assert done == tokens  # the same token, by which a second look would find both


def test_what_surely_did_nothing_is_forgotten(once: Once, database: Database) -> None:
    _, fail = counting(DeadlineError("not connected", acted=False))
    with pytest.raises(DeadlineError):
        once.run("p", "k", "d", fail)
    assert database.rows("SELECT * FROM requests") == []


def test_answers_outlive_the_server_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, act = counting()
    for _ in range(2):
        database = Database(tmp_path / "home")
        Once(database).run("p", "k", "d", act)
        database.close()
    assert len(done) == 1
    database = Database(tmp_path / "home")
    once = Once(database)
    once.clean()
    assert once.run("p", "k", "d", act) == {"number": 1}
    import time

    later = time.time() + KEPT + 1
    monkeypatch.setattr(time, "time", lambda: later)
    once.clean()
    assert once.run("p", "k", "d", act) == {"number": 2}
    database.close()


def test_a_server_settles_what_another_has_left(once: Once, database: Database) -> None:
    for key in ("found", "nothing", None):
        _, fail = counting(RuntimeError("killed"))
        with pytest.raises(RuntimeError):
            once.run("p", key, f"jobs.create:{key}", fail, recover=lambda _: None)
    later = Once(database)
    asked: list[tuple[str, str]] = []

    def recover(project: str, action: str, token: str) -> dict[str, Any] | None:
        asked.append((project, action))
        row = database.rows("SELECT key FROM requests WHERE token=?", token)[0][0]
        return None if row == "nothing" else {"row": row}

    later.settle(recover)
    assert asked == [("p", "jobs.create")] * 3
    rows = database.rows("SELECT key, answer FROM requests")
    assert rows == [("found", '{"row": "found"}')]
    later.settle(recover)
    assert len(asked) == 3


def test_what_cannot_be_settled_stays(once: Once, database: Database) -> None:
    _, fail = counting(RuntimeError("killed"))
    with pytest.raises(RuntimeError):
        once.run("p", "k", "jobs.create:x", fail)

    def unreachable(*_: str) -> None:
        raise DeadlineError("the service does not answer")

    once.settle(unreachable)
    assert len(database.rows("SELECT * FROM requests WHERE answer IS NULL")) == 1


def test_what_is_under_way_is_left_alone(once: Once, database: Database) -> None:
    looks: list[str] = []

    def settle() -> dict[str, Any]:
        done = threading.Thread(target=once.settle, args=(lambda *_: looks.append("looked"),))
        done.start()
        done.join(5)
        assert not done.is_alive()  # it waits for nobody
        return {"done": True}

    assert once.run("p", "k", "d", lambda _: settle()) == {"done": True}
    assert once.run("p", None, "d", lambda _: settle(), recover=lambda _: None) == {"done": True}
    assert looks == []
    assert database.rows("SELECT key, answer FROM requests") == [("k", '{"done": true}')]


def test_what_was_done_without_a_key_is_no_failure_of_the_disk(
    once: Once, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that is told of a failure sends it again, and then it is done twice."""
    write, (done, act) = database.write, counting()

    def full(sql: str, *values: Any) -> int:
        if sql.startswith("DELETE"):
            raise StoreError("the disk is full")
        return write(sql, *values)

    monkeypatch.setattr(database, "write", full)
    assert once.run("p", None, "d", act, recover=lambda _: None) == {"number": 1}
    monkeypatch.undo()
    once.settle(lambda *found: {"found": found})
    assert database.rows("SELECT * FROM requests") == []
    assert len(done) == 1


def test_what_came_before_is_known(once: Once) -> None:
    _, act = counting()
    once.run("p", "k", "d", act)
    _, refuse = counting(InvalidRequestError("no"))
    with pytest.raises(InvalidRequestError):
        once.run("p", "l", "d", refuse)
    asked = [("p", "k"), ("p", "l"), ("q", "k")]
    assert [once.knows(*each) for each in asked] == [True, False, False]


def test_fifty_at_once_are_one(once: Once) -> None:
    full, together = threading.Event(), threading.Barrier(50)
    calls: list[int] = []
    answers: list[dict[str, Any]] = []
    refused: list[Refusal] = []

    def act(_token: str) -> dict[str, Any]:
        calls.append(1)
        assert full.wait(30)  # the others come while this is under way
        return {"number": len(calls)}

    def ask() -> None:
        together.wait()
        try:
            answers.append(once.run("p", "k", "d", act))
        except Refusal as error:  # each that waits keeps a thread of the server
            refused.append(error)
            if len(refused) == 49 - WAITING:
                full.set()

    _all(ask, 50)
    assert answers == [{"number": 1}] * (1 + WAITING)
    assert calls == [1]
    assert {(each.status, each.should_retry) for each in refused} == {(429, None)}
    assert all(each.retry_after for each in refused)
    assert once.run("p", "k", "d", act) == {"number": 1}


def _all(act: Callable[[], None], count: int) -> None:
    threads = [threading.Thread(target=act) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("what", ["jobs", "files"])
def test_fifty_posts_of_one_key_make_one(served: Served, what: str) -> None:
    together = threading.Barrier(50)
    key = {"idempotency-key": "the-one"}
    file_id = sent(served.http, b"{}\n" * 12)
    answers: list[httpx2.Response] = []

    def post() -> None:
        with httpx2.Client(base_url=served.url, timeout=60, trust_env=False) as http:
            together.wait()
            while True:
                answer = (
                    create(http, training_file=file_id, headers=key)
                    if what == "jobs"
                    else send(http, name="other", headers=key)
                )
                if answer.status_code != 429:  # the door lets so many files come at once
                    break
            answers.append(answer)

    _all(post, 50)
    assert [answer.status_code for answer in answers] == [200] * 50
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(list(served.desk.backend.jobs())) == (what == "jobs")
    assert len(list(served.desk.backend.files())) == 1 + (what == "files")
