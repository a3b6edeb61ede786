"""Where converted, split and sampled lines go: a new file, or standard output."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ftjobs import disk
from ftjobs.errors import ConfigError


class Sink:
    """Where lines go, None: nowhere; `lines` counts them."""

    def __init__(self, file: BinaryIO | None) -> None:
        self._file = file
        self.lines = 0

    def write(self, line: bytes) -> None:
        """Write one line; the line feed is added."""
        if self._file is not None:
            self._file.write(line + b"\n")
        self.lines += 1

    def settle(self) -> None:
        """Bring what was written to the disk.  OSError, such as for a full disk, if it cannot be.

        Of several new files, settle all before the first one's block ends: then none of them gets
        its name if another cannot be written.
        """
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())


@contextmanager
def standard_output() -> Iterator[Sink]:
    """Lines go to standard output."""
    sys.stdout.flush()
    yield Sink(sys.stdout.buffer)
    sys.stdout.buffer.flush()


@contextmanager
def new_file(path: Path, *, force: bool) -> Iterator[Sink]:
    """Lines go to a hidden file beside `path`, which takes its name when the block ends well
    and has written something.  An error, or the end of the process, leaves no file of that name.

    Raises:
        ConfigError: there is such a file already (unless `force`), or it cannot be made there.
        FtjobsError: it cannot be written, for example because the disk is full.
    """
    disk.check_name(path)
    try:
        _require_free(path, force=force)
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror or error}", hint="Choose a folder that can be written."
        ) from None
    sink = Sink(None)
    with disk.new_file(path, force=force, wanted=lambda: bool(sink.lines)) as file:
        sink = Sink(file)
        yield sink


def _require_free(path: Path, *, force: bool) -> None:
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder", hint="Give the path of a .jsonl file.")
    if path.suffix in (".gz", ".zst"):
        raise ConfigError(f"{path}: output is not compressed", hint="Write .jsonl, then compress.")
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path}: not a regular file", hint="Use -o - for standard output.")
    if os.path.lexists(path) and not force:
        raise disk.taken(path)
