"""`/v1/files`: as the wire has them, whatever is sent."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftjobs.backends.fake import FakeBackend
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.config import Settings
from ftjobs.errors import ServiceError, UnsupportedError
from ftjobs.schema import Capabilities
from ftjobs.server.upkeep import clean
from tests.server.conftest import Serve, Served

from .data import create, created, error, finished, lines, nothing_left, send, sent


def test_a_file_comes_back_as_it_was(served: Served) -> None:
    answer = send(served.http).json()
    assert answer["object"] == "file"
    assert (answer["filename"], answer["bytes"]) == ("train.jsonl", len(lines()))
    assert (answer["purpose"], answer["status"]) == ("fine-tune", "processed")
    assert served.http.get(f"/files/{answer['id']}").json() == answer
    content = served.http.get(f"/files/{answer['id']}/content")
    assert content.content == lines()
    assert content.headers["content-type"] == "application/octet-stream"
    assert content.headers["content-disposition"] == "attachment"
    nothing_left(served)


def test_what_there_is_not_to_say_of_a_file_is_left_out(served: Served) -> None:
    file_id = sent(served.http)
    for answer in (served.http.get(f"/files/{file_id}").json(),
                   served.http.get("/files").json()["data"][0]):  # fmt: skip
        assert not {"expires_at", "status_details"} & answer.keys()


NAMES = [
    "../../etc/passwd", "/etc/passwd", "..", "C\\x.jsonl", "名前.jsonl", "עברית.jsonl",
    "\u202egpj.exe", "a b.jsonl", "a;b.jsonl", "%2e%2e%2f", "x" * 1024, "-rf", "CON", " ",
]  # fmt: skip


def test_any_name_is_a_label(served: Served, tmp_path: Path) -> None:
    for name in NAMES:
        file_id = sent(served.http, name=name)
        assert served.http.get(f"/files/{file_id}").json()["filename"] == name
    nothing_left(served)
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    expected = {"home", "home/incoming", "home/audit.log"}
    assert {path for path in found if not path.startswith("home/server.db")} <= expected


def test_a_name_that_cannot_be_one_is_refused(served: Served) -> None:
    for name in (b"", b"a\0b", b"a\x1b[2Jb", b"x" * 10_240):
        body = (
            b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="' + name + b'"\r\n\r\n'
            b"x\r\n--b--\r\n"
        )
        assert _post(served, body).status_code == 400, name
    assert served.http.get("/files").json()["data"] == []
    nothing_left(served)


def _post(served: Served, body: bytes) -> httpx2.Response:
    kind = {"content-type": "multipart/form-data; boundary=b"}
    return served.http.post("/files", content=body, headers=kind)


def test_purposes_are_those_of_the_wire(served: Served) -> None:
    for purpose in ("assistants", "batch", "fine-tune", "vision", "user_data", "evals"):
        sent(served.http, purpose=purpose)
    refused = send(served.http, purpose="fine-tune-results")
    assert refused.status_code == 400
    assert error(refused)["param"] == "purpose"


FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"expires_after[anchor]": "created_at"}, "expires_after.seconds"),
    ({"expires_after[anchor]": "now", "expires_after[seconds]": "3600"}, "expires_after.anchor"),
    ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "3599"},
     "expires_after.seconds"),
    ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "2592001"},
     "expires_after.seconds"),
    ({"expires_after": "soon"}, "expires_after"),
    ({"colour": "red"}, "colour"),
]  # fmt: skip


def test_a_field_that_cannot_be_used_is_named(served: Served) -> None:
    for fields, param in FIELDS:
        refused = send(served.http, **fields)
        assert refused.status_code == 400
        assert error(refused)["param"] == param


FORMS = [
    b"", b"--b--\r\n", b"nonsense", b"--b\r\n\r\nx\r\n--b--\r\n",
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx',
    b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n--b--\r\n',
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n--b\r\n'
    b'Content-Disposition: form-data; name="file"; filename="b"\r\n\r\nx\r\n--b--\r\n',
    b'--b\r\nContent-Disposition: form-data; name="other"; filename="a"\r\n\r\nx\r\n--b--\r\n',
    b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n' + b"x" * 5000
    + b"\r\n--b--\r\n",
    b"--b\r\n" + b"X-Header: " + b"x" * 100_000 + b"\r\n\r\nx\r\n--b--\r\n",
    b"".join(b'--b\r\nContent-Disposition: form-data; name="%d"\r\n\r\nx\r\n' % number
             for number in range(100)) + b"--b--\r\n",
]  # fmt: skip


def test_a_broken_form_is_refused(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    for body in (*FORMS, b"--b\r\nX[Y]: z\r\n\r\nx\r\n--b--\r\n"):
        answer = _post(served, body)
        assert answer.status_code == 400, (body[:100], answer.text)
    nothing_left(served)
    assert caplog.records == []  # what clients send fills no log


def test_what_is_no_form_is_refused(served: Served) -> None:
    for kind in ("application/json", "multipart/form-data", "text/plain; boundary=b", ""):
        answer = served.http.post("/files", content=b"{}", headers={"content-type": kind})
        assert answer.status_code == 415
    long = {"content-type": "multipart/form-data; boundary=" + "b" * 300}
    assert served.http.post("/files", content=b"x", headers=long).status_code == 400


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.binary(max_size=300), cuts=st.lists(st.integers(0, 600), max_size=8))
def test_bytes_stay_as_they_are_wherever_the_network_cuts(
    served: Served, data: bytes, cuts: list[int]
) -> None:
    head = (
        b'--xyz\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
        b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    )
    if b"\r\n--xyz" in b"\r\n" + data:
        return
    body = head + data + b"\r\n--xyz--\r\n"
    places = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    pieces = (body[a:b] for a, b in pairwise(places))
    kind = {"content-type": "multipart/form-data; boundary=xyz"}
    file_id = served.http.post("/files", content=pieces, headers=kind).json()["id"]
    assert served.http.get(f"/files/{file_id}/content").content == data


# --- lists ---------------------------------------------------------------------------------------


def test_lists_have_pages_in_both_orders(served: Served) -> None:
    ids = [sent(served.http, name=f"{number}.jsonl") for number in range(5)]
    other = sent(served.http, purpose="user_data")
    for order, wanted in (("desc", ids[::-1]), ("asc", ids)):
        found: list[str] = []
        query = {"limit": "2", "order": order, "purpose": "fine-tune"}
        while True:
            page = served.http.get("/files", params=query).json()
            found += [file["id"] for file in page["data"]]
            assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], found[-1])
            if not page["has_more"]:
                break
            query["after"] = page["last_id"]
        assert found == wanted
    assert [f["id"] for f in served.http.get("/files").json()["data"]] == [other, *ids[::-1]]
    empty = served.http.get("/files", params={"purpose": "vision"}).json()
    assert empty == {"object": "list", "data": [], "first_id": "", "last_id": "", "has_more": False}


@pytest.mark.parametrize(
    "query", [{"limit": "0"}, {"limit": "10001"}, {"limit": "x"}, {"order": "up"},
              {"after": "file-none"}]
)  # fmt: skip
def test_a_list_cannot_be_asked_for_so(served: Served, query: dict[str, str]) -> None:
    refused = served.http.get("/files", params=query)
    assert refused.status_code == 400
    assert error(refused)["param"] == next(iter(query))


def test_a_file_that_is_none(served: Served) -> None:
    for answer in (
        served.http.get("/files/file-none"),
        served.http.get("/files/file-none/content"),
        served.http.delete("/files/file-none"),
    ):
        assert answer.status_code == 404
        assert error(answer)["message"] == "No such File object: file-none"


# --- the end of files ----------------------------------------------------------------------------


def test_a_deleted_file_is_gone(served: Served) -> None:
    file_id = sent(served.http)
    answer = served.http.delete(f"/files/{file_id}")
    assert answer.json() == {"id": file_id, "object": "file", "deleted": True}
    assert served.http.get(f"/files/{file_id}").status_code == 404
    assert served.http.delete(f"/files/{file_id}").status_code == 404


def test_a_file_stays_while_a_job_needs_it(served: Served) -> None:
    job_id = created(served.http, training_file=(file_id := sent(served.http)))
    refused = served.http.delete(f"/files/{file_id}")
    assert refused.status_code == 400
    assert job_id in error(refused)["message"]
    served.http.post(f"/fine_tuning/jobs/{job_id}/cancel")
    assert served.http.delete(f"/files/{file_id}").status_code == 200


def test_expired_files_vanish_unless_a_job_needs_them(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields: dict[str, Any] = {
        "expires_after[anchor]": "created_at", "expires_after[seconds]": "3600",
    }  # fmt: skip
    short, needed = (sent(served.http, name=name, **fields) for name in ("a", "b"))
    long = sent(served.http, name="c")
    file = served.http.get(f"/files/{short}").json()
    assert file["expires_at"] == file["created_at"] + 3600
    job_id = created(served.http, training_file=needed)
    later = time.time() + 3601
    monkeypatch.setattr(time, "time", lambda: later)
    assert served.http.get(f"/files/{short}").status_code == 404
    assert served.http.get(f"/files/{short}/content").status_code == 404
    assert create(served.http, training_file=short).status_code == 400
    assert {f["id"] for f in served.http.get("/files").json()["data"]} == {needed, long}
    clean(served.desk.rooms)
    there = {file.id for file in served.desk.backend.files()}
    assert short not in there
    assert {needed, long} <= there
    served.http.post(f"/fine_tuning/jobs/{job_id}/cancel")
    clean(served.desk.rooms)
    assert needed not in {file.id for file in served.desk.backend.files()}


class Stubborn(FakeBackend):
    """Does not delete its first file."""

    def delete_file(self, file_id: str) -> None:
        if file_id == "file-fake000001":
            raise ServiceError("broken")
        super().delete_file(file_id)


class Keeping(FakeBackend):
    """Deletes no file."""

    def delete_file(self, file_id: str) -> None:
        raise UnsupportedError(f"{file_id} cannot be deleted")


def test_an_expired_file_that_cannot_be_deleted_keeps_no_other(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with serve(Stubborn()) as served:
        ids = [sent(served.http, name=name, purpose="batch") for name in ("a", "b", "c")]
        later = time.time() + 31 * 24 * 3600
        monkeypatch.setattr(time, "time", lambda: later)
        with caplog.at_level(logging.WARNING, "ftjobs.server"):
            clean(served.desk.rooms)
        assert [file.id for file in served.desk.backend.files()] == ids[:1]
        assert "expired files that cannot be deleted: 1: broken" in caplog.text


def test_an_expired_file_of_a_service_that_keeps_all_costs_no_quota(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeps = Capabilities(delete_files=False)
    with serve(Keeping(capabilities=keeps), quota_bytes=len(lines())) as served:
        sent(served.http, purpose="batch")
        later = time.time() + 31 * 24 * 3600
        monkeypatch.setattr(time, "time", lambda: later)
        clean(served.desk.rooms)
        sent(served.http, name="b")


def test_a_file_that_is_sent_again_while_it_expires_stays(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Settings(home=tmp_path / "store", cache=tmp_path / "cache")
    with serve(LocalBackend(place)) as served:
        file_id = sent(served.http, purpose="batch")
        owners, later = served.desk.rooms.owners, time.time() + 31 * 24 * 3600
        monkeypatch.setattr(time, "time", lambda: later)
        expired = owners.expired()
        assert sent(served.http, purpose="batch") == file_id
        monkeypatch.setattr(owners, "expired", lambda: expired)  # a look before it was sent again
        clean(served.desk.rooms)
        assert served.http.get(f"/files/{file_id}/content").content == lines()


def test_files_for_batches_live_a_month(served: Served) -> None:
    file = send(served.http, purpose="batch").json()
    assert file["expires_at"] == file["created_at"] + 30 * 24 * 3600


# --- size and quota ------------------------------------------------------------------------------


def test_a_file_that_is_too_large_leaves_nothing(serve: Serve) -> None:
    backend = FakeBackend(capabilities=Capabilities(max_file_bytes=50))
    with serve(backend, max_file_bytes=100) as served:
        assert sent(served.http, b"x" * 50)
        for size in (51, 101, 300_000):
            refused = send(served.http, b"x" * size)
            assert refused.status_code == 413, size
        assert len(list(backend.files())) == 1
        nothing_left(served)


def test_a_project_has_a_quota_which_deleting_frees(serve: Serve) -> None:
    with serve(quota_bytes=100) as served:
        first = sent(served.http, b"x" * 60, name="a")
        refused = send(served.http, b"y" * 41, name="b")
        assert (refused.status_code, error(refused)["code"]) == (413, "quota_exceeded")
        nothing_left(served)
        assert sent(served.http, b"y" * 40, name="b")
        served.http.delete(f"/files/{first}")
        assert sent(served.http, b"z" * 60, name="c")


def test_a_lost_answer_is_given_again_where_the_quota_is_full(serve: Serve) -> None:
    key = {"idempotency-key": "k"}
    with serve(quota_bytes=100) as served:
        first = send(served.http, b"x" * 60, headers=key)
        again = send(served.http, b"x" * 60, headers=key)
        assert (again.status_code, again.json()) == (200, first.json())
        refused = send(served.http, b"y" * 60, headers=key)
        assert error(refused)["code"] == "idempotency_key_reused"
        assert send(served.http, b"y" * 60, headers={"idempotency-key": "l"}).status_code == 413
        nothing_left(served)


def test_a_key_whose_answer_was_never_kept_is_no_way_around_the_quota(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row without an answer is left where nobody knows whether the file was taken."""
    key = {"idempotency-key": "k"}

    class Fails(FakeBackend):
        def upload(self, *_: Any, **__: Any) -> Any:
            raise ServiceError("no answer")

    with serve(Fails(), quota_bytes=100) as served:
        assert send(served.http, b"x" * 60, headers=key).status_code == 502
        monkeypatch.setattr(Fails, "upload", FakeBackend.upload)
        assert sent(served.http, b"y" * 60)
        refused = send(served.http, b"x" * 60, headers=key)
        assert (refused.status_code, error(refused)["code"]) == (413, "quota_exceeded")


