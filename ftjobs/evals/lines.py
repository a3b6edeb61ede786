"""A file of lines that one process holds, each on the disk once it was appended."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from ftjobs.disk import stored_by
from ftjobs.errors import ConfigError

if TYPE_CHECKING:
    from filelock import BaseFileLock

__all__ = ["append", "held", "mend"]


@contextmanager
def held(path: Path, *, what: str) -> Iterator[FileIO]:
    """The file at `path`, made if there is none, for this process alone.

    It is unbuffered: what a full disk refused must not come back with a later line.

    Args:
        path: where it is.
        what: what it holds, for messages.

    Raises:
        ConfigError: it cannot be made, or another process writes to it.
        FtjobsError: it cannot be written, for example because the disk is full.
    """
    with stored_by(path):
        lock = _locked(path, what)
    try:
        with stored_by(path):
            file = FileIO(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+")
        with file:
            yield file
    finally:
        lock.release()


def append(file: FileIO, line: bytes) -> int:
    """Put a line at the end, durably; the byte where it starts.  OSError, and nothing is left."""
    start = file.seek(0, os.SEEK_END)
    try:
        _write_all(file, line)
    except OSError:
        file.truncate(start)
        raise
    os.fsync(file.fileno())
    return start


def mend(file: FileIO, end: int) -> None:
    """Cut off what was torn, behind byte `end`, and end the last line.  OSError."""
    file.truncate(end)
    if end:
        file.seek(end - 1)
        if file.read(1) != b"\n":
            file.seek(end)
            file.write(b"\n")
    os.fsync(file.fileno())


def _locked(path: Path, what: str) -> BaseFileLock:
    from filelock import FileLock, Timeout

    if "\0" in str(path):
        raise ConfigError(f"the path of the {what} holds a zero byte", hint="Check the path.")
    if not path.parent.is_dir():
        raise ConfigError(f"{path.parent}: no such folder", hint="Make the folder first.")
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path}: not a regular file", hint="Name a new file.")
    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ConfigError(f"{path}: another process writes to it") from None
    return lock


def _write_all(file: FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
