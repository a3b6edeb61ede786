"""A multipart/form-data body, read as it arrives: files go to disk and cost no memory."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote


class TruncatedError(Exception):
    """The body ended before its last boundary."""


@dataclass(frozen=True)
class Field:
    """A field of a form: a small value, or a file that lies at `path`."""

    name: str
    value: bytes = b""
    filename: str = ""
    path: Path | None = None


def read_form(chunks: Iterable[bytes], content_type: str, folder: Path) -> dict[str, Field]:
    """The fields of a form by name; their files are new ones in `folder`."""
    found = re.search(r'boundary="?([^";,]+)"?', content_type)
    if found is None:
        raise ValueError("a multipart body without a boundary")
    boundary = b"--" + found[1].encode()
    stream = _Stream(chunks)
    stream.until(boundary)
    fields = {}
    while stream.take(2) != b"--":
        field = _field(stream.until(b"\r\n\r\n"), stream.pieces(b"\r\n" + boundary), folder)
        fields[field.name] = field
    stream.drain()
    return fields


def _field(head: bytes, pieces: Iterator[bytes], folder: Path) -> Field:
    text = head.decode()
    name = re.search(r'[; ]name="([^"]*)"', text)
    filename = re.search(r'filename="([^"]*)"', text)
    if name is None:
        raise ValueError("a field without a name")
    if filename is None:
        return Field(name[1], b"".join(pieces))
    with tempfile.NamedTemporaryFile(dir=folder, prefix="spool-", delete=False) as out:
        out.writelines(pieces)
    return Field(name[1], filename=Path(unquote(filename[1])).name, path=Path(out.name))


class _Stream:
    """Chunks of any size, cut where a mark stands."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held = b""

    def pieces(self, mark: bytes) -> Iterator[bytes]:
        """What comes before `mark`, which is consumed too."""
        while (place := self._held.find(mark)) < 0:
            safe = len(self._held) - len(mark) + 1  # a mark may have begun in what follows
            if safe > 0:
                yield self._held[:safe]
                self._held = self._held[safe:]
            self._more()
        yield self._held[:place]
        self._held = self._held[place + len(mark) :]

    def until(self, mark: bytes) -> bytes:
        return b"".join(self.pieces(mark))

    def take(self, size: int) -> bytes:
        while len(self._held) < size:
            self._more()
        taken, self._held = self._held[:size], self._held[size:]
        return taken

    def drain(self) -> None:
        for _ in self._chunks:
            pass

    def _more(self) -> None:
        try:
            self._held += next(self._chunks)
        except StopIteration:
            raise TruncatedError from None
