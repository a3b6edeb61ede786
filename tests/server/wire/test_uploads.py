"""`/v1/uploads`: files in parts, which survive whatever ends the server."""

from __future__ import annotations

import hashlib
import itertools
import threading
import time
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftjobs.errors import StoreError
from ftjobs.server.upkeep import clean
from tests.server.conftest import Serve, Served

from .data import error, lines, nothing_left

_serial = itertools.count()


def begin(http: httpx2.Client, size: int, **fields: Any) -> httpx2.Response:
    body = {"filename": f"{next(_serial)}.jsonl", "purpose": "fine-tune", "bytes": size}
    return http.post("/uploads", json={**body, "mime_type": "text/jsonl", **fields})


def began(http: httpx2.Client, size: int, **fields: Any) -> str:
    answer = begin(http, size, **fields)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def add(
    http: httpx2.Client, upload_id: str, data: bytes, key: str | None = None
) -> httpx2.Response:
    headers = {"idempotency-key": key} if key else {}
    return http.post(f"/uploads/{upload_id}/parts", files={"data": ("x", data)}, headers=headers)


def complete(http: httpx2.Client, upload_id: str, parts: list[str], **body: Any) -> httpx2.Response:
    return http.post(f"/uploads/{upload_id}/complete", json={"part_ids": parts, **body})


def test_parts_become_a_file_in_the_order_that_is_asked_for(served: Served) -> None:
    data = lines()
    upload = begin(served.http, len(data), filename="big.jsonl").json()
    assert upload["status"] == "pending"
    assert upload["expires_at"] == upload["created_at"] + 3600
    assert upload["file"] is None
    late = add(served.http, upload["id"], data[100:]).json()
    early = add(served.http, upload["id"], data[:100]).json()
    assert (early["object"], early["upload_id"]) == ("upload.part", upload["id"])
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    parts = [early["id"], late["id"]]
    done = complete(served.http, upload["id"], parts, md5=md5).json()
    assert (done["status"], done["file"]["filename"]) == ("completed", "big.jsonl")
    file_id = done["file"]["id"]
    assert served.http.get(f"/files/{file_id}/content").content == data
    assert served.http.get(f"/files/{file_id}").json() == done["file"]
    assert complete(served.http, upload["id"], parts, md5=md5).json() == done  # a lost answer
    assert complete(served.http, upload["id"], parts[::-1]).status_code == 400
    assert add(served.http, upload["id"], b"x").status_code == 400
    nothing_left(served)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.binary(min_size=1, max_size=200), cuts=st.sets(st.integers(1, 199), max_size=5),
       seed=st.randoms())  # fmt: skip
def test_parts_in_any_order_give_the_same_bytes(
    served: Served, data: bytes, cuts: set[int], seed: Any
) -> None:
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [(a, data[a:b]) for a, b in itertools.pairwise(places)]
    upload_id = began(served.http, len(data))
    ids: dict[int, str] = {}
    for place, piece in seed.sample(pieces, len(pieces)):
        ids[place] = add(served.http, upload_id, piece).json()["id"]
    done = complete(served.http, upload_id, [ids[place] for place in sorted(ids)]).json()
    assert served.http.get(f"/files/{done['file']['id']}/content").content == data


def test_what_cannot_be_completed_is_refused_and_loses_nothing(served: Served) -> None:
    upload_id = began(served.http, 6)
    abc, defg = (add(served.http, upload_id, part).json()["id"] for part in (b"abc", b"def"))
    for parts, fields, param in (
        ([abc], {}, "part_ids"),
        ([abc, abc], {}, "part_ids"),
        ([abc, defg, "part_none"], {}, "part_ids"),
        ([], {}, "part_ids"),
        ([abc, defg], {"md5": "0" * 32}, "md5"),
        ([abc, defg], {"colour": 1}, "colour"),
    ):
        refused = complete(served.http, upload_id, parts, **fields)
        assert refused.status_code == 400, parts
        assert error(refused)["param"] == param
    other = began(served.http, 3)
    assert complete(served.http, other, [abc]).status_code == 400
    assert complete(served.http, upload_id, [abc, defg]).status_code == 200


def test_an_upload_takes_what_was_announced(served: Served) -> None:
    for size in (0, -1, 8 * 2**30 + 1, "many"):
        assert begin(served.http, size).status_code in (400, 413)  # type: ignore[arg-type]
    for fields in ({"purpose": "else"}, {"filename": ""}, {"filename": "a\0b"}, {"mime_type": 1}):
        refused = begin(served.http, 10, **fields)
        assert refused.status_code == 400
        assert error(refused)["param"] == next(iter(fields))
    upload_id = began(served.http, 10)
    assert add(served.http, upload_id, b"").status_code == 400
    assert add(served.http, upload_id, b"x" * 11).status_code == 400
    # A part may come twice, after a lost answer; endlessly it may not.
    statuses = [add(served.http, upload_id, b"x" * 5).status_code for _ in range(5)]
    assert statuses == [200] * 4 + [400]
    nothing_left(served, parts=4)


def test_a_cancelled_upload_is_over(served: Served) -> None:
    upload_id = began(served.http, 3)
    part = add(served.http, upload_id, b"abc").json()["id"]
    answer = served.http.post(f"/uploads/{upload_id}/cancel").json()
    assert (answer["status"], answer["file"]) == ("cancelled", None)
    nothing_left(served)
    for late in (add(served.http, upload_id, b"abc"), complete(served.http, upload_id, [part])):
        assert late.status_code == 400
        assert error(late)["code"] == "upload_cancelled"


