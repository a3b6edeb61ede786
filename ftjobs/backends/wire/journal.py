"""What is known of an upload in parts, on disk, so that a killed one can go on.

One JSON file for each (base URL, name, purpose, file as it is), and beside it a lock that the
system drops when its holder dies.  It holds ids and checksums, and nothing of the file itself.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ftjobs.disk import write_bytes
from ftjobs.errors import FtjobsError

__all__ = ["Journal", "Noted", "Part"]

DAY = 86_400.0  # seconds
DIGITS = 32  # of a note's name

log = logging.getLogger("ftjobs")


class Part(BaseModel):
    """A part that the service has: its id there, and the md5 of the bytes that were sent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    md5: str


class Noted(BaseModel):
    """An upload and its finished parts, by number from 0.

    `before` are the ids of the files of that name and size that were there already; `began` is
    this machine's clock, in Unix seconds; `life` how many seconds the service keeps the upload.
    `completing` is set before `complete` is first sent, and `file_id` when all is done, for a
    process that has waited.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    upload_id: str
    before: tuple[str, ...] = ()
    began: float
    life: float
    part_size: Annotated[int, Field(ge=1)]
    completing: bool = False
    file_id: str | None = None
    parts: dict[int, Part] = Field(default_factory=dict)

    def count(self, size: int) -> int:
        """How many parts a file of so many bytes has."""
        return -(-size // self.part_size)


class Journal:
    """The note of one upload.  A folder of None keeps none.

    A folder that cannot be written costs a warning and the chance to go on, not the upload.
    """

    def __init__(self, folder: Path | None, *key: str) -> None:
        digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:DIGITS]
        self._path = None if folder is None else folder / f"{digest}.json"

    @property
    def is_kept(self) -> bool:
        """Whether a later run can go on from here."""
        return self._path is not None

    def read(self) -> Noted | None:
        """What was noted last; None where nothing was, or it cannot be read."""
        if self._path is None:
            return None
        with suppress(OSError, ValidationError, ValueError):
            return Noted.model_validate_json(self._path.read_bytes())
        return None

    def write(self, noted: Noted) -> None:
        """Note it, whole or not at all, also if the machine dies at this moment."""
        if self._path is None:
            return
        try:
            write_bytes(self._path, noted.model_dump_json().encode())
        except FtjobsError as error:
            self._give_up(error.message)

    def forget(self) -> None:
        """There is nothing to go on with."""
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink()

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Keep other processes from the same upload.  Gives whether one had to be waited for."""
        from filelock import FileLock, Timeout

        if self._path is None:
            yield False
            return
        lock = FileLock(self._path.with_suffix(".lock"))
        waited = False
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _sweep(self._path.parent)
            lock.acquire(timeout=0)
        except Timeout:
            log.warning("another process is sending the same file: waiting for it")
            waited = True
            lock.acquire()
        except OSError as error:
            self._give_up(str(error.strerror))
        try:
            yield waited
        finally:
            lock.release()

    def _give_up(self, why: str) -> None:
        log.warning("the upload cannot be noted (%s): a later run begins anew", why)
        self._path = None


def _sweep(folder: Path) -> None:
    """Drop the notes of uploads that no service has any more."""
    for path in folder.glob(f"{'[0-9a-f]' * DIGITS}.json"):  # and no file of the user's
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > DAY:
                path.unlink()
