import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.errors import ConfigError, DatasetError
from ftjobs.evals.prompts import Prompt, read_prompts

USER = {"role": "user", "content": "q"}
ASSISTANT = {"role": "assistant", "content": "a"}
DATASETS = Path(__file__).parents[2] / "datasets"


def write(path: Path, *rows: Any) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


@pytest.mark.parametrize(
    ("row", "asked", "expected", "tags"),
    [
        ({"messages": [USER], "expected": "x", "tags": ["t"]}, 1, "x", ("t",)),
        ({"messages": [USER]}, 1, None, ()),
        ({"messages": [USER], "expected": None, "tags": None}, 1, None, ()),
        ({"messages": [USER, ASSISTANT]}, 1, "a", ()),
        ({"messages": [USER, ASSISTANT, USER, ASSISTANT]}, 3, "a", ()),
        ({"messages": [USER, ASSISTANT, USER], "expected": "x"}, 3, "x", ()),
    ],
)
def test_shapes(
    tmp_path: Path, row: dict[str, Any], asked: int, expected: str | None, tags: tuple[str, ...]
) -> None:
    (prompt,) = read_prompts(write(tmp_path / "p.jsonl", row))
    assert (len(prompt.messages), prompt.expected, prompt.tags) == (asked, expected, tags)
    assert (prompt.line, prompt.question) == (1, "q")


def test_blank_lines_and_a_byte_order_mark_are_nothing(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"messages": [USER]}).encode() + b"\r\n\r\n")
    assert [p.line for p in read_prompts(path)] == [1]


@pytest.mark.parametrize(
    ("row", "message", "pointer"),
    [
        ('{"messages": [', "not JSON", ""),
        ("[1]", "not a JSON object", ""),
        ("[" * 100_000, "nested too deeply", ""),
        ("9" * 5000, "a number is too long", ""),
        (r'{"messages": [{"role": "user", "content": "\ud800"}]}', "surrogate", "/messages/0"),
        ({}, "messages is a list", "/messages"),
        ({"messages": []}, "messages is a list", "/messages"),
        ({"messages": ["q"]}, "dictionary", "/messages/0"),
        ({"messages": [USER, {"content": "q"}]}, "required", "/messages/1/role"),
        ({"messages": [ASSISTANT]}, "nothing is asked", "/messages"),
        ({"messages": [USER, ASSISTANT], "expected": "x"}, "the assistant's", "/messages/1"),
        ({"messages": [USER], "expected": 3}, "expected is a text", "/expected"),
        ({"messages": [USER], "tags": "t"}, "tags is a list", "/tags"),
        ({"messages": [USER, {"role": "assistant"}]}, "no text to expect", "/messages/1/content"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(
    tmp_path: Path, row: Any, message: str, pointer: str
) -> None:
    with pytest.raises(DatasetError) as caught:
        read_prompts(write(tmp_path / "p.jsonl", {"messages": [USER]}, "", row))
    (issue,) = caught.value.issues
    assert message in issue.message
    assert (issue.line, issue.pointer) == (3, pointer)


def test_every_wrong_line_is_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="2 wrong") as caught:
        read_prompts(write(tmp_path / "p.jsonl", "x", {"messages": [USER]}, "y"))
    assert [issue.line for issue in caught.value.issues] == [1, 3]


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'{"messages": "\x82\xa0"}')
    with pytest.raises(DatasetError) as caught:
        read_prompts(path)
    assert caught.value.issues[0].message == "not UTF-8 at byte 15"


def test_an_empty_or_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        read_prompts(write(tmp_path / "p.jsonl", ""))
    assert caught.value.issues[0].message == "the file holds no prompt"
    with pytest.raises(ConfigError, match="cannot read"):
        read_prompts(tmp_path / "missing.jsonl")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["messages", "role", "content", "expected"]), inner)
    ),
    max_leaves=8,
)


@given(st.lists(json_values | st.just({"messages": [USER]}), max_size=5))
def test_any_file_gives_prompts_or_issues(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    try:
        found = read_prompts(path)
    except DatasetError as error:
        assert error.issues  # noqa: PT017 - both outcomes are right
    else:
        assert len(found) == len(rows)
        assert all(isinstance(prompt, Prompt) for prompt in found)


def test_our_own_prompt_files_are_sound() -> None:
    assert all(p.expected for p in read_prompts(DATASETS / "support/eval.jsonl"))
    assert len(read_prompts(DATASETS / "company-ja/train.jsonl")) == 10
