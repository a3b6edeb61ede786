"""JSON over HTTP: what is repeated, what is not, and what must never leave or be shown."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.backends.chat import deltas
from ftjobs.backends.curves import metrics_csv, metrics_of, step_text
from ftjobs.backends.nouns import instant
from ftjobs.backends.profiles import Profile
from ftjobs.backends.rest import Rest, at
from ftjobs.backends.retry import RetryPolicy
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
)
from ftjobs.schema import Capabilities
from tests.native import KEY, Answer, Json, Loopback, Refused, Request, Storage, serving

HTML = b"<html><body>502 Bad Gateway</body></html>"


class Echo(Loopback):
    """Says what it was asked, and sends elsewhere what is called so."""

    elsewhere = ""

    def refusal(self, error: Refused) -> Json:
        return {"error": {"message": error.message, "code": error.code, "param": "thing"}}

    def said(self, request: Request) -> Json:
        body = request.body.decode() or None
        return {"path": unquote(request.path), "query": dict(request.query), "body": body}

    def sent_on(self, request: Request) -> Answer:
        return Answer({}, 302, {"Location": self.elsewhere})

    def pieces(self, request: Request) -> Iterator[Json]:
        return iter([{"number": number} for number in range(3)])

    def a_list(self, request: Request) -> list[Json]:
        return [{"id": "a"}]

    def nothing(self, request: Request) -> Answer:
        return Answer(b"")

    routes = (
        ("GET", "/elsewhere", sent_on),
        ("POST", "/elsewhere", sent_on),
        ("POST", "/pieces", pieces),
        ("GET", "/list", a_list),
        ("POST", "/nothing", nothing),
        ("GET", "/.*", said),
        ("POST", "/.*", said),
        ("DELETE", "/.*", nothing),
    )


@dataclass
class World:
    service: Echo
    rest: Rest
    waits: list[float] = field(default_factory=list)


def open_rest(url: str, waits: list[float], **more: Any) -> Rest:
    policy = RetryPolicy(sleep=waits.append, now=lambda: sum(waits))
    profile = Profile(base_url=url, capabilities=Capabilities(), **more)
    return Rest("echo", profile, KEY, retry=policy, timeout=2.0)


@pytest.fixture
def world() -> Iterator[World]:
    waits: list[float] = []
    with serving(Echo()) as service, closing(open_rest(f"{service.url}/v1", waits)) as rest:
        yield World(service, rest, waits)


# --- what is sent --------------------------------------------------------------------------------


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_name_stays_in_its_place(name: str) -> None:
    if name in (".", ".."):
        return
    path = at("v1/files/{}/content", name)
    parts = urlsplit(f"https://host/{path}")
    assert parts.path == f"/{path}"
    assert [unquote(part) for part in parts.path.split("/")] == ["", "v1", "files", name, "content"]


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_no_url_carries_is_not_found(name: str) -> None:
    with pytest.raises(NotFoundError):
        at("v1/files/{}", name)


def test_a_version_at_the_end_of_the_base_url_is_not_said_twice(world: World) -> None:
    assert world.rest.get("v1/things")["path"] == "/v1/things"


def test_queries_of_the_profile_go_with_every_request(world: World) -> None:
    with closing(open_rest(world.service.url, [], query={"api-version": "7"})) as rest:
        assert rest.get("things", limit=3)["query"] == {"api-version": "7", "limit": "3"}
        assert rest.post("things", {"a": 1})["query"] == {"api-version": "7"}


def test_the_key_goes_where_the_profile_says(world: World) -> None:
    with (
        closing(open_rest(world.service.url, [], key_header="api-key", key_prefix="")) as rest,
        pytest.raises(AuthError),  # this service looks for it elsewhere
    ):
        rest.get("things")
    assert world.service.requests[-1].headers["api-key"] == KEY
    assert "authorization" not in world.service.requests[-1].headers


def test_a_body_is_json_and_its_absence_is_nothing(world: World) -> None:
    assert world.rest.post("things", {"a": None, "b": "ü"})["body"] == '{"a":null,"b":"ü"}'
    assert world.rest.post("things")["body"] is None


def test_lists_may_be_bare(world: World) -> None:
    assert world.rest.array("list") == [{"id": "a"}]


# --- faults --------------------------------------------------------------------------------------


def test_reads_wait_as_long_as_the_service_asks(world: World) -> None:
    world.service.fault("GET", "/things", status=429, headers={"Retry-After": "7"}, times=2)
    assert world.rest.get("things")["path"] == "/things"
    assert world.waits == [7.0, 7.0]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_writes_are_sent_once(world: World, status: int) -> None:
    world.service.fault("POST", "/things", status=status, times=9)
    with pytest.raises(BackendError) as caught:
        world.rest.post("things", {})
    assert world.service.count("POST", "/things") == 1
    assert world.waits == []
    assert caught.value.status == status
    assert caught.value.request_id == "req-7"
    assert caught.value.acted is (False if status == 429 else None)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, b'{"error": "no"}', InvalidRequestError),
        (401, b"{}", AuthError),
        (402, b"{}", QuotaError),
        (403, b"{}", AuthError),
        (404, b"{}", NotFoundError),
        (408, b"{}", DeadlineError),
        (409, b"{}", InvalidRequestError),
        (422, b"{}", InvalidRequestError),
        (429, b"{}", RateLimitError),
        (429, b'{"error": {"code": "insufficient_quota"}}', QuotaError),
        (500, b"{}", ServiceError),
        (503, HTML, ServiceError),
    ],
)
def test_a_refusal_becomes_our_error(
    world: World, status: int, body: bytes, kind: type[BackendError]
) -> None:
    world.service.fault("POST", "/things", status=status, body=body)
    with pytest.raises(kind) as caught:
        world.rest.post("things", {})
    assert type(caught.value) is kind
    assert "html" not in str(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).status == status


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        (b'{"error": {"message": "no such thing", "code": "gone"}}', "no such thing", "gone"),
        (b'{"error": {"message": "no", "type": "bad"}}', "no", "bad"),
        (b'{"code": 5, "message": "not\\n found", "details": []}', "not found", "5"),
        (b'{"error": "just words"}', "just words", None),
        (b'{"detail": "some detail"}', "some detail", None),
        (b"[]", "HTTP 400", None),
        (HTML, "HTTP 400", None),
    ],
)
def test_the_words_of_a_refusal_are_kept(
    world: World, body: bytes, message: str, code: str | None
) -> None:
    world.service.fault("POST", "/things", status=400, body=body)
    with pytest.raises(InvalidRequestError) as caught:
        world.rest.post("things", {})
    assert caught.value.message == f"echo: {message}"
    assert caught.value.code == code


@pytest.mark.parametrize("padding", [0, 480, 490, 500])
def test_no_part_of_a_key_that_is_quoted_is_passed_on(world: World, padding: int) -> None:
    words = f'{{"error": {{"message": "{"x" * padding} {KEY} is wrong"}}}}'
    world.service.fault("POST", "/things", status=401, body=words.encode())
    with pytest.raises(AuthError) as caught:
        world.rest.post("things", {})
    assert KEY[:6] not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"body": HTML}, ServiceError),
        ({"body": b'{"id": "thi'}, ServiceError),
        ({"body": b"\xff\xfe"}, ServiceError),
        ({"body": b"[" * 200_000}, ServiceError),
        ({"body": b"[]"}, ServiceError),
        ({"body": b""}, ServiceError),
        ({"cut": 5}, UnreachableError),
        ({"lost": "before"}, UnreachableError),
        ({"lost": "after"}, UnreachableError),
    ],
)
def test_an_answer_that_cannot_be_read_may_have_been_acted_on(
    world: World, fault: Json, kind: type[BackendError]
) -> None:
    world.service.fault("POST", "/things", **fault)
    with pytest.raises(kind) as caught:
        world.rest.post("things", {})
    assert caught.value.acted is None
    assert world.service.count("POST", "/things") == 1


def test_no_connection_was_certainly_not_acted_on() -> None:
    with (
        closing(open_rest("http://127.0.0.1:1", [])) as rest,
        pytest.raises(UnreachableError) as caught,
    ):
        rest.post("things", {})
    assert caught.value.acted is False


def test_silence_ends(world: World) -> None:
    profile = Profile(base_url=world.service.url, capabilities=Capabilities())
    once = RetryPolicy(total=0)
    world.service.fault("GET", "/things", delay=1)
    with (
        closing(Rest("echo", profile, KEY, retry=once, timeout=0.1)) as rest,
        pytest.raises(DeadlineError),
    ):
        rest.get("things")


def test_deletions_are_sent_once_and_need_no_answer(world: World) -> None:
    world.rest.delete("things")
    world.rest.tell("nothing", {})
    world.service.fault("DELETE", "/things", status=500, times=9)
    with pytest.raises(ServiceError):
        world.rest.delete("things")
    assert world.service.count("DELETE", "/things") == 2


# --- elsewhere -----------------------------------------------------------------------------------


def test_the_key_does_not_follow_a_redirect(world: World) -> None:
    with serving(Storage()) as storage:
        storage.objects["file"] = b'{"found": true}'
        world.service.elsewhere = storage.place("file")
        assert world.rest.get("elsewhere") == {"found": True}  # storage refuses to see the key
        assert storage.count("GET", "/file") == 1
        with pytest.raises(InvalidRequestError, match="302"):
            world.rest.post("elsewhere", {"training": "data"})
        assert storage.count("POST", "") == 0


def test_storage_gets_the_file_and_never_the_key(world: World, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(b"x" * 3_000_000)
    told: list[tuple[int, int]] = []
    with serving(Storage()) as storage:
        place = storage.place("file", **{"content-type": "text/plain"})
        world.rest.put_file(
            place,
            path,
            headers={"Content-Type": "text/plain"},
            progress=lambda done, total: told.append((done, total)),
        )
        assert storage.objects["file"] == path.read_bytes()
        assert world.rest.signed_bytes(storage.place("file")) == path.read_bytes()
    assert [done for done, _ in told] == [1 << 20, 2 << 20, 3_000_000]
    assert {total for _, total in told} == {3_000_000}


def test_what_storage_says_is_not_passed_on(world: World, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(b"x")
    with serving(Storage()) as storage:
        place = storage.place("file", **{"content-type": "text/plain"})
        with pytest.raises(InvalidRequestError, match="storage of echo: HTTP 403") as refused:
            world.rest.put_file(place, path, headers={}, progress=lambda _done, _total: None)
        with pytest.raises(NotFoundError, match="HTTP 404") as missing:
            world.rest.signed_bytes(storage.place("other"))
    assert "secret" not in f"{refused.value} {missing.value}"


def test_a_file_goes_only_where_there_is_tls(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(b"x")
    waits: list[float] = []
    with closing(open_rest("https://host.invalid", waits)) as rest:
        with pytest.raises(ServiceError, match="without TLS"):
            rest.put_file("http://h/f", path, headers={}, progress=lambda _done, _total: None)
        with pytest.raises(ServiceError, match="without TLS"):
            rest.signed_bytes("file:///f")
    assert waits == []


def test_a_file_that_cannot_be_read_is_a_clear_error(world: World, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.jsonl"):
        world.rest.put_file(
            f"{world.service.url}/f",
            tmp_path / "none.jsonl",
            headers={},
            progress=lambda _done, _total: None,
        )


# --- streams -------------------------------------------------------------------------------------


def test_a_stream_is_read_to_its_end(world: World) -> None:
    assert [chunk["number"] for chunk in world.rest.stream("pieces", {})] == [0, 1, 2]
    assert b'"stream":true' in world.service.requests[-1].body


def test_only_the_opening_of_a_stream_is_repeated(world: World) -> None:
    world.service.fault("POST", "/pieces", status=503, times=2)
    assert len(list(world.rest.stream("pieces", {}))) == 3
    assert len(world.waits) == 2
    world.service.fault("POST", "/pieces", lost="within", cut=1)
    chunks = world.rest.stream("pieces", {})
    with pytest.raises(ServiceError, match="was cut"):
        list(deltas(chunks, 1, "echo"))
    assert len(world.waits) == 2


def test_a_stream_that_tells_of_an_error_is_one(world: World) -> None:
    def broken(_answer: object) -> Iterator[Json]:
        return iter([{"error": {"message": f"no more for {KEY}", "code": "overloaded"}}])

    world.service.fault("POST", "/pieces", rewrite=broken)
    with pytest.raises(ServiceError, match=r"no more for \[key\]") as caught:
        list(world.rest.stream("pieces", {}))
    assert caught.value.code == "overloaded"


def test_an_answer_that_is_no_stream_is_an_error(world: World) -> None:
    world.service.fault("POST", "/pieces", body=HTML)
    with pytest.raises(ServiceError):
        list(deltas(world.rest.stream("pieces", {}), 1, "echo"))


def test_a_stream_that_cannot_be_opened_says_why(world: World) -> None:
    world.service.fault("POST", "/pieces", status=401, body=b'{"error": "Invalid API key"}')
    with pytest.raises(AuthError, match="Invalid API key"):
        world.rest.stream("pieces", {})


@given(st.lists(st.integers(0, 2), max_size=6), st.integers(1, 3))
def test_pieces_make_an_answer_or_an_error(ends: list[int], n: int) -> None:
    chunks = [
        {"choices": [{"index": index, "delta": {"content": "a"}, "finish_reason": "stop"}]}
        for index in ends
    ]
    whole = len(set(ends)) >= n
    try:
        found = list(deltas(chunks, n, "echo"))
    except ServiceError:
        assert not whole
        return
    assert whole
    assert {delta.index for delta in found if delta.finish_reason} == set(ends)
    assert sum(len(delta.content) for delta in found) == len(ends)


# --- numbers -------------------------------------------------------------------------------------

NAMES = ["step", "train/global_step", "train/loss", "loss", "eval/loss", "total_steps", "other"]
ANYTHING = st.none() | st.booleans() | st.floats() | st.text() | st.lists(st.integers())


@given(st.lists(st.dictionaries(st.sampled_from(NAMES), ANYTHING)))
def test_numbers_of_any_shape_make_a_table(found: list[Json]) -> None:
    metrics = [metrics_of(row, total_steps=9) for row in found]
    assert all(step_text(one) for one in metrics)
    lines = metrics_csv(metrics).decode().splitlines()
    assert lines[0].startswith("step,train_loss,")
    assert {line.count(",") for line in lines} == {6}
    assert len(lines) == len(found) + 1


# --- keys and times ------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", "two words", "schlüssel", "line\nbreak"])
def test_a_key_that_no_header_can_carry_is_refused(key: str) -> None:
    profile = Profile(base_url="https://h", capabilities=Capabilities())
    with pytest.raises(AuthError):
        Rest("echo", profile, key, retry=RetryPolicy(), timeout=1)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2023-11-14T22:13:20Z", 1_700_000_000.0),
        ("2023-11-14T22:13:20.123456789Z", 1_700_000_000.123456),
        ("2023-11-14T23:13:20+01:00", 1_700_000_000.0),
        ("2023-11-14T22:13:20", 1_700_000_000.0),
        (1_700_000_000, 1_700_000_000.0),
        (float("nan"), 0.0),
        ("soon", 0.0),
        ("", 0.0),
        (None, 0.0),
        ([], 0.0),
    ],
)
def test_times_are_read_in_all_their_shapes(value: object, seconds: float) -> None:
    assert instant(value) == pytest.approx(seconds, abs=1e-5)
