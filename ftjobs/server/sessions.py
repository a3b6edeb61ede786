"""Sessions of browsers: a cookie in place of a key, for twelve hours.

The cookie holds 256 random bits, kept here as a hash.  It stands for the key it was made from: once
that is revoked, it opens nothing.
"""

from __future__ import annotations

import secrets
import time

from ftjobs.server.caller import Caller
from ftjobs.server.database import Database
from ftjobs.server.keys import hashed

__all__ = ["COOKIE", "KEPT", "Sessions"]

COOKIE = "ftjobs_session"
KEPT = 12 * 3600
"""Seconds that a session lasts."""

TABLE = """
CREATE TABLE IF NOT EXISTS sessions (
    hash BLOB PRIMARY KEY, key_id TEXT NOT NULL REFERENCES keys (id), ends_at REAL NOT NULL
) WITHOUT ROWID
"""


class Sessions:
    """The table of sessions."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.create(TABLE)

    def begin(self, key_id: str) -> str:
        """A new session of whoever showed this key: the text of its cookie."""
        text = secrets.token_urlsafe(32)
        now = time.time()
        with self._database.transaction() as db:
            db.execute("DELETE FROM sessions WHERE ends_at < ?", (now,))
            db.execute("INSERT INTO sessions VALUES (?, ?, ?)", (hashed(text), key_id, now + KEPT))
        return text

    def find(self, text: str) -> Caller | None:
        """Whose session it is; None if it is nobody's, over, or its key was revoked."""
        sql = (
            "SELECT project, scope, id FROM sessions JOIN keys ON id = key_id "
            "WHERE sessions.hash=? AND ends_at > ? AND revoked_at IS NULL"
        )
        found = self._database.committed(sql, hashed(text), time.time())
        return Caller(*found[0]) if found else None

    def end(self, text: str) -> None:
        """Let a session open nothing any more."""
        self._database.write("DELETE FROM sessions WHERE hash=?", hashed(text))
