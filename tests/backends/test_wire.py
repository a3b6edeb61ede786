"""The wire backend against a loopback service that misbehaves."""

from __future__ import annotations

import inspect
import json
import logging
import pickle
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.backends.base import Permits
from ftjobs.backends.chat import deltas
from ftjobs.backends.fake import FakeBackend
from ftjobs.backends.opening import open_hosted
from ftjobs.backends.profiles import ANY_URL, PROFILES, Profile
from ftjobs.backends.retry import RetryPolicy
from ftjobs.backends.translation import ERRORS, _retry_after, refusal, translation
from ftjobs.backends.wire import WireBackend
from ftjobs.errors import (
    AuthError,
    BackendError,
    ConfigError,
    DeadlineError,
    InvalidRequestError,
    NotFoundError,
    QuotaError,
    RateLimitError,
    ServiceError,
    UnreachableError,
    UnsupportedError,
)
from ftjobs.schema import Capabilities, ChatMessage, Delta, Job, JobSpec, Sampling
from tests.service import KEY, Service, running

NAMES = st.sampled_from(
    ["choices", "delta", "content", "finish_reason", "index", "usage", "prompt_tokens", "x"]
)
LINE = json.dumps({"messages": [{"role": "user", "content": "Wie geht es?"}]}) + "\n"
PROMPT = [ChatMessage(role="user", content="hi", weight=1)]
JOBS = "/fine_tuning/jobs"


@dataclass
class World:
    """A service, a backend that talks to it, and the waits of its retries."""

    service: Service
    backend: WireBackend
    waits: list[float]
    dataset: Path

    def create(self, **settings: Any) -> Job:
        file = self.backend.upload(self.dataset)
        return self.backend.create(JobSpec(model="fake-base", training_file=file.id, **settings))

    def finish(self, job: Job) -> Job:
        while not job.ended:
            self.service.tick()
            job = self.backend.retrieve(job.id)
        return job


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    dataset = tmp_path / "train.jsonl"
    dataset.write_text(LINE * 10, encoding="utf-8")
    waits: list[float] = []
    policy = RetryPolicy(sleep=waits.append, now=lambda: sum(waits))
    with (
        running(FakeBackend(steps=4, answers={"hi": "one two three"})) as service,
        closing(
            WireBackend("test", ANY_URL.at(service.url), KEY, retry=policy, timeout=5)
        ) as backend,
    ):
        yield World(service, backend, waits, dataset)


# --- what is sent -------------------------------------------------------------------------------


def test_create_sends_what_the_wire_documents(world: World) -> None:
    file = world.backend.upload(world.dataset)
    world.backend.create(
        JobSpec(
            model="fake-base",
            training_file=file.id,
            validation_file=file.id,
            hyperparameters={"n_epochs": 2, "batch_size": "auto"},
            suffix="s",
            seed=0,
            metadata={"a": "b"},
        )
    )
    assert world.service.requests[-1].json == {
        "model": "fake-base",
        "training_file": file.id,
        "validation_file": file.id,
        "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}},
        "suffix": "s",
        "seed": 0,
        "metadata": {"a": "b"},
    }


def test_what_was_not_chosen_is_not_sent(world: World) -> None:
    job = world.create()
    assert set(world.service.requests[-1].json) == {"model", "training_file", "method"}
    assert job.suffix is None


@pytest.mark.parametrize("setting", ["lora_r", "learning_rate", "context_length"])
def test_settings_that_the_wire_lacks_are_refused_before_anything_is_sent(
    world: World, setting: str
) -> None:
    value = 8 if setting != "learning_rate" else 0.1
    spec = JobSpec(model="m", training_file="f", hyperparameters={setting: value})
    with pytest.raises(UnsupportedError, match=setting):
        world.backend.create(spec)
    assert world.service.requests == []


def test_pause_is_refused_before_anything_is_sent(world: World) -> None:
    plain_wire = Profile(base_url=world.service.url, capabilities=Capabilities())
    plain = WireBackend("plain", plain_wire, KEY)
    for verb in (plain.pause, plain.resume):
        with pytest.raises(UnsupportedError):
            verb("ftjob-1")
    assert world.service.requests == []


def test_a_chat_message_goes_without_its_weight(world: World) -> None:
    world.backend.complete("fake-base", PROMPT)
    body = world.service.requests[-1].json
    assert body == {"model": "fake-base", "messages": [{"role": "user", "content": "hi"}]}


def test_a_file_keeps_its_name_whatever_the_script(world: World, tmp_path: Path) -> None:
    path = tmp_path / "訓練 データ.jsonl"
    path.write_bytes(b"\x00\xff" * 200_000)
    file = world.backend.upload(path)
    assert (file.filename, file.bytes) == (path.name, 400_000)
    assert world.backend.content(file.id) == path.read_bytes()


# --- what is repeated, and what never -----------------------------------------------------------


