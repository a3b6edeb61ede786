"""Tables whose rows are turns of conversations, as H2O LLM Studio and OpenAssistant keep them."""

from __future__ import annotations

import csv
import io
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.data.convert import ConversionReport, convert
from ftjobs.data.convert.rows import Fault, Row
from ftjobs.data.convert.threads import MOST, threaded
from ftjobs.errors import ConfigError

HEADER = "id,parent_id,instruction,output"


def converted(tmp_path: Path, *rows: str, header: str = HEADER, **how: Any) -> tuple[Any, Any]:
    """The report, and of each conversation its (text, weight) pairs."""
    source, out = tmp_path / "turns.csv", tmp_path / "out.jsonl"
    source.write_text("\n".join([header, *rows]) + "\n", "utf-8")
    report = convert(source, out, force=True, **how)
    lines = out.read_text("utf-8").splitlines() if report.ok else []
    return report, [
        [(m["content"], m.get("weight")) for m in json.loads(line)["messages"]] for line in lines
    ]


def dropped(report: ConversionReport) -> dict[str, list[int]]:
    return {t.reason: [place.number for place in t.places] for t in report.dropped}


def test_a_conversation_in_any_order(tmp_path: Path) -> None:
    report, (talk,) = converted(tmp_path, "c,b,q3,a3", "a,,q1,a1", "b,a,q2,a2")
    assert [text for text, _ in talk] == ["q1", "a1", "q2", "a2", "q3", "a3"]
    assert (report.read, report.written, report.dropped_rows) == (3, 1, 0)
    assert 'conversations by "id" and "parent_id"' in report.detected
    assert report.unused == ()


def test_a_shared_beginning_is_learned_once(tmp_path: Path) -> None:
    _, talks = converted(tmp_path, "1,,q1,a1", "2,1,q2,a2", "3,1,q3,a3", "4,3,q4,a4", "5,3,q5,a5")
    assert talks == [
        [("q1", None), ("a1", None), ("q2", None), ("a2", None)],
        [("q1", None), ("a1", 0), ("q3", None), ("a3", None), ("q4", None), ("a4", None)],
        [("q1", None), ("a1", 0), ("q3", None), ("a3", 0), ("q5", None), ("a5", None)],
    ]


@pytest.mark.parametrize("parent", ["1", "1.0", " 1 ", "1.00"])
def test_ids_as_tables_with_empty_cells_write_them(tmp_path: Path, parent: str) -> None:
    assert len(converted(tmp_path, "1,,q1,a1", f"2,{parent},q2,a2")[1]) == 1


@pytest.mark.parametrize("parent", ["9", "None", "1.5", "01"])
def test_a_parent_that_is_no_row_is_a_beginning(tmp_path: Path, parent: str) -> None:
    report, talks = converted(tmp_path, "1,,q1,a1", f"2,{parent},q2,a2")
    assert len(talks) == 2
    assert [(t.reason[:21], t.places[0].number) for t in report.notes] == [
        ("parent that is no row", 3)
    ]


def test_rows_without_an_id_end_conversations(tmp_path: Path) -> None:
    _, talks = converted(tmp_path, "1,,q1,a1", ",1,q2,a2", ",,q3,a3")
    assert [[text for text, _ in talk] for talk in talks] == [
        ["q1", "a1", "q2", "a2"],
        ["q3", "a3"],
    ]


def test_what_follows_a_dropped_row_is_dropped_and_named(tmp_path: Path) -> None:
    rows = ("1,,q1,a1", "2,1,q2,", "3,2,q3,a3", "4,3,q4,a4", "1,,again,again", "5,1,,a5")
    report, talks = converted(tmp_path, *rows)
    assert talks == [[("q1", None), ("a1", None)]]
    assert dropped(report) == {
        "turn after a dropped one": [4, 5],
        "empty answer": [3],
        "id that an earlier row has": [6],
        "empty prompt": [7],
    }
    assert report.read == 6


def test_circles_and_what_hangs_on_them_are_dropped(tmp_path: Path) -> None:
    report, talks = converted(tmp_path, "1,2,q,a", "2,1,q,a", "3,2,q,a", "4,4,q,a", "5,,q5,a5")
    assert [talk[0] for talk in talks] == [("q5", None)]
    assert [*dropped(report).values()] == [[2, 3, 4, 5]]


def test_a_conversation_without_end_is_dropped_in_good_time(tmp_path: Path) -> None:
    rows = [f"{at},{at - 1},q,a" for at in range(20 * MOST)]
    report, talks = converted(tmp_path, *rows)
    assert talks == []
    assert report.dropped_rows == report.read == 20 * MOST
    report, (talk,) = converted(tmp_path, *rows[:MOST])
    assert len(talk) == 2 * MOST


