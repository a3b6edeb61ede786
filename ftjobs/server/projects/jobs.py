"""A project's jobs."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Literal

from ftjobs.backends.base import Rewinds
from ftjobs.errors import (
    BackendError,
    ConfigError,
    InvalidRequestError,
    NotFoundError,
    StoreError,
    UnsupportedError,
)
from ftjobs.jobs.identity import PAIRS, SHORT, jobs_of, mark
from ftjobs.schema import IDENTITY, Checkpoint, Event, Job, JobSpec
from ftjobs.server.once import digest_of, may_have_acted
from ftjobs.server.projects.bases import base_model
from ftjobs.server.projects.files import Files
from ftjobs.server.projects.view import no_job
from ftjobs.server.refusals import Refusal

__all__ = ["CREATE", "Jobs", "Verb"]

Verb = Literal["cancel", "pause", "resume"]
"""What can be done to a job that was created."""

CREATE = "jobs.create"
"""The action of a request that creates a job."""

_REQUEST = "ftjobs_request"
"""The metadata key under which a job that has an identity carries the token of its request."""
_OURS = "serve-"  # begins a token in metadata
_IS_OURS = re.compile(rf"{_OURS}[0-9a-f]{{32}}")
_SUFFIX = re.compile(rf"(?:ftjobs|(.*))-[0-9a-f]{{{SHORT}}}", re.DOTALL)
_AGAIN = 60.0  # seconds
_PAUSE = 0.5  # seconds between two looks for a job

log = logging.getLogger("ftjobs.server")


class _Unnoted(StoreError):
    """A job may be there and was not noted: sent again without a key, it would be a second one."""

    should_retry = False


class Jobs(Files):
    """Jobs of the backend that are this project's."""

    def create(self, spec: JobSpec, *, key: str | None = None) -> Job:
        """A new job, or the one that was created under the same Idempotency-Key.

        Raises:
            Refusal: 400, a file or the model is not there for this project, or a word is the
                server's own; 429, too many jobs wait; as `Once.run`.
            StoreError: it cannot be noted; as `Once.run`.
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
        if _REQUEST in spec.metadata:
            param = f"metadata.{_REQUEST}"
            raise Refusal(400, f"{param}: this word is the server's own", param=param)
        for param in ("training_file", "validation_file"):
            if file_id := getattr(spec, param):
                self._require_file(file_id, param)
        self._require_allowed(spec)
        model = self._trainable(spec.model)
        seed = spec.seed
        if seed is None and self.capabilities.seed:
            seed = secrets.randbelow(2**31)  # the wire's job names one from the beginning
        # Not validated again: its model may be a folder, which no client can name.
        asked = self._marked(spec.model_copy(update={"model": model, "seed": seed}), token)
        with ExitStack() as line:
            self._stand_in(line)
            self._keep_identity(spec, token)
            try:
                job = self._job_made(asked, token)
                with self._counting():
                    line.close()
                    return self._adopt(job, token)
            except StoreError as error:
                if is_known:
                    raise
                raise _Unnoted(error.message) from error
            except BackendError as error:
                if not is_known and may_have_acted(error) and error.should_retry is None:
                    error.should_retry = False  # a second request might be a second paid job
                raise

    def _job_made(self, asked: JobSpec, token: str) -> Job:
        """A job of the backend's, also where its answer was lost."""
        try:
            return self.backend.create(asked)
        except Exception as error:
            if not may_have_acted(error):
                self.owners.drop_identity(token)
                raise
            with suppress(BackendError, StoreError):
                if (found := self._look(token)) is not None:
                    log.warning("a job was created without an answer: %s", type(error).__name__)
                    return found
            raise

    def recover(self, token: str) -> dict[str, Any] | None:
        """The job that was created under a token, now this project's; None if there is none.

        It takes as long as the backend's list may lag behind.

        Raises:
            BackendError: the backend does not say.
            StoreError: it cannot be noted.
        """
        job = self._look(token)
        return None if job is None else self._adopt(job, token)

    def _look(self, token: str) -> Job | None:
        end = time.monotonic() + self.capabilities.list_lag
        while True:
            is_last = time.monotonic() >= end
            try:
                found = next(self._carrying(token), None)
            except BackendError:
                if is_last:
                    raise
                found = None
            if found is not None or is_last:
                return found
            time.sleep(max(0.0, min(_PAUSE, end - time.monotonic())))

    def _adopt(self, job: Job, token: str) -> dict[str, Any]:
        self.owners.add_job(job.id, self.project, token)
        for file_id in filter(None, (job.training_file, job.validation_file)):
            self.owners.ensure("file", file_id, self.project)  # it may be an admin's find
        return self._seen(job).model_dump(mode="json")

    def _stand_in(self, line: ExitStack) -> None:
        """Refuse a job where too many wait, those that are being created among them.

        Until `line` is closed, one more is being created.
        """
        with self._counting():
            creating = line.enter_context(self.rooms.creating.one_more(self.project))
            mine = self.owners.of("job", self.project)
        waiting = sum(job.id in mine and not job.ended for job in self.backend.jobs())
        if waiting + creating > self.options.jobs_waiting:
            raise Refusal(
                429,
                f"{waiting} jobs of this project have not ended yet",
                code="too_many_jobs",
                retry_after=_AGAIN,
            )

    @contextmanager
    def _counting(self) -> Iterator[None]:
        """Alone where a job is counted: it is either being created, or the project's."""
        with self.rooms.locks.held(("jobs", self.project)):
            yield

    # --- the token of a request, by which its job is found ------------------------------------

    def _marked(self, spec: JobSpec, token: str) -> JobSpec:
        """`spec` with the token of its request, where the backend has a place for it.

        A client of ftjobs gives its jobs an identity.  It is left as it is where metadata is kept.
        Elsewhere the token takes its place, since a service may take two jobs of one identity for
        one, whoever they are of; the identity is remembered here.
        """
        if not self.capabilities.metadata:
            rest = {key: text for key, text in spec.metadata.items() if key != IDENTITY}
            try:
                return mark(spec.model_copy(update={"metadata": rest}), token, self.capabilities)
            except ConfigError as error:
                raise Refusal(400, error.message, param="suffix") from None
        if len(spec.metadata) >= PAIRS:
            return spec
        key = _REQUEST if IDENTITY in spec.metadata else IDENTITY
        return spec.model_copy(update={"metadata": {key: _OURS + token, **spec.metadata}})

    def _keep_identity(self, spec: JobSpec, token: str) -> None:
        if IDENTITY in spec.metadata and not self.capabilities.metadata:
            self.owners.keep_identity(token, spec.metadata[IDENTITY])

    def _carrying(self, token: str) -> Iterator[Job]:
        """The jobs that were created under a token, as far as they are listed."""
        if not self.capabilities.metadata:
            yield from jobs_of(self.backend, token)
            return
        for key in (IDENTITY, _REQUEST):
            yield from self.backend.jobs(metadata={key: _OURS + token})

    def _given(self, job: Job, *, is_ours: bool) -> dict[str, Any]:
        """A job's metadata and suffix as its client gave them."""
        if self.capabilities.metadata:
            key = _REQUEST if _REQUEST in job.metadata else IDENTITY
            rest = dict(job.metadata)
            if _IS_OURS.fullmatch(rest.get(key, "")):
                del rest[key]
            return {"metadata": rest}
        if not is_ours:
            return {}
        rest = {name: text for name, text in job.metadata.items() if name != IDENTITY}
        if (identity := self.owners.identity(job.id)) is not None:
            rest[IDENTITY] = identity
        found = _SUFFIX.fullmatch(job.suffix or "")
        if self.capabilities.identity != "suffix" or not found:
            return {"metadata": rest}
        return {"metadata": rest, "suffix": found[1]}

    # --- what a project does with its jobs ----------------------------------------------------

    def retrieve(self, job_id: str) -> Job:
        """A job's present state.  NotFoundError if there is none."""
        with self._job(job_id):
            return self._seen(self.backend.retrieve(job_id))

    def cancel(self, job_id: str) -> Job:
        """End a job.  One that is cancelled already is returned.

        Raises:
            NotFoundError: there is none.
            InvalidRequestError: it has ended otherwise.
        """
        with self._job(job_id):
            job = self.backend.cancel(job_id)
        if job.ended and job.status != "cancelled":
            raise InvalidRequestError(f"job {job_id} has already {job.status}", code="job_ended")
        return self._seen(job)

    def pause(self, job_id: str) -> Job:
        """Stop a job so that it can go on later.

        Raises:
            NotFoundError: there is none.
            InvalidRequestError: it has ended.
            UnsupportedError: the backend cannot.
        """
        with self._job(job_id):
            self._require_pause()
            return self._seen(self.backend.pause(job_id))

    def resume(self, job_id: str) -> Job:
        """Let a paused job go on.  Raises what `pause` does."""
        with self._job(job_id):
            self._require_pause()
            return self._seen(self.backend.resume(job_id))

    def steer(self, job_id: str, verb: Verb) -> Job:
        """`cancel`, `pause` or `resume`, by its name."""
        act = {"cancel": self.cancel, "pause": self.pause, "resume": self.resume}[verb]
        return act(job_id)

    def jobs(self, *, metadata: Mapping[str, str] | None = None) -> Iterator[Job]:
        """Jobs, newest first."""
        if not metadata or self.capabilities.metadata:
            return map(self._seen, self._found(metadata))
        seen = map(self._seen, self._found())  # the backend has the server's own
        return (job for job in seen if metadata.items() <= job.metadata.items())

    def events(self, job_id: str, *, after: str | None = None) -> Sequence[Event]:
        """Events oldest first, strictly after the event `after`.

        Raises:
            NotFoundError: there is no such job.
            UnsupportedError: the backend has no events.
        """
        self._require_events()
        with self._job(job_id):
            return tuple(map(self._told, self.backend.events(job_id, after=after)))

    def rewind(self, job_id: str, *, start: str | None = None) -> Iterator[Event]:
        """Events newest first, all of them or from `start` on and with it.

        Raises what `events` does.
        """
        self._require_events()
        with self._job(job_id):
            if isinstance(self.backend, Rewinds):
                found = self.backend.rewind(job_id, start=start)
            else:
                found = reversed(self.backend.events(job_id))
            yield from map(self._told, found)

    def checkpoints(self, job_id: str) -> Sequence[Checkpoint]:
        """Checkpoints, oldest first.  NotFoundError if there is no such job."""
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
        error = job.error and job.error.model_copy(
            update={"message": words.plain(job.error.message or "")}
        )
        return job.model_copy(
            update={
                **self._given(job, is_ours=bool(owners)),
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
