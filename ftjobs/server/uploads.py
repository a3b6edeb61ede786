"""Uploads in parts, as the server remembers them.  The parts' bytes are in the spool."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ftjobs.server.database import Database

__all__ = ["KEPT", "Upload", "UploadTable"]

KEPT = 7 * 24 * 3600
"""Seconds for which an upload that has ended is remembered."""

TABLES = (
    """
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY, project TEXT NOT NULL, bytes INTEGER NOT NULL, filename TEXT NOT NULL,
    purpose TEXT NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL,
    expires_after INTEGER, status TEXT NOT NULL, file TEXT, part_ids TEXT) WITHOUT ROWID
""",
    """
CREATE TABLE IF NOT EXISTS parts (
    id TEXT PRIMARY KEY, upload_id TEXT NOT NULL REFERENCES uploads (id), bytes INTEGER NOT NULL
) WITHOUT ROWID
""",
)


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload.  Times are Unix seconds; `expires_after` is how many the file will live.

    `status` is pending, completed or cancelled in the table, and expired where its time is over.
    `file` is the file that it became, of the parts `part_ids` in this order.
    """

    id: str
    project: str
    bytes: int
    filename: str
    purpose: str
    created_at: int
    expires_at: int
    expires_after: int | None
    status: str
    file: dict[str, Any] | None = None
    part_ids: tuple[str, ...] = ()


class UploadTable:
    """The tables of uploads and parts.  Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.create(*TABLES)

    def add(self, upload: Upload) -> None:
        """Remember a new one."""
        self._database.write(
            "INSERT INTO uploads VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL)",
            upload.id, upload.project, upload.bytes, upload.filename, upload.purpose,
            upload.created_at, upload.expires_at, upload.expires_after, upload.status,
        )  # fmt: skip

    def find(self, upload_id: str) -> Upload | None:
        """One upload as it is now."""
        rows = self._database.rows("SELECT * FROM uploads WHERE id=?", upload_id)
        if not rows:
            return None
        file, part_ids = (json.loads(text) if text else None for text in rows[0][-2:])
        fields: list[Any] = [*rows[0][:-2], file, tuple(part_ids or ())]
        upload = Upload(*fields)
        is_over = upload.status == "pending" and upload.expires_at <= time.time()
        return replace(upload, status="expired") if is_over else upload

    def add_part(self, upload_id: str, part_id: str, size: int) -> None:
        """A part has arrived; `size` is in bytes."""
        self._database.write("INSERT INTO parts VALUES (?, ?, ?)", part_id, upload_id, size)

    def parts(self, upload_id: str) -> dict[str, int]:
        """The parts that have arrived, with their sizes in bytes."""
        sql = "SELECT id, bytes FROM parts WHERE upload_id=?"
        return dict(self._database.rows(sql, upload_id))

    def end(
        self,
        upload_id: str,
        status: str,
        *,
        file: dict[str, Any] | None = None,
        part_ids: Sequence[str] = (),
    ) -> list[str]:
        """An upload is over.  Its parts, which may be removed now."""
        with self._database.transaction() as db:
            db.execute(
                "UPDATE uploads SET status=?, file=?, part_ids=? WHERE id=?",
                (status, json.dumps(file) if file else None, json.dumps(part_ids), upload_id),
            )
            sql = "DELETE FROM parts WHERE upload_id=? RETURNING id"
            return [part_id for (part_id,) in db.execute(sql, (upload_id,)).fetchall()]

    def pending_bytes(self, project: str) -> int:
        """Bytes that a project's pending uploads have announced."""
        sql = (
            "SELECT coalesce(sum(bytes), 0) FROM uploads"
            " WHERE project=? AND status='pending' AND expires_at > ?"
        )
        return int(self._database.rows(sql, project, time.time())[0][0])

    def overdue(self) -> list[str]:
        """Pending ones whose time is over."""
        sql = "SELECT id FROM uploads WHERE status='pending' AND expires_at <= ?"
        return [upload_id for (upload_id,) in self._database.rows(sql, time.time())]

    def all_parts(self) -> set[str]:
        """Every part of every pending upload."""
        return {part_id for (part_id,) in self._database.rows("SELECT id FROM parts")}

    def clean(self) -> None:
        """Forget the uploads that ended long ago."""
        sql = "DELETE FROM uploads WHERE status != 'pending' AND created_at < ?"
        self._database.write(sql, time.time() - KEPT)