def test_files_that_come_at_once_do_not_exceed_the_quota(serve: Serve) -> None:
    with serve(quota_bytes=100_000, uploads=64) as served:
        together = threading.Barrier(12)
        statuses: list[int] = []

        def post(number: int) -> None:
            with httpx2.Client(base_url=served.url, timeout=30, trust_env=False) as http:
                together.wait()
                statuses.append(send(http, bytes([number]) * 30_000, name=str(number)).status_code)

        threads = [threading.Thread(target=post, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(statuses) == {200, 413}
        assert 1 <= statuses.count(200) <= 3
        assert sum(file.bytes for file in served.desk.backend.files()) <= 100_000
        nothing_left(served)


def test_a_client_that_goes_away_leaves_nothing(served: Served) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        yield b"x" * 2_000_000
        raise ConnectionAbortedError

    kind = {"content-type": "multipart/form-data; boundary=b"}
    with pytest.raises(ConnectionAbortedError):
        served.http.post("/files", content=pieces(), headers=kind)
    nothing_left(served)
    assert list(served.desk.backend.files()) == []


def test_result_files_are_files(served: Served) -> None:
    job = finished(served.http, created(served.http))
    file_id = job["result_files"][0]
    assert served.http.get(f"/files/{file_id}").json()["purpose"] == "fine-tune-results"
    text = served.http.get(f"/files/{file_id}/content").text
    assert text.startswith("step,train_loss")
