"""`check` over whole files: places, counts, limits, targets, and no exception for any bytes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import socket
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ftjobs.data import TARGETS, Report, check, part
from ftjobs.data.reading import lines_of
from ftjobs.data.scan import Finding
from ftjobs.errors import ConfigError

ROW = b'{"messages":[{"role":"user","content":"Hello"},{"role":"assistant","content":"Hi"}]}\n'
ALPACA = b'{"instruction":"a","output":"b"}\n'
PREFERENCE = (
    b'{"input":{"messages":[{"role":"user","content":"Hello"}]},"preferred_output":'
    b'[{"role":"assistant","content":"Hi"}],"non_preferred_output":'
    b'[{"role":"assistant","content":"No"}]}\n'
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "train.jsonl"


def check_bytes(file: Path, data: bytes, *, target: str = "local", **options: Any) -> Report:
    """Check bytes that repeat a row, but not for repetition: test_index.py does."""
    file.write_bytes(data)
    return check(file, target=target, ignore=["FT8"], **options)


def codes(report: Report) -> list[str]:
    return [issue.code for issue in report.issues]


def test_a_clean_file(file: Path) -> None:
    data = ROW * 12
    report = check_bytes(file, data)
    assert report.ok
    assert report.issues == report.errors == report.warnings == ()
    assert (report.lines, report.examples, report.truncated) == (12, 12, 0)
    assert report.manifest.sha256 == hashlib.sha256(data).hexdigest()
    assert report.manifest.bytes == len(data)
    assert (report.manifest.rows, report.manifest.method) == (12, "supervised")
    assert pickle.loads(pickle.dumps(report)) == report
    assert json.loads(report.model_dump_json())["manifest"]["rows"] == 12


def test_line_ends_do_not_matter(file: Path) -> None:
    unix = check_bytes(file, ROW * 10)
    windows = check_bytes(file, ROW.replace(b"\n", b"\r\n") * 10)
    no_last = check_bytes(file, (ROW * 10).rstrip())
    assert unix.issues == windows.issues == no_last.issues == ()
    assert unix.lines == windows.lines == no_last.lines == 10


def test_an_issue_says_exactly_where(file: Path) -> None:
    report = check_bytes(file, ROW * 6 + ROW.replace(b'"user"', b'"User"') + ROW * 5)
    (issue,) = report.issues
    assert (issue.code, issue.severity) == ("FT306", "error")
    assert (issue.line, issue.column, issue.pointer) == (7, 22, "/messages/0/role")
    assert str(issue) == f'{file}:7:22: FT306 unknown role "User"'
    assert "lower case" in issue.hint
    assert (report.examples, report.manifest.rows, report.ok) == (11, 12, False)


def test_the_byte_order_mark_moves_no_column(file: Path) -> None:
    bad = ROW.replace(b'"user"', b'"User"')
    report = check_bytes(file, b"\xef\xbb\xbf" + bad + ROW * 10)
    found = [(issue.code, issue.line, issue.column) for issue in report.issues]
    assert found == [("FT101", 1, None), ("FT306", 1, 22)]


@pytest.mark.parametrize(
    ("target", "rows", "severity"),
    [
        ("openai", 9, "error"),
        ("openai", 10, None),
        ("azure", 9, "error"),
        ("local", 9, "warning"),
        ("fireworks", 2, "error"),
        ("fireworks", 3, None),
    ],
)
def test_the_least_number_of_examples(
    file: Path, target: str, rows: int, severity: str | None
) -> None:
    report = check_bytes(file, ROW * rows, target=target)
    assert [issue.severity for issue in report.issues] == ([severity] if severity else [])
    assert report.ok == (severity != "error")
    assert all(issue.line is None for issue in report.issues)


def test_nine_examples_in_words(file: Path) -> None:
    (issue,) = check_bytes(file, ROW * 9, target="openai").issues
    assert issue.message == "file has 9 examples, but must have at least 10"
    (issue,) = check_bytes(file, ROW, target="openai").issues
    assert issue.message == "file has 1 example, but must have at least 10"


def test_broken_rows_count_as_examples_to_be_mended(file: Path) -> None:
    report = check_bytes(file, ROW * 9 + b"{\n", target="openai")
    assert codes(report) == ["FT204"]


def test_a_foreign_shape_is_one_issue(file: Path) -> None:
    report = check_bytes(file, ROW * 10 + ALPACA * 40 + ROW)
    (issue,) = report.issues
    assert (issue.code, issue.line) == ("FT322", 11)
    assert issue.message.endswith("as in 39 more lines")
    assert (report.examples, report.error_count) == (11, 1)


def test_preferences_are_a_method_of_their_own(file: Path) -> None:
    report = check_bytes(file, PREFERENCE * 10, target="openai")
    assert report.issues == ()
    assert report.manifest.method == "dpo"
    assert check_bytes(file, PREFERENCE * 10).issues == ()
    assert codes(check_bytes(file, PREFERENCE * 10, target="nebius")) == ["FT507"]  # chat alone
    mixed = check_bytes(file, PREFERENCE * 10 + ROW, target="openai")
    assert [(issue.code, issue.line) for issue in mixed.issues] == [("FT503", 11)]
    assert mixed.examples == 10


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (ROW.decode().encode("utf-16"), "FT103"),
        (ROW.decode().encode("utf-16-le"), "FT103"),
        (ROW.decode().encode("utf-16-be"), "FT103"),
        (ROW.decode().encode("utf-32"), "FT103"),
        (ROW.decode().encode("utf-32-be"), "FT103"),
        (b"\x7fELF\x01\x00\x00" + os.urandom(5000), "FT105"),
        (b"PK\x03\x04" + os.urandom(5000), "FT105"),
        (b"\xfd7zXZ\x00" + os.urandom(5000), "FT105"),
        (b"\n  [\n" + ROW.strip() + b",\n" + ROW + b"]\n", "FT211"),
        (b"[" + ROW.strip() + b"," + ROW.strip() + b"]", "FT211"),
        (b"\xef\xbb\xbf[" + ROW.strip() + b"]", "FT211"),
        (json.dumps(json.loads(ROW), indent=4).encode(), "FT212"),
        (b"instruction,output\nWho?,She.\n", "FT324"),
        (b'"Prompt"\t"Completion"\nWho?\tShe.\n', "FT324"),
    ],
)
def test_a_file_that_is_no_json_lines_is_one_issue(file: Path, data: bytes, code: str) -> None:
    report = check_bytes(file, data)
    assert codes(report) == [code]
    assert report.manifest.sha256 == hashlib.sha256(data).hexdigest()


def test_the_name_of_a_table_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "質問.CSV"
    assert codes(check_bytes(path, "質問,回答\nどこ,ここ\n".encode("cp932"))) == ["FT324"]
    assert check_bytes(path, ROW * 10).issues == ()  # the content counts more than the name


def test_a_list_on_every_line_is_explained_line_by_line(file: Path) -> None:
    report = check_bytes(file, b'[{"role":"user"}]\n' * 10)
    assert codes(report) == ["FT301"] * 10


@pytest.mark.parametrize("data", [b"", b"\n", b" \r\n\t\n", b"\xef\xbb\xbf"])
def test_nothing_to_train_on(file: Path, data: bytes) -> None:
    report = check_bytes(file, data)
    assert "FT501" in codes(report)
    assert not report.ok


def test_limits_keep_errors_and_warnings_apart(file: Path) -> None:
    odd = ROW.replace(b'"content":"Hello"', b'"content":"Hello","x":1')
    data = odd * 30 + b"{\n" * 20
    report = check_bytes(file, data, max_issues=5)
    assert (len(report.errors), len(report.warnings)) == (5, 5)
    assert (report.error_count, report.warning_count, report.truncated) == (20, 30, 40)
    assert not check_bytes(file, data, max_issues=0).ok
    assert check_bytes(file, data, max_issues=0).issues == ()
    assert len(check_bytes(file, data).issues) == 50


def test_one_line_cannot_flood_the_report(file: Path) -> None:
    report = check_bytes(file, b'{"messages":[' + b"{}," * 999 + b"0]}\n" + ROW * 10)
    assert len(report.issues) == 100
    assert report.error_count == 1000
    keys = b",".join(b'"k%d":1' % number for number in range(200))
    report = check_bytes(file, b'{"messages":[],' + keys + b"}\n" + ROW * 10)
    assert "FT305" in codes(report)  # no number of warnings hides an error
    many = [(issue.line, issue.column) for issue in report.issues]
    assert many == sorted(many)


def test_what_is_only_counted_is_not_hashed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []

    def fingerprint(finding: Finding, source: bytes) -> str:
        hashed.append(finding.code)
        return "0"

    monkeypatch.setattr(part, "_fingerprint", fingerprint)
    line = b'{"messages":[' + b"0," * 999 + b"0]}\n"  # each finding would hash the whole line
    report = check_bytes(file, line * 10, max_issues=150)
    assert (report.error_count, len(report.errors)) == (10_000, 150)
    assert len(hashed) == 150 + report.warning_count


def test_long_lines_are_skipped_whole() -> None:
    data = b"ab\n" + b"x" * 50 + b"\n" + b"cdefghi\n" + b"y" * 9
    fed = bytearray()
    lines = list(lines_of(io.BytesIO(data), feed=fed.extend, limit=8))
    assert lines == [b"ab\n", None, b"cdefghi\n", None]
    assert bytes(fed) == data


def test_a_line_over_the_limit_is_one_issue(file: Path) -> None:
    with file.open("wb") as out:
        out.write(ROW * 1000)  # more than what is sniffed
        out.truncate(161 * 2**20)  # the rest is a hole in the file
    report = check(file, ignore=["FT8"])
    assert [(issue.code, issue.line, issue.column) for issue in report.issues] == [
        ("FT210", 1001, None)
    ]


def test_memory_does_not_grow_with_the_file(file: Path) -> None:
    def peak(rows: int) -> int:
        file.write_bytes(ROW * rows)
        tracemalloc.start()
        try:
            assert check(file, ignore=["FT8"]).ok
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(100)  # what is made once
    assert peak(40_000) < peak(5_000) + 35_000 * 24


def test_a_file_that_changes_is_reported(file: Path) -> None:
    file.write_bytes(ROW * 20_000)
    done = threading.Event()
    running = threading.Event()

    def touch() -> None:
        moment = 0
        while not done.is_set():
            moment += 1
            os.utime(file, ns=(moment, moment))
            running.set()

    writer = threading.Thread(target=touch)
    writer.start()
    try:
        assert running.wait(10)
        report = check(file, ignore=["FT8"])
    finally:
        done.set()
        writer.join()
    assert codes(report) == ["FT504"]


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        check(tmp_path / "missing.jsonl")
    with pytest.raises(ConfigError, match="is a folder"):
        check(tmp_path)
    with pytest.raises(ConfigError, match="zero byte"):
        check("a\0b")
    with pytest.raises(ConfigError, match="half a surrogate pair"):
        check("a\ud800b")
    (tmp_path / "file").write_bytes(ROW)
    with pytest.raises(ConfigError, match="Not a directory"):
        check(tmp_path / "file" / "train.jsonl")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="not a regular file"):
        check(tmp_path / "pipe")  # and does not wait for a writer
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(ConfigError, match="loop"):
        check(loop)


def test_a_socket_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the paths of sockets are short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        with pytest.raises(ConfigError, match="not a regular file"):
            check("socket")


def test_an_unknown_target_is_refused(file: Path) -> None:
    file.write_bytes(ROW)
    with pytest.raises(ConfigError, match="Known targets: local, openai"):
        check(file, target="nowhere")
    assert all(check(file, target=target).target == target for target in TARGETS)


PIECES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [ROW, ALPACA, PREFERENCE, b"\n", b"\xef\xbb\xbf", b"[", b'{"messages":[', b"\r"]
    ),
)


@given(st.one_of(st.binary(max_size=400), st.lists(PIECES).map(b"".join)))
@settings(deadline=None, max_examples=400)
@example(b"\x28\xb5\x2f\xfd")
@example(b"\x1f\x8b")
def test_no_bytes_raise(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzz.jsonl"
    report = check_bytes(file, data)
    if report.manifest.compression is None:
        assert report.manifest.sha256 == hashlib.sha256(data).hexdigest()
    assert report.examples <= report.manifest.rows <= report.lines
    assert report.ok == (report.errors == ())
    places = [(issue.line or 10**9, issue.column or 0) for issue in report.issues]
    assert places == sorted(places)
    for issue in report.issues:
        last = report.lines + (issue.code == "FT110")  # which is where the bytes end
        assert issue.line is None or 1 <= issue.line <= last


def test_one_zero_byte_makes_no_binary_file(file: Path) -> None:
    report = check_bytes(file, ROW * 20 + ROW.replace(b"Hello", b"He\x00lo") + ROW)
    assert [(issue.code, issue.line, issue.column) for issue in report.issues] == [
        ("FT207", 21, ROW.index(b"Hello") + 3)
    ]


def test_random_bytes_give_few_issues(file: Path) -> None:
    assert len(check_bytes(file, os.urandom(200_000)).issues) == 1
