"""Files to the service: small ones in one request, large ones in parts (`parts`).

A file that is sent twice costs nothing, but it is avoided.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ftjobs.backends.base import Progress
from ftjobs.backends.nouns import Raw
from ftjobs.backends.wire.body import read_file
from ftjobs.backends.wire.lost import find, patient, unlost
from ftjobs.backends.wire.parts import PART_SIZE, Outgoing, PartsSender
from ftjobs.backends.wire.session import Session
from ftjobs.backends.wire.slices import Meter, Slice, rising
from ftjobs.disk import stamp_of
from ftjobs.errors import BackendError, ConfigError, FtjobsError
from ftjobs.schema import File

__all__ = ["Uploader"]


@dataclass(frozen=True)
class Uploader:
    """Sends files.

    Attributes:
        wire: the service.
        journal: the folder for notes of unfinished uploads; None notes nothing.
        lag: seconds by which the service's file list may lag behind.
        in_parts: whether the service takes uploads in parts.
        part_size: bytes of a part; larger files go in parts.
        wall: Unix seconds, for the age of an upload.
    """

    wire: Session
    journal: Path | None = None
    lag: float = 0.0
    in_parts: bool = False
    part_size: int = PART_SIZE
    wall: Callable[[], float] = time.time

    def send(self, path: Path, name: str, purpose: str, progress: Progress) -> File:
        """Send a file.

        Raises:
            ConfigError: it cannot be read, or changed while it was sent.
            BackendError: the service refused it, or could not be reached for too long.
        """
        size, changed = stamp_of(path)
        file = Outgoing(path, name, purpose, size, changed, rising(progress))
        if self.in_parts and size > self.part_size:
            sender = PartsSender(self.wire, self.journal, self.lag, self.part_size, self.wall)
            return sender.send(file)
        return self._send_whole(file)

    def _send_whole(self, file: Outgoing) -> File:
        meter = Meter(file.size, file.progress)
        wanted = file.wanted(lambda found: self._holds(found, file.path))

        def post() -> Raw:
            with Slice(file.path, 0, file.size, 0, meter) as content:
                create = self.wire.api.files.create
                return self.wire.send(create, file=(file.name, content), purpose=file.purpose)

        retry = patient(self.wire.retry, file.size)
        answer = unlost(retry, post, lambda: find(self.wire, wanted, self.lag))
        if isinstance(answer, File):
            return answer
        sent = read_file(answer, self.wire.name)
        if stamp_of(file.path) != (file.size, file.changed):
            with suppress(BackendError):  # under this name it could be taken for the file
                self.wire.delete(self.wire.api.files.delete, sent.id)
            raise ConfigError(f"{file.path} changed while it was sent", hint="Send it again.")
        return sent

    def _holds(self, found: File, path: Path) -> bool:
        """Whether the service's file has the bytes of ours: name and size prove nothing."""
        if found.bytes > PART_SIZE:
            return False  # too much to fetch only to save a second sending
        with suppress(FtjobsError, OSError):
            theirs = self.wire.content(found.id)
            return sha256(theirs).digest() == sha256(path.read_bytes()).digest()
        return False
