"""API keys: shown once, hashed at rest, each of one project and with one scope.

A key holds 256 random bits, so a plain SHA-256 of it cannot be reversed or guessed; bcrypt and its
kin are for passwords.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass

from ftjobs.errors import ConfigError, NotFoundError
from ftjobs.server.caller import Caller, Scope
from ftjobs.server.database import Database

__all__ = ["Key", "Keys", "hashed"]

TABLE = """
CREATE TABLE IF NOT EXISTS keys (
    id TEXT PRIMARY KEY, hash BLOB NOT NULL, project TEXT NOT NULL, scope TEXT NOT NULL,
    created_at INTEGER NOT NULL, revoked_at INTEGER) WITHOUT ROWID
"""
_PROJECT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_KEY = re.compile(r"ftj-([0-9a-f]{12})-[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Key:
    """What is kept of a key.  Times are Unix seconds."""

    id: str
    project: str
    scope: Scope
    created_at: int
    revoked_at: int | None


class Keys:
    """The table of keys."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._any = False
        database.create(TABLE)

    def create(self, project: str, scope: Scope) -> tuple[Key, str]:
        """A new key, and its text, which nobody can learn again.

        Raises:
            ConfigError: the project's name cannot be used.
        """
        if not _PROJECT.fullmatch(project):
            raise ConfigError(
                f"{project!r} is no name of a project", hint="Small letters, digits, - and _."
            )
        key = Key(secrets.token_hex(6), project, scope, int(time.time()), None)
        text = f"ftj-{key.id}-{secrets.token_urlsafe(32)}"
        self._database.write(
            "INSERT INTO keys VALUES (?, ?, ?, ?, ?, NULL)",
            key.id, hashed(text), project, scope, key.created_at,
        )  # fmt: skip
        return key, text

    def all(self) -> list[Key]:
        """Every key, oldest first, the revoked ones among them."""
        sql = "SELECT id, project, scope, created_at, revoked_at FROM keys ORDER BY created_at, id"
        return [Key(*row) for row in self._database.rows(sql)]

    def revoke(self, key_id: str) -> None:
        """Let a key open nothing any more.  NotFoundError if there is none."""
        sql = "UPDATE keys SET revoked_at=coalesce(revoked_at, ?) WHERE id=?"
        if not self._database.write(sql, int(time.time()), key_id):
            raise NotFoundError(f"no key {key_id!r}", hint="See: ftjobs serve keys list")

    def any(self) -> bool:
        """Whether a key was ever made: then requests need one, even if all are revoked now."""
        self._any = self._any or bool(self._database.committed("SELECT 1 FROM keys LIMIT 1"))
        return self._any

    def find(self, text: str) -> Caller | None:
        """Whose key this is; None if it is nobody's or revoked.

        It takes as long for a key that is wrong as for one that is not there.
        """
        match = _KEY.fullmatch(text)
        sql = "SELECT hash, project, scope FROM keys WHERE id=? AND revoked_at IS NULL"
        found = self._database.committed(sql, match[1] if match else "")
        kept, project, scope = found[0] if found else (_NOBODY, "", "read")
        if not hmac.compare_digest(kept, hashed(text)) or match is None:
            return None
        return Caller(project=project, scope=scope, key_id=match[1])


def hashed(text: str) -> bytes:
    """What is kept of a secret of 256 random bits."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


_NOBODY = secrets.token_bytes(32)  # the hash of no key
