"""Damaged files of every kind: a report or an error of ours, never another exception."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftjobs.data.checker import check
from ftjobs.data.convert import FORMATS, convert
from ftjobs.errors import FtjobsError
from tests.data.convert.test_conversations import ASKED, CALL, SAID, SEEN, export
from tests.data.convert.writers import asked, workbook

ROWS = [{"prompt": f"質問 {n}", "completion": f"回答 {n}"} for n in range(3)]
TALK = {"conversations": [ASKED, CALL, SEEN, SAID], "tools": '[{"name": "f"}]'}
TEXTS = {
    "x.csv": 'prompt,completion\n質問,"回""答\nb"\nc,d\n',
    "x.tsv": "question\tanswer\na\tb\n",
    "x.jsonl": "\n".join(map(json.dumps, ROWS)),
    "list.json": json.dumps(ROWS, indent=1),
    "sharegpt.json": json.dumps([TALK, TALK]),
    "chatgpt.json": json.dumps([export(), export()]),
    "chat.json": json.dumps(asked("a", "b"), indent=1),
}
SNIPPETS = st.one_of(
    st.binary(max_size=4),
    st.sampled_from(
        [
            *(b'"', b'""', b"\r", b"\n", b",", b";", b"\t", b"{", b"}", b"[", b"]", b"\\", b"\0"),
            *(b"null", b"1e999", b"NaN", b'"parent": "c"', b"\xff\xfe", b"\xef\xbb\xbf", b"\x82"),
            *(b"[" * 70, b"9" * 5000, b"\\ud800", b"sep=\0\n", b"sep=\n\n", b'sep="\n'),
        ]
    ),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A sound file of every kind."""
    folder = tmp_path_factory.mktemp("whole")
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "x.parquet")
    workbook(folder / "x.xlsx", {"S": [("prompt", "completion"), ("a", "b")]})
    tables = {name: (folder / name).read_bytes() for name in ("x.parquet", "x.xlsx")}
    texts = {name: text.encode() for name, text in TEXTS.items()}
    return {**texts, **tables, "x.json.gz": gzip.compress(texts["list.json"])}


@given(data=st.data())
@settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_damaged_files(tmp_path: Path, whole: dict[str, bytes], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(whole)))
    damaged = whole[name]
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(damaged)))
        cut = data.draw(st.sampled_from([0, 1, 5, len(damaged)]))
        damaged = damaged[:at] + data.draw(SNIPPETS) + damaged[at + cut :]
    path, out = tmp_path / name, tmp_path / "out.jsonl"
    path.write_bytes(damaged)
    kind = data.draw(st.one_of(st.none(), st.sampled_from([f for f in FORMATS if f != "hf"])))
    try:
        report = convert(path, out, format=kind, force=True)
    except FtjobsError:
        return
    assert report.read == report.written + report.dropped_rows
    assert not report.ok or check(out).ok


@given(head=st.binary(max_size=60))
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_bytes(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(head)
    try:
        report = convert(path, None)
    except FtjobsError:
        return
    assert report.read == report.written + report.dropped_rows
