"""Chats with a real, tiny model on this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ftjobs.backends.local.backend import LocalBackend
from ftjobs.config import Settings
from tests import tiny
from tests.server.conftest import Served
from tests.server.wire.script import chat, running, sdk
from tests.server.wire.test_chat_streams import ask_raw, wait_until

MODEL = "tiny-otter"
SHOWS_TOOLS = "{% if tools %}{{ tools | tojson }}{% endif %}" + tiny.CHATML
FORM: Any = {
    "type": "json_schema",
    "json_schema": {
        "name": "answer",
        "schema": {
            "type": "object",
            "properties": {"n": {"enum": [1, 2]}},
            "required": ["n"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("local")
    names = {
        MODEL: str(tiny.save_model(folder / "tiny", template=SHOWS_TOOLS)),
        "no-tools": str(tiny.save_model(folder / "plain")),
    }
    backend = LocalBackend(Settings(home=folder / "home", cache=folder / "cache"))
    with running(backend, folder / "server", models=names) as server:
        yield server


def ask(question: str = "q", **more: Any) -> dict[str, Any]:
    return chat(question) | {"model": MODEL, "max_tokens": 12, "temperature": 0} | more


def test_a_stream_says_what_a_whole_answer_says(served: Served) -> None:
    create = sdk(served).chat.completions.create
    options: Any = {"include_usage": True}
    whole = create(**ask(n=2, seed=3, temperature=1))
    *chunks, last = create(**ask(n=2, seed=3, temperature=1), stream=True, stream_options=options)
    for index in (0, 1):
        pieces = [
            chunk.choices[0].delta.content or ""
            for chunk in chunks
            if chunk.choices[0].index == index
        ]
        assert "".join(pieces) == whole.choices[index].message.content
    assert last.usage == whole.usage
    assert whole.usage
    assert whole.usage.completion_tokens <= 24


def test_every_token_comes_with_its_logarithm(served: Served) -> None:
    create = sdk(served).chat.completions.create
    [choice] = create(**ask(logprobs=True, top_logprobs=2)).choices
    chunks = create(**ask(logprobs=True, top_logprobs=2), stream=True)
    streamed = [chunk.choices[0].logprobs for chunk in chunks]
    assert choice.logprobs
    told = choice.logprobs.content or []
    assert told
    assert told == [token for each in streamed if each for token in each.content or []]
    for token in told:
        assert token.logprob <= 0
        assert token.logprob == token.top_logprobs[0].logprob  # the likeliest was taken
    said = b"".join(bytes(token.bytes or []) for token in told)
    assert said.decode(errors="replace").startswith(choice.message.content or "")


def test_an_answer_has_the_form_that_was_asked_for(served: Served) -> None:
    create = sdk(served).chat.completions.create
    [choice] = create(**ask(response_format=FORM, max_tokens=200, temperature=1, seed=1)).choices
    assert json.loads(choice.message.content or "")["n"] in (1, 2)


ARGUMENTS: Any = {
    "type": "object",
    "properties": {"n": {"$ref": "#/$defs/N"}},
    "required": ["n"],
    "additionalProperties": False,
    "$defs": {"N": {"enum": [1, 2]}},
}
NONE = {"type": "object", "additionalProperties": False}
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": name, "parameters": parameters}}
    for name, parameters in (("one", NONE), ("two", ARGUMENTS))
]
NAMED = {"type": "function", "function": {"name": "two"}}


@pytest.mark.parametrize(("choice", "streamed"), [("required", True), (NAMED, False)])
def test_a_model_is_made_to_call(served: Served, choice: Any, streamed: bool) -> None:
    body = ask(tools=TOOLS, tool_choice=choice, max_tokens=300, temperature=1, seed=2)
    create = sdk(served).chat.completions.create
    found: Any
    if streamed:
        chunks = list(create(**body, stream=True))
        [found] = [call for each in chunks for call in each.choices[0].delta.tool_calls or []]
        assert chunks[-1].choices[0].finish_reason == "tool_calls"
    else:
        answer = create(**body).choices[0]
        [found] = answer.message.tool_calls or []
        assert answer.finish_reason == "tool_calls"
    assert found.function.name in (("one", "two") if choice == "required" else ("two",))
    arguments = json.loads(found.function.arguments)
    assert arguments == {} if found.function.name == "one" else arguments["n"] in (1, 2)


def test_a_template_that_shows_no_tools(served: Served) -> None:
    body = ask(tools=TOOLS) | {"model": "no-tools"}
    answer = served.http.post("/chat/completions", json=body)
    assert answer.status_code == 400
    assert "does not show the model its tools" in answer.json()["error"]["message"]


def test_a_prompt_that_is_too_long(served: Served) -> None:
    for streamed in (False, True):
        answer = served.http.post("/chat/completions", json=ask("long " * 500, stream=streamed))
        assert answer.status_code == 400
        assert "tokens" in answer.json()["error"]["message"]
        assert answer.json()["error"]["code"] == "context_length_exceeded"
        assert str(served.desk.options.models[MODEL]) not in answer.text


def test_many_at_once_say_what_each_says_alone(served: Served) -> None:
    create = sdk(served).chat.completions.create
    bodies = [ask(f"question {number}") for number in range(6)]
    alone = [create(**body).choices[0].message.content for body in bodies]

    def streamed(body: dict[str, Any]) -> str:
        chunks = create(**body, stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(streamed, bodies)) == alone


@pytest.mark.parametrize("streamed", [False, True])
def test_the_machine_is_free_when_the_client_has_left(served: Served, streamed: bool) -> None:
    body = ask(stream=streamed, max_tokens=400, logprobs=True) | {"min_tokens": 400}
    with ask_raw(served, body) as sock:
        if streamed:
            assert sock.recv(1)
        else:
            wait_until(lambda: served.desk.turns.taken == 1)
    wait_until(lambda: served.desk.turns.taken == 0, seconds=2)
    assert served.http.post("/chat/completions", json=ask()).status_code == 200


@pytest.mark.parametrize("streamed", [False, True])
def test_who_leaves_an_answer_that_is_held_back(served: Served, streamed: bool) -> None:
    long = {"type": "object", "properties": {"a": {"type": "string", "minLength": 400}}}
    tool = {"name": "f", "parameters": long | {"required": ["a"], "additionalProperties": False}}
    body = ask(stream=streamed, max_tokens=400, n=8, tools=[{"type": "function", "function": tool}])
    with ask_raw(served, body | {"tool_choice": "required"}):
        wait_until(lambda: served.desk.turns.taken == 1)
        time.sleep(0.5)
        assert served.desk.turns.taken == 1
    wait_until(lambda: served.desk.turns.taken == 0, seconds=2)


@pytest.mark.parametrize("schema", [None, {"properties": {"n": {"type": "integer"}}}])
def test_arguments_are_an_object_even_if_the_schema_does_not_say_so(
    served: Served, schema: Any
) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    body = ask(tools=[tool], tool_choice="required", max_tokens=400, temperature=1, seed=5)
    [choice] = sdk(served).chat.completions.create(**body).choices
    assert choice.finish_reason == "tool_calls"


def test_arguments_that_cannot_be_an_object(served: Served) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "string"}}}
    body = ask(tools=[tool], tool_choice="required")
    answer = served.http.post("/chat/completions", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_function_parameters"
