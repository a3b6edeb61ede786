"""Tokens of examples: what counts, what is trained, what is cut, and what the rules say of it."""

from __future__ import annotations

import base64
import json
import socket
from pathlib import Path
from typing import Any

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.data.rules import RULES
from ftjobs.data.scan import Finding
from ftjobs.data.tokens import (
    HOSTED,
    Count,
    EstimatedCounter,
    TiktokenCounter,
    TokenCounter,
    counter_for,
    family,
    inspector,
    measure,
    row_of,
)
from ftjobs.errors import TrainingError
from ftjobs.schema import Example

BYTES = tiktoken.Encoding(
    "bytes",
    pat_str=r"\S+|\s+(?!\S)|\s+",  # like OpenAI's, it overflows on a long white space
    mergeable_ranks={bytes([byte]): byte for byte in range(256)},
    special_tokens={"<|endoftext|>": 256},
)
"""One token a byte, so that tests can count by hand."""


def by_bytes(context: int | None = None) -> TiktokenCounter:
    return TiktokenCounter(BYTES, context=context)


def chat(*turns: dict[str, Any], **more: Any) -> Example:
    return Example.model_validate({"messages": turns, **more})


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: str | None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


SHORT = chat(user("abc"), assistant("de"))
SHORT_TOKENS = 3 + (3 + 4 + 3) + (3 + 9 + 2)
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


# --- what counts ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("example", "total", "answer"),
    [
        (SHORT, SHORT_TOKENS, 2),
        (chat(user("abc"), assistant("de", weight=0), assistant("fgh")), 27 + 3 + 9 + 3, 3),
        (chat(user("abc"), assistant("de", name="Bo")), SHORT_TOKENS + 1 + 2, 2),
        (chat(user([{"type": "text", "text": "abc"}]), assistant("de")), SHORT_TOKENS, 2),
        (chat(user("abc"), assistant(None, tool_calls=[CALL])), SHORT_TOKENS - 2 + 8, 8),
        (
            chat(user("abc"), assistant("de"), tools=[{"a": 1}]),
            SHORT_TOKENS + len('[{"a":1}]'),
            2,
        ),
        (chat(user("あ<|endoftext|>"), assistant("de")), SHORT_TOKENS - 3 + 3 + 13, 2),
    ],
)
def test_an_example_counts_its_texts_and_what_is_around_them(
    example: Example, total: int, answer: int
) -> None:
    assert by_bytes().count(example) == Count(total, answer)


def test_sizes_are_those_of_the_messages() -> None:
    assert list(by_bytes().sizes(SHORT)) == [3, 10, 14]


def test_white_space_on_which_tiktoken_overflows_is_counted() -> None:
    assert by_bytes().count(chat(user(" " * 1_000_000), assistant("de"))).total == 1_000_024


# --- what is cut ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("context", "cut", "answer_cut"),
    [(28, 0, 0), (27, 0, 0), (26, 1, 1), (25, 2, 2), (10, 17, 2)],
)
def test_the_end_is_cut(context: int, cut: int, answer_cut: int) -> None:
    count = by_bytes(context).count(SHORT)
    assert (count.cut, count.answer_cut) == (cut, answer_cut)


def test_an_earlier_answer_survives() -> None:
    example = chat(user("abc"), assistant("de"), user("f"), assistant("ghij"))
    assert by_bytes(27).count(example) == Count(51, 6, 24, 4)


@given(
    st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=20),
    st.one_of(st.none(), st.integers(0, 300)),
)
def test_measuring_is_cutting_a_list(spans: list[tuple[int, bool]], context: int | None) -> None:
    mask = [trained for size, trained in spans for _ in range(size)]
    kept = mask if context is None else mask[:context]
    expected = Count(len(mask), sum(mask), len(mask) - len(kept), sum(mask) - sum(kept))
    assert measure(spans, context) == expected


