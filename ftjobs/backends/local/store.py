"""The local store: files, jobs, events and checkpoints in SQLite, contents in folders beside it.

::

    $FTJOBS_HOME/
      ftjobs.db                 WAL, synchronous=FULL: what was acknowledged survives a power cut
      files/<file id>           contents, written under a temporary name, then renamed
      jobs/<job id>/            checkpoints, see checkpoints.py
      worker.lock  worker.log   see worker.py
      reserve                   half a megabyte for the last words on a full disk

Every change of a job's status is one transaction here, so the rules of the life cycle stand in
one place.  A worker's writes are fenced: they take effect only while the job is still its own,
so a worker that lost a job (a suspended laptop, a stolen lock) can add nothing to it.  Events
have ids derived from what they report; a worker that repeats a step after a crash repeats no
event.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ftjobs.backends.base import Progress
from ftjobs.database import PATIENCE, begin_log
from ftjobs.errors import FtjobsError, InvalidRequestError, NotFoundError, StoreError
from ftjobs.schema import ENDED, Checkpoint, Event, File, Job, JobError, JobSpec

VERSION: Final = 2
MAX_CRASHES: Final = 5
"""A job whose worker dies this often without one new step has failed: it would die for ever."""

_COPY: Final = ".upload-"
"""Begins the name of a file that is being copied in."""
_ABANDONED: Final = 3600.0
"""Seconds after its last byte at which a copy is nobody's."""

_SCHEMA = """
CREATE TABLE files (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, filename TEXT NOT NULL,
    bytes INTEGER NOT NULL, purpose TEXT NOT NULL, created_at INTEGER NOT NULL,
    sha256 TEXT NOT NULL);
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, created_at INTEGER NOT NULL,
    status TEXT NOT NULL, spec TEXT NOT NULL, recipe TEXT, fine_tuned_model TEXT,
    finished_at INTEGER, estimated_finish INTEGER, error TEXT, result_file TEXT,
    trained_tokens INTEGER, owner TEXT, crashes INTEGER NOT NULL DEFAULT 0,
    last_step INTEGER NOT NULL DEFAULT 0);
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, job_id TEXT NOT NULL,
    created_at INTEGER NOT NULL, level TEXT NOT NULL, type TEXT NOT NULL, message TEXT NOT NULL,
    data TEXT NOT NULL);
CREATE INDEX events_by_job ON events (job_id, seq);
CREATE TABLE checkpoints (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, job_id TEXT NOT NULL,
    created_at INTEGER NOT NULL, name TEXT UNIQUE NOT NULL, step INTEGER NOT NULL,
    metrics TEXT NOT NULL, folder TEXT NOT NULL);
CREATE TABLE worker (
    one INTEGER PRIMARY KEY CHECK (one = 1), owner TEXT NOT NULL, pid INTEGER NOT NULL,
    host TEXT NOT NULL, started_at REAL NOT NULL, heartbeat_at REAL NOT NULL);
"""
_NEWEST = 2**63 - 1  # as a place: no row's number is greater
_UPGRADES = {1: "ALTER TABLE jobs ADD COLUMN best_step INTEGER"}
"""From each version to the next.  A new store takes the same way, so both end alike."""


@dataclass(frozen=True)
class News:
    """An event about to be stored.  `key` names what it reports, once per job."""

    key: str
    message: str
    level: str = "info"
    type: str = "message"
    data: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class WorkerInfo:
    """The worker that last wrote its heartbeat (Unix seconds)."""

    owner: str
    pid: int
    host: str
    started_at: float
    heartbeat_at: float


