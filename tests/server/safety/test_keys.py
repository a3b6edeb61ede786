"""Who has no key reaches nothing, on any route, and a key opens no more than its scope says."""

from __future__ import annotations

import hmac
import secrets
from typing import Any

import pytest

from tests.server.conftest import Served
from tests.server.guard.raw import answer, connected, head
from tests.server.safety.description import ask, operations

ASKING = {"/v1/chat/completions", "/v1/completions"}
"""Writes that need no more than the scope read."""
PAGES = ["/", "/jobs/x", "/jobs/x/events", "/live/jobs", "/live/jobs/x", "/files", "/files/x",
         "/files/x/report", "/files/x/a.html", "/comparisons", "/playground"]  # fmt: skip
HIDDEN = ["/docs", "/openapi.json", "/metrics", "/v1/embeddings", "/v1/responses/x", "/x", "/v1"]


def impostors(served: Served) -> list[str]:
    """Authorization headers that are nobody's."""
    key, text = served.desk.keys.create("a", "admin")
    revoked, old = served.desk.keys.create("a", "admin")
    served.desk.keys.revoke(revoked.id)
    return [
        "", "Bearer", "Bearer x", f"Basic {text}", text, f"Bearer {old}",
        f"Bearer ftj-{key.id}-{secrets.token_urlsafe(32)}", f"Bearer {text[:-1]}",
        f"Bearer {text}x", f"Bearer {text.upper()}", f"Bearer {text}\tx",
        f"Bearer ftj-{secrets.token_hex(6)}-{secrets.token_urlsafe(32)}",
        f"Bearer ftj-{key.id}-{'%' * 43}", "Bearer ftj-' OR 1=1 --",
    ]  # fmt: skip


def test_without_a_key_every_route_answers_401_and_nothing_else(served: Served) -> None:
    root = served.url.removesuffix("/v1")
    everything = operations(served)
    wrong = impostors(served)
    for operation in everything:
        ids = ["x"] * len(operation.ids)
        for header in wrong[:3] if operation.method == "GET" else wrong[:2]:
            headers = {"authorization": header} if header else {}
            refused = ask(served.http, root, operation, *ids, headers=headers)
            assert refused.status_code == 401, operation
            assert refused.json()["error"]["type"] == "authentication_error"
            assert refused.headers["www-authenticate"] == "Bearer"
    for header in wrong:
        headers = {"authorization": header} if header else {}
        assert served.http.get("/models", headers=headers).status_code == 401, header
    for path in HIDDEN:
        for method in ("GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "BREW"):
            assert served.http.request(method, root + path).status_code == 401, (method, path)


def test_wrong_keys_cannot_be_told_apart(served: Served) -> None:
    """Not one that is revoked from one that never was, nor a wrong secret from a wrong id."""
    told = {
        served.http.get("/models", headers={"authorization": header}).text
        for header in impostors(served)
        if header.startswith("Bearer ftj-")
    }
    assert len(told) == 1


def test_any_key_costs_one_comparison_of_hashes_in_constant_time(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [header.removeprefix("Bearer ") for header in impostors(served)]
    texts.append(served.desk.keys.create("a", "read")[1])
    compared: list[tuple[int, int]] = []

    def compare(kept: bytes, shown: bytes, real: Any = hmac.compare_digest) -> bool:
        compared.append((len(kept), len(shown)))
        return bool(real(kept, shown))

    monkeypatch.setattr(hmac, "compare_digest", compare)
    for text in texts:
        served.desk.keys.find(text)
    assert compared == [(32, 32)] * len(texts)


def test_without_a_key_pages_lead_to_the_form_for_one(served: Served) -> None:
    root = served.url.removesuffix("/v1")
    served.desk.keys.create("a", "read")
    for path in PAGES:
        found = served.http.get(root + path)
        if path.startswith("/live/"):
            assert (found.status_code, found.content) == (401, b"")
        elif path.endswith(".html"):  # in a frame, where no form is to be
            assert found.status_code == 401
            assert "this server wants an API key" in found.text
        else:
            assert found.status_code == 303, path
            assert found.headers["location"].startswith("/login")
    for path in ("/jobs/x/cancel", "/logout"):
        assert served.http.post(root + path).status_code == 401


SPELLINGS = ["/healthz/../v1/models", "/static/../v1/models", "/login/../", "//v1/models",
             "/static/%2e%2e/v1/models", "/V1/models", "/v1/models/", "/v1//models",
             "/static/..%2fv1%2fmodels"]  # fmt: skip


@pytest.mark.parametrize("path", SPELLINGS)
def test_no_other_spelling_of_a_path_is_open(served: Served, path: str) -> None:
    served.desk.keys.create("a", "read")
    with connected(served.url) as sock:
        sock.sendall(head("GET", path))
        status, _, body = answer(sock)
    assert status in (401, 404, 303)
    assert body is None or "data" not in body


def test_a_key_that_reads_cannot_write(served: Served) -> None:
    root = served.url.removesuffix("/v1")
    with served.as_("a", "read") as http:
        for operation in operations(served):
            ids = ["x"] * len(operation.ids)
            found = ask(http, root, operation, *ids)
            if operation.method == "GET" or operation.path in ASKING:
                assert found.status_code not in (401, 403), operation
            else:
                assert found.status_code == 403, operation
                assert found.json()["error"]["code"] == "insufficient_scope"
        for path in ("/jobs/x/cancel", "/jobs/x/pause", "/jobs/x/resume"):
            assert http.post(root + path).status_code == 403
        assert http.get(root + "/metrics").status_code == 403


def test_a_key_that_trains_does_not_administer(served: Served) -> None:
    with served.as_("a", "train") as http:
        assert http.get(served.url.removesuffix("/v1") + "/metrics").status_code == 403
