"""Locks and counts by name: what happens under one name does not concern another."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

__all__ = ["Counts", "Crowded", "Locks"]


class Crowded(Exception):
    """Too many use or want a lock."""


class Locks:
    """As many locks as there are names in use; an unused one takes no memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._used: dict[Hashable, _Named] = {}

    @contextmanager
    def held(self, name: Hashable, *, most: int | None = None) -> Iterator[None]:
        """Alone with this name.

        Raises:
            Crowded: `most` have it or wait for it.
        """
        with self._lock:
            named = self._used.setdefault(name, _Named())
            if most is not None and named.users >= most:
                raise Crowded
            named.users += 1
        try:
            with named.lock:
                yield
        finally:
            with self._lock:
                named.users -= 1
                if not named.users:
                    del self._used[name]


class _Named:
    def __init__(self) -> None:
        self.lock, self.users = threading.Lock(), 0


class Counts:
    """How many are at something, by name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[Hashable] = Counter()

    @contextmanager
    def one_more(self, name: Hashable) -> Iterator[int]:
        """Be counted; gives how many there are now, this one among them."""
        with self._lock:
            self._counts[name] += 1
            count = self._counts[name]
        try:
            yield count
        finally:
            with self._lock:
                self._counts[name] -= 1
                if not self._counts[name]:
                    del self._counts[name]
