"""The tiers agree: the faster ones accept a line only where the slow one finds nothing, and leave
no line to it for any other reason than that its texts need a closer look.
"""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ftjobs.data import index
from ftjobs.data import plain as module
from ftjobs.data.content import may_hold_faults, text_faults
from ftjobs.data.fast import accept
from ftjobs.data.plain import plain_rows
from ftjobs.data.slow import explain_line
from ftjobs.data.targets import TARGETS, Target

OPENAI = TARGETS["openai"]
USER = {"role": "user", "content": "Where is the lamp?"}
ANSWER = {"role": "assistant", "content": "On the shelf."}
CALL = {"id": "a", "type": "function", "function": {"name": "find", "arguments": '{"x": 1}'}}
TOOL = {
    "type": "function",
    "function": {
        "name": "find",
        "description": "Finds.",
        "strict": True,
        "parameters": {"type": "object", "properties": {"x": {"maximum": 1.5, "enum": [1, None]}}},
    },
}
IMAGE = {"type": "image_url", "image_url": {"url": "https://lamps.example/1", "detail": "low"}}
ROWS: list[dict[str, Any]] = [
    {"messages": [USER, ANSWER]},
    {"messages": [{"role": "system", "content": "Be brief.", "name": "s"}, USER, ANSWER]},
    {"messages": [USER, {**ANSWER, "weight": 0}, {**USER, "name": "b"}, {**ANSWER, "weight": 1}]},
    {
        "messages": [
            USER,
            {"role": "assistant", "content": None, "tool_calls": [CALL, {**CALL, "id": "b"}]},
            {"role": "tool", "tool_call_id": "b", "content": "", "name": "find"},
            {"role": "tool", "tool_call_id": "a", "content": "1"},
            ANSWER,
        ],
        "tools": [TOOL],
        "parallel_tool_calls": True,
    },
    {"messages": [USER, {"role": "assistant", "tool_calls": [CALL]}], "tools": [TOOL]},
    {
        "messages": [
            {"role": "user", "content": [IMAGE, {"type": "text", "text": "What is this?"}]},
            {"role": "assistant", "content": [{"type": "text", "text": 'A lamp\\" \\'}]},
        ]
    },
    {
        "input": {"messages": [USER], "tools": [TOOL], "parallel_tool_calls": False},
        "preferred_output": [ANSWER],
        "non_preferred_output": [{"role": "assistant", "content": "日本語 😀"}],
    },
    {
        "input": {"messages": [USER]},
        "preferred_output": [
            {"role": "assistant", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "a", "content": "1"},
            ANSWER,
        ],
        "non_preferred_output": [ANSWER],
    },
]
WORDS = sorted(
    {"system", "user", "assistant", "tool", "developer", "function", "function_call", "functions"}
    | {"messages", "role", "content", "name", "weight", "tool_calls", "tool_call_id", "tools"}
    | {"text", "image_url", "url", "type", "id", "arguments", "parameters", "a", "b", "{}", "[]"}
    | {"", " ", "　", "\\", '"', "\\u0022", "\x00", "\ud800", "😀", "preferred_output", "line"}
)
SNIPPETS = [
    *(b",", b"{", b"}", b"[", b"]", b'"', b"\\", b":", b" ", b"\t", b"\r", b"\n", b"\x00", b"\xff"),
    *(b"NaN", b"-Infinity", b"1e999", b"-0", b"01", b"1.0", b"0", b"true", b"null", b"None"),
    *(b"\\ud800", b"\\ud83d\\ude00", b"\\udc00", b"\\x", b"\\\\", b"\xef\xbb\xbf", b"\xed\xa0\x80"),
    *(b'"role": "user", ', b'"r\\u006fle": "user", ', b'"content": "x", ', b'"weight" : 1, '),
    *(b"[" * 70, b"]" * 70, b"9" * 400, b"9" * 5000),
]
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2), st.floats(), st.sampled_from(WORDS), st.text()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(WORDS), inner, max_size=3),
        st.sampled_from([USER, ANSWER, CALL, TOOL, IMAGE, [USER, ANSWER]]),
    ),
    max_leaves=5,
)


def containers(value: Any) -> list[Any]:
    children = value.values() if isinstance(value, dict) else value
    if not isinstance(value, dict | list):
        return []
    return [value, *(found for child in children for found in containers(child))]


