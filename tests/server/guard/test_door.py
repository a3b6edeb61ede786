from __future__ import annotations

import json
import logging
import re
import threading
import time
from typing import Any

import httpx2
import pytest

from ftjobs.backends.fake import FakeBackend
from ftjobs.errors import FtjobsError, StoreError
from ftjobs.schema import Delta, Model
from tests.server.conftest import Serve, Served
from tests.server.guard.raw import answer, connected, head
from tests.server.wire.data import sent

ASKED = {"model": "fake-base", "messages": [{"role": "user", "content": "the-words"}]}


def root(served: Served, path: str, method: str = "GET", **given: Any) -> httpx2.Response:
    """A request to a path that is not below /v1."""
    return served.http.request(method, served.url.removesuffix("/v1") + path, **given)


def audited(served: Served) -> list[dict[str, Any]]:
    """The lines of audit.log.  A client has its answer a moment before the line is there."""
    path = served.desk.database.home / "audit.log"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines()]


def error_of(response: httpx2.Response) -> dict[str, Any]:
    error: dict[str, Any] = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return error


def test_every_answer_has_an_id_that_no_client_chose(served: Served) -> None:
    answers = [
        served.http.get("/models", headers={"x-request-id": "mine"}),
        served.http.get("/nothing"),
        served.http.get("/models", headers={"host": "evil.example"}),
        served.http.post("/models"),
    ]
    assert [each.status_code for each in answers] == [200, 404, 421, 405]
    ids = {each.headers["x-request-id"] for each in answers}
    assert len(ids) == 4
    assert all(re.fullmatch("req_[0-9a-f]{32}", each) for each in ids)
    for each in answers:
        assert each.headers["x-content-type-options"] == "nosniff"
        assert each.headers["cache-control"] == "no-store"
        assert "server" not in each.headers


def test_as_soon_as_there_is_a_key_every_request_needs_one(served: Served) -> None:
    assert served.http.get("/models").status_code == 200
    with served.as_("a", "read") as client:
        assert client.get("/models").status_code == 200
        key = client.headers["authorization"]
        for wrong in ("", "Bearer", "Bearer x", key[:-1], key + "x", "Basic eDp5", "Bearer ftj-ü"):
            refused = served.http.get("/models", headers={b"authorization": wrong.encode()})
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
            assert error_of(refused)["type"] == "authentication_error"
        assert served.http.get("/models").json()["error"]["code"] == "missing_api_key"
        served.desk.keys.revoke(served.desk.keys.all()[0].id)
        assert client.get("/models").status_code == 401  # at once
        assert served.http.get("/models").status_code == 401  # and it is not open again


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/login"])
def test_health_and_the_form_for_a_key_are_open(served: Served, path: str) -> None:
    served.as_("a").close()
    assert root(served, path).status_code == 200


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/metrics", "/v1/x", "/healthz/", "//"])
def test_nothing_else_is(served: Served, path: str) -> None:
    served.as_("a").close()
    assert root(served, path).status_code == 401


def test_a_proxy_before_a_server_without_keys_lets_nobody_in(served: Served) -> None:
    proxies = [{"x-forwarded-for": "203.0.113.9"}, {"forwarded": "for=203.0.113.9"}]
    for proxied in proxies:
        assert served.http.get("/models", headers=proxied).status_code == 401
    with served.as_("a") as client:
        for proxied in proxies:
            assert client.get("/models", headers=proxied).status_code == 200


def test_a_page_of_another_site_reaches_nothing(served: Served) -> None:
    foreign = {"origin": "http://evil.example", "content-type": "text/plain"}
    refused = served.http.post("/chat/completions", headers=foreign, content=json.dumps(ASKED))
    assert refused.status_code == 403
    assert error_of(refused)["code"] == "foreign_origin"
    assert "access-control-allow-origin" not in served.http.get("/models", headers=foreign).headers
    rebound = served.http.get("/models", headers={"host": "evil.example:8000"})
    assert rebound.status_code == 421
    own = {"origin": served.url.removesuffix("/v1")}
    assert served.http.post("/chat/completions", headers=own, json=ASKED).status_code == 200


def test_without_a_host_nobody_is_asked(served: Served) -> None:
    with connected(served.url) as sock:
        sock.sendall(b"GET /v1/models HTTP/1.0\r\n\r\n")
        status, _, body = answer(sock)
    assert (status, body["error"]["code"]) == (421, "unknown_host")


def test_heads_have_a_size(served: Served) -> None:
    many = {f"x-{number}": "1" for number in range(120)}
    large = {"x-large": "1" * 40_000}
    for headers in (many, large):
        refused = served.http.get("/models", headers=headers)
        assert refused.status_code in (400, 431), refused.text
        assert error_of(refused)["type"] == "invalid_request_error"


def test_what_is_no_http_is_refused_in_the_wires_shape(served: Served) -> None:
    with connected(served.url) as sock:
        sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
        status, _, body = answer(sock)
    assert (status, body["error"]["type"]) == (400, "invalid_request_error")


