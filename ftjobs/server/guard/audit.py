"""`audit.log`: who asked what, one JSON object a line.

It holds no contents, no query, and no name that a client chose.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["Audit"]

log = logging.getLogger("ftjobs.server")

LARGEST = 64 * 2**20
"""Bytes after which a new file is begun."""
KEPT = 4
"""Files kept beside it: audit.log.1 is the newest of them."""


class Audit:
    """The file of one server, which no other process writes."""

    def __init__(self, path: Path, *, largest: int = LARGEST, kept: int = KEPT) -> None:
        self.path, self._largest, self._kept = path, largest, kept
        self._lock = threading.Lock()
        self._fails = False

    def write(self, record: Mapping[str, Any]) -> None:
        """Add a line.  Where it cannot be written, the log says so once, and requests go on."""
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            try:
                self._append(line)
            except OSError as error:
                if not self._fails:
                    log.error("%s: %s: requests are not audited", self.path, error.strerror)  # noqa: TRY400
                self._fails = True
            else:
                self._fails = False

    def _append(self, line: bytes) -> None:
        size = self.path.stat().st_size if self.path.exists() else 0
        if size and size + len(line) > self._largest:
            self._rotate()
            size = 0
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            if os.write(handle, line) < len(line):
                os.ftruncate(handle, size)  # the next line would go on with half of this one
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(handle)

    def _rotate(self) -> None:
        for number in range(self._kept, 0, -1):
            older = self.path.with_name(f"{self.path.name}.{number}")
            newer = (
                self.path.with_name(f"{self.path.name}.{number - 1}") if number > 1 else self.path
            )
            if newer.exists():
                newer.replace(older)