def test_a_read_outlives_transient_errors(world: World) -> None:
    job = world.create()
    world.service.fault("GET", f"{JOBS}/{job.id}", status=503, times=2)
    world.service.fault("GET", f"{JOBS}/{job.id}", lost="before")
    world.service.fault("GET", f"{JOBS}/{job.id}", lost="after")
    world.service.fault("GET", f"{JOBS}/{job.id}", cut=20)
    assert world.backend.retrieve(job.id) == job
    assert len(world.waits) == 5


def test_retry_after_is_waited_for_exactly(world: World) -> None:
    world.service.fault("GET", "/models", status=429, headers={"Retry-After": "7"})
    world.service.fault("GET", "/models", status=503, headers={"retry-after-ms": "1500"})
    list(world.backend.models())
    assert world.waits == [7.0, 1.5]


def test_a_retry_after_beyond_the_limit_is_raised_at_once(world: World) -> None:
    world.service.fault("GET", "/models", status=429, headers={"Retry-After": "3600"})
    with pytest.raises(RateLimitError) as caught:
        list(world.backend.models())
    assert caught.value.retry_after == 3600
    assert world.waits == []


CREATE_FAULTS: list[tuple[dict[str, Any], type[BackendError]]] = [
    ({"status": 500}, ServiceError),
    ({"status": 503, "headers": {"Retry-After": "0"}}, ServiceError),
    ({"status": 429, "headers": {"Retry-After": "0", "x-should-retry": "true"}}, RateLimitError),
    ({"status": 409}, InvalidRequestError),
    ({"lost": "before"}, UnreachableError),
    ({"lost": "after"}, UnreachableError),
    ({"cut": 30}, UnreachableError),
    ({"body": b"<html>"}, ServiceError),
    ({"body": b"[]"}, ServiceError),
    ({"body": b"{}"}, ServiceError),
]


@pytest.mark.parametrize(("fault", "kind"), CREATE_FAULTS)
def test_create_is_sent_once_whatever_happens(
    world: World, fault: dict[str, Any], kind: type[BackendError]
) -> None:
    world.service.fault("POST", JOBS, **fault, times=9)
    with pytest.raises(kind):
        world.create()
    assert world.service.count("POST", JOBS) == 1
    assert world.waits == []


def test_a_lost_answer_to_cancel_is_no_failure(world: World) -> None:
    job = world.create()
    world.service.fault("POST", "/cancel", lost="after")
    assert world.backend.cancel(job.id).status == "cancelled"
    messages = [event.message for event in world.backend.events(job.id)]
    assert messages.count("Fine-tuning job cancelled") == 1


def test_a_lost_answer_to_delete_is_no_failure(world: World) -> None:
    file = world.backend.upload(world.dataset)
    world.service.fault("DELETE", f"/files/{file.id}", lost="after")
    world.backend.delete_file(file.id)
    with pytest.raises(NotFoundError):
        world.backend.delete_file(file.id)
    assert world.service.count("DELETE", f"/files/{file.id}") == 3


def test_an_answer_to_delete_may_be_empty(world: World) -> None:
    file = world.backend.upload(world.dataset)
    world.service.fault("DELETE", f"/files/{file.id}", status=204, body=b"", times=9)
    world.backend.delete_file(file.id)
    assert world.waits == []


def test_a_refused_cancel_of_a_job_that_is_not_found_says_what_was_refused(world: World) -> None:
    job = world.create()
    world.service.fault("POST", "/cancel", status=400)
    world.service.fault("GET", f"/{job.id}", status=404)
    with pytest.raises(InvalidRequestError, match="broken on purpose"):
        world.backend.cancel(job.id)


def test_a_cancel_that_is_under_way_is_no_failure(world: World) -> None:
    job = world.create()
    world.service.fault("POST", "/cancel", status=400)
    world.service.fault(
        "GET", f"{JOBS}/{job.id}", rewrite=lambda body: body | {"status": "cancel_requested"}
    )
    assert world.backend.cancel(job.id).status == "cancel_requested"


def test_no_connection_is_unreachable() -> None:
    with socket.socket() as held:  # bound but not listening: the port stays free and closed
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/v1"
        with (
            closing(
                WireBackend("gone", ANY_URL.at(url), KEY, retry=RetryPolicy(total=0))
            ) as backend,
            pytest.raises(UnreachableError, match=r"gone: .*refused"),
        ):
            list(backend.models())


def test_a_base_url_without_a_path_is_told_of_the_usual_one() -> None:
    told = refusal(404, {}, {"detail": "Not Found"}, "http://127.0.0.1:8000")
    assert "http://127.0.0.1:8000/v1" in told.hint
    for name in ("http://127.0.0.1:8000/v1", "openai"):
        assert refusal(404, {}, {"detail": "Not Found"}, name).hint == ""


