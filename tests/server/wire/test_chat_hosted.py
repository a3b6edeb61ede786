"""Chats where a service of somebody else answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from ftjobs.backends.fake import FakeBackend
from ftjobs.backends.profiles import ANY_URL, PROFILES
from ftjobs.backends.retry import RetryPolicy
from ftjobs.backends.together import TogetherBackend
from ftjobs.backends.wire import WireBackend
from tests import together_service
from tests.native import KEY as TOGETHER_KEY
from tests.server.conftest import Served
from tests.server.wire.script import chat, running, sdk
from tests.server.wire.test_chat import TOOL
from tests.service import KEY, Service
from tests.service import running as service_running

CHAT = ("POST", "/chat/completions")


@dataclass
class World:
    """A service, and a server that lends it the wire."""

    service: Service
    served: Served


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    waits: list[float] = []
    policy = RetryPolicy(sleep=waits.append, now=lambda: sum(waits))
    fake = FakeBackend(answers={"q": "one two three"})
    with (
        service_running(fake) as service,
        closing(
            WireBackend("theirs", ANY_URL.at(service.url), KEY, retry=policy, timeout=5)
        ) as backend,
        running(backend, tmp_path / "home") as served,
    ):
        yield World(service, served)


def asked(world: World) -> Any:
    return world.service.requests[-1].json


def test_answers_whole_and_in_pieces(world: World) -> None:
    client = sdk(world.served)
    whole = client.chat.completions.create(**chat(temperature=0, n=2))
    assert [choice.message.content for choice in whole.choices] == ["one two three"] * 2
    assert whole.usage
    assert whole.usage.completion_tokens == 6
    assert asked(world) == {
        "model": "fake-base", "temperature": 0.0, "n": 2,
        "messages": [{"role": "user", "content": "q"}],
    }  # fmt: skip
    pieces = client.chat.completions.create(**chat(max_completion_tokens=2), stream=True)
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == "one two "
    assert asked(world)["max_tokens"] == 2


def test_calls_that_the_service_has_read_are_passed_on(world: World) -> None:
    function = {"name": "now", "arguments": "{}"}
    call = {"id": "call_1", "type": "function", "function": function}
    said = {"role": "assistant", "content": None, "tool_calls": [call]}
    answer = {
        "id": "1", "created": 1, "model": "m", "object": "chat.completion",
        "choices": [{"index": 0, "message": said, "finish_reason": "tool_calls"}],
    }  # fmt: skip
    world.service.fault(*CHAT, body=json.dumps(answer).encode())
    client = sdk(world.served)
    [choice] = client.chat.completions.create(**chat(tools=[TOOL])).choices
    assert asked(world)["tools"] == [TOOL]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    assert [each.model_dump() for each in choice.message.tool_calls or ()] == [call]

    half = {"index": 0, "id": "call_1", "type": "function"}
    deltas: list[Any] = [
        {"tool_calls": [half | {"function": {"name": "now", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
    ]
    chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    world.service.fault(*CHAT, body=body.encode())
    with client.chat.completions.stream(**chat(tools=[TOOL])) as stream:
        [choice] = stream.get_final_completion().choices
    assert [each.function.arguments for each in choice.message.tool_calls or ()] == ["{}"]


def test_a_service_may_see_images(world: World) -> None:
    parts = [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]
    body = chat() | {
        "messages": [{"role": "developer", "content": "x"}, {"role": "user", "content": parts}]
    }
    assert world.served.http.post("/chat/completions", json=body).status_code == 200
    assert asked(world)["messages"] == body["messages"]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_service_that_is_busy(world: World, streamed: bool) -> None:
    world.service.fault(*CHAT, status=429, headers={"Retry-After": "7"}, times=100)
    answer = world.served.http.post("/chat/completions", json=chat(stream=streamed))
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "7"
    assert answer.json()["error"]["type"] == "rate_limit_error"


def test_a_service_without_credit_is_not_asked_again(world: World) -> None:
    body = {"error": {"message": "no credit", "code": "insufficient_quota"}}
    world.service.fault(*CHAT, status=429, body=json.dumps(body).encode(), times=100)
    client = sdk(world.served).with_options(max_retries=2)
    with pytest.raises(openai.RateLimitError, match="no credit") as refused:
        client.chat.completions.create(**chat())
    assert refused.value.code == "insufficient_quota"
    assert [r.method for r in world.service.requests].count("POST") == 1


@pytest.mark.parametrize("streamed", [False, True])
def test_a_service_that_refuses_the_servers_key(tmp_path: Path, streamed: bool) -> None:
    wrong = "sk-wrong-0123456789"
    with (
        service_running() as service,
        closing(WireBackend("theirs", ANY_URL.at(service.url), wrong)) as backend,
        running(backend, tmp_path / "home", models={"fake": "fake-base"}) as served,
    ):
        body = chat(stream=streamed) | {"model": "fake"}
        answer = served.http.post("/chat/completions", json=body)
    assert answer.status_code == 502  # not 401: the client's own key is right
    assert answer.headers["x-should-retry"] == "false"
    assert wrong not in answer.text
    assert service.url not in answer.text
    assert "FTJOBS_API_KEY" not in answer.text


def test_a_stream_that_the_service_cuts(world: World) -> None:
    world.service.fault(*CHAT, cut=2)
    with pytest.raises(openai.APIError, match="stream ended"):
        list(sdk(world.served).chat.completions.create(**chat(), stream=True))


def test_a_service_that_is_gone(world: World) -> None:
    world.service.fault(*CHAT, lost="before", times=100)
    answer = world.served.http.post("/chat/completions", json=chat())
    assert answer.status_code == 502


def test_a_call_that_has_to_be_is_not_promised(world: World) -> None:
    body = chat(tools=[TOOL], tool_choice="required")
    answer = world.served.http.post("/chat/completions", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "tool_choice"


def test_a_service_that_lacks_the_wire_is_lent_it(tmp_path: Path) -> None:
    base = together_service.BASE
    with (
        together_service.running({"q": "one two"}) as service,
        closing(
            TogetherBackend("together", PROFILES["together"].at(service.url), TOGETHER_KEY)
        ) as backend,
        running(backend, tmp_path / "home", models={"otter": base}) as served,
    ):
        create = sdk(served).chat.completions.create
        body = chat() | {"model": "otter"}
        assert create(**body).choices[0].message.content == "one two"
        pieces = list(create(**body, stream=True))
        assert "".join(p.choices[0].delta.content or "" for p in pieces) == "one two"
        refused = served.http.post("/chat/completions", json=body | {"num_beams": 2})
        assert refused.json()["error"]["param"] == "num_beams"
