"""Which project a file or a job belongs to.

Two projects that upload the same bytes under one name may get one file of the backend: it then has
two owners, neither sees that, and it goes when the last of them deletes it.

Where the backend keeps no metadata, what a client gave its job as identity is remembered here.
"""

from __future__ import annotations

import time
from typing import Literal, NamedTuple

from ftjobs.server.database import Database

__all__ = ["Kind", "Owned", "Owners"]

Kind = Literal["file", "job"]

TABLE = """
CREATE TABLE IF NOT EXISTS owners (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, id TEXT NOT NULL,
    project TEXT NOT NULL, bytes INTEGER NOT NULL, created_at INTEGER NOT NULL,
    expires_at INTEGER, UNIQUE (kind, id, project))
"""
IDENTITIES = """
CREATE TABLE IF NOT EXISTS identities (
    token TEXT PRIMARY KEY, identity TEXT NOT NULL, job TEXT UNIQUE) WITHOUT ROWID
"""


class Owned(NamedTuple):
    """Since when something is a project's, and until when (Unix seconds; None: for ever)."""

    created_at: int
    expires_at: int | None

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and self.expires_at <= time.time()


class Owners:
    """The tables of owners and identities.  Every method may raise StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database
        index = "CREATE INDEX IF NOT EXISTS owners_of ON owners (kind, project)"
        database.create(TABLE, index, IDENTITIES)

    def add(
        self, kind: Kind, id_: str, project: str, *, size: int = 0, life: int | None = None
    ) -> None:
        """From now on it is the project's too.

        `size` is in bytes, for the quota; `life` in seconds, None for ever.  Where it is the
        project's already, it expires at the later time of both.
        """
        now = int(time.time())
        self._database.write(
            "INSERT INTO owners (kind, id, project, bytes, created_at, expires_at)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " bytes=max(bytes, excluded.bytes), expires_at=max(expires_at, excluded.expires_at)",
            kind,
            id_,
            project,
            size,
            now,
            None if life is None else now + life,
        )  # fmt: skip - max of anything and NULL, which is for ever, is NULL

    def ensure(self, kind: Kind, id_: str, project: str) -> None:
        """It is the project's too; nothing is written where it is already."""
        if not self.has(kind, id_, project):
            self.add(kind, id_, project)

    def find(self, kind: Kind, id_: str, project: str) -> Owned | None:
        """Since when it is the project's; None if it is not."""
        sql = "SELECT created_at, expires_at FROM owners WHERE kind=? AND id=? AND project=?"
        found = self._database.rows(sql, kind, id_, project)
        return Owned(*found[0]) if found else None

    def has(self, kind: Kind, id_: str, project: str) -> bool:
        """Whether it is the project's."""
        return self.find(kind, id_, project) is not None

    def of(self, kind: Kind, project: str) -> dict[str, Owned]:
        """What is a project's, by id, the latest first."""
        sql = (
            "SELECT id, created_at, expires_at FROM owners WHERE kind=? AND project=?"
            " ORDER BY seq DESC"
        )
        return {id_: Owned(*times) for id_, *times in self._database.rows(sql, kind, project)}

    def drop(self, kind: Kind, id_: str, project: str | None = None) -> None:
        """It is the project's no longer; without one, nobody's."""
        sql = "DELETE FROM owners WHERE kind=? AND id=? AND project=coalesce(?, project)"
        self._database.write(sql, kind, id_, project)

    def projects(self, kind: Kind, id_: str) -> list[str]:
        """Whose it is, the first owner first."""
        sql = "SELECT project FROM owners WHERE kind=? AND id=? ORDER BY seq"
        return [project for (project,) in self._database.rows(sql, kind, id_)]

    def size(self, project: str) -> int:
        """Bytes of a project's files."""
        sql = "SELECT coalesce(sum(bytes), 0) FROM owners WHERE kind='file' AND project=?"
        return int(self._database.rows(sql, project)[0][0])

    def keep_identity(self, token: str, identity: str) -> None:
        """A job with this identity is about to be created, under a request's token."""
        sql = "INSERT OR REPLACE INTO identities (token, identity) VALUES (?, ?)"
        self._database.write(sql, token, identity)

    def drop_identity(self, token: str) -> None:
        """It was not created."""
        self._database.write("DELETE FROM identities WHERE token=?", token)

    def add_job(self, job_id: str, project: str, token: str) -> None:
        """A job that was created under a request's token is the project's."""
        with self._database.transaction() as db:
            self.add("job", job_id, project)
            db.execute("UPDATE identities SET job=? WHERE token=?", (job_id, token))

    def identity(self, job_id: str) -> str | None:
        """What a client gave its job as identity, where it is remembered here."""
        rows = self._database.rows("SELECT identity FROM identities WHERE job=?", job_id)
        return str(rows[0][0]) if rows else None

    def expired(self) -> list[tuple[str, str]]:
        """(id, project) of the files whose time is over."""
        sql = "SELECT id, project FROM owners WHERE kind='file' AND expires_at <= ?"
        return [(id_, project) for id_, project in self._database.rows(sql, time.time())]
