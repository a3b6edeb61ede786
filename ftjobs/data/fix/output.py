"""Where a repaired file may be written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ftjobs import disk
from ftjobs.errors import ConfigError

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
        raise disk.taken(out)
