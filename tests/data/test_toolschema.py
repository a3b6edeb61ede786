"""Schemas of tools: what breaks them is told without values, and no schema can hang or fetch."""

from __future__ import annotations

import http.server
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftjobs.data.toolschema import MAX_MISTAKES, Fault, call_faults, schema_of

ORDER = {
    "type": "object",
    "properties": {
        "id": {"type": "integer", "minimum": 1},
        "unit": {"enum": ["box", "piece"]},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}},
    },
    "required": ["id"],
    "additionalProperties": False,
    "$defs": {"line": {"type": "object", "properties": {"part": {"type": ["string", "null"]}}}},
}


def told(parameters: dict[str, Any], arguments: dict[str, Any]) -> list[str]:
    schema = schema_of(parameters)
    faults = schema.mistakes(arguments)
    assert schema.accepts(arguments) == (faults == ())
    assert {fault.code for fault in faults} <= {"FT419"}
    return [fault.message for fault in faults]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"id": 1}, []),
        ({"id": 3, "unit": "box", "lines": [{"part": None}, {"more": 1}]}, []),
        ({}, ['arguments: the required key "id" is missing']),
        ({"id": "secret"}, ["arguments/id: the schema wants integer"]),
        ({"id": 0}, ['arguments/id: breaks "minimum" of the schema']),
        ({"id": 1, "unit": "secret"}, ["arguments/unit: none of the values that the schema lists"]),
        (
            {"id": 1, "lines": [{}, {"part": 5}]},
            ["arguments/lines/1/part: the schema wants null or string"],
        ),
        ({"id": 1, "color": 2}, ['arguments: the schema has no key "color"']),
        ({"id": 1, "my secret": 2}, ["arguments: the schema has no key of 9 characters"]),
    ],
)
def test_mistakes(arguments: dict[str, Any], expected: list[str]) -> None:
    assert told(ORDER, arguments) == expected


def test_a_place_is_told_only_as_far_as_its_keys_are_plain() -> None:
    schema = {"additionalProperties": {"additionalProperties": {"type": "string"}}}
    assert told(schema, {"a": {"my secret": 1}}) == ["arguments/a: the schema wants string"]


def test_many_mistakes_are_cut() -> None:
    assert len(told({"additionalProperties": False, "required": ["a"]}, {})) == 1
    many = {f"k{number}": number for number in range(99)}
    assert len(told({"additionalProperties": {"type": "string"}}, many)) == MAX_MISTAKES


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"properties": {"a": {"type": "dict"}}}, "parameters/properties/a/type is not allowed"),
        ({"properties": {"a": {"type": "string", "required": True}}}, "wants array"),
        ({"properties": [1]}, "parameters/properties is not allowed here"),
        ({"properties": {"a": {"pattern": "("}}}, "properties/a/pattern is no regex"),
        ({"$ref": "#/$defs/gone"}, "refers to a schema that the row does not hold"),
        ({"$ref": "https://lamps.example/s.json"}, "that the row does not hold"),
        ({"type": "array"}, 'must have the type "object"'),
        ({"type": ["string", "null"]}, 'must have the type "object"'),
        ({"$schema": 5}, "$schema"),
    ],
)
def test_broken_schemas(parameters: dict[str, Any], message: str) -> None:
    fault = schema_of(parameters).fault
    assert fault is not None
    assert fault.code == "FT420"
    assert message.removeprefix("$schema") in fault.message
    assert schema_of(parameters).mistakes({"a": 1}) == ()  # one fault, where the tool is declared
    assert schema_of(parameters).accepts({"a": 1})


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"type": "object"},
        {"type": ["object", "null"]},
        {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}]},
        {"type": "object", "properties": {"a": {"format": "no-such-format", "nullable": True}}},
        {"properties": {"$ref": {"type": "string"}, "tree": {"$ref": "#"}}},
    ],
)
def test_sound_schemas(parameters: dict[str, Any]) -> None:
    assert schema_of(parameters).fault is None
    assert told(parameters, {}) == []


