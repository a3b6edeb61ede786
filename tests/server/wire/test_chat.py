"""`POST /v1/chat/completions`: requests and whole answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftjobs.backends.fake import FakeBackend
from ftjobs.errors import AuthError, RateLimitError, ServiceError, UnreachableError
from ftjobs.schema import Capabilities, Delta
from ftjobs.server.wire.chat_answer import ChatCompletion
from tests.server.conftest import Serve, Served
from tests.server.wire.script import MODEL, Script, chat, running, sdk, words

TOOL: Any = {"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}
CALL = '<tool_call>{"name": "now", "arguments": {"zone": "UTC"}}</tool_call>'


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all that is refused."""
    with running(FakeBackend(), tmp_path_factory.mktemp("home")) as served:
        yield served


def post(served: Served, body: str, path: str = "/chat/completions") -> httpx2.Response:
    return served.http.post(path, content=body, headers={"content-type": "application/json"})


def echo(_model: str, messages: Any) -> str:
    return json.dumps([message.model_dump(exclude_none=True) for message in messages])


def test_an_answer_is_as_the_wire_has_it(serve: Serve) -> None:
    with serve(FakeBackend(answers={"q": "one two three"})) as served:
        answer = sdk(served).chat.completions.create(**chat(n=2, max_completion_tokens=2))
        raw = served.http.post("/chat/completions", json=chat()).json()
    assert [choice.message.content for choice in answer.choices] == ["one two "] * 2
    assert {choice.finish_reason for choice in answer.choices} == {"length"}
    assert answer.model == MODEL
    assert answer.usage
    assert answer.usage.total_tokens == 5
    assert answer.usage.prompt_tokens_details
    assert answer.usage.prompt_tokens_details.cached_tokens == 0
    assert raw["choices"][0]["message"] == {
        "role": "assistant", "content": "one two three", "refusal": None, "annotations": [],
    }  # fmt: skip
    assert "service_tier" not in raw
    assert ChatCompletion.model_validate(raw).model == MODEL


def test_tokens_come_with_their_logarithms(serve: Serve) -> None:
    with serve(FakeBackend(answers={"q": "one two"})) as served:
        answer = sdk(served).chat.completions.create(**chat(logprobs=True, top_logprobs=3))
    found = answer.choices[0].logprobs
    assert found
    assert found.content
    assert [token.token for token in found.content] == ["one ", "two"]
    assert [len(token.top_logprobs) for token in found.content] == [3, 3]


def test_messages_arrive_in_the_words_of_templates(serve: Serve) -> None:
    said: list[Any] = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "a"}], "name": "ann"},
        {"role": "assistant", "content": None, "refusal": None, "annotations": [], "audio": None,
         "tool_calls": [{"id": "c1", "type": "function", "index": 0,
                         "function": {"name": "now", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "noon"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        {"role": "user", "content": ""},
    ]  # fmt: skip
    with serve(FakeBackend(answers=echo)) as served:
        answer = sdk(served).chat.completions.create(model=MODEL, messages=said)
    got = json.loads(answer.choices[0].message.content or "")
    assert [message["role"] for message in got] == [
        "system", "user", "assistant", "tool", "assistant", "user",
    ]  # fmt: skip
    assert got[1] == {"role": "user", "content": [{"type": "text", "text": "a"}], "name": "ann"}
    function = {"name": "now", "arguments": "{}"}
    calls = [{"id": "c1", "type": "function", "function": function}]
    assert got[2] == {"role": "assistant", "tool_calls": calls}
    assert got[4]["content"] == [{"type": "text", "text": "No."}]


def test_settings_arrive(serve: Serve) -> None:
    seen: list[Any] = []

    class Seeing(FakeBackend):
        def stream(self, *args: Any, **named: Any) -> Any:
            seen.append(named["sampling"].model_dump(exclude_defaults=True))
            return super().stream(*args, **named)

    with serve(Seeing()) as served:
        create = sdk(served).chat.completions.create
        create(**chat(temperature=0.5, top_p=0, seed=-1, stop="x"),
               presence_penalty=1, logprobs=False, user="u", store=True, metadata={"a": "b"},
               service_tier="auto",
               extra_body={"top_k": 5, "min_tokens": 1, "repetition_penalty": 1.5})  # fmt: skip
        create(**chat(temperature=0, extra_body={"num_beams": 2}, stop=["a", "b"]))
        create(
            **chat(response_format={"type": "text"}, stop=[], tools=None, audio=None, logit_bias={})
        )
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {}, "strict": True}}
        create(**chat(response_format=form))
    assert seen == [
        {"temperature": 0.5, "top_p": 1e-6, "seed": 2**63 - 1, "stop": ("x",), "logprobs": False,
         "presence_penalty": 1.0, "top_k": 5, "min_tokens": 1, "repetition_penalty": 1.5},
        {"temperature": 0.0, "num_beams": 2, "stop": ("a", "b")},
        {},
        {"response_format": form},
    ]  # fmt: skip


IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]
AUDIO = [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "\ud83d"}]}, "messages.0.content"),
        ({"messages": IMAGE}, "messages.0.content.0"),
        ({"messages": AUDIO}, "messages.0.content.0"),
        ({"model": 1}, "model"),
        ({"model": "none"}, "model"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 1.1}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "max_completion_tokens"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": ["a", ""]}, "stop"),
        ({"seed": 2**63}, "seed"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"min_tokens": 5, "max_tokens": 4}, "min_tokens"),
        ({"num_beams": 2, "temperature": 1}, "num_beams"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        ({"functions": []}, "functions"),
        ({"modalities": ["audio"]}, "modalities.0"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"tools": [{"type": "custom", "custom": {}}]}, "tools.0.type"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.function.name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "x"}}},
         "tool_choice"),
        ({"nonsense": 1}, "nonsense"),
        ({"\ud83d": 1}, None),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(plain: Served, more: dict[str, Any], param: str | None) -> None:
    answer = post(plain, json.dumps(chat(**more)))
    assert answer.status_code in (400, 404)
    error = answer.json()["error"]
    assert error["param"] == param
    assert error["message"]
    assert error["type"] == "invalid_request_error"


