"""Migrate: what an account holds → a folder from which every job can be run elsewhere.

    done = migrate(backend, Path("leaving"))
    for loss in done.missing: ...

Nothing is fetched twice, however often a run is stopped and begun again: jobs that had ended are
settled, and files of a service never change under their id.  A piece that the service refuses to
give is recorded with its reason, and everything else goes on.  See `ftjobs.jobs.archive`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ftjobs.backends.base import Trainer
from ftjobs.backends.results import plain_csv
from ftjobs.disk import stored_by
from ftjobs.errors import AuthError, BackendError, ConfigError, UnsupportedError
from ftjobs.jobs.archive import (
    Archive,
    FileEntry,
    Gap,
    JobEntry,
    Kept,
    Manifest,
    ModelEntry,
    folder_name,
    json_bytes,
    service_path,
)
from ftjobs.jobs.patience import Patience
from ftjobs.jobs.portable import job_toml
from ftjobs.jobs.watch import PASSING, has_ended
from ftjobs.schema import File, Job

__all__ = ["Loss", "Meter", "Migration", "migrate"]

T = TypeVar("T")

LARGEST_TABLE = 256 * 2**20
"""Bytes of a result file that is decoded; a larger one, which none should be, is kept as sent."""

Meter = Callable[[int, int, str], None]
"""Called with (jobs done, jobs in all, what is being fetched)."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What could not be had of a job.  `final` means that trying again cannot help."""

    job: str
    what: str
    reason: str
    final: bool


@dataclass(frozen=True, slots=True)
class Migration:
    """What a run did, and what the folder now holds.

    `looked_at` are the jobs that were asked for, in the order of the service; `fetched` counts
    the files of the service that this run downloaded, and `fetched_bytes` their bytes.
    """

    folder: Path
    manifest: Manifest
    looked_at: tuple[str, ...]
    fetched: int
    fetched_bytes: int
    missing: tuple[Loss, ...]

    @property
    def complete(self) -> bool:
        """Whether another run could get nothing more of these jobs, as long as none goes on."""
        return all(loss.final for loss in self.missing)


def migrate(
    backend: Trainer,
    folder: Path,
    *,
    only: Collection[str] = (),
    jobs: Sequence[str] = (),
    model: str | None = None,
    progress: Meter = lambda _done, _total, _what: None,
    now: Callable[[], float] = time.time,
) -> Migration:
    """Fetch jobs with all that belongs to them into `folder`; run it again to go on or update.

    Args:
        backend: the account.
        folder: a new folder, or that of an earlier run with this backend.
        only: statuses; jobs in others are left out.
        jobs: ids; all jobs where there is none.
        model: the base model to write into the job files, over those that are there; None
            keeps the original and leaves job files that are there alone.
        progress: told how far it is.
        now: the time, in Unix seconds.

    Raises:
        ConfigError: the folder holds something else, or jobs of another backend.
        AuthError: the key is wrong.
        NotFoundError: one of `jobs` does not exist.
        BackendError: the service does not answer any more; what was fetched is whole.
        FtjobsError: the folder cannot be written, for example because the disk is full.
    """
    with Archive.opened(folder, backend.name) as archive:
        found: list[Job] = []
        for job in map(backend.retrieve, dict.fromkeys(jobs)) if jobs else backend.jobs():
            if not only or job.status in only:
                found.append(job)
                progress(0, len(found), "listing the jobs")
        mover = _Mover(backend, archive, model, progress, now)
        for done, job in enumerate(found):
            mover.place = (done, len(found))
            mover.take(job)
        mover.take_models(found)
        progress(len(found), len(found), "")
    return Migration(
        folder=folder,
        manifest=archive.manifest,
        looked_at=tuple(job.id for job in found),
        fetched=mover.fetched,
        fetched_bytes=mover.fetched_bytes,
        missing=tuple(_losses(archive, found)),
    )