ACTED: list[tuple[dict[str, Any], bool | None]] = [
    ({"status": 400}, False),
    ({"status": 401}, False),
    ({"status": 404}, False),
    ({"status": 409}, False),
    ({"status": 429}, False),
    ({"status": 303, "headers": {"location": "/v1/elsewhere"}}, None),
    ({"status": 307}, False),
    ({"status": 408}, None),
    ({"status": 500}, None),
    ({"status": 503, "headers": {"x-should-retry": "true"}}, None),
    ({"lost": "before"}, None),
    ({"lost": "after"}, None),
    ({"cut": 30}, None),
    ({"body": b"<html>"}, None),
    ({"body": b"{}"}, None),
]


@pytest.mark.parametrize(("fault", "acted"), ACTED)
def test_a_failed_create_says_whether_the_job_may_be_there(
    world: World, fault: dict[str, Any], acted: bool | None
) -> None:
    world.service.fault("POST", JOBS, **fault)
    with pytest.raises(BackendError) as caught:
        world.create()
    assert caught.value.acted is acted


@pytest.mark.parametrize("host", ["http://127.0.0.1:9", "http://no-such-host.invalid"])
def test_what_was_never_connected_was_not_acted_on(host: str) -> None:
    profile = ANY_URL.at(f"{host}/v1")
    with (
        closing(WireBackend("gone", profile, KEY)) as backend,
        pytest.raises(UnreachableError) as caught,
    ):
        backend.create(JobSpec(model="m", training_file="f"))
    assert caught.value.acted is False


def test_a_service_that_asks_for_no_repeat_gets_none(world: World) -> None:
    headers = {"x-should-retry": "false"}
    world.service.fault("GET", "/models", status=503, headers=headers, times=9)
    with pytest.raises(ServiceError):
        list(world.backend.models())
    assert world.service.count("GET", "/models") == 1


@pytest.mark.parametrize(
    "fault", [{"trickle": 0.2}, {"stall": 2.0}, {"trickle": 0.2, "status": 500}]
)
def test_a_slow_answer_ends_at_the_deadline(world: World, fault: dict[str, Any]) -> None:
    words = json.dumps({"error": {"message": "x" * 400}}).encode()
    fault = {**fault, "body": words} if "status" in fault else fault
    world.service.fault("GET", "/models", **fault)
    profile, once = ANY_URL.at(world.service.url), RetryPolicy(total=0)
    began = time.monotonic()
    with (
        closing(WireBackend("slow", profile, KEY, retry=once, timeout=9, deadline=0.5)) as slow,
        pytest.raises(DeadlineError) as caught,
    ):
        list(slow.models())
    assert time.monotonic() - began < 1.5
    assert caught.value.acted is None


def test_a_slow_download_ends_at_the_deadline(world: World, tmp_path: Path) -> None:
    file = world.backend.upload(world.dataset)
    world.service.fault("GET", "/content", trickle=0.2)
    profile, once = ANY_URL.at(world.service.url), RetryPolicy(total=0)
    began = time.monotonic()
    with (
        closing(WireBackend("slow", profile, KEY, retry=once, timeout=9, deadline=0.5)) as slow,
        (tmp_path / "copy").open("wb") as target,
        pytest.raises(DeadlineError),
    ):
        slow.download(file.id, target)
    assert time.monotonic() - began < 1.5


def test_an_address_that_redirects_is_told_to_be_corrected(world: World) -> None:
    headers = {"Location": "https://other.invalid/v1/fine_tuning/jobs"}
    world.service.fault("POST", JOBS, status=308, headers=headers)
    with pytest.raises(InvalidRequestError, match="broken on purpose") as caught:
        world.create()
    assert "base URL" in caught.value.hint
    assert "other.invalid" not in str(caught.value)


def test_silence_is_a_deadline(world: World) -> None:
    once = RetryPolicy(total=0)
    world.service.fault("GET", "/models", delay=2)
    began = time.monotonic()
    with (
        closing(
            WireBackend("slow", ANY_URL.at(world.service.url), KEY, retry=once, timeout=0.1)
        ) as backend,
        pytest.raises(DeadlineError),
    ):
        list(backend.models())
    assert time.monotonic() - began < 1.5


# --- errors -------------------------------------------------------------------------------------


def _words(code: str | None = None, type_: str = "x") -> bytes:
    words = {"message": "The service's words.", "type": type_, "code": code, "param": "model"}
    return json.dumps({"error": words}).encode()


STATUSES: list[tuple[int, bytes, type[BackendError]]] = [
    (400, _words(), InvalidRequestError),
    (400, _words("billing_hard_limit_reached"), QuotaError),
    (401, _words("invalid_api_key"), AuthError),
    (402, _words(), QuotaError),
    (403, _words("training_not_available"), AuthError),
    (404, _words("model_not_found"), NotFoundError),
    (405, _words(), InvalidRequestError),
    (409, _words(), InvalidRequestError),
    (413, _words(), InvalidRequestError),
    (418, _words(), InvalidRequestError),
    (422, _words(), InvalidRequestError),
    (429, _words("insufficient_quota"), QuotaError),
    (429, _words(None, "insufficient_quota"), QuotaError),
]


