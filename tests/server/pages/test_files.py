"""Pages of files, and reports of them."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ftjobs.backends.fake import FakeBackend
from ftjobs.reports.comparison import json as as_json
from ftjobs.server.pages import reports
from tests.reports.comparison.sample import comparison, many
from tests.server.conftest import Served
from tests.server.pages.conftest import HOSTILE, ROW, Site

ODD = '{"messages": [{"role": "user"\n'


@pytest.fixture
def train(backend: FakeBackend, tmp_path: Path) -> str:
    path = tmp_path / "train.jsonl"
    path.write_text(12 * f"{json.dumps(ROW)}\n" + ODD)
    return backend.upload(path).id


def upload(backend: FakeBackend, tmp_path: Path, text: str, name: str, purpose: str) -> str:
    path = tmp_path / "upload"
    path.write_text(text)
    return backend.upload(path, name=name, purpose=purpose).id


def test_files_are_listed_newest_first(site: Site, backend: FakeBackend, tmp_path: Path) -> None:
    ids = [upload(backend, tmp_path, str(n), f"{n}.jsonl", "fine-tune") for n in range(55)]
    first = site.get("/files").text
    assert first.index(ids[-1]) < first.index(ids[-2])
    assert ids[4] not in first
    assert ids[4] in site.get(f"/files?after={ids[5]}").text


def test_a_file_has_its_record(site: Site, train: str) -> None:
    words = site.words(f"/files/{train}")
    assert "train.jsonl" in words
    assert "Purpose fine-tune" in words
    assert "Check this file" in words
    assert "takes a while" not in words


def test_a_check_report_shows_every_issue_and_no_folder(site: Site, train: str) -> None:
    page = site.get(f"/files/{train}/check.html").text
    assert "train.jsonl:13:30" in page
    assert "FT204" in page
    assert "Tokens per example (estimate)" in page
    assert "/tmp" not in page
    assert "ftjobs-" not in page


def test_a_report_is_shut_away(site: Site, train: str) -> None:
    answer = site.get(f"/files/{train}/check.html")
    policy = answer.headers["content-security-policy"]
    assert policy == "sandbox allow-scripts allow-downloads; frame-ancestors 'self'"
    assert "Content-Security-Policy\" content=\"default-src 'none'" in answer.text
    frame = site.get(f"/files/{train}/report").text
    assert 'sandbox="allow-scripts allow-downloads"' in frame
    assert f'src="/files/{train}/check.html"' in frame


def test_a_report_is_made_once(site: Site, train: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = site.get(f"/files/{train}/check.html").text
    monkeypatch.setitem(reports._MAKERS, "check", None)
    assert site.get(f"/files/{train}/check.html").text == first


def test_few_wait_for_a_report_and_the_others_are_told_to_come_back(
    running: Served, site: Site, train: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits has a thread, of which there are some thirty for all requests."""
    go, making = threading.Event(), threading.Event()

    def make(*_: Any) -> str:
        making.set()
        assert go.wait(20)
        return "<p>made"

    monkeypatch.setitem(reports._MAKERS, "check", make)
    place = f"/files/{train}/check.html"
    statuses: list[int] = []

    def ask() -> None:
        with Site(running) as client:
            statuses.append(client.get(place).status_code)

    threads = [threading.Thread(target=ask) for _ in range(40)]
    for thread in threads:
        thread.start()
    try:
        assert making.wait(20)
        until = time.monotonic() + 20
        while len(statuses) < 40 - reports.PLACES:
            assert time.monotonic() < until
            time.sleep(0.02)
        assert site.get("/v1/models").status_code == 200
    finally:
        go.set()
        for thread in threads:
            thread.join()
    assert Counter(statuses) == {503: 40 - reports.PLACES, 200: reports.PLACES}
    assert site.get(place).text == "<p>made"


def test_a_large_file_says_that_it_takes_a_while_or_is_refused(
    site: Site, train: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftjobs.server.pages.files.LONG_WAIT", 10)
    assert "takes a while" in site.words(f"/files/{train}")
    monkeypatch.setitem(reports.LARGEST, "check", 10)
    assert "Check this file" not in site.words(f"/files/{train}")
    assert site.get(f"/files/{train}/check.html").status_code == 413


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", HOSTILE, "a\nb", ".", ""])
def test_a_name_is_never_a_path_and_never_html(
    site: Site, backend: FakeBackend, tmp_path: Path, name: str
) -> None:
    file_id = upload(backend, tmp_path, 12 * f"{json.dumps(ROW)}\n", name, "fine-tune")
    for place in ("/files", f"/files/{file_id}", f"/files/{file_id}/check.html"):
        answer = site.get(place)
        assert answer.status_code == 200
        assert "<script>document" not in answer.text
        assert "root:" not in answer.text


def test_a_comparison_that_was_uploaded_is_shown(
    site: Site, backend: FakeBackend, tmp_path: Path
) -> None:
    result = comparison()
    file_id = upload(backend, tmp_path, as_json(result), "report.json", "evals")
    assert f'href="/files/{file_id}/report"' in site.get("/comparisons").text
    assert f'href="/files/{file_id}"' in site.get("/files").text
    current = 'href="/comparisons" aria-current="true"'
    assert current in site.get(f"/files/{file_id}/report").text
    assert "Show the comparison" in site.words(f"/files/{file_id}")
    page = site.get(f"/files/{file_id}/comparison.html").text
    assert "? Inconclusive" in page
    assert "<script>document.title='owned'" not in page


@pytest.mark.parametrize("text", ["{}", "[" * 100_000, "no JSON", '{"object": "comparison"}', ""])
def test_what_is_no_comparison_says_so(
    site: Site, backend: FakeBackend, tmp_path: Path, text: str
) -> None:
    file_id = upload(backend, tmp_path, text, "report.json", "user_data")
    answer = site.get(f"/files/{file_id}/comparison.html")
    assert answer.status_code == 400
    assert "this is no comparison" in answer.text


def test_other_files_are_no_comparisons(site: Site, train: str) -> None:
    assert train not in site.get("/comparisons").text


def test_another_projects_file_is_not_there(
    running: Served, site: Site, backend: FakeBackend, tmp_path: Path
) -> None:
    file_id = upload(backend, tmp_path, as_json(many(2)), "report.json", "evals")
    running.desk.rooms.owners.add("file", file_id, "team")
    for project, status in (("team", 200), ("others", 404)):
        with running.as_(project, "read") as client:
            headers = {"authorization": client.headers["authorization"]}
        for place in ("", "/report", "/comparison.html"):
            assert site.get(f"/files/{file_id}{place}", headers=headers).status_code == status
        assert (file_id in site.get("/comparisons", headers=headers).text) == (status == 200)
