"""How long a long run goes on with a service that fails: while anything still works."""

from __future__ import annotations

import threading

from ftjobs.errors import BackendError

__all__ = ["Patience"]


class Patience:
    """Gives up after `most` failures in a row that could have passed.  Thread-safe.

    Each failure comes after the backend's own retries, so one that is over by itself costs
    nothing, a single piece that always fails stops nothing, and an outage ends the run.
    """

    def __init__(self, most: int = 3) -> None:
        self._most = most
        self._row = 0
        self._lock = threading.Lock()

    def won(self) -> None:
        """Something worked."""
        with self._lock:
            self._row = 0

    def lost(self, error: BackendError) -> None:
        """Something failed.  Raises the error where it was one too many."""
        with self._lock:
            self._row += 1
            if self._row < self._most:
                return
        error.hint = "What was fetched is whole: run the same command again to go on."
        raise error
