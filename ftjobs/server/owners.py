"""Which project a file, a job or an upload belongs to.

Two projects that upload the same bytes under one name may get one file of the backend: it then has
two owners, neither sees that, and it goes when the last of them deletes it.
"""

from __future__ import annotations

import time
from typing import Literal

from ftjobs.server.database import Database

Kind = Literal["file", "job"]

TABLE = """
CREATE TABLE IF NOT EXISTS owners (
    kind TEXT NOT NULL, id TEXT NOT NULL, project TEXT NOT NULL, bytes INTEGER NOT NULL,
    created_at INTEGER NOT NULL, PRIMARY KEY (kind, id, project)) WITHOUT ROWID
"""


class Owners:
    """The table of owners."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.create(TABLE)

    def add(self, kind: Kind, id_: str, project: str, *, size: int = 0) -> None:
        """From now on it is the project's too.  `size` is in bytes, for the quota."""
        self._database.write(
            "INSERT OR IGNORE INTO owners VALUES (?, ?, ?, ?, ?)",
            kind, id_, project, size, int(time.time()),
        )  # fmt: skip

    def has(self, kind: Kind, id_: str, project: str) -> bool:
        """Whether it is the project's."""
        sql = "SELECT 1 FROM owners WHERE kind=? AND id=? AND project=?"
        return bool(self._database.rows(sql, kind, id_, project))

    def of(self, kind: Kind, project: str) -> dict[str, int]:
        """Ids of a project's, and when they became its own (Unix seconds)."""
        sql = "SELECT id, created_at FROM owners WHERE kind=? AND project=?"
        return dict(self._database.rows(sql, kind, project))

    def drop(self, kind: Kind, id_: str, project: str) -> bool:
        """It is the project's no longer.  Whether it is anybody's still."""
        with self._database.transaction() as db:
            where = "WHERE kind=? AND id=?"
            db.execute(f"DELETE FROM owners {where} AND project=?", (kind, id_, project))  # noqa: S608
            left = db.execute(f"SELECT 1 FROM owners {where} LIMIT 1", (kind, id_))  # noqa: S608
            return left.fetchone() is not None

    def projects(self, kind: Kind, id_: str) -> list[str]:
        """Whose it is."""
        sql = "SELECT project FROM owners WHERE kind=? AND id=?"
        return [project for (project,) in self._database.rows(sql, kind, id_)]

    def others(self, kind: Kind, id_: str, project: str) -> bool:
        """Whether it is another project's too."""
        return any(each != project for each in self.projects(kind, id_))

    def size(self, project: str) -> int:
        """Bytes of a project's files."""
        sql = "SELECT coalesce(sum(bytes), 0) FROM owners WHERE kind='file' AND project=?"
        return int(self._database.rows(sql, project)[0][0])