@pytest.mark.parametrize(("status", "body", "kind"), STATUSES)
def test_permanent_errors_are_tried_once_and_keep_the_services_words(
    world: World, status: int, body: bytes, kind: type[BackendError]
) -> None:
    world.service.fault("GET", "/models", status=status, body=body, times=9)
    with pytest.raises(kind, match=r"test: The service's words\.") as caught:
        list(world.backend.models())
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.param, error.request_id) == (status, "model", "req-1")
    said = json.loads(body)["error"]
    assert error.code == (said["code"] or said["type"])
    assert world.service.count("GET", "/models") == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [(408, DeadlineError), (429, RateLimitError), (500, ServiceError), (529, ServiceError)],
)
def test_transient_errors_are_raised_when_time_is_up(
    world: World, status: int, kind: type[BackendError]
) -> None:
    world.service.fault("GET", "/models", status=status, times=999)
    with pytest.raises(kind):
        list(world.backend.models())
    assert 3 <= len(world.waits) <= 600
    assert sum(world.waits) <= 60


@pytest.mark.parametrize("body", [b"<html>secret page</html>", b"", b"null", b'"x"', b"[1]"])
def test_a_gateways_page_is_not_quoted(world: World, body: bytes) -> None:
    world.service.fault("GET", "/files/x", status=404, body=body)
    with pytest.raises(NotFoundError, match="test: HTTP 404") as caught:
        world.backend.file("x")
    assert "secret" not in str(caught.value)


def test_every_error_of_the_libraries_has_a_place_in_the_table() -> None:
    theirs = {
        name
        for module in (openai, openai._exceptions)
        for name, each in list(vars(module).items())
        # Asking type() leaves the SDK's lazy parts asleep.
        if issubclass(type(each), type) and issubclass(each, Exception) and name[0] != "_"
    }
    ours = set(ERRORS)
    below = {"HTTPError", "InvalidURL", "StreamError", "TimeoutException"}
    python = {"JSONDecodeError", "UnicodeDecodeError", "ValueError"}
    assert ours - below - python == theirs
    http = [
        each
        for _, each in inspect.getmembers(httpx2, inspect.isclass)
        if issubclass(each, Exception)
    ]
    unplaced = {
        each.__name__ for each in http if not below & {cls.__name__ for cls in each.__mro__}
    }
    assert unplaced == {"CookieConflict"}  # raised only by code that reads a cookie jar


@pytest.mark.parametrize("odd", ["", ".", ".."])
def test_ids_that_are_no_path_are_never_sent(world: World, odd: str) -> None:
    for use in (world.backend.retrieve, world.backend.file, world.backend.delete_model):
        with pytest.raises(InvalidRequestError):
            use(odd)
    assert world.service.requests == []


@pytest.mark.parametrize("text", ["", "-3", "nan", "soon", "Fri, 99 Foo", "1e999", "\x00", "0"])
def test_an_odd_retry_after_is_harmless(text: str) -> None:
    waited = _retry_after({"retry-after": text})
    assert waited is None or waited >= 0


@given(st.text(max_size=40))
def test_no_retry_after_is_a_crash(text: str) -> None:
    for name in ("retry-after", "retry-after-ms"):
        waited = _retry_after({name: text})
        assert waited is None or waited >= 0


def test_a_retry_after_that_is_a_date_goes_by_the_services_clock() -> None:
    headers = {"retry-after": formatdate(1030, usegmt=True), "date": formatdate(1000, usegmt=True)}
    assert _retry_after(headers) == 30


def test_a_retry_after_may_be_a_date() -> None:
    assert _retry_after({"retry-after": formatdate(time.time() + 30, usegmt=True)}) == (
        pytest.approx(30, abs=2)
    )
    assert _retry_after({"retry-after": formatdate(0, usegmt=True)}) == 0


# --- secrets ------------------------------------------------------------------------------------


