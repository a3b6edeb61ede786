"""Streamed answers: what comes when, and what happens when somebody leaves."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import openai
import pytest

from ftjobs.backends.fake import FakeBackend
from ftjobs.errors import ServiceError, StoreError
from ftjobs.schema import Delta, Usage
from ftjobs.server.wire import response
from tests.server.conftest import Serve, Served
from tests.server.wire.script import Script, chat, sdk, words
from tests.server.wire.test_chat import CALL, TOOL

Chunk = dict[str, Any]


def lines(served: Served, **more: Any) -> list[str]:
    """The data of all events."""
    answer = served.http.post("/chat/completions", json=chat(stream=True, **more))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["x-request-id"]
    return [line[6:] for line in answer.text.split("\n\n") if line.startswith("data: ")]


def endless(_: str) -> Iterator[Delta]:
    while True:
        yield Delta(content="word " * 20)


def ask_raw(served: Served, body: dict[str, Any]) -> socket.socket:
    """A connection on which a question was asked, and nothing read."""
    url = httpx2.URL(served.url)
    sock = socket.create_connection((url.host, url.port or 80))
    sent = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {url.host}:{url.port}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(sent)}\r\n\r\n"
    sock.sendall(head.encode() + sent)
    return sock


def wait_until(condition: Any, seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


# --- what comes -------------------------------------------------------------------------------


def test_pieces_come_in_the_order_of_the_wire(serve: Serve) -> None:
    with serve(FakeBackend(answers={"q": "one two"})) as served:
        data = lines(served, n=2, stream_options={"include_usage": True})
    assert data[-1] == "[DONE]"
    chunks = [json.loads(each) for each in data[:-1]]
    choices = [chunk["choices"][0] for chunk in chunks[:-1]]
    role = {"role": "assistant", "content": "", "refusal": None}
    assert [(each["index"], each["delta"]) for each in choices[:2]] == [(0, role), (1, role)]
    texts = [
        "".join(c["delta"].get("content", "") for c in choices if c["index"] == i) for i in (0, 1)
    ]
    assert texts == ["one two", "one two"]
    assert [each["finish_reason"] for each in choices[-2:]] == ["stop", "stop"]
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * len(choices)
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 5
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1


def test_no_usage_unless_it_is_asked_for(served: Served) -> None:
    assert all("usage" not in json.loads(each) for each in lines(served)[:-1])


def test_the_sdk_reads_streams_strictly(serve: Serve) -> None:
    with serve(FakeBackend(answers={"q": "one two three"})) as served:
        asked = chat(logprobs=True, top_logprobs=1, stream_options={"include_usage": True})
        with sdk(served).chat.completions.create(**asked, stream=True) as stream:
            chunks = list(stream)
        with sdk(served).chat.completions.stream(**chat()) as whole:
            final = whole.get_final_completion()
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "one two three" == final.choices[0].message.content
    logprobs = [chunk.choices[0].logprobs for chunk in chunks if chunk.choices]
    tokens = [token.token for found in logprobs if found for token in found.content or ()]
    assert tokens == ["one ", "two ", "three"]
    assert chunks[-1].usage
    assert chunks[-1].usage.completion_tokens == 3


def test_calls_come_whole_and_text_before_them_at_once(serve: Serve) -> None:
    written = threading.Event()

    def write(_: str) -> Iterator[Delta]:
        yield Delta(content="Let me see. ")
        assert written.wait(10)
        yield Delta(content=CALL)
        yield Delta(finish_reason="stop", usage=Usage(total_tokens=3))

    with serve(Script(write)) as served:
        stream = sdk(served).chat.completions.create(**chat(tools=[TOOL]), stream=True)
        seen = [next(stream), next(stream)]
        written.set()
        seen += stream
    assert seen[1].choices[0].delta.content == "Let me see."
    [call] = [c for each in seen for c in each.choices[0].delta.tool_calls or ()]
    assert (call.index, call.type) == (0, "function")
    assert call.function
    assert (call.function.name, call.function.arguments) == ("now", '{"zone": "UTC"}')
    assert seen[-1].choices[0].finish_reason == "tool_calls"


# --- what goes wrong --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "words_of_it"),
    [(ServiceError("fake: it broke"), "fake: it broke"), (RuntimeError("a secret"), "its log")],
)
def test_an_error_midway_is_an_event_and_no_end(
    serve: Serve, error: Exception, words_of_it: str
) -> None:
    def write(_: str) -> Iterator[Delta]:
        yield Delta(content="half")
        raise error

    with serve(Script(write)) as served:
        data = lines(served)
        with pytest.raises(openai.APIError, match=words_of_it):
            list(sdk(served).chat.completions.create(**chat(), stream=True))
    assert "[DONE]" not in data
    assert words_of_it in json.loads(data[-1])["error"]["message"]
    assert not any("secret" in each for each in data)


@pytest.mark.parametrize("error", [StoreError, RuntimeError])
def test_an_error_of_ours_midway_is_told_by_an_id_and_logged(
    serve: Serve, caplog: pytest.LogCaptureFixture, error: type[Exception]
) -> None:
    def write(_: str) -> Iterator[Delta]:
        yield Delta(content="half")
        raise error("/srv/home/x: disk I/O error")

    with serve(Script(write)) as served:
        answer = served.http.post("/chat/completions", json=chat(stream=True))
        wait_until(lambda: caplog.records)  # an answer is there before its request has ended
    assert answer.headers["x-request-id"] in answer.text
    assert "srv" not in answer.text
    [record] = caplog.records
    assert answer.headers["x-request-id"] in record.getMessage()
    assert error is RuntimeError or "disk I/O error" in record.getMessage()


def test_an_answer_without_an_end_is_an_error(serve: Serve) -> None:
    with serve(Script(lambda _: iter([Delta(content="half")]))) as served:
        data = lines(served)
    assert "cut" in json.loads(data[-1])["error"]["message"]


# --- somebody leaves --------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [True, False])
def test_an_answer_ends_when_its_client_leaves(serve: Serve, streamed: bool) -> None:
    def write(_: str) -> Iterator[Delta]:
        while True:
            time.sleep(0.01)
            yield Delta(content="word ")

    backend = Script(write)
    with serve(backend) as served:
        with ask_raw(served, chat(stream=streamed)) as sock:
            backend.wait(lambda: bool(backend.begun))
            if streamed:
                assert sock.recv(1)
        left = time.monotonic()
        backend.wait(lambda: bool(backend.closed))
        assert time.monotonic() - left < 1
        wait_until(lambda: served.desk.turns.taken == 0)


def test_who_waits_and_leaves_waits_no_more(serve: Serve) -> None:
    go = threading.Event()

    def write(question: str) -> Iterator[Delta]:
        assert go.wait(10)
        return words(question)

    backend = Script(write)
    with serve(backend, chats=1) as served, ThreadPoolExecutor() as pool:
        first = pool.submit(served.http.post, "/chat/completions", json=chat("first"))
        backend.wait(lambda: backend.begun == ["first"])
        waiting = [ask_raw(served, chat("leaves", stream=streamed)) for streamed in (True, False)]
        wait_until(lambda: served.desk.turns.waiting == 2)
        last = pool.submit(served.http.post, "/chat/completions", json=chat("last"))
        wait_until(lambda: served.desk.turns.waiting == 3)
        for sock in waiting:
            sock.close()
        wait_until(lambda: served.desk.turns.waiting == 1)
        go.set()
        assert [each.result().status_code for each in (first, last)] == [200, 200]
    assert backend.begun == ["first", "last"]


def test_more_than_may_wait_are_told_to_come_again(serve: Serve) -> None:
    go = threading.Event()

    def write(question: str) -> Iterator[Delta]:
        assert go.wait(10)
        return words(question)

    backend = Script(write)
    with serve(backend, chats=1, chats_waiting=1) as served, ThreadPoolExecutor() as pool:
        asked = []
        for taken, waiting in ((1, 0), (1, 1)):
            asked.append(pool.submit(served.http.post, "/chat/completions", json=chat()))
            wait_until(lambda w=(taken, waiting): turns(served) == w)
        refused = served.http.post("/chat/completions", json=chat(stream=True))
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "5"
        assert refused.json()["error"]["code"] == "too_many_chats"
        go.set()
        assert {each.result().status_code for each in asked} == {200}


def turns(served: Served) -> tuple[int, int]:
    return served.desk.turns.taken, served.desk.turns.waiting


def test_a_slow_reader_holds_the_answer_up(serve: Serve) -> None:
    written = 0

    def write(_: str) -> Iterator[Delta]:
        nonlocal written
        for piece in endless(""):
            written += 1
            yield piece

    backend = Script(write)
    with serve(backend) as served, ask_raw(served, chat(stream=True)) as sock:
        assert sock.recv(1)
        before = -1
        while written > before:  # until the buffers of both sockets are full
            before = written
            time.sleep(0.3)
        assert 0 < written < 200_000
        size = served.http.get("/models")
        assert size.status_code == 200
        sock.close()
        backend.wait(lambda: bool(backend.closed))


# --- many at once, and long waits -------------------------------------------------------------


def test_a_stream_that_waits_says_that_it_lives(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response, "QUIET", 0.05)
    loaded = threading.Event()

    def write(_: str) -> Iterator[Delta]:
        assert loaded.wait(10)
        yield Delta(content="here")
        yield Delta(finish_reason="stop")

    body = chat(stream=True)
    with serve(Script(write)) as served, served.http.stream(
        "POST", "/chat/completions", json=body
    ) as answer:  # fmt: skip
        assert answer.status_code == 200
        got = answer.iter_text()
        assert next(got).startswith(": ")
        loaded.set()
        rest = "".join(got)
    assert '"content":"here"' in rest
    assert rest.endswith("data: [DONE]\n\n")
    with serve(FakeBackend()) as again:
        assert list(sdk(again).chat.completions.create(**chat(), stream=True))


def test_short_requests_are_answered_while_a_hundred_streams_run(serve: Serve) -> None:
    go = threading.Event()

    def write(_: str) -> Iterator[Delta]:
        yield Delta(content="begun ")
        assert go.wait(30)
        yield Delta(content="ended")
        yield Delta(finish_reason="stop")

    backend = Script(write)
    many = httpx2.Limits(max_connections=200)
    with (
        serve(backend, chats=100) as served,
        httpx2.Client(base_url=served.url, timeout=60, trust_env=False, limits=many) as http,
        ThreadPoolExecutor(100) as pool,
    ):
        asked = [
            pool.submit(http.post, "/chat/completions", json=chat(stream=True)) for _ in range(100)
        ]
        backend.wait(lambda: len(backend.begun) == 100, 30)
        began = time.monotonic()
        assert served.http.get("/models").status_code == 200
        assert time.monotonic() - began < 5
        go.set()
        answers = [each.result().text for each in asked]
    assert all("ended" in each and each.endswith("data: [DONE]\n\n") for each in answers)
    assert served.desk.turns.taken == 0


def test_projects_take_turns_over_the_wire(serve: Serve) -> None:
    go = threading.Event()
    order: list[str] = []

    def write(question: str) -> Iterator[Delta]:
        assert go.wait(10)
        order.append(question)
        return words(question)

    with (
        serve(Script(write), chats=1) as served,
        served.as_("busy", "read") as busy,
        served.as_("new", "read") as new,
        ThreadPoolExecutor() as pool,
    ):
        asked = []
        for count, (client, question) in enumerate([(busy, "busy")] * 4 + [(new, "new")]):
            asked.append(pool.submit(client.post, "/chat/completions", json=chat(question)))
            wait_until(lambda n=count: turns(served) == (1, n))
        go.set()
        assert {each.result().status_code for each in asked} == {200}
    assert order == ["busy", "busy", "new", "busy", "busy"]
