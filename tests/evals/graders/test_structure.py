import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftjobs.errors import ConfigError
from ftjobs.evals.graders import json_schema, tool_calls
from ftjobs.evals.graders.structure import NotJson, json_of, read_schema, unfenced
from ftjobs.evals.result import Answer, Mark
from tests.evals.graders.marking import mark, score

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
}


@pytest.mark.parametrize(
    ("answer", "right", "note"),
    [
        ('{"name": "Aki", "age": 3}', 1, ""),
        ('  ```json\n{"name": "Aki"}\n```\n', 1, ""),
        ('```\n{"name": "Aki"}```', 1, ""),
        ('{"name": "Aki", "age": 3.0}', 1, ""),
        ('{"name": "Aki", "age": -1}', 0, 'breaks "minimum" of the schema at /age'),
        ('{"age": 3}', 0, 'breaks "required" of the schema'),
        ('Here it is: {"name": "Aki"}', 0, "not JSON"),
        ('```python\n{"name": "Aki"}\n```', 0, "not JSON"),
        ('{"name": "Aki",}', 0, "not JSON"),
        ('{"name": NaN}', 0, "not JSON"),
        ('{"name": "\\ud800"}', 0, "not JSON"),
        ("\ud800", 0, "not JSON"),
        ("", 0, "not JSON"),
        ("``````", 0, "not JSON"),
        ("[" * 100_000, 0, "not JSON"),
        ("9" * 5_000, 0, "not JSON"),
    ],
)
def test_json_schema(answer: str, right: float, note: str) -> None:
    assert mark(json_schema(PERSON), answer) == Mark(score=right, note=note)


def test_a_schema_that_branches_at_every_level_is_fast() -> None:
    kinds = [
        {"properties": {"kind": {"const": kind}, "of": {"$ref": "#/$defs/node"}}} for kind in "abc"
    ]
    objects = [{"type": "object", "required": ["of"], **kind} for kind in kinds]
    schema = {"$defs": {"node": {"anyOf": [*objects, {"type": "null"}]}}, "$ref": "#/$defs/node"}
    deep = '{"of":' * 100 + "{}" + "}" * 100  # 3 ** 100 ways to be wrong
    start = time.process_time()
    assert mark(json_schema(schema), deep) == Mark(score=0, note="breaks the schema")
    assert score(json_schema(schema), deep.replace("{}", "null")) == 1
    assert time.process_time() - start < 2


def test_a_pattern_that_backtracks_for_ever_gives_up() -> None:
    schema = {"pattern": r"^(a+)+\1$"}
    start = time.process_time()
    assert score(json_schema(schema), json.dumps("a" * 50_000 + "!")) == 0
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "strin"}, r"/type is not allowed"),
        ({"properties": 3}, r"/properties is not allowed"),
        ({"$ref": "http://127.0.0.1:9/schema.json"}, "nothing is fetched"),
        ({"$ref": "file:///etc/hostname"}, "nothing is fetched"),
        ({"$ref": "#/$defs/missing"}, "does not hold"),
        ({"$schema": "http://127.0.0.1:9/draft"}, "cannot be used"),
        ({"pattern": "("}, "/pattern is not allowed"),
        ({"const": {1, 2}}, "holds what is no JSON"),
        ([], "is an object"),
    ],
)
def test_a_schema_that_cannot_be_used(schema: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        json_schema(schema)


def test_a_schema_nested_beyond_reason() -> None:
    schema: dict[str, Any] = {}
    for _ in range(100_000):
        schema = {"not": schema}
    with pytest.raises(ConfigError, match="too deeply"):
        json_schema(schema)


def test_schemas_are_read_from_files(tmp_path: Path) -> None:
    path = tmp_path / "answer.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(PERSON).encode())
    assert read_schema(path) == PERSON
    for wrong in (b"{", b"[]", b"\xff", b'"text"', b"[" * 100_000):
        path.write_bytes(wrong)
        with pytest.raises(ConfigError, match=r"answer\.json"):
            read_schema(path)
    with pytest.raises(ConfigError, match="cannot read"):
        read_schema(tmp_path / "missing.json")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="no regular file"):
        read_schema(tmp_path / "pipe")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


@given(VALUES)
def test_json_is_read_as_python_reads_it(value: Any) -> None:
    text = json.dumps(value)
    assert json_of(text) == value
    assert json_of(unfenced(f" ```json\n{text}\n``` ")) == value
    assert unfenced(text) == text


@given(st.text())
def test_a_text_is_json_or_it_is_not(text: str) -> None:
    try:
        json_of(text)
    except NotJson:
        with pytest.raises(ValueError):  # noqa: PT011 - JSONDecodeError, or of a surrogate
            json.loads(text, parse_constant=_refuse)


