"""Tables that are no text: Parquet, Excel workbooks, datasets of the Hugging Face hub."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

from ftjobs.data.convert.rows import MERGED, Fault, Row
from ftjobs.data.convert.separated import row_of
from ftjobs.errors import ConfigError, DatasetError, NotFoundError, UnreachableError

if TYPE_CHECKING:
    from python_calamine import CalamineSheet, CalamineWorkbook, SheetMetadata

_BATCH_ROWS = 64  # of a Parquet file at a time: a row may hold a whole book
_MAX_CELLS = 2**24
"""Cells of the rectangle that a sheet spans: the reader holds it whole, 32 bytes a cell."""

_MAX_UNPACKED = 2**30  # bytes of a workbook when it is unpacked
_CELL = re.compile(rb'<(?:\w+:)?c\b[^>]*?\sr="([A-Z]{1,3})([0-9]{1,7})"')
_CELL_BYTES = 2**12  # of a cell's tag: what may be cut at the end of a piece
_ZIP_ERRORS = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error)
_HUB_ID = re.compile(r"([\w.-]+/[\w.-]+?)(?::([\w.+\[\]%:-]+))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Table:
    """A table that is open.

    `total` is the number of rows, 0 if it is not known; `remark` is what a person should know.
    """

    columns: tuple[str, ...]
    rows: Iterator[Row | Fault]
    total: int = 0
    remark: str = ""


def need(module: str, package: str, what: str) -> Any:
    """An optional library.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError:
        hint = (
            "pip install 'ftjobs[data]'" if package == "ftjobs[data]" else f"pip install {package}"
        )
        raise ConfigError(f"{what} needs the library {module}", hint=hint) from None


# --- Parquet ----------------------------------------------------------------------------------


def parquet(file: BinaryIO, path: Path) -> Table:
    """A Parquet file, a few rows in memory at a time.

    Raises:
        ConfigError: pyarrow is not installed.
        DatasetError: the file cannot be read.
    """
    pq = need("pyarrow.parquet", "ftjobs[data]", "reading Parquet")
    try:
        table = pq.ParquetFile(file, pre_buffer=False, page_checksum_verification=True)
        names = tuple(table.schema_arrow.names)
    except (OSError, ValueError) as error:  # pyarrow's errors are one or the other
        _damaged(path, "Parquet", error)
    return Table(names, _parquet_rows(table, path), table.metadata.num_rows)


def _parquet_rows(table: Any, path: Path) -> Iterator[Row]:
    place = 0
    try:
        for batch in table.iter_batches(_BATCH_ROWS, use_threads=False):
            for value in batch.to_pylist():
                place += 1
                yield Row(place, value)
    except (OSError, ValueError, NotImplementedError) as error:
        _damaged(path, "Parquet", error, after=place)


def _damaged(path: Path, what: str, error: Exception, *, after: int = 0) -> NoReturn:
    where = f" after row {after}" if after else ""
    raise DatasetError(
        f"{path}: cannot be read as {what}{where} ({type(error).__name__})",
        hint="Is the file damaged, cut off, or protected by a password?",
    ) from None


# --- Excel ------------------------------------------------------------------------------------


def workbook(path: Path, sheet: str | None) -> Table:
    """A sheet of an .xlsx workbook: the one named, or the first that is not hidden.

    The cells of a formula hold the value that was last calculated.  Numbers without a fraction
    are integers, however the sheet shows them; cells of merged ranges, but for the first, are
    `MERGED`.  The sheet is in memory whole.

    Raises:
        ConfigError: python-calamine is not installed, or there is no such sheet.
        DatasetError: the file cannot be read, or is too large.
    """
    calamine = need("python_calamine", "ftjobs[data]", "reading Excel workbooks")
    _require_sane(path)
    try:
        with calamine.load_workbook(path) as book:
            name = _sheet_name(book, sheet, path)
            found = book.get_sheet_by_name(name)
            remark = _remark(book, name)
    except calamine.CalamineError as error:
        _damaged(path, "an Excel workbook", error)
    return _sheet_table(found, path, remark)


def _require_sane(path: Path) -> None:
    """Refuse what would exhaust the memory before a cell is read, or is no workbook."""
    try:
        with zipfile.ZipFile(path) as archive:
            if "xl/workbook.xml" not in archive.namelist():
                raise DatasetError(
                    f"{path}: a ZIP archive, but no Excel workbook",
                    hint="Unpack it; of a ChatGPT export, convert conversations.json.",
                )
            if sum(entry.file_size for entry in archive.infolist()) > _MAX_UNPACKED:
                raise DatasetError(
                    f"{path}: more than {_MAX_UNPACKED // 2**20:,} MiB when unpacked",
                    hint="Save the sheet as CSV: it is read row by row.",
                )
            for entry in archive.infolist():  # each is read: sizes that lie are found out here
                with archive.open(entry) as part:
                    _require_small(part, entry.filename, path)
    except DatasetError:
        raise
    except (*_ZIP_ERRORS, OSError, ValueError) as error:
        _damaged(path, "an Excel workbook", error)


def _require_small(part: Any, name: str, path: Path) -> None:
    """Refuse a sheet whose last cell is so far out that the rectangle fits no memory."""
    across = down = 1
    rest = b""
    while piece := part.read(2**20):
        if name.startswith("xl/worksheets/"):
            for column, row in _CELL.findall(rest + piece):
                across, down = max(across, _number(column)), max(down, int(row))
            if across * down > _MAX_CELLS:
                raise DatasetError(
                    f"{path}: a sheet spans {down:,} rows and {across:,} columns",
                    hint="Delete the stray cell far out, or save the sheet as CSV.",
                )
            rest = piece[-_CELL_BYTES:]


