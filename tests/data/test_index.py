"""Rows that are the same, prompts with two answers, and what leaks from file to file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.data import Report, check, check_all
from ftjobs.data import index as module


def chat(question: str, answer: str, **more: Any) -> dict[str, Any]:
    said = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": said, **more}


def write(path: Path, *rows: Any) -> Path:
    lines = (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


def overlaps(report: Report) -> list[tuple[str, int | None, str]]:
    return [(i.code, i.line, i.message) for i in report.issues if i.code.startswith("FT8")]


ROWS = [chat(f"Question {number}?", f"Answer {number}.") for number in range(10)]


def test_rows_are_the_same_however_they_are_spelt(tmp_path: Path) -> None:
    first = chat("日本語?", "はい\n“yes” \\ /", tools=None)
    del first["tools"]
    spellings = [
        json.dumps(first, ensure_ascii=False),
        json.dumps(first, separators=(",", ":"), ensure_ascii=False),
        json.dumps(first),  # \u escapes
        json.dumps(first, sort_keys=True).replace("/", "\\/"),
    ]
    report = check(write(tmp_path / "a.jsonl", *ROWS, *spellings))
    assert overlaps(report) == [
        ("FT801", line, "the row is the same as line 11") for line in (12, 13, 14)
    ]


def test_one_prompt_with_two_answers_is_said_once(tmp_path: Path) -> None:
    again = [chat("Question 2?", answer) for answer in ("Other.", "Third.", "Answer 2.")]
    report = check(write(tmp_path / "a.jsonl", *ROWS, *again))
    assert overlaps(report) == [
        ("FT802", 11, "the prompt of line 3 has another answer here"),
        ("FT801", 13, "the row is the same as line 3"),
    ]


def test_the_system_message_and_the_tools_are_part_of_the_prompt(tmp_path: Path) -> None:
    system = chat("Question 2?", "Other.")
    system["messages"].insert(0, {"role": "system", "content": "Be rude."})
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    tools = [
        chat("Question 2?", "Other.", tools=[tool]),
        chat("Question 2?", "That.", tools=[tool]),
    ]
    report = check(write(tmp_path / "a.jsonl", *ROWS, system, *tools))
    assert overlaps(report) == [("FT802", 13, "the prompt of line 12 has another answer here")]


def test_roles_and_settings_are_part_of_the_row(tmp_path: Path) -> None:
    rows = [chat("Question 2?", "Answer 2.", parallel_tool_calls=flag) for flag in (True, False)]
    rows += [chat("A", "C."), chat("A", "C.")]
    rows[2]["messages"].insert(0, {"role": "system", "content": "Be brief."})
    rows[3]["messages"].insert(0, {"role": "user", "content": "Be brief."})
    assert overlaps(check(write(tmp_path / "a.jsonl", *ROWS, *rows))) == []


def test_a_row_with_errors_that_do_not_count_is_skipped(tmp_path: Path) -> None:
    comma = '{"messages": [{"role": "user", "content": "x"}],}'
    path = write(tmp_path / "a.jsonl", *ROWS, comma, comma, ROWS[2])
    for report in (check(path, ignore=["FT202", "FT4"]), check(path, select=["FT8"])):
        assert [line for _, line, _ in overlaps(report)] == [13]


def test_preferences_may_share_a_prompt(tmp_path: Path) -> None:
    def pair(good: str) -> dict[str, Any]:
        outputs = {"preferred_output": good, "non_preferred_output": "Bad."}
        return {
            "input": {"messages": [{"role": "user", "content": "Which?"}]},
            **{key: [{"role": "assistant", "content": text}] for key, text in outputs.items()},
        }

    rows = [pair(f"Good {number}.") for number in range(10)]
    report = check(write(tmp_path / "a.jsonl", *rows, pair("Good 4.")), target="openai")
    assert overlaps(report) == [("FT801", 11, "the row is the same as line 5")]


def test_what_leaks_into_another_file(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", "", *ROWS)
    fresh = [chat(f"New {number}?", "New.") for number in range(10)]
    valid = write(tmp_path / "valid.jsonl", ROWS[3], *fresh, chat("Question 5?", "New."))
    clean, leaky = check_all([train, valid])
    assert overlaps(clean) == []
    assert overlaps(leaky) == [
        ("FT811", 1, f"the row is also {train}:5"),
        ("FT812", 12, f"the prompt is also that of {train}:7"),
    ]
    chosen = check_all([train, valid], ignore=["FT811"])[1]
    assert [code for code, _, _ in overlaps(chosen)] == ["FT812"]


def test_broken_rows_are_compared_with_none(tmp_path: Path) -> None:
    broken = {"messages": [{"role": "user", "content": "Question 1?"}]}
    report = check(write(tmp_path / "a.jsonl", *ROWS, broken, broken, "{", "{"))
    assert overlaps(report) == []


@given(st.lists(st.integers(0, 12), max_size=60), st.lists(st.integers(0, 12), max_size=60))
def test_parts_find_what_all_at_once_finds(left: list[int], right: list[int]) -> None:
    again = {value for value in left if value and left.count(value) > 1}
    both = set(left) & set(right) - {0}
    with pytest.MonkeyPatch.context() as patch:
        for part in (1, 5, 1000):
            patch.setattr(module, "_PART", part)
            assert module._repeated(left) == again
            assert module._shared(left, right) == both
