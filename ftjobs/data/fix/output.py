"""A new file that is there as a whole or not at all."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ftjobs.errors import ConfigError, FtjobsError

_COMPRESSED = (".gz", ".zst")


def usable(source: Path, out: Path, *, force: bool) -> None:
    """Whether `out` can be written without a loss.

    Raises:
        ConfigError: it is the source itself, also by another name; it exists (unless `force`), is
            no regular file, its folder does not, or its name promises compressed data.
    """
    if "\0" in str(out):
        raise ConfigError("the path of the new file holds a zero byte", hint="Check the path.")
    if out.suffix in _COMPRESSED:
        hint = f"Name it {out.stem}, and compress it afterwards."
        raise ConfigError(f"{out}: the new file is written uncompressed", hint=hint)
    try:
        if not out.parent.is_dir():
            raise ConfigError(f"{out.parent}: no such folder", hint="Make the folder first.")
        if out.exists() and source.exists() and out.samefile(source):
            hint = "Name another file: the source is never written over."
            raise ConfigError(f"{out}: is the file to be repaired", hint=hint)
        if out.exists() and not stat.S_ISREG(out.stat().st_mode):
            raise ConfigError(f"{out}: is not a regular file", hint="Name a new file.")
    except OSError as error:
        raise ConfigError(f"{out}: {error.strerror or error}") from None
    if not force and os.path.lexists(out):
        raise _exists(out)


def _exists(out: Path) -> ConfigError:
    hint = "Give another name, or --force to write over it."
    return ConfigError(f"{out}: exists already", hint=hint)


@contextmanager
def written(out: Path, *, mode: int, force: bool) -> Iterator[BinaryIO]:
    """A file to be written that becomes `out` when the block ends without an exception.

    Until then it is a hidden file beside it, which an exception removes.  `mode` is its
    permissions.

    Raises:
        ConfigError: no file can be made there, or `out` came into being meanwhile (unless `force`).
        FtjobsError: it cannot be written, for example because the disk is full.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{out.name[:100]}.", suffix=".tmp", dir=out.parent)
    except OSError as error:
        raise ConfigError(f"{out}: {error.strerror or error}") from None
    draft = Path(name)
    try:
        try:
            with os.fdopen(handle, "wb", buffering=2**20) as file:
                yield file
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            _publish(draft, out, force=force)
        finally:
            draft.unlink(missing_ok=True)
        _sync_folder(out.parent)
    except OSError as error:
        hint = "Nothing is left of what was written."
        raise FtjobsError(f"{out}: {error.strerror or error}", hint=hint) from None


def _publish(draft: Path, out: Path, *, force: bool) -> None:
    if force:
        draft.replace(out)
        return
    try:
        out.hardlink_to(draft)  # unlike a rename, it never replaces a file
    except FileExistsError:
        raise _exists(out) from None
    except OSError:  # a file system without hard links
        if os.path.lexists(out):
            raise _exists(out) from None
        draft.rename(out)


def _sync_folder(folder: Path) -> None:
    """Make the new name durable, where folders can be synchronised."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
