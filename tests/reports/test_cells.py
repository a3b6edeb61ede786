import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.reports.cells import blocks, clean, cut, disarmed, pad, table, width, wrap


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPdevice\x1b\\x", "x"),
        ("\x9b2Jx", "x"),
        ("\x9d0;title\x9cx", "x"),
        ("\x1b(0lqk", "lqk"),
        ("a\x08\x7f\x00b\rc", "abc"),
        ("a\tb\r\nc", "a b\nc"),
        ("evil\u202etxt", "eviltxt"),
        ("\ud800", "\ufffd"),
        ("こんにちは", "こんにちは"),
        ("👩\u200d💻", "👩\u200d💻"),
    ],
)
def test_clean(said: str, shown: str) -> None:
    assert clean(said) == shown


@given(st.text(st.characters() | st.sampled_from("\x1b\x9b[]0;m\x07\\P")))
def test_nothing_that_a_terminal_obeys_passes(text: str) -> None:
    shown = clean(text)
    assert all(c == "\n" or unicodedata.category(c) not in ("Cc", "Cs") for c in shown)
    assert clean(shown) == shown


@pytest.mark.parametrize(
    ("text", "columns"), [("abc", 3), ("日本", 4), ("ｱ", 1), ("e\u0301", 1), ("ガ", 2), ("", 0)]
)
def test_width(text: str, columns: int) -> None:
    assert width(text) == columns


texts = st.text(st.sampled_from("ab 日本語、e\u0301\n") | st.characters(codec="utf-8"))


@given(texts.map(clean), st.integers(2, 20))
def test_wrapped_lines_fit_and_lose_only_spaces(text: str, columns: int) -> None:
    lines = wrap(text, columns)
    assert all(width(line) <= columns for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


@given(texts.map(clean), st.integers(1, 20))
def test_cut_fits(text: str, columns: int) -> None:
    assert width(cut(text, columns)) <= columns


def test_wrap() -> None:
    assert wrap("one two three", 7) == ["one two", "three"]
    assert wrap("営業時間は10時から", 8) == ["営業時間", "は10時か", "ら"]
    assert wrap("a\n\nb", 5) == ["a", "", "b"]
    assert wrap("abcdefgh", 3) == ["abc", "def", "gh"]


@pytest.mark.parametrize("text", [" ", "\n", "\u3000", " \n", "e\u0301", ":", "\x1b[", "\x9d"])
def test_a_megabyte_of_anything_takes_seconds(text: str) -> None:
    began = time.process_time()
    wrap(disarmed(clean(text * (1_000_000 // len(text)))), 80)
    assert time.process_time() - began < 10


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("::error::x", ": :error::x"),
        ("a\n \u3000::error::x", "a\n \u3000: :error::x"),
        ("##[group]a ##vso[task]", "## [group]a ## vso[task]"),
        ("a::b ## c", "a::b ## c"),
        ("\n\n::a", "\n\n: :a"),
    ],
)
def test_no_line_commands_the_log_of_a_pipeline(said: str, shown: str) -> None:
    assert disarmed(said) == shown


def test_tables_align_wide_text() -> None:
    assert table(("A", "B"), [("日本", "x"), ("a", "\x1b[1my")]).splitlines() == [
        "A     B",
        "日本  x",
        "a     y",
    ]
    assert table(("A", "B"), [("a", "long words")], limit=8).splitlines() == ["A  B", "a  long…"]


def test_blocks_wrap_cells_side_by_side() -> None:
    lines = list(blocks([("1", "ab cd"), ("2", "日本")], (1, 2)))
    assert lines == ["1 │ ab", "  │ cd", "──┼───", "2 │ 日", "  │ 本", "──┼───"]
    assert pad("日", 4) == "日  "
