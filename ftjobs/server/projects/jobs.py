"""A project's jobs."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ftjobs.backends.base import Rewinds
from ftjobs.errors import BackendError, InvalidRequestError, NotFoundError, UnsupportedError
from ftjobs.schema import IDENTITY, Checkpoint, Event, Job, JobSpec
from ftjobs.server.once import digest_of, may_have_acted
from ftjobs.server.projects.bases import base_model
from ftjobs.server.projects.files import Files
from ftjobs.server.projects.view import no_job
from ftjobs.server.refusals import Refusal

__all__ = ["CREATE", "Jobs"]

CREATE = "jobs.create"
"""The action of a request that creates a job."""

_MARKS = (IDENTITY, "ftjobs_request")
"""Metadata keys under which a job carries the token of its request."""
_OURS = "serve-"  # begins the value that the server gives them
_MOST_PAIRS = 16  # of metadata
_AGAIN = 60.0  # seconds
_PAUSE = 0.5  # seconds between two looks for a job


class Jobs(Files):
    """Jobs of the backend that are this project's."""

    def create(self, spec: JobSpec, *, key: str | None = None) -> Job:
        """A new job, or the one that was created under the same Idempotency-Key.

        Raises:
            Refusal: 400, a file or the model is not there for this project; 429, too many jobs
                wait; as `Once.run`.
        """
        with self.rooms.words.used():
            answer = self.rooms.once.run(
                self.project,
                key,
                digest_of(CREATE, spec.model_dump(mode="json")),
                lambda token: self._create(spec, token, is_known=key is not None),
                recover=self.recover,
            )
        return Job.model_validate(answer)

    def _create(self, spec: JobSpec, token: str, *, is_known: bool) -> dict[str, Any]:
        for param in ("training_file", "validation_file"):
            if file_id := getattr(spec, param):
                self._require_file(file_id, param)
        self._require_allowed(spec)
        model = self._trainable(spec.model)
        metadata = {**_mark(spec, token, keeps=self.capabilities.metadata), **spec.metadata}
        seed = spec.seed
        if seed is None and self.capabilities.seed:
            seed = secrets.randbelow(2**31)  # the wire's job names one from the beginning
        # Not validated again: its model may be a folder, which no client can name.
        asked = spec.model_copy(update={"model": model, "metadata": metadata, "seed": seed})
        with self._in_line():
            try:
                return self._adopt(self.backend.create(asked))
            except BackendError as error:
                if not may_have_acted(error):
                    raise
                if (found := self._look(token)) is not None:
                    return found
                if not is_known and error.should_retry is None:
                    error.should_retry = False  # a second request might be a second paid job
                raise

    def recover(self, token: str) -> dict[str, Any] | None:
        """The job that was created under a token, now this project's; None if there is none."""
        for mark in _MARKS:
            for job in self.backend.jobs(metadata={mark: _OURS + token}):
                return self._adopt(job)
        return None

    def _look(self, token: str) -> dict[str, Any] | None:
        """The same, for as long as the backend's list may lag behind."""
        end = time.monotonic() + self.capabilities.list_lag
        while True:
            try:
                found = self.recover(token)
            except BackendError:
                found = None
            if found is not None or time.monotonic() >= end:
                return found
            time.sleep(_PAUSE)

    def _adopt(self, job: Job) -> dict[str, Any]:
        self.owners.add("job", job.id, self.project)
        for file_id in filter(None, (job.training_file, job.validation_file)):
            self.owners.ensure("file", file_id, self.project)  # it may be an admin's find
        return self._seen(job).model_dump(mode="json")

    @contextmanager
    def _in_line(self) -> Iterator[None]:
        """Refuse a job where too many wait, those that are being created among them."""
        with self.rooms.creating.one_more(self.project) as creating:
            waiting = sum(not job.ended for job in self._found())
            if waiting + creating > self.options.jobs_waiting:
                raise Refusal(
                    429,
                    f"{waiting} jobs of this project have not ended yet",
                    code="too_many_jobs",
                    retry_after=_AGAIN,
                )
            yield

    def retrieve(self, job_id: str) -> Job:
        """A job's present state.  NotFoundError if there is none."""
        with self._job(job_id):
            return self._seen(self.backend.retrieve(job_id))

    def cancel(self, job_id: str) -> Job:
        """End a job.  One that is cancelled already is returned; any other end is refused."""
        with self._job(job_id):
            job = self.backend.cancel(job_id)
        if job.ended and job.status != "cancelled":
            raise InvalidRequestError(f"job {job_id} has already {job.status}", code="job_ended")
        return self._seen(job)

    def pause(self, job_id: str) -> Job:
        """Stop a job so that it can go on later.  Refused once it has ended."""
        with self._job(job_id):
            self._require_pause()
            return self._seen(self.backend.pause(job_id))

    def resume(self, job_id: str) -> Job:
        """Let a paused job go on.  Refused once it has ended."""
        with self._job(job_id):
            self._require_pause()
            return self._seen(self.backend.resume(job_id))

    def jobs(self, *, metadata: Mapping[str, str] | None = None) -> Iterator[Job]:
        """Jobs, newest first."""
        return map(self._seen, self._found(metadata))

    def events(self, job_id: str, *, after: str | None = None) -> Sequence[Event]:
        """Events oldest first, strictly after the event `after`."""
        self._require_events()
        with self._job(job_id):
            return tuple(map(self._told, self.backend.events(job_id, after=after)))

    def rewind(self, job_id: str, *, start: str | None = None) -> Iterator[Event]:
        """Events newest first, all of them or from `start` on and with it."""
        self._require_events()
        with self._job(job_id):
            if isinstance(self.backend, Rewinds):
                found = self.backend.rewind(job_id, start=start)
            else:
                found = reversed(self.backend.events(job_id))
            yield from map(self._told, found)

    def checkpoints(self, job_id: str) -> Sequence[Checkpoint]:
        """Checkpoints, oldest first."""
        with self._job(job_id):
            return self.backend.checkpoints(job_id)

    # --- what is whose -----------------------------------------------------------------------

    @contextmanager
    def _job(self, job_id: str) -> Iterator[None]:
        """A job of this project.  NotFoundError, in the wire's words, if there is none."""
        if not self._sees("job", job_id):
            raise no_job(job_id)
        try:
            yield
        except NotFoundError:
            raise no_job(job_id) from None

    def _found(self, metadata: Mapping[str, str] | None = None) -> Iterator[Job]:
        """This project's jobs as the backend has them."""
        mine = self._owned("job")
        found = self.backend.jobs(metadata=metadata)
        return (job for job in found if mine is None or job.id in mine)

    def _seen(self, job: Job) -> Job:
        """A job as clients see it; its result files are its project's from now on."""
        self._take(job)
        words, owners = self.rooms.words, self.owners.projects("job", job.id)
        metadata = {
            key: text
            for key, text in job.metadata.items()
            if key not in _MARKS or not text.startswith(_OURS)
        }
        error = job.error and job.error.model_copy(
            update={"message": words.plain(job.error.message or "")}
        )
        return job.model_copy(
            update={
                "metadata": metadata,
                "model": words.model(job.model),
                "organization_id": (owners[0] if owners else "") or "local",
                "error": error,
            }
        )

    def _require_file(self, file_id: str, param: str) -> None:
        try:
            self.file(file_id) if self.caller.sees_all else self._mine(file_id)
        except NotFoundError:
            raise Refusal(
                400, f"File '{file_id[:200]}' does not exist.", code="file_not_found", param=param
            ) from None

    def _trainable(self, name: str) -> str:
        try:
            return base_model(self.rooms, name)
        except NotFoundError:
            raise Refusal(
                400,
                f"Model {name[:200]} is not available for fine-tuning or does not exist. "
                "GET /v1/models lists what is; whoever runs the server adds models (--model).",
                code="model_not_available",
                param="model",
            ) from None

    def _require_allowed(self, spec: JobSpec) -> None:
        """A tracker takes what it is told for whose account the server holds."""
        if self.caller.sees_all:
            return
        for number, each in enumerate(spec.integrations):
            if each["type"] not in self.options.integrations:
                raise Refusal(
                    400,
                    f"integrations.{number}: this server does not report to {each['type']}; "
                    "whoever runs it can allow that ([serve], integrations)",
                    code="integration_not_allowed",
                    param=f"integrations.{number}",
                )

    def _told(self, event: Event) -> Event:
        """An event as clients see it."""
        plainly = self.rooms.words.plainly
        return event.model_copy(
            update={"message": plainly(event.message), "data": plainly(event.data)}
        )

    def _require_events(self) -> None:
        if not self.capabilities.events:
            raise UnsupportedError("the backend of this server has no list of events")

    def _require_pause(self) -> None:
        if not self.capabilities.pause:
            raise UnsupportedError("the backend of this server cannot pause jobs")


def _mark(spec: JobSpec, token: str, *, keeps: bool) -> dict[str, str]:
    """What lets the job be found by its request's token, where there is a place for it.

    A client of ftjobs gives its jobs an identity, which is left as it is; beside it there is a
    place only where metadata is kept.
    """
    if len(spec.metadata) >= _MOST_PAIRS:
        return {}
    if IDENTITY not in spec.metadata:
        return {IDENTITY: _OURS + token}
    return {_MARKS[1]: _OURS + token} if keeps else {}
