import csv
import gzip
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.errors import ConfigError, DatasetError
from ftjobs.evals.prompts import Prompt, clustered, read_prompts, source_of
from ftjobs.schema import ChatMessage

USER = {"role": "user", "content": "q"}
ASSISTANT = {"role": "assistant", "content": "a"}
SYSTEM = {"role": "system", "content": "s"}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLS = {"role": "assistant", "tool_calls": [CALL]}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}
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
        ({"messages": [USER], "answer": "x"}, 1, "x", ()),
        ({"messages": [USER], "expected": "x", "answer": "y"}, 1, "x", ()),
        ({"messages": [USER], "expected": None, "answer": "y"}, 1, None, ()),
        ({"messages": [USER, ASSISTANT], "response": "a", "output": None}, 1, "a", ()),
        ({"messages": [USER, ASSISTANT | {"weight": 0}]}, 1, "a", ()),
        (
            {"messages": [USER, ASSISTANT | {"content": [{"text": "b"}, {"text": "c"}]}]},
            1,
            "bc",
            (),
        ),
        ({"input": [USER], "ideal": "x"}, 1, "x", ()),
        ({"question": "q", "answer": "x", "tags": ["t"]}, 1, "x", ("t",)),
        ({"prompt": "q", "completion": ""}, 1, "", ()),
        (
            {"input": {"messages": [USER]}, "preferred_output": [ASSISTANT], "tags": ["t"]},
            1,
            "a",
            ("t",),
        ),
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
        ({"messages": [USER, ASSISTANT], "response": "x"}, "both say what is", "/response"),
        ({"messages": [USER, ASSISTANT], "answer": 42}, "both say what is", "/answer"),
        ('{"prompt": "q", "expected": "x", "expected": "y"}', "'expected' is given twice", ""),
        ('{"messages": [{"role": "user", "content": "q", "content": "r"}]}', "twice", ""),
        ({"messages": [USER], "expected": 3}, "expected is a text", "/expected"),
        ({"messages": [USER], "tags": "t"}, "tags is a list", "/tags"),
        ({"messages": [USER, {"role": "assistant"}]}, "no text to expect", "/messages/1/content"),
        (
            {"messages": [USER, {"role": "assistant", "content": [{"type": "image_url"}]}]},
            "no text to expect",
            "/messages/1/content",
        ),
        ({"prompt": "q", "question": "r"}, "prompt and question both say", "/question"),
        ({"prompt": "q", "ideal": "a", "output": "b"}, "both say what is expected", "/output"),
        ({"instruction": "i", "input": "q"}, "Alpaca", "/instruction"),
        ({"prompt": 3}, "prompt is a text", "/prompt"),
        ({"prompt": "q", "system": 3}, "system is a text", "/system"),
        ({"prompt": "q", "answer": 3}, "answer is a text", "/answer"),
        ({"input": {"messages": "q"}, "preferred_output": []}, "messages is a list", "/messages"),
        ({"messages": [USER], "tools": {}}, "tools is a list of objects", "/tools"),
        ({"messages": [USER], "calls": [3]}, "calls is a list of objects", "/calls"),
        ({"messages": [USER], "calls": [{}]}, "a call is", "/calls/0"),
        (
            {"messages": [USER, CALLS | {"tool_calls": [{}]}]},
            "a call is",
            "/messages/1/tool_calls/0",
        ),
        ({"messages": [USER, CALLS], "calls": []}, "the assistant's", "/messages/1"),
        ({"messages": [USER], "cluster": 1.5}, "a cluster is named by", "/cluster"),
        ('{"messages": [{"role": "user", "content": "q"}], "x": NaN}', "NaN is no number", ""),
        (
            r'{"messages": [{"role": "user", "content": "q"}], "tools": ["\ud800"]}',
            "half",
            "/tools",
        ),
        ({"messages": [USER], "tools": [{"a": json.loads("[" * 300 + "]" * 300)}]}, "deeply", ""),
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
    with pytest.raises(ConfigError, match="no such file"):
        read_prompts(tmp_path / "missing.jsonl")


def only(tmp_path: Path, *rows: Any, name: str = "p.jsonl") -> Prompt:
    (prompt,) = read_prompts(write(tmp_path / name, *rows))
    return prompt