class _Mover:
    """One run: what it fetches, and how it bears what cannot be fetched."""

    def __init__(
        self,
        backend: Trainer,
        archive: Archive,
        model: str | None,
        progress: Meter,
        now: Callable[[], float],
    ) -> None:
        self.fetched = self.fetched_bytes = 0
        self.place = (0, 0)
        self._backend = backend
        self._archive = archive
        self._model = model
        self._progress = progress
        self._now = now
        self._patience = Patience()
        self._asked: set[str] = set()

    def take(self, job: Job) -> None:
        """Bring one job up to date."""
        before = self._archive.jobs.get(job.id)
        if before is not None and before.settled and self._is_whole(before):
            self._write_job_file(job, before)
            return
        self._progress(*self.place, job.id)
        ids = [job.training_file, job.validation_file, *job.result_files]
        for file_id in filter(None, ids):
            self._take_file(file_id, is_result=file_id in job.result_files)
        entry = self._entry(job, before)
        self._archive.jobs[job.id] = entry
        self._write_job_file(job, entry)
        self._archive.save_soon()

    def _is_whole(self, entry: JobEntry) -> bool:
        """Whether another look could get nothing that is not here."""
        archive = self._archive
        return (
            all(map(archive.holds, entry.files.values()))
            and all(gap.final for gap in entry.missing.values())
            and all(map(self._is_done_with, entry.service_files))
        )

    def _is_done_with(self, file_id: str) -> bool:
        entry = self._archive.files.get(file_id, FileEntry())
        return self._archive.holds(entry.kept) or bool(entry.missing and entry.missing.final)

    # --- what a job says of itself ----------------------------------------------------------

    def _entry(self, job: Job, before: JobEntry | None) -> JobEntry:
        """The job's own files, and what is known of it then."""
        at = int(self._now())
        lag = self._backend.capabilities.events_lag
        entry = JobEntry(
            folder=before.folder if before else f"jobs/{folder_name(job)}",
            status=job.status,
            model=job.model,
            created_at=job.created_at,
            fine_tuned_model=job.fine_tuned_model,
            settled=has_ended(job) and at > (job.finished_at or 0) + lag,
            read_at=at,
            service_files=tuple(
                filter(None, (job.training_file, job.validation_file, *job.result_files))
            ),
        )
        final = before if before is not None and before.settled else None
        for name, read in self._pieces(job):
            self._take_piece(entry, final, name, read)
        return entry

    def _pieces(self, job: Job) -> Iterator[tuple[str, Callable[[], bytes]]]:
        backend, able = self._backend, self._backend.capabilities
        yield "job.json", lambda: json_bytes(job, indent=2)
        if able.events:
            yield "events.jsonl", lambda: b"".join(map(json_bytes, backend.events(job.id)))
        if able.checkpoints:
            yield "checkpoints.json", lambda: json_bytes(backend.checkpoints(job.id), indent=2)
        for number, file_id in enumerate(job.result_files, start=1):
            if kept := self._result(file_id):
                name = "metrics.csv" if number == 1 else f"metrics-{number}.csv"
                yield name, lambda kept=kept: self._decoded(kept)  # type: ignore[misc]

    def _take_piece(
        self, entry: JobEntry, final: JobEntry | None, name: str, read: Callable[[], bytes]
    ) -> None:
        if final is not None and self._archive.holds(final.files.get(name)):
            entry.files[name] = final.files[name]
            return
        data = self._attempt(read)
        if isinstance(data, Gap):
            entry.missing[name] = data
        else:
            entry.files[name] = self._archive.write(f"{entry.folder}/{name}", data)

    def _result(self, file_id: str) -> Kept | None:
        kept = self._archive.files[file_id].kept
        return kept if kept is not None and kept.bytes <= LARGEST_TABLE else None

    def _decoded(self, kept: Kept) -> bytes:
        path = self._archive.folder / kept.path
        with stored_by(path):
            return plain_csv(path.read_bytes())

    def _write_job_file(self, job: Job, entry: JobEntry) -> None:
        """The job for another backend, unless the user has one, which may have been changed."""
        path = f"{entry.folder}/job.toml"
        if self._model is None and (self._archive.folder / path).exists():
            return
        try:
            text = job_toml(job, self._archive.files, service=self._backend.name, model=self._model)
        except ConfigError as error:
            entry.missing["job.toml"] = Gap(reason=error.message, final=True)
        else:
            self._archive.write(path, text.encode())
            entry.missing.pop("job.toml", None)

    # --- files of the service ---------------------------------------------------------------

    def _take_file(self, file_id: str, *, is_result: bool) -> None:
        if file_id in self._asked or self._is_done_with(file_id):
            return
        self._asked.add(file_id)
        before = self._archive.files.get(file_id)
        if before is not None and before.kept is not None:
            self._archive.drop(before.kept)  # somebody has changed it
        record = self._attempt(lambda: self._backend.file(file_id))
        if isinstance(record, Gap):
            record = File(id=file_id, bytes=0, created_at=0, filename="", purpose="")
        self._archive.files[file_id] = self._fetched(record, is_result=is_result)

    def _fetched(self, record: File, *, is_result: bool) -> FileEntry:
        path = service_path(record.id, "csv" if is_result else "jsonl")
        size = 0 if is_result else record.bytes  # which is not that of base64
        is_here = (self._archive.folder / path).is_file()  # a killed process could not note it
        moved = self._moved(record.id)
        kept = self._attempt(
            lambda: self._archive.fetch(self._backend, record.id, path, moved, size=size)
        )
        entry = FileEntry(filename=record.filename, purpose=record.purpose)
        if isinstance(kept, Gap):
            return entry.model_copy(update={"missing": kept})
        if not is_here:
            self.fetched += 1
            self.fetched_bytes += kept.bytes
        odd = f"the service says {size} bytes, and sent {kept.bytes}"
        return entry.model_copy(
            update={"kept": kept, "note": odd if size not in (0, kept.bytes) else ""}
        )

    def _moved(self, file_id: str) -> Callable[[int, int], None]:
        return lambda done, total: self._progress(*self.place, f"{file_id} {_part(done, total)}")

    # --- models -----------------------------------------------------------------------------

    def take_models(self, jobs: Iterable[Job]) -> None:
        """Note when the tuned models of these jobs will be shut down."""
        listed = self._attempt(lambda: {m.id: m.shutdown_date for m in self._backend.models()})
        if isinstance(listed, Gap):
            return
        for job in jobs:
            if job.fine_tuned_model:
                self._archive.models[job.fine_tuned_model] = _model(job, listed)

    # --- what goes wrong --------------------------------------------------------------------

    def _attempt(self, call: Callable[[], T]) -> T | Gap:
        """What `call` returns, or why it could not.  Raises where going on is useless."""
        try:
            value = call()
        except (BackendError, UnsupportedError) as error:
            if isinstance(error, AuthError) and error.status != 403:
                raise
            if isinstance(error, PASSING):
                self._patience.lost(error)
            return Gap(reason=error.message, final=not isinstance(error, PASSING))
        self._patience.won()
        return value


def _model(job: Job, listed: Mapping[str, str | None]) -> ModelEntry:
    """When the tuned model of `job` dies: by its own date, or by that of its base model."""
    name = job.fine_tuned_model or ""
    own, inherited = listed.get(name), listed.get(job.model)
    return ModelEntry(
        job=job.id,
        base=job.model,
        listed=name in listed,
        shutdown_date=own or inherited,
        by="model" if own else "base model" if inherited else None,
    )


def _losses(archive: Archive, jobs: Iterable[Job]) -> Iterator[Loss]:
    for job in jobs:
        entry = archive.jobs[job.id]
        for name, gap in entry.missing.items():
            yield Loss(job.id, name, gap.reason, gap.final)
        for file_id in entry.service_files:
            if lost := archive.files[file_id].missing:
                yield Loss(job.id, file_id, lost.reason, lost.final)


def _part(done: int, total: int) -> str:
    return f"{100 * done // total} %" if total else f"{done} bytes"