class LeaseLost(Exception):
    """The job is no longer this worker's: cancelled, paused, or taken over."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


class Store:
    """One folder on disk.  Safe for many threads and processes; each call is one transaction."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._path = home / "ftjobs.db"
        self._reserve = home / "reserve"
        with _translated(home):
            for folder in (home, home / "files", home / "jobs"):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        version = self._version()
        if version < VERSION:
            with self._transaction() as db:
                _upgrade(db)
        if version > VERSION:
            raise StoreError(
                f"{self._path} was written by a newer ftjobs (format {version}, this is {VERSION})",
                hint="Upgrade ftjobs, or set FTJOBS_HOME to another folder.",
            )

    def _version(self) -> int:
        return int(self._rows("PRAGMA user_version")[0][0])

    # --- files ----------------------------------------------------------------------------

    def add_file(
        self,
        path: Path,
        *,
        purpose: str,
        filename: str | None = None,
        progress: Progress | None = None,
    ) -> File:
        """Copy a file in.  The id comes from name, purpose and bytes: the same file once only."""
        filename = os.fsencode(filename or path.name).decode("utf-8", "replace")
        with _translated(self.home):
            temporary, digest, size = self._copy(path, progress)
        try:
            identity = f"{purpose}\0{filename}\0{digest}".encode()
            file_id = f"file-{hashlib.sha256(identity).hexdigest()[:24]}"
            with self._transaction() as db:
                if not self.file_path(file_id).exists():  # else a job may be reading it
                    temporary.replace(self.file_path(file_id))
                    sync_folder(self.home / "files")
                db.execute(
                    "INSERT OR IGNORE INTO files (id, filename, bytes, purpose, created_at, sha256)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    (file_id, filename, size, purpose, int(time.time()), digest),
                )
            return self.file(file_id)
        finally:
            temporary.unlink(missing_ok=True)

    def _copy(self, path: Path, progress: Progress | None) -> tuple[Path, str, int]:
        digest, done, total = hashlib.sha256(), 0, path.stat().st_size
        handle, name = tempfile.mkstemp(dir=self.home / "files", prefix=_COPY)
        try:
            with os.fdopen(handle, "wb") as target, path.open("rb") as source:
                while block := source.read(1 << 20):
                    target.write(block)
                    digest.update(block)
                    done += len(block)
                    if progress:
                        progress(done, max(total, done))
                target.flush()
                os.fsync(target.fileno())
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return Path(name), digest.hexdigest(), done

    def sweep(self) -> None:
        """Remove bytes of no file: whoever copied them in, or deleted it, was killed."""
        folder = self.home / "files"
        with _translated(self.home):
            for path in folder.glob(f"{_COPY}*"):
                with contextlib.suppress(FileNotFoundError):  # it became one just now
                    if path.stat().st_mtime < time.time() - _ABANDONED:
                        path.unlink()
        with self._transaction() as db:  # so that none is between its bytes and its row
            known = {row["id"] for row in db.execute("SELECT id FROM files")}
            for path in folder.glob("file-*"):
                if path.name not in known:
                    path.unlink()

    def file_path(self, file_id: str) -> Path:
        """Where a file's bytes are.  Only for ids that the store itself has given out."""
        return self.home / "files" / file_id

    def file(self, file_id: str) -> File:
        """One file's record.  NotFoundError if there is none."""
        rows = self._rows("SELECT * FROM files WHERE id = ?", file_id)
        if not rows:
            raise NotFoundError(
                f"no file {file_id!r} in {self.home}", hint="See: ftjobs files list"
            )
        return _file(rows[0])

    def files(self) -> list[File]:
        """Every file, newest first."""
        return [_file(row) for row in self._rows("SELECT * FROM files ORDER BY seq DESC")]

    def delete_file(self, file_id: str) -> None:
        """Delete a file that no unfinished job needs."""
        self.file(file_id)
        with self._transaction() as db:
            for row in db.execute("SELECT * FROM jobs WHERE finished_at IS NULL"):
                spec = json.loads(row["spec"])
                if file_id in (spec["training_file"], spec["validation_file"]):
                    raise InvalidRequestError(
                        f"{file_id} is needed by job {row['id']}, which is {row['status']}",
                        hint=f"Cancel it first: ftjobs jobs cancel {row['id']}",
                    )
            db.execute("DELETE FROM files WHERE id = ?", (file_id,))
        # Only now: were the row to stay, it would be of a file without bytes.  In a transaction,
        # since the same file may be coming again.
        with self._transaction() as db:
            if not db.execute("SELECT 1 FROM files WHERE id = ?", (file_id,)).fetchone():
                self.file_path(file_id).unlink(missing_ok=True)

    # --- jobs, as their owner sees them ------------------------------------------------------

    def create_job(
        self, spec: JobSpec, *, news: Sequence[News], error: JobError | None = None
    ) -> Job:
        """Record a job with its first events, queued; or failed, if its files did not pass."""
        job_id = f"ftjob-{secrets.token_hex(12)}"
        with self._transaction() as db:
            db.execute(
                "INSERT INTO jobs (id, created_at, status, spec) VALUES (?, ?, 'queued', ?)",
                (job_id, int(time.time()), spec.model_dump_json()),
            )
            created = News("created", f"Created fine-tuning job: {job_id}")
            _insert_events(db, job_id, [created, *news])
            if error:
                _finish(db, job_id, "failed", error=error)
        return self.job(job_id)

    def job(self, job_id: str) -> Job:
        """A job's present state.  NotFoundError if there is none."""
        return _job(self._job_row(job_id))

    def jobs(self, metadata: Mapping[str, str] | None = None) -> list[Job]:
        """Every job, newest first; with `metadata`, those that carry all of its pairs."""
        jobs = [_job(row) for row in self._rows("SELECT * FROM jobs ORDER BY seq DESC")]
        wanted = (metadata or {}).items()
        return [job for job in jobs if all(job.metadata.get(k) == v for k, v in wanted)]

    def spec(self, job_id: str) -> JobSpec:
        """What was asked for."""
        return JobSpec.model_validate_json(self._job_row(job_id)["spec"])

    def recipe(self, job_id: str) -> dict[str, Any] | None:
        """What the first worker resolved it to; None before that."""
        recipe = self._job_row(job_id)["recipe"]
        return json.loads(recipe) if recipe else None

    def cancel(self, job_id: str) -> Job:
        """End a job now.  A worker that runs it notices before its next step."""
        self._job_row(job_id)
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE jobs SET status = 'cancelled', finished_at = ?, owner = NULL,"
                " estimated_finish = NULL WHERE id = ? AND finished_at IS NULL",
                (int(time.time()), job_id),
            ).rowcount
            if changed:
                _insert_events(db, job_id, [News("cancelled", "The job has been cancelled")])
        return self.job(job_id)

    def pause(self, job_id: str) -> Job:
        """Ask for a pause; a job that no worker runs is paused at once."""
        with self._transaction() as db:
            row = _must_be_open(db, job_id, "paused")
            if row["status"] == "queued":
                _pause(db, job_id)
            elif row["status"] == "running":
                db.execute("UPDATE jobs SET status = 'pausing' WHERE id = ?", (job_id,))
        return self.job(job_id)

    def resume(self, job_id: str) -> Job:
        """Let a paused job go on; a pause that no worker has honoured yet is taken back."""
        with self._transaction() as db:
            row = _must_be_open(db, job_id, "resumed")
            if row["status"] == "paused":
                _insert_events(db, job_id, [_numbered(db, job_id, "resumed", "Job resumed")])
                db.execute("UPDATE jobs SET status = 'queued', crashes = 0 WHERE id = ?", (job_id,))
            elif row["status"] == "pausing":
                db.execute("UPDATE jobs SET status = 'running' WHERE id = ?", (job_id,))
        return self.job(job_id)

    def events(self, job_id: str, after: str | None = None) -> list[Event]:
        """Events oldest first, strictly after `after`."""
        self._job_row(job_id)
        place = 0 if after is None else self._place(job_id, after)
        if place is None:
            raise NotFoundError(f"job {job_id} has no event {after!r}")
        newer = "SELECT * FROM events WHERE job_id = ? AND seq > ? ORDER BY seq"
        return [_event(row) for row in self._rows(newer, job_id, place)]

    def rewind(self, job_id: str, start: str | None = None) -> Iterator[Event]:
        """Events newest first, from `start` on and with it, read as they are taken."""
        self._job_row(job_id)
        place = _NEWEST if start is None else self._place(job_id, start)
        some = "SELECT * FROM events WHERE job_id = ? AND seq <= ? ORDER BY seq DESC LIMIT 102"
        while place is not None and (rows := self._rows(some, job_id, place)):
            yield from map(_event, rows)
            place = rows[-1]["seq"] - 1

    def _place(self, job_id: str, event_id: str) -> int | None:
        found = self._rows("SELECT seq FROM events WHERE id = ? AND job_id = ?", event_id, job_id)
        return found[0]["seq"] if found else None

    def checkpoints(self, job_id: str) -> list[Checkpoint]:
        """Checkpoints still kept, oldest first."""
        self._job_row(job_id)
        rows = self._rows("SELECT * FROM checkpoints WHERE job_id = ? ORDER BY step", job_id)
        return [_checkpoint(row) for row in rows]

    # --- models ------------------------------------------------------------------------------

    def tuned_models(self) -> list[tuple[str, Job]]:
        """Names of fine-tuned models and checkpoints with their jobs, newest job first."""
        found = []
        for job in self.jobs():
            if job.fine_tuned_model:
                found.append((job.fine_tuned_model, job))
            found += [(c.fine_tuned_model_checkpoint, job) for c in self.checkpoints(job.id)]
        return found

    def adapter(self, model: str) -> tuple[Path, Job]:
        """The adapter's folder and the job that made it.  NotFoundError if there is none."""
        rows = self._rows("SELECT * FROM checkpoints WHERE name = ?", model) or self._rows(
            "SELECT c.* FROM checkpoints c JOIN jobs j ON j.id = c.job_id"
            " WHERE j.fine_tuned_model = ?"
            " ORDER BY c.step IS j.best_step DESC, c.step DESC LIMIT 1",
            model,
        )
        if not rows:
            raise NotFoundError(
                f"no model {model!r} in {self.home}", hint="See: ftjobs models list"
            )
        folder = self.job_folder(rows[0]["job_id"]) / rows[0]["folder"]
        return folder, self.job(rows[0]["job_id"])

    def delete_model(self, model: str) -> None:
        """Delete a fine-tuned model with all its checkpoints, or one checkpoint by its name."""
        folder, job = self.adapter(model)
        if not job.ended:
            raise InvalidRequestError(f"{model} belongs to job {job.id}, which is {job.status}")
        whole = model == job.fine_tuned_model
        if job.fine_tuned_model and not whole and self.adapter(job.fine_tuned_model)[0] == folder:
            raise InvalidRequestError(
                f"{model} is what {job.fine_tuned_model} stands for",
                hint=f"Delete the whole model: ftjobs models delete {job.fine_tuned_model}",
            )
        with self._transaction() as db:
            rows = db.execute(
                "DELETE FROM checkpoints WHERE job_id = ? AND (? OR name = ?) RETURNING folder",
                (job.id, whole, model),
            ).fetchall()
            db.execute(
                "UPDATE jobs SET fine_tuned_model = NULL WHERE id = ?1"
                " AND NOT EXISTS (SELECT 1 FROM checkpoints WHERE job_id = ?1)",
                (job.id,),
            )
        for row in rows:
            shutil.rmtree(self.job_folder(job.id) / row["folder"], ignore_errors=True)

    def job_folder(self, job_id: str) -> Path:
        """Where a job's checkpoints are."""
        return self.home / "jobs" / job_id

    # --- jobs, as their worker sees them -----------------------------------------------------

    def claim(self, owner: str) -> str | None:
        """Take the next job: one that a dead worker left behind, else the oldest queued one.

        Call only while holding the store's worker lock: it proves that the previous owner is
        gone, so that its lease need not run out first.
        """
        with self._transaction() as db:
            self._settle_orphans(db, owner)
            row = db.execute(
                "SELECT * FROM jobs WHERE status IN ('running', 'queued')"
                " ORDER BY status = 'queued', seq LIMIT 1"
            ).fetchone()
            if row is None:
                return None
            db.execute(
                "UPDATE jobs SET status = 'running', owner = ? WHERE id = ?", (owner, row["id"])
            )
            _insert_events(db, row["id"], [News("started", "Fine-tuning job started")])
            if row["status"] == "running":
                message = "The worker stopped; another one has taken over"
                news = _numbered(db, row["id"], "taken-over", message, level="warn")
                _insert_events(db, row["id"], [news])
            return str(row["id"])

    def _settle_orphans(self, db: sqlite3.Connection, owner: str) -> None:
        """Finish what a dead worker was asked to do, and stop what only ever kills its worker."""
        orphans = db.execute(
            "SELECT * FROM jobs WHERE status IN ('running', 'pausing') AND owner IS NOT ?",
            (owner,),
        ).fetchall()
        for row in orphans:
            if row["status"] == "pausing":
                _pause(db, row["id"])
            elif row["crashes"] + 1 >= MAX_CRASHES:
                error = JobError(
                    code="worker_crashed",
                    message=f"The worker died {MAX_CRASHES} times without getting further. "
                    f"The usual cause is too little memory; {self.home / 'worker.log'} has more.",
                )
                _finish(db, row["id"], "failed", error=error)
            else:
                db.execute("UPDATE jobs SET crashes = crashes + 1 WHERE id = ?", (row["id"],))

    def heartbeat(self, info: WorkerInfo) -> None:
        """Say that the worker lives."""
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO worker VALUES (1, ?, ?, ?, ?, ?)",
                (info.owner, info.pid, info.host, info.started_at, info.heartbeat_at),
            )

    def worker(self) -> WorkerInfo | None:
        """The worker that wrote last; it may be gone."""
        rows = self._rows("SELECT owner, pid, host, started_at, heartbeat_at FROM worker")
        return WorkerInfo(**dict(rows[0])) if rows else None

    def waiting(self) -> bool:
        """True if any job needs a worker."""
        query = "SELECT 1 FROM jobs WHERE status IN ('queued', 'running', 'pausing') LIMIT 1"
        return bool(self._rows(query))

    def set_recipe(self, job_id: str, owner: str, recipe: Mapping[str, Any]) -> None:
        """Fix what the job resolved to, so that every later worker trains the very same way."""
        with self._owned(job_id, owner) as db:
            db.execute("UPDATE jobs SET recipe = ? WHERE id = ?", (json.dumps(recipe), job_id))

    def record(
        self,
        job_id: str,
        owner: str,
        news: Sequence[News],
        *,
        step: int | None = None,
        estimated_finish: int | None = None,
    ) -> str:
        """Store events, and the step they belong to.  Returns the status: "pausing" is a request.

        Raises:
            LeaseLost: the job is not this worker's any more; nothing was stored.
        """
        with self._owned(job_id, owner) as db:
            status = db.execute("SELECT status FROM jobs WHERE id = ?", (job_id,)).fetchone()[0]
            _insert_events(db, job_id, news)
            if step is not None:
                db.execute(
                    "UPDATE jobs SET crashes = CASE WHEN ?1 > last_step THEN 0 ELSE crashes END,"
                    " last_step = MAX(last_step, ?1), estimated_finish = ?2 WHERE id = ?3",
                    (step, estimated_finish, job_id),
                )
            return str(status)

    def add_checkpoint(
        self, owner: str, checkpoint: Checkpoint, folder: str, *, keep: int, best: int | None = None
    ) -> list[str]:
        """Publish a checkpoint with its event.  Returns the folders that may now be removed.

        The newest `keep` stay, and that of step `best`.
        """
        job_id, step = checkpoint.fine_tuning_job_id, checkpoint.step_number
        name = checkpoint.fine_tuned_model_checkpoint
        with self._owned(job_id, owner) as db:
            db.execute(
                "INSERT OR IGNORE INTO checkpoints"
                " (id, job_id, created_at, name, step, metrics, folder)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    checkpoint.id,
                    job_id,
                    checkpoint.created_at,
                    name,
                    step,
                    checkpoint.metrics.model_dump_json(exclude_none=True),
                    folder,
                ),
            )
            message = f"Checkpoint created at step {step} with Snapshot ID: {name}"
            _insert_events(db, job_id, [News(f"checkpoint:{step}", message)])
            old = db.execute(
                "SELECT * FROM"
                " (SELECT * FROM checkpoints WHERE job_id = ? ORDER BY step DESC LIMIT -1 OFFSET ?)"
                " WHERE step IS NOT ?",
                (job_id, keep, best),
            ).fetchall()
            db.executemany("DELETE FROM checkpoints WHERE id = ?", [(row["id"],) for row in old])
        return [row["folder"] for row in old]

    def finish(
        self,
        job_id: str,
        owner: str,
        status: str,
        *,
        news: Sequence[News] = (),
        error: JobError | None = None,
        fine_tuned_model: str | None = None,
        result_file: str | None = None,
        trained_tokens: int | None = None,
        best_step: int | None = None,
    ) -> None:
        """End the job, or set it "paused".

        The fine-tuned model is the checkpoint of `best_step`, else the newest.

        Raises:
            LeaseLost: it is not this worker's any more.
        """
        with self._owned(job_id, owner) as db:
            _insert_events(db, job_id, news)
            if status == "paused":
                _pause(db, job_id)
                return
            db.execute(
                "UPDATE jobs SET fine_tuned_model = ?, result_file = ?, trained_tokens = ?,"
                " best_step = ? WHERE id = ?",
                (fine_tuned_model, result_file, trained_tokens, best_step, job_id),
            )
            _finish(db, job_id, status, error=error)

    def pause_now(self, job_id: str, owner: str) -> bool:
        """Grant a pause that was asked for.  False if it has been taken back: go on."""
        with self._owned(job_id, owner) as db:
            query = "SELECT 1 FROM jobs WHERE id = ? AND status = 'pausing'"
            if db.execute(query, (job_id,)).fetchone() is None:
                return False
            _pause(db, job_id)
            return True

    def release(self, job_id: str, owner: str) -> None:
        """Hand an unfinished job back; the next worker goes on with it."""
        with self._owned(job_id, owner) as db:
            message = "The worker was asked to stop; the job goes on with the next one"
            _insert_events(db, job_id, [_numbered(db, job_id, "released", message)])
            db.execute(
                "UPDATE jobs SET"
                " status = CASE status WHEN 'pausing' THEN 'paused' ELSE 'queued' END,"
                " owner = NULL, estimated_finish = NULL WHERE id = ?",
                (job_id,),
            )

    def keep_reserve(self) -> None:
        """Hold some space back, so that a full disk can still be written down as such."""
        with contextlib.suppress(OSError):
            if not self._reserve.exists():
                self._reserve.write_bytes(bytes(1 << 19))

    def spend_reserve(self) -> None:
        """Give that space free."""
        self._reserve.unlink(missing_ok=True)

    # --- plumbing ----------------------------------------------------------------------------

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with _translated(self.home):
            db = sqlite3.connect(self._path, timeout=PATIENCE, isolation_level=None)
            try:
                db.row_factory = sqlite3.Row
                begin_log(db)
                db.execute("PRAGMA synchronous = FULL")
                db.execute("BEGIN IMMEDIATE")
                try:
                    yield db
                except BaseException:
                    with contextlib.suppress(sqlite3.Error):  # a full disk has rolled back already
                        db.execute("ROLLBACK")
                    raise
                db.execute("COMMIT")
            finally:
                db.close()

    @contextlib.contextmanager
    def _owned(self, job_id: str, owner: str) -> Iterator[sqlite3.Connection]:
        with self._transaction() as db:
            row = db.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
            if row is None or row["owner"] != owner or row["status"] not in ("running", "pausing"):
                raise LeaseLost(row["status"] if row else "deleted")
            yield db

    def _rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with _translated(self.home):
            db = sqlite3.connect(self._path, timeout=PATIENCE, isolation_level=None)
            try:
                db.row_factory = sqlite3.Row
                return db.execute(query, values).fetchall()
            except UnicodeEncodeError:  # an id that no store has given out
                return []
            finally:
                db.close()

    def _job_row(self, job_id: str) -> sqlite3.Row:
        rows = self._rows("SELECT * FROM jobs WHERE id = ?", job_id)
        if not rows:
            raise NotFoundError(
                f"no job {job_id!r} in {self.home}",
                hint="See: ftjobs jobs list; the job of a service needs --backend NAME.",
            )
        return rows[0]


