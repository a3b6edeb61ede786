"""What a file is, from its first bytes."""

from __future__ import annotations

import bz2
import gzip
import lzma
from pathlib import Path

import pytest

from ftjobs.data.sniff import sniff

ROW = b'{"messages":[{"role":"user","content":"Hello"},{"role":"assistant","content":"Hi"}]}\n'


def code(head: bytes, name: str = "train.jsonl") -> str | None:
    finding = sniff(head, Path(name))
    return finding.code if finding else None


@pytest.mark.parametrize(
    "head",
    [
        b"",
        ROW,
        ROW * 50,
        ROW.replace(b"Hello", b"He\x00lo"),  # one stray byte, even in one short row
        b"\xef\xbb\xbf" + ROW.replace(b"Hello", b"\x00" * 8),
        ROW * 200 + ROW.replace(b"Hello", b"He\x00lo"),
        b"hello" * 300 + b"\x00",
        b"\n" + ROW.replace(b"Hello", b"He\x00lo"),
    ],
)
def test_what_may_be_json_lines(head: bytes) -> None:
    assert code(head) is None


@pytest.mark.parametrize(
    "head",
    [
        bz2.compress(ROW),
        lzma.compress(ROW),
        gzip.compress(ROW),  # still packed after the reader unpacked it
        b"\x28\xb5\x2f\xfd\x00",
        b"PK\x03\x04 spreadsheet",
        b"PAR1",
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
        bytes(range(256)),
        b"hello\x00",
        ROW.replace(b"Hello", b"\x00" * 9),
    ],
)
def test_what_is_binary(head: bytes) -> None:
    assert code(head) == "FT105"


def test_what_is_packed_is_named() -> None:
    for head, word in ((bz2.compress(ROW), "bzip2"), (lzma.compress(ROW), "xz"), (b"PAR1", "Parq")):
        finding = sniff(head, Path("x"))
        assert finding is not None
        assert word in finding.message
    twice = sniff(gzip.compress(ROW), Path("train.jsonl.gz"))
    assert twice is not None
    assert twice.message == "the file is compressed twice (gzip inside)"