def test_a_key_that_a_service_quotes_is_not_passed_on(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = "sk-wrong-key-987654321"
    with (
        closing(WireBackend("test", ANY_URL.at(world.service.url), wrong)) as backend,
        pytest.raises(AuthError, match="Incorrect API key provided") as caught,
    ):
        list(backend.models())
    error = caught.value
    assert world.service.requests[-1].headers["authorization"] == f"Bearer {wrong}"
    for text in (str(error), repr(error), repr(backend), str(pickle.dumps(error)), caplog.text):
        assert wrong not in text
    assert error.__suppress_context__


@pytest.mark.parametrize("field", ["message", "code", "type", "param", "detail"])
def test_no_field_of_a_refusal_passes_a_key_on(field: str) -> None:
    said: dict[str, Any] = {"error": {field: f"wrong: {KEY}"}}
    told = refusal(400, {"x-request-id": KEY}, said, "test", KEY)
    in_a_stream = openai.APIError("no", httpx2.Request("GET", "http://h/"), body=said["error"])
    for error in (told, translation(in_a_stream, "test", KEY)):
        assert KEY not in str(pickle.dumps(error))


def test_a_key_that_is_no_secret_leaves_words_as_they_are() -> None:
    assert str(translation(ValueError("no box"), "local", "x")) == "local: no box"


@given(before=st.integers(470, 510))
def test_no_half_of_a_key_is_passed_on(before: int) -> None:
    request = httpx2.Request("GET", "http://h/")
    said = {"message": "x" * before + f" {KEY}"}
    answer = httpx2.Response(401, request=request)
    error = openai.AuthenticationError("no", response=answer, body=said)
    assert KEY[:4] not in str(translation(error, "test", KEY))


def test_openais_settings_go_to_openai_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {
        "OPENAI_API_KEY": "other-key",
        "OPENAI_ADMIN_KEY": "other-admin",
        "OPENAI_ORG_ID": "other-org",
        "OPENAI_PROJECT_ID": "other-project",
        "OPENAI_WEBHOOK_SECRET": "other-hook",
        "OPENAI_CUSTOM_HEADERS": "X-Inside: other-header\nAuthorization: other-auth\nother",
        "OPENAI_BASE_URL": "http://127.0.0.1:9/other",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    world.create()
    for request in world.service.requests:
        assert "other" not in str(request)
        assert request.headers["authorization"] == f"Bearer {KEY}"


# --- drift --------------------------------------------------------------------------------------


def test_new_words_and_fields_pass_through(world: World) -> None:
    job = world.create()
    new = {
        "status": "compressing",
        "error": {"code": None, "message": None},
        "result_files": None,
        "organization_id": None,
        "metadata": None,
        "method": "supervised",
        "carbon": {"kg": 3},
    }
    world.service.fault("GET", f"{JOBS}/{job.id}", rewrite=lambda body: body | new)
    seen = world.backend.retrieve(job.id)
    assert (seen.status, seen.ended, seen.error) == ("compressing", False, None)
    assert (seen.result_files, seen.metadata, seen.organization_id) == ((), {}, "")
    assert (seen.model_extra or {})["carbon"] == {"kg": 3}


def test_halves_of_characters_can_be_printed_and_kept(world: World) -> None:
    job = world.create()
    odd = {"status": "\ud83d", "extra": {"\udc00": ["\ud83d\ude00", "\ud83d"]}}
    world.service.fault("GET", f"{JOBS}/{job.id}", rewrite=lambda body: body | odd)
    seen = world.backend.retrieve(job.id)
    assert seen.status == "?"
    assert seen.model_extra is not None
    assert seen.model_extra["extra"] == {"?": ["\U0001f600", "?"]}
    world.service.fault("GET", "/models", status=400, body=b'{"error": {"message": "\\ud83d!"}}')
    with pytest.raises(InvalidRequestError, match=r"\?!"):
        list(world.backend.models())
    piece = {"choices": [{"index": 0, "delta": {"content": "\ud83d"}, "finish_reason": "stop"}]}
    world.service.fault("POST", "/chat/completions", body=f"data: {json.dumps(piece)}\n\n".encode())
    assert [delta.content for delta in world.backend.stream("fake-base", PROMPT)] == ["?", ""]


def test_settings_are_found_where_the_service_puts_them(world: World) -> None:
    job = world.create(suffix="here", hyperparameters={"n_epochs": 4})

    def move(body: dict[str, Any]) -> dict[str, Any]:
        return body | {"hyperparameters": None}

    world.service.fault("GET", f"{JOBS}/{job.id}", rewrite=move)
    seen = world.backend.retrieve(job.id)
    assert seen.hyperparameters["n_epochs"] == 4
    assert seen.suffix == "here"


def test_odd_events_and_checkpoints_pass_through(world: World) -> None:
    job = world.create()
    event = {"id": "e1", "created_at": 5, "type": "moderation_checks", "message": None, "data": []}
    snapshot = {"id": "c1", "fine_tuned_model_checkpoint": "ft:m:o::x:ckpt-step-88"}
    for path, row in (("/events", event), ("/checkpoints", snapshot)):
        page = json.dumps({"data": [row, row]}).encode()
        world.service.fault("GET", path, status=200, body=page, times=2)
    assert [e.type for e in world.backend.events(job.id)] == ["moderation_checks"]
    (checkpoint,) = world.backend.checkpoints(job.id)
    assert (checkpoint.step_number, checkpoint.fine_tuning_job_id) == (88, job.id)


@pytest.mark.parametrize("body", [b'{"data": [3]}', b'{"data": 1}', b'{"data": [{"x": 1}]}'])
def test_a_list_that_makes_no_sense_is_the_services_error(world: World, body: bytes) -> None:
    world.service.fault("GET", "/models", body=body)
    with pytest.raises(ServiceError, match="list"):
        list(world.backend.models())


def test_a_noun_that_makes_no_sense_names_the_field_but_not_the_value(world: World) -> None:
    job = world.create()
    world.service.fault(
        "GET", f"{JOBS}/{job.id}", rewrite=lambda body: body | {"created_at": "private"}
    )
    with pytest.raises(ServiceError, match="job whose created_at") as caught:
        world.backend.retrieve(job.id)
    assert "private" not in str(caught.value)


STRANGE = [
    b"",
    b"null",
    b"3",
    b'"x"',
    b"[]",
    b"{",
    b'{"id": "x"',
    b"\xff\xfe",
    b"9" * 5000,
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"id": null}',
    b'{"id": 3, "data": 4}',
    b'{"id": {}, "data": {}}',
    b'{"data": [null]}',
    b'{"data": [{"id": null}]}',
    b'{"data": [{"id": []}]}',
    b'{"data": [[]]}',
    b'{"data": [{"id": "x", "created_at": ' + b"9" * 4000 + b"}]}",
    b'{"choices": 3, "id": "x"}',
]


@pytest.mark.parametrize("body", [b"{}", b'{"message": "back soon"}'])
def test_what_is_no_list_is_not_an_empty_one(world: World, body: bytes) -> None:
    calls: list[tuple[str, str, Callable[[], Any]]] = [
        ("GET", JOBS, lambda: list(world.backend.jobs())),
        ("GET", "/files", lambda: list(world.backend.files())),
        ("POST", "/chat/completions", lambda: world.backend.complete("fake-base", PROMPT)),
    ]
    for method, path, call in calls:
        world.service.fault(method, path, body=body)
        with pytest.raises(ServiceError):
            call()
        call()


@pytest.mark.parametrize("body", [b'{"data": null}', b'{"object": "list"}'])
def test_an_empty_list_may_be_said_in_few_words(world: World, body: bytes) -> None:
    world.service.fault("GET", JOBS, body=body)
    assert (list(world.backend.jobs()), world.waits) == ([], [])


@pytest.mark.parametrize("body", STRANGE)
def test_no_answer_is_a_crash(world: World, body: bytes) -> None:
    backend = world.backend
    spec = JobSpec(model="m", training_file="f")
    calls: list[Callable[[], Any]] = [
        lambda: backend.file("x"),
        lambda: list(backend.files()),
        lambda: backend.create(spec),
        lambda: backend.retrieve("x"),
        lambda: backend.cancel("x"),
        lambda: list(backend.jobs()),
        lambda: backend.events("x"),
        lambda: backend.checkpoints("x"),
        lambda: list(backend.models()),
        lambda: backend.model("x"),
        lambda: backend.permissions("x"),
        lambda: backend.permit("x", ["p"]),
        lambda: backend.complete("m", PROMPT),
    ]
    for method in ("GET", "POST"):
        world.service.fault(method, ".*", body=body, status=200, times=10_000)
    for call in calls:
        with suppress(BackendError):  # some of these bodies are an empty list, or harmless
            call()
        world.waits.clear()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
        max_leaves=12,
    )
)
def test_no_json_is_a_crash_for_streams(chunk: Any) -> None:
    chunks = iter([chunk]) if isinstance(chunk, dict) else iter([{"choices": chunk}])
    with suppress(ServiceError):
        list(deltas(chunks, 1, "test"))


