"""SQLite files: how they are opened, and what their errors mean."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ftjobs.errors import StoreError

__all__ = ["PATIENCE", "begin_log", "translated"]

PATIENCE = 30.0
"""Seconds for another process to end its transaction."""

CANNOT_WRITE = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)
BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


def begin_log(db: sqlite3.Connection) -> None:
    """Use a write-ahead log.  To begin one, SQLite wants the file alone, and waits for nobody."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return


@contextmanager
def translated(path: Path, *, if_damaged: str) -> Iterator[None]:
    """Errors of the database at `path` as StoreError, with what to do.

    `if_damaged` says it for a file that is no whole database.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{path}: {error}", hint=_way_out(error) or if_damaged) from None
    except OSError as error:
        raise StoreError(
            f"{error.filename or path}: {error.strerror or error}",
            hint="Set FTJOBS_HOME to a folder that can be written.",
        ) from None


def _way_out(error: sqlite3.DatabaseError) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the other bits only refine it
    if code in BUSY:
        return "Another process holds it, perhaps a stopped one: let it go on, or end it."
    if code in CANNOT_WRITE:
        return "Free the disk, or set FTJOBS_HOME to a folder that can be written."
    return ""
