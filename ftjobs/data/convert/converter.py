"""`convert`: a source → chat JSONL, and a report that accounts for every row of the source."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ftjobs.data.convert.output import Sink, new_file, standard_output
from ftjobs.data.convert.pairs import Columns, listed, pair_of, titled
from ftjobs.data.convert.report import ConversionReport, Counter
from ftjobs.data.convert.rows import Fault, Row, Shape, UnfitError
from ftjobs.data.convert.separated import require_distinct
from ftjobs.data.convert.shapes import PAIR_SHAPES, SHAPES, example_of, shape_in, shape_named
from ftjobs.data.convert.sources import CONTAINERS, Source, open_source
from ftjobs.data.convert.threads import threaded
from ftjobs.data.fast import LONGEST, accept
from ftjobs.data.reading import MAX_LINE_BYTES
from ftjobs.data.rules import RULES
from ftjobs.data.slow import explain_line
from ftjobs.errors import ConfigError

FORMATS: tuple[str, ...] = (*CONTAINERS, *SHAPES)
"""What `format` may be: how rows are kept, or what a row looks like; the other one is told."""

_METHODS = ("supervised", "dpo")
_MAX_KEYS = 50  # names of keys that are remembered
_EVERY = 512  # rows between two calls of `progress`


def convert(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str] | None,
    *,
    format: str | None = None,  # noqa: A002 - the word that everybody uses
    columns: Mapping[str, str | Sequence[str]] | None = None,
    system: str | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
    force: bool = False,
    preview: int = 0,
    max_places: int = 5,
    progress: Callable[[int, int], None] | None = None,
) -> ConversionReport:
    """Convert a source to chat JSONL.

    Every row becomes one example, or is dropped and reported with its place; no text is changed.
    Each example is checked before it is written: `check` finds no error in a row of `out`.

    Args:
        source: a path, "-" for standard input, or `hf:owner/name[:split]`.
        out: a path, "-" for standard output, or None to write nothing.  The file appears when it
            is whole, and only if a row could be converted.
        format: one of `FORMATS`; None detects it.
        columns: the columns of a table, or keys, that hold the "prompt" and the "completion",
            and perhaps "input" (one or more, which follow the prompt), "history", "system", and
            "id" and "parent" of a row that is a turn of a conversation, or the "rejected" answer
            of a preference; None goes by their names.
        system: a system message for every example that has none.
        encoding: of a text; None detects UTF-8, UTF-16, UTF-32 and Japanese Shift_JIS (cp932).
        sheet: of a workbook; None takes the first that is not hidden.
        force: write over a file.
        preview: how many of the first examples the report brings along.
        max_places: how many places the report keeps of each reason.
        progress: called now and then with the work done and in all, in one unit.

    Raises:
        ConfigError: source, output or an option cannot be used, or no shape is known.
        DatasetError: the source cannot be read to its end; there is no `out` then.
        NotFoundError, UnreachableError: of the Hugging Face hub.
        FtjobsError: `out` cannot be written, for example because the disk is full.
    """
    choice = _Choice.of(format, columns, system)
    with _sink(source, out, force=force) as sink, closing(ExitStack()) as held:
        # Closed rather than left: an error of the sink is none of the source's.
        opened = held.enter_context(
            open_source(
                source,
                container=choice.container,
                columns=choice.columns,
                encoding=encoding,
                sheet=sheet,
            )
        )
        work = _Work(opened, choice, sink, keep=preview, places=max_places)
        work.run(progress)
        return work.report(str(source), None if out is None else str(out))


def _sink(
    source: str | os.PathLike[str], out: str | os.PathLike[str] | None, *, force: bool
) -> AbstractContextManager[Sink]:
    if out is None:
        return nullcontext(Sink(None))
    if str(out) == "-":
        return standard_output()
    target = Path(out)
    same = False
    with suppress(OSError, ValueError):  # one that is not there is not the other
        same = target.samefile(source)
    if same:
        raise ConfigError(f"{out}: is the source itself", hint="Give the output another name.")
    return new_file(target, force=force)


@dataclass(frozen=True, slots=True)
class _Choice:
    """What a person has chosen: how rows are kept, and what a row looks like."""

    container: str | None
    shape: str | None
    columns: Columns
    system: str | None

    @classmethod
    def of(
        cls,
        format: str | None,  # noqa: A002
        columns: Mapping[str, str | Sequence[str]] | None,
        system: str | None,
    ) -> _Choice:
        if format is not None and format not in FORMATS:
            raise ConfigError(
                f"unknown format {format[:40]!r}", hint=f"Formats: {', '.join(FORMATS)}."
            )
        shape = format if format in SHAPES else None
        if columns and shape is not None and shape not in PAIR_SHAPES:
            raise ConfigError(
                f"{shape} rows have no columns for prompt and answer",
                hint="Leave out the format or the columns.",
            )
        container = format if format in CONTAINERS else None
        named = {
            role: (names,) if isinstance(names, str) else tuple(names)
            for role, names in (columns or {}).items()
        }
        return cls(container, shape, named, system)


class _Work:
    """One conversion."""

    def __init__(
        self, source: Source, choice: _Choice, sink: Sink, *, keep: int, places: int
    ) -> None:
        self._source = source
        self._choice = choice
        self._sink = sink
        self._keep = keep
        self._kept: list[dict[str, Any]] = []
        self._dropped = Counter(places)
        self._notes = Counter(places)
        self._keys: dict[str, None] = {}  # of rows, in the order in which they are met
        self._method: str | None = None
        self._read = 0
        self._shape = self._shape_of_table() if source.columns is not None else None

    def run(self, progress: Callable[[int, int], None] | None) -> None:
        """Convert every row.

        Raises:
            ConfigError: no row has a known shape.
        """
        for row in self._rows():
            self._read += row.rows if isinstance(row, Row) else 1
            self._take(row)
            if progress is not None and self._read % _EVERY == 0 and self._source.total:
                progress(min(self._source.done(), self._source.total), self._source.total)
        if self._shape is None and self._keys:
            raise self._unknown(tuple(self._keys))

    def _rows(self) -> Iterator[Row | Fault]:
        """The source's rows; those that are turns put together to conversations."""
        shape = self._shape
        if shape is None or not self._threaded():
            return self._source.rows
        self._shape = replace(shape, make=lambda conversation, _note: dict(conversation))
        turn = partial(self._turn, shape)
        return threaded(self._source.rows, shape.thread, turn, self._notes.add)

    def _threaded(self) -> bool:
        return bool(self._shape and self._shape.thread) and self._source.columns is not None

    def _turn(self, shape: Shape, row: Row) -> list[dict[str, Any]]:
        """The messages of a row that is a turn, sound by themselves."""
        notes: dict[str, str] = {}
        example = shape.make(row.value, notes.__setitem__)
        _sound_method(_encoded(example))
        for reason, detail in notes.items():
            self._notes.add(reason, row.place, detail)
        return list(example["messages"])

    def _take(self, row: Row | Fault) -> None:
        if isinstance(row, Fault):
            self._dropped.add(row.reason, row.place, row.detail)
            return
        try:
            line = self._line(row)
        except UnfitError as unfit:
            for _ in range(row.rows):
                self._dropped.add(unfit.reason, row.place, unfit.detail)
            return
        self._sink.write(line)
        if row.note:
            self._notes.add(row.note, row.place)
        if len(self._kept) < self._keep:
            self._kept.append(json.loads(line))

    def _line(self, row: Row) -> bytes:
        """The example of a row, as it is written."""
        notes: list[tuple[str, str]] = []
        shape = self._shape_of(row)
        example = example_of(
            row, shape, lambda *note: notes.append(note), system=self._choice.system
        )
        line = _encoded(example)
        method = _sound_method(line)
        if method != (self._method or method):
            raise _unfit("FT503", f"this is {method}, the rows before are {self._method}")
        self._method = method
        for reason, detail in dict(notes).items():  # once a row
            self._notes.add(reason, row.place, detail)
        return line

    # --- which shape --------------------------------------------------------------------------

    def _shape_of_table(self) -> Shape:
        columns = self._source.columns or ()
        self._keys = dict.fromkeys(columns)
        shape = self._known(columns)
        if shape is None:
            raise self._unknown(columns)
        require_distinct(columns, (*shape.uses, *shape.thread))
        return shape

    def _shape_of(self, row: Row) -> Shape:
        """The shape of all rows, told from the first one that has any."""
        if isinstance(row.value, dict) and self._source.columns is None:
            self._remember(row.value)
            if self._shape is None:
                self._shape = self._known(row.value)
        if self._shape is None:
            raise UnfitError("row of no known shape")
        return self._shape

    def _remember(self, row: Mapping[str, Any]) -> None:
        for key in row:
            if len(self._keys) >= _MAX_KEYS:
                return
            self._keys.setdefault(key)

    def _known(self, columns: Mapping[str, Any] | tuple[str, ...]) -> Shape | None:
        if self._choice.columns:
            return pair_of(self._choice.columns, self._source.columns)
        if self._choice.shape is not None:
            return shape_named(self._choice.shape, columns)
        return shape_in(columns)

    def _unknown(self, columns: tuple[str, ...]) -> ConfigError:
        wanted = self._choice.shape
        what = f"these are no {wanted} rows" if wanted else "the rows have no shape that is known"
        return ConfigError(
            f"{self._source.detected}: {what}",
            hint=f"{listed(columns)}\n"
            "Say which hold the texts: --prompt COLUMN --completion COLUMN.",
        )

    # --- report -------------------------------------------------------------------------------

    def report(self, source: str, out: str | None) -> ConversionReport:
        """What was done."""
        shape = self._shape
        title = f": {shape.title}" if shape is not None else ""
        if shape is not None and self._threaded():
            title += f", conversations by {' and '.join(map(titled, shape.thread))}"
        return ConversionReport(
            source=source,
            out=out if self._sink.lines else None,
            container=self._source.container,
            shape=None if shape is None else shape.name,
            detected=self._source.detected + title,
            encoding=self._source.encoding,
            unit=self._source.unit,
            read=self._read,
            written=self._sink.lines,
            dropped=self._dropped.tallies(),
            notes=self._notes.tallies(),
            unused=self._unused(),
            preview=tuple(self._kept),
        )

    def _unused(self) -> tuple[str, ...]:
        verbatim = self._source.columns is None and self._choice.system is None
        if self._shape is None or (self._shape.name == "chat" and verbatim):
            return ()
        used = {*self._shape.uses, *(self._shape.thread if self._threaded() else ())}
        return tuple(_named(key) for key in self._keys if key not in used)


def _named(key: str) -> str:
    return titled(key).strip('"')


_compact = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def _encoded(example: dict[str, Any] | str) -> bytes:
    try:
        if not isinstance(example, str):
            example = _compact(example)
        line = example.encode()
    except UnicodeEncodeError:
        raise _unfit("FT108") from None
    except (ValueError, TypeError):
        raise UnfitError("value that JSON cannot hold") from None
    if len(line) > MAX_LINE_BYTES:
        raise _unfit("FT210")
    return line


def _sound_method(line: bytes) -> str:
    """The training method of a line without any error.

    Raises:
        UnfitError: the checker finds an error, or the line is there to be answered.
    """
    accepted = accept(line) if len(line) <= LONGEST else None
    method = accepted and accepted.method
    if method is None:
        method, findings = explain_line(line)
        for finding in findings:
            if RULES[finding.code].severity == "error":
                raise _unfit(finding.code, finding.message)
    if method not in _METHODS:
        raise UnfitError("row without an answer to train on")
    return method


def _unfit(code: str, detail: str = "") -> UnfitError:
    return UnfitError(f"{code} {RULES[code].title}", detail)
