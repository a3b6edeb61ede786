"""What is another project's does not exist: every answer is that to an id which never was."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from ftjobs.backends.fake import FakeBackend
from tests.server.conftest import Serve, Served
from tests.server.safety.description import ask, operations
from tests.server.wire.data import create, created, finished, lines, sent

NEVER = "never-there"


@dataclass
class Estate:
    """What project a has, for project b to look for.  `ids` are by the names of parameters."""

    served: Served
    a: httpx2.Client
    b: httpx2.Client
    ids: dict[str, str]
    job: dict[str, Any]
    part: str
    event: str
    checkpoint: str

    @property
    def root(self) -> str:
        return self.served.url.removesuffix("/v1")


@pytest.fixture
def estate(serve: Serve) -> Iterator[Estate]:
    with serve(FakeBackend(steps=3)) as served, served.as_("a") as a, served.as_("b") as b:
        job = finished(a, created(a, metadata={"team": "a"}))
        about = {"filename": "u", "purpose": "user_data", "bytes": 2, "mime_type": "text/plain"}
        upload = a.post("/uploads", json=about).json()["id"]
        part = a.post(f"/uploads/{upload}/parts", files={"data": ("p", b"ab")}).json()["id"]
        events = a.get(f"/fine_tuning/jobs/{job['id']}/events").json()["data"]
        checkpoints = a.get(f"/fine_tuning/jobs/{job['id']}/checkpoints").json()["data"]
        ids = {"file_id": job["training_file"], "job_id": job["id"], "upload_id": upload,
               "model": job["fine_tuned_model"]}  # fmt: skip
        yield Estate(served, a, b, ids, job, part, events[0]["id"],
                     checkpoints[0]["fine_tuned_model_checkpoint"])  # fmt: skip


def same(found: httpx2.Response, never: httpx2.Response, id_: str) -> None:
    """Both answers are one, but for the id that was asked for."""
    assert found.status_code == never.status_code
    assert found.text.replace(id_, "ID") == never.text.replace(NEVER, "ID")
    ours = {"x-request-id", "date", "content-length"}
    assert {k: v for k, v in found.headers.items() if k not in ours} == {
        k: v for k, v in never.headers.items() if k not in ours
    }


def test_every_route_with_an_id_answers_as_if_it_never_was(estate: Estate) -> None:
    tried = 0
    for operation in operations(estate.served):
        if not operation.ids:
            continue
        [name] = operation.ids
        for id_ in {estate.ids[name], *([estate.checkpoint] if name == "model" else [])}:
            body = {"json": {"part_ids": [estate.part]}} if "complete" in operation.path else {}
            found = ask(estate.b, estate.root, operation, id_, **body)
            same(found, ask(estate.b, estate.root, operation, NEVER, **body), id_)
            assert found.status_code == 404, operation
            assert found.json()["error"]["code"] or "No such" in found.text
            tried += 1
    assert tried > 14
    # All of it is as it was.
    assert estate.a.get(f"/files/{estate.ids['file_id']}").status_code == 200
    assert estate.a.get(f"/models/{estate.ids['model']}").status_code == 200
    part_ids = {"part_ids": [estate.part]}
    answer = estate.a.post(f"/uploads/{estate.ids['upload_id']}/complete", json=part_ids)
    assert answer.json()["status"] == "completed"


def test_no_list_tells_of_it(estate: Estate) -> None:
    secrets = {*estate.ids.values(), estate.part, estate.event, estate.checkpoint}
    for operation in operations(estate.served):
        if operation.method == "GET" and not operation.ids:
            answer = estate.b.get(estate.root + operation.path)
            assert answer.status_code == 200
            assert not [each for each in secrets if each in answer.text]
            if operation.is_list:
                id_ = estate.ids["file_id" if "files" in operation.path else "job_id"]
                url = estate.root + operation.path
                found = estate.b.get(url, params={"after": id_})
                same(found, estate.b.get(url, params={"after": NEVER}), id_)
                assert found.status_code == 400
    answer = estate.b.get("/fine_tuning/jobs", params={"metadata[team]": "a"})
    assert answer.json()["data"] == []


def test_an_event_of_another_job_is_no_place_to_go_on_from(estate: Estate) -> None:
    own = created(estate.b)
    for place, id_ in (("events", estate.event), ("checkpoints", estate.checkpoint)):
        url = f"/fine_tuning/jobs/{own}/{place}"
        found = estate.b.get(url, params={"after": id_})
        same(found, estate.b.get(url, params={"after": NEVER}), id_)


@pytest.mark.parametrize("field", ["training_file", "validation_file"])
def test_no_job_reads_its_files(estate: Estate, field: str) -> None:
    given = {"training_file": sent(estate.b, lines(salt=" of b")), field: estate.ids["file_id"]}
    never = {"training_file": given["training_file"], field: NEVER}
    found = create(estate.b, None, **given)
    same(found, create(estate.b, None, **never), estate.ids["file_id"])
    assert estate.b.get("/fine_tuning/jobs").json()["data"] == []


def test_no_job_starts_from_its_models(estate: Estate) -> None:
    file_id = sent(estate.b)
    for model in (estate.ids["model"], estate.checkpoint):
        found = create(estate.b, training_file=file_id, model=model)
        same(found, create(estate.b, training_file=file_id, model=NEVER), model)
        assert found.status_code == 400


@pytest.mark.parametrize("stream", [False, True])
def test_no_chat_asks_its_models(estate: Estate, stream: bool) -> None:
    for model in (estate.ids["model"], estate.checkpoint):
        for path, words in (
            ("/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}),
            ("/completions", {"prompt": "Hi"}),
        ):
            bodies = ({"model": name, "stream": stream, **words} for name in (model, NEVER))
            found, never = (estate.b.post(path, json=body) for body in bodies)
            same(found, never, model)
            assert found.status_code == 404
            assert estate.a.post(path, json={"model": model, **words}).status_code == 200


def test_its_parts_are_no_parts_of_ours(estate: Estate) -> None:
    about = {"filename": "u", "purpose": "user_data", "bytes": 2, "mime_type": "text/plain"}
    upload = estate.b.post("/uploads", json=about).json()["id"]
    url = f"/uploads/{upload}/complete"
    found, never = (estate.b.post(url, json={"part_ids": [each]}) for each in (estate.part, NEVER))
    same(found, never, estate.part)


def test_its_idempotency_keys_are_not_ours(estate: Estate) -> None:
    headers = {"idempotency-key": "one"}
    [first, second] = (
        create(http, headers, training_file=sent(http, salt)).json()["id"]
        for http, salt in ((estate.a, b"{}\n"), (estate.b, b"{ }\n"))
    )
    assert first != second
    for http, job_id in ((estate.a, first), (estate.b, second)):
        assert job_id in {job["id"] for job in http.get("/fine_tuning/jobs").json()["data"]}


PAGES = ["/jobs/{job_id}", "/jobs/{job_id}/events", "/live/jobs/{job_id}", "/files/{file_id}",
         "/files/{file_id}/report", "/files/{file_id}/comparison.html"]  # fmt: skip


def test_no_page_shows_it(estate: Estate) -> None:
    for page in PAGES:
        name = re.findall(r"{(\w+)", page)[0]
        id_ = estate.ids[name]
        found = estate.b.get(estate.root + page.format(**estate.ids))
        never = estate.b.get(estate.root + page.format(**{name: NEVER}))
        assert found.status_code == never.status_code == 404
        assert found.text.replace(id_, "ID") == never.text.replace(NEVER, "ID")
    for page in ("/", "/live/jobs", "/files", "/comparisons", "/playground"):
        text = estate.b.get(estate.root + page).text
        assert not [each for each in estate.ids.values() if each in text]
    token = re.findall(r'name="token" value="(\w+)"', estate.b.get(f"{estate.root}/").text)[0]
    for verb in ("cancel", "pause", "resume"):
        answers = [
            estate.b.post(f"{estate.root}/jobs/{id_}/{verb}", data={"token": token})
            for id_ in (estate.ids["job_id"], NEVER)
        ]
        assert [answer.status_code for answer in answers] == [404, 404]
    data = json.loads(estate.a.get(f"/fine_tuning/jobs/{estate.ids['job_id']}").text)
    assert data == estate.job
