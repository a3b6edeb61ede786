"""Blocks of lines, compressed files, and standard input."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.data import TARGETS, Report, check, check_all, parallel, read, reading
from ftjobs.data.part import Part, Rules
from ftjobs.data.reading import blocks_of, lines_of
from ftjobs.errors import ConfigError, DatasetError

ROWS = b"".join(
    json.dumps(
        {
            "messages": [
                {"role": "user", "content": f"Question {number}?"},
                {"role": "assistant", "content": f"Answer {number}."},
            ]
        }
    ).encode()
    + b"\n"
    for number in range(20)
)


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "gzip-members": lambda data: gzip.compress(data[:500]) + gzip.compress(data[500:]),
    "zstd": zstd,
    "zstd-frames": lambda data: zstd(data[:500]) + zstd(data[500:]),
}


def codes(report: Report) -> list[str]:
    return [issue.code for issue in report.issues]


@given(
    st.lists(st.sampled_from([b"a", b"\n", b"bc\n", b"d" * 9, b"\r\n", b"e" * 30]), max_size=20),
    st.integers(1, 12),
    st.integers(0, 20),
)
def test_blocks_hold_the_lines(pieces: list[bytes], block: int, head: int) -> None:
    data = b"".join(pieces)
    file = io.BytesIO(data)
    start = file.read(head)
    fed = bytearray()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "BLOCK_BYTES", block)
        blocks = list(blocks_of(file, head=start, feed=fed.extend))
    assert b"".join(one or b"" for one in blocks) == fed == data
    assert all(one is not None and one.endswith(b"\n") for one in blocks[:-1])


@given(st.lists(st.integers(0, 60), max_size=12), st.integers(1, 12))
def test_lines_over_the_limit_are_left_out(lengths: list[int], block: int) -> None:
    data = b"".join(b"x" * length + b"\n" for length in lengths)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "BLOCK_BYTES", block)
        blocks = list(blocks_of(io.BytesIO(data), limit=20))
    kept = [one.split(b"\n")[:-1] if one else [None] for one in blocks]
    found = [line for lines in kept for line in lines]
    assert len(found) == len(lengths)
    for line, length in zip(found, lengths, strict=True):
        assert line == b"x" * length if line is not None else length > 20
        assert line is None or length <= 20 + block


@pytest.mark.parametrize("pack", PACK)
def test_a_compressed_file_is_read_like_a_plain_one(tmp_path: Path, pack: str) -> None:
    path = tmp_path / "rows.jsonl"  # whatever the name
    path.write_bytes(PACK[pack](ROWS))
    report = check(path)
    assert (report.ok, report.examples, codes(report)) == (True, 20, [])
    assert report.manifest.sha256 == hashlib.sha256(ROWS).hexdigest()
    assert (report.manifest.bytes, report.manifest.compression) == (len(ROWS), pack[:4])
    assert len(list(read(path))) == 20
    assert codes(check(path, target="openai")) == ["FT106"]


@pytest.mark.parametrize("pack", PACK)
def test_damage_is_told_with_its_line(tmp_path: Path, pack: str) -> None:
    path = tmp_path / "rows.jsonl"
    random = b"".join(os.urandom(30).hex().encode() + b"\n" for _ in range(20_000))
    packed = PACK[pack](random)
    for broken in (packed[: len(packed) * 2 // 3], packed[:4], packed[:-3]):
        path.write_bytes(broken)
        report = check(path, max_issues=1_000_000)
        assert codes(report)[-1] == "FT110", len(broken)
        assert report.issues[-1].line == report.lines + 1
        with pytest.raises(DatasetError):
            read(path)
    flipped = bytearray(packed)
    flipped[len(packed) // 2] ^= 0xFF
    path.write_bytes(flipped)
    assert "FT110" in codes(check(path))


@pytest.mark.parametrize("pack", PACK)
def test_what_stands_before_the_damage_is_checked(tmp_path: Path, pack: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(PACK[pack](ROWS + b"{\n") + b"garbage")
    report = check(path)
    assert [(issue.code, issue.line) for issue in report.issues] == [("FT204", 21), ("FT110", 22)]
    assert (report.examples, report.manifest.rows) == (20, 21)
    assert report.manifest.sha256 == hashlib.sha256(ROWS + b"{\n").hexdigest()
    assert "b'ga'" not in report.issues[-1].message


def test_frames_to_be_skipped_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    note = b"\x5f\x2a\x4d\x18\x04\x00\x00\x00note"  # as pzstd begins
    path.write_bytes(note + zstd(ROWS[:500]) + note + zstd(ROWS[500:]) + note)
    report = check(path)
    assert (report.examples, report.manifest.compression, codes(report)) == (20, "zstd", [])


@pytest.mark.parametrize("pack", ["gzip", "zstd"])
def test_a_bomb_is_given_up(tmp_path: Path, pack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "FREE_EXPANSION", 2**20)
    path = tmp_path / "bomb.jsonl"
    path.write_bytes(PACK[pack](b"\n" * 2**24))
    report = check(path, max_issues=3)
    assert codes(report)[-1] == "FT109"
    assert report.lines < 2**22


def test_a_compressed_dataset_that_is_damaged_later_is_stale(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(ROWS))
    dataset = read(path)
    stat = path.stat()
    path.write_bytes(gzip.compress(ROWS)[:-8] + bytes(8))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(DatasetError, match="has changed since"):
        list(dataset)


def test_standard_input_is_checked_but_not_kept(tmp_path: Path) -> None:
    script = "import ftjobs.data as d; r = d.check('-'); print(r.examples, r.ok, r.mtime_ns)"
    for data in (ROWS, gzip.compress(ROWS)):
        done = subprocess.run(
            [sys.executable, "-c", script], input=data, capture_output=True, check=True
        )
        assert done.stdout.split() == [b"20", b"True", b"0"]
    with pytest.raises(ConfigError, match="standard input"):
        read("-")


def test_standard_input_from_a_file_is_read_by_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "LEAST_BYTES", 1)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(ROWS)
    with path.open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        report = check("-", processes=2)
    assert (report.lines, report.ok, report.mtime_ns) == (20, True, 0)


def test_standard_input_may_be_gone_or_another(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO(gzip.compress(ROWS))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stream))
    assert check("-").lines == 20
    assert not stream.closed
    for closed in (None, io.StringIO(ROWS.decode())):
        monkeypatch.setattr(sys, "stdin", closed)
        with pytest.raises(ConfigError, match="standard input is closed"):
            check("-")
    with pytest.raises(ConfigError, match="given twice"):
        check_all(["-", "-"])


def test_compression_is_seen_however_slowly_bytes_come() -> None:
    script = "import ftjobs.data as d; print(d.check('-').lines)"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        data = gzip.compress(ROWS)
        for part in (data[:1], data[1:3], data[3:]):
            run.stdin.write(part)
            time.sleep(0.2)
        run.stdin.close()
        assert run.stdout.read().strip() == b"20"


def test_lines_of_a_compressed_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.zst"
    path.write_bytes(zstd(ROWS))
    with reading.opened(path) as file:
        assert b"".join(line or b"" for line in lines_of(file)) == ROWS


# --- several processes --------------------------------------------------------------------------


def rows_and_mistakes() -> bytes:
    lines = ROWS.splitlines(keepends=True) * 40
    lines[7] = b"{\n"
    lines[300] = b"\n"
    lines[500] = b'{"prompt": "a", "completion": "b"}\n'
    lines[799] = b'{"prompt": "c", "completion": "d"}\n'
    return b"\xef\xbb\xbf" + b"".join(lines)


@pytest.mark.parametrize("processes", [2, 3, 5])
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_find_the_same(
    tmp_path: Path, processes: int, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "LEAST_BYTES", 1)
    monkeypatch.setattr(parallel, "_can_fork", lambda: method == "fork")
    path = tmp_path / "rows.jsonl"
    path.write_bytes(rows_and_mistakes())
    for limit in (None, 3):
        alone = check(path, max_issues=limit)
        assert {"FT101", "FT204", "FT801"} <= {*codes(alone)} or limit
        assert check(path, max_issues=limit, processes=processes) == alone


def test_limits_keep_and_count_the_same_however_a_file_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "LEAST_BYTES", 1)
    path = tmp_path / "rows.jsonl"
    lines = rows_and_mistakes().splitlines(keepends=True)
    lines[100] = b'{"messages":[' + b"{}," * 70 + b"0]}\n"  # more issues than are kept of a line
    lines[450] = lines[750] = b'{"instruction": "a", "output": "b"}\n'
    lines[20] = lines[640] = lines[20].replace(b"Question 0", b"Write to kim@lamps.test")
    lines[21] = lines[641] = lines[20].replace(b"Write", b"<|im_start|>")
    path.write_bytes(b"".join(lines))
    for limit in (0, 1, 2, 3, 101, 150, None):
        alone = check(path, max_issues=limit)
        assert check(path, max_issues=limit, processes=3) == alone
        with monkeypatch.context() as patch:
            patch.setattr(reading, "BLOCK_BYTES", 100)
            assert check(path, max_issues=limit) == alone


@pytest.mark.parametrize("mishap", ["killed", "replaced", "gone"])
def test_a_mishap_of_a_process_changes_no_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mishap: str
) -> None:
    monkeypatch.setattr(parallel, "LEAST_BYTES", 1)
    monkeypatch.setattr(parallel, "_can_fork", lambda: True)
    path, parent = tmp_path / "rows.jsonl", os.getpid()
    path.write_bytes(rows_and_mistakes())
    alone, cuts, block = check(path), parallel._cuts, Part.block

    def replaced(*args: Any) -> Any:
        path.unlink()
        if mishap == "replaced":
            path.write_bytes(ROWS)
        return cuts(*args)

    def killed(part: Part, data: bytes | None) -> None:
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        block(part, data)

    if mishap == "killed":
        monkeypatch.setattr(Part, "block", killed)
    else:
        monkeypatch.setattr(parallel, "_cuts", replaced)
    assert check(path, processes=2) == alone


def test_an_interrupt_ends_the_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "_can_fork", lambda: True)
    monkeypatch.setattr(parallel, "_read", lambda *_: time.sleep(60))
    path = tmp_path / "rows.jsonl"
    path.write_bytes(ROWS)
    with path.open("rb") as file:
        before = reading.stamp(file)

    def interrupt() -> None:
        raise KeyboardInterrupt

    rules = Rules(TARGETS["local"], frozenset())
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        parallel.read_shared(path, before, rules, 2, interrupt)
    assert time.monotonic() - start < 30


def test_processes_are_not_more_than_are_of_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "LEAST_BYTES", len(ROWS))
    path = tmp_path / "rows.jsonl"
    path.write_bytes(ROWS)
    assert check(path, processes=10_000) == check(path, processes=0) == check(path)


def test_a_file_of_two_methods_is_read_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "LEAST_BYTES", 1)
    path = tmp_path / "rows.jsonl"
    pair = {"input": json.loads(ROWS.split(b"\n")[0]), "preferred_output": []}
    pair["input"]["messages"].pop()
    said = [{"role": "assistant", "content": "Yes."}]
    line = json.dumps({**pair, "preferred_output": said, "non_preferred_output": said})
    path.write_bytes(ROWS + f"{line}\n".encode() * 40)
    alone = check(path, target="openai")
    assert codes(alone).count("FT503") == 40
    assert check(path, target="openai", processes=2) == alone
