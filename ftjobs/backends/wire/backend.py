"""Any service that speaks the OpenAI wire: files, fine-tuning jobs, models and chat.

How calls are sent is in `session`, what they say in `body`, how files go in `uploads`.
Answers are read as JSON into the nouns of `ftjobs.schema`.  What differs between services is
data: `ftjobs.backends.profiles`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ftjobs.backends.base import Permission, Progress, Tools, check_supported, silent
from ftjobs.backends.chat import (
    BEYOND_OPENAI,
    DEFAULTS,
    chat_body,
    check_sampling,
    completion,
    deltas,
)
from ftjobs.backends.download import range_header, save
from ftjobs.backends.nouns import Raw, noun
from ftjobs.backends.profiles import Profile
from ftjobs.backends.results import plain_csv
from ftjobs.backends.retry import RetryPolicy
from ftjobs.backends.wire.body import create_body, read_checkpoint, read_file, read_job
from ftjobs.backends.wire.parts import PART_SIZE
from ftjobs.backends.wire.session import Session
from ftjobs.backends.wire.uploads import Uploader
from ftjobs.errors import InvalidRequestError, NotFoundError, UnsupportedError
from ftjobs.schema import (
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

__all__ = ["WireBackend"]

PAUSED = frozenset({"pausing", "paused"})
PAGE = 100  # jobs, events: the most that services are known to give at once


class WireBackend:
    """A `Backend` over HTTP, which also `Downloads`, `Describes` and `Permits`.  Thread-safe.

    Everything is repeated by `retry` but `create`, which is sent once, and file uploads, which
    are repeated after a look whether the first one arrived.

    Args:
        name: what the user calls it.
        profile: where the service is, what it can do, and what is particular to its wire.
        key: sent in the profile's header for it, and never written anywhere else.
        retry: the policy for what may be repeated.
        timeout: seconds without a byte after which a call fails with DeadlineError.
        deadline: seconds for a whole call, and more for large files; a streamed answer has it up
            to its first piece.
        journal: the folder in which unfinished uploads are noted; None notes nothing.
        part_size: bytes of a part; larger files go in parts, where the service takes them.

    Raises:
        ConfigError: the URL cannot be used.
        AuthError: the key holds characters that no header can carry.
    """

    def __init__(
        self,
        name: str,
        profile: Profile,
        key: str,
        *,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        timeout: float = 120.0,
        deadline: float = 300.0,
        journal: Path | None = None,
        part_size: int = PART_SIZE,
    ) -> None:
        self.name = name
        self.capabilities = profile.capabilities
        self.profile = profile
        self._wire = Session(name, profile, key, retry=retry, timeout=timeout, deadline=deadline)
        self._uploader = Uploader(
            self._wire, journal, profile.capabilities.list_lag, profile.parts, part_size
        )

    def close(self) -> None:
        """Close the connections.  The backend opens new ones if it is used again."""
        self._wire.close()

    # --- files --------------------------------------------------------------------------------

    def upload(
        self,
        path: Path,
        *,
        name: str | None = None,
        purpose: str = "fine-tune",
        progress: Progress | None = None,
    ) -> File:
        """Send a file, in constant memory.  ConfigError if it cannot be read, or changes."""
        path = Path(path)
        return self._uploader.send(path, name or path.name, purpose, progress or silent)

    def file(self, file_id: str) -> File:
        """One file's record."""
        return read_file(self._wire.read(self._wire.api.files.retrieve, file_id), self.name)

    def files(self) -> Iterator[File]:
        """Every file, newest first, fetched page by page."""
        for page in self._wire.pages(self._wire.api.files.list):
            for raw in page:
                yield read_file(raw, self.name)

    def content(self, file_id: str) -> bytes:
        """A file's bytes, as the service has them."""
        return self._wire.content(file_id)

    def download(self, file_id: str, target: BinaryIO, *, progress: Progress | None = None) -> None:
        """Write a file's bytes to `target`, from its position on; see `Downloads`."""
        save(
            lambda start: self._wire.streamed_content(file_id, range_header(start)),
            target,
            self._wire.retry,
            progress or silent,
        )

    def delete_file(self, file_id: str) -> None:
        """Delete a file."""
        self._wire.delete(self._wire.api.files.delete, file_id)

    # --- jobs ---------------------------------------------------------------------------------

    def create(self, spec: JobSpec) -> Job:
        """Create a job: one POST, whatever comes of it.  UnsupportedError before anything goes.

        `BackendError.acted` says whether the job may be there after a failure.
        """
        check_supported(spec, self.capabilities, self.name)
        body = create_body(spec, self.profile, self.name)
        asked = {name: body[name] for name in ("model", "training_file")}  # the SDK insists
        create = self._wire.api.fine_tuning.jobs.create
        return self._job(self._wire.send(create, **asked, extra_body=body))

    def retrieve(self, job_id: str) -> Job:
        """A job's present state."""
        return self._job(self._wire.read(self._wire.api.fine_tuning.jobs.retrieve, job_id))

    def cancel(self, job_id: str) -> Job:
        """End a job; one that has ended, or is about to, is returned as it is."""
        return self._steer("cancel", job_id, lambda job: job.ended or "cancel" in job.status)

    def pause(self, job_id: str) -> Job:
        """Ask the service to pause a job: it answers `pausing` or `paused`."""
        return self._steer("pause", job_id, lambda job: job.status in PAUSED)

    def resume(self, job_id: str) -> Job:
        """Ask the service to go on with a paused job."""
        done = lambda job: not job.ended and job.status not in PAUSED  # noqa: E731
        return self._steer("resume", job_id, done)

    def jobs(self, *, metadata: Mapping[str, str] | None = None) -> Iterator[Job]:
        """Every job that carries all pairs of `metadata`, newest first, page by page."""
        wanted = dict(metadata or {})
        filters = {"metadata": wanted} if wanted and self.capabilities.metadata else {}
        list_jobs = self._wire.api.fine_tuning.jobs.list
        for page in self._wire.pages(list_jobs, limit=PAGE, **filters):
            for job in map(self._job, page):
                if wanted.items() <= job.metadata.items():  # some services ignore the filter
                    yield job

    def events(self, job_id: str, *, after: str | None = None) -> Sequence[Event]:
        """Events oldest first, strictly after `after`; all where that id is unknown.

        The service lists newest first, and events of one second in any order, so pages are read
        until one holds `after`, and the order is (created_at, arrival).
        """
        found: dict[str, Event] = {}
        list_events = self._wire.api.fine_tuning.jobs.list_events
        for page in self._wire.pages(list_events, job_id, limit=PAGE):
            for raw in page:
                found[raw["id"]] = noun(Event, raw, self.name, message="")
            if after in found:
                break
        arrived = [*found.values()][::-1]
        ordered = sorted(arrived, key=lambda event: event.created_at)
        place = ordered.index(found[after]) + 1 if after in found else 0
        return tuple(ordered[place:])

    def checkpoints(self, job_id: str) -> Sequence[Checkpoint]:
        """Checkpoints still kept, oldest first."""
        pages = self._wire.pages(self._wire.api.fine_tuning.jobs.checkpoints.list, job_id)
        found = [read_checkpoint(raw, job_id, self.name) for page in pages for raw in page]
        return tuple(sorted(found, key=lambda each: (each.created_at, each.step_number)))

    def result_file(self, job: Job) -> bytes:
        """The metrics CSV; services that send it in base64 are undone."""
        for file_id in job.result_files:
            return plain_csv(self.content(file_id))
        raise NotFoundError(f"job {job.id} has no result file")

    def _steer(self, verb: str, job_id: str, done: Callable[[Job], bool]) -> Job:
        """Ask for a change; a refusal is no error where the job is already so."""
        if verb != "cancel" and not self.capabilities.pause:
            raise UnsupportedError(f"{self.name} cannot {verb} jobs")
        ask = getattr(self._wire.api.fine_tuning.jobs, verb)
        try:
            return self._job(self._wire.read(ask, job_id))
        except InvalidRequestError as refused:
            try:
                job = self.retrieve(job_id)
            except NotFoundError:  # a list that lags: what the service said first says more
                raise refused from None
            if done(job):
                return job
            raise

    def _job(self, raw: Raw) -> Job:
        return read_job(raw, self.profile, self.name)

    # --- checkpoint permissions ---------------------------------------------------------------

    def permissions(self, checkpoint: str) -> Sequence[Permission]:
        """Who may use a checkpoint; see `Permits`."""
        granted = self._wire.api.fine_tuning.checkpoints.permissions
        pages = self._wire.pages(granted.list, checkpoint, limit=PAGE)
        return tuple(noun(Permission, raw, self.name) for page in pages for raw in page)

    def permit(self, checkpoint: str, projects: Sequence[str]) -> Sequence[Permission]:
        """Let projects use a checkpoint; see `Permits`."""
        granted = self._wire.api.fine_tuning.checkpoints.permissions
        wanted = list(dict.fromkeys(projects))
        answer = self._wire.read(granted.create, checkpoint, project_ids=wanted)
        return tuple(noun(Permission, raw, self.name) for raw in self._wire.rows(answer))

    def forbid(self, checkpoint: str, permission_id: str) -> None:
        """Take a permission back; see `Permits`."""
        granted = self._wire.api.fine_tuning.checkpoints.permissions
        self._wire.delete(
            lambda: granted.delete(permission_id, fine_tuned_model_checkpoint=checkpoint)
        )

    # --- models and answers -------------------------------------------------------------------

    def models(self) -> Iterator[Model]:
        """Models that can be trained or asked, in the service's order."""
        for raw in self._wire.rows(self._wire.read(self._wire.api.models.list)):
            yield noun(Model, raw, self.name)

    def model(self, model: str) -> Model:
        """One model; services that cannot be asked for one are asked for all."""
        try:
            return noun(Model, self._wire.read(self._wire.api.models.retrieve, model), self.name)
        except (NotFoundError, InvalidRequestError):
            with suppress(NotFoundError, InvalidRequestError):
                for each in self.models():
                    if each.id == model:
                        return each
            raise

    def delete_model(self, model: str) -> None:
        """Delete a fine-tuned model."""
        self._wire.delete(self._wire.api.models.delete, model)

    def complete(
        self,
        model: str,
        messages: Sequence[ChatMessage],
        *,
        sampling: Sampling = DEFAULTS,
        tools: Tools = (),
    ) -> Completion:
        """The whole answer.  UnsupportedError if `sampling` asks for what it does not know."""
        check_sampling(sampling, self.capabilities, self.name)
        body = chat_body(model, messages, sampling, tools)
        beyond = {name: body.pop(name) for name in BEYOND_OPENAI if name in body}
        raw = self._wire.read(
            self._wire.api.chat.completions.create, **body, extra_body=beyond or None
        )
        return completion(raw, model, self.name)

    def stream(
        self,
        model: str,
        messages: Sequence[ChatMessage],
        *,
        sampling: Sampling = DEFAULTS,
        tools: Tools = (),
    ) -> Iterator[Delta]:
        """The answer piece by piece; only its opening is retried.  Raises as `complete`."""
        check_sampling(sampling, self.capabilities, self.name)
        body = chat_body(model, messages, sampling, tools)
        body["stream_options"] = {"include_usage": True}
        chunks = self._wire.stream("/chat/completions", body)
        return deltas(chunks, sampling.n, self.name)