@st.composite
def damaged_rows(draw: st.DrawFn) -> dict[str, Any]:
    """A valid row with up to three values replaced, removed, repeated, moved or added."""
    row: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(ROWS)))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.sampled_from(containers(row)))
        if isinstance(place, dict):
            key = draw(st.sampled_from([*place, *WORDS]))
            if draw(st.booleans()):
                place[key] = copy.deepcopy(draw(VALUES))
            elif key in place:
                value = place.pop(key)
                if draw(st.booleans()):
                    place[draw(st.sampled_from(WORDS))] = value
        elif place and draw(st.booleans()):
            index = draw(st.integers(0, len(place) - 1))
            if draw(st.booleans()):
                place.insert(draw(st.integers(0, len(place))), copy.deepcopy(place[index]))
            else:
                del place[index]
        else:
            place.insert(draw(st.integers(0, len(place))), copy.deepcopy(draw(VALUES)))
    return row


@st.composite
def damaged_lines(draw: st.DrawFn) -> bytes:
    """A row as JSON, with up to two places of its text cut or overwritten."""
    text = json.dumps(draw(damaged_rows()), ensure_ascii=draw(st.booleans()))
    line = text.encode(errors="surrogatepass")
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(line)))
        cut = draw(st.integers(0, 3))
        line = line[:at] + draw(st.sampled_from([*SNIPPETS, b""])) + line[at + cut :]
    return line


def plain(*lines: bytes) -> list[list[bytes] | None]:
    found = plain_rows(lines, may_hold_faults)
    return [None if texts is None else [*map(bytes, texts)] for texts in found]


@given(damaged_lines(), st.sampled_from([*TARGETS.values()]))
@settings(deadline=None, max_examples=600)
@example(b"", OPENAI)
@example(b'{"messages":[]}', OPENAI)
@example(
    b'{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"\\\\"}]}', OPENAI
)
@example(b'{"messages":[{"role" :"user","role":"user","content":"x"}]}', OPENAI)
def test_the_tiers_agree(line: bytes, target: Target) -> None:
    method, findings = explain_line(line, target=target)
    accepted = accept(line, target)
    closer_look = method == "reinforcement" or may_hold_faults(line)
    assert (accepted is not None) == (findings == () and not closer_look), findings
    if accepted is not None:
        assert accepted == (method, index.texts_of(line, method))
    (texts,) = plain(line) if b"\n" not in line else [None]
    if texts is not None:
        assert accepted == ("supervised", texts)


@given(st.lists(damaged_lines(), max_size=5), st.randoms())
@settings(deadline=None, max_examples=200)
def test_a_block_is_the_sum_of_its_lines(damaged: list[bytes], random: Random) -> None:
    sound = [json.dumps(row, ensure_ascii=False).encode() for row in ROWS]
    compact = [json.dumps(row, separators=(",", ":")).encode() for row in ROWS]
    lines = [line for line in [*damaged, *sound, *compact] if b"\n" not in line]
    random.shuffle(lines)
    alone = [found for line in lines for found in plain(line)]
    assert plain(*lines) == alone


@pytest.mark.parametrize("end", [b"", b"\r"])
@pytest.mark.parametrize("separators", [(", ", ": "), (",", ":")])
def test_plain_rows_are_accepted_however_they_are_spaced(
    separators: tuple[str, str], end: bytes
) -> None:
    rows = ROWS[0], {"messages": [USER, {**ANSWER, "weight": 0}, USER, {**ANSWER, "weight": 1}]}
    for row in rows:
        line = json.dumps(row, separators=separators, ensure_ascii=False).encode() + end
        said: list[dict[str, Any]] = cast("Any", row)["messages"]
        texts = [json.dumps(one["content"]).encode() for one in said]
        texts.insert(0, "".join(one["role"][0] for one in said).encode())
        assert plain(line) == [texts]
        assert plain(line, b"{", line) == [texts, None, texts]


@pytest.mark.parametrize("row", ROWS)
def test_both_tiers_accept_what_is_valid(row: dict[str, Any]) -> None:
    for ascii_only in (True, False):
        line = json.dumps(row, ensure_ascii=ascii_only).encode()
        method, findings = explain_line(line, target=OPENAI)
        assert findings == ()
        assert accept(line, OPENAI) == (method, index.texts_of(line, method))


