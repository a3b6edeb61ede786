"""Quota: the bytes that a project's files may take together, also while they arrive."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ftjobs.server.refusals import Refusal

__all__ = ["Held", "Quota"]


class Quota:
    """Counts what a project has, and what is on its way.

    Args:
        most: bytes of one project.
        kept: how many bytes a project has already.
    """

    def __init__(self, most: int, kept: Callable[[str], int]) -> None:
        self.most = most
        self._kept = kept
        self._lock = threading.Lock()
        self._coming: Counter[str] = Counter()

    @contextmanager
    def held(self, project: str) -> Iterator[Held]:
        """Room for a file on its way; it is free again at the end, when the file is counted."""
        held = Held(self, project)
        try:
            yield held
        finally:
            with self._lock:
                self._coming[project] -= held.bytes
                if not self._coming[project]:
                    del self._coming[project]

    def take(self, project: str, size: int) -> None:
        """Count so many bytes more.  Refusal 413 if they are too many."""
        with self._lock:
            if self._kept(project) + self._coming[project] + size > self.most:
                raise Refusal(
                    413,
                    f"the files of this project would take more than {self.most:,} bytes: "
                    "delete some",
                    code="quota_exceeded",
                )
            self._coming[project] += size


class Held:
    """The room of one file."""

    def __init__(self, quota: Quota, project: str) -> None:
        self._quota, self._project = quota, project
        self.bytes = 0

    def grow(self, size: int) -> None:
        """Take room for so many bytes more.  Refusal 413 if there is none."""
        self._quota.take(self._project, size)
        self.bytes += size
