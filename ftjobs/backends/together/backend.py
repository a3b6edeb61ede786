"""Together's own wire: `/v1/files`, `/v1/fine-tunes`, `/v1/chat/completions`.

Written from the REST reference (docs.together.ai; OpenAPI description of 2026-04-28) and the
released Python SDK 3.1.1, both read on 2026-11-22.  It was never run against the paid service.

What differs from the OpenAI wire, and what is made of it:

* A job keeps no metadata: its identity goes into the suffix (at most 40 characters), above here.
* Its words for a status are mapped (`STATUSES`); the original is `Job.original_status`, and an
  unknown word passes through.  Events keep theirs in `event.data["type"]`, and get an id that is
  made of their content, because they have none.
* Steps are numbers of `/metrics`; here they are metrics events, each after the event it follows,
  and the result file is made of them.
* Epochs are 1 unless given.  A checkpoint is kept for each, and with a validation file each is
  evaluated: the service's own default is to evaluate never.
* `context_length` is not offered: a longer example would be cut, not refused.
* Files are sent to a signed URL in one piece, which storage takes up to 5 GiB.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from ftjobs.backends.base import Progress, check_supported, silent
from ftjobs.backends.curves import metrics_csv, metrics_of
from ftjobs.backends.download import save
from ftjobs.backends.native import Native, require_unused
from ftjobs.backends.nouns import Raw, noun, rows, text
from ftjobs.backends.rest import at
from ftjobs.backends.together.body import (
    PRICED,
    STATUSES,
    create_body,
    read_checkpoint,
    read_file,
    read_job,
)
from ftjobs.backends.together.story import since, story
from ftjobs.disk import blocks_of
from ftjobs.errors import (
    ConfigError,
    InvalidRequestError,
    NotFoundError,
    ServiceError,
    UnsupportedError,
)
from ftjobs.schema import (
    Checkpoint,
    Event,
    File,
    Job,
    JobSpec,
    Model,
)

__all__ = ["TogetherBackend"]

FILE_TYPES = frozenset({"jsonl", "csv", "parquet"})
SENT, KNOWN_FILE = frozenset({200, 201, 302, 303, 307}), 409


class TogetherBackend(Native):
    """A `Backend` for Together.  Thread-safe."""

    chat = "v1/chat/completions"

    # --- files --------------------------------------------------------------------------------

    def upload(
        self,
        path: Path,
        *,
        name: str | None = None,
        purpose: str = "fine-tune",
        progress: Progress | None = None,
    ) -> File:
        """Send a file.  The service knows bytes by their hash: the same again give the first file.

        Raises:
            ConfigError: the file cannot be read, is too large, or has no type that it takes.
        """
        progress, filename = progress or silent, name or Path(path).name
        digest, size = self._measured(path)
        fields = {
            "purpose": purpose,
            "file_name": filename,
            "file_type": _file_type(filename),
            "checksum": digest,
        }
        status, headers, body = self._rest.form("v1/files", fields, expected=SENT | {KNOWN_FILE})
        if status == KNOWN_FILE:
            progress(size, size)
            return self.file(text(body.get("file_id")))
        place, file_id = (headers.get(field, "") for field in ("location", "x-together-file-id"))
        if not place or not file_id:
            raise ServiceError(f"{self.name} does not say where to send the file")
        self._rest.put_file(place, path, headers={}, progress=progress)
        return self._file(self._rest.post(at("v1/files/{}/preprocess", file_id)))

    def file(self, file_id: str) -> File:
        """One file's record."""
        return self._file(self._rest.get(at("v1/files/{}", file_id)))

    def files(self) -> Iterator[File]:
        """Every file, newest first, in one answer."""
        found = map(self._file, self._rest.array("v1/files"))
        yield from sorted(found, key=lambda file: file.created_at, reverse=True)

    def content(self, file_id: str) -> bytes:
        """A file's bytes."""
        return self._rest.content(at("v1/files/{}/content", file_id))

    def download(self, file_id: str, target: BinaryIO, *, progress: Progress | None = None) -> None:
        """Write a file's bytes to `target`, from its position on; see `Downloads`."""
        path = at("v1/files/{}/content", file_id)
        save(
            lambda start: self._rest.streamed(path, start),
            target,
            self._rest.retry,
            progress or silent,
        )

    def delete_file(self, file_id: str) -> None:
        """Delete a file.  InvalidRequestError while a job needs it, which is asked first."""
        require_unused(file_id, self.jobs())
        self._rest.delete(at("v1/files/{}", file_id))

    # --- jobs ---------------------------------------------------------------------------------

    def create(self, spec: JobSpec) -> Job:
        """Create a job: one POST, after the limits of its model were read.

        Raises:
            UnsupportedError: something in the spec cannot be said here; nothing was sent.
            NotFoundError: the model cannot be trained.
        """
        return self._job(self._rest.post("v1/fine-tunes", self._body(spec)))

    def price(self, spec: JobSpec) -> float | None:
        """What the service expects a job to cost, in US dollars.

        `spec` names uploaded files.  None where the service cannot say, as for files that it has
        not looked through yet.
        """
        body = self._body(spec)
        sent = {field: value for field, value in body.items() if field in PRICED}
        said = self._rest.read(lambda: self._rest.post("v1/fine-tunes/estimate-price", sent))
        usd = said.get("estimated_total_price") if said.get("estimation_available") else None
        return float(usd) if isinstance(usd, int | float) else None

    def retrieve(self, job_id: str) -> Job:
        """A job's present state."""
        return self._job(self._rest.get(at("v1/fine-tunes/{}", job_id)))

    def cancel(self, job_id: str) -> Job:
        """Ask for the end of a job; one that has ended is returned as it is."""
        path = at("v1/fine-tunes/{}/cancel", job_id)
        try:
            self._rest.read(lambda: self._rest.tell(path))
        except InvalidRequestError:
            job = self.retrieve(job_id)
            if job.ended:
                return job
            raise
        return self.retrieve(job_id)

    def jobs(self, *, metadata: Mapping[str, str] | None = None) -> Iterator[Job]:
        """Every job, newest first, in one answer; none with `metadata`, which no job keeps."""
        wanted = dict(metadata or {}).items()
        found = map(self._job, self._rest.array("v1/fine-tunes"))
        for job in sorted(found, key=lambda job: job.created_at, reverse=True):
            if wanted <= job.metadata.items():
                yield job

    def events(self, job_id: str, *, after: str | None = None) -> Sequence[Event]:
        """Events and steps, oldest first, after `after`; all where that id is unknown.

        Which of a step and an event came first is not always known; see `story.since`.
        """
        said = self._rest.array(at("v1/fine-tunes/{}/events", job_id))
        return since(story(job_id, said, self._steps(job_id), self.name), after)

    def checkpoints(self, job_id: str) -> Sequence[Checkpoint]:
        """Checkpoints still kept, oldest first."""
        found = self._rest.array(at("v1/fine-tunes/{}/checkpoints", job_id))
        kept = [read_checkpoint(raw, job_id, self.name) for raw in found]
        return tuple(sorted(kept, key=lambda each: (each.step_number, each.created_at)))

    def result_file(self, job: Job) -> bytes:
        """The steps of a job as the wire's CSV.  NotFoundError if it made none."""
        steps = [metrics_of(row) for row in self._steps(job.id)]
        if not steps:
            raise NotFoundError(f"job {job.id} has no metrics")
        return metrics_csv(steps)

    def _steps(self, job_id: str) -> list[Raw]:
        """The rows of `/metrics`, in chronological order; none before there are any."""
        try:
            answer = self._rest.get(at("v1/fine-tunes/{}/metrics", job_id))
        except NotFoundError:
            return []
        return rows(answer, "metrics", self.name)

    # --- models and answers -------------------------------------------------------------------

    def models(self) -> Iterator[Model]:
        """Models that can be trained, that can be asked, and those that jobs have made."""
        names = self._rest.get("v1/fine-tunes/models/supported").get("models")
        trainable = {text(name) for name in names} if isinstance(names, list) else set()
        for raw in self._rest.array("v1/models"):
            model = noun(Model, raw, self.name, owned_by=text(raw.get("organization")))
            trainable.discard(model.id)
            yield model
        yield from (Model(id=name) for name in sorted(trainable - {""}))
        for job in self.jobs():
            if job.fine_tuned_model:
                yield Model(id=job.fine_tuned_model, created=job.created_at)

    def delete_model(self, model: str) -> None:
        """UnsupportedError: models are deleted by project and id, which a job does not tell."""
        raise UnsupportedError(
            f"{self.name} cannot delete model {model} here", hint="Use api.together.ai/models."
        )

    # --- what is sent -------------------------------------------------------------------------

    def _measured(self, path: Path) -> tuple[str, int]:
        """A file's sha256 and its size."""
        digest, size = hashlib.sha256(), 0
        for block in blocks_of(path):
            digest.update(block)
            size += len(block)
        most = self.capabilities.max_file_bytes
        if most is not None and size > most:
            raise ConfigError(f"{path} has {size:,} bytes; {self.name} takes {most:,} at most")
        return digest.hexdigest(), size

    def _body(self, spec: JobSpec) -> dict[str, Any]:
        """The body of `create`, once the limits of the model are known."""
        check_supported(spec, self.capabilities, self.name)
        limits = self._rest.get("v1/fine-tunes/models/limits", model_name=spec.model)
        return create_body(spec, limits, self._always, self.name)

    # --- what comes back ----------------------------------------------------------------------

    def _file(self, raw: Raw) -> File:
        return read_file(raw, self.name)

    def _job(self, raw: Raw) -> Job:
        return read_job(raw, {**STATUSES, **self.profile.statuses}, self.name)


def _file_type(filename: str) -> str:
    kind = Path(filename).suffix.lower().removeprefix(".")
    if kind not in FILE_TYPES:
        known = ", ".join(f".{each}" for each in sorted(FILE_TYPES))
        raise ConfigError(f"{filename}: the name must end in one of {known}")
    return kind
