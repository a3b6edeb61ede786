"""Answers that were paid for, so that no run pays for them again: `$FTJOBS_HOME/answers.sqlite`."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from pydantic import ValidationError

from ftjobs.backends.base import Hosted, Stamps
from ftjobs.database import PATIENCE, begin_log, translated
from ftjobs.evals.arms import Question
from ftjobs.evals.result import Answer

__all__ = ["KEPT", "AnswerCache", "key_of"]

KEPT = 30 * 86_400
"""Seconds for which an answer is good: a name at a service may come to mean another model."""

MANY = 500  # values in one statement; SQLite takes a few thousand


class AnswerCache:
    """Answers by what was asked.  Safe between threads and processes.

    An answer is on the disk when `put` returns, whatever becomes of this process; a power cut may
    take the last of them.

    Args:
        path: the SQLite file; made with its folder when first used.
        now: Unix seconds.

    Every method raises StoreError if the file cannot be used.
    """

    def __init__(self, path: Path, *, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._now = now
        self._lock = threading.Lock()
        with self._translated():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                path, timeout=PATIENCE, isolation_level=None, check_same_thread=False
            )
            begin_log(self._db)
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS answers"
                " (key TEXT PRIMARY KEY, answer TEXT NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID"
            )
            self._db.execute("DELETE FROM answers WHERE at < ?", (int(now() - KEPT),))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def known(self, keys: Iterable[str]) -> tuple[Mapping[str, Answer], float | None]:
        """The answers that are known of `keys`, and the age of the oldest in seconds."""
        wanted = list(dict.fromkeys(keys))
        found: dict[str, Answer] = {}
        oldest: int | None = None
        for start in range(0, len(wanted), MANY):
            for key, answer, at in self._select(wanted[start : start + MANY]):
                # One of another version, or of another hand, is asked again.
                with suppress(ValidationError):
                    found[key] = Answer.model_validate_json(answer)
                    oldest = at if oldest is None else min(oldest, at)
        return found, None if oldest is None else max(0.0, self._now() - oldest)

    def put(self, key: str, answer: Answer) -> None:
        """Keep an answer."""
        text = answer.model_dump_json(exclude_defaults=True)
        with self._lock, self._translated():
            self._db.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", (key, text, int(self._now()))
            )

    def _select(self, keys: list[str]) -> list[tuple[str, str, int]]:
        marks = ", ".join("?" * len(keys))
        sql = (
            "SELECT key, answer, at FROM answers"  # noqa: S608 - marks
            f" WHERE typeof(at) = 'integer' AND key IN ({marks})"
        )
        with self._lock, self._translated():
            return self._db.execute(sql, keys).fetchall()

    def _translated(self) -> AbstractContextManager[None]:
        return translated(
            self._path,
            if_damaged=f"Delete {self._path}: answers that were stored there are asked again.",
        )


def key_of(question: Question) -> str:
    """64 hex digits that are the same exactly for the same question to the same model."""
    backend = question.backend
    asked = [
        backend.name,
        # One name may mean several places: a variable fills it in, or each project has its own.
        backend.profile.base_url if isinstance(backend, Hosted) else "",
        question.model,
        backend.stamp(question.model) if isinstance(backend, Stamps) else "",
        [
            m.model_dump(mode="json", exclude_none=True, exclude={"weight"})
            for m in question.messages
        ],
        [dict(tool) for tool in question.tools],
        question.sampling.model_dump(mode="json", exclude_defaults=True, exclude={"n"}),
        question.sample,
    ]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
