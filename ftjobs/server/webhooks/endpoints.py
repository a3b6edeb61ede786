"""Who is told: the endpoints of webhooks.

To sign, the server needs a secret as it is, so it cannot be hashed like an API key: it lies in
`server.db`, which its owner alone can read.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ftjobs.backends.profiles import is_loopback
from ftjobs.errors import ConfigError, NotFoundError
from ftjobs.schema import ENDED
from ftjobs.server.database import Database

__all__ = ["Endpoint", "Endpoints"]

TABLE = """
CREATE TABLE IF NOT EXISTS webhooks (
    id TEXT PRIMARY KEY, url TEXT NOT NULL, project TEXT, events TEXT NOT NULL,
    secret TEXT NOT NULL, created_at REAL NOT NULL) WITHOUT ROWID
"""
MOST = 100
LONGEST_URL = 2000  # characters


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A URL that is told of jobs that end.

    `project` is whose jobs; None for everybody's.  `events` are statuses.  `created_at` is in Unix
    seconds: what ended in a second before it is not told.
    """

    id: str
    url: str
    project: str | None
    events: tuple[str, ...]
    secret: str = field(repr=False)
    created_at: float


class Endpoints:
    """The table of endpoints."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.create(TABLE)

    def create(
        self,
        url: str,
        *,
        project: str | None = None,
        events: Sequence[str] = (),
        insecure: bool = False,
    ) -> Endpoint:
        """A new endpoint with a new secret.

        Args:
            url: where to send.
            project: whose jobs to tell of; None for everybody's.
            events: statuses, of succeeded, failed and cancelled; none for all of them.
            insecure: let `url` be http on another machine.

        Raises:
            ConfigError: the URL or an event cannot be used, or there are too many endpoints.
        """
        require_url(url, insecure=insecure)
        if unknown := set(events) - ENDED:
            raise ConfigError(f"no event {unknown.pop()!r}", hint=f"Of {', '.join(sorted(ENDED))}.")
        if len(self.all()) >= MOST:
            raise ConfigError(f"there are {MOST} webhooks already", hint="Delete some.")
        made = Endpoint(
            id=f"we_{secrets.token_hex(8)}",
            url=url,
            project=project,
            events=tuple(sorted(set(events) or ENDED)),
            secret="whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(),
            created_at=time.time(),
        )
        self._database.write(
            "INSERT INTO webhooks VALUES (?, ?, ?, ?, ?, ?)",
            made.id, url, project, " ".join(made.events), made.secret, made.created_at,
        )  # fmt: skip
        return made

    def all(self) -> list[Endpoint]:
        """Every endpoint, oldest first."""
        sql = (
            "SELECT id, url, project, events, secret, created_at FROM webhooks"
            " ORDER BY created_at, id"
        )
        return [
            Endpoint(id_, url, project, tuple(events.split()), secret, created_at)
            for id_, url, project, events, secret, created_at in self._database.rows(sql)
        ]

    def delete(self, endpoint_id: str) -> None:
        """Tell it nothing more, what waits included.  NotFoundError if there is none."""
        if not self._database.write("DELETE FROM webhooks WHERE id=?", endpoint_id):
            raise NotFoundError(f"no webhook {endpoint_id!r}")


def require_url(url: str, *, insecure: bool) -> None:
    """ConfigError unless `url` is https, or http on this machine, or `insecure` allows any http."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not host or parts.scheme not in ("https", "http") or not url.isprintable() or " " in url:
        raise ConfigError("--url: not a URL", hint="Such as https://host.example/webhook.")
    if len(url) > LONGEST_URL:
        raise ConfigError(f"--url: a URL has at most {LONGEST_URL} characters")
    if parts.username is not None or parts.fragment:
        raise ConfigError("--url: with a password or a fragment", hint="Leave it out.")
    if parts.scheme == "http" and not insecure and not is_loopback(host):
        raise ConfigError(
            "--url: not https: whoever is on the way can read which jobs end",
            hint="Give an https URL, or --insecure where the network is your own.",
        )
