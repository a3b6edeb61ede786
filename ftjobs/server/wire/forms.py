"""Forms with a file (multipart/form-data), received in constant memory into the server's spool.

Frameworks put such files into the system's folder for temporary ones, and read them before anybody
has asked how large they may be.  (RFC 7578)
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from anyio.to_thread import run_sync
from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from ftjobs.server.projects.files import too_large
from ftjobs.server.projects.view import View
from ftjobs.server.quota import Held
from ftjobs.server.refusals import Refusal
from ftjobs.server.spool import disk

__all__ = ["Form", "received"]

# Its warnings are about what clients send, a line each, and never end.
logging.getLogger("python_multipart").setLevel(logging.ERROR)

BLOCK = 1 << 20
"""Bytes that are collected before they are written."""
MOST_FIELDS = 16
LONGEST_FIELD = 4096
"""Bytes of a field that is no file."""


@dataclass
class Form:
    """What was received.  `path` is the file's content, until the request ends.

    `held` says whether its bytes are held against the quota of who sent it, until then too.
    """

    path: Path
    held: bool
    filename: str | None = None
    fields: dict[str, str] = field(default_factory=dict)
    sha256: str = ""


@asynccontextmanager
async def received(
    request: Request, view: View, *, name: str, largest: int, hold: bool = True
) -> AsyncIterator[Form]:
    """A form whose field `name` is a file of at most `largest` bytes.

    `hold` its bytes against the quota of who sends it, unless they are counted there already.

    Raises:
        Refusal: 413, too large; 415, no such form; 400, it cannot be read.
        StoreError: the disk is full.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise Refusal(415, "this request is a form: multipart/form-data, with a boundary")
    with view.rooms.spool.file() as path, view.rooms.quota.held(view.project) as held:
        with disk(), path.open("wb") as target:
            reader = _Reader(Form(path, hold), name, boundary, largest)
            keeper = _Keeper(target, held if hold else None)
            try:
                async for chunk in request.stream():
                    reader.read(chunk)
                    if len(reader.waiting) >= BLOCK:
                        await run_sync(keeper.keep, reader.taken())
            except ClientDisconnect:
                raise Refusal(400, "the connection was lost") from None
            await run_sync(keeper.keep, reader.taken())
        yield reader.finished(keeper)


class _Keeper:
    """Writes the file, in a thread."""

    def __init__(self, target: BinaryIO, held: Held | None) -> None:
        self._target, self._held = target, held
        self.digest = hashlib.sha256()

    def keep(self, block: bytes) -> None:
        """Write some more.  Refusal 413 beyond the quota."""
        if self._held is not None:
            self._held.grow(len(block))
        self._target.write(block)
        self.digest.update(block)


class _Reader:
    """Takes a form apart.  `waiting` is what has come of its file and was not taken yet."""

    def __init__(self, form: Form, name: str, boundary: bytes, largest: int) -> None:
        self._form, self._name, self._largest = form, name, largest
        self.waiting = bytearray()
        self._came = 0
        self._header, self._value, self._headers = bytearray(), bytearray(), dict[bytes, bytes]()
        self._field = ""
        self._text = bytearray()
        self._is_file = self._has_file = self._is_over = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._headers.clear,
                    "on_header_field": lambda data, start, end: self._header.extend(
                        data[start:end]
                    ),
                    "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._begin_field,
                    "on_part_data": self._add,
                    "on_part_end": self._end_field,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise _unreadable(error) from None

    def read(self, chunk: bytes) -> None:
        """Read some more.  Refusal if it cannot be."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _unreadable(error) from None

    def taken(self) -> bytes:
        """What waits; it waits no longer."""
        block, self.waiting = bytes(self.waiting), bytearray()
        return block

    def finished(self, keeper: _Keeper) -> Form:
        """The whole form.  Refusal 400 where something is missing."""
        if not self._is_over:
            raise Refusal(400, "the form ends in the midst")
        if not self._has_file:
            raise Refusal(400, f"the form has no file {self._name!r}", param=self._name)
        self._form.sha256 = keeper.digest.hexdigest()
        return self._form

    # --- what the parser meets ---------------------------------------------------------------

    def _end_header(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _begin_field(self) -> None:
        _, options = parse_options_header(
            self._headers.get(b"content-disposition", b"").decode("latin-1")
        )
        self._field = options.get(b"name", b"").decode("utf-8", "replace")
        filename = options.get(b"filename")
        self._is_file = self._field == self._name
        if self._is_file:
            if self._has_file:
                raise Refusal(400, f"the form has {self._name!r} twice", param=self._name)
            self._has_file = True
            self._form.filename = None if filename is None else filename.decode("utf-8", "replace")
        elif filename is not None:
            raise Refusal(400, f"the only file of the form is {self._name!r}")
        elif len(self._form.fields) >= MOST_FIELDS:
            raise Refusal(400, "the form has too many fields")

    def _add(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._came += end - start
            if self._came > self._largest:
                raise too_large(self._largest)
            self.waiting += data[start:end]
            return
        self._text += data[start:end]
        if len(self._text) > LONGEST_FIELD:
            raise Refusal(400, "a field of the form is too long", param=self._field[:100])

    def _end_field(self) -> None:
        if not self._is_file:
            if self._field in self._form.fields:
                raise Refusal(400, f"the form has {self._field[:100]!r} twice")
            self._form.fields[self._field] = self._text.decode("utf-8", "replace")
            self._text.clear()

    def _end(self) -> None:
        self._is_over = True


def _unreadable(error: Exception) -> Refusal:
    return Refusal(400, f"the form cannot be read: {type(error).__name__}")
