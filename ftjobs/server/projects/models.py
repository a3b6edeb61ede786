"""A project's models, and their answers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ftjobs.backends.base import Tools
from ftjobs.errors import InvalidRequestError, NotFoundError, UnsupportedError
from ftjobs.schema import ChatMessage, Checkpoint, Completion, Delta, Job, Model, Sampling
from ftjobs.server.projects.bases import base_model, no_model, tuned_names
from ftjobs.server.projects.jobs import Jobs
from ftjobs.server.words import is_name

__all__ = ["Models"]

_CHECKPOINT = re.compile(r":ckpt-step-\d+$")


class Models(Jobs):
    """Base models, and what this project's jobs have made."""

    def models(self) -> Iterator[Model]:
        """Base models, and the tuned ones of this project."""
        for name in self.options.models:
            yield Model(id=name, owned_by="base")
        known = {*self.options.models, *self.options.models.values()}
        mine = {job.fine_tuned_model for job in self._found()}
        anyones = mine if self.caller.sees_all else tuned_names(self.rooms)
        for model in self.backend.models():
            is_tuned = model.id.startswith("ft:") or model.id in anyones
            is_shown = model.id in mine if is_tuned else is_name(model.id)
            if is_shown and model.id not in known:
                yield model

    def model(self, name: str) -> Model:
        """One model or checkpoint.  NotFoundError if there is none for this project."""
        for model in self.models():
            if model.id == name:
                return model
        for job in self._found() if _CHECKPOINT.search(name) else ():
            if (checkpoint := self._checkpoint(job, name)) is not None:
                owner = self.rooms.words.model(job.model)
                return Model(id=name, created=checkpoint.created_at, owned_by=owner)
        raise no_model(name)

    def delete_model(self, name: str) -> None:
        """Delete a tuned model with its checkpoints, or one checkpoint.

        Raises:
            NotFoundError: there is none for this project.
            InvalidRequestError: it is a base model, or a job makes it yet.
            UnsupportedError: the backend deletes none.
        """
        job_id = self._maker(name)
        if job_id is None:
            base_model(self.rooms, name)  # not there, rather than not to be deleted
            raise InvalidRequestError(f"{name} is a base model, which cannot be deleted")
        if not self.capabilities.delete_models:
            raise UnsupportedError("the backend of this server cannot delete models")
        try:
            self.backend.delete_model(name)
        except NotFoundError:
            raise no_model(name) from None
        finally:
            self.rooms.names.forget(job_id)

    def complete(
        self, model: str, messages: Sequence[ChatMessage], *, sampling: Sampling, tools: Tools = ()
    ) -> Completion:
        """The whole answer of a model.  NotFoundError if there is none for this project."""
        asked = self._asked(model)
        with self.rooms.words.used():
            found = self.backend.complete(asked, messages, sampling=sampling, tools=tools)
        self.rooms.metrics.tokens(found.usage)
        return found.model_copy(update={"model": model})

    def stream(
        self, model: str, messages: Sequence[ChatMessage], *, sampling: Sampling, tools: Tools = ()
    ) -> Iterator[Delta]:
        """The answer piece by piece.  NotFoundError if there is none for this project."""
        asked = self._asked(model)
        with self.rooms.words.used():
            pieces = self.backend.stream(asked, messages, sampling=sampling, tools=tools)
        return self._spoken(pieces)

    def _spoken(self, pieces: Iterator[Delta]) -> Iterator[Delta]:
        used = None
        with self.rooms.words.used():
            for delta in pieces:
                used = delta.usage or used
                yield delta
        self.rooms.metrics.tokens(used)

    # --- what is whose -----------------------------------------------------------------------

    def _asked(self, name: str) -> str:
        """The backend's name of a model that may be asked.  NotFoundError if it may not."""
        return base_model(self.rooms, name) if self._maker(name) is None else name

    def _maker(self, name: str) -> str | None:
        """The job of this project that made a model or a checkpoint; None if none did.

        A name that is known costs one look at who owns what.
        """
        if name in self.options.models or self.rooms.names.is_base(name):
            return None
        if (job_id := self.rooms.names.job(name)) is not None:
            return job_id if self._sees("job", job_id) else None
        job = next((job for job in self._found() if self._made(job, name)), None)
        if job is None:
            return None
        self.rooms.names.learn(name, job.id)
        return job.id

    def _made(self, job: Job, name: str) -> bool:
        if job.fine_tuned_model == name:
            return True
        tuned = _CHECKPOINT.sub("", name)
        # A job that has not ended, or not well, has checkpoints and no model.
        may_have = job.fine_tuned_model in (None, tuned) and tuned != name
        return may_have and self._checkpoint(job, name) is not None

    def _checkpoint(self, job: Job, name: str) -> Checkpoint | None:
        kept = self.backend.checkpoints(job.id) if self.capabilities.checkpoints else ()
        return next((each for each in kept if each.fine_tuned_model_checkpoint == name), None)
