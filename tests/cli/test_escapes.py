"""Untrusted text in pieces is shown as clean as if it had come whole."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.cli.escapes import LONGEST, Stream
from ftjobs.reports.cells import clean

TRICKY = ["\x1b", "[", "]", "P", "0", ";", "m", "A", " ", "\\", "\x07", "\x9b", "\x9c", "\x9d"]
TRICKY += ["\x90", "\r", "\n", "\t", "\ud83d", "\u202e", "é", "学", "/"]
tricky = st.lists(st.sampled_from(TRICKY), max_size=30).map("".join)


def cleaned(pieces: list[str]) -> str:
    stream = Stream()
    return "".join([*map(stream.feed, pieces), stream.end()])


@given(st.lists(tricky | st.text(), max_size=8))
def test_pieces_come_out_as_the_whole_would(pieces: list[str]) -> None:
    whole = "".join(pieces)
    assert cleaned(pieces) == cleaned(list(whole)) == clean(whole)


def test_only_an_unfinished_sequence_is_held_back() -> None:
    stream = Stream()
    shown = [stream.feed(piece) for piece in ("red \x1b[3", "1mwords\x1b]0;ti", "tle\x07!", "\x1b")]
    assert shown == ["red ", "words", "!", ""]
    assert stream.end() == ""


@pytest.mark.parametrize("end", ["\x07x", "\x1bx", "\x9cx", "\x1b", ""])
def test_a_megabyte_of_starts_takes_no_second(end: str) -> None:
    began = time.process_time()
    cleaned(["\x9d" * 1_000_000 + end])
    assert time.process_time() - began < 5


def test_a_sequence_without_end_costs_neither_time_nor_memory() -> None:
    for start in ("\x1b]0;", "\x1b[", "\x1b ", "\x9b"):
        stream = Stream()
        stream.feed(start)
        began = time.process_time()
        shown = sum(len(stream.feed("1111")) for _ in range(50_000))
        assert time.process_time() - began < 5
        assert len(stream._held) <= LONGEST
        assert shown > 190_000 or start == "\x1b]0;"  # a title of any length shows nothing
