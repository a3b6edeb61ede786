"""Conversations, and the formats that they are converted from."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from xml.sax.saxutils import escape

from hypothesis import strategies as st

from ftjobs.data.convert import ConversionReport, convert

Message = dict[str, Any]

TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30
).filter(lambda text: not text.isspace())
"""What a cell can say: any characters but half ones and the zero byte."""

NASTY = st.sampled_from(
    [
        *("007", "1.10", "=A1", '"', '""', ",;\t|", "a\r\nb\rc\n", " x ", "日本語、です", "NULL"),
        *("\\", "\\n", "{", "[]", "😀", "a\u2028b", "\ufeff", "\x1b[31m", "nan", "true", "sep=;"),
    ]
)
SAID = st.one_of(TEXTS, NASTY)
PAIRS = st.lists(st.tuples(SAID, SAID), min_size=1, max_size=5)
"""Questions and answers."""


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


def asked(prompt: str, completion: str) -> dict[str, Any]:
    """The example that a question and its answer become."""
    return {"messages": [user(prompt), assistant(completion)]}


def converted(source: Path, **options: Any) -> tuple[list[dict[str, Any]], ConversionReport]:
    """The examples of a source, every row of which is accounted for."""
    out = source.with_name("out.jsonl")
    report = convert(source, out, force=True, **options)
    assert report.read == report.written + report.dropped_rows
    lines = out.read_bytes().split(b"\n")[:-1] if report.ok else []
    assert len(lines) == report.written
    return [json.loads(line) for line in lines], report


def drops(report: ConversionReport) -> dict[int, str]:
    """Why which row was dropped."""
    return {place.number: tally.reason for tally in report.dropped for place in tally.places}


def separated(
    rows: Iterable[Sequence[str]],
    *,
    delimiter: str = ",",
    end: str = "\r\n",
    quote: Literal[0, 1] = 0,
) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quote).writerows(rows)
    return text.getvalue()


# --- Excel ------------------------------------------------------------------------------------

Cell = str | int | float | None
"""What a cell holds; a string that begins with `<c` stands for itself."""

_XML = '<?xml version="1.0" encoding="UTF-8"?>'
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_STYLES = (
    f'{_XML}<styleSheet xmlns="{_MAIN}"><cellXfs count="3"><xf numFmtId="0"/>'
    '<xf numFmtId="14"/><xf numFmtId="22"/></cellXfs></styleSheet>'
)


def workbook(
    path: Path,
    sheets: Mapping[str, Sequence[Sequence[Cell]]],
    *,
    hidden: Sequence[str] = (),
    merged: str = "",
) -> Path:
    """A workbook in as little XML as Excel itself would open."""
    numbers = range(1, len(sheets) + 1)
    listed = "".join(
        f'<sheet name="{name}" sheetId="{n}" r:id="r{n}" '
        f'state="{"hidden" if name in hidden else "visible"}"/>'
        for n, name in zip(numbers, sheets, strict=True)
    )
    linked = "".join(_link(f"r{n}", "worksheet", f"worksheets/s{n}.xml") for n in numbers)
    parts = {
        "[Content_Types].xml": f'{_XML}<Types xmlns="{_PACKAGE}/content-types"/>',
        "_rels/.rels": _links(_link("r", "officeDocument", "xl/workbook.xml")),
        "xl/workbook.xml": f'{_XML}<workbook xmlns="{_MAIN}" xmlns:r="{_RELATIONS}">'
        f"<sheets>{listed}</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": _links(linked + _link("s", "styles", "styles.xml")),
        "xl/styles.xml": _STYLES,
    }
    for n, rows in zip(numbers, sheets.values(), strict=True):
        parts[f"xl/worksheets/s{n}.xml"] = _sheet(rows, merged)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return path


def _links(links: str) -> str:
    return f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships">{links}</Relationships>'


def _link(name: str, kind: str, target: str) -> str:
    return f'<Relationship Id="{name}" Type="{_RELATIONS}/{kind}" Target="{target}"/>'


def _sheet(rows: Sequence[Sequence[Cell]], merged: str) -> str:
    lines = "".join(_row(row, n) for n, row in enumerate(rows, start=1))
    joined = f'<mergeCells><mergeCell ref="{merged}"/></mergeCells>' if merged else ""
    return f'{_XML}<worksheet xmlns="{_MAIN}"><sheetData>{lines}</sheetData>{joined}</worksheet>'


def _row(row: Sequence[Cell], number: int) -> str:
    cells = (_cell(cell, f"{chr(64 + at)}{number}") for at, cell in enumerate(row, start=1))
    return f'<row r="{number}">{"".join(cells)}</row>'


def _cell(cell: Cell, place: str) -> str:
    if cell is None:
        return ""
    if isinstance(cell, int | float):
        return f'<c r="{place}"><v>{cell}</v></c>'
    if cell.startswith("<c"):
        return cell.replace("<c", f'<c r="{place}"', 1)
    text = escape(cell, {"\r": "&#13;", "\n": "&#10;", "\t": "&#9;"})
    return f'<c r="{place}" t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'
