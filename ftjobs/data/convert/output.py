"""Files that are there whole, or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ftjobs.errors import ConfigError, FtjobsError


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
    """Lines go to a temporary file beside `path`, which takes its name when the block ends well
    and has written something.  An error, or the end of the process, leaves no file of that name.

    Raises:
        ConfigError: there is such a file already (unless `force`), or it cannot be made there.
        FtjobsError: it cannot be written, for example because the disk is full.
    """
    temporary = path.with_name(f".ftjobs-{secrets.token_hex(8)}.part")
    try:
        _require_free(path, force=force)
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror or error}", hint="Choose a folder that can be written."
        ) from None
    try:
        with os.fdopen(handle, "wb", 2**20) as file:
            sink = Sink(file)
            yield sink
            file.flush()
            os.fsync(file.fileno())
        if sink.lines:
            _publish(temporary, path, force=force)
    except OSError as error:  # of this file: the block's own are FtjobsErrors
        raise FtjobsError(
            f"{path}: {error.strerror or error}", hint="Nothing is left of what was written."
        ) from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a file of UTF-8, over one that is there: it holds all of the text, or what it held.

    A link stays, and what it leads to is written; a device or a pipe just takes the text.  Half a
    surrogate pair becomes "?".

    Raises:
        ConfigError: there is no such folder, or it cannot be written to.
        FtjobsError: the disk is full.
    """
    data = text.encode(errors="replace")
    try:
        target = path.resolve()
        if target.exists() and not target.is_file():
            target.write_bytes(data)
        else:
            _replace(target, data)
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        kind = FtjobsError if is_full else ConfigError
        raise kind(f"{path}: {error.strerror or error}") from None


def _replace(target: Path, data: bytes) -> None:
    """Write a draft beside the target, and give it the target's permissions and name."""
    draft = target.with_name(f".ftjobs-{secrets.token_hex(8)}.part")
    handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            if target.exists():
                os.fchmod(file.fileno(), stat.S_IMODE(target.stat().st_mode))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _publish(draft, target, force=True)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def _require_free(path: Path, *, force: bool) -> None:
    if "\0" in str(path):
        raise ConfigError("the path of the output holds a zero byte", hint="Check the path.")
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder", hint="Give the path of a .jsonl file.")
    if path.suffix in (".gz", ".zst"):
        raise ConfigError(f"{path}: output is not compressed", hint="Write .jsonl, then compress.")
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path}: not a regular file", hint="Use -o - for standard output.")
    if os.path.lexists(path) and not force:
        raise _taken(path)


def _taken(path: Path) -> ConfigError:
    return ConfigError(
        f"{path}: exists already", hint="Give another name, or --force to write over it."
    )


def _publish(temporary: Path, path: Path, *, force: bool) -> None:
    if force:
        temporary.replace(path)
    else:
        try:
            os.link(temporary, path)  # unlike a rename, it never takes the place of a file
        except FileExistsError:
            raise _taken(path) from None
        except OSError:  # a file system without links
            _require_free(path, force=False)
            temporary.rename(path)
    with suppress(OSError):  # not every system can sync a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
