"""Bytes of a dataset, a block of whole lines at a time: plain, compressed, or standard input."""

from __future__ import annotations

import gzip
import io
import math
import os
import re
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, NamedTuple, cast

from ftjobs.errors import ConfigError

STDIN = Path("-")
"""The path that stands for standard input."""

MAX_LINE_BYTES = 160 * 2**20
"""The longest line that is read: ten images of 10 MB in base64, and room for the text."""

BLOCK_BYTES = 2**18
"""Read at once: small enough to stay in the processor's cache while it is looked at."""

MAX_EXPANSION = 200
"""Bytes that one compressed byte may become, once `FREE_EXPANSION` bytes were read.  Text
expands tenfold at most."""

FREE_EXPANSION = 2**24

_SIP = 2**10  # bytes of Zstandard data taken at once

_MAGIC_BYTES = 4
_GZIP = b"\x1f\x8b"
_ZSTD = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")  # a frame, or one to be skipped


class DamagedError(Exception):
    """Compressed data that is damaged, cut, or a bomb.  `code` says which."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A regular file or standard input ("-"), open for reading bytes.

    `.gz` and `.zst` data is decompressed, whatever the name; reading it may raise `DamagedError`.

    Raises:
        ConfigError: it cannot be opened or read; every OSError becomes one.
    """
    try:
        with _plain_file(path) as file:
            yield _decompressed(file)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file", hint="Check the path.") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None


@contextmanager
def _plain_file(path: Path) -> Iterator[BinaryIO]:
    if path == STDIN:
        yield cast("BinaryIO", io.BufferedReader(_Counted(_standard_input()), 2 * BLOCK_BYTES))
        return
    try:
        mode = path.stat().st_mode
    except ValueError:
        what = "a zero byte or half a surrogate pair"
        raise ConfigError(f"the path holds {what}", hint="Check the path.") from None
    _check_regular(path, mode)
    with open(path, "rb", buffering=2 * BLOCK_BYTES, opener=_open_at_once) as file:
        _check_regular(path, os.fstat(file.fileno()).st_mode)  # it may be another by now
        yield file


def _check_regular(path: Path, mode: int) -> None:
    """Refuse what could block for ever, such as a pipe."""
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        hint = "Give the path of a .jsonl file, or - for standard input."
        raise ConfigError(f"{path}: is {what}", hint=hint)


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe would wait for a writer


def _standard_input() -> BinaryIO:
    file = getattr(sys.stdin, "buffer", None)
    if file is None:
        hint = "Give the path of a file."
        raise ConfigError("standard input is closed, or holds no bytes", hint=hint)
    return cast("BinaryIO", file)


def _decompressed(file: BinaryIO) -> BinaryIO:
    magic = cast("io.BufferedReader", file).peek(_MAGIC_BYTES)[:_MAGIC_BYTES]
    source = _Counted(file)
    if magic.startswith(_GZIP):
        inner = gzip.GzipFile(fileobj=source)
        return io.BufferedReader(_Watched(inner.read1, source, "gzip"), BLOCK_BYTES)
    if _ZSTD.match(magic):
        return io.BufferedReader(_Watched(_Frames(source).read, source, "zstd"), BLOCK_BYTES)
    return file


class _Counted(io.RawIOBase):
    """A file that knows how many bytes were read from it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._read = getattr(file, "read1", file.read)  # comes back for signals between reads
        self.count = 0

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._file.fileno()

    def readinto(self, buffer: Any, /) -> int:
        size = len(buffer)
        data = self._read(size) if self.count else self._file.read(min(size, _MAGIC_BYTES))
        buffer[: len(data)] = data
        self.count += len(data)
        return len(data)


class _Frames:
    """Zstandard frames, one after the other.

    The library's own reader takes a file that is cut for one that has ended.
    """

    def __init__(self, source: _Counted) -> None:
        self._source = source
        self._zstandard = _zstandard()
        self._frame: Any = None
        self._input = b""
        self._output = b""
        self._at = 0  # so much of it was given out

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end."""
        while self._at == len(self._output) and self._feed():
            pass
        data = self._output[self._at : self._at + size]
        self._at += len(data)
        return data

    def _feed(self) -> bool:
        """Decompress a little; a kilobyte may become 32 MB.  False at the end."""
        self._input = self._input or self._source.read(_SIP)
        if not self._input:
            if self._frame is not None:
                raise EOFError("it ends before its end-of-stream marker was reached")
            return False
        if self._frame is None:
            limits = self._zstandard.ZstdDecompressor(max_window_size=2**27)  # the zstd tool's
            self._frame = limits.decompressobj()
        try:
            self._output, self._at = self._frame.decompress(self._input), 0
        except self._zstandard.ZstdError as error:
            raise EOFError(str(error)) from None
        self._input = b""
        if self._frame.eof:
            self._input, self._frame = self._frame.unused_data, None
        return True


