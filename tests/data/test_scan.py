"""The JSON reader of the slow tier: the same values as `json`, and the place of every mistake."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftjobs.data.conversation import plain
from ftjobs.data.scan import Node, scan, shown

JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
    ),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(max_size=5), inner)),
    max_leaves=20,
)


def codes(text: str) -> list[tuple[str, int | None]]:
    return [(finding.code, finding.at) for finding in scan(text)[1]]


@given(JSON, st.booleans(), st.sampled_from([None, 1]))
@settings(deadline=None)
def test_it_reads_what_json_writes(value: Any, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    root, findings = scan(text)
    assert findings == []
    assert root is not None
    assert plain(root) == value


@given(JSON)
@settings(deadline=None)
def test_every_value_is_where_it_says(value: Any) -> None:
    text = json.dumps(value)
    root, _ = scan(text)
    assert root is not None
    decoder = json.JSONDecoder()
    nodes: list[Node] = [root]
    while nodes:
        node = nodes.pop()
        assert decoder.raw_decode(text, node.start)[0] == plain(node)
        if isinstance(node.token, str) and node.parent is not None:
            assert decoder.raw_decode(text, node.key_start)[0] == node.token
        nodes += [*node.items, *node.keys.values()]


@given(st.text(st.sampled_from('{}[]",:\\u0123dD8cC nrtfalse-.+eENIi \t\r\x00é\ufeff')))
@settings(deadline=None, max_examples=500)
def test_it_finds_a_mistake_exactly_where_json_does(text: str) -> None:
    """Strict JSON: `json` without its extensions, which are NaN and Infinity."""
    root, findings = scan(text)
    try:
        value = json.loads(text, parse_constant=lambda word: 1 / 0)
        sound = not text.startswith("\ufeff")
    except (ValueError, ZeroDivisionError):
        sound = False
    ours = [finding for finding in findings if finding.code not in {"FT108", "FT205", "FT208"}]
    assert sound == (not ours)
    if sound and not findings:
        assert root is not None
        assert plain(root) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [("FT204", 0)]),
        ('{"a": 1,}', [("FT202", 7)]),
        ("[1, 2, ]", [("FT202", 5)]),
        ('{"a": 1},', [("FT202", 8)]),
        ('{"a": 1} {"b": 2}', [("FT203", 9)]),
        ('{"a": 1}x', [("FT201", 8)]),
        ('{"a": 1', [("FT204", 7)]),
        ('{"a": "b', [("FT204", 6)]),
        ('{"a"', [("FT204", 4)]),
        ('{"a": 1, "a": 2}', [("FT205", 9)]),
        ('{"a": 1, "\\u0061": 2, "a": 3}', [("FT205", 9), ("FT205", 22)]),
        ('{"a": NaN, "b": [-Infinity, Infinity]}', [("FT206", 6), ("FT206", 17), ("FT206", 28)]),
        ('["a\tb", "c\x00"]', [("FT207", 3), ("FT207", 10)]),
        ("[1e999, -1e999, " + "9" * 400 + "]", [("FT208", 1), ("FT208", 8), ("FT208", 16)]),
        ("[" * 65, [("FT209", 64)]),
        ('["é\\ud83d"]', [("FT108", 3)]),
        ('["\\ude00"]', [("FT108", 2)]),
        ('["\\ud83d\\ude00 \\ud83d\\ud83d\\ude00"]', [("FT108", 15)]),
        ('["\\\\ud83d"]', []),
        ('["\\x"]', [("FT201", 2)]),
        ("{'a': 1}", [("FT201", 1)]),
        ("[True]", [("FT201", 1)]),
        ("[01]", [("FT201", 2)]),
        ("\ufeff[1]", [("FT102", 0)]),
        ("[1]\ufeff", [("FT102", 3)]),
    ],
)
def test_mistakes_and_their_places(text: str, expected: list[tuple[str, int]]) -> None:
    assert codes(text) == expected


def test_several_mistakes_of_one_line_are_all_found() -> None:
    text = '{"a": NaN, "a": "\t", "b": ["\\ud800",], }, '
    assert [code for code, _ in codes(text)] == [
        "FT206",
        "FT207",
        "FT205",
        "FT108",
        "FT202",
        "FT202",
        "FT202",
    ]


def test_pointers() -> None:
    _, findings = scan('{"a": [0, {"b": NaN, "What is the question?": {"c": NaN}}]}')
    assert [finding.pointer for finding in findings] == ["/a/1/b", "/a/1"]


def test_a_line_with_too_many_values() -> None:
    root, findings = scan("[1, 1, 1]", max_values=3)
    assert root is None
    assert [(finding.code, finding.at) for finding in findings] == [("FT210", 7)]
    assert scan("[1, 1, 1]", max_values=4)[1] == []


@pytest.mark.parametrize(
    "text", ['"' + "\\" * 2_000_000, '"' + "a\\n" * 500_000, "[" * 2_000_000, "9" * 2_000_000]
)
def test_long_lines_take_linear_time(text: str) -> None:
    assert scan(text)[1] != []  # quadratic work on these would take hours


def test_words_are_shown_and_texts_are_not() -> None:
    assert shown("wieght") == '"wieght"'
    assert shown("What is the question?") == "of 21 characters"
    assert shown("a" * 33) == "of 33 characters"


def test_kinds() -> None:
    root, _ = scan('[null, true, 1, 1.5, "a", [], {}]')
    assert root is not None
    assert [node.kind for node in root.items] == [
        "null",
        "a boolean",
        "a number",
        "a number",
        "a string",
        "a list",
        "an object",
    ]
    assert math.isclose(float(str(root.items[3].value)), 1.5)
