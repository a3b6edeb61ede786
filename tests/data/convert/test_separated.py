"""Tables as text: what people's spreadsheets really write, and what breaks them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.data.convert import convert
from ftjobs.data.convert.separated import guess_delimiter, records
from ftjobs.data.convert.sources import open_source
from ftjobs.data.convert.text import guess_encoding
from ftjobs.errors import ConfigError, DatasetError
from tests.data.convert.writers import TEXTS, asked, converted, drops, separated


def table(tmp_path: Path, text: str, *, encoding: str = "utf-8", name: str = "x.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


def test_a_cell_keeps_every_character(tmp_path: Path) -> None:
    path = table(tmp_path, 'prompt,completion\r\n" 1\r\n2\t",007\r\nx, 1.10 \r\n')
    found, report = converted(path)
    assert found == [asked(" 1\r\n2\t", "007"), asked("x", " 1.10 ")]
    assert report.notes == report.dropped == ()


def test_dropped_rows_are_named_by_the_line_on_which_they_begin(tmp_path: Path) -> None:
    text = 'prompt,completion\n"a\nb\nc",d\ne\n\nf,g,h\ni,\n,j\n" ",k\n,\nl,m\n'
    _, report = converted(table(tmp_path, text))
    assert drops(report) == {
        5: "too few cells",
        7: "too many cells",
        8: "empty answer",
        9: "empty prompt",
        10: "empty prompt",
        11: "empty row",
    }
    assert (report.read, report.written) == (8, 2)


def test_cells_beyond_the_header_may_be_empty(tmp_path: Path) -> None:
    found, _ = converted(table(tmp_path, "prompt,completion\na,b,,\n"))
    assert found == [asked("a", "b")]


def test_a_quote_in_the_wrong_place_costs_its_own_rows_only(tmp_path: Path) -> None:
    text = 'prompt,completion\na,b\n"c" d,e\nf,"g\nh,"i\nj,k\n'
    found, report = converted(table(tmp_path, text))
    assert found == [asked("a", "b"), asked("j", "k")]
    assert drops(report) == {3: "misplaced quote or line end", 4: "misplaced quote or line end"}
    assert report.dropped[0].places[1].detail == "the row runs to line 5"


def test_a_quote_that_never_closes_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = table(tmp_path, 'prompt,completion\na,b\nc,"d\n' + "e,f\n" * 50)
    with pytest.raises(DatasetError, match=r"x\.csv:3: a quote opens") as caught:
        convert(path, tmp_path / "o.jsonl")
    assert "d" not in caught.value.message.partition("x.csv")[2].split(":")[0]
    assert not (tmp_path / "o.jsonl").exists()


def test_quotes_inside_a_bare_cell_are_text(tmp_path: Path) -> None:
    found, _ = converted(table(tmp_path, 'prompt,completion\n5" pipe,a "b" c\n'))
    assert found == [asked('5" pipe', 'a "b" c')]


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_line_ends_of_every_system(tmp_path: Path, end: str) -> None:
    path = table(tmp_path, end.join(["prompt,completion", "a,b", "c", "d,e"]))
    found, report = converted(path)
    assert found == [asked("a", "b"), asked("d", "e")]
    assert drops(report) == {3: "too few cells"}


def test_a_stray_carriage_return_is_no_line_end(tmp_path: Path) -> None:
    found, report = converted(table(tmp_path, 'prompt,completion\na\rb,c\n"d\re",f\r\n'))
    assert found == [asked("d\re", "f")]
    assert drops(report) == {2: "misplaced quote or line end"}


def test_a_zero_byte_is_named(tmp_path: Path) -> None:
    _, report = converted(table(tmp_path, "prompt,completion\na\0,b\nd,e\n"))
    assert drops(report) == {2: "zero byte in a text"}


@pytest.mark.parametrize("name", ["x.csv", "x.txt", "x"])
def test_columns_by_their_names(tmp_path: Path, name: str) -> None:
    text = "ID;Frage;Antwort\n1;a,b,c,d;e,f\n2;g;h\n"
    path = table(tmp_path, text, name=name)
    found, report = converted(path, columns={"prompt": "Frage", "completion": "antwort"})
    assert found == [asked("a,b,c,d", "e,f"), asked("g", "h")]
    assert report.unused == ("ID",)
    assert "semicolons" in report.detected


def test_a_column_for_the_system_message(tmp_path: Path) -> None:
    path = table(tmp_path, "system,prompt,completion\nBe brief.,a,b\n,c,d\n")
    found, report = converted(path, system="Be kind.")
    assert [one["messages"][0]["content"] for one in found] == ["Be brief.", "Be kind."]
    assert [len(one["messages"]) for one in found] == [3, 3]
    assert report.notes[0].reason == "system message of its own kept"


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("a,b\nc,d\n", None, "no shape that is known"),
        ("a,b\nc,d\n", {"prompt": "a"}, "no column is named for the completion"),
        ("a,b\nc,d\n", {"prompt": "a", "completion": "c"}, "there is no column 'c'"),
        ("a,b\nc,d\n", {"prompt": "a", "completion": "b", "x": "a"}, "unknown role 'x'"),
        ("prompt,prompt,completion\na,b,c\n", None, "two columns have the same name"),
        ("just one line of prose\n", None, "no shape that is known"),
    ],
)
def test_headers_that_do_not_fit(
    tmp_path: Path, text: str, columns: dict[str, str] | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        convert(table(tmp_path, text), tmp_path / "o.jsonl", columns=columns)


def test_a_header_that_may_be_training_text_is_not_repeated(tmp_path: Path) -> None:
    path = table(tmp_path, "What is my PIN?,It is 1234\nx,y\n")
    with pytest.raises(ConfigError) as caught:
        convert(path, tmp_path / "o.jsonl")
    assert "1234" not in str(caught.value)


# --- separators -------------------------------------------------------------------------------

PROSE = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=8)


@given(rows=PROSE, delimiter=st.sampled_from(",\t;|"))
def test_the_separator_is_told_by_known_columns_whatever_the_texts(
    rows: list[tuple[str, str]], delimiter: str
) -> None:
    text = separated([("instruction", "output"), *rows], delimiter=delimiter)
    assert guess_delimiter(text, lambda names: "output" in names, whole=True) == delimiter


def test_the_separator_of_unknown_columns_is_the_even_one() -> None:
    text = "Frage; Bsp\nJa, so, geht, das; 1\nNein, nie; 2\n"
    assert guess_delimiter(text, lambda names: False, whole=True) == ";"
    assert guess_delimiter("alone\n", lambda names: False, whole=True) == ","
    assert guess_delimiter("", lambda names: False, whole=True) == ","


def test_a_head_that_ends_inside_a_quoted_cell() -> None:
    text = 'q;a\n1;2\n3;"4, 5, 6\n7, '
    assert guess_delimiter(text, lambda names: False, whole=False) == ";"


# --- encodings --------------------------------------------------------------------------------


def test_an_encoding_that_cannot_be_told_has_to_be_named(tmp_path: Path) -> None:
    text = "prompt,completion\nok,ok\n\u00e9lan,caf\u00e9\n"
    path = table(tmp_path, text, encoding="cp1252")
    with pytest.raises(DatasetError, match=r"x\.csv:3: bytes that are no text"):
        convert(path, tmp_path / "o.jsonl")
    assert converted(path, encoding="cp1252")[0][1] == asked("\u00e9lan", "caf\u00e9")


def test_a_wrong_byte_far_from_the_start(tmp_path: Path) -> None:
    path = table(tmp_path, "prompt,completion\n" + "あ,い\n" * 60_000)
    path.write_bytes(path.read_bytes() + b"\x82,b\n")
    with pytest.raises(DatasetError, match=r"x\.csv:60002: bytes"):
        convert(path, tmp_path / "o.jsonl")


@pytest.mark.parametrize("named", ["shift_jis", "SJIS", "cp932", "windows-31j"])
def test_shift_jis_is_read_as_windows_writes_it(tmp_path: Path, named: str) -> None:
    path = table(tmp_path, "質問,回答\n①～髙,㈱\n", encoding="cp932")
    assert converted(path, encoding=named)[0] == [asked("①～髙", "㈱")]


@pytest.mark.parametrize("width", ["utf-16", "utf-32"])
@pytest.mark.parametrize("order", ["", "-le", "-be"])
def test_a_wide_encoding_needs_no_mark(tmp_path: Path, width: str, order: str) -> None:
    path = table(tmp_path, "質問,回答\nあ,b\n", encoding=width + order)
    assert converted(path, encoding=width)[0] == [asked("あ", "b")]


def test_names_of_columns_are_shown_in_any_script(tmp_path: Path) -> None:
    path = table(tmp_path, "お客様の質問,窓口の回答\n")
    with pytest.raises(ConfigError) as caught:
        convert(path, None)
    assert 'Columns: 1: "お客様の質問", 2: "窓口の回答".' in caught.value.hint
    named = converted(path, columns={"prompt": "お客様の質問", "completion": "窓口の回答"})[1]
    assert named.detected.endswith('prompt from "お客様の質問", answer from "窓口の回答"')
    path = table(tmp_path, "返品はできますか。,未使用なら30日以内にお受けします。\n")  # no header
    with pytest.raises(ConfigError) as caught:
        convert(path, None)
    assert "Columns: 1: a name of 9 characters, 2: a name of 18 characters." in caught.value.hint


@pytest.mark.parametrize("named", ["klingon", "base64", "rot13", "idna", "x\0y", ""])
def test_no_such_encoding(tmp_path: Path, named: str) -> None:
    with pytest.raises(ConfigError, match="unknown encoding"):
        convert(table(tmp_path, "prompt,completion\n"), tmp_path / "o", encoding=named)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.data())
def test_utf8_is_never_taken_for_anything_else(text: str, data: st.DataObject) -> None:
    raw = text.encode()
    if raw.count(0) == 0 and not raw.startswith((b"\xff", b"\xfe")):
        cut = data.draw(st.integers(1, len(raw)))
        assert guess_encoding(raw[:cut], whole=False) == "utf-8"


@pytest.mark.parametrize(
    ("text", "encoding", "guessed"),
    [
        ("abc,def", "utf-16-le", "utf-16-le"),
        ("abc,def", "utf-16-be", "utf-16-be"),
        ("これは長い文です", "cp932", "cp932"),
        ("これは長い文です", "euc-jp", None),
        ("naïve café Müller ça élan", "cp1252", None),
        ("Это текст по-русски", "cp1251", None),
        ("中文的句子没有假名", "gbk", None),
    ],
)
def test_encodings(text: str, encoding: str, guessed: str | None) -> None:
    assert guess_encoding(text.encode(encoding), whole=True) == guessed


# --- size -------------------------------------------------------------------------------------


def test_a_cell_of_any_size_is_bounded(tmp_path: Path) -> None:
    path = table(tmp_path, f"prompt,completion\na,b\n{'c' * 5000},d\n")
    with (
        pytest.raises(DatasetError, match=r"x\.csv:3: .* more than 4,000 characters"),
        open_source(path, limit=4000) as source,
    ):
        list(source.rows)
    with open_source(path, limit=6000) as source:
        assert len(list(source.rows)) == 2


def test_a_lost_quote_is_bounded_too() -> None:
    text = io.StringIO('p,c\na,"b\n' + "c,d\n" * 5000)
    with pytest.raises(DatasetError, match=r"x:2: .* more than 4,000"):
        list(records(text, ",", path="x", limit=4000))


def test_the_limit_of_the_csv_module_is_only_raised(tmp_path: Path) -> None:
    before = csv.field_size_limit(10**9)
    try:
        converted(table(tmp_path, "prompt,completion\na,b\n"))
        assert csv.field_size_limit() == 10**9
    finally:
        csv.field_size_limit(before)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    import tracemalloc

    path = table(tmp_path, "prompt,completion\n")
    with path.open("a") as file:
        for number in range(4_000):
            file.write(f"{number} {'x' * 2500},y\n")
    tracemalloc.start()
    try:
        report = convert(path, tmp_path / "o.jsonl")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert report.written == 4_000
    assert peak < 5e6 < path.stat().st_size
