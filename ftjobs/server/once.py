"""Idempotency-Key: however often a request is sent under one key, it is carried out once.

Before anything is done, the key and a hash of the request are on disk; afterwards its answer is.
Whoever sends it again gets this answer, for `KEPT` seconds and over restarts.  Where nobody knows
what came of it, because the server died or a service behind it gave no answer, `recover` looks for
what was done.  Of the requests of one key that come at the same time, `WAITING` wait for the first.
(Practice of Stripe; draft-ietf-httpapi-idempotency-key-header.)
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ftjobs.errors import (
    DeadlineError,
    FtjobsError,
    ServiceError,
    StoreError,
    UnreachableError,
)
from ftjobs.server.database import Database
from ftjobs.server.locks import Crowded, Locks
from ftjobs.server.refusals import Refusal

__all__ = ["KEPT", "Once", "digest_of", "may_have_acted"]

KEPT = 7 * 24 * 3600
"""Seconds for which answers are kept."""
LONGEST_KEY = 255
WAITING = 4
"""Requests that may wait for another of their key: each of them keeps a thread."""
_AGAIN = 2.0  # seconds

TABLE = """
CREATE TABLE IF NOT EXISTS requests (
    project TEXT NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL, token TEXT NOT NULL,
    created_at REAL NOT NULL, answer TEXT, PRIMARY KEY (project, key)) WITHOUT ROWID
