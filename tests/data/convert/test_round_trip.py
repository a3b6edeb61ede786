"""Conversations, written in each format and converted, are the same conversations, and clean."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
import zstandard
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ftjobs.data.checker import check
from ftjobs.data.convert import convert
from tests.data.convert.writers import (
    PAIRS,
    SAID,
    asked,
    assistant,
    converted,
    separated,
    user,
    workbook,
)

Pairs = list[tuple[str, str]]
quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def is_clean(examples: Sequence[Any], found: Sequence[Any], path: Path) -> None:
    assert list(found) == list(examples)
    report = check(path.with_name("out.jsonl"))
    assert report.ok, report.errors


def example_pairs(pairs: Pairs) -> list[dict[str, Any]]:
    return [asked(*pair) for pair in pairs]


def has_return(pairs: Pairs) -> bool:
    """Whether a text holds what Python's writer leaves without quotes, so that it ends a line."""
    return any("\r" in text for pair in pairs for text in pair)


@quick
@given(
    pairs=PAIRS,
    delimiter=st.sampled_from(",\t;|"),
    end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    quote=st.sampled_from([0, 1]),
    declared=st.booleans(),
)
def test_separated(
    tmp_path: Path,
    pairs: Pairs,
    delimiter: str,
    end: str,
    encoding: str,
    quote: Literal[0, 1],
    declared: bool,
) -> None:
    assume(quote or end == "\r\n" or not has_return(pairs))
    path = tmp_path / "x.csv"
    rows = [("instruction", "output"), *pairs]
    text = separated(rows, delimiter=delimiter, end=end, quote=quote)
    declaration = f"sep={delimiter}{end}" if declared else ""
    path.write_bytes((declaration + text).encode(encoding))
    found, report = converted(path)
    is_clean(example_pairs(pairs), found, path)
    assert report.encoding == ("utf-8" if encoding.startswith("utf-8") else encoding)


@quick
@given(
    pairs=st.lists(
        st.tuples(*[st.text('あいアイ漢字abc,\n"①～髙', min_size=1).filter(str.strip)] * 2)
    )
)
def test_shift_jis_as_windows_writes_it(tmp_path: Path, pairs: Pairs) -> None:
    path = tmp_path / "x.csv"
    pairs = [("かな", "カナ"), *pairs]
    path.write_bytes(separated([("質問", "回答"), *pairs]).encode("cp932"))
    found, report = converted(path)
    is_clean(example_pairs(pairs), found, path)
    assert report.encoding == "cp932"


@quick
@given(pairs=PAIRS, ascii_only=st.booleans(), form=st.sampled_from(["lines", "list", "objects"]))
def test_prompt_and_completion(tmp_path: Path, pairs: Pairs, ascii_only: bool, form: str) -> None:
    path = tmp_path / "x.json"
    rows = [{"prompt": prompt, "completion": completion} for prompt, completion in pairs]
    path.write_text(spelled(rows, form, ascii_only=ascii_only), "utf-8", newline="")
    found, report = converted(path)
    is_clean(example_pairs(pairs), found, path)
    assert report.container == ("jsonl" if form == "lines" else "json")


def spelled(rows: Sequence[Any], form: str, *, ascii_only: bool = False) -> str:
    if form == "list":
        return json.dumps(rows, ensure_ascii=ascii_only, indent=2)
    indent = 2 if form == "objects" else None
    return "\n".join(json.dumps(row, ensure_ascii=ascii_only, indent=indent) for row in rows)


@quick
@given(rows=st.lists(st.tuples(SAID, st.one_of(st.just(""), SAID), SAID), min_size=1, max_size=4))
def test_alpaca(tmp_path: Path, rows: list[tuple[str, str, str]]) -> None:
    path = tmp_path / "x.json"
    written = [{"instruction": a, "input": b, "output": c} for a, b, c in rows]
    path.write_text(json.dumps(written), "utf-8")
    found, report = converted(path)
    is_clean([asked(f"{a}\n\n{b}" if b else a, c) for a, b, c in rows], found, path)
    assert report.shape == "alpaca"


