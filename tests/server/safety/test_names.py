"""A client's word is a name, never a path: nothing outside of the home is read, written or told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from ftjobs.backends.local.backend import LocalBackend
from ftjobs.config import Settings
from tests import tiny
from tests.backends.local.conftest import stop_worker
from tests.server.conftest import Serve, Served
from tests.server.guard.raw import answer, connected, head
from tests.server.safety.description import operations
from tests.server.wire.data import create, send, sent

BASE = "smollm2-135m"
SECRET = "the-operators-own-words"


RAW = ("/static/../../secret.jsonl", "/v1/files/../../../secret.jsonl/content",
       "/static/%2e%2e/%2e%2e/keys.py", "/static/..%2f..%2fkeys.py", "/static//etc/passwd",
       "/v1/files/..%2f..%2fsecret.jsonl/content")  # fmt: skip


@pytest.fixture
def place(serve: Serve, tmp_path: Path) -> Iterator[Served]:
    """A server over this machine, beside which there is something that is nobody's business."""
    tiny.save_model(tmp_path / "private")
    (tmp_path / "secret.jsonl").write_text(SECRET)
    backend = LocalBackend(Settings(home=tmp_path / "home", cache=tmp_path / "cache"))
    try:
        with serve(backend, requests_per_minute=10**6) as served:
            yield served
    finally:
        backend.close()
        stop_worker(backend)


def words(folder: Path) -> list[str]:
    """Names that would be paths, were they taken for some."""
    home = folder / "home"
    climbs = ["../secret.jsonl", "../../secret.jsonl", "..", ".", "/", "~", "~root", "./x",
              "../home", "../private", "../server.db", "../ftjobs.db", "server.db"]  # fmt: skip
    outside = [str(folder / "secret.jsonl"), str(folder / "private"), f"file://{folder}/private",
               str(home / "server.db")]  # fmt: skip
    spelled = ["..%2fsecret.jsonl", "%2e%2e%2fsecret.jsonl", "..\\secret.jsonl", "a\0b",
               "..%252fsecret.jsonl", "....//secret.jsonl", "..;/secret.jsonl", "\u2025/x",
               "secret.jsonl\0.txt", "\n", "\r\nx: y", "x" * 5000, "é" * 200]  # fmt: skip
    others = ["\\\\evil\\share\\x", "//evil/share/x", "C:\\x", "c:/x", "con", "nul.jsonl",
              "http://127.0.0.1:1/x", "hf://evil/x", "$HOME", "`id`", "|id", ";id", "-rf", "*",
              "{{7*7}}", "<script>", "'; DROP TABLE files; --"]  # fmt: skip
    return [*climbs, *outside, *spelled, *others]


def tree(folder: Path) -> dict[str, bytes]:
    """All files beside the home."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and folder / "home" not in path.parents
    }


def clean(text: str, folder: Path) -> bool:
    return SECRET not in text and str(folder) not in text


def test_ids_are_no_paths(place: Served, tmp_path: Path) -> None:
    before = tree(tmp_path)
    with place.as_("a") as http:
        root = place.url.removesuffix("/v1")
        key = http.headers["authorization"]
        for operation in operations(place):
            for word in words(tmp_path) if operation.ids else ():
                for spelled in {quote(word, safe=""), quote(word), quote(quote(word, safe=""))}:
                    found = http.request(operation.method, root + operation.at(spelled))
                    told = found.text.replace(word, "").replace(spelled, "")
                    assert 400 <= found.status_code < 500 or found.json().get("data") is not None
                    assert clean(told, tmp_path), (operation, word)
        for path in RAW:
            with connected(place.url) as sock:
                sock.sendall(head("GET", path, authorization=key))
                status, _, body = answer(sock)
            assert status == 404
            assert clean(str(body), tmp_path)
    assert tree(tmp_path) == before


def test_names_in_bodies_are_no_paths(place: Served, tmp_path: Path) -> None:
    before = tree(tmp_path)
    with place.as_("a") as http:
        file_id = sent(http)
        for word in words(tmp_path):
            messages = [{"role": "user", "content": "Hi"}]
            upload = {"filename": word, "purpose": "user_data", "bytes": 1, "mime_type": word[:255]}
            answers = [
                http.post("/chat/completions", json={"model": word, "messages": messages}),
                http.post("/completions", json={"model": word, "prompt": "Hi"}),
                create(http, None, training_file=file_id, model=word),
                create(http, None, training_file=word, model="smollm2-135m"),
                create(
                    http, None, training_file=file_id, validation_file=word, model="smollm2-135m"
                ),
                http.post("/uploads", json=upload),
                http.post("/uploads/x/complete", json={"part_ids": [word[:100]]}),
            ]
            for found in answers[:-2]:
                assert found.status_code in (400, 404), (word, found.text)
            for found in answers:
                assert found.status_code < 500
                assert clean(found.text.replace(word, ""), tmp_path)
        assert http.get("/fine_tuning/jobs").json()["data"] == []
    assert tree(tmp_path) == before


def test_names_of_files_are_labels_that_lead_nowhere(place: Served, tmp_path: Path) -> None:
    before = tree(tmp_path)
    with place.as_("a") as http:
        for word in words(tmp_path):
            taken = send(http, b"{}", name=word)
            assert taken.status_code in (200, 400)
            if taken.status_code == 200:
                content = http.get(f"/files/{taken.json()['id']}/content")
                assert content.content == b"{}"
                assert content.headers["content-disposition"] == "attachment"
                assert "x" not in content.headers
        names = {each["id"] for each in http.get("/files").json()["data"]}
    on_disk = {path.name for path in (tmp_path / "home" / "files").iterdir()}
    assert names == on_disk
    assert tree(tmp_path) == before


def test_a_suffix_and_a_key_lead_nowhere(place: Served, tmp_path: Path) -> None:
    before = tree(tmp_path)
    with place.as_("a") as http:
        file_id = sent(http)
        for word in words(tmp_path):
            header = quote(word, safe="/\\.~*$;|`{}<>' ")[:200].strip()
            found = create(http, {"idempotency-key": header} if header else None,
                           training_file=file_id, model="no-such", suffix=word)  # fmt: skip
            assert found.status_code == 400
            assert clean(found.text.replace(word, ""), tmp_path)
    assert tree(tmp_path) == before
