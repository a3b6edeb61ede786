"""The backend as one project sees it: pages and wire read and write through it, and only so.

What is another project's does not exist here.  Names of base models are those that clients know:
a model that lies in a folder has a name of the operator's choice, and no path ever leaves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ftjobs.backends.base import Backend, Hosted, Tools
from ftjobs.errors import InvalidRequestError, NotFoundError
from ftjobs.schema import (
    ENDED,
    IDENTITY,
    Capabilities,
    ChatMessage,
    Checkpoint,
    Completion,
    Delta,
    Event,
    File,
    Job,
    JobSpec,
    Model,
    Sampling,
)
from ftjobs.server.caller import Caller
from ftjobs.server.once import Once
from ftjobs.server.options import Options
from ftjobs.server.owners import Owners
from ftjobs.server.refusals import Refusal

_CHECKPOINT = re.compile(r":ckpt-step-\d+$")
_OURS = "serve-"  # begins the identity that the server itself gives a job
_EARLIER = 5.0
"""Seconds by which a backend's clock may be behind this one."""


class Project:
    """What one caller can do; made for each request."""

    def __init__(
        self, backend: Backend, owners: Owners, once: Once, options: Options, caller: Caller
    ) -> None:
        self.backend, self.owners, self.once = backend, owners, once
        self.options, self.caller = options, caller

    @property
    def capabilities(self) -> Capabilities:
        """What the backend can do."""
        return self.backend.capabilities

    @property
    def is_hosted(self) -> bool:
        """Whether a service answers, which may see images and reads calls of tools itself."""
        return isinstance(self.backend, Hosted)

    # --- files -------------------------------------------------------------------------------

    def upload(self, path: Path, *, name: str, purpose: str) -> File:
        """Hand a file to the backend.  Refusal 413 beyond the quota."""
        size = path.stat().st_size
        if self.owners.size(self.caller.project) + size > self.options.quota_bytes:
            raise Refusal(
                413,
                f"the files of this project would take more than {self.options.quota_bytes:,} "
                "bytes: delete some",
                code="quota_exceeded",
            )
        file = self.backend.upload(path, name=name, purpose=purpose)
        self.owners.add("file", file.id, self.caller.project, size=file.bytes)
        return file

    def file(self, file_id: str) -> File:
        """One file's record.  NotFoundError if there is none."""
        self._require("file", file_id)
        return self.backend.file(file_id)

    def files(self) -> Iterator[File]:
        """Files, newest first."""
        owned = self._owned("file")
        return (f for f in self.backend.files() if owned is None or f.id in owned)

    def content(self, file_id: str) -> bytes:
        """A file's bytes."""
        self._require("file", file_id)
        return self.backend.content(file_id)

    def delete_file(self, file_id: str) -> None:
        """Delete a file; the backend keeps it while another project has it."""
        self._require("file", file_id)
        if self.owners.others("file", file_id, self.caller.project):
            self.owners.drop("file", file_id, self.caller.project)
            return
        self.backend.delete_file(file_id)  # refused while a job needs it
        self.owners.drop("file", file_id, self.caller.project)

    # --- jobs --------------------------------------------------------------------------------

    def create(self, spec: JobSpec, *, key: str | None, digest: str) -> Job:
        """A new job, or the one that was created under the same Idempotency-Key.

        Raises:
            NotFoundError: a file or the model is not there for this project.
            Refusal: 429 where too many jobs wait; as `Once.run`.
        """
        for file_id in filter(None, (spec.training_file, spec.validation_file)):
            self._require("file", file_id)
        answer = self.once.run(
            self.caller.project, key, digest, lambda token: self._create(spec, token),
            recover=self.recover,
        )  # fmt: skip
        return Job.model_validate(answer)

    def _create(self, spec: JobSpec, token: str) -> dict[str, Any]:
        waiting = sum(not job.ended for job in self.jobs())
        if waiting >= self.options.jobs_waiting:
            raise Refusal(
                429, f"{waiting} jobs of this project have not ended yet", code="too_many_jobs",
                retry_after=60.0,
            )  # fmt: skip
        # A client of ftjobs gives its jobs an identity itself; any other job gets one here, so
        # that it is found again if this process dies before it has answered.
        metadata = {IDENTITY: _OURS + token} | dict(spec.metadata)
        model = self._base(spec.model)
        # Not validated again: the server's pair may be one more than the wire allows a client.
        asked = spec.model_copy(update={"model": model, "metadata": metadata})
        return self._adopt(self.backend.create(asked))

    def recover(self, token: str, since: float) -> dict[str, Any] | None:
        """The job that was created under a token by a server that died, now this project's."""
        for job in self.backend.jobs(metadata={IDENTITY: _OURS + token}):
            if job.created_at >= since - _EARLIER:
                return self._adopt(job)
        return None

    def _adopt(self, job: Job) -> dict[str, Any]:
        self.owners.add("job", job.id, self.caller.project)
        for file_id in job.result_files:
            self.owners.add("file", file_id, self.caller.project)
        return self._shown(job).model_dump(mode="json")

    def retrieve(self, job_id: str) -> Job:
        """A job's present state.  NotFoundError if there is none."""
        self._require("job", job_id)
        return self._seen(self.backend.retrieve(job_id))

    def cancel(self, job_id: str) -> Job:
        """End a job.  A job that has ended is refused, as the wire does."""
        if (job := self.retrieve(job_id)).status in ENDED:
            raise InvalidRequestError(f"job {job_id} has already {job.status}", code="job_ended")
        return self._seen(self.backend.cancel(job_id))

    def pause(self, job_id: str) -> Job:
        """Stop a job so that it can go on later."""
        self._require("job", job_id)
        return self._seen(self.backend.pause(job_id))

    def resume(self, job_id: str) -> Job:
        """Let a paused job go on."""
        self._require("job", job_id)
        return self._seen(self.backend.resume(job_id))

    def jobs(self, *, metadata: Mapping[str, str] | None = None) -> Iterator[Job]:
        """Jobs, newest first."""
        owned = self._owned("job")
        found = self.backend.jobs(metadata=metadata)
        return (self._seen(job) for job in found if owned is None or job.id in owned)

    def events(self, job_id: str, *, after: str | None = None) -> Sequence[Event]:
        """Events oldest first, strictly after the event `after`."""
        self._require("job", job_id)
        return self.backend.events(job_id, after=after)

    def checkpoints(self, job_id: str) -> Sequence[Checkpoint]:
        """Checkpoints, oldest first."""
        self._require("job", job_id)
        return self.backend.checkpoints(job_id)

    # --- models ------------------------------------------------------------------------------

    def models(self) -> Iterator[Model]:
        """Base models, and the tuned ones of this project."""
        names = {path: name for name, path in self.options.models.items()}
        for name in self.options.models:
            yield Model(id=name, owned_by="base")
        tuned = {job.fine_tuned_model for job in self.jobs()}
        for model in self.backend.models():
            is_tuned = self._is_tuned(model.id)
            if model.id not in names and (model.id in tuned if is_tuned else _is_name(model.id)):
                yield model

    def model(self, name: str) -> Model:
        """One model.  NotFoundError if there is none for this project."""
        for model in self.models():
            if model.id == name:
                return model
        if (job := self._job_of(name)) is not None:  # a checkpoint
            return Model(id=name, created=job.created_at, owned_by=job.model)
        raise _no_model(name)

    def delete_model(self, name: str) -> None:
        """Delete a tuned model or a checkpoint."""
        if self._job_of(name) is None:
            self.model(name)  # not there, rather than not to be deleted
            raise InvalidRequestError(f"{name} is a base model, which cannot be deleted")
        self.backend.delete_model(name)

    def complete(
        self, model: str, messages: Sequence[ChatMessage], *, sampling: Sampling, tools: Tools = ()
    ) -> Completion:
        """The whole answer of a model that this project has."""
        found = self.backend.complete(self._asked(model), messages, sampling=sampling, tools=tools)
        return found.model_copy(update={"model": model})

    def stream(
        self, model: str, messages: Sequence[ChatMessage], *, sampling: Sampling, tools: Tools = ()
    ) -> Iterator[Delta]:
        """The answer piece by piece."""
        return self.backend.stream(self._asked(model), messages, sampling=sampling, tools=tools)

    def _asked(self, name: str) -> str:
        """The backend's name of a model that may be asked.  NotFoundError if it may not."""
        return name if self._job_of(name) is not None else self._base(name)

    def _base(self, name: str) -> str:
        """The backend's name of a base model."""
        if name in self.options.models:
            return self.options.models[name]
        is_base = _is_name(name) and not self._is_tuned(name)
        if is_base and any(model.id == name for model in self.backend.models()):
            return name
        raise _no_model(name)

    def _job_of(self, name: str) -> Job | None:
        """The job of this project that made a tuned model or a checkpoint."""
        tuned = _CHECKPOINT.sub("", name)
        if name in self.options.models or (tuned == name and not self._is_tuned(name)):
            return None
        jobs = list(self.jobs())
        if (job := next((j for j in jobs if j.fine_tuned_model == tuned), None)) is not None:
            return job
        for job in jobs:  # a job that has not ended, or not well, has checkpoints and no model
            if job.fine_tuned_model is None and any(
                each.fine_tuned_model_checkpoint == name for each in self.checkpoints(job.id)
            ):
                return job
        return None

    def _is_tuned(self, name: str) -> bool:
        """Whether any project's job made a model of this name, or could have."""
        if name.startswith("ft:"):
            return True
        return any(job.fine_tuned_model == name for job in self.backend.jobs())

    # --- what is whose -----------------------------------------------------------------------

    def _require(self, kind: Any, id_: str) -> None:
        project = self.caller.project
        if not self.caller.sees_all and not self.owners.has(kind, id_, project):
            raise NotFoundError(f"no {kind} {id_!r}", code="not_found")

    def _owned(self, kind: Any) -> Mapping[str, int] | None:
        """Ids that are this project's; None for a caller who sees all."""
        return None if self.caller.sees_all else self.owners.of(kind, self.caller.project)

    def _seen(self, job: Job) -> Job:
        """A job as clients see it, whose result files are its project's."""
        for project in self.owners.projects("job", job.id) if job.result_files else ():
            for file_id in job.result_files:
                self.owners.add("file", file_id, project)
        return self._shown(job)

    def _shown(self, job: Job) -> Job:
        names = {path: name for name, path in self.options.models.items()}
        metadata = {
            key: text
            for key, text in job.metadata.items()
            if key != IDENTITY or not text.startswith(_OURS)
        }
        model = names.get(job.model, job.model if _is_name(job.model) else Path(job.model).name)
        return job.model_copy(update={"metadata": metadata, "model": model})


def _is_name(model: str) -> bool:
    """Whether a base model's name can be no path on this machine."""
    return not re.match(r"[./\\~]|[A-Za-z]:[/\\]", model) and "\0" not in model


def _no_model(name: str) -> NotFoundError:
    return NotFoundError(
        f"the model {name[:200]!r} does not exist here", code="model_not_found", param="model"
    )
