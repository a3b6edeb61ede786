"""Files on their way: in a folder of the server's own, under names of its own choice.

::

    $FTJOBS_HOME/incoming/
      tmp…       a file that is being received or sent; gone with its request
      part_…     a part of an upload, until the upload ends
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ftjobs.disk import publish, settle
from ftjobs.errors import FtjobsError, StoreError

__all__ = ["Spool", "disk"]


@contextmanager
def disk() -> Iterator[None]:
    """Errors of the disk as StoreError."""
    try:
        yield
    except FtjobsError:  # some of which are errors of the system as well
        raise
    except OSError as error:
        raise StoreError(f"{error.filename or 'incoming'}: {error.strerror}") from error


class Spool:
    """The folder."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "incoming"
        with disk():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def file(self) -> Iterator[Path]:
        """An empty file that is removed at the end.  StoreError if none can be made."""
        with disk():
            handle, name = tempfile.mkstemp(dir=self._folder, prefix="tmp")
            os.close(handle)
        try:
            yield Path(name)
        finally:
            with suppress(OSError):  # moved, or cleaned at the next start
                Path(name).unlink()

    def part(self, part_id: str) -> Path:
        """Where a part is.  Only for ids that the server itself has given out."""
        return self._folder / part_id

    def keep(self, path: Path, part_id: str) -> None:
        """Make a received file a part that is there after a power cut."""
        with disk():
            with path.open("rb") as file:
                settle(file)
            publish(path, self.part(part_id), force=True)

    def clean(self, parts: Collection[str]) -> None:
        """Remove what a server that was killed has left, but these parts."""
        for path in self._folder.iterdir():
            if path.name not in parts:
                with suppress(OSError):
                    path.unlink()