def _refuse(word: str) -> None:
    raise ValueError(word)


# --- function calls ---------------------------------------------------------------------------


def wire(name: str, arguments: str) -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}


WEATHER = wire("weather", '{"city": "東京", "days": 3}')
TIME = wire("time", "{}")


def calls(*made: dict[str, Any]) -> Answer:
    return Answer(tool_calls=made)


@pytest.mark.parametrize(
    ("answer", "right", "note"),
    [
        (calls(WEATHER), 1, ""),
        (calls(wire("weather", '{"days": 3.0, "city": "\\u6771\\u4eac"}')), 1, ""),
        (calls(wire("weather", '{"city": "東京", "days": true}')), 0, "other arguments: weather"),
        (calls(wire("weather", '{"city": "東京", "days": "3"}')), 0, "other arguments: weather"),
        (calls(wire("weather", '{"city": "東京"')), 0, "a function call cannot be read"),
        (calls(WEATHER, WEATHER), 0, "called without need: weather"),
        (calls(WEATHER, TIME), 0, "called without need: time"),
        (calls(TIME), 0, "not called: weather; called without need: time"),
        (calls(), 0, "not called: weather"),
        (calls({"type": "function"}), 0, "a function call cannot be read"),
        (Answer(text="It is sunny."), 0, "not called: weather"),
        (Answer(text='{"name": "weather", "arguments": {"days": 3, "city": "東京"}}'), 1, ""),
        (Answer(text='[{"name": "weather", "parameters": {"days": 3, "city": "東京"}}]'), 1, ""),
        (
            Answer(
                text='I will look.\n<tool_call>\n{"name": "weather",'
                ' "arguments": {"city": "東京", "days": 3}}\n</tool_call>'
            ),
            1,
            "",
        ),
        (Answer(text=json.dumps(WEATHER)), 1, ""),
        (Answer(text='<tool_call>{"name": "weather"'), 0, "a function call cannot be read"),
        (Answer(text="[" * 100_000), 0, "not called: weather"),
        (Answer(text="<tool_call>" * 50_000), 0, "a function call cannot be read"),
    ],
)
def test_tool_calls(answer: Answer, right: float, note: str) -> None:
    assert mark(tool_calls(), answer, calls=[WEATHER]) == Mark(score=right, note=note)


def test_the_order_of_calls_does_not_count_but_their_number_does() -> None:
    for made, right in [((TIME, WEATHER), 1), ((WEATHER, TIME), 1), ((TIME, TIME, WEATHER), 0)]:
        assert mark(tool_calls(), calls(*made), calls=[WEATHER, TIME]).score == right


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        (Answer(text="It is sunny."), 1),
        (Answer(text='{"name": "Aki", "age": 3}'), 1),
        (Answer(text="[]"), 1),
        (Answer(), 1),
        (calls(TIME), 0),
        (Answer(text='{"name": "time", "arguments": {}}'), 0),
        (Answer(text='{"type": "function", "function": {"name": "a", "arguments": {}}}'), 0),
        (Answer(text='[{"name": "time", "arguments": {}}, {"name": "weather"}]'), 0),
        (Answer(text="<tool_call>…"), 0),
    ],
)
def test_where_no_call_is_expected_any_call_is_wrong(answer: Answer, right: float) -> None:
    assert mark(tool_calls(), answer, calls=()).score == right


def test_arguments_left_out_are_empty_ones() -> None:
    for arguments in ("", "{}", " ", "null"):
        assert mark(tool_calls(), calls(wire("time", arguments)), calls=[TIME]).score == 1
    assert mark(tool_calls(), calls({"name": "time"}), calls=[TIME]).score == 1


def test_what_cannot_be_graded() -> None:
    assert mark(tool_calls(), calls(TIME)) == Mark(score=None, note="no expected function calls")
    broken = mark(tool_calls(), calls(TIME), calls=[wire("time", "{")])
    assert broken == Mark(score=None, note="an expected function call cannot be read")


def test_numbers_beyond_all_limits_are_no_calls() -> None:
    for number in ("1e400", "9" * 5_000):
        made = calls(wire("time", f'{{"at": {number}}}'))
        assert mark(tool_calls(), made, calls=[wire("time", '{"at": null}')]).score == 0


OBJECTS = st.dictionaries(st.text(max_size=5), VALUES, max_size=3)


@settings(max_examples=50)
@given(OBJECTS, OBJECTS)
def test_calls_are_equal_exactly_where_their_arguments_are(one: Any, other: Any) -> None:
    made = calls(wire("f", json.dumps(one, indent=2)))
    assert mark(tool_calls(), made, calls=[{"name": "f", "arguments": one}]).score == 1
    is_same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    found = mark(tool_calls(), made, calls=[wire("f", json.dumps(other))])
    assert found.score == is_same
