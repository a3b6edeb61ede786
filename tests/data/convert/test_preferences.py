"""Tables of preferences: a question, a better answer and a worse one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ftjobs.data import check
from ftjobs.data.convert import convert
from ftjobs.errors import ConfigError


def converted(tmp_path: Path, text: str, **how: Any) -> list[Any]:
    source, out = tmp_path / "pairs.csv", tmp_path / "out.jsonl"
    source.write_text(text, "utf-8")
    convert(source, out, **how)
    return [json.loads(line) for line in out.read_text("utf-8").splitlines()]


@pytest.mark.parametrize("prompt", ["prompt", "instruction", "Question", "input"])
@pytest.mark.parametrize("answers", ["chosen,rejected", "chosen_response,rejected_response"])
def test_by_their_names(tmp_path: Path, prompt: str, answers: str) -> None:
    (row,) = converted(tmp_path, f"{prompt},{answers}\nq,good,bad\n")
    assert row == {
        "input": {"messages": [{"role": "user", "content": "q"}]},
        "preferred_output": [{"role": "assistant", "content": "good"}],
        "non_preferred_output": [{"role": "assistant", "content": "bad"}],
    }
    report = check(tmp_path / "out.jsonl")
    assert (report.manifest.method, report.errors) == ("dpo", ())


def test_with_system_and_input(tmp_path: Path) -> None:
    (row,) = converted(tmp_path, "system,instruction,input,chosen,rejected\nS,q,more,good,bad\n")
    assert [m["content"] for m in row["input"]["messages"]] == ["S", "q\n\nmore"]
    text = "instruction,chosen,rejected\nq,good,bad\n"
    (tmp_path / "out.jsonl").unlink()
    (row,) = converted(tmp_path, text, system="T")
    assert [m["content"] for m in row["input"]["messages"]] == ["T", "q"]


def test_columns_by_name(tmp_path: Path) -> None:
    columns = {"prompt": "F", "completion": "gut", "rejected": "schlecht"}
    (row,) = converted(tmp_path, "F,gut,schlecht\nq,good,bad\n", columns=columns)
    assert row["non_preferred_output"][0]["content"] == "bad"
    with pytest.raises(ConfigError, match="not put together"):
        convert(tmp_path / "pairs.csv", None, columns={**columns, "id": "F", "parent": "F"})


def test_rows_that_are_no_preferences_are_dropped(tmp_path: Path) -> None:
    source = tmp_path / "pairs.csv"
    source.write_text("prompt,chosen,rejected\nq,good,\n,good,bad\nq,,bad\nq,good,bad\n")
    report = convert(source, tmp_path / "out.jsonl")
    assert {t.reason for t in report.dropped} == {
        "empty rejected answer", "empty prompt", "empty answer",
    }  # fmt: skip
    assert report.written == 1
    assert 'rejected answer from "rejected"' in report.detected


def test_an_answer_beside_them_goes_first(tmp_path: Path) -> None:
    """A table with a column that is the answer is what it was before."""
    (row,) = converted(tmp_path, "prompt,completion,chosen,rejected\nq,a,good,bad\n")
    assert row["messages"][-1]["content"] == "a"
