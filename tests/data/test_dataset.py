"""`read`: a checked handle on a file, or every issue at once."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftjobs.data import Dataset, check, read
from ftjobs.errors import ConfigError, DatasetError, ExitCode, UnsupportedError
from ftjobs.schema import Example
from tests.data.test_agreement import ROWS, damaged_lines

CHATS = [
    json.dumps(row, ensure_ascii=False)
    for row in ROWS
    if "messages" in row and "image_url" not in json.dumps(row)
]


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return read(write(tmp_path / "train.jsonl", *CHATS * 2))


def test_it_streams_typed_examples_as_often_as_asked(dataset: Dataset) -> None:
    first, second = list(dataset), list(dataset)
    assert first == second
    assert len(dataset) == len(first) == len(CHATS) * 2
    assert all(isinstance(example, Example) for example in first)
    assert [example.line for example in first] == list(range(1, len(first) + 1))
    expected = [json.loads(line)["messages"][-1].get("content") for line in CHATS]
    texts = [example.messages[-1].content for example in first[: len(CHATS)]]
    assert [list(text) if isinstance(text, tuple) else text for text in texts] == expected


def test_examples_keep_tools_weights_and_calls(dataset: Dataset) -> None:
    examples = list(dataset)
    assert [message.weight for message in examples[2].messages] == [None, 0, None, 1]
    assert examples[3].tools is not None
    assert examples[3].parallel_tool_calls is True
    calls = examples[3].messages[1].tool_calls
    assert calls is not None
    assert [call["id"] for call in calls] == ["a", "b"]


def test_blank_lines_and_byte_order_marks_are_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path / "train.jsonl", "\ufeff" + CHATS[0], "", *[CHATS[0]] * 9, "  ")
    dataset = read(path)
    assert [example.line for example in dataset] == [1, *range(3, 12)]
    assert len(dataset) == 10
    codes = [issue.code for issue in dataset.warnings if issue.code != "FT801"]
    assert codes == ["FT101", "FT107", "FT107"]


def test_a_key_named_line_does_not_hide_the_number(tmp_path: Path) -> None:
    row = json.dumps({**json.loads(CHATS[0]), "line": "seven"})
    assert [example.line for example in read(write(tmp_path / "a.jsonl", *[row] * 10))] == [
        *range(1, 11)
    ]


def test_it_pickles_and_holds_no_example(dataset: Dataset) -> None:
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy == dataset
    assert list(copy) == list(dataset)
    assert len(pickle.dumps(dataset)) < 2000


def test_a_relative_path_survives_a_change_of_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "train.jsonl", *[CHATS[0]] * 10)
    monkeypatch.chdir(tmp_path)
    dataset = read("train.jsonl")
    monkeypatch.chdir("/")
    assert len(list(dataset)) == 10


def test_errors_come_all_at_once(tmp_path: Path) -> None:
    bad = CHATS[0].replace('"user"', '"User"')
    good = [CHATS[0].replace("lamp", f"lamp {number}") for number in range(10)]
    path = write(tmp_path / "train.jsonl", *good[:6], bad, "", "{", *good[6:])
    with pytest.raises(DatasetError) as caught:
        read(path)
    error = caught.value
    assert error.message == f'{path}:7:24: FT306 unknown role "User" (and 1 more error)'
    assert f"ftjobs data check {path}" in error.hint
    assert error.issues == check(path).issues
    assert [issue.code for issue in error.issues] == ["FT306", "FT107", "FT204"]
    assert error.exit_code is ExitCode.DATASET
    assert pickle.loads(pickle.dumps(error)).issues == error.issues


def test_the_target_decides(tmp_path: Path) -> None:
    rows = [CHATS[0].replace("lamp", f"lamp {number}") for number in range(9)]
    path = write(tmp_path / "train.jsonl", *rows)
    assert [issue.code for issue in read(path).warnings] == ["FT502"]
    with pytest.raises(DatasetError, match="9 examples, but must have at least 10"):
        read(path, target="openai")


def test_a_changed_file_is_noticed_before_the_first_example(dataset: Dataset) -> None:
    os.utime(dataset.path, ns=(1, 1))
    with pytest.raises(DatasetError, match="has changed since it was checked"):
        next(iter(dataset))


def test_a_file_that_changes_meanwhile_is_noticed(dataset: Dataset) -> None:
    examples = iter(dataset)
    next(examples)
    with dataset.path.open("a") as file:
        file.write(CHATS[0] + "\n")
    with pytest.raises(DatasetError, match="has changed since it was checked"):
        list(examples)


def test_a_change_that_keeps_size_and_time_is_still_no_traceback(dataset: Dataset) -> None:
    size, moment = dataset.manifest.bytes, dataset.mtime_ns
    dataset.path.write_bytes(b"x" * size)
    os.utime(dataset.path, ns=(moment, moment))
    with pytest.raises(DatasetError, match="has changed since it was checked"):
        list(dataset)


def test_a_file_that_is_gone_is_noticed(dataset: Dataset) -> None:
    dataset.path.unlink()
    with pytest.raises(ConfigError, match="no such file"):
        list(dataset)


def test_preferences_are_read_as_pairs_and_not_as_chat(tmp_path: Path) -> None:
    row = {
        "input": {
            "messages": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Hello, what is it?"},
                {"role": "user", "content": "A joke"},
            ],
            "tools": [{"type": "function", "function": {"name": "jokes"}}],
        },
        "preferred_output": [{"role": "assistant", "content": "Knock, knock."}],
        "non_preferred_output": [{"role": "assistant", "content": "No."}],
    }
    lines = ["", *[json.dumps({**row})] * 10]
    dataset = read(write(tmp_path / "dpo.jsonl", *lines))
    assert (len(dataset), dataset.manifest.method) == (10, "dpo")
    pairs = list(dataset.preferences())
    assert [pair.line for pair in pairs] == list(range(2, 12))
    assert pairs[0].input.messages[2].content == "A joke"
    for example, said in ((pairs[0].preferred, "Knock, knock."), (pairs[0].non_preferred, "No.")):
        assert [message.content for message in example.messages][2:] == ["A joke", said]
        assert [message.weight for message in example.messages] == [None, 0, None, None]
        assert (example.tools, example.line) == (pairs[0].input.tools, 2)
    with pytest.raises(UnsupportedError, match=r"dataset\.preferences\(\)"):
        iter(dataset)


def test_chat_is_no_preference(dataset: Dataset) -> None:
    with pytest.raises(UnsupportedError, match="a supervised dataset cannot be read as pref"):
        dataset.preferences()


def test_equal_outputs_are_an_error_where_they_are_refused(tmp_path: Path) -> None:
    row = json.loads(json.dumps(ROWS[6]))
    row["non_preferred_output"] = row["preferred_output"]
    path = write(tmp_path / "equal.jsonl", *[json.dumps(row)] * 10)
    assert {issue.code for issue in check(path, target="openai").errors} == set()
    assert {issue.code for issue in check(path).errors} == {"FT423"}


@given(st.lists(damaged_lines(), min_size=1, max_size=3))
@settings(deadline=None, max_examples=200)
def test_whatever_passes_the_check_can_be_read(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]
) -> None:
    path = tmp_path_factory.getbasetemp() / "read.jsonl"
    path.write_bytes(b"\n".join(lines))
    report = check(path)
    if not report.ok:
        with pytest.raises(DatasetError):
            read(path)
    elif report.manifest.method == "supervised":
        assert len(list(read(path))) == report.manifest.rows == report.examples
    elif report.manifest.method == "dpo":
        assert len(list(read(path).preferences())) == report.manifest.rows == report.examples


@pytest.mark.parametrize("space", ["\u3000", "\u2028", "\x85", "\x1c", "\x0b"])
def test_only_json_white_space_makes_a_blank_line(tmp_path: Path, space: str) -> None:
    row = '{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"y"}]}\n'
    path = tmp_path / "a.jsonl"
    path.write_text(f"{row} \t\r\n{row}", "utf-8")
    assert len(list(read(path))) == len(read(path)) == 2
    path.write_text(f"{row}{space}\n{row}", "utf-8")
    assert [issue.code for issue in check(path).errors] == ["FT201"]