# --- which counter ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-4o-mini", "gpt-4o-mini"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("ft:gpt-4.1-mini-2025-04-14:org:suffix:id:ckpt-step-8", "gpt-4.1-mini"),
        ("gpt-3.5-turbo-0125", "gpt-3.5-turbo"),
        ("babbage-002", "babbage-002"),
        ("smollm2-135m", "smollm2-135m"),
    ],
)
def test_a_dated_model_has_its_family(model: str, expected: str) -> None:
    assert family(model) == expected


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **more: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("variable", ["TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"])
@pytest.mark.parametrize("model", list(HOSTED))
def test_without_a_table_it_estimates_and_says_so(
    model: str, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    counter = counter_for(model)
    assert (counter.name, counter.exact) == ("estimate", False)
    assert counter.context == HOSTED[model].context
    assert "not on this machine" in counter.note
    assert counter.count(SHORT).total > 0


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("damage", [b"", base64.b64encode(b"a") + b" 0\n"])
def test_a_damaged_table_is_neither_used_nor_replaced(
    damage: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    table = tmp_path / "fb374d419588a4632f3f557e76b4b70aebbca790"  # of o200k_base
    table.write_bytes(damage)
    assert not counter_for("gpt-4o").exact
    assert table.read_bytes() == damage


@pytest.mark.usefixtures("no_network")
def test_no_cache_at_all_means_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    assert not counter_for("gpt-4o").exact


@pytest.mark.parametrize("model", [None, "some-model", "owner/name"])
def test_an_unknown_model_is_estimated_and_has_no_context(model: str | None) -> None:
    counter = counter_for(model)
    assert (counter.exact, counter.context) == (False, None)
    assert counter_for(model, context=100).context == 100


# --- rows -------------------------------------------------------------------------------------


def test_a_preference_is_two_examples_and_each_message_once() -> None:
    row = row_of(preference("p", "yes", "no").encode())
    assert row is not None
    assert row.method == "dpo"
    assert [len(example.messages) for example in row.examples] == [2, 2]
    assert [message.content for message in row.messages] == ["p", "yes", "no"]


def preference(prompt: str, better: str, worse: str) -> str:
    return json.dumps(
        {
            "input": {"messages": [user(prompt)]},
            "preferred_output": [assistant(better)],
            "non_preferred_output": [assistant(worse)],
        }
    )


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"{}",
        b'{"messages": 7}',
        b'{"messages": [7]}',
        b'{"messages": null}',
        b'{"input": {}}',
        b'{"input": 1, "preferred_output": 2, "non_preferred_output": 3}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_a_line_that_is_no_example_is_none(line: bytes) -> None:
    assert row_of(line) is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["messages", "role", "content", "tool_calls", "function", "text", "input"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_json_it_is_counting_never_fails(value: Any) -> None:
    row = row_of(json.dumps(value).encode())
    for example in row.examples if row else ():
        assert by_bytes(5).count(example).total >= 3


# --- rules ------------------------------------------------------------------------------------


def codes(counter: TokenCounter, line: str) -> list[str]:
    return [finding.code for finding in inspector(counter)(line.encode())]


LINE = json.dumps({"messages": [user("abc"), assistant("de")]})


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        (None, []),
        (100, []),
        (30, []),
        (29, ["FT905"]),
        (27, ["FT905"]),
        (26, ["FT902"]),
        (25, ["FT901"]),
        (1, ["FT901"]),
    ],
)
def test_the_rules_on_length(context: int | None, expected: list[str]) -> None:
    assert codes(by_bytes(context), LINE) == expected


def test_a_finding_gives_numbers_and_no_text() -> None:
    (finding,) = inspector(by_bytes(26))(LINE.encode())
    assert finding == Finding(
        "FT902",
        "the example has 27 tokens, and the context is 26: 1 of 2 trained tokens are lost",
    )


def test_either_output_of_a_preference_is_looked_at() -> None:
    assert codes(by_bytes(30), preference("abc", "de", "d" * 50)) == ["FT902"]
    assert codes(by_bytes(20), preference("abc", "de", "fg")) == ["FT901"]  # once, not twice


def test_a_prompt_without_an_answer_is_cut_but_loses_none() -> None:
    line = json.dumps({"messages": [user("abc" * 9)]}).encode()
    (finding,) = inspector(by_bytes(20))(line)
    assert finding.code == "FT902"
    assert "0 of 0 trained tokens are lost" in finding.message


def test_an_estimate_only_says_that_it_may_be() -> None:
    total = EstimatedCounter().count(SHORT).total
    assert codes(EstimatedCounter(context=2 * total), LINE) == []
    assert codes(EstimatedCounter(context=total), LINE) == ["FT904"]
    assert codes(EstimatedCounter(context=1), LINE) == ["FT904"]


class Refusing(TiktokenCounter):
    refuses = True

    def count(self, example: Example) -> Count:
        if len(example.messages) > 2:
            raise TrainingError("line 3 cannot be trained: because", code="c")
        return super().count(example)


def test_a_model_that_cuts_nothing_refuses() -> None:
    counter = Refusing(BYTES, context=26)
    assert codes(counter, LINE) == ["FT903"]
    line = json.dumps({"messages": [user("a"), user("b"), assistant("c")]})
    assert list(inspector(counter)(line.encode())) == [Finding("FT906", "because")]


def test_what_is_no_example_has_no_length() -> None:
    assert codes(by_bytes(1), "{}") == []


def test_every_code_is_explained() -> None:
    assert [code for code in RULES if code.startswith("FT9")] == [f"FT90{n}" for n in range(1, 7)]