@pytest.mark.parametrize(
    ("row", "expected", "calls"),
    [
        ({"messages": [USER, CALLS]}, None, [CALL]),
        ({"messages": [USER, CALLS | {"content": "wait"}]}, "wait", [CALL]),
        ({"messages": [USER, CALLS | {"content": ""}]}, None, [CALL]),
        ({"messages": [USER, ASSISTANT]}, "a", None),
        ({"messages": [USER, ASSISTANT], "tools": [TOOL]}, "a", []),
        ({"messages": [USER], "calls": []}, None, []),
        ({"messages": [USER], "calls": None, "expected": "x"}, "x", None),
        (
            {"messages": [USER], "calls": [{"name": "f", "arguments": {"a": "é"}}]},
            None,
            [{"type": "function", "function": {"name": "f", "arguments": '{"a": "é"}'}}],
        ),
    ],
)
def test_function_calls(tmp_path: Path, row: Any, expected: str | None, calls: Any) -> None:
    prompt = only(tmp_path, row)
    assert prompt.expected == expected
    assert prompt.calls == (None if calls is None else tuple(calls))
    assert prompt.tools == tuple(row.get("tools", ()))
    assert prompt.messages == (ChatMessage(role="user", content="q"),)


def test_weights_are_about_training_and_left_out(tmp_path: Path) -> None:
    messages = [USER, ASSISTANT | {"weight": 0}, USER, ASSISTANT | {"weight": 1}]
    assert [m.weight for m in only(tmp_path, {"messages": messages}).messages] == [None] * 3


def test_a_system_message_beside_the_messages_is_one_of_them(tmp_path: Path) -> None:
    for row in ({"messages": [USER], "system": "s"}, {"prompt": "q", "system": "s"}):
        assert [m.role for m in only(tmp_path, row).messages] == ["system", "user"]


def test_what_else_a_row_holds_is_kept_for_graders(tmp_path: Path) -> None:
    prompt = only(tmp_path, {"messages": [USER], "reference_answer": {"a": [1]}, "tags": ["t"]})
    assert prompt.item == {"reference_answer": {"a": [1]}}
    assert hash(prompt) == hash(only(tmp_path, {"messages": [USER], "tags": ["t"]}))


def test_an_answer_that_is_not_the_one_expected_is_kept_for_graders(tmp_path: Path) -> None:
    assert only(tmp_path, {"prompt": "q", "expected": "x", "answer": "y"}).item == {"answer": "y"}
    assert only(tmp_path, {"messages": [USER], "prompt": "p"}).item == {"prompt": "p"}
    assert only(tmp_path, {"prompt": "q", "expected": "x", "answer": "x"}).item == {}


def test_a_long_line_and_a_compressed_file(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl.gz"
    row = {"messages": [USER | {"content": "x" * 2**20}]}
    path.write_bytes(gzip.compress(json.dumps(row).encode()))
    assert len(read_prompts(path)[0].question) == 2**20


def test_a_cut_compressed_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps({"messages": [USER]}).encode())[:-9])
    with pytest.raises(DatasetError, match=r"p\.jsonl\.gz: "):
        read_prompts(path)


@pytest.mark.parametrize("name", ["pipe.jsonl", "pipe.csv"])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(ConfigError, match="not a regular file"):
        read_prompts(tmp_path / name)


def test_where_prompts_came_from(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", {"messages": [USER]})
    source = source_of(path, 1, "train")
    assert source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (source.set, source.path, source.prompts) == ("train", str(path), 1)
    with pytest.raises(ConfigError, match="cannot read"):
        source_of(tmp_path / "missing", 1)


# --- clusters -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "by", "cluster"),
    [
        ({"cluster": "c"}, None, "c"),
        ({"cluster": 7}, None, "7"),
        ({"cluster": ""}, None, None),
        ({"cluster": None}, None, None),
        ({"document": "d", "cluster": "c"}, "document", "d"),
        ({"metadata": {"document": 0}}, "document", "0"),
        ({"tags": ["x", "document=9"]}, "document", "9"),
        ({"cluster": "c"}, "cluster", "c"),
        ({"tags": ["cluster=t"]}, "cluster", "t"),
    ],
)
def test_clusters(tmp_path: Path, more: Any, by: str | None, cluster: str | None) -> None:
    path = write(tmp_path / "p.jsonl", {"messages": [USER], **more})
    (prompt,) = read_prompts(path, cluster_by=by)
    assert prompt.cluster == cluster


def test_clusters_that_nothing_names_are_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", {"messages": [USER], "tags": ["documents=1"]})
    with pytest.raises(ConfigError, match="nothing is called 'document'"):
        read_prompts(path, cluster_by="document")
    assert [p.cluster for p in clustered(read_prompts(path), "document")] == [None]