def _zstandard() -> ModuleType:
    try:
        import zstandard
    except ImportError:
        raise ConfigError(
            "reading .zst needs a library that is not installed",
            hint="pip install 'ftjobs[data]', or decompress the file: zstd -d FILE",
        ) from None
    return zstandard


class _Watched(io.RawIOBase):
    """Decompressed bytes.  Reading on raises DamagedError for damage (FT110) and bombs (FT109),
    once all that stands before was given out: to `read1`, as `read` drops what it has by then.
    """

    def __init__(self, read: Callable[[int], bytes], source: _Counted, compression: str) -> None:
        self.compression = compression
        self._read = read
        self._source = source
        self._out = 0
        self._fault: tuple[str, str] | None = None

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._source.fileno()

    def readinto(self, buffer: Any, /) -> int:
        filled = 0
        while filled < len(buffer) and (data := self._more(len(buffer) - filled)):
            buffer[filled : filled + len(data)] = data
            filled += len(data)
        if self._fault is not None and not filled:
            raise DamagedError(*self._fault)
        return filled

    def _more(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end, and where the data cannot be read."""
        if self._fault is not None:
            return b""
        try:
            data = self._read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            other = str(error).startswith("Not a gzipped file")  # and then the bytes that it found
            reason = "other data follows" if other else error
            self._fault = "FT110", f"the compressed data cannot be read: {reason}"
            return b""
        self._out += len(data)
        if self._out > max(FREE_EXPANSION, MAX_EXPANSION * self._source.count):
            self._fault = "FT109", f"the data expands more than {MAX_EXPANSION}-fold"
        return data


def compression_of(file: BinaryIO) -> str | None:
    """How an opened file is compressed: "gzip", "zstd", or None."""
    return getattr(getattr(file, "raw", None), "compression", None)


def head_of(file: BinaryIO, size: int) -> bytes:
    """The first `size` bytes of an opened file; fewer where it ends, or where damage begins."""
    head = b""
    with suppress(DamagedError):  # which reading on will raise
        while len(head) < size and (data := _read(file, size - len(head))):
            head += data
    return head


def _read(file: BinaryIO, size: int) -> bytes:
    """Up to `size` bytes; none at the end."""
    if compression_of(file) is None:
        return file.read(size)
    return cast("io.BufferedReader", file).read1(size)


class Stamp(NamedTuple):
    """What changes if a file does: size in bytes, and time of change in nanoseconds."""

    size: int
    mtime_ns: int


def stamp(file: BinaryIO) -> Stamp:
    """The stamp of an open file; zeros for what has none, such as a pipe."""
    try:
        status = os.fstat(file.fileno())
    except io.UnsupportedOperation:  # standard input that Python code has put in place
        return Stamp(0, 0)
    return (
        Stamp(status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else Stamp(0, 0)
    )


def blocks_of(
    file: BinaryIO,
    *,
    head: bytes = b"",
    feed: Callable[[bytes], object] = len,
    size: int | None = None,
    limit: int = MAX_LINE_BYTES,
) -> Iterator[bytes | None]:
    """The bytes in blocks of whole lines; None for a line of clearly more than `limit` bytes.

    Only a line feed ends a line; the last one may lack it.  A block is about `BLOCK_BYTES` long,
    more where a line is.  `head` is what was read already; `feed` is given every byte; no more than
    `size` bytes are read.
    """
    pending: list[bytes] = []  # of a line whose end was not read yet
    held, skipping = 0, False
    for data in _pieces(file, head, size):
        feed(data)
        if skipping:
            _, found, data = data.partition(b"\n")
            skipping = not found
        if end := data.rfind(b"\n") + 1:
            yield b"".join((*pending, data[:end]))
            pending, held = [], 0
        if end < len(data):
            pending.append(data[end:])
            held += len(data) - end
        if held > limit:
            yield None
            pending, held, skipping = [], 0, True
    if held:
        yield b"".join(pending)


def _pieces(file: BinaryIO, head: bytes, size: int | None) -> Iterator[bytes]:
    if head:
        yield head
    left = math.inf if size is None else size
    while left and (data := _read(file, int(min(BLOCK_BYTES, left)))):
        left -= len(data)
        yield data


def lines_of(
    file: BinaryIO | io.BytesIO,
    *,
    feed: Callable[[bytes], object] = len,
    limit: int = MAX_LINE_BYTES,
) -> Iterator[bytes | None]:
    """The lines with their ends, None for one of more than `limit` bytes.

    `feed` is given every byte, for a checksum.  Only a line feed ends a line.
    """
    while line := file.readline(limit):
        feed(line)
        if len(line) < limit or line.endswith(b"\n"):
            yield line
            continue
        while block := file.readline(BLOCK_BYTES):
            feed(block)
            if block.endswith(b"\n"):
                break
        yield None
