"""A project's files."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ftjobs.backends.base import Downloads
from ftjobs.errors import InvalidRequestError, NotFoundError, UnsupportedError
from ftjobs.schema import File, Job
from ftjobs.server.owners import Owned
from ftjobs.server.projects.view import View, no_file
from ftjobs.server.refusals import Refusal
from ftjobs.server.spool import disk

__all__ = ["Files"]

OPERATOR = ""
"""The project of whoever runs the server."""


class Files(View):
    """Files of the backend that are this project's."""

    def upload(
        self,
        path: Path,
        *,
        name: str,
        purpose: str,
        expires_after: int | None = None,
        counted: bool = False,
    ) -> File:
        """Hand a file to the backend.

        Args:
            path: the server's own copy.
            name: what the client calls it: a label, and never a path.
            purpose: one of the wire's.
            expires_after: seconds that it lives; None for ever.
            counted: whether its bytes are a part of the quota already.

        Raises:
            Refusal: 413, too large for the backend or the quota.
        """
        size, most = path.stat().st_size, self.capabilities.max_file_bytes
        if most is not None and size > most:
            raise too_large(most)
        with self.rooms.quota.held(self.project) as held:
            held.grow(0 if counted else size)
            with self.rooms.locks.held(_place(name, purpose, size)):
                return self._keep(path, name, purpose, expires_after)

    def _keep(self, path: Path, name: str, purpose: str, expires_after: int | None) -> File:
        began = int(time.time())
        file = self.backend.upload(path, name=name, purpose=purpose)
        if file.sha256 and file.created_at < began and not self.owners.projects("file", file.id):
            # A store that knows files by their bytes had it already, from outside the server.
            self.owners.add("file", file.id, OPERATOR)
        self.owners.add("file", file.id, self.project, size=file.bytes, life=expires_after)
        return self._dated(file, self.owners.find("file", file.id, self.project))

    def file(self, file_id: str) -> File:
        """One file's record.  NotFoundError if there is none."""
        owned = self._mine(file_id)
        with _found(file_id):
            return self._dated(self.backend.file(file_id), owned)

    def files(self) -> Iterator[File]:
        """Files, the latest first."""
        self._take_results()
        owned = self.owners.of("file", self.project)
        over = {file_id for file_id, times in owned.items() if self._is_over(file_id, times)}
        there = {file.id: file for file in self.backend.files() if file.id not in over}
        ids = there if self.caller.sees_all else filter(there.__contains__, owned)
        return (self._dated(there[file_id], owned.get(file_id)) for file_id in ids)

    def content(self, file_id: str) -> bytes:
        """A file's bytes.  NotFoundError if there is none."""
        self._mine(file_id)
        with _found(file_id):
            return self.backend.content(file_id)

    @contextmanager
    def opened(self, file_id: str) -> Iterator[BinaryIO]:
        """A file to read from, in constant memory where the backend has a way.

        Raises:
            NotFoundError: there is none.
        """
        if not isinstance(self.backend, Downloads):
            yield io.BytesIO(self.content(file_id))
            return
        self._mine(file_id)
        with self.rooms.spool.file() as path, path.open("w+b") as target:
            with _found(file_id), disk():
                self.backend.download(file_id, target)
            target.seek(0)
            yield target

    def delete_file(self, file_id: str) -> None:
        """Delete a file; the backend keeps it while another project has it.

        Raises:
            NotFoundError: there is none.
            InvalidRequestError: a job of this project needs it, or the backend does.
            UnsupportedError: the backend deletes none.
        """
        self._mine(file_id)
        if not self.capabilities.delete_files:
            raise UnsupportedError("the backend of this server cannot delete files")
        self._delete(file_id)

    def expire(self, file_id: str) -> None:
        """Delete a file whose time is over, unless it is needed or was uploaded again."""
        with suppress(InvalidRequestError, NotFoundError):
            self._delete(file_id, if_expired=True)

    def _delete(self, file_id: str, *, if_expired: bool = False) -> None:
        try:
            file = self.backend.file(file_id)
        except NotFoundError:  # a server that died in the midst had done it
            self.owners.drop("file", file_id)
            if self.caller.sees_all:
                raise no_file(file_id) from None
            return
        with self.rooms.locks.held(_place(file.filename, file.purpose, file.bytes)):
            owned = self.owners.find("file", file_id, self.project)
            if if_expired and not (owned and owned.expired):
                return
            if job := self._needing(file_id):
                raise InvalidRequestError(
                    f"the file {file_id} is needed by the job {job.id}, which is {job.status}",
                    param="id",
                )
            self._discard(file_id)

    def _discard(self, file_id: str) -> None:
        """Take it from this project, and from the backend where it was the last, and it can."""
        owners = self.owners.projects("file", file_id)
        if not self.capabilities.delete_files or (self.project in owners and len(owners) > 1):
            self.owners.drop("file", file_id, self.project)
            return
        try:
            self.backend.delete_file(file_id)
        except InvalidRequestError:  # whose words are about jobs that are not this project's
            raise InvalidRequestError(f"the file {file_id} is still needed", param="id") from None
        self.owners.drop("file", file_id)

    # --- what is whose -----------------------------------------------------------------------

    def _mine(self, file_id: str) -> Owned | None:
        """Since when it is this project's; NotFoundError if it is not.

        None for what is only seen, by who sees all.
        """
        owned = self.owners.find("file", file_id, self.project)
        if self._is_over(file_id, owned) if owned else not self.caller.sees_all:
            raise no_file(file_id)
        return owned

    def _is_over(self, file_id: str, owned: Owned) -> bool:
        """Whether a file has expired; it stays while a job needs it."""
        return owned.expired and self._needing(file_id) is None

    def _needing(self, file_id: str) -> Job | None:
        """A job that has not ended, and reads this file."""
        mine = self._owned("job")
        return next(
            (
                job
                for job in self.backend.jobs()
                if not job.ended
                and file_id in (job.training_file, job.validation_file)
                and (mine is None or job.id in mine)
            ),
            None,
        )

    def _take_results(self) -> None:
        """The result files of jobs that have ended are the project's."""
        mine = self._owned("job") or ()
        if not all(map(self.rooms.names.is_settled, mine)):
            for job in self.backend.jobs():
                if job.id in mine:
                    self._take(job)

    def _take(self, job: Job) -> None:
        """What a job has made is its own, and its result files those projects' that the job is."""
        if job.fine_tuned_model:
            self.rooms.names.learn(job.fine_tuned_model, job.id)
        if not job.ended or self.rooms.names.is_settled(job.id):
            return
        for project in self.owners.projects("job", job.id):
            for file_id in job.result_files:
                self.owners.ensure("file", file_id, project)
        if job.result_files or job.status != "succeeded":  # else they may come a moment later
            self.rooms.names.settle(job.id)

    def _dated(self, file: File, owned: Owned | None) -> File:
        """A file that this project has had since it uploaded it, whoever else had it before."""
        times = {"created_at": owned.created_at, "expires_at": owned.expires_at} if owned else {}
        return file.model_copy(update=times)


def too_large(most: int) -> Refusal:
    """413, for more than so many bytes."""
    return Refusal(413, f"a file has at most {most:,} bytes here", code="file_too_large")


def _place(name: str, purpose: str, size: int) -> tuple[str, str, str, int]:
    """The lock of files that a backend could take for one."""
    return "file", name, purpose, size


@contextmanager
def _found(file_id: str) -> Iterator[None]:
    """A backend's NotFoundError in the wire's words."""
    try:
        yield
    except NotFoundError:
        raise no_file(file_id) from None
