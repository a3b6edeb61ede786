"""Calls of tools in what a model writes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.server.wire.tool_calls import Call, CallReader, FixedReader

NAMES = ("now", "get_weather")
ARGUMENTS = {"city": "Kyoto 京都", "n": 2}
TEXT = '{"city": "Kyoto 京都", "n": 2}'
ONE = Call("get_weather", TEXT)
NOW = Call("now", "{}")


def read(*pieces: str) -> tuple[str, list[Call]]:
    reader = CallReader(NAMES)
    text = "".join(reader.feed(piece) for piece in pieces)
    rest, calls = reader.end()
    return text + rest, calls


def form(key: str = "arguments", name: str = "get_weather", **more: Any) -> str:
    return json.dumps({"name": name, key: ARGUMENTS} | more, ensure_ascii=False)


HERMES = f"<tool_call>\n{form()}\n</tool_call>"
NOW_TEXT = '{"name": "now", "arguments": {}}'


@pytest.mark.parametrize(
    ("text", "left", "calls"),
    [
        (HERMES, "", [ONE]),
        (f"{HERMES}\n<tool_call>{NOW_TEXT}</tool_call>", "", [ONE, NOW]),
        (f"Let me see.\n\n{HERMES}\n", "Let me see.", [ONE]),
        (f"<tool_call>{form()}", "", [ONE]),  # the end of the answer closes it
        ('<tool_call>{"name": "now", "arguments": "{}"}</tool_call>', "", [NOW]),
        (f"[TOOL_CALLS] [{form()}, {NOW_TEXT}]", "", [ONE, NOW]),
        (f"[TOOL_CALLS]get_weather[ARGS]{TEXT}[TOOL_CALLS]now[ARGS]{{}}", "", [ONE, NOW]),
        ("[TOOL_CALLS]now[CALL_ID]abc123[ARGS]{}", "", [NOW]),
        (f"[{form(id='abc')}]", "", [ONE]),
        (form("parameters"), "", [ONE]),
        (form("parameters", type="function"), "", [ONE]),
        (f"<|python_tag|>{form('parameters')}; {NOW_TEXT}", "", [ONE, NOW]),
    ],
)
def test_calls_are_found(text: str, left: str, calls: list[Call]) -> None:
    assert read(text) == (left, calls)


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "  \n",
        '{"city": "Kyoto"}',
        '["now"]',
        "[]",
        '{"name": "now"}',
        '{"name": ["now"], "arguments": {}}',
        '{"name": "unknown", "arguments": {}}',
        '{"name": "now", "arguments": [1]}',
        '{"name": "now", "arguments": {"x": NaN}}',
        '{"name": "now", "arguments": {"x": 1e999}}',
        '{"name": "now", "arguments": "{\\"x\\": NaN}"}',
        f"{NOW_TEXT} and so on",
        "<tool_call>{broken</tool_call>",
        f"<tool_call>{NOW_TEXT} more</tool_call>",
        '<tool_call>{"name": "unknown", "arguments": {}}</tool_call>',
        '<tool_call>{"name": "now", "arguments": {"cut": "of',
        "[TOOL_CALLS]unknown[ARGS]{}",
        "[TOOL_CALLS] [",
        "a < b and <tool",
        '{"name": "now", "arguments": ' + '{"a":' * 100_000,
    ],
)
def test_what_is_no_call_stays_text_as_it_is(text: str) -> None:
    assert read(text) == (text, [])


def test_one_that_cannot_be_read_stays_beside_one_that_can() -> None:
    assert read(f"<tool_call>oops</tool_call>{HERMES}") == ("<tool_call>oops</tool_call>", [ONE])


def test_text_is_given_on_as_soon_as_it_is_no_call() -> None:
    reader = CallReader(NAMES)
    given_on = [reader.feed(piece) for piece in ("Hel", "lo ", "a <to", "ast", " <tool_", "call>")]
    assert given_on == ["Hel", "lo", " a", " <toast", "", ""]
    assert reader.end() == (" <tool_call>", [])


def test_half_a_character_can_be_sent() -> None:
    _, [call] = read('{"name": "now", "arguments": {"x": "\\ud83d"}}')
    assert call.arguments.encode()
    assert json.loads(call.arguments) == {"x": "\ud83d"}


@pytest.mark.parametrize(
    ("text", "left", "calls"),
    [(' {"a": 1} ', "", [Call("now", '{"a": 1}')]), ('{"a": ', '{"a": ', []), ("[]", "[]", [])],
)
def test_an_answer_that_had_to_be_arguments(text: str, left: str, calls: list[Call]) -> None:
    reader = FixedReader("now")
    assert reader.feed(text) == ""
    assert reader.end() == (left, calls)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
objects = st.dictionaries(st.text(), json_values, max_size=3)
scraps = st.sampled_from(
    ["<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "<|python_tag|>", "{", "}", "[", "]",
     '"name"', ":", '"now"', "now", ",", ";", " ", "\n", NOW_TEXT, HERMES, "<", "<tool", "x"]
)  # fmt: skip
texts = st.lists(scraps | st.text(max_size=5), max_size=12).map("".join)


def cut(text: str, data: st.DataObject) -> list[str]:
    places = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


@given(texts, st.data())
def test_pieces_make_no_difference(text: str, data: st.DataObject) -> None:
    assert read(*cut(text, data)) == read(text)


@given(texts)
def test_nothing_is_lost_where_there_is_no_call(text: str) -> None:
    left, calls = read(text)
    assert calls or left == text


@given(objects, st.sampled_from(["hermes", "mistral", "named", "llama"]), st.data())
def test_arguments_come_back_whatever_they_hold(
    arguments: dict[str, Any], kind: str, data: st.DataObject
) -> None:
    own = json.dumps(arguments, ensure_ascii=data.draw(st.booleans()))
    body = f'{{"name": "now", "arguments": {own}}}'
    text = {
        "hermes": f"<tool_call>\n{body}\n</tool_call>",
        "mistral": f"[TOOL_CALLS] [{body}]",
        "named": f"[TOOL_CALLS]now[ARGS]{own}",
        "llama": body,
    }[kind]
    left, calls = read(*cut(text, data))
    assert (left, [call.name for call in calls]) == ("", ["now"])
    assert json.loads(calls[0].arguments) == arguments
