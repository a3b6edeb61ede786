"""Tables as text: CSV and TSV (RFC 4180), and what spreadsheets make of them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence

from ftjobs.data.convert.rows import Fault, Row
from ftjobs.data.convert.text import BAD, lines_in
from ftjobs.errors import ConfigError, DatasetError

DELIMITERS = (",", "\t", ";", "|")
_SAMPLE = 100  # records that the delimiter is told from
_DECLARED = re.compile(r'"?sep=(.)"?\r?\n?', re.IGNORECASE)  # Excel's own first line


def declared_delimiter(line: str) -> str | None:
    """The delimiter that an Excel file declares in its first line (`sep=;`)."""
    match = _DECLARED.fullmatch(line)
    return match.group(1) if match else None


def guess_delimiter(head: str, knows: Callable[[Sequence[str]], bool], *, whole: bool) -> str:
    """The delimiter of a table that begins with `head`.

    The one wins under which the header has columns that are known, then the one under which the
    records are most even, then the one with most columns.  A comma where none makes two columns.
    """
    lines = head.splitlines(keepends=True)

    def rank(delimiter: str) -> tuple[bool, float, int]:
        sample = _sample(lines, delimiter, whole=whole)
        width = len(sample[0]) if sample else 0
        even = sum(len(record) == width for record in sample) / max(1, len(sample))
        return (width > 1 and knows(sample[0]), even * (width > 1), width)

    return max(DELIMITERS, key=rank)


def _sample(lines: Sequence[str], delimiter: str, *, whole: bool) -> list[list[str]]:
    """The first records that have cells; the last one of a head may be cut, and is left out."""
    found: list[list[str]] = []
    reader = csv.reader(lines, delimiter=delimiter)
    try:
        for record in reader:
            if record:
                found.append(record)
            if len(found) > _SAMPLE:
                break
    except csv.Error:
        pass
    return found if whole or len(found) < 2 else found[:-1]


Record = tuple[int, list[str]]
"""The line on which a record begins, and its cells."""


def records(
    text: io.TextIOBase, delimiter: str, *, path: str, limit: int, skip_first: bool = False
) -> Iterator[Record | Fault]:
    """The records of a table that are not blank, in order.

    `limit` bounds the characters of a record, and so the memory that a lost quote can cost;
    `skip_first` leaves the first line out.

    Raises:
        DatasetError: a quote never closes, bytes are no text, or a record is too long.
    """
    lines = lines_in(text, limit=limit)
    if skip_first:
        next(lines)
    # The limit of the csv module is the whole process's; it is only ever raised.
    csv.field_size_limit(max(limit, csv.field_size_limit()))
    first = 2 if skip_first else 1
    return _Reader(lines, delimiter, path, limit, first, text.encoding).records()


class _Reader:
    def __init__(
        self,
        lines: Iterator[str | None],
        delimiter: str,
        path: str,
        limit: int,
        first: int,
        encoding: str | None,
    ) -> None:
        self._lines = lines
        self._encoding = encoding or "the encoding"
        self._path = path
        self._limit = limit
        self._first = first
        self._size = 0
        self._start = first
        self._ended = False
        self._reader = csv.reader(self._feed(), delimiter=delimiter, strict=True)

    def records(self) -> Iterator[Record | Fault]:
        while True:
            self._start, self._size = self._next_line(), 0
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error:
                yield self._fault()
                continue
            if cells:
                yield self._start, cells

    def _next_line(self) -> int:
        return self._first + self._reader.line_num

    def _feed(self) -> Iterator[str]:
        for line in self._lines:
            self._size += len(line or "")
            if line is None or self._size > self._limit:
                raise DatasetError(
                    f"{self._path}:{self._start}: the row that begins here has more than "
                    f"{self._limit:,} characters",
                    hint="Is a closing quote missing in it, or before it?",
                )
            if BAD in line:
                raise DatasetError(
                    f"{self._path}:{self._next_line()}: bytes that are no text in {self._encoding}",
                    hint="Say how the file is encoded, such as --encoding cp932 or cp1252.",
                )
            yield line
        self._ended = True

    def _fault(self) -> Fault:
        if self._ended:
            raise DatasetError(
                f"{self._path}:{self._start}: a quote opens in the row that begins here and "
                "never closes",
                hint='Close the quote; a quote inside a quoted cell is written twice ("").',
            )
        last = self._next_line() - 1
        span = f"the row runs to line {last}" if last > self._start else ""
        return Fault(self._start, "misplaced quote or line end", span)


def header_of(records: Iterator[Record | Fault], path: str) -> tuple[str, ...]:
    """The names of the columns, without white space around them.

    Raises:
        DatasetError: there is none that can be read.
    """
    first = next(records, None)
    if first is None:
        raise DatasetError(f"{path}: the table is empty")
    if isinstance(first, Fault):
        raise DatasetError(f"{path}:{first.place}: the header cannot be read: {first.reason}")
    return tuple(name.strip() for name in first[1])


def rows_of(records: Iterator[Record | Fault], columns: Sequence[str]) -> Iterator[Row | Fault]:
    """Each record by column; one with too many or too few cells is a fault."""
    for record in records:
        yield record if isinstance(record, Fault) else row_of(*record, columns)


def row_of(place: int, cells: Sequence[object], columns: Sequence[str]) -> Row | Fault:
    """One record by column.  Cells beyond the header are no loss if they are empty."""
    width = len(columns)
    if not any(cell not in ("", None) for cell in cells):
        return Fault(place, "empty row")
    if len(cells) < width or any(cell not in ("", None) for cell in cells[width:]):
        found = f"{len(cells)} cell{'' if len(cells) == 1 else 's'}, the header has {width}"
        return Fault(place, "too few cells" if len(cells) < width else "too many cells", found)
    return Row(place, dict(zip(columns, cells, strict=False)))


def require_distinct(columns: Sequence[str], used: Sequence[str]) -> None:
    """Make sure that no used column is there twice.

    Raises:
        ConfigError: one is.
    """
    for name in used:
        if columns.count(name) > 1:
            places = [str(at) for at, column in enumerate(columns, start=1) if column == name]
            raise ConfigError(
                f"two columns have the same name: columns {' and '.join(places)}",
                hint="Give each column a name of its own.",
            )
