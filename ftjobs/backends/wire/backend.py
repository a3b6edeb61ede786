"""Any service that speaks the OpenAI wire: files, fine-tuning jobs, models and chat.

The only importer of openai, and only inside functions: importing it takes half a second.  The
SDK contributes requests, authentication and streaming.  Its own retries are off, because they
would repeat `create`; its response types are passed by, because they reject words that services
really send.  Answers are read as JSON into the nouns of `ftjobs.schema`.

What differs between services is data: `ftjobs.backends.profiles`.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from pydantic import BaseModel

from ftjobs.backends.base import Progress, check_supported
from ftjobs.backends.profiles import PROFILES, Profile, check_url
from ftjobs.backends.results import plain_csv
from ftjobs.backends.retry import TRANSIENT, RetryPolicy
from ftjobs.backends.translation import translation
from ftjobs.backends.wire.body import (
    Raw,
    create_body,
    mapping,
    noun,
    read_checkpoint,
    read_file,
    read_job,
)
from ftjobs.backends.wire.download import range_header, save
from ftjobs.errors import (
    AuthError,
    ConfigError,
    FtjobsError,
    InvalidRequestError,
    NotFoundError,
    ServiceError,
    UnreachableError,
    UnsupportedError,
)
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
    Usage,
)

if TYPE_CHECKING:
    from httpx2 import Response
    from openai import OpenAI

__all__ = ["WireBackend"]

Noun = TypeVar("Noun", bound=BaseModel)
WIRE_DEFAULTS = Sampling()
PAUSED = frozenset({"pausing", "paused"})
NO_BEARER = "none"  # the SDK insists on a bearer token, also where the key has its own header


class WireBackend:
    """A `Backend` over HTTP.  Thread-safe.

    Reads, cancel, pause, resume and chat are repeated by `retry`; uploads, deletions and
    `create` are sent once.

    Args:
        name: what the user calls it.
        profile: where the service is, what it can do, and what is particular to its wire.
        key: sent in the profile's header for it, and never written anywhere else.
        retry: the policy for what may be repeated.
        timeout: seconds without a byte after which a call fails with DeadlineError.
        journal: the folder in which unfinished uploads are noted; None notes nothing.

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
        journal: Path | None = None,
    ) -> None:
        check_url(profile.base_url)
        if not re.fullmatch(r"[!-~]+", key):
            raise AuthError("the key is empty, or holds spaces or characters that no key has")
        self.name = name
        self.capabilities = profile.capabilities
        self._profile = profile
        self._key = key
        self._retry = retry
        self._timeout = timeout
        self._journal = journal

    def close(self) -> None:
        """Close the connections.  The backend opens new ones if it is used again."""
        self.__dict__.pop("_api", None)
        if client := self.__dict__.pop("_client", None):
            client.close()

    # --- files --------------------------------------------------------------------------------

    def upload(
        self,
        path: Path,
        *,
        name: str | None = None,
        purpose: str = "fine-tune",
        progress: Progress | None = None,
    ) -> File:
        """Send a file, streamed.  ConfigError if it cannot be read."""
        with _Counted(path, progress or _silent) as content:
            sent = (name or Path(path).name, content)
            return self._file(self._send(self._api.files.create, file=sent, purpose=purpose))

    def file(self, file_id: str) -> File:
        """One file's record."""
        return self._file(self._read(self._api.files.retrieve, file_id))

    def files(self) -> Iterator[File]:
        """Every file, newest first, fetched page by page."""
        for page in self._pages(self._api.files.list):
            yield from map(self._file, page)

    def content(self, file_id: str) -> bytes:
        """A file's bytes, as the service has them."""
        return self._retry.call(lambda: self._bytes(file_id), on=TRANSIENT)

    def download(self, file_id: str, target: BinaryIO, *, progress: Progress | None = None) -> None:
        """Write a file's bytes to `target`, from its position on; see `Downloads`."""
        save(
            lambda start: self._content_from(file_id, start),
            target,
            self._retry,
            progress or _silent,
        )

    @contextmanager
    def _content_from(self, file_id: str, start: int) -> Iterator[Response]:
        with self._translated():
            files = self._client.with_streaming_response.files
            with files.content(file_id, extra_headers=range_header(start)) as answer:
                yield answer.http_response

    def delete_file(self, file_id: str) -> None:
        """Delete a file."""
        self._send(self._api.files.delete, file_id)

    # --- jobs ---------------------------------------------------------------------------------

    def create(self, spec: JobSpec) -> Job:
        """Create a job: one POST, whatever comes of it.  UnsupportedError before anything goes."""
        check_supported(spec, self.capabilities, self.name)
        body = create_body(spec, self._profile, self.name)
        asked = {name: body[name] for name in ("model", "training_file")}  # the SDK insists
        return self._job(self._send(self._api.fine_tuning.jobs.create, **asked, extra_body=body))

    def retrieve(self, job_id: str) -> Job:
        """A job's present state."""
        return self._job(self._read(self._api.fine_tuning.jobs.retrieve, job_id))

    def cancel(self, job_id: str) -> Job:
        """End a job; one that has ended is returned as it is."""
        return self._steer("cancel", job_id, lambda job: job.ended)

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
        for page in self._pages(self._api.fine_tuning.jobs.list, limit=100, **filters):
            for job in map(self._job, page):
                if wanted.items() <= job.metadata.items():  # some services ignore the filter
                    yield job

    def events(self, job_id: str, *, after: str | None = None) -> Sequence[Event]:
        """Events oldest first, strictly after `after`; all where that id is unknown.

        The service lists newest first, and events of one second in any order, so pages are read
        until one holds `after`, and the order is (created_at, arrival).
        """
        found: dict[str, Event] = {}
        for page in self._pages(self._api.fine_tuning.jobs.list_events, job_id, limit=100):
            for raw in page:
                found[raw["id"]] = self._noun(Event, raw, message="")
            if after in found:
                break
        arrived = [*found.values()][::-1]
        ordered = sorted(arrived, key=lambda event: event.created_at)
        place = ordered.index(found[after]) + 1 if after in found else 0
        return tuple(ordered[place:])

    def checkpoints(self, job_id: str) -> Sequence[Checkpoint]:
        """Checkpoints still kept, oldest first."""
        pages = self._pages(self._api.fine_tuning.jobs.checkpoints.list, job_id)
        found = [read_checkpoint(raw, job_id, self.name) for page in pages for raw in page]
        return tuple(sorted(found, key=lambda each: (each.created_at, each.step_number)))

    def result_file(self, job: Job) -> bytes:
        """The metrics CSV; services that send it in base64 are undone."""
        for file_id in job.result_files:
            return plain_csv(self.content(file_id))
        raise NotFoundError(f"job {job.id} has no result file")

    # --- models and answers -------------------------------------------------------------------

    def models(self) -> Iterator[Model]:
        """Models that can be trained or asked, in the service's order."""
        for raw in _rows(self._read(self._api.models.list)):
            yield self._noun(Model, raw)

    def delete_model(self, model: str) -> None:
        """Delete a fine-tuned model."""
        self._send(self._api.models.delete, model)

    def complete(
        self, model: str, messages: Sequence[ChatMessage], *, sampling: Sampling = WIRE_DEFAULTS
    ) -> Completion:
        """The whole answer."""
        body = _chat_body(model, messages, sampling)
        raw = self._read(self._api.chat.completions.create, **body)
        return self._noun(Completion, raw, model=model)

    def stream(
        self, model: str, messages: Sequence[ChatMessage], *, sampling: Sampling = WIRE_DEFAULTS
    ) -> Iterator[Delta]:
        """The answer piece by piece; only its opening is retried."""
        body = _chat_body(model, messages, sampling) | {"stream_options": {"include_usage": True}}
        chunks = self._retry.call(lambda: self._open_stream(body), on=TRANSIENT)
        return self._deltas(chunks, sampling.n)

    def _open_stream(self, body: Raw) -> Any:
        import openai

        with self._translated():
            return self._client.post(
                "/chat/completions",
                body={**body, "stream": True},
                cast_to=object,
                stream=True,
                stream_cls=openai.Stream[object],
            )

    def _deltas(self, chunks: Any, n: int) -> Iterator[Delta]:
        ends: dict[int, Delta] = {}  # kept back, so that the usage that follows can join the last
        usage = None
        with chunks:
            for chunk in self._chunks(chunks):
                usage = chunk.get("usage") or usage
                for choice in chunk.get("choices") or ():
                    delta = self._delta(mapping(choice))
                    if delta.content:
                        yield delta.model_copy(update={"finish_reason": None})
                    if delta.finish_reason:
                        ends[delta.index] = delta.model_copy(update={"content": ""})
        if len(ends) < n:
            raise ServiceError(f"{self.name}: the stream ended before the answer did")
        *others, last = sorted(ends.values(), key=lambda delta: delta.index)
        yield from others
        yield last.model_copy(update={"usage": usage and self._noun(Usage, usage)})

    def _chunks(self, chunks: Any) -> Iterator[Raw]:
        try:
            with self._translated():
                for chunk in chunks:
                    if not isinstance(chunk, Mapping):
                        raise ServiceError(f"{self.name}: a piece of the stream is no object")
                    yield chunk
        except UnreachableError as error:
            raise ServiceError(f"{self.name}: the stream was cut: {error.message}") from None

    # --- sending ------------------------------------------------------------------------------

    @cached_property
    def _client(self) -> OpenAI:
        import openai

        # The SDK would send OpenAI's settings of the environment to whatever the base URL is.
        foreign = self._profile.base_url != PROFILES["openai"].base_url
        ambient = os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n") if foreign else ()
        silenced: dict[str, Any] = {
            line.partition(":")[0].strip(): openai.Omit() for line in ambient
        }
        ours = {"Authorization": NO_BEARER, **self._profile.auth(self._key)}
        client = openai.OpenAI(
            api_key=self._key,
            base_url=self._profile.base_url,
            max_retries=0,
            timeout=self._timeout,
            default_headers=silenced | ours,
            default_query=dict(self._profile.query),
            http_client=openai.DefaultHttpxClient(event_hooks={"request": [_without_bearer]}),
        )
        if foreign:
            client.organization = client.project = None
        return client

    @cached_property
    def _api(self) -> Any:
        with self._translated():
            return self._client.with_raw_response

    @contextmanager
    def _translated(self) -> Iterator[None]:
        import httpx2
        import openai

        try:
            yield
        except FtjobsError:
            raise
        except (
            openai.OpenAIError,
            httpx2.HTTPError,
            httpx2.InvalidURL,
            httpx2.StreamError,
            ValueError,
        ) as error:
            # Not chained: the original quotes the service, which may quote the key.
            raise translation(error, self.name, self._key) from None

    def _send(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Raw:
        with self._translated():
            answer = json.loads(call(*args, **kwargs).content)
        if not isinstance(answer, Mapping):
            raise ServiceError(f"{self.name} answered JSON that is no object")
        return answer

    def _read(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Raw:
        return self._retry.call(lambda: self._send(call, *args, **kwargs), on=TRANSIENT)

    def _bytes(self, file_id: str) -> bytes:
        with self._translated():
            return bytes(self._api.files.content(file_id).content)

    def _pages(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Iterator[list[Raw]]:
        """The pages of a list, without repeats; ends even where a service ignores the cursor."""
        seen: set[str] = set()
        cursor: dict[str, str] = {}
        while True:
            answer = self._read(call, *args, **kwargs, **cursor)
            page = {row["id"]: row for row in _rows(answer) if row["id"] not in seen}
            if page:
                yield list(page.values())
            if not page or answer.get("has_more") is False:
                return
            seen |= page.keys()
            cursor = {"after": list(page)[-1]}

    def _steer(self, verb: str, job_id: str, done: Callable[[Job], bool]) -> Job:
        """Ask for a change; a refusal is no error where the job is already so."""
        if verb != "cancel" and not self.capabilities.pause:
            raise UnsupportedError(f"{self.name} cannot {verb} jobs")
        try:
            return self._job(self._read(getattr(self._api.fine_tuning.jobs, verb), job_id))
        except InvalidRequestError:
            job = self.retrieve(job_id)
            if done(job):
                return job
            raise

    # --- reading answers ----------------------------------------------------------------------

    def _noun(self, cls: type[Noun], raw: Raw, **missing: Any) -> Noun:
        return noun(cls, raw, self.name, **missing)

    def _file(self, raw: Raw) -> File:
        return read_file(raw, self.name)

    def _job(self, raw: Raw) -> Job:
        return read_job(raw, self._profile, self.name)

    def _delta(self, choice: Raw) -> Delta:
        content = mapping(choice.get("delta")).get("content")
        finish_reason = choice.get("finish_reason")
        raw = {"index": choice.get("index"), "content": content, "finish_reason": finish_reason}
        return self._noun(Delta, raw)


# --- small helpers -----------------------------------------------------------------------------


def _rows(answer: Raw) -> list[Raw]:
    rows = answer.get("data") or []
    if isinstance(rows, list) and all(isinstance(row, Mapping) and "id" in row for row in rows):
        return rows
    raise ServiceError("the service answered a list that cannot be read")


def _chat_body(model: str, messages: Sequence[ChatMessage], sampling: Sampling) -> dict[str, Any]:
    drawn = sampling.model_dump(mode="json", exclude_defaults=True)
    said = [
        message.model_dump(mode="json", exclude_none=True, exclude={"weight"})
        for message in messages
    ]
    return {"model": model, "messages": said, **drawn}


def _without_bearer(request: Any) -> None:
    if request.headers.get("Authorization") == NO_BEARER:
        del request.headers["Authorization"]


def _silent(done: int, total: int) -> None:
    """Progress that nobody follows."""


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None


class _Counted(io.FileIO):
    """A file that reports how far it has been read."""

    def __init__(self, path: Path, progress: Progress) -> None:
        with _readable(path):
            super().__init__(path)
        self._path = path
        self._progress = progress
        self._total = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        with _readable(self._path):
            chunk = super().read(-1 if size is None else size) or b""
        self._progress(self.tell(), self._total)
        return chunk
