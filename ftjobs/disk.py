"""Reading files block by block, and writing files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ftjobs.errors import ConfigError, FtjobsError

__all__ = [
    "PART",
    "blocks_of",
    "new_file",
    "publish",
    "readable",
    "settle",
    "stamp_of",
    "stored_by",
    "sync_folder",
    "write_bytes",
    "write_text",
    "written",
]

BLOCK = 1 << 20  # bytes of a file that are read at once

PART = ".part"
"""The ending of a file that is not whole yet."""


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Errors of reading `path` are ConfigError."""
    try:
        yield
    except OSError as error:
        hint = "" if path.is_absolute() else f"Relative paths start here, at {Path.cwd()}."
        raise ConfigError(f"cannot read {path}: {error.strerror}", hint=hint) from None


def stamp_of(path: Path) -> tuple[int, int]:
    """A file's size in bytes and when it was last changed, in ns: others, once it is written to.

    Raises:
        ConfigError: it cannot be read, or is a folder, a pipe or a device.
    """
    with readable(path):
        found = path.stat()
    if not stat.S_ISREG(found.st_mode):  # it could be read once, or for ever
        raise ConfigError(f"{path} is no regular file", hint="Write it to a file first.")
    return found.st_size, found.st_mtime_ns


def blocks_of(path: Path) -> Iterator[bytes]:
    """A file piece by piece, in constant memory.  ConfigError as from `stamp_of`."""
    stamp_of(path)
    with readable(path), path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block


@contextmanager
def new_file(
    path: Path,
    *,
    force: bool,
    mode: int | None = None,
    wanted: Callable[[], bool] = lambda: True,
) -> Iterator[BinaryIO]:
    """A hidden file beside `path` that takes its name when the block ends without an exception.

    An exception removes it.  `force` lets it take the place of a file; `mode` is its permissions,
    by default what the process gives new files; it is dropped unless it is `wanted` in the end.

    Raises:
        ConfigError: no file can be made there, or `path` exists (unless `force`).
        FtjobsError: it cannot be written, for example because the disk is full.
    """
    check_name(path)
    try:
        draft, handle = _draft(path)
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror or error}", hint="Choose a folder that can be written."
        ) from None
    try:
        with _drafted(draft, handle, path, force=force, mode=mode, wanted=wanted) as file:
            yield file
    except OSError as error:
        if isinstance(error, FtjobsError):  # the block's own, such as a lost connection
            raise
        raise FtjobsError(
            f"{path}: {error.strerror or error}", hint="Nothing is left of what was written."
        ) from None


@contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path`, which only one process writes, when the block ends
    without an exception: after a crash, `path` holds all of it or what it held before.

    Unlike that of `new_file`, the draft has one name, so that runs which are killed leave one.

    Raises:
        FtjobsError: it cannot be written, for example because the disk is full.
    """
    draft = path.with_name(path.name + PART)
    with stored_by(path):
        draft.unlink(missing_ok=True)
        with _drafted(draft, _open(draft), path, force=True) as file:
            yield file


@contextmanager
def stored_by(path: Path) -> Iterator[None]:
    """Say what stands in the way of writing `path`, for a run that can be gone on with."""
    try:
        yield
    except FtjobsError:  # a lost connection is an OSError too
        raise
    except OSError as error:
        raise FtjobsError(
            f"{path}: {error.strerror or error}",
            hint="What was written before is whole: run the same command again to go on.",
        ) from None


def write_text(path: Path, text: str) -> None:
    """`write_bytes` in UTF-8; half a surrogate pair becomes "?"."""
    write_bytes(path, text.encode(errors="replace"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, over one that is there: it holds all of the data, or what it held.

    A link stays, and what it leads to is written; a device or a pipe just takes the data.

    Raises:
        ConfigError: there is no such folder, or it cannot be written to.
        FtjobsError: the disk is full.
    """
    check_name(path)
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


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where folders can be synchronised."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def check_name(path: Path) -> None:
    """Refuse a name that no file can have.  ConfigError."""
    if "\0" in str(path):
        raise ConfigError("the path of the output holds a zero byte", hint="Check the path.")


def _draft(path: Path) -> tuple[Path, int]:
    draft = path.with_name(f".ftjobs-{secrets.token_hex(8)}{PART}")
    return draft, _open(draft)


def _open(draft: Path) -> int:
    return os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)


@contextmanager
def _drafted(
    draft: Path,
    handle: int,
    path: Path,
    *,
    force: bool,
    mode: int | None = None,
    wanted: Callable[[], bool] = lambda: True,
) -> Iterator[BinaryIO]:
    """A draft that becomes `path` when the block ends well; it never stays.  OSError."""
    try:
        with os.fdopen(handle, "wb", 2**20) as file:
            yield file
            settle(file, mode)
        if wanted():
            publish(draft, path, force=force)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def settle(file: BinaryIO, mode: int | None = None) -> None:
    """Make sure that all of `file` is on the disk, with the permissions `mode`.  OSError."""
    file.flush()
    if mode is not None:
        os.fchmod(file.fileno(), mode)
    os.fsync(file.fileno())


def _replace(target: Path, data: bytes) -> None:
    """Write a draft beside the target, and give it the target's permissions and name."""
    draft, handle = _draft(target)
    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else None
    with _drafted(draft, handle, target, force=True, mode=mode) as file:
        file.write(data)


def publish(draft: Path, path: Path, *, force: bool) -> None:
    """Give a settled draft its name, durably; only `force` takes the place of a file.  OSError.

    Raises:
        ConfigError: there is a file already.
    """
    if force:
        draft.replace(path)
    else:
        try:
            os.link(draft, path)  # unlike a rename, it never takes the place of a file
        except FileExistsError:
            raise taken(path) from None
        except OSError:  # a file system without links
            if os.path.lexists(path):
                raise taken(path) from None
            draft.rename(path)
    sync_folder(path.parent)


def taken(path: Path) -> ConfigError:
    """The error for a file that must not be written over."""
    return ConfigError(
        f"{path}: exists already", hint="Give another name, or --force to write over it."
    )