# --- conversations with tools -----------------------------------------------------------------

NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), SAID),
    lambda inner: st.lists(inner),
    max_leaves=3,
)
CALLS = st.lists(
    st.tuples(NAMES, st.dictionaries(SAID, JSON, max_size=2), SAID), min_size=1, max_size=2
)
STEPS = st.lists(st.tuples(SAID, st.one_of(st.none(), CALLS), SAID), min_size=1, max_size=3)


@st.composite
def conversations(draw: st.DrawFn) -> dict[str, Any]:
    """A conversation with a system message, tools and calls, or without."""
    messages: list[dict[str, Any]] = []
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(SAID)})
    count = 0
    for question, calls, answer in draw(STEPS):
        messages.append(user(question))
        if calls:
            called = []
            for name, arguments, _ in calls:
                count += 1
                function = {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}
                called.append({"id": f"call_{count}", "type": "function", "function": function})
            messages.append({"role": "assistant", "content": None, "tool_calls": called})
            for call, (_, _, result) in zip(called, calls, strict=True):
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
        messages.append(assistant(answer))
    tool = {"name": draw(NAMES), "parameters": {"type": "object"}}
    tools = {"tools": [{"type": "function", "function": tool}]} if draw(st.booleans()) else {}
    return {"messages": messages, **tools}


_TAGS = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}


def as_sharegpt(example: dict[str, Any], *, apart: bool) -> dict[str, Any]:
    """As LLaMA-Factory keeps it; `apart`: the system message beside the conversation."""
    turns = []
    row: dict[str, Any] = {}
    for message in example["messages"]:
        if calls := message.get("tool_calls"):
            functions = [call["function"] for call in calls]
            value = [
                {"name": one["name"], "arguments": json.loads(one["arguments"])}
                for one in functions
            ]
            turns.append({"from": "function_call", "value": json.dumps(value)})
        elif message["role"] == "system" and apart:
            row["system"] = message["content"]
        else:
            turns.append({"from": _TAGS[message["role"]], "value": message["content"]})
    if "tools" in example:
        row["tools"] = json.dumps([tool["function"] for tool in example["tools"]])
    return {"conversations": turns, **row}


@quick
@given(examples=st.lists(conversations(), min_size=1, max_size=3), apart=st.booleans())
def test_sharegpt(tmp_path: Path, examples: list[dict[str, Any]], apart: bool) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps([as_sharegpt(one, apart=apart) for one in examples]), "utf-8")
    found, report = converted(path)
    is_clean(examples, found, path)
    assert (report.shape, report.unused) == ("sharegpt", ())


def as_export(example: dict[str, Any], branches: list[str]) -> dict[str, Any]:
    """As ChatGPT exports it: from the root over a hidden system message, with dead branches."""
    nodes: dict[str, Any] = {"root": {"id": "root", "message": None, "parent": None}}
    hidden = {"role": "system", "content": "hidden"}
    parent = "root"
    for number, message in enumerate([hidden, *example["messages"]]):
        content = {"content_type": "text", "parts": [message["content"]]}
        said = {"author": {"role": message["role"]}, "content": content, "recipient": "all"}
        for at, text in enumerate(branches):
            dead = {**said, "content": {"content_type": "text", "parts": [text]}}
            nodes[f"dead{number}.{at}"] = {"message": dead, "parent": parent}
        nodes[str(number)] = {"message": said, "parent": parent}
        parent = str(number)
    return {"title": "t", "mapping": nodes, "current_node": parent}


