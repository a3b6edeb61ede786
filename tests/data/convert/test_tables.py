"""Excel, Parquet and the hub: values that are no text, damage, and what is not there."""

from __future__ import annotations

import datetime as dt
import decimal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest

from ftjobs.data.convert import convert
from ftjobs.errors import ConfigError, DatasetError, NotFoundError, UnreachableError
from tests.data.convert.writers import Cell, asked, converted, drops, workbook

HEAD = ("Question", "Answer")


def answers(found: list[dict[str, Any]]) -> list[str]:
    return [one["messages"][1]["content"] for one in found]


# --- Excel ------------------------------------------------------------------------------------


def test_cells_that_are_no_text(tmp_path: Path) -> None:
    cells: list[Cell] = [
        *(7, 1.5, 12345678901234567890, "007"),
        *('<c t="b"><v>1</v></c>', '<c s="1"><v>45000</v></c>', '<c s="2"><v>45000.5</v></c>'),
        *("<c><f>1+1</f><v>2</v></c>", '<c t="str"><f>A1</f><v>text</v></c>'),
    ]
    path = workbook(tmp_path / "x.xlsx", {"S": [HEAD, *[("q", cell) for cell in cells]]})
    found, report = converted(path)
    assert answers(found) == [
        *("7", "1.5", "1.2345678901234567e+19", "007"),
        *("true", "2023-03-15", "2023-03-15 12:00:00", "2", "text"),
    ]
    assert [(note.count, note.places[0].number) for note in report.notes] == [(7, 2)]


def test_cells_without_a_value(tmp_path: Path) -> None:
    """A formula that was never calculated, an error, nothing: all are empty."""
    cells: list[Cell] = ["<c><f>A1</f></c>", '<c t="e"><v>#N/A</v></c>', None, "x"]
    path = workbook(tmp_path / "x.xlsx", {"S": [HEAD, *[("q", cell) for cell in cells]]})
    found, report = converted(path)
    assert answers(found) == ["x"]
    assert drops(report) == dict.fromkeys((2, 3, 4), "empty answer")


def test_merged_cells_are_not_guessed(tmp_path: Path) -> None:
    rows = [HEAD, ("a", "b"), ("c", None), ("d", "e")]
    path = workbook(tmp_path / "x.xlsx", {"S": rows}, merged="B2:B3")
    found, report = converted(path)
    assert found == [asked("a", "b"), asked("d", "e")]
    assert drops(report) == {3: "merged cells"}


def test_rows_are_numbered_as_excel_shows_them(tmp_path: Path) -> None:
    rows: list[Any] = [(), (None, None), (None, *HEAD), (None, "a", "b"), (), (None, "c", None)]
    found, report = converted(workbook(tmp_path / "x.xlsx", {"S": rows}))
    assert found == [asked("a", "b")]
    assert drops(report) == {5: "empty row", 6: "empty answer"}


def test_sheets(tmp_path: Path) -> None:
    sheets = {name: [HEAD, (name, name)] for name in ("Old", "FAQ", "Draft")}
    path = workbook(tmp_path / "x.xlsx", sheets, hidden=("Old",))
    found, report = converted(path)
    assert found == [asked("FAQ", "FAQ")]
    assert 'sheet "FAQ"; not read: Old (hidden), Draft' in report.detected
    assert converted(path, sheet="Old")[0] == [asked("Old", "Old")]
    with pytest.raises(ConfigError, match="there is no sheet 'faq'") as caught:
        convert(path, None, sheet="faq")
    assert caught.value.hint == "Sheets: Old, FAQ, Draft."


def test_every_sheet_hidden(tmp_path: Path) -> None:
    path = workbook(tmp_path / "x.xlsx", {"S": [HEAD]}, hidden=("S",))
    with pytest.raises(DatasetError, match="every sheet is hidden"):
        convert(path, None)


def test_an_empty_sheet(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match='sheet "S" is empty'):
        convert(workbook(tmp_path / "x.xlsx", {"S": []}), None)


def test_a_stray_cell_far_out_does_not_exhaust_the_memory(tmp_path: Path) -> None:
    path = workbook(tmp_path / "x.xlsx", {"S": [HEAD, ("a", "b")]})
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    sheet = parts["xl/worksheets/s1.xml"]
    stray = b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData>'
    parts["xl/worksheets/s1.xml"] = sheet.replace(b"</sheetData>", stray)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(DatasetError, match="spans 1,048,576 rows and 16,384 columns"):
        convert(path, None)


def test_a_workbook_that_unpacks_to_too_much(tmp_path: Path) -> None:
    path = workbook(tmp_path / "x.xlsx", {"S": [HEAD]})
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo("xl/styles.xml").file_size
    path.write_bytes(data.replace(size.to_bytes(4, "little"), (2**31).to_bytes(4, "little")))
    with pytest.raises(DatasetError, match="more than 1,024 MiB"):
        convert(path, None)


@pytest.mark.parametrize("keep", [30, 400, 900])
def test_a_damaged_workbook(tmp_path: Path, keep: int) -> None:
    path = workbook(tmp_path / "x.xlsx", {"S": [HEAD, ("a", "b")]})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DatasetError, match="cannot be read as an Excel workbook"):
        convert(path, None)


def test_other_archives_and_old_workbooks(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("conversations.json", "[]")
    with pytest.raises(DatasetError, match="no Excel workbook") as caught:
        convert(path, None)
    assert "conversations.json" in caught.value.hint
    path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))
    with pytest.raises(DatasetError, match="an old"):
        convert(path, None)


# --- Parquet ----------------------------------------------------------------------------------


