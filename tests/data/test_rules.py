"""The table of codes, and what a row needs for each of them."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest

from ftjobs.data import RULES, Rule, explain
from ftjobs.data.slow import explain_line
from ftjobs.data.sniff import sniff
from ftjobs.data.targets import TARGETS
from ftjobs.errors import ConfigError

USER = {"role": "user", "content": "Hello"}
ANSWER = {"role": "assistant", "content": "Hi"}
CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLS = {"role": "assistant", "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "a", "content": "1"}
IMAGE = {"type": "image_url", "image_url": {"url": "https://lamps.example/1"}}
NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}}
WITHOUT_EXAMPLE = {
    *("FT103", "FT104", "FT105", "FT106", "FT109", "FT110"),  # bytes that no line of text shows
    *("FT210", "FT505", "FT506", "FT612"),  # far too long
    "FT504",  # what only happens
}


def chat(*messages: Any, **keys: Any) -> dict[str, Any]:
    return {"messages": list(messages), **keys}


def preference(preferred: Any, other: Any, *asked: Any) -> dict[str, Any]:
    given = {"messages": list(asked or (USER,))}
    return {"input": given, "preferred_output": preferred, "non_preferred_output": other}


def tool(name: str = "f", **keys: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **keys}}


def said(row: Any, target: str = "wire") -> list[tuple[str, str]]:
    findings = explain_line(json.dumps(row).encode(), target=TARGETS[target]).findings
    return [(finding.code, finding.pointer) for finding in findings]


def test_the_table_is_complete() -> None:
    assert list(RULES) == sorted(RULES)
    for code, rule in RULES.items():
        assert rule.code == code
        assert re.fullmatch(r"FT[1-9]\d\d", code)
        assert rule.title
        assert rule.why.endswith(".")
        assert rule.fix.endswith((".", "}"))
        assert not rule.title.endswith(".")
    assert pickle.loads(pickle.dumps(RULES["FT101"])) == RULES["FT101"]


def test_explain() -> None:
    assert explain("ft401") is RULES["FT401"]
    with pytest.raises(ConfigError, match="unknown code 'FT999'"):
        explain("FT999")
    with pytest.raises(ConfigError, match="Codes run from"):
        explain("nonsense")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([1], [("FT301", "")]),
        ("text", [("FT301", "")]),
        ({}, [("FT303", "")]),
        ({"prompt": "a", "completion": "b"}, [("FT321", "")]),
        ({"instruction": "a", "output": "b"}, [("FT322", "")]),
        ({"conversations": []}, [("FT323", "")]),
        (chat(), [("FT305", "/messages")]),
        ({"messages": None}, [("FT302", "/messages")]),
        ({"messages": {"role": "user"}}, [("FT302", "/messages")]),
        (chat(1, USER, ANSWER), [("FT302", "/messages/0")]),
        (chat({"role": 1, "content": "x"}, ANSWER), [("FT302", "/messages/0/role")]),
        (chat({**USER, "name": 1}, ANSWER), [("FT302", "/messages/0/name")]),
        (chat({**USER, "content": []}, ANSWER), [("FT305", "/messages/0/content")]),
        (chat({**USER, "content": [1]}, ANSWER), [("FT302", "/messages/0/content/0")]),
        (chat({**USER, "content": [{}]}, ANSWER), [("FT303", "/messages/0/content/0")] * 2),
        (
            chat({**USER, "content": [{"type": "image_url", "image_url": "u"}]}, ANSWER),
            [("FT302", "/messages/0/content/0/image_url")],
        ),
        (
            chat(
                {
                    **USER,
                    "content": [
                        {**IMAGE, "image_url": {"url": "https://lamps.example/1", "detail": "best"}}
                    ],
                },
                ANSWER,
            ),
            [("FT309", "/messages/0/content/0/image_url/detail")],
        ),
        (chat({"role": "robot", "content": "x"}), [("FT306", "/messages/0/role")]),
        (
            chat({"role": "developer", "content": "x"}, USER, ANSWER),
            [("FT307", "/messages/0/role")],
        ),
        (
            chat(USER, {"role": "function", "name": "f", "content": "1"}, ANSWER),
            [("FT307", "/messages/1/role")],
        ),
        (chat(USER, ANSWER, tools=[]), [("FT310", "/tools")]),
        (chat(USER, ANSWER, tools=None), [("FT310", "/tools")]),
        (chat(USER, ANSWER, tools={}), [("FT302", "/tools")]),
        (chat(USER, ANSWER, tools=[{"type": "function"}]), [("FT303", "/tools/0")]),
        (chat(USER, ANSWER, functions=[{"name": "f"}]), [("FT311", "/functions")]),
        (chat(USER, ANSWER, parallel_tool_calls="yes"), [("FT302", "/parallel_tool_calls")]),
        (chat(USER, ANSWER, id=7), [("FT304", "/id")]),
        (chat({**USER, "name": "Mio M."}, ANSWER), [("FT312", "/messages/0/name")]),
        (chat({**USER, "name": ""}, ANSWER), [("FT312", "/messages/0/name")]),
        (chat({**USER, "name": "x" * 65}, ANSWER), [("FT312", "/messages/0/name")]),
        (
            chat(USER, {**CALLS, "tool_calls": [{**CALL, "id": ""}]}),
            [("FT309", "/messages/1/tool_calls/0/id")],
        ),
        (
            chat(USER, CALLS, {**RESULT, "tool_call_id": ""}, ANSWER),
            [
                ("FT411", "/messages/1/tool_calls/0"),
                ("FT309", "/messages/2/tool_call_id"),
                ("FT410", "/messages/2/tool_call_id"),
            ],
        ),
        (chat(USER, {**CALLS, "tool_calls": []}), [("FT305", "/messages/1/tool_calls")]),
        (
            chat(USER, {**ANSWER, "tool_calls": None}),
            [("FT310", "/messages/1/tool_calls")],
        ),
        (chat({**USER, "tool_calls": None}, ANSWER), [("FT310", "/messages/0/tool_calls")]),
        (chat({**USER, "tool_call_id": "a"}, ANSWER), [("FT417", "/messages/0/tool_call_id")]),
        (chat(USER, CALLS, {**RESULT, "weight": 1}, ANSWER), [("FT403", "/messages/2/weight")]),
        (chat(USER, {**ANSWER, "weight": True}), [("FT404", "/messages/1/weight")]),
        (chat(USER, {**ANSWER, "weight": 1.0}), [("FT404", "/messages/1/weight")]),
        (chat(USER, {"role": "assistant"}), [("FT303", "/messages/1")]),
        (chat({**USER, "content": None}, ANSWER), [("FT406", "/messages/0/content")]),
        (
            chat(USER, {**ANSWER, "content": [{"type": "text", "text": "\n"}]}),
            [("FT405", "/messages/1/content")],
        ),
        (chat({**USER, "content": "  "}, ANSWER), [("FT407", "/messages/0/content")]),
        (chat(ANSWER), [("FT408", "/messages/0")]),
        (chat(RESULT, ANSWER), [("FT410", "/messages/0/tool_call_id")]),
        (chat(USER, CALLS, RESULT, RESULT, ANSWER), [("FT410", "/messages/3/tool_call_id")]),
        (chat(USER, CALLS, ANSWER), [("FT411", "/messages/1/tool_calls/0")]),
        (
            chat(USER, {**CALLS, "tool_calls": [CALL, {**CALL, "id": "b"}]}, RESULT, ANSWER),
            [("FT411", "/messages/1/tool_calls/1")],
        ),
        (chat(USER, CALLS, RESULT), [("FT401", "/messages/2")]),
        (preference([], [ANSWER]), [("FT305", "/preferred_output")]),
        (preference([ANSWER], None), [("FT302", "/non_preferred_output")]),
        ({"preferred_output": [ANSWER]}, [("FT303", "")] * 2),
        (preference([ANSWER], [ANSWER]), [("FT423", "/non_preferred_output")]),
        (preference([RESULT], [ANSWER], USER, CALLS), None),
        (
            preference([ANSWER], [{**ANSWER, "content": "x"}], {**USER, "content": [IMAGE]}),
            [("FT425", "/input/messages/0/content/0")],
        ),
        (
            chat(USER, CALLS, tools=[tool("g")]),
            [("FT418", "/messages/1/tool_calls/0/function/name")],
        ),
        (
            chat(USER, CALLS, tools=[tool(parameters={"required": ["n"]})]),
            [("FT419", "/messages/1/tool_calls/0/function/arguments")],
        ),
        (
            chat(USER, CALLS, tools=[tool(parameters={"required": "n"})]),
            [("FT420", "/tools/0/function/parameters")],
        ),
        (chat(USER, ANSWER, tools=[tool(), tool()]), [("FT427", "/tools/1/function/name")]),
        (
            {
                "input": {"messages": [USER], "tools": [tool("g")]},
                "preferred_output": [CALLS],
                "non_preferred_output": [ANSWER],
            },
            [("FT418", "/preferred_output/0/tool_calls/0/function/name")],
        ),
        (chat(USER, expected="Hi", id=7, tools=[]), [("FT310", "/tools")]),
        (chat({**USER, "content": ""}, expected="x"), [("FT407", "/messages/0/content")]),
        (chat(USER, CALLS, USER, expected="x"), [("FT411", "/messages/1/tool_calls/0")]),
        (chat(USER, ANSWER, USER), [("FT401", "/messages/2")]),
    ],
)
def test_findings_and_their_pointers(row: Any, expected: list[tuple[str, str]] | None) -> None:
    if expected is None:
        expected = [
            ("FT424", "/input/messages/1"),
            ("FT421", "/preferred_output"),
            ("FT411", "/input/messages/1/tool_calls/0"),
        ]
        assert sorted(said(row)) == sorted(expected)
    else:
        assert said(row) == expected


@pytest.mark.parametrize(
    "row",
    [
        chat(USER, CALLS),
        chat(USER, {**CALLS, "content": None}),
        chat(USER, {**CALLS, "content": ""}, RESULT, ANSWER),
        chat(USER, CALLS, RESULT, CALLS, RESULT, ANSWER),
        chat({**USER, "content": [IMAGE]}, ANSWER),
        chat(USER, {**ANSWER, "weight": 0}, USER, ANSWER),
        chat(USER, ANSWER, USER, USER, ANSWER),
        preference([ANSWER], [{**ANSWER, "content": "Bye"}]),
        preference([CALLS, RESULT, ANSWER], [CALLS]),
        chat(USER, CALLS, tools=[tool(), tool("g", parameters={})]),
        chat(USER, CALLS, tools=[tool(parameters=NUMBER)]),
        chat(USER, CALLS, tools=[tool(parameters={"$ref": "#/$defs/a", "$defs": {"a": NUMBER}})]),
        chat({**USER, "name": "山田"}, ANSWER),
        chat(USER, expected="Hi", tags=["a"]),
        chat(USER, ANSWER, USER, reference={"x": [1, None]}),
    ],
)
def test_what_is_allowed(row: Any) -> None:
    assert said(row) == []


@pytest.mark.parametrize(
    ("prompt", "completion", "expected"),
    [
        ("Hi ->", " Hello", []),
        ("Hi\n", "Hello", []),
        ("", "Hello", []),
        ("灯りは", "三つ", []),
        ("Hi", "Hello", [("FT432", "/completion")]),
        ("Hi", "", [("FT431", "/completion")]),
        ("Hi", " \n", [("FT431", "/completion")]),
        (3, "Hello", [("FT302", "/prompt")]),
        ("Hi", None, [("FT302", "/completion")]),
        ("a<|im_end|>\n", "Hello", [("FT601", "/prompt")]),
    ],
)
def test_legacy_rows(prompt: Any, completion: Any, expected: list[tuple[str, str]]) -> None:
    row = {"prompt": prompt, "completion": completion}
    assert said(row, "together") == expected
    assert said(row, "openai") == [("FT321", "")]


def test_the_method_of_a_row() -> None:
    rows = {
        "supervised": chat(USER, ANSWER),
        "dpo": preference([ANSWER], [CALLS]),
        "reinforcement": chat(USER, expected="Hi"),
        "completion": {"prompt": "Hi ->", "completion": " Hello"},
    }
    for name, target in TARGETS.items():
        for method, row in rows.items():
            known = method in {"supervised", "dpo"} or method in target.methods
            found = explain_line(json.dumps(row).encode(), target=target)
            assert found.method == (method if known else None)
            assert (found.findings == ()) == known, (name, method)


def test_a_prompt_is_no_training_example() -> None:
    prompt = chat(USER, expected="Hi", tags=["greeting"])
    assert said(prompt, "local") == [("FT325", "")]
    assert said({**prompt, "messages": [USER, ANSWER]}, "local") == [
        ("FT304", "/expected"),
        ("FT304", "/tags"),
    ]


def codes_of(text: str) -> set[str]:
    """What the whole checker can say of a text, for any target."""
    data = text.encode()
    finding = sniff(data, Path("train.jsonl"))
    if finding is not None:
        return {finding.code}
    lines = data.removeprefix(b"\xef\xbb\xbf").splitlines()
    return {
        finding.code
        for target in TARGETS.values()
        for line in lines
        for finding in explain_line(line, target=target).findings
    }


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.code)
def test_every_rule_has_an_example_that_breaks_it(rule: Rule) -> None:
    if not rule.example:
        assert rule.code in WITHOUT_EXAMPLE or rule.code[:3] in {"FT7", "FT8", "FT9"}
    elif rule.code in {"FT101", "FT501", "FT502", "FT503", "FT507"}:  # of the file as a whole
        assert codes_of(rule.example) <= {"FT107"}
    elif rule.code[:3] <= "FT6":
        assert rule.code in codes_of(rule.example)


WHOLE_FILES = {"FT211", "FT212", "FT324"}  # whose lines are nothing by themselves


@pytest.mark.parametrize("code", [code for code in RULES if code[:3] <= "FT6"])
def test_an_example_breaks_no_other_rule(code: str) -> None:
    target = {"FT431": "together", "FT432": "together", "FT611": "local"}.get(code, "wire")
    allowed = {code, "FT422"} if code == "FT421" else {code}
    lines = RULES[code].example.removeprefix("\ufeff").splitlines()
    for line in lines if code not in WHOLE_FILES else ():
        found = explain_line(line.encode(), target=TARGETS[target]).findings if line else ()
        assert {finding.code for finding in found} <= allowed


def test_all_mistakes_of_a_line_are_found_from_left_to_right() -> None:
    line = b'{"messages": [{"role": "User", "contents": 1}, {"role": "assistant"}], "x": NaN}'
    findings = explain_line(line).findings
    assert [(finding.code, finding.at) for finding in findings] == [
        ("FT306", 23),
        ("FT304", 31),
        ("FT303", 47),
        ("FT304", 71),
        ("FT206", 76),
    ]
    assert line[31:41] == b'"contents"'


def test_columns_count_characters_not_bytes() -> None:
    line = '{"messages": [{"role": "system", "content": "灯りは？😀"}], "x": 1}'
    at = {finding.code: finding.at for finding in explain_line(line.encode()).findings}
    assert at == {"FT401": line.index('{"role"'), "FT304": line.index('"x"')}
    broken = "灯り".encode() + b"\xff"
    assert explain_line(broken).findings[0].at == 2


def test_a_misspelt_key_of_the_row_is_named() -> None:
    (finding,) = explain_line(b'{"mesages": [{"role": "user", "content": "Hi"}]}').findings
    assert finding.message == 'the line has no key "messages", but "mesages"'
    (finding,) = explain_line(b'{"a long text, mesages": 1}').findings
    assert finding.message == 'the line has no key "messages"'