def test_what_clients_send_writes_no_lines(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    for request in (
        b"nonsense\r\n\r\n",
        head("GET", "/v1/models", host="other", connection="upgrade", upgrade="websocket"),
    ):
        with connected(served.url) as sock:
            sock.sendall(request)
            assert answer(sock)[0] in (400, 421)
    assert caplog.records == []


def test_too_many_requests_a_minute_get_429(serve: Serve) -> None:
    with serve(requests_per_minute=3) as served:
        first, second = served.as_("a"), served.as_("b")
        with first, second:
            assert [first.get("/models").status_code for _ in range(4)] == [200, 200, 200, 429]
            refused = first.get("/models")
            assert error_of(refused)["type"] == "rate_limit_error"
            assert 1 <= int(refused.headers["retry-after"]) <= 21
            assert second.get("/models").status_code == 200  # each key for itself
            assert root(served, "/healthz").status_code == 200
        codes = [served.http.get("/models").status_code for _ in range(5)]
        assert codes == [401, 401, 401, 429, 429]  # and whoever tries keys


def test_whoever_tries_keys_in_the_form_gets_429_too(serve: Serve) -> None:
    with serve(requests_per_minute=3) as served:
        served.as_("a").close()
        tries = [root(served, "/login", "POST", data={"key": "ftj-x"}) for _ in range(5)]
        assert [each.status_code for each in tries] == [403, 403, 403, 429, 429]
        assert root(served, "/login").status_code == 200  # the form costs nothing


class Broken(FakeBackend):
    """Fails in a way that nobody foresaw, with contents in its message."""

    def models(self) -> Any:
        yield Model(id="fake-base")
        if self.fail:
            raise ZeroDivisionError("-".join(("the", "words")))

    fail = False


def test_an_error_that_nobody_foresaw_leaks_nothing(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    backend = Broken()
    with serve(backend) as served, caplog.at_level(logging.DEBUG):
        backend.fail = True
        failed = served.http.get("/models")
        assert failed.status_code == 500
        assert "ZeroDivision" not in failed.text
        assert failed.headers["x-request-id"] in error_of(failed)["message"]
        assert served.http.get("/models/none").status_code == 500  # it lives
    said = caplog.text
    assert failed.headers["x-request-id"] in said
    assert "ZeroDivisionError" in said
    assert "test_door.py" in said
    assert "the-words" not in said


@pytest.mark.parametrize("error", [StoreError, FtjobsError])
def test_folders_of_this_machine_are_for_the_log(
    serve: Serve, caplog: pytest.LogCaptureFixture, error: type[FtjobsError]
) -> None:
    class Full(FakeBackend):
        def models(self) -> Any:
            raise error("/srv/home: no space left on device", hint="Free the disk.")

    with serve(Full()) as served, caplog.at_level(logging.ERROR):
        failed = served.http.get("/models")
    assert failed.status_code >= 500
    assert not re.search("srv|space|disk", failed.text)
    assert failed.headers["x-request-id"] in error_of(failed)["message"]
    assert f"{failed.headers['x-request-id']}: /srv/home: no space" in caplog.text


def test_a_store_that_fails_at_the_door_is_told_by_an_id_and_logged(
    served: Served, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Any) -> None:
        raise StoreError("/srv/home/server.db: disk I/O error")

    monkeypatch.setattr(type(served.desk.keys), "any", fail)
    for path in ("/v1/models", "/jobs"):
        failed = root(served, path)
        assert failed.status_code == 503
        assert failed.headers["x-request-id"] in failed.text
        assert "server.db" not in failed.text
        assert f"{failed.headers['x-request-id']}: /srv/home/server.db: disk" in caplog.text


def test_the_audit_says_who_asked_what_and_holds_no_contents(served: Served) -> None:
    with served.as_("team", "train") as client:
        client.get("/models/a-word-of-mine", params={"q": "a-query"})
        client.post("/chat/completions", json=ASKED)
        done = client.get("/models")
        client.get("/nothing-here")
        served.http.get("/models")
    text = (served.desk.database.home / "audit.log").read_text()
    assert not re.search("a-word-of-mine|a-query|the-words|nothing-here|ftj-", text)
    first, second, third, *rest = audited(served)
    assert (first["route"], first["status"]) == ("/v1/models/{model:path}", 404)
    assert (second["route"], second["method"]) == ("/v1/chat/completions", "POST")
    assert second["received"] > 0
    assert third.items() >= {
        "request_id": done.headers["x-request-id"], "project": "team", "status": 200,
        "key": served.desk.keys.all()[0].id, "sent": len(done.content), "address": "127.0.0.1",
        "route": "/v1/models",
    }.items()  # fmt: skip
    assert rest[0]["route"] == "other"
    assert [each["key"] for each in rest[1:]] == [""] * len(rest[1:])


def test_a_client_that_left_before_its_answer_is_499_in_the_audit(serve: Serve) -> None:
    """And in the metrics: it is no failure of the server's."""
    asked, go = threading.Event(), threading.Event()

    class Slow(FakeBackend):
        def stream(self, *_: Any, **__: Any) -> Any:
            asked.set()
            assert go.wait(20)
            yield Delta(finish_reason="stop")

    body = json.dumps(ASKED).encode()
    begun = head(
        "POST", "/v1/chat/completions", content_type="application/json", content_length=len(body)
    )
    with serve(Slow()) as served:
        with connected(served.url) as sock:
            sock.sendall(begun + body)
            assert asked.wait(20)
        with connected(served.url) as sock:
            sock.sendall(begun + body[:10])
        try:
            until = time.monotonic() + 20
            while len(lines := audited(served)) < 2:
                assert time.monotonic() < until
                time.sleep(0.02)
        finally:
            go.set()
        assert [each["status"] for each in lines] == [499, 499]
        assert 'status="499"} 2.0' in root(served, "/metrics").text


def test_metrics_count_by_template_for_admins(serve: Serve) -> None:
    with (
        serve(FakeBackend(answers={"the-words": "one two"})) as served,
        served.as_("a", "admin") as admin,
        served.as_("a") as other,
    ):
        admin.get("/models")
        for name in ("x", "y", "z"):
            admin.get(f"/models/{name}")
        admin.request("BREW", "/models")
        admin.post("/chat/completions", json=ASKED)
        admin.post("/chat/completions", json={**ASKED, "stream": True})
        url = served.url.removesuffix("/v1") + "/metrics"
        assert other.get(url).status_code == 403
        found = admin.get(url)
    assert found.headers["content-type"].startswith("text/plain; version=")
    series = dict(line.rsplit(" ", 1) for line in found.text.splitlines() if line[0] != "#")
    named = 'ftjobs_requests_total{method="GET",route="/v1/models/{model:path}",status="404"}'
    assert series[named] == "3.0"
    assert 'method="BREW"' not in found.text
    assert series['ftjobs_jobs{status="running"}'] == "0.0"
    assert series['ftjobs_tokens_total{kind="completion"}'] == "4.0"
    assert series["ftjobs_requests_under_way"] == "1.0"  # this one
    assert 'ftjobs_request_seconds_count{route="/v1/models"}' in series


def test_pages_are_shut_to_frames_and_foreign_scripts(served: Served) -> None:
    for path in ("/docs", "/login", "/"):
        found = root(served, path)
        assert found.headers["content-type"].startswith("text/html")
        assert "frame-ancestors 'none'" in found.headers["content-security-policy"]
        assert "unsafe-inline" not in found.headers["content-security-policy"]
        assert found.headers["referrer-policy"] in ("no-referrer", "same-origin")
        assert found.headers["x-content-type-options"] == "nosniff"


def test_every_answer_says_how_it_may_be_used(served: Served) -> None:
    """Whatever room it comes from: a page, an asset, a report, a file, an answer, a refusal."""
    file_id = sent(served.http, b"no dataset")
    digest = re.search(r"/static/app\.css\?v=\w+", root(served, "/login").text)
    assert digest
    for path, keeps in (
        ("/", "no-store"),
        ("/static/app.css", "no-cache"),
        (digest[0], "public, max-age=31536000, immutable"),
        (f"/files/{file_id}/check.html", "no-store"),
        ("/files/none/check.html", "no-store"),
        (f"/v1/files/{file_id}/content", "no-store"),
        ("/v1/files", "no-store"),
        ("/v1/chat/completions", "no-store"),
        ("/nothing", "no-store"),
    ):
        is_chat = "chat" in path
        found = root(served, path, "POST" if is_chat else "GET", json=ASKED if is_chat else None)
        assert found.headers["cache-control"] == keeps, path
        assert found.headers["x-content-type-options"] == "nosniff", path
        assert found.headers["cross-origin-resource-policy"] == "same-origin", path
        if path.endswith("check.html"):  # what others wrote: in a frame of ours, and nowhere else
            assert found.headers["x-frame-options"] == "SAMEORIGIN"
            assert found.headers["referrer-policy"] == "no-referrer"
            assert found.headers["content-security-policy"].startswith("sandbox")
        if path == "/":
            assert found.headers["x-frame-options"] == "DENY"
            assert found.headers["cross-origin-opener-policy"] == "same-origin"
            assert found.headers["referrer-policy"] == "same-origin"


def test_the_description_names_what_is_served_and_loads_nothing(served: Served) -> None:
    page = root(served, "/docs").text
    spec = root(served, "/openapi.json").json()
    assert "/v1/models/{model}" in page
    for name, kind in {
        "model": "string, required",
        "n": "integer",
        "stop": "string or array of string",
        "audio": "refused",
        "limit": "query, integer",
    }.items():
        assert f"<tr><td><code>{name}</code><td>{kind}<td>" in page
    assert "(<code>stream</code>)" in page
    assert "<script" not in page
    assert "http" not in page.replace("HTTP", "")
    assert spec["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    for path, operations in spec["paths"].items():
        for operation in operations.values():
            assert path.startswith("/v1/")
            assert "422" not in operation["responses"]
