"""JSON: lines, lists, objects one after another; and what is broken in them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftjobs.data.checker import check
from ftjobs.data.convert import convert
from ftjobs.data.convert import json_rows as reader
from ftjobs.data.convert.rows import Fault, Row
from ftjobs.data.convert.sources import open_source
from ftjobs.errors import ConfigError, DatasetError
from tests.data.convert.writers import asked, converted, drops

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text('a"\\{}[],\n é😀')),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text('a}"[,'), inner, max_size=3)
    ),
    max_leaves=8,
)
OBJECTS = st.lists(st.dictionaries(st.text('b]{"'), JSON, max_size=3), min_size=1, max_size=5)


class Slow(io.StringIO):
    """Gives as little as it can, so that every place becomes an edge between two pieces."""

    def read(self, size: int | None = -1, /) -> str:
        return super().read(min(size or 1, 3))


@given(values=st.lists(JSON, max_size=5), indent=st.sampled_from([None, 0, 2]), slow=st.booleans())
@settings(deadline=None)
def test_the_items_of_a_list(values: list[Any], indent: int | None, slow: bool) -> None:
    text = json.dumps(values, indent=indent, ensure_ascii=False)
    stream = Slow(text) if slow else io.StringIO(text)
    rows = list(reader.from_documents(stream, path="x", limit=10**6))
    assert [row.value for row in rows if isinstance(row, Row)] == values
    lines = [at for at, line in enumerate(text.split("\n"), start=1) if line.strip()]
    assert {row.place for row in rows} <= set(lines)


@given(values=OBJECTS, indent=st.sampled_from([None, 0, 2]), slow=st.booleans())
@settings(deadline=None)
def test_objects_one_after_another(values: list[Any], indent: int | None, slow: bool) -> None:
    texts = [json.dumps(value, indent=indent, ensure_ascii=False) for value in values]
    text = "\n".join(texts)
    stream = Slow(text) if slow else io.StringIO(text)
    rows = list(reader.from_documents(stream, path="x", limit=10**6))
    assert [row.value for row in rows if isinstance(row, Row)] == values
    starts = [1 + text[: text.index(one)].count("\n") for one in texts]
    assert rows[0].place == starts[0] == 1
    places, at = [], 1
    for one in texts:
        places.append(at)
        at += one.count("\n") + 1
    assert [row.place for row in rows] == places


@given(text=st.text('[]{}",\\: \na1', max_size=30), slow=st.booleans())
@settings(max_examples=300)
def test_no_text_is_lost_without_a_word(text: str, slow: bool) -> None:
    """Whatever stands in a file, it is in a row, in a fault, or in the error."""
    stream = Slow(text) if slow else io.StringIO(text)
    try:
        rows = list(reader.from_documents(stream, path="x", limit=1000))
    except DatasetError:
        return
    if text.strip(" \n[],"):
        assert rows


def test_a_string_of_any_length_is_read_in_linear_time() -> None:
    text = json.dumps([{"a": "x\\" * 3_000_000}])
    (row,) = reader.from_documents(io.StringIO(text), path="x", limit=10**8)
    assert isinstance(row, Row)


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ('[\n{"a": 1},\n{"b": \n', {3: "FT204 line ends too early"}),
        ('[{"a": 1},\n', {2: "FT204 line ends too early"}),
        ("[1,\n\n'x'\n]", {3: "FT201 not JSON"}),
        ("[{}\n{}]", {1: "FT203 two values on one line"}),
        ('[{"a": 1,\n"a": 2}]', {1: "FT205 key given twice"}),
        ("[NaN]", {1: "FT206 NaN or Infinity"}),
        ("[" * 3000 + "]" * 3000, {1: "FT209 nested too deeply"}),
        ("[" + "9" * 5000 + "]", {1: "FT208 number out of range"}),
    ],
)
def test_broken_items(text: str, places: dict[int, str]) -> None:
    rows = reader.from_documents(io.StringIO(text), path="x", limit=10**6)
    assert {row.place: row.reason for row in rows if isinstance(row, Fault)} == places


def test_text_after_the_list_is_an_error() -> None:
    with pytest.raises(DatasetError, match="x:3: text after"):
        list(reader.from_documents(io.StringIO("[{}]\n\n{}"), path="x", limit=100))


def test_an_item_is_bounded() -> None:
    text = '[{"a": 1},\n{"a": "' + "x" * 10**6
    with pytest.raises(DatasetError, match=r"x:2: .* more than 1,000"):
        list(reader.from_documents(io.StringIO(text), path="x", limit=1000))


def test_a_line_is_bounded_and_the_next_one_read(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1}\n{"a": "' + "x" * 5000 + '"}\n{"a": 2}\n')
    with open_source(path, limit=1000) as source:
        rows = list(source.rows)
    assert [type(row) for row in rows] == [Row, Fault, Row]
    assert rows[1].place == 2


def lines(tmp_path: Path, *rows: Any) -> Path:
    path = tmp_path / "x.jsonl"
    texts = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(texts), "utf-8")
    return path


def test_numbers_keep_their_digits(tmp_path: Path) -> None:
    path = lines(
        tmp_path,
        '{"prompt": "a", "completion": 1.10}',
        '{"prompt": "b", "completion": 1E3}',
        '{"prompt": "c", "completion": 12345678901234567890}',
        '{"prompt": "d", "completion": true}',
        '{"prompt": "e", "completion": "007"}',
    )
    found, report = converted(path)
    answers = [one["messages"][1]["content"] for one in found]
    assert answers == ["1.10", "1E3", "12345678901234567890", "true", "007"]
    assert [(note.count, note.reason[:5]) for note in report.notes] == [(4, "value")]


def test_why_a_row_becomes_no_example(tmp_path: Path) -> None:
    path = lines(
        tmp_path,
        {"prompt": "a", "completion": "b"},
        {"prompt": "a", "completion": None},
        {"prompt": "a"},
        {"prompt": ["a"], "completion": "b"},
        [1],
        "",
        '{"prompt": "\\ud800", "completion": "b"}',
        '{"prompt": "a", "completion": "b\\u0000"}',
        {"conversations": []},
    )
    found, report = converted(path)
    assert found == [asked("a", "b")]
    assert drops(report) == {
        2: "empty answer",
        3: "no answer",
        4: "value is no text",
        5: "row is no object",
        7: "FT108 half of a surrogate pair",
        8: "zero byte in a text",
        9: "no prompt",
    }


def test_the_first_row_with_a_shape_decides(tmp_path: Path) -> None:
    path = lines(tmp_path, {"version": 1}, {"instruction": "a", "output": "b"})
    found, report = converted(path)
    assert found == [asked("a", "b")]
    assert drops(report) == {1: "row of no known shape"}
    assert report.unused == ("version",)


def test_keys_that_only_later_rows_have_are_used(tmp_path: Path) -> None:
    first = {"instruction": "a", "output": "b"}
    later = {"instruction": "c", "input": "d", "output": "e", "history": [["f", "g"]]}
    found, _ = converted(lines(tmp_path, first, {**later, "system": "s"}))
    assert [one["content"] for one in found[1]["messages"]] == ["s", "f", "g", "c\n\nd", "e"]


def test_no_shape_at_all(tmp_path: Path) -> None:
    path = lines(tmp_path, {"text": "a", "Some very long key that is text": 1})
    with pytest.raises(ConfigError, match="no shape that is known") as caught:
        convert(path, tmp_path / "o.jsonl")
    assert 'Columns: 1: "text", 2: a name of 31 characters.' in caught.value.hint


def test_nothing_but_faults_is_a_report(tmp_path: Path) -> None:
    report = convert(lines(tmp_path, '{"a', "}"), tmp_path / "o.jsonl")
    assert (report.ok, report.read, report.dropped_rows, report.out) == (False, 2, 2, None)
    assert not (tmp_path / "o.jsonl").exists()


@pytest.mark.parametrize("shape", ["alpaca", "sharegpt", "chatgpt", "chat"])
def test_a_shape_that_is_named_but_not_there(tmp_path: Path, shape: str) -> None:
    path = lines(tmp_path, {"prompt": "a", "completion": "b"})
    with pytest.raises(ConfigError, match=f"no {shape} rows"):
        convert(path, tmp_path / "o.jsonl", format=shape)


def test_two_methods_do_not_mix(tmp_path: Path) -> None:
    pair = {
        "input": {"messages": [{"role": "user", "content": "a"}]},
        "preferred_output": [{"role": "assistant", "content": "b"}],
        "non_preferred_output": [{"role": "assistant", "content": "c"}],
    }
    found, report = converted(lines(tmp_path, pair, asked("a", "b"), pair), system="s")
    assert [one["input"]["messages"][0]["role"] for one in found] == ["system", "system"]
    assert drops(report) == {2: "FT503 examples of different methods"}


def test_what_the_checker_refuses_is_not_written(tmp_path: Path) -> None:
    weight = asked("a", "b")
    weight["messages"][0]["weight"] = 1
    _, report = converted(lines(tmp_path, asked("a", ""), weight, asked("a", "b")))
    assert drops(report) == {
        1: "FT405 assistant says nothing",
        2: "FT403 weight outside assistant messages",
    }


# --- commas after lines -----------------------------------------------------------------------

SOUND = [json.dumps(asked(f"q{n}", f"a{n}")) for n in range(7)]
CUT = SOUND[2][:-3]


@given(commas=st.lists(st.sampled_from(["", ",", ", ", ",,"]), min_size=7, max_size=7))
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_lines_that_end_in_commas(tmp_path: Path, commas: list[str]) -> None:
    path = lines(tmp_path, *(one + end for one, end in zip(SOUND, commas, strict=True)))
    found, report = converted(path, max_places=9)
    assert found == [json.loads(one) for one in SOUND]
    assert (report.container, report.dropped) == ("jsonl", ())
    noted = [place.number for tally in report.notes for place in tally.places]
    assert noted == [at for at, end in enumerate(commas, start=1) if end]
    assert noted == [one.line for one in check(path).issues if one.code == "FT202"]


@pytest.mark.parametrize("broken", [0, 3, 6])
@pytest.mark.parametrize("damage", [CUT + ",", '{"messages": NaN},', '{"messages": [],}', "{,"])
def test_a_broken_line_among_commas_has_its_own_line(
    tmp_path: Path, broken: int, damage: str
) -> None:
    rows = [f"{one}," for one in SOUND]
    rows[broken] = damage
    path = lines(tmp_path, *rows)
    found, report = converted(path, format="jsonl")
    assert (len(found), report.read) == (6, 7)
    ((line, reason),) = drops(report).items()
    assert line == broken + 1
    assert reason[:5] in {one.code for one in check(path).issues if one.line == line}


@pytest.mark.parametrize("first", [CUT + ",", '{"messages": NaN},', '{"messages": [],},'])
def test_a_broken_first_line_with_a_comma_is_still_a_line(tmp_path: Path, first: str) -> None:
    found, report = converted(lines(tmp_path, first, *SOUND))
    assert (report.container, len(found), list(drops(report))) == ("jsonl", 7, [1])


# --- going on after a mistake -----------------------------------------------------------------


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize(
    "broken", ['{"a": "x},', '{"a": [1},', '{"a": {"b": 1,', '{"a": 1', '{"a": "']
)
@pytest.mark.parametrize("start", ["[", ""])
def test_a_broken_item_takes_no_other_along(slow: bool, broken: str, start: str) -> None:
    rows = ['{"a": 1},', broken, '{"a": 3},', '{"a": 4},', broken, broken, '{"a": 7}']
    text = f"{start}\n" * bool(start) + "\n".join(rows) + "\n]" * bool(start)
    stream = Slow(text) if slow else io.StringIO(text)
    found = list(reader.from_documents(stream, path="x", limit=10**6))
    assert [row.place - len(start) for row in found] == [1, 2, 3, 4, 5, 6, 7]
    assert [row.place - len(start) for row in found if isinstance(row, Row)] == [1, 3, 4, 7]


def test_commas_between_indented_objects() -> None:
    text = ",\n".join(json.dumps({"a": n}, indent=1) for n in range(3))
    found = list(reader.from_documents(io.StringIO(text), path="x", limit=10**6))
    assert [(row.place, row.value) for row in found if isinstance(row, Row)] == [
        (1, {"a": 0}),
        (4, {"a": 1}),
        (7, {"a": 2}),
    ]


def test_many_broken_items_take_linear_time() -> None:
    text = "[" + '{"a": [\n' * 100_000
    found = list(reader.from_documents(io.StringIO(text), path="x", limit=10**8))
    assert len(found) == 100_000


# --- places and encodings ---------------------------------------------------------------------


def test_places_in_a_list_are_its_items(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps([asked("a", "b"), {}, {"messages": []}]))
    _, report = converted(path)
    assert report.unit == "item"
    assert set(drops(report)) == {2, 3}


def test_the_encoding_that_was_tried_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(SOUND[0].encode() + b'\n{"messages": "\xe9"}\n')
    _, report = converted(path)
    assert report.dropped[0].places[0].detail == "bytes that are no text in utf-8"