def _upgrade(db: sqlite3.Connection) -> None:
    """Make the tables, or bring those of an older ftjobs up to date."""
    version = db.execute("PRAGMA user_version").fetchone()[0]  # another process may be faster
    if version == 0:
        for statement in _SCHEMA.split(";\n"):
            db.execute(statement)
        version = 1
    for step in range(version, VERSION):
        db.execute(_UPGRADES[step])
    if version < VERSION:
        db.execute(f"PRAGMA user_version = {VERSION}")


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def disk_is_full(error: BaseException | None) -> bool:
    """True if `error`, or what caused it, says that no space is left."""
    while error is not None:
        if isinstance(error, DiskFull) or _says_full(error):
            return True
        error = error.__cause__
    return False


class DiskFull(StoreError):
    """No space is left where the store is."""


@contextlib.contextmanager
def _translated(home: Path) -> Iterator[None]:
    """Turn the failures of disk and database into StoreError."""
    try:
        yield
    except FtjobsError:
        raise
    except (sqlite3.Error, OSError) as error:
        # SQLite calls it an I/O error when it cannot grow its index of the write-ahead log.
        vague = getattr(error, "sqlite_errorname", "").startswith("SQLITE_IOERR")
        if _says_full(error) or (vague and shutil.disk_usage(home).free < 1 << 20):
            raise DiskFull(
                f"the disk is full: {home} cannot be written",
                hint="Nothing that was acknowledged is lost. Free some space and try again.",
            ) from error
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise StoreError(
            f"the local store {home} cannot be used: {reason}",
            hint="FTJOBS_HOME chooses another folder.",
        ) from error


