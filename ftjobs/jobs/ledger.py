"""What this machine has sent: a memory that makes submitting quicker and surer.

Nothing depends on it alone: jobs carry their identity and files the hash of their bytes in
their names, so that a machine without a ledger finds them too.  What the ledger says is
verified with the service before it counts.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ftjobs.database import PATIENCE, translated

TABLES = (
    "CREATE TABLE IF NOT EXISTS files (backend TEXT NOT NULL, sha256 TEXT NOT NULL,"
    " file_id TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (backend, sha256))",
    "CREATE TABLE IF NOT EXISTS intents (backend TEXT NOT NULL, identity TEXT NOT NULL,"
    " job_id TEXT, at INTEGER NOT NULL, PRIMARY KEY (backend, identity))",
    "CREATE TABLE IF NOT EXISTS others (backend TEXT NOT NULL, content TEXT NOT NULL,"
    " identity TEXT NOT NULL, PRIMARY KEY (backend, content))",
)


@dataclass(frozen=True, slots=True)
class Intent:
    """A job that was sent, or was about to be; `job_id` is None until its answer was read."""

    job_id: str | None


class Ledger:
    """Files and jobs that were sent from here, by backend.  Safe between processes and threads.

    Args:
        home: the folder that holds `ledger.sqlite` and the locks.
    """

    def __init__(self, home: Path) -> None:
        self.home = home

    def file_of(self, backend: str, sha256: str) -> str | None:
        """The id under which these bytes were sent."""
        found = self._one("SELECT file_id FROM files WHERE backend=? AND sha256=?", backend, sha256)
        return None if found is None else str(found[0])

    def remember_file(self, backend: str, sha256: str, file_id: str) -> None:
        """These bytes are at the service under this id."""
        self._write(
            "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", backend, sha256, file_id, _now()
        )

    def intent(self, backend: str, identity: str) -> Intent | None:
        """What is known of a job's submission; None if nothing was sent from here."""
        sql = "SELECT job_id FROM intents WHERE backend=? AND identity=?"
        found = self._one(sql, backend, identity)
        return None if found is None else Intent(found[0])

    def intend(self, backend: str, identity: str, content: str) -> None:
        """A job is about to be sent.  On disk when this returns.

        `content` is the identity of its content, another one if it is another job of the same.
        """
        if identity != content:
            self._write(
                "INSERT OR REPLACE INTO others VALUES (?, ?, ?)", backend, content, identity
            )
        sql = "INSERT OR REPLACE INTO intents VALUES (?, ?, NULL, ?)"
        self._write(sql, backend, identity, _now())

    def another(self, backend: str, content: str) -> str | None:
        """The identity of another job of this content whose submission came to no end."""
        sql = "SELECT identity FROM others WHERE backend=? AND content=?"
        found = self._one(sql, backend, content)
        return None if found is None else found[0]

    def remember_job(self, backend: str, identity: str, job_id: str) -> None:
        """The job of this identity is this one."""
        sql = "INSERT OR REPLACE INTO intents VALUES (?, ?, ?, ?)"
        self._write(sql, backend, identity, job_id, _now())

    def settle(self, backend: str, identity: str, job_id: str) -> None:
        """The submission has come to its end: with this job."""
        self.remember_job(backend, identity, job_id)
        self._write("DELETE FROM others WHERE backend=? AND identity=?", backend, identity)

    def forget(self, backend: str, identity: str) -> None:
        """Nothing was sent after all."""
        self._write("DELETE FROM intents WHERE backend=? AND identity=?", backend, identity)
        self._write("DELETE FROM others WHERE backend=? AND identity=?", backend, identity)

    @contextmanager
    def alone(self, identity: str, say: Callable[[str], None]) -> Iterator[None]:
        """Keep every other process of this machine from submitting the same at the same time.

        `say` is told when there is a wait.  The lock of a process that has died is free at once.
        """
        from filelock import FileLock, Timeout

        with self._translated():
            folder = self.home / "locks"
            folder.mkdir(parents=True, exist_ok=True)
            # One file for each first byte, so that they do not become many: now and then two
            # different jobs wait for each other.
            lock = FileLock(folder / f"submit-{identity[:2]}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                say("another process submits this job, or one of its kin: waiting for it")
                lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _one(self, sql: str, *values: str) -> tuple[str | None, ...] | None:
        with self._db() as db:
            found: tuple[str | None, ...] | None = db.execute(sql, values).fetchone()
            return found

    def _write(self, sql: str, *values: str | int) -> None:
        with self._db() as db:
            db.execute(sql, values)

    @contextmanager
    def _db(self) -> Iterator[sqlite3.Connection]:
        """One short transaction, on disk when it ends."""
        with self._translated():
            self.home.mkdir(parents=True, exist_ok=True)
            path = self.home / "ledger.sqlite"
            with closing(sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)) as db:
                # No write-ahead log: to begin one, SQLite wants the file alone and waits for
                # nobody, so that two first runs at once would fail.
                db.execute("PRAGMA synchronous = EXTRA")
                db.execute("BEGIN IMMEDIATE")
                for table in TABLES:
                    db.execute(table)
                yield db
                db.execute("COMMIT")

    def _translated(self) -> AbstractContextManager[None]:
        path = self.home / "ledger.sqlite"
        way_out = f"Delete {path}: it is only a memory, the service knows its jobs."
        return translated(path, if_damaged=way_out)


def _now() -> int:
    return int(time.time())