def test_an_argument_that_no_wire_has(plain: Served) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        sdk(plain).chat.completions.create(**chat(extra_body={"guided_json": {}}))
    assert refused.value.code == "unrecognized_request_argument"


def test_settings_that_the_backend_does_not_know(serve: Serve) -> None:
    backend = FakeBackend(capabilities=Capabilities(sampling=frozenset({"n"})))
    neutral: dict[str, Any] = {
        "temperature": 1,
        "frequency_penalty": 0,
        "top_k": 0,
        "logprobs": False,
    }
    with serve(backend) as served:
        assert served.http.post("/chat/completions", json=chat(**neutral)).status_code == 200
        answer = served.http.post("/chat/completions", json=chat(top_k=3))
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "top_k"
    assert answer.json()["error"]["code"] == "unsupported_parameter"


# --- tools ------------------------------------------------------------------------------------


def test_a_call_that_a_model_writes_is_a_call(serve: Serve) -> None:
    backend = Script(lambda _: words(f"Let me see.\n {CALL}"))
    with serve(backend) as served:
        answer = sdk(served).chat.completions.create(**chat(tools=[TOOL], logprobs=True))
    [choice] = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Letmesee."
    assert choice.message.tool_calls
    [call] = choice.message.tool_calls
    assert call.type == "function"
    assert (call.function.name, call.function.arguments) == ("now", '{"zone": "UTC"}')
    assert call.id.startswith("call_")
    assert backend.tools == (TOOL,)


def test_without_tools_a_call_is_text(serve: Serve) -> None:
    none: list[dict[str, Any]] = [{}, {"tools": [TOOL], "tool_choice": "none"}, {"tools": []}]
    with serve(Script(lambda _: words(CALL))) as served:
        create = sdk(served).chat.completions.create
        for more in none:
            [choice] = create(**chat(**more)).choices
            assert choice.message.content == CALL.replace(" ", "")
            assert choice.message.tool_calls is None
            assert choice.finish_reason == "stop"


def test_one_call_where_only_one_is_wanted(serve: Serve) -> None:
    with serve(Script(lambda _: words(CALL + CALL))) as served:
        create = sdk(served).chat.completions.create
        for parallel, count in ((True, 2), (False, 1)):
            asked = chat(tools=[TOOL], parallel_tool_calls=parallel)
            assert len(create(**asked).choices[0].message.tool_calls or ()) == count


NAMED = {"type": "function", "function": {"name": "now"}}


