"""`fix`: a file → a new one, line by line."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from ftjobs.data import private
from ftjobs.data.checker import check, codes
from ftjobs.data.fast import LONGEST, accept
from ftjobs.data.fix import layout
from ftjobs.data.fix.layout import BLOCK, BOM, LayoutError, Piece
from ftjobs.data.fix.lines import Mended, mend
from ftjobs.data.fix.output import usable
from ftjobs.data.fix.report import Drop, FixReport, Journal, Patch
from ftjobs.data.fix.table import Mode
from ftjobs.data.reading import STDIN, DamagedError, opened
from ftjobs.data.scan import Finding
from ftjobs.data.sniff import HEAD_BYTES, sniff
from ftjobs.data.targets import target_named
from ftjobs.disk import new_file
from ftjobs.errors import DatasetError

_PERMISSIONS = 0o666
_PRIVATE = 0o600
_SPLIT = ("FT211", "FT212")  # files that hold objects, but not one a line
_encoder = msgspec.json.Encoder(order="sorted")
_MARKS = re.compile(rb"\A(?:\xef\xbb\xbf)+")
_LEAD = re.compile(rb"\A(?:\xef\xbb\xbf|[ \t\r\n])*")


def fix(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    target: str = "local",
    unsafe: bool = False,
    force: bool = False,
    select: Iterable[str] = (),
    ignore: Iterable[str] = (),
    max_issues: int | None = 1000,
) -> FixReport:
    """Write a new file in which every issue is repaired that can be, and say what was done.

    The source (plain, `.gz`, `.zst`, or "-" for standard input) is only read.  Lines without a
    finding that can be repaired are copied byte for byte, and no value changes but the one that
    is repaired; numbers keep their spelling.  Safe repairs keep the meaning.  With `unsafe`, those
    that a human should look at are made too, and rows that still have an error for `target` are
    dropped.  `select` and `ignore` are beginnings of codes, as for `check`: findings of others
    are neither repaired nor reported.  `out` appears when it is whole; it replaces a file only
    with `force`.  Memory grows with the patches listed (at most `MAX_PATCHES`), with `unsafe` also
    by about 100 bytes a row, to know rows that are given twice.  `max_issues` bounds what the
    report lists of the new file.

    Raises:
        ConfigError: the source cannot be read, `out` not written or is the source, exists already
            or is to be compressed; there is no such target or code.
        FtjobsError: `out` cannot be written to its end, for example because the disk is full.
        DatasetError: the compressed source is damaged, or the source changed meanwhile.
    """
    select, ignore = tuple(select), tuple(ignore)
    mode = Mode(target_named(target), codes(select, ignore), unsafe)
    source, out = Path(path), Path(out)
    usable(source, out, force=force)
    with _source(source, out.parent) as file, new_file(out, mode=_mode(source), force=force) as new:
        before = _state(source)
        fixer = _Fixer(new, out.parent, mode)
        fixer.run(file, source)
        if _state(source) != before:
            hint = "Repair it when nothing writes to it."
            raise DatasetError(f"{source}: the file changed while it was read", hint=hint)
    remaining = check(out, target=target, select=select, ignore=ignore, max_issues=max_issues)
    return fixer.journal.report(source, out, unsafe=unsafe, remaining=remaining)


@contextmanager
def _source(path: Path, folder: Path) -> Iterator[BinaryIO]:
    """The source, from its beginning; what cannot be read twice is copied into `folder` first."""
    with opened(path) as file:
        if path != STDIN and file.seekable():
            yield file
            return
        with tempfile.TemporaryFile(dir=folder) as copy:
            try:
                shutil.copyfileobj(file, copy, BLOCK)
            except DamagedError as error:
                hint = "Get the file again: what is lost in it cannot be repaired."
                raise DatasetError(f"{path}: {error}", hint=hint) from None
            copy.seek(0)
            yield copy


def _mode(source: Path) -> int:
    """The new file is as private as the source; what came through a pipe is private."""
    return _PRIVATE if source == STDIN else stat.S_IMODE(source.stat().st_mode) & _PERMISSIONS


def _state(source: Path) -> tuple[int, int] | None:
    if source == STDIN:
        return None
    status = source.stat()
    return status.st_size, status.st_mtime_ns


class _Fixer:
    """The state of one pass."""

    def __init__(self, out: BinaryIO, folder: Path, mode: Mode) -> None:
        self.journal = Journal()
        self._out = out
        self._folder = folder
        self._mode = mode
        self._begun = False  # whether anything was written
        self._line = 0  # of the new file
        self._too_long_line = 0  # of the source
        self._method: str | None = None
        self._seen: set[bytes] = set()  # digests of the rows written

    def run(self, file: BinaryIO, source: Path) -> None:
        """Write what is left of a file, or all of it where its layout cannot be repaired."""
        with self._in_utf_8(file, source) as text:
            for piece in self._pieces(text, source):
                self._take(piece)

    @contextmanager
    def _in_utf_8(self, file: BinaryIO, source: Path) -> Iterator[BinaryIO]:
        """The file, or a copy if it was UTF-16 or UTF-32."""
        if _kind(file, source) != "FT103" or "FT103" not in self._mode.codes:
            yield file
            return
        encoding = layout.wide(file.read(4))
        file.seek(0)
        try:
            copy = layout.narrowed(file, encoding, self._folder)
        except LayoutError:
            file.seek(0)
            yield file
            return
        with copy:
            self._patch("FT103", 1, f"converted from {encoding.upper()} to UTF-8")
            yield copy

    def _pieces(self, file: BinaryIO, source: Path) -> Iterator[Piece]:
        """The lines to be repaired; a file that has none is copied."""
        kind = _kind(file, source)
        if kind is None:
            yield from layout.lines(file)
        elif kind in _SPLIT and kind in self._mode.codes and _splits(file):
            self._patch(kind, 1, "wrote one object a line")
            yield from layout.objects(file)
        else:
            shutil.copyfileobj(file, self._out, BLOCK)

    def _take(self, piece: Piece) -> None:
        if not piece.whole:
            self._too_long(piece)
            return
        body = piece.data.rstrip(b"\r\n")
        end = piece.data[len(body) :]
        if not self._begun and body.startswith(BOM):
            body = self._unmarked(piece.number, body)
        if _is_blank(body) and "FT107" in self._mode.codes:
            self._patch("FT107", piece.number, "removed the blank line")
        elif _is_blank(body):
            self._write(body + end)
        elif method := self._sound(body):
            self._keep(Mended("", method), body + end, piece.number)
        else:
            self._repair(piece.number, body, end)

    def _sound(self, body: bytes) -> str | None:
        """The method of a line in which there is nothing to repair."""
        if len(body) > LONGEST or (self._mode.unsafe and private.suspicious(body)):
            return None
        accepted = accept(body, self._mode.target)
        return accepted and accepted.method

    def _unmarked(self, number: int, body: bytes) -> bytes:
        """What will be the first line, without byte order marks; one is written if it may stay."""
        code = "FT101" if number == 1 else "FT102"
        if code in self._mode.codes:
            self._patch(code, number, "removed the mark")
            return _MARKS.sub(b"", body, count=1)
        self._out.write(BOM)
        self._begun = True
        return body.removeprefix(BOM)

    def _too_long(self, piece: Piece) -> None:
        new, self._too_long_line = piece.number != self._too_long_line, piece.number
        if not self._mode.drops("FT210"):
            self._out.write(piece.data)
            self._begun = True
            self._line += new
        elif new:
            self._drop(Finding("FT210", "the line is too large"), piece.number)

    def _repair(self, number: int, body: bytes, end: bytes) -> None:
        try:
            text = body.decode()
        except UnicodeDecodeError:
            self._unreadable(number, body + end)
            return
        mended = list(mend(text, self._mode))
        for one in mended:
            if one.why is not None:
                self._drop(one.why, number)
            else:
                whole = end if one is mended[-1] or end.endswith(b"\n") else b"\n"
                self._keep(one, one.text.encode() + whole, number)

    def _unreadable(self, number: int, data: bytes) -> None:
        if self._mode.drops("FT104"):
            self._drop(Finding("FT104", "the line is not UTF-8"), number)
        else:
            self._write(data)

    def _keep(self, row: Mended, data: bytes, number: int) -> None:
        blank = _is_blank(data)  # there was nothing but marks
        why = self._superfluous(row, data) if self._mode.unsafe and not blank else None
        if why is not None:
            self._drop(why, number)
            return
        gone = blank and "FT107" in self._mode.codes
        if not gone:
            self._write(data)
        for one in row.mends:
            where = None if gone else self._line
            self._patch(one.code, number, one.what, one.at + 1, one.pointer, where)

    def _superfluous(self, row: Mended, data: bytes) -> Finding | None:
        """Why a sound row does not go together with those before it."""
        self._method = self._method or row.method
        if row.method != self._method and self._mode.drops("FT503"):
            return Finding("FT503", f"this {row.method} example is in a {self._method} file")
        if "FT801" not in self._mode.codes:
            return None
        digest = hashlib.blake2b(_said(data), digest_size=16).digest()
        if digest in self._seen:
            return Finding("FT801", "the row is the same as an earlier one")
        self._seen.add(digest)
        return None

    def _write(self, data: bytes) -> None:
        self._out.write(data)
        self._begun = True
        self._line += 1

    def _drop(self, why: Finding, number: int) -> None:
        self.journal.drop(Drop(code=why.code, line=number, reason=why.message))

    def _patch(
        self,
        code: str,
        line: int,
        what: str,
        column: int | None = None,
        pointer: str = "",
        new_line: int | None = None,
    ) -> None:
        patch = Patch(
            code=code, line=line, column=column, pointer=pointer, what=what, new_line=new_line
        )
        self.journal.patch(patch)


def _kind(file: BinaryIO, source: Path) -> str | None:
    """The code of what the file is instead of JSON Lines; the file is at its beginning again.

    Marks and blank lines at the beginning will go, so they hide no list and no indented object.
    """
    head = file.read(HEAD_BYTES)
    file.seek(0)
    found = sniff(head, source)
    if found is None:
        found = sniff(_LEAD.sub(b"", head, count=1), source)
        return found.code if found is not None and found.code in _SPLIT else None
    return found.code


def _splits(file: BinaryIO) -> bool:
    """Whether the whole file falls into objects; it is at its beginning again."""
    try:
        for _ in layout.objects(file):
            pass
    except LayoutError:
        return False
    finally:
        file.seek(0)
    return True


def _said(line: bytes) -> bytes:
    """A row in one spelling, so that equal rows are equal bytes."""
    try:
        return _encoder.encode(msgspec.json.decode(line))
    except (ValueError, RecursionError):  # an error that does not count
        return line.strip()


def _is_blank(data: bytes) -> bool:
    return not data.strip(b" \t\r\n")
