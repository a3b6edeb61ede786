"""`POST /v1/completions`: prompts as the one message of a user."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from ftjobs.backends.fake import FakeBackend
from ftjobs.schema import Delta
from ftjobs.server.wire.completions import TextCompletion
from tests.server.conftest import Serve, Served
from tests.server.wire.script import MODEL, Script, running, sdk

ANSWERS = {"a": "one two", "b": "three"}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with running(FakeBackend(answers=ANSWERS), tmp_path_factory.mktemp("home")) as served:
        yield served


def ask(served: Served, **body: Any) -> Any:
    answer = served.http.post("/completions", json={"model": MODEL} | body)
    return answer.json() | {"status": answer.status_code}


def test_prompts_are_answered_in_order(plain: Served) -> None:
    create = sdk(plain).completions.create
    answer = create(model=MODEL, prompt=["a", "b"], n=2, best_of=2)
    assert [choice.text for choice in answer.choices] == ["one two", "one two", "three", "three"]
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert {choice.finish_reason for choice in answer.choices} == {"stop"}
    assert answer.usage
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, 6)
    raw = ask(plain, prompt="a")
    assert TextCompletion.model_validate(raw).choices[0].text == "one two"


def test_tokens_come_in_the_legacy_form(plain: Served) -> None:
    answer = sdk(plain).completions.create(model=MODEL, prompt="a", logprobs=2)
    found = answer.choices[0].logprobs
    assert found
    assert (found.tokens, found.text_offset) == (["one ", "two"], [0, 4])
    assert found.top_logprobs == [{"one ": -0.4, "word1": -1.4}, {"two": -0.3, "word1": -1.3}]
    assert found.token_logprobs == [-0.4, -0.3]


def test_a_stream_has_the_same_pieces(plain: Served) -> None:
    # The SDK's type has no null for finish_reason, which OpenAI sends until the last piece.
    client = openai.OpenAI(base_url=plain.url, api_key="none", max_retries=0)
    chunks = list(
        client.completions.create(
            model=MODEL, prompt=["a", "b"], logprobs=0, stream=True,
            stream_options={"include_usage": True},
        )
    )  # fmt: skip
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    texts = ["".join(c.text for c in choices if c.index == index) for index in (0, 1)]
    assert texts == ["one two", "three"]
    offsets = [c.logprobs.text_offset for c in choices if c.logprobs]
    assert offsets == [[0], [4], [0]]
    assert chunks[-1].usage
    assert chunks[-1].usage.completion_tokens == 3
    answer = plain.http.post("/completions", json={"model": MODEL, "prompt": "a", "stream": True})
    assert answer.text.endswith("data: [DONE]\n\n")


def test_an_answer_has_16_tokens_unless_another_number_is_given(serve: Serve) -> None:
    with serve(FakeBackend(answers={"a": "word " * 40})) as served:
        for more, count in (({}, 16), ({"max_tokens": 20}, 20), ({"max_tokens": 99}, 40)):
            answer = ask(served, prompt="a", **more)
            assert answer["usage"]["completion_tokens"] == count
            assert answer["choices"][0]["finish_reason"] == ("stop" if count == 40 else "length")


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"prompt": [1, 2]}, "prompt.0"),
        ({"prompt": [[1, 2]]}, "prompt.0"),
        ({"prompt": []}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({}, "prompt"),
        ({"prompt": "a", "echo": True}, "echo"),
        ({"prompt": "a", "suffix": "z"}, "suffix"),
        ({"prompt": "a", "best_of": 2}, "best_of"),
        ({"prompt": "a", "logprobs": 6}, "logprobs"),
        ({"prompt": "a", "logprobs": True}, "logprobs"),
        ({"prompt": "a", "messages": []}, "messages"),
        ({"prompt": "a", "logit_bias": {"1": 1}}, "logit_bias"),
    ],
)
def test_what_cannot_be_done_is_named(plain: Served, more: dict[str, Any], param: str) -> None:
    answer = ask(plain, **more)
    assert answer["status"] == 400
    assert answer["error"]["param"] == param


def test_what_changes_nothing_is_taken(plain: Served) -> None:
    neutral = {"echo": False, "suffix": None, "best_of": 1, "logprobs": None, "user": "u"}
    assert ask(plain, prompt="a", **neutral)["choices"][0]["text"] == "one two"


def test_an_answer_that_is_cut_is_an_error(serve: Serve) -> None:
    with serve(Script(lambda _: iter([Delta(content="half")]))) as served:
        assert ask(served, prompt="a")["status"] == 502
        body = {"model": MODEL, "prompt": "a", "stream": True}
        *_, last = served.http.post("/completions", json=body).text.strip().split("\n\n")
    assert "cut" in json.loads(last.removeprefix("data: "))["error"]["message"]


def test_a_stream_says_of_each_token_how_likely_it_was(serve: Serve) -> None:
    def tokens(_: str) -> Iterator[Delta]:
        for content in ("a", "", "b"):  # the second one is a part of a character, or special
            told: Any = {
                "token": content or "<x>",
                "logprob": -1.0,
                "bytes": [],
                "top_logprobs": [],
            }
            yield Delta(content=content, logprobs={"content": [told]})
        yield Delta(finish_reason="stop")

    body = {"model": MODEL, "prompt": "a", "logprobs": 0, "stream": True}
    with serve(Script(tokens)) as served:
        lines = served.http.post("/completions", json=body).text.split("\n\n")[:-2]
    choices = [json.loads(line.removeprefix("data: "))["choices"][0] for line in lines]
    assert [t for c in choices if c["logprobs"] for t in c["logprobs"]["tokens"]] == [
        "a",
        "<x>",
        "b",
    ]