def test_a_tree_may_refer_to_itself() -> None:
    tree = {
        "type": "object",
        "properties": {
            "value": {"type": "integer"},
            "children": {"type": "array", "items": {"$ref": "#"}},
        },
        "required": ["value"],
    }
    leaf = {"value": 1, "children": []}
    good = {"value": 1, "children": [{"value": 2, "children": [leaf] * 20}] * 20}
    assert told(tree, good) == []
    bad = {"value": 1, "children": [leaf, {"value": 2, "children": [{}]}]}
    assert told(tree, bad) == [
        'arguments/children/1/children/0: the required key "value" is missing'
    ]


def doubling(levels: int) -> dict[str, Any]:
    steps = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)}
    return {"$ref": "#/$defs/d0", "$defs": {**steps, f"d{levels}": {"type": "object"}}}


def branching(depth: int) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for _ in range(depth):
        arguments = {"a": arguments}
    return arguments


@pytest.mark.parametrize(
    ("parameters", "arguments"),
    [
        (doubling(60), {}),
        ({"allOf": [{"$ref": "#"}, {"$ref": "#"}]}, {}),
        ({"properties": {"a": {"allOf": [{"$ref": "#"}] * 4}}}, branching(40)),
        ({"properties": {"a": {"pattern": "^(a|a)*\\1$"}}}, {"a": "a" * 60 + "b"}),
        ({"const": branching(300)}, {}),
        ({"properties": {f"k{n}": {"type": "string"} for n in range(9000)}}, {}),
        ({"enum": ["x" * 60_000]}, {"a": "y" * 60_000}),
    ],
)
def test_hostile_schemas_end_soon(parameters: dict[str, Any], arguments: dict[str, Any]) -> None:
    begun = time.monotonic()
    schema = schema_of(parameters)
    faults = schema.mistakes(arguments)
    assert time.monotonic() - begun < 5
    codes = {fault.code for fault in (schema.fault, *faults) if fault is not None}
    assert codes == {"FT426"}
    assert schema.accepts(arguments) == (faults == ())


def test_nothing_is_ever_fetched() -> None:
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *args: object) -> None:
            """Quiet."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}/s.json"
        for schema in ({"$ref": address}, {"$schema": address}, {"$id": address, "$ref": "b.json"}):
            fault = schema_of(schema).fault
            assert fault is not None
            assert "127.0.0.1" not in fault.message
        server.shutdown()
        thread.join()
    assert asked == []


def test_calls() -> None:
    declared = {"order": schema_of(ORDER), "now": None}
    assert call_faults("order", {"id": 1}, declared) == ()
    assert call_faults("order", None, declared) == ()  # FT414 says what is wrong
    assert call_faults("now", {"x": 1}, declared) == ()
    assert call_faults("ordr", {}, declared) == (
        Fault("FT418", 'no tool of this row is called "ordr"'),
    )
    assert call_faults("order", {}, declared)[0].code == "FT419"


def test_one_schema_is_compiled_once_and_shared_by_threads() -> None:
    assert schema_of(ORDER) is schema_of(json.loads(json.dumps(ORDER)))
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda n: told({**ORDER, "title": str(n % 5)}, {"id": n}), range(400))
        )
    assert [bool(answer) for answer in answers] == [n == 0 for n in range(400)]


KEYS = st.sampled_from(["a", "b"])
PARTS = st.recursive(
    st.sampled_from(
        [
            {},
            {"type": "string"},
            {"type": "integer", "minimum": 2},
            {"const": 1},
            {"enum": [1, "x"]},
        ]
    ),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"properties": st.dictionaries(KEYS, inner)}),
        st.fixed_dictionaries({"items": inner, "type": st.just("array")}),
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"not": inner}),
        st.fixed_dictionaries({"required": st.lists(KEYS, unique=True)}),
        st.fixed_dictionaries({"additionalProperties": inner}),
    ),
    max_leaves=5,
)
VALUES = st.recursive(
    st.sampled_from([1, 2, 3.5, "x", None, True]),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(KEYS, inner)),
    max_leaves=5,
)


@given(PARTS, st.dictionaries(KEYS, VALUES))
@settings(deadline=None, max_examples=150)
def test_it_judges_as_the_reference_implementation(
    part: dict[str, Any], value: dict[str, Any]
) -> None:
    parameters = {"properties": {"a": part}}
    expected = jsonschema.Draft202012Validator(parameters).is_valid(value)
    assert (told(parameters, value) == []) == expected