# --- lists --------------------------------------------------------------------------------------


@pytest.fixture
def long_job(world: World) -> Job:
    world.service.backend._steps = 250
    return world.finish(world.create())


def test_pages_are_walked_once_and_turned_round(world: World, long_job: Job) -> None:
    before = world.service.count("GET", "/events")
    events = world.backend.events(long_job.id)
    assert tuple(events) == tuple(world.service.backend.events(long_job.id))
    assert len(events) > 250
    assert world.service.count("GET", "/events") - before == 3


def test_news_cost_one_request(world: World, long_job: Job) -> None:
    events = world.service.backend.events(long_job.id)
    before = world.service.count("GET", "/events")
    assert tuple(world.backend.events(long_job.id, after=events[-3].id)) == tuple(events[-2:])
    assert list(world.backend.events(long_job.id, after=events[-1].id)) == []
    assert world.service.count("GET", "/events") - before == 2


def test_shuffled_and_repeated_events_come_once_and_in_order(world: World, long_job: Job) -> None:
    def shuffle(page: dict[str, Any]) -> dict[str, Any]:
        last = page["data"][-1]
        rows = page["data"] + page["data"][:5]
        random.Random(3).shuffle(rows)
        return page | {"data": [*rows, last]}  # the cursor's row stays last

    events = tuple(world.service.backend.events(long_job.id))
    world.service.fault("GET", "/events", rewrite=shuffle, times=9)
    assert tuple(world.backend.events(long_job.id)) == events
    for place in (-1, -7, -120):
        news = events[place:][1:]
        assert tuple(world.backend.events(long_job.id, after=events[place].id)) == news


def test_an_unknown_mark_brings_everything(world: World) -> None:
    job = world.create()
    assert world.backend.events(job.id, after="gone") == world.backend.events(job.id)


