"""`server.db`: what the server itself remembers.  Files, jobs and models are the backend's."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ftjobs.database import PATIENCE, begin_log, translated

__all__ = ["Database"]

_DAMAGED = "Restore server.db from a backup.  Without it, keys and the owners of files are lost."


class Database:
    """One SQLite file, WAL and FULL: what was acknowledged survives a power cut.

    StoreError where it cannot be opened, or is damaged.

    One connection for all threads, one transaction at a time, and each of them short; and one more
    to read with, for whoever cannot wait until another's transaction is on the disk.  Other
    processes (`ftjobs serve keys`) open the same file.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.path = home / "server.db"
        self._lock = threading.RLock()
        self._reading = threading.Lock()
        with translated(self.path, if_damaged=_DAMAGED):
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                self.path, timeout=PATIENCE, isolation_level=None, check_same_thread=False
            )
            self.path.chmod(0o600)
            begin_log(self._db)
            # A damaged page may read as rows that say less: that a key was not revoked.
            (found,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise sqlite3.DatabaseError("database disk image is malformed")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            self._reader = sqlite3.connect(
                self.path, timeout=PATIENCE, isolation_level=None, check_same_thread=False
            )
            self._reader.execute("PRAGMA query_only = ON")

    def create(self, *tables: str) -> None:
        """Statements that make a room's tables where they are missing."""
        with self.transaction() as db:
            for table in tables:
                db.execute(table)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; a transaction inside another is a part of it.  StoreError on failure."""
        with self._lock, translated(self.path, if_damaged=_DAMAGED):
            if self._db.in_transaction:
                yield self._db
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.rollback()
                raise
            self._db.commit()

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """What a query finds.  StoreError on failure."""
        with self._lock, translated(self.path, if_damaged=_DAMAGED):
            return self._db.execute(sql, values).fetchall()

    def committed(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """What a query finds in what was committed; it waits for no transaction.  StoreError."""
        with self._reading, translated(self.path, if_damaged=_DAMAGED):
            return self._reader.execute(sql, values).fetchall()

    def write(self, sql: str, *values: Any) -> int:
        """Run one statement in a transaction; how many rows it changed.  StoreError on failure."""
        with self.transaction() as db:
            return db.execute(sql, values).rowcount

    def close(self) -> None:
        """Close the file."""
        with self._reading, self._lock:
            self._reader.close()
            self._db.close()