@quick
@given(talks=st.lists(PAIRS, min_size=1, max_size=3), branches=st.lists(SAID, max_size=2))
def test_chatgpt(tmp_path: Path, talks: list[Pairs], branches: list[str]) -> None:
    path = tmp_path / "conversations.json"
    examples = [
        {"messages": [one for a, b in pairs for one in (user(a), assistant(b))]} for pairs in talks
    ]
    path.write_text(json.dumps([as_export(one, branches) for one in examples]), "utf-8")
    found, report = converted(path)
    is_clean(examples, found, path)
    assert (report.shape, report.unused) == ("chatgpt", ("title",))


@quick
@given(
    examples=st.lists(conversations(), min_size=1, max_size=3),
    form=st.sampled_from(["lines", "list", "objects"]),
    packed=st.sampled_from(["", ".gz", ".zst"]),
)
def test_chat(tmp_path: Path, examples: list[dict[str, Any]], form: str, packed: str) -> None:
    path = tmp_path / f"x.json{packed}"
    data = spelled(examples, form).encode()
    pack: dict[str, Callable[[bytes], bytes]] = {
        "": bytes,
        ".gz": gzip.compress,
        ".zst": zstandard.ZstdCompressor().compress,
    }
    path.write_bytes(pack[packed](data))
    found, _ = converted(path)
    is_clean(examples, found, path)


@quick
@given(examples=st.lists(conversations(), min_size=1, max_size=3), group=st.integers(1, 3))
def test_parquet_of_messages(tmp_path: Path, examples: list[dict[str, Any]], group: int) -> None:
    path = tmp_path / "x.parquet"
    rows = [
        {"messages": one["messages"], "tools": json.dumps(one["tools"]) if "tools" in one else None}
        for one in examples
    ]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)
    expected = [without_nulls(one) for one in examples]
    found, _ = converted(path)
    is_clean(expected, found, path)


def without_nulls(example: dict[str, Any]) -> dict[str, Any]:
    """A table cannot tell a null from a key that is not there."""
    messages = [
        {key: value for key, value in message.items() if value is not None}
        for message in example["messages"]
    ]
    return {**example, "messages": messages}


@quick
@given(pairs=PAIRS, group=st.integers(1, 3))
def test_parquet_of_columns(tmp_path: Path, pairs: Pairs, group: int) -> None:
    path = tmp_path / "x.parquet"
    rows = [{"question": prompt, "answer": completion} for prompt, completion in pairs]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)
    found, report = converted(path)
    is_clean(example_pairs(pairs), found, path)
    assert (report.container, report.unit) == ("parquet", "row")


# XML holds no control characters, and Excel writes _xHHHH_ for some of them.
SHEET_TEXTS = SAID.filter(
    lambda text: not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]|_x|^<c", text)
)


@quick
@given(pairs=st.lists(st.tuples(SHEET_TEXTS, SHEET_TEXTS), min_size=1, max_size=5))
def test_excel(tmp_path: Path, pairs: Pairs) -> None:
    path = workbook(tmp_path / "x.xlsx", {"FAQ": [("Question", "Answer"), *pairs]})
    found, report = converted(path)
    is_clean(example_pairs(pairs), found, path)
    assert (report.container, report.notes) == ("xlsx", ())


@pytest.mark.parametrize("form", ["lines", "list", "objects"])
def test_what_is_chat_already_stays_as_it_is_written(tmp_path: Path, form: str) -> None:
    """Numbers keep their digits and escapes their spelling: only line ends and indents go."""
    line = (
        '{"messages": [{"role": "user", "content": "\\u00e9 \\/"}, {"role": "assistant", '
        '"content": "x"}], "tools": [{"type": "function", "function": {"name": "f", '
        '"parameters": {"maximum": 1.10, "minimum": 1e-3, "big": 12345678901234567890}}}]}'
    )
    texts = {"lines": line, "list": f"[\n  {line}\n]", "objects": line.replace(", ", ",\n    ")}
    path = tmp_path / "x.json"
    path.write_text(texts[form])
    assert convert(path, tmp_path / "o.jsonl").written == 1
    written = (tmp_path / "o.jsonl").read_text()
    assert written == (line if form != "objects" else line.replace(", ", ",")) + "\n"