def test_an_upload_whose_cancelling_nobody_was_told_of_is_cancelled(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancel(upload_id: str) -> httpx2.Response:
        return served.http.post(f"/uploads/{upload_id}/cancel", headers={"idempotency-key": "k"})

    def full(*_: Any) -> None:
        raise StoreError("the disk is full")

    upload_id = began(served.http, 3)
    with monkeypatch.context() as disk:
        disk.setattr(served.desk.rooms.once, "_end", full)
        assert cancel(upload_id).status_code == 503
    again = cancel(upload_id)
    assert (again.status_code, again.json()["status"]) == (200, "cancelled")
    done = began(served.http, 3)
    part = add(served.http, done, b"abc").json()["id"]
    complete(served.http, done, [part])
    refused = served.http.post(f"/uploads/{done}/cancel")
    assert (refused.status_code, error(refused)["code"]) == (400, "upload_completed")


def test_a_part_that_cannot_be_noted_leaves_nothing(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise StoreError("the disk is full")

    upload_id = began(served.http, 3)
    with monkeypatch.context() as disk:
        disk.setattr(served.desk.rooms.uploads, "add_part", full)
        assert add(served.http, upload_id, b"abc").status_code == 503
    nothing_left(served)
    part = add(served.http, upload_id, b"abc").json()["id"]
    assert complete(served.http, upload_id, [part]).status_code == 200


def test_an_upload_that_is_none(served: Served) -> None:
    for answer in (
        add(served.http, "upload_none", b"abc"),
        complete(served.http, "upload_none", ["part_none"]),
        served.http.post("/uploads/upload_none/cancel"),
    ):
        assert answer.status_code == 404


def test_an_upload_waits_for_an_hour(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    upload_id = began(served.http, 3)
    part = add(served.http, upload_id, b"abc").json()["id"]
    later = time.time() + 3601
    monkeypatch.setattr(time, "time", lambda: later)
    refused = complete(served.http, upload_id, [part])
    assert (refused.status_code, error(refused)["code"]) == (400, "upload_expired")
    clean(served.desk.rooms)
    nothing_left(served)
    assert error(complete(served.http, upload_id, [part]))["code"] == "upload_expired"


def test_pending_uploads_are_a_part_of_the_quota(serve: Serve) -> None:
    with serve(quota_bytes=100) as served:
        first = began(served.http, 60)
        assert begin(served.http, 41).status_code == 413
        began(served.http, 40)
        served.http.post(f"/uploads/{first}/cancel")
        again = began(served.http, 60)
        part = add(served.http, again, b"x" * 60).json()["id"]
        assert complete(served.http, again, [part]).status_code == 200
        assert begin(served.http, 1).status_code == 413


def test_acknowledged_parts_survive_the_server(serve: Serve) -> None:
    with serve() as served:
        upload_id = began(served.http, 6)
        first = add(served.http, upload_id, b"abc").json()["id"]
        (served.desk.database.home / "incoming" / "tmp-of-a-dead-server").write_bytes(b"half")
    with serve() as served:
        nothing_left(served, parts=1)
        second = add(served.http, upload_id, b"def").json()["id"]
        done = complete(served.http, upload_id, [first, second]).json()
        assert served.http.get(f"/files/{done['file']['id']}/content").content == b"abcdef"


def test_an_upload_is_completed_once_however_many_ask(served: Served) -> None:
    upload_id = began(served.http, 3)
    part = add(served.http, upload_id, b"abc").json()["id"]
    answers: list[Any] = []

    def ask() -> None:
        with httpx2.Client(base_url=served.url, timeout=30, trust_env=False) as http:
            answers.append(complete(http, upload_id, [part]).json())

    threads = [threading.Thread(target=ask) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 10
    assert all(answer == answers[0] for answer in answers)
    assert len(list(served.desk.backend.files())) == 1


def test_a_part_sent_twice_under_one_key_is_one(served: Served) -> None:
    upload_id = began(served.http, 3)
    first = add(served.http, upload_id, b"abc", key="a").json()
    assert add(served.http, upload_id, b"abc", key="a").json() == first
    other = add(served.http, upload_id, b"abd", key="a")
    assert error(other)["code"] == "idempotency_key_reused"
    nothing_left(served, parts=1)


def test_a_part_has_no_other_field(served: Served) -> None:
    upload_id = began(served.http, 3)
    place = f"/uploads/{upload_id}/parts"
    for name in ("purpose", "\x8fÖ"):
        refused = served.http.post(place, files={"data": b"abc"}, data={name: "1"})
        assert (refused.status_code, error(refused)["code"]) == (
            400,
            "unrecognized_request_argument",
        )
    nothing_left(served)


def test_an_upload_becomes_a_file_of_its_own_project_whoever_completes_it(served: Served) -> None:
    one, boss = served.as_("one"), served.as_("boss", "admin")
    upload_id = began(one, 3)
    part = add(boss, upload_id, b"abc").json()["id"]
    done = complete(boss, upload_id, [part]).json()
    assert one.get(f"/files/{done['file']['id']}/content").content == b"abc"
    assert served.desk.rooms.owners.projects("file", done["file"]["id"]) == ["one"]
    assert complete(one, upload_id, [part]).json() == done


def test_another_projects_upload_is_none(served: Served) -> None:
    one, other = served.as_("one"), served.as_("other")
    upload_id = began(one, 3)
    part = add(one, upload_id, b"abc").json()["id"]
    assert add(other, upload_id, b"abc").status_code == 404
    assert complete(other, upload_id, [part]).status_code == 404
    assert other.post(f"/uploads/{upload_id}/cancel").status_code == 404
    theirs = began(other, 3)
    assert complete(other, theirs, [part]).status_code == 400
    assert complete(one, upload_id, [part]).status_code == 200