def test_a_service_that_ignores_the_cursor_cannot_hold_us(world: World) -> None:
    jobs = [world.create().id for _ in range(3)]
    page: Callable[[dict[str, Any]], dict[str, Any]] = lambda _: {  # noqa: E731
        "data": [json.loads(job.model_dump_json()) for job in world.service.backend.jobs()],
        "has_more": True,
    }
    world.service.fault("GET", JOBS, rewrite=page, times=9)
    assert [job.id for job in world.backend.jobs()] == jobs[::-1]
    assert world.service.count("GET", JOBS) == 2


def test_a_service_that_ignores_the_metadata_filter_is_filtered(world: World) -> None:
    wanted, _ = world.create(metadata={"a": "1"}), world.create(metadata={"a": "2"})
    world.service.backend.jobs, real = (  # type: ignore[method-assign]
        lambda *, metadata=None: real(),
        world.service.backend.jobs,
    )
    assert [job.id for job in world.backend.jobs(metadata={"a": "1"})] == [wanted.id]


# --- models and permissions ---------------------------------------------------------------------


def test_a_model_tells_when_it_is_shut_down(world: World) -> None:
    world.service.shutdown_dates["fake-base"] = "2027-01-14"
    assert world.backend.model("fake-base").shutdown_date == "2027-01-14"
    assert world.service.count("GET", "/models") == 0
    with pytest.raises(NotFoundError, match="does not exist"):
        world.backend.model("gone")


def test_a_service_that_tells_of_no_single_model_is_asked_for_all(world: World) -> None:
    world.service.fault("GET", "/models/fake-base", status=404, times=9)
    assert world.backend.model("fake-base").id == "fake-base"


def test_a_checkpoint_can_be_shared(world: World) -> None:
    backend, name = world.backend, "ft:fake-base:org::abc:ckpt-step-3"
    assert isinstance(backend, Permits)
    assert backend.permissions(name) == ()
    world.service.fault("POST", "/permissions", status=503)
    given = backend.permit(name, ["proj_a", "proj_b", "proj_a"])
    assert {each.project_id for each in given} == {"proj_a", "proj_b"}
    assert {each.id for each in backend.permissions(name)} == {each.id for each in given}
    backend.forbid(name, given[0].id)
    assert [each.id for each in backend.permissions(name)] == [given[1].id]
    with pytest.raises(NotFoundError):
        backend.forbid(name, given[0].id)


# --- result files and streams -------------------------------------------------------------------


def test_a_result_file_may_be_plain_or_base64(world: World) -> None:
    job = world.finish(world.create())
    encoded = world.backend.content(job.result_files[0])
    plain = world.service.backend.content(job.result_files[0])
    assert encoded != plain
    assert world.backend.result_file(job) == plain
    for body in (plain, encoded[:40] + b"\n" + encoded[40:] + b"\n"):
        world.service.fault("GET", "/content", body=body)
        assert world.backend.result_file(job) == plain
    world.service.fault("GET", "/content", body=b"else")
    assert world.backend.result_file(job) == b"else"


@pytest.mark.parametrize("cut", [0, 1, 3])
@pytest.mark.parametrize("lost", ["", "within"])
def test_a_cut_stream_is_an_error(world: World, cut: int, lost: str) -> None:
    world.service.fault("POST", "/chat/completions", cut=cut, lost=lost)
    got: list[Delta] = []
    with pytest.raises(ServiceError, match="stream"):
        got.extend(world.backend.stream("fake-base", PROMPT))
    assert all(delta.finish_reason is None for delta in got)


GARBLED = ["{", "[]", "9" * 5000, '{"error": {"message": "overloaded", "type": {"a": 1}}}']


@pytest.mark.parametrize("piece", GARBLED)
def test_a_garbled_stream_is_an_error(world: World, piece: str) -> None:
    world.service.fault("POST", "/chat/completions", body=f"data: {piece}\n\n".encode())
    with pytest.raises(ServiceError):
        list(world.backend.stream("fake-base", PROMPT))


def test_a_call_of_a_tool_comes_in_pieces(world: World) -> None:
    call = {"index": 0, "id": "call_1", "type": "function"}
    pieces: list[dict[str, Any]] = [
        {"delta": {"role": "assistant", "content": None, "tool_calls": [call]}},
        {"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}},
        {"delta": {}, "finish_reason": "tool_calls"},
    ]
    lines = [json.dumps({"choices": [{"index": 0} | piece]}) for piece in pieces]
    body = "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"])
    world.service.fault("POST", "/chat/completions", body=body.encode())
    tool = {"type": "function", "function": {"name": "now"}}
    got = list(world.backend.stream("fake-base", PROMPT, tools=[tool]))
    assert world.service.requests[-1].json["tools"] == [tool]
    assert [delta.tool_calls for delta in got] == [
        (call,), ({"index": 0, "function": {"arguments": "{}"}},), None
    ]  # fmt: skip
    assert got[-1].finish_reason == "tool_calls"