@pytest.mark.parametrize("choice", ["required", NAMED])
def test_a_call_that_has_to_be(serve: Serve, choice: Any) -> None:
    other = {"type": "function", "function": {"name": "other"}}
    tools = [TOOL] if choice == "required" else [TOOL, other]
    with serve(Script(lambda _: words('{"zone":1}'))) as served:
        answer = sdk(served).chat.completions.create(**chat(tools=tools, tool_choice=choice))
        both = served.http.post("/chat/completions", json=chat(
            tools=tools, tool_choice=choice, response_format={"type": "json_object"}))  # fmt: skip
    [call] = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, call.function.arguments) == ("now", '{"zone":1}')
    assert both.json()["error"]["param"] == "tool_choice"


def test_a_backend_that_cannot_be_made_to_call(serve: Serve) -> None:
    with serve(FakeBackend(capabilities=Capabilities(sampling=frozenset({"n"})))) as served:
        asked = chat(tools=[TOOL], tool_choice="required")
        answer = served.http.post("/chat/completions", json=asked)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "tool_choice"


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RateLimitError("busy: later", retry_after=7), 429),
        (AuthError("busy: no"), 502),
        (UnreachableError("busy: gone"), 502),
        (ServiceError("busy: broken"), 502),
        (RuntimeError("secret words"), 500),
    ],
)
def test_an_error_before_the_answer_has_its_status(
    serve: Serve, error: Exception, status: int, streamed: bool
) -> None:
    backend = FakeBackend()
    with serve(backend) as served:
        backend.fail_next("stream", error)
        answer = served.http.post("/chat/completions", json=chat(stream=streamed))
        assert served.desk.turns.taken == 0
    assert answer.status_code == status
    assert answer.headers.get("retry-after") == ("7" if status == 429 else None)
    assert "secret" not in answer.text
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("pieces", [[], [Delta(content="half an answer")]])
def test_a_cut_answer_is_an_error(serve: Serve, pieces: list[Delta]) -> None:
    with serve(Script(lambda _: iter(pieces))) as served:
        answer = served.http.post("/chat/completions", json=chat())
    assert answer.status_code == 502
    assert "cut" in answer.json()["error"]["message"]


# --- whatever is sent -------------------------------------------------------------------------

FIELDS = (
    *(
        "model",
        "messages",
        "n",
        "stop",
        "tools",
        "tool_choice",
        "response_format",
        "stream",
        "seed",
    ),
    *("stream_options", "logprobs", "top_logprobs", "max_tokens", "temperature", "functions", "x"),
)
NAMES = [MODEL, "user", "function", "json_schema", "required", "auto", "text", "\ud83d"]
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(NAMES)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["role", "content", "type", "text", "function", "name", "parameters",
                         "tool_calls", "json_schema", "schema", "a", "\ud83d"]), inner, max_size=4
    ),
    max_leaves=12,
)  # fmt: skip
requests = st.dictionaries(st.sampled_from(FIELDS), values, max_size=5).map(lambda x: chat() | x)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(requests | values)
def test_no_json_breaks_the_server(plain: Served, value: Any) -> None:
    for path in ("/chat/completions", "/completions"):
        answer = post(plain, json.dumps(value), path)
        assert answer.status_code in (200, 400, 404), (answer.text, value)
        if answer.status_code != 200:
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    "body",
    ["", "{", "[" * 100_000, "9" * 5000, '{"model": ' + '{"a":' * 500 + "1" + "}" * 501, "null"],
)
def test_no_bytes_break_the_server(plain: Served, body: str) -> None:
    answer = post(plain, body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def test_deep_tools_are_refused(plain: Served) -> None:
    deep: Any = {}
    for _ in range(200):
        deep = {"a": deep}
    tool = {"type": "function", "function": {"name": "now", "parameters": deep}}
    answer = plain.http.post("/chat/completions", json=chat(tools=[tool]))
    assert answer.json()["error"]["param"].startswith("tools.0.function.parameters.a.a")


def test_a_backend_may_answer_in_words_of_its_own(serve: Serve) -> None:
    def write(_: str) -> Any:
        yield Delta(
            content="\ud83d", logprobs={"content": [{"token": "x", "logprob": -float("inf")}]}
        )
        yield Delta(finish_reason="eos")

    with serve(Script(write)) as served:
        answer = sdk(served).chat.completions.create(**chat(logprobs=True))
    [choice] = answer.choices
    assert (choice.message.content, choice.finish_reason) == ("?", "stop")
    assert choice.logprobs
    assert choice.logprobs.content
    assert choice.logprobs.content[0].logprob == -9999.0