def _says_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    text = str(error).lower()  # SQLite and safetensors
    return "disk is full" in text or "no space left" in text


def _must_be_open(db: sqlite3.Connection, job_id: str, verb: str) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
    if row is None:
        raise NotFoundError(f"no job {job_id!r}", hint="See: ftjobs jobs list")
    if row["status"] in ENDED:
        raise InvalidRequestError(f"job {job_id} is {row['status']} and cannot be {verb}")
    return row


def _insert_events(db: sqlite3.Connection, job_id: str, news: Sequence[News]) -> None:
    now = int(time.time())
    db.executemany(
        "INSERT OR IGNORE INTO events (id, job_id, created_at, level, type, message, data)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (
                f"ftevent-{hashlib.sha256(f'{job_id} {item.key}'.encode()).hexdigest()[:24]}",
                job_id,
                now,
                item.level,
                item.type,
                item.message,
                json.dumps(item.data or {}),
            )
            for item in news
        ],
    )


def _numbered(
    db: sqlite3.Connection, job_id: str, key: str, message: str, *, level: str = "info"
) -> News:
    """An event that may happen several times in a job."""
    count = db.execute("SELECT COUNT(*) FROM events WHERE job_id = ?", (job_id,)).fetchone()[0]
    return News(f"{key}:{count}", message, level=level)