def test_several_answers_come_with_their_ends_and_the_usage(world: World) -> None:
    got = list(world.backend.stream("fake-base", PROMPT, sampling=Sampling(n=2)))
    texts = ["".join(d.content for d in got if d.index == index) for index in range(2)]
    assert texts == ["one two three"] * 2
    assert [d.finish_reason for d in got][-2:] == ["stop", "stop"]
    assert got[-1].usage is not None
    assert all(d.usage is None for d in got[:-1])


@pytest.mark.parametrize("setting", ["top_k", "repetition_penalty", "min_tokens", "num_beams"])
def test_what_openai_does_not_know_is_sent_to_nobody_who_does_not(
    world: World, setting: str
) -> None:
    asked = Sampling(**{setting: 2})
    with pytest.raises(UnsupportedError, match=f"knows no sampling setting {setting}"):
        world.backend.complete("fake-base", PROMPT, sampling=asked)
    with pytest.raises(UnsupportedError, match=setting):
        world.backend.stream("fake-base", PROMPT, sampling=asked)
    assert not world.service.requests
    profile = PROFILES["ftjobs"].at(world.service.url)
    with closing(WireBackend("mine", profile, KEY)) as backend:
        backend.complete("fake-base", PROMPT, sampling=asked)
        list(backend.stream("fake-base", PROMPT, sampling=asked))
    assert [json.loads(each.body)[setting] for each in world.service.requests] == [2, 2]


def test_a_stream_that_ends_one_answer_of_two_is_cut() -> None:
    choice = {"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}
    with pytest.raises(ServiceError, match="ended before"):
        list(deltas(iter([{"choices": [choice]}]), 2, "test"))


def test_an_error_within_a_stream_is_told(world: World) -> None:
    said = {"error": {"message": "overloaded", "code": "busy", "type": "server_error"}}
    good = {"choices": [{"index": 0, "delta": {"content": "one"}}]}
    body = b"".join(f"data: {json.dumps(piece)}\n\n".encode() for piece in (good, said))
    world.service.fault("POST", "/chat/completions", body=body)
    with pytest.raises(ServiceError, match="overloaded") as caught:
        list(world.backend.stream("fake-base", PROMPT))
    assert caught.value.code == "busy"


def test_opening_a_stream_is_tried_again(world: World) -> None:
    world.service.fault("POST", "/chat/completions", status=503, times=2)
    text = "".join(delta.content for delta in world.backend.stream("fake-base", PROMPT))
    assert (text, len(world.waits)) == ("one two three", 2)


def test_an_unread_stream_is_closed(world: World) -> None:
    stream = world.backend.stream("fake-base", PROMPT)
    assert next(stream).content == "one "
    stream.close()  # type: ignore[attr-defined]
    assert world.backend.complete("fake-base", PROMPT).text == "one two three"


# --- opening ------------------------------------------------------------------------------------


def test_a_profile_names_its_key() -> None:
    for target, variable in (("openai", "OPENAI_API_KEY"), ("https://h/v1", "FTJOBS_API_KEY")):
        for environ in ({}, {variable: " "}):
            with pytest.raises(AuthError, match=variable):
                open_hosted(target, environ=environ)
        backend = open_hosted(target, environ={variable: "sk-key\n"})
        assert backend.name == target


def test_a_url_never_gets_openais_key() -> None:
    with pytest.raises(AuthError, match="FTJOBS_API_KEY"):
        open_hosted("https://elsewhere/v1", environ={"OPENAI_API_KEY": "sk-openai"})


def test_the_environment_is_read_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTJOBS_API_KEY", "sk-key")
    assert open_hosted("http://localhost:8000/v1").name == "http://localhost:8000/v1"


@pytest.mark.parametrize("name", ["opanai", "", "localhost:8000/v1"])
def test_an_unknown_name_says_which_are_known(name: str) -> None:
    with pytest.raises(ConfigError, match="openai"):
        open_hosted(name, environ={})


BAD_URLS = ["ftp://h/v1", "http://", "http://h:x/v1", "http://h:0/", "http://[::1/v1", "http://a b"]


@pytest.mark.parametrize("url", [*BAD_URLS, "https://me:pass@h/v1", "https://h/v1?key=pass"])
def test_a_url_that_cannot_be_used_is_refused_and_not_quoted(url: str) -> None:
    environ: Mapping[str, str] = {"FTJOBS_API_KEY": "sk-key"}
    for keys in ({}, environ):
        with pytest.raises(ConfigError) as caught:
            open_hosted(url, environ=keys)
        assert "pass@" not in str(caught.value)
        assert "=pass" not in str(caught.value)


@pytest.mark.parametrize("key", ["", "two words", "schlüssel", "line\nbreak"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_quoted(key: str) -> None:
    with pytest.raises(AuthError) as caught:
        WireBackend("test", ANY_URL.at("https://h/v1"), key)
    assert not key or key not in str(caught.value)


def test_opening_a_backend_does_not_import_openai() -> None:
    code = (
        "import sys; from ftjobs.backends.opening import open_hosted;"
        "open_hosted('openai', environ={'OPENAI_API_KEY': 'k'});"
        "sys.exit(bool({'openai', 'httpx2'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