def parquet(path: Path, rows: list[dict[str, Any]], **options: Any) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path, **options)
    return path


def test_values_that_are_no_text(tmp_path: Path) -> None:
    texts: list[tuple[Any, str]] = [
        (7, "7"),
        (1.5, "1.5"),
        (True, "true"),
        (decimal.Decimal("1.10"), "1.10"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (dt.datetime(2026, 1, 2, 3, 4, 5), "2026-01-02 03:04:05"),
    ]
    for value, text in texts:
        path = parquet(tmp_path / "x.parquet", [{"prompt": "q", "completion": value}])
        found, report = converted(path)
        assert answers(found) == [text]
        assert report.notes[0].count == 1


def test_what_is_missing(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "completion": value} for value in (None, float("nan"), 1.0)]
    found, report = converted(parquet(tmp_path / "x.parquet", rows))
    assert answers(found) == ["1.0"]
    assert drops(report) == {1: "empty answer", 2: "empty answer"}


def test_bytes_are_no_text(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", [{"prompt": "q", "completion": b"x"}])
    _, report = converted(path)
    assert report.dropped[0].places[0].detail == "the answer is a value of type bytes"


@pytest.mark.parametrize("damage", [slice(0, 100), slice(0, -1)])
def test_a_damaged_table(tmp_path: Path, damage: slice) -> None:
    path = parquet(tmp_path / "x.parquet", [{"prompt": "q", "completion": "a"}] * 50)
    path.write_bytes(path.read_bytes()[damage])
    with pytest.raises(DatasetError, match="cannot be read as Parquet"):
        convert(path, tmp_path / "o.jsonl")


def test_damage_inside_leaves_nothing(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{n}", "completion": "x" * 40} for n in range(5000)]
    path = parquet(tmp_path / "x.parquet", rows, row_group_size=500, write_page_checksum=True)
    data = bytearray(path.read_bytes())
    at = len(data) // 2
    data[at] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DatasetError, match="after row"):
        convert(path, tmp_path / "o.jsonl")
    assert [file.name for file in tmp_path.iterdir()] == ["x.parquet"]


def test_options_that_do_not_fit(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", [{"prompt": "q", "completion": "a"}])
    with pytest.raises(ConfigError, match="knows its own encoding"):
        convert(path, None, encoding="cp932")
    with pytest.raises(ConfigError, match="has no sheets"):
        convert(path, None, sheet="S")


# --- libraries and the hub --------------------------------------------------------------------

WITHOUT = """
import sys
sys.modules[sys.argv[1]] = None
from ftjobs.data.convert import convert
from ftjobs.errors import ConfigError
try:
    convert(sys.argv[2], None)
except ConfigError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("library", "source", "hint"),
    [
        ("pyarrow.parquet", "x.parquet", "pip install 'ftjobs[data]'"),
        ("python_calamine", "x.xlsx", "pip install 'ftjobs[data]'"),
        ("datasets", "hf:owner/name", "pip install datasets"),
    ],
)
def test_a_missing_library(tmp_path: Path, library: str, source: str, hint: str) -> None:
    parquet(tmp_path / "x.parquet", [{"prompt": "q", "completion": "a"}])
    workbook(tmp_path / "x.xlsx", {"S": [HEAD]})
    command = [sys.executable, "-c", WITHOUT, library, source]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1] == hint
    assert f"needs the library {library}" in done.stdout


def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Puts a library `datasets` of our own in the place of the real one."""
    folder = tmp_path / "library"
    folder.mkdir()
    (folder / "datasets.py").write_text(code)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "datasets", raising=False)


STREAM = """
__version__ = "4.1.0"
class Stream(list):
    column_names = ["question", "answer"]
def load_dataset(name, *, split, streaming):
    assert streaming
    return Stream([{"question": name, "answer": split}, {"question": "q", "answer": None}])
"""


def test_a_dataset_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub(tmp_path, monkeypatch, STREAM)
    report = convert("hf:owner/na.me:test", tmp_path / "o.jsonl", preview=1)
    assert report.preview == (asked("owner/na.me", "test"),)
    assert (report.container, report.unit, drops(report)) == ("hf", "row", {2: "empty answer"})
    assert convert("hf:owner/name", None, preview=1).preview == (asked("owner/name", "train"),)


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        ("raise ConnectionError", UnreachableError, "cannot be reached"),
        ("raise FileNotFoundError", NotFoundError, "cannot be loaded"),
        ("raise ValueError", NotFoundError, "cannot be loaded"),
    ],
)
def test_what_the_hub_may_answer(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    error: type[Exception],
    message: str,
) -> None:
    hub(tmp_path, monkeypatch, f"__version__ = '5.2.0'\ndef load_dataset(*a, **k): {code}\n")
    with pytest.raises(error, match=message):
        convert("hf:owner/name", None)


def test_a_library_that_may_run_code_of_datasets_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub(tmp_path, monkeypatch, STREAM.replace("4.1.0", "3.6.0"))
    with pytest.raises(ConfigError, match=r"too old \(3\.6\.0\)"):
        convert("hf:owner/name", None)


def test_a_folder_is_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "datasets").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "datasets", raising=False)
    with pytest.raises(ConfigError, match="needs the library datasets"):
        convert("hf:owner/name", None)
    monkeypatch.delitem(sys.modules, "datasets", raising=False)


@pytest.mark.parametrize("name", ["hf:", "hf:name", "hf:../../etc", "hf:a/b/c", "hf:/etc/passwd"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ConfigError, match="names no dataset"):
        convert(name, None)


def test_a_folder_of_that_name_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "owner/name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="is a path on this machine"):
        convert("hf:owner/name", None)
