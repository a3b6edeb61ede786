"""A source → its rows: what it is, told from its bytes, and opened with the reader for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from ftjobs.data.convert import json_rows, separated, tables
from ftjobs.data.convert.pairs import Columns
from ftjobs.data.convert.rows import Fault, Row
from ftjobs.data.convert.shapes import shape_in
from ftjobs.data.convert.text import (
    HEAD_BYTES,
    Rejoined,
    decoded,
    guess_encoding,
    named_encoding,
    ordered,
)
from ftjobs.data.reading import MAX_LINE_BYTES, DamagedError, opened
from ftjobs.data.scan import shown
from ftjobs.errors import ConfigError, DatasetError

CONTAINERS: Mapping[str, str] = {
    "csv": "CSV",
    "tsv": "TSV",
    "jsonl": "JSON Lines",
    "json": "JSON",
    "parquet": "Parquet",
    "xlsx": "Excel",
    "hf": "Hugging Face dataset",
}
"""How rows can be kept, by the name that `--from` gives it."""

_JSON = ("jsonl", "json")
_BINARY = ("parquet", "xlsx", "hf")
_SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
_PACKED = {b"BZh": "bzip2", b"\xfd7zXZ": "xz"}
_TEXT_PER_ZERO = 20  # characters: in a text zero bytes are rare mistakes
_OLD_EXCEL = b"\xd0\xcf\x11\xe0"


@dataclass(frozen=True, slots=True)
class Source:
    """A source that is open.

    `container` is a key of `CONTAINERS`, `detected` says in words what was found, `unit` is what
    a row's place counts ("line", "row" or "item" of a list), `columns` are a table's, None where
    rows have keys of their own.  `done()` of `total` units of work are behind; `total` is 0 if it
    is not known.
    """

    container: str
    detected: str
    unit: str
    rows: Iterator[Row | Fault]
    columns: tuple[str, ...] | None = None
    encoding: str | None = None
    total: int = 0
    done: Callable[[], int] = int


@contextmanager
def open_source(
    source: str | os.PathLike[str],
    *,
    container: str | None = None,
    columns: Columns | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
    limit: int = MAX_LINE_BYTES,
) -> Iterator[Source]:
    """Open a path, "-" for standard input, or `hf:owner/name[:split]`.

    `container` (a key of `CONTAINERS`) and `encoding` are told from the source if they are None;
    `columns` are those of a table that are wanted, which helps to tell how it is separated.  A
    row may have up to `limit` characters.

    Raises:
        ConfigError: it cannot be opened, a library is missing, or an option does not fit.
        DatasetError: it is nothing that can be read.
        NotFoundError, UnreachableError: of the hub.
    """
    name = os.fspath(source)
    if name.startswith("hf:") or container == "hf":
        _refuse_strange("hf", encoding, sheet)
        yield _of_table("hf", name, tables.hub(name))
        return
    path = Path(name)
    with opened(path) as file:
        head = _head(file, path)
        container = container or _container(head, path)
        _refuse_strange(container, encoding, sheet)
        if container in _BINARY and not file.seekable():
            raise ConfigError(
                f"{CONTAINERS[container]} is read only from a file of its own",
                hint="Give a path, to a file that is not compressed.",
            )
        if container == "xlsx":
            yield _of_table(container, name, tables.workbook(path, sheet))
        elif container == "parquet":
            file.seek(0)
            yield _of_table(container, name, tables.parquet(file, path))
        else:
            encoding = _encoding(head, encoding)
            text = _Text(path, head, Rejoined(head, file), encoding, limit)
            yield (
                _of_lines(container, text)
                if container in _JSON
                else _separated(container, text, columns)
            )


def _head(file: BinaryIO, path: Path) -> bytes:
    """The first bytes; all of them if they are fewer."""
    head = b""
    with damage_reported(path):
        while len(head) < HEAD_BYTES and (piece := file.read(HEAD_BYTES - len(head))):
            head += piece
    if not head:
        raise DatasetError(f"{path}: the file is empty")
    return head


@contextmanager
def damage_reported(path: Path) -> Iterator[None]:
    """Turn what reading can raise into a DatasetError; ftjobs' own errors pass."""
    try:
        yield
    except DamagedError as error:
        raise DatasetError(f"{path}: {error}", hint="Get the file again.") from None
    except OSError as error:
        raise DatasetError(
            f"{path}: cannot be read to its end ({error.strerror or type(error).__name__})"
        ) from None


def _refuse_strange(container: str, encoding: str | None, sheet: str | None) -> None:
    """Refuse options that would have no effect."""
    if sheet is not None and container != "xlsx":
        raise ConfigError(
            f"{CONTAINERS[container]} has no sheets", hint="Leave --sheet out: only .xlsx has them."
        )
    if encoding is not None and container in _BINARY:
        raise ConfigError(
            f"{CONTAINERS[container]} knows its own encoding", hint="Leave --encoding out."
        )


def _of_table(container: str, name: str, table: tables.Table) -> Source:
    remark = f", {table.remark}" if table.remark else ""
    detected = f"{name}: {CONTAINERS[container]}{remark}"
    place = [0]

    def counted() -> Iterator[Row | Fault]:
        for row in table.rows:
            place[0] = row.place
            yield row

    return Source(
        container, detected, "row", counted(), table.columns, None, table.total, lambda: place[0]
    )


# --- what it is -------------------------------------------------------------------------------


def _container(head: bytes, path: Path) -> str:
    """The container that the first bytes, or else the name, tell.

    Raises:
        DatasetError: nothing that is known.
    """
    for magic, name in _PACKED.items():
        if head.startswith(magic):
            raise DatasetError(f"{path}: compressed ({name})", hint="Decompress it first.")
    if head.startswith(_OLD_EXCEL):
        raise DatasetError(
            f"{path}: an old .xls workbook, or one with a password",
            hint="Save it as .xlsx without a password.",
        )
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"PK\x03\x04"):
        return "xlsx"
    return _text_container(head, path)