def test_a_field_that_cannot_name_a_cluster_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", {"messages": [USER], "document": {"id": 1}})
    with pytest.raises(ConfigError, match="line 1: 'document' is neither"):
        read_prompts(path, cluster_by="document")


# --- tables -------------------------------------------------------------------------------------


def table(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.csv", "prompt,expected,tags,cluster\r\nq,a,x; y ;,c\r\n"),
        ("p.csv", "\ufeffQuestion , Answer,TAGS,cluster\nq,a,x;y,c\n"),
        ("p.csv", 'user;ideal;tags;cluster\nq;a;"x;y";c\n'),
        ("p.CSV", 'input,output,tags,cluster\n"q","a","x;y","c"'),
        ("p.tsv", "prompt\texpected\ttags\tcluster\nq\ta\tx;y\tc\n"),
    ],
)
def test_tables(tmp_path: Path, name: str, text: str) -> None:
    (prompt,) = read_prompts(table(tmp_path / name, text))
    assert (prompt.question, prompt.expected) == ("q", "a")
    assert (prompt.tags, prompt.cluster, prompt.line) == (("x", "y"), "c", 2)


def test_cells_of_many_lines_and_rows_with_their_line(tmp_path: Path) -> None:
    text = 'system,prompt,expected,document\n,"a\nb ""c""",x,1\n\ns,d,,2\n'
    one, two = read_prompts(table(tmp_path / "p.csv", text), cluster_by="document")
    assert (one.question, one.expected, one.line, one.cluster) == ('a\nb "c"', "x", 2, "1")
    assert (two.question, two.expected, two.line, two.cluster) == ("d", None, 5, "2")
    assert [m.role for m in two.messages] == ["system", "user"]


def test_a_japanese_table_in_shift_jis(tmp_path: Path) -> None:
    (prompt,) = read_prompts(table(tmp_path / "p.csv", "prompt\nこれはなに\n".encode("cp932")))
    assert prompt.question == "これはなに"


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("prompt,expected\nq,a\nq\n", "too few cells: 1 cell,", 3),
        ("prompt,expected\nq,a,b\n", "too many cells", 2),
        ('prompt,expected\nq,a"b"c\n"q"x,a\n', "misplaced quote", 3),
        ("prompt,expected\n,a\n", "messages is a list", 2),
        ("prompt,question\nq,r\n", "prompt and question both", 2),
        ("quest,expected\nq,a\n", "no column is called prompt, question, input or user", 1),
        ("prompt,Prompt\nq,a\n", "two columns are called prompt", 1),
    ],
)
def test_what_is_wrong_in_a_table_is_said_with_its_line(
    tmp_path: Path, text: str, message: str, line: int
) -> None:
    with pytest.raises(DatasetError) as caught:
        read_prompts(table(tmp_path / "p.csv", text))
    (issue,) = caught.value.issues
    assert message in issue.message
    assert issue.line == line


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b'prompt\n"q\n', "never closes"),
        (b"prompt\n\xff\xfe\xfd\n", "bytes that are no text"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read_prompts(table(tmp_path / "p.csv", data))


def test_a_cell_of_two_million_characters(tmp_path: Path) -> None:
    (prompt,) = read_prompts(table(tmp_path / "p.csv", f"prompt\n{'x' * 2_000_000}\n"))
    assert len(prompt.question) == 2_000_000


cells = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)


@given(st.lists(st.tuples(cells.filter(str.strip), cells), min_size=1, max_size=5))
def test_what_the_csv_module_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("prompt", "expected"), *rows])
    found = [(p.question, p.expected or "") for p in read_prompts(path)]
    assert found == rows


# --- any file -----------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["messages", "role", "content", "expected", "input", "calls", "tools", "cluster"]
            ),
            inner,
        )
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


@given(st.binary(max_size=60), st.sampled_from(["p.jsonl", "p.csv", "p.tsv"]))
def test_any_bytes_give_prompts_or_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str
) -> None:
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(b"prompt,expected\n" + data if name != "p.jsonl" else data)
    try:
        assert all(prompt.messages for prompt in read_prompts(path))
    except (DatasetError, ConfigError) as error:
        assert str(path) in error.message  # noqa: PT017 - both outcomes are right


def test_preference_pairs_of_our_own(tmp_path: Path) -> None:
    prompts = read_prompts(DATASETS / "broken/preferences.jsonl")
    assert prompts[0].expected == "41 hours on one charge."
    assert prompts[0].item == {}
