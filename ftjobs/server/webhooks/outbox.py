"""What is to be told: on disk from when a job was seen to have ended, until it was told."""

from __future__ import annotations

import json
import random
import secrets
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from ftjobs.schema import Job
from ftjobs.server.database import Database
from ftjobs.server.webhooks.endpoints import Endpoint

__all__ = ["Delivery", "Outbox", "Tally"]

TABLES = (
    """
CREATE TABLE IF NOT EXISTS webhook_jobs (
    id TEXT PRIMARY KEY, open_at REAL, told INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID
""",
    """
CREATE TABLE IF NOT EXISTS deliveries (
    id TEXT PRIMARY KEY, endpoint TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    job TEXT NOT NULL, body TEXT NOT NULL, created_at REAL NOT NULL, tries INTEGER NOT NULL,
    due REAL, state TEXT NOT NULL, failure TEXT, UNIQUE (endpoint, job)) WITHOUT ROWID
""",
    "CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (due) WHERE due IS NOT NULL",
)
RESTS = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0, 28800.0)
"""Seconds from each failure to the next try, about a day in all."""
SHAKEN = 1.25
"""A rest is up to so many times as long, so that what failed together is not sent together."""
LONGEST_REST = 28800.0
"""Seconds: a receiver that asks for a longer one gets this."""
KEPT = 30 * 24 * 3600.0
"""Seconds for which deliveries that have ended are counted."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one endpoint.  `id` is the `webhook-id` of every try; `tries` were made."""

    id: str
    endpoint: str
    url: str
    secret: str
    job: str
    body: bytes
    tries: int


@dataclass(frozen=True, slots=True)
class Tally:
    """How an endpoint fares.  `failure` is why its last try failed; "" if it did not."""

    delivered: int = 0
    waiting: int = 0
    given_up: int = 0
    failure: str = ""


class Outbox:
    """The tables of deliveries, and of the jobs that were looked at."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.create(*TABLES)

    # --- jobs --------------------------------------------------------------------------------

    def jobs(self) -> tuple[dict[str, float], set[str]]:
        """Jobs that have not ended, with when they were last noted so; and those that were told."""
        rows = self._database.rows("SELECT id, open_at, told FROM webhook_jobs")
        return {id_: at for id_, at, told in rows if not told}, {id_ for id_, _, t in rows if t}

    def note_open(self, jobs: Iterable[str], now: float) -> None:
        """These have not ended at `now`."""
        sql = (
            "INSERT INTO webhook_jobs (id, open_at) VALUES (?, ?)"
            " ON CONFLICT (id) DO UPDATE SET open_at=excluded.open_at"
        )
        with self._database.transaction() as db:
            db.executemany(sql, [(job, now) for job in jobs])

    def tell(self, job: Job, endpoints: Iterable[Endpoint]) -> None:
        """A job has ended: one delivery for each of the endpoints, and never another."""
        now = time.time()
        event = {
            "id": f"evt_{secrets.token_hex(16)}",
            "object": "event",
            "created_at": job.finished_at or int(now),
            "type": f"fine_tuning.job.{job.status}",
            "data": {"id": job.id},
        }
        with self._database.transaction() as db:
            db.execute(
                "INSERT INTO webhook_jobs (id, told) VALUES (?, 1)"
                " ON CONFLICT (id) DO UPDATE SET told=1",
                (job.id,),
            )
            # An endpoint that was deleted meanwhile gets nothing.
            db.executemany(
                "INSERT OR IGNORE INTO deliveries"
                " SELECT ?, id, ?, ?, ?, 0, ?, 'waiting', NULL FROM webhooks WHERE id=?",
                [
                    (f"wh_{secrets.token_hex(16)}", job.id, json.dumps(event), now, now, each.id)
                    for each in endpoints
                ],
            )

    # --- deliveries --------------------------------------------------------------------------

    def due(self, *, without: Collection[str]) -> list[Delivery]:
        """For each endpoint but these, the one that has waited longest of those to send now."""
        sql = (
            "SELECT d.id, w.id, w.url, w.secret, d.job, d.body, d.tries, min(d.due)"  # its row's
            " FROM deliveries d JOIN webhooks w ON w.id = d.endpoint WHERE d.due <= ? OR d.due > ?"
            " GROUP BY w.id ORDER BY min(d.due)"
        )
        now = time.time()
        latest = now + SHAKEN * LONGEST_REST  # unless the clock was set back meanwhile
        return [
            Delivery(id_, endpoint, url, secret, job, body.encode(), tries)
            for id_, endpoint, url, secret, job, body, tries, _ in self._database.rows(
                sql, now, latest
            )
            if endpoint not in without
        ]

    def delivered(self, delivery: Delivery) -> None:
        """It was taken."""
        sql = "UPDATE deliveries SET state='delivered', due=NULL, tries=?, failure=NULL WHERE id=?"
        self._database.write(sql, delivery.tries + 1, delivery.id)

    def failed(
        self, delivery: Delivery, reason: str, *, rest: float = 0.0, final: bool = False
    ) -> bool:
        """A try failed.  Whether there will be another, in `rest` seconds or more."""
        again = not final and delivery.tries < len(RESTS)
        due = None
        if again:
            seconds = max(RESTS[delivery.tries], min(rest, LONGEST_REST))
            due = time.time() + seconds * random.uniform(1.0, SHAKEN)  # noqa: S311 - no secret
        sql = "UPDATE deliveries SET state=?, due=?, tries=?, failure=? WHERE id=?"
        state = "waiting" if again else "given up"
        self._database.write(sql, state, due, delivery.tries + 1, reason, delivery.id)
        return again

    def tallies(self) -> Mapping[str, Tally]:
        """How each endpoint that was ever told fares."""
        sql = (
            "SELECT endpoint, sum(state='delivered'), sum(state='waiting'), sum(state='given up'),"
            " (SELECT failure FROM deliveries l WHERE l.endpoint=d.endpoint AND failure IS NOT NULL"
            " ORDER BY l.created_at DESC LIMIT 1) FROM deliveries d GROUP BY endpoint"
        )
        return {
            endpoint: Tally(delivered, waiting, given_up, failure or "")
            for endpoint, delivered, waiting, given_up, failure in self._database.rows(sql)
        }

    def clean(self) -> None:
        """Forget deliveries that ended long ago; that their jobs were told is kept."""
        sql = "DELETE FROM deliveries WHERE due IS NULL AND created_at < ?"
        self._database.write(sql, time.time() - KEPT)