def _number(column: bytes) -> int:
    """A column's number, from 1: A is 1, AA is 27."""
    number = 0
    for letter in column:
        number = number * 26 + letter - 64
    return number


def _sheet_name(book: CalamineWorkbook, wanted: str | None, path: Path) -> str:
    shown = [sheet.name for sheet in book.sheets_metadata if _is_shown(sheet)]
    if wanted is not None:
        if wanted in book.sheet_names:
            return wanted
        raise ConfigError(
            f"{path}: there is no sheet {wanted[:40]!r}",
            hint=f"Sheets: {', '.join(book.sheet_names[:20])}.",
        )
    if not shown:
        raise DatasetError(f"{path}: every sheet is hidden", hint="Name one with --sheet.")
    return shown[0]


def _is_shown(sheet: SheetMetadata) -> bool:
    return str(sheet.visible).endswith(".Visible")  # the enumeration's members have no names


def _remark(book: CalamineWorkbook, name: str) -> str:
    others = [
        sheet.name + ("" if _is_shown(sheet) else " (hidden)")
        for sheet in book.sheets_metadata
        if sheet.name != name
    ]
    more = (
        f"; not read: {', '.join(others[:5])}{', …' if len(others) > 5 else ''}" if others else ""
    )
    return f'sheet "{name}"{more}'


def _sheet_table(sheet: CalamineSheet, path: Path, remark: str) -> Table:
    merged = sheet.merged_cell_ranges or []
    left = sheet.start[1] if sheet.start else 0
    rows = (
        (place, [_cell(cell, place - 1, left + at, merged) for at, cell in enumerate(cells)])
        for place, cells in enumerate(_cells(sheet), start=1)
    )
    for _, cells in rows:
        if any(cell not in ("", None) for cell in cells):
            columns = tuple("" if cell is MERGED else str(cell).strip() for cell in cells)
            return Table(columns, _sheet_rows(rows, columns), sheet.total_height, remark)
    raise DatasetError(f"{path}: {remark.partition(';')[0]} is empty")


def _cells(sheet: CalamineSheet) -> Iterator[Sequence[Any]]:
    return iter(sheet.iter_rows())


def _sheet_rows(
    rows: Iterator[tuple[int, list[Any]]], columns: Sequence[str]
) -> Iterator[Row | Fault]:
    for place, cells in rows:
        yield row_of(place, cells, columns)


def _cell(value: Any, row: int, column: int, merged: Sequence[Any]) -> Any:
    for first, last in merged:
        inside = first[0] <= row <= last[0] and first[1] <= column <= last[1]
        if inside and (row, column) != tuple(first):
            return MERGED
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)  # a sheet knows no integers
    return value


# --- the Hugging Face hub ---------------------------------------------------------------------


def hub(source: str) -> Table:
    """A dataset of the hub, `hf:owner/name[:split]`, streamed; the split is "train" by default.

    Datasets that are programs are never run: the library has not been able to since version 4,
    and older ones are refused.

    Raises:
        ConfigError: the name is none, or the library is missing or too old.
        NotFoundError: there is no such dataset or split, or it may not be read.
        UnreachableError: the hub cannot be reached.
    """
    match = _HUB_ID.fullmatch(source.removeprefix("hf:"))
    if match is None or Path(match.group(1)).exists():  # the library would read the folder
        what = "is a path on this machine" if match else "names no dataset"
        raise ConfigError(
            f"{source[:80]!r} {what}", hint="Write hf:owner/name or hf:owner/name:split."
        )
    name, split = match.group(1), match.group(2) or "train"
    library = _datasets_library()
    try:
        stream = library.load_dataset(name, split=split, streaming=True)
        columns = tuple(stream.column_names or ())
        first = next(iter(stream), None) if not columns else None
    except (OSError, ValueError) as error:
        _unloaded(source, error)
    return Table(
        columns or tuple(first or ()), _hub_rows(stream, source), remark=f'split "{split}"'
    )


def _datasets_library() -> Any:
    library = need("datasets", "datasets", "reading from the Hugging Face hub")
    version = getattr(library, "__version__", "0")  # a folder `datasets` is a package without one
    if not hasattr(library, "load_dataset"):
        raise ConfigError(
            "reading from the Hugging Face hub needs the library datasets",
            hint="pip install datasets  (a folder of this name hides it: run this elsewhere)",
        )
    major = re.match(r"\d+", version)
    if major is None or int(major.group()) < 4:
        raise ConfigError(
            f"the library datasets is too old ({version}): it may run code of the datasets",
            hint="pip install 'datasets>=4'",
        )
    return library


def _hub_rows(stream: Any, source: str) -> Iterator[Row]:
    place = 0
    try:
        for value in stream:
            place += 1
            yield Row(place, dict(value) if isinstance(value, Mapping) else value)
    except (OSError, ValueError) as error:
        _unloaded(source, error, after=place)


def _unloaded(source: str, error: Exception, *, after: int = 0) -> NoReturn:
    where = f" after row {after}" if after else ""
    if isinstance(error, ConnectionError | TimeoutError):
        raise UnreachableError(
            f"{source}: the Hugging Face hub cannot be reached{where}",
            hint="Check the network; with HF_HUB_OFFLINE=1 nothing is fetched.",
        ) from None
    raise NotFoundError(
        f"{source}: cannot be loaded{where} ({type(error).__name__})",
        hint="Check owner, name and split; private datasets need: hf auth login.",
    ) from None
