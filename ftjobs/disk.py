"""Files that are there whole, or not at all, and stay after a power cut."""

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

__all__ = ["new_file", "sync_folder", "write_bytes", "write_text"]


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
        with os.fdopen(handle, "wb", 2**20) as file:
            yield file
            _settle(file, mode)
        if wanted():
            _publish(draft, path, force=force)
    except OSError as error:
        if isinstance(error, FtjobsError):  # the block's own, such as a lost connection
            raise
        raise FtjobsError(
            f"{path}: {error.strerror or error}", hint="Nothing is left of what was written."
        ) from None
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


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
    draft = path.with_name(f".ftjobs-{secrets.token_hex(8)}.part")
    return draft, os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)


def _settle(file: BinaryIO, mode: int | None) -> None:
    file.flush()
    if mode is not None:
        os.fchmod(file.fileno(), mode)
    os.fsync(file.fileno())


def _replace(target: Path, data: bytes) -> None:
    """Write a draft beside the target, and give it the target's permissions and name."""
    draft, handle = _draft(target)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            _settle(file, stat.S_IMODE(target.stat().st_mode) if target.exists() else None)
        _publish(draft, target, force=True)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def _publish(draft: Path, path: Path, *, force: bool) -> None:
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
