"""Idempotency-Key: however often a request is sent under one key, it is carried out once.

Before anything is done, the key and a hash of the request are on disk; afterwards its answer is.
Whoever sends it again gets this answer, for `KEPT` seconds and over restarts.  Where the server
died between the two, `recover` looks for what was done.  Requests of one key that come at the
same time wait for the first.
(Practice of Stripe; draft-ietf-httpapi-idempotency-key-header.)
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ftjobs.server.database import Database
from ftjobs.server.refusals import Refusal

__all__ = ["KEPT", "Once"]

KEPT = 7 * 24 * 3600
"""Seconds for which answers are kept."""
LONGEST_KEY = 255

TABLE = """
CREATE TABLE IF NOT EXISTS requests (
    project TEXT NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL, token TEXT NOT NULL,
    created_at REAL NOT NULL, answer TEXT, PRIMARY KEY (project, key)) WITHOUT ROWID
"""

Answer = dict[str, Any]


class Once:
    """The requests that were carried out, and those that may have been."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._busy: dict[tuple[str, str], _Turn] = {}
        database.create(TABLE)

    def run(
        self,
        project: str,
        key: str | None,
        digest: str,
        act: Callable[[str], Answer],
        *,
        recover: Callable[[str, float], Answer | None] = lambda _token, _since: None,
    ) -> Answer:
        """The request's answer, from now or from before.

        Args:
            project: whose request it is; others may use the same key.
            key: the client's; None for a request that is not to be recognised.
            digest: of the request: another one under the same key is refused.
            act: does it; its argument is a token that is the same whenever it is tried.
            recover: finds the answer of what was done under a token, since a time; None if
                nothing was.

        Raises:
            Refusal: the key is too long, or was used for another request.
        """
        if key is None:
            key = f"-{secrets.token_hex(16)}"  # a crash in the midst is found all the same
        elif not 0 < len(key) <= LONGEST_KEY or not key.isprintable() or key.startswith("-"):
            raise Refusal(400, f"an Idempotency-Key has 1 to {LONGEST_KEY} printable characters, "
                          "and does not begin with -", code="invalid_idempotency_key")  # fmt: skip
        with self._turn(project, key):
            token, since, answer = self._begin(project, key, digest)
            if answer is None:
                answer = recover(token, since) if since else None
            if answer is None:
                try:
                    answer = act(token)
                except Exception:
                    self._forget(project, key)  # it was refused: the next one may be right
                    raise
            self._end(project, key, answer)
            return answer

    def unfinished(self) -> list[tuple[str, str, str, float]]:
        """(project, key, token, created_at) of requests of which no answer is known."""
        sql = "SELECT project, key, token, created_at FROM requests WHERE answer IS NULL"
        return [(p, k, t, at) for p, k, t, at in self._database.rows(sql)]

    def end(self, project: str, key: str, answer: Answer | None) -> None:
        """Note the answer of a request that was left unfinished; None: nothing came of it."""
        self._end(project, key, answer) if answer is not None else self._forget(project, key)

    def clean(self) -> None:
        """Forget what is old."""
        sql = "DELETE FROM requests WHERE created_at < ? AND answer IS NOT NULL"
        self._database.write(sql, time.time() - KEPT)

    # --- one request -------------------------------------------------------------------------

    def _begin(self, project: str, key: str, digest: str) -> tuple[str, float, Answer | None]:
        """The token, when it was first tried (0: it was not), and its answer."""
        with self._database.transaction() as db:
            found = db.execute(
                "SELECT digest, token, created_at, answer FROM requests WHERE project=? AND key=?",
                (project, key),
            ).fetchone()
            if found is None:
                token = secrets.token_hex(16)
                db.execute(
                    "INSERT INTO requests VALUES (?, ?, ?, ?, ?, NULL)",
                    (project, key, digest, token, time.time()),
                )
                return token, 0.0, None
        if found[0] != digest:
            # Not 409, which SDKs send again.
            raise Refusal(400, "this Idempotency-Key was used for another request",
                          code="idempotency_key_reused", should_retry=False)  # fmt: skip
        return found[1], found[2], json.loads(found[3]) if found[3] else None

    def _end(self, project: str, key: str, answer: Answer) -> None:
        sql = "UPDATE requests SET answer=? WHERE project=? AND key=?"
        self._database.write(sql, json.dumps(answer), project, key)

    def _forget(self, project: str, key: str) -> None:
        self._database.write("DELETE FROM requests WHERE project=? AND key=?", project, key)

    @contextmanager
    def _turn(self, project: str, key: str) -> Iterator[None]:
        """Alone with this key."""
        with self._lock:
            turn = self._busy.setdefault((project, key), _Turn())
            turn.waiting += 1
        try:
            with turn.lock:
                yield
        finally:
            with self._lock:
                turn.waiting -= 1
                if not turn.waiting:
                    self._busy.pop((project, key))


class _Turn:
    def __init__(self) -> None:
        self.lock, self.waiting = threading.Lock(), 0