def _pause(db: sqlite3.Connection, job_id: str) -> None:
    _insert_events(db, job_id, [_numbered(db, job_id, "paused", "Job paused")])
    db.execute(
        "UPDATE jobs SET status = 'paused', owner = NULL, estimated_finish = NULL WHERE id = ?",
        (job_id,),
    )


def _finish(db: sqlite3.Connection, job_id: str, status: str, *, error: JobError | None) -> None:
    db.execute(
        "UPDATE jobs SET status = ?, finished_at = ?, error = ?, owner = NULL,"
        " estimated_finish = NULL WHERE id = ?",
        (status, int(time.time()), error.model_dump_json() if error else None, job_id),
    )
    if error:
        data = {"error_code": error.code, "error_param": error.param}
        news = News("failed", error.message or "", level="error", data=data)
        _insert_events(db, job_id, [news])
    elif status == "succeeded":
        _insert_events(db, job_id, [News("done", "The job has successfully completed")])


def _file(row: sqlite3.Row) -> File:
    return File(**{key: value for key, value in dict(row).items() if key != "seq"})


def _job(row: sqlite3.Row) -> Job:
    spec = JobSpec.model_validate_json(row["spec"])
    recipe = json.loads(row["recipe"]) if row["recipe"] else {}
    asked = spec.hyperparameters
    settings: dict[str, Any] = {
        "n_epochs": asked.n_epochs or "auto",
        "batch_size": asked.batch_size or "auto",
        "learning_rate_multiplier": asked.learning_rate_multiplier or "auto",
        **asked.given(),
        **recipe.get("hyperparameters", {}),
    }
    return Job(
        id=row["id"],
        created_at=row["created_at"],
        status=row["status"],
        model=spec.model,
        training_file=spec.training_file,
        validation_file=spec.validation_file,
        fine_tuned_model=row["fine_tuned_model"],
        finished_at=row["finished_at"],
        estimated_finish=row["estimated_finish"],
        error=json.loads(row["error"]) if row["error"] else None,
        hyperparameters=settings,
        method={"type": spec.method, spec.method: {"hyperparameters": settings}},
        metadata=spec.metadata,
        organization_id="local",
        result_files=(row["result_file"],) if row["result_file"] else (),
        seed=recipe.get("seed", spec.seed),
        suffix=spec.suffix,
        trained_tokens=row["trained_tokens"],
        integrations=spec.integrations,
    )


def _event(row: sqlite3.Row) -> Event:
    return Event(
        id=row["id"],
        created_at=row["created_at"],
        level=row["level"],
        type=row["type"],
        message=row["message"],
        data=json.loads(row["data"]),
    )


def _checkpoint(row: sqlite3.Row) -> Checkpoint:
    return Checkpoint(
        id=row["id"],
        created_at=row["created_at"],
        fine_tuned_model_checkpoint=row["name"],
        fine_tuning_job_id=row["job_id"],
        step_number=row["step"],
        metrics=json.loads(row["metrics"]),
    )