def test_the_system_message_of_the_first_turn_opens(tmp_path: Path) -> None:
    header = f"{HEADER},system"
    report, (talk,) = converted(
        tmp_path, "1,,q1,a1,S", "2,1,q2,a2,S", "3,2,q3,a3,T", "4,3,q4,a4,", header=header
    )
    assert [text for text, _ in talk][:3] == ["S", "q1", "a1"]
    assert len(talk) == 9
    assert [(t.count, t.places[0].number) for t in report.notes] == [(1, 4)]
    _, (talk,) = converted(tmp_path, "1,,q1,a1", "2,1,q2,a2", system="Be kind.")
    assert [text for text, _ in talk][:2] == ["Be kind.", "q1"]


def test_columns_by_name(tmp_path: Path) -> None:
    header = "nr,before,who,Frage,Zusatz,mehr,Antwort"
    columns = {
        "prompt": "Frage", "input": ["Zusatz", "mehr"], "completion": "Antwort", "system": "who",
        "id": "nr", "parent": "before",
    }  # fmt: skip
    rows = ("1,,S,q,x,y,a", "2,1,S,q,,y,a", "3,2,S,q,,,a")
    _, (talk,) = converted(tmp_path, *rows, header=header, columns=columns)
    assert [text for text, _ in talk] == ["S", "q\n\nx\n\ny", "a", "q\n\ny", "a", "q", "a"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"id": "id"}, "two columns"),
        ({"parent": "parent_id"}, "two columns"),
        ({"id": "id", "parent": "nowhere"}, "no column 'nowhere'"),
        ({"id": ["id", "output"], "parent": "parent_id"}, "2 columns are named for the id"),
        ({"input": []}, "0 columns are named for the input"),
    ],
)
def test_columns_that_cannot_be_used(tmp_path: Path, more: dict[str, Any], words: str) -> None:
    columns = {"prompt": "instruction", "completion": "output", **more}
    with pytest.raises(ConfigError, match=words):
        converted(tmp_path, "1,,q,a", columns=columns)


def test_naming_other_columns_leaves_rows_alone(tmp_path: Path) -> None:
    columns = {"prompt": "instruction", "completion": "output"}
    report, talks = converted(tmp_path, "1,,q1,a1", "2,1,q2,a2", columns=columns)
    assert len(talks) == 2
    assert report.unused == ("id", "parent_id")


def test_rows_of_json_are_examples_of_their_own(tmp_path: Path) -> None:
    row = '{"id": 2, "parent_id": 1, "instruction": "q", "output": "a"}\n'
    source = tmp_path / "rows.jsonl"
    source.write_text(row * 2)
    report = convert(source, tmp_path / "out.jsonl")
    assert (report.written, report.unused) == (2, ("id", "parent_id"))
    assert "conversations" not in report.detected
    columns = {"prompt": "instruction", "completion": "output", "id": "id", "parent": "parent_id"}
    with pytest.raises(ConfigError, match="table"):
        convert(source, tmp_path / "other.jsonl", columns=columns)


parents = st.lists(st.one_of(st.none(), st.integers(0, 12)), min_size=1, max_size=12)


@given(parents)
def test_every_row_is_learned_once_or_dropped(parents: list[int | None]) -> None:
    """Whatever the parents are: trees, circles, strangers."""
    rows = [
        Row(at, {"id": at, "parent": parent, "text": str(at)}) for at, parent in enumerate(parents)
    ]
    learned: list[str] = []
    lost: list[int] = []
    counted = 0
    for found in threaded(rows, ("id", "parent"), _said, lambda _reason, _place: None):
        if isinstance(found, Fault):
            lost.append(found.place)
            continue
        counted += found.rows
        messages = found.value["messages"]
        learned += [m["content"] for m in messages if "weight" not in m]
        said = [int(m["content"]) for m in messages]
        assert said[-1] == found.place
        assert all(parents[b] == a for a, b in pairwise(said))
    assert sorted([*map(int, learned), *lost]) == [*range(len(parents))]
    assert counted == len(learned)


def _said(row: Row) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": row.value["text"]}]


@given(st.lists(st.tuples(*[st.text("0123.aN", max_size=3)] * 4), max_size=8))
def test_any_table_is_accounted_for(tmp_path_factory: Any, cells: list[tuple[str, ...]]) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([HEADER.split(","), *cells])
    source = tmp_path_factory.mktemp("any") / "any.csv"
    source.write_text(text.getvalue(), "utf-8")
    report = convert(source, source.with_suffix(".jsonl"))
    talks = source.with_suffix(".jsonl").read_text("utf-8").splitlines() if report.ok else []
    answers = [
        m for line in talks for m in json.loads(line)["messages"] if m["role"] == "assistant"
    ]
    assert report.read == report.dropped_rows + sum("weight" not in m for m in answers)