def _text_container(head: bytes, path: Path) -> str:
    encoding = guess_encoding(head, whole=len(head) < HEAD_BYTES) or "utf-8"
    text = head.decode(encoding, errors="replace").lstrip("\ufeff \t\r\n")
    if text.count("\0") * _TEXT_PER_ZERO > len(text):
        raise DatasetError(f"{path}: a binary file of no known kind")
    suffix = next((s for s in reversed(path.suffixes) if s not in (".gz", ".zst")), "").lower()
    if text.startswith("["):
        return "jsonl" if _is_list_a_line(text) else "json"
    if text.startswith("{"):
        return "jsonl" if _is_lines(text) else "json"
    if suffix in (".json", ".jsonl", ".ndjson"):
        return "jsonl"  # its lines are explained one by one
    return "tsv" if suffix in (".tsv", ".tab") else "csv"


def _is_list_a_line(text: str) -> bool:
    """Whether each line is a list of its own: then none is a list of all rows."""
    first, _, rest = text.partition("\n")
    return first.rstrip().endswith("]") and rest.lstrip().startswith(("[", "{"))


def _is_lines(text: str) -> bool:
    """Whether each line is a value of its own, as far as the first two show.

    Lines may end in a comma, and the first one may be broken.
    """
    first, end, rest = text.partition("\n")
    first = first.rstrip()
    if not end or _is_json(first) or not first.endswith(("{", "[", ",", ":")):
        return True
    return first.endswith(",") and (_is_closed(first) or _begin_alike(first, rest.lstrip()))


def _is_json(line: str) -> bool:
    try:
        json_rows.parse(json_rows.bare(line))
    except (ValueError, RecursionError):
        return False
    return True


def _is_closed(line: str) -> bool:
    """Whether as many braces close as open: a line of its own, whatever is wrong inside."""
    return json_rows.bare(line).endswith("}") and line.count("{") == line.count("}")


def _begin_alike(first: str, rest: str) -> bool:
    """Whether a line that ends too early is followed by a whole one of the same first key."""
    line = rest.partition("\n")[0].rstrip()
    start, colon, _ = first.partition(":")
    return bool(colon) and line.startswith(start) and _is_json(line)


# --- text -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Text:
    """A text that is open; its head has been read, and stands in `stream` again."""

    path: Path
    head: bytes
    stream: Rejoined
    encoding: str
    limit: int

    def source(
        self,
        container: str,
        rows: Iterator[Row | Fault],
        columns: tuple[str, ...] | None = None,
        how: str = "",
        unit: str = "line",
    ) -> Source:
        return Source(
            container=container,
            detected=f"{self.path}: {CONTAINERS[container]}{how}, {self.encoding}",
            unit=unit,
            rows=_guarded(rows, self.path),
            columns=columns,
            encoding=self.encoding,
            total=_size(self.path),
            done=lambda: self.stream.done,
        )


def _of_lines(container: str, text: _Text) -> Source:
    stream = decoded(text.stream, text.encoding, newline="\n")
    if container == "jsonl":
        return text.source(container, json_rows.from_lines(stream, limit=text.limit))
    start = text.head.decode(text.encoding, errors="replace").lstrip("\ufeff \t\r\n")
    unit = "item" if start.startswith("[") else "line"
    items = json_rows.from_documents(
        stream, path=str(text.path), limit=text.limit, numbered=unit == "item"
    )
    return text.source(container, items, unit=unit)


def _separated(container: str, text: _Text, wanted: Columns | None) -> Source:
    start = text.head.decode(text.encoding, errors="replace").removeprefix("\ufeff")
    separator, declared = _separator(container, start, wanted, whole=_is_whole(text.head))
    # Where lines end in \n, a lone \r outside quotes is a mistake; otherwise it ends them.
    newline = "\n" if "\n" in start else ""
    records = separated.records(
        decoded(text.stream, text.encoding, newline=newline),
        separator,
        path=str(text.path),
        limit=text.limit,
        skip_first=declared,
    )
    with damage_reported(text.path):
        columns = separated.header_of(records, str(text.path))
    rows = separated.rows_of(records, columns)
    how = f" separated by {_SEPARATORS.get(separator, shown(separator))}"
    return text.source(container, rows, columns, how)


def _is_whole(head: bytes) -> bool:
    return len(head) < HEAD_BYTES


def _encoding(head: bytes, named: str | None) -> str:
    """The encoding named, or told, or UTF-8: a line that it cannot be is then reported."""
    if named is not None:
        return ordered(named_encoding(named), head)
    return guess_encoding(head, whole=_is_whole(head)) or "utf-8"


def _separator(
    container: str, start: str, wanted: Columns | None, *, whole: bool
) -> tuple[str, bool]:
    """The separator, and whether the first line is there only to declare it."""
    declared = separated.declared_delimiter(start.partition("\n")[0])
    if declared is not None:
        return declared, True
    if container == "tsv":
        return "\t", False

    def knows(columns: Sequence[str]) -> bool:
        if wanted:
            return set(chain(*wanted.values())) <= {name.strip() for name in columns}
        return shape_in(columns) is not None

    return separated.guess_delimiter(start, knows, whole=whole), False


def _guarded(rows: Iterator[Row | Fault], path: Path) -> Iterator[Row | Fault]:
    with damage_reported(path):
        yield from rows


def _size(path: Path) -> int:
    """The file's bytes; 0 where they say nothing about how far reading has come."""
    packed = path.suffix in (".gz", ".zst") or str(path) == "-"
    return 0 if packed else path.stat().st_size