def method_of(line: bytes) -> str | None:
    accepted = accept(line)
    return accepted and accepted.method


def test_a_word_of_another_method_changes_nothing() -> None:
    row = copy.deepcopy(ROWS[4])
    row["tools"][0]["function"]["parameters"] = {"preferred_output": "messages"}
    assert method_of(json.dumps(row).encode()) == "supervised"
    escaped = json.dumps(ROWS[6]).replace("preferred_output", "preferred\\u005foutput").encode()
    assert explain_line(escaped, target=OPENAI) == ("dpo", ())


def nested(levels: int) -> bytes:
    """A chat row whose tools' parameters hold lists, `levels` deep in all."""
    row = copy.deepcopy(ROWS[4])
    row["tools"][0]["function"]["parameters"] = {"x": 0}
    lists = levels - 5  # the row, its tools, the tool, the function, the parameters
    return json.dumps(row).replace('"x": 0', f'"x": {"[" * lists}{"]" * lists}').encode()


def test_the_tiers_agree_on_depth() -> None:
    assert explain_line(nested(64)).findings == ()
    assert method_of(nested(64)) == "supervised"
    assert [finding.code for finding in explain_line(nested(65)).findings] == ["FT209"]
    assert accept(nested(65)) is None
    assert accept(nested(100_000)) is None
    assert [finding.code for finding in explain_line(nested(100_000)).findings] == ["FT209"]


def test_the_tiers_agree_on_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_MESSAGES", 100)
    row = {"messages": [USER, ANSWER] * 51}
    assert plain(json.dumps(row).encode()) == [None]
    row["messages"].pop()
    row["messages"].pop()
    assert plain(json.dumps(row).encode()) != [None]


@pytest.mark.parametrize(
    "number", ["9" * 308, "9" * 309, "9" * 5000, "1e308", "1e309", "-0", "1e-999"]
)
def test_the_tiers_agree_on_numbers(number: str) -> None:
    row = copy.deepcopy(ROWS[4])
    row["tools"][0]["function"]["parameters"] = {"x": 0}
    line = json.dumps(row).replace('"x": 0', f'"x": {number}').encode()
    assert (accept(line) is not None) == (explain_line(line).findings == ())


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        ((b"the lamp", b"the \xff lamp"), "FT104"),
        ((b'On the shelf."', b'On the shelf.", "weight": 0'), "FT402"),
        ((b"On the shelf.", b"[INST] On the shelf."), "FT602"),
        ((b"On the shelf.", b"<|im_start|>"), "FT601"),
        ((b"On the shelf.", b"\xe2\x80\xae."), "FT605"),
        ((b"On the shelf.", b"\xe3\x80\x80\\n"), "FT405"),
        ((b'"On the shelf."', b"17"), "FT302"),
        ((b'"content": "On', b'"content": "x", "content": "On'), "FT205"),
        ((b'"role": "user"', b'"role": "assistant"'), "FT408"),
    ],
)
def test_a_block_of_plain_rows_hides_no_mistake(damage: tuple[bytes, bytes], code: str) -> None:
    sound = json.dumps(ROWS[0]).encode()
    broken = sound.replace(*damage)
    assert broken != sound
    assert code in {finding.code for finding in explain_line(broken).findings}
    found = plain(*[sound] * 3, broken, *[sound] * 3)
    assert [texts is None for texts in found] == [False] * 3 + [True] + [False] * 3


@pytest.mark.parametrize(
    "token",
    [
        *("<|endoftext|>", "<|im_start|>", "<｜begin▁of▁sentence｜>", "<start_of_turn>"),
        *("<end_of_turn>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "<<SYS>>"),
        *("<s>Hi", "Hi</s>", "<bos>Hi", "Hi<eos>", "â€™", "\x7f", "\ufffd", "\u200b", "\u2067"),
    ],
)
def test_the_quick_look_misses_no_fault(token: str) -> None:
    assert text_faults(token)
    for ascii_only in (True, False):
        text = json.dumps(token, ensure_ascii=ascii_only)
        assert may_hold_faults(text.encode())
        assert may_hold_faults(text.replace("/", "\\/").encode())