"""

Answer = dict[str, Any]
Act = Callable[[str], Answer]
Recover = Callable[[str], Answer | None]

log = logging.getLogger("ftjobs.server")


def digest_of(action: str, request: Any) -> str:
    """What tells a request from another; the order of fields does not matter."""
    text = json.dumps([action, request], sort_keys=True, ensure_ascii=False)
    return f"{action}:{hashlib.sha256(text.encode()).hexdigest()}"


def may_have_acted(error: Exception) -> bool:
    """Whether something may have been done before this was raised."""
    if isinstance(error, ServiceError | UnreachableError | DeadlineError):
        return error.acted is not False
    return isinstance(error, StoreError) or not isinstance(error, FtjobsError)


class Once:
    """The requests that were carried out, and those that may have been."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._locks = Locks()
        database.create(TABLE)

    def run(
        self,
        project: str,
        key: str | None,
        digest: str,
        act: Act,
        *,
        recover: Recover | None = None,
    ) -> Answer:
        """The request's answer, from now or from before.

        Args:
            project: whose request it is; others may use the same key.
            key: the client's; None for a request that is not to be recognised.
            digest: of the request (`digest_of`): another one under the same key is refused.
            act: does it; its argument is a token that is the same whenever it is tried.
            recover: finds the answer of what was done under a token; None if nothing was.

        Raises:
            Refusal: 400, the key cannot be one, or was used for another request; 429, too many
                wait for the first of this key.
            StoreError: it cannot be noted: nothing was done, or it is looked for when it is sent
                again.
        """
        if key is None and recover is None:
            return act("")  # nobody can ask for it again, and nothing is to be found
        if key is None:
            return self._run_unknown(project, digest, act)
        with self._alone(project, _checked(key)):
            token, is_new, answer = self._begin(project, key, digest)
            if answer is not None:
                return answer
            if not is_new and recover is not None:
                answer = recover(token)
            if answer is None:
                answer = self._act(project, key, token, act)
            self._end(project, key, answer)
            return answer

    def _run_unknown(self, project: str, digest: str, act: Act) -> Answer:
        own = f"-{secrets.token_hex(16)}"
        with self._locks.held((project, own)):
            token, _, _ = self._begin(project, own, digest)
            answer = self._act(project, own, token, act)
            # It is done: told that it failed, the client would do it twice.  `settle` removes it.
            with suppress(StoreError):
                self._end(project, own, None)
            return answer

    @contextmanager
    def _alone(self, project: str, key: str) -> Iterator[None]:
        try:
            with self._locks.held((project, key), most=1 + WAITING):
                yield
        except Crowded:
            raise Refusal(429, "too many requests wait for the first of this Idempotency-Key",
                          code="idempotency_key_busy", retry_after=_AGAIN) from None  # fmt: skip

    def knows(self, project: str, key: str) -> bool:
        """Whether a request came under this key before."""
        sql = "SELECT 1 FROM requests WHERE project=? AND key=?"
        return bool(self._database.rows(sql, project, key))

    def settle(self, recover: Callable[[str, str, str], Answer | None]) -> None:
        """Learn what came of the requests that were left without an answer.

        Those that are under way are left alone.

        Args:
            recover: of (project, action, token), as in `run`.  Where it raises an FtjobsError, the
                request is left as it is.

        Raises:
            StoreError: it cannot be noted.
        """
        sql = "SELECT project, key, digest, token FROM requests WHERE answer IS NULL"
        for project, key, digest, token in self._database.rows(sql):
            with suppress(Crowded), self._locks.held((project, key), most=1):
                if self._database.rows(f"{sql} AND project=? AND key=?", project, key):
                    self._settle(project, key, digest.partition(":")[0], token, recover)

    def _settle(
        self,
        project: str,
        key: str,
        action: str,
        token: str,
        recover: Callable[[str, str, str], Answer | None],
    ) -> None:
        try:
            answer = recover(project, action, token)
        except FtjobsError as error:
            log.warning("a request of %s is still without an answer: %s", project, error)
            return
        self._end(project, key, None if key.startswith("-") else answer)

    def unanswered(self, action: str) -> set[str]:
        """Tokens of requests that are under way, or of which nobody knows what came of them."""
        sql = "SELECT token FROM requests WHERE answer IS NULL AND digest GLOB ?"
        return {token for (token,) in self._database.rows(sql, f"{action}:*")}

    def clean(self) -> None:
        """Forget what is old."""
        self._database.write("DELETE FROM requests WHERE created_at < ?", time.time() - KEPT)

    # --- one request -------------------------------------------------------------------------

    def _begin(self, project: str, key: str, digest: str) -> tuple[str, bool, Answer | None]:
        """The token, whether it was never tried, and its answer."""
        with self._database.transaction() as db:
            found = db.execute(
                "SELECT digest, token, answer FROM requests WHERE project=? AND key=?",
                (project, key),
            ).fetchone()
            if found is None:
                token = secrets.token_hex(16)
                db.execute(
                    "INSERT INTO requests VALUES (?, ?, ?, ?, ?, NULL)",
                    (project, key, digest, token, time.time()),
                )
                return token, True, None
        if found[0] != digest:
            # Not 409, which SDKs send again.
            raise Refusal(400, "this Idempotency-Key was used for another request",
                          code="idempotency_key_reused", should_retry=False)  # fmt: skip
        return found[1], False, json.loads(found[2]) if found[2] else None

    def _act(self, project: str, key: str, token: str, act: Act) -> Answer:
        try:
            return act(token)
        except Exception as error:
            if not may_have_acted(error):
                self._end(project, key, None)  # it was refused: the next one may be right
            raise

    def _end(self, project: str, key: str, answer: Answer | None) -> None:
        """Note the answer; None: there is nothing to be remembered."""
        if answer is None:
            self._database.write("DELETE FROM requests WHERE project=? AND key=?", project, key)
            return
        sql = "UPDATE requests SET answer=? WHERE project=? AND key=?"
        self._database.write(sql, json.dumps(answer), project, key)


def _checked(key: str) -> str:
    """A client's key.  Those that begin with - are the server's own."""
    if 0 < len(key) <= LONGEST_KEY and key.isprintable() and not key.startswith("-"):
        return key
    raise Refusal(400, f"an Idempotency-Key has 1 to {LONGEST_KEY} printable characters, "
                  "and does not begin with -", code="invalid_idempotency_key")  # fmt: skip
