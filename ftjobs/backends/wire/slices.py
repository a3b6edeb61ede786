"""Files as they are sent: read piece by piece, counted, and summed up while they go."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from pathlib import Path

from ftjobs.backends.base import Progress
from ftjobs.disk import readable
from ftjobs.errors import ConfigError

__all__ = ["Interrupted", "Meter", "Slice", "md5s", "rising"]

BLOCK = 1 << 20


class Interrupted(Exception):
    """Sending was called off from another thread."""


def rising(progress: Progress) -> Progress:
    """`progress`, told only what is more than before: a part that is sent again counts once."""
    highest = -1

    def tell(done: int, total: int) -> None:
        nonlocal highest
        if done > highest:
            highest = done
            progress(done, total)

    return tell


class Meter:
    """Adds up what several threads have sent, and tells it."""

    def __init__(self, total: int, progress: Progress, *, done: int = 0) -> None:
        self.stopped = threading.Event()
        self._total, self._progress = total, progress
        self._sent: dict[int, int] = {-1: done}
        self._lock = threading.Lock()

    def sent(self, number: int, size: int) -> None:
        """Part `number` has sent so many bytes in this attempt.  Interrupted if called off."""
        if self.stopped.is_set():
            raise Interrupted
        with self._lock:
            self._sent[number] = size
            self._progress(sum(self._sent.values()), self._total)


class Slice(io.RawIOBase):
    """Bytes `start` to `start + size` of a file, as a file of its own.

    Raises:
        ConfigError: the file cannot be read, or has become shorter.
    """

    def __init__(self, path: Path, start: int, size: int, number: int, meter: Meter) -> None:
        super().__init__()
        with readable(path):
            self._file = path.open("rb", buffering=0)
        self._path, self._start, self._size = path, start, size
        self._number, self._meter = number, meter
        self._place = 0
        self._sum = hashlib.md5(usedforsecurity=False)

    @property
    def md5(self) -> str:
        """The md5 of what was read since the last `seek(0)`, in hexadecimal."""
        return self._sum.hexdigest()

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True; to the beginning or the end, as HTTP libraries do to learn the length."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a place; at the beginning, the sum begins anew."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = base + offset
        if self._place == 0:
            self._sum = hashlib.md5(usedforsecurity=False)
        return self._place

    def tell(self) -> int:
        """The place, in bytes from the beginning of the slice."""
        return self._place

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes; none at the end of the slice."""
        left = self._size - self._place
        wanted = left if size < 0 else min(size, left)
        with readable(self._path):
            data = os.pread(self._file.fileno(), wanted, self._start + self._place)
        if wanted and not data:
            raise ConfigError(f"{self._path} became shorter while it was sent")
        self._place += len(data)
        self._sum.update(data)
        self._meter.sent(self._number, self._place)
        return data

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def md5s(path: Path, part_size: int) -> tuple[str, list[str]]:
    """The md5 of a file, and those of its parts.  ConfigError if it cannot be read."""
    whole, parts = hashlib.md5(usedforsecurity=False), list[str]()
    with readable(path), path.open("rb") as file:
        while True:
            part, left = hashlib.md5(usedforsecurity=False), part_size
            while left and (block := file.read(min(BLOCK, left))):
                whole.update(block)
                part.update(block)
                left -= len(block)
            if left == part_size:
                return whole.hexdigest(), parts
            parts.append(part.hexdigest())
