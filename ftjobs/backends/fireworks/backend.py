"""Fireworks' own wire: datasets, `supervisedFineTuningJobs`, `dpoJobs`, models, chat.

Written from the REST reference (docs.fireworks.ai) and the released Python SDK 1.2.30, both read
on 2026-11-22.  It was never run against the paid service.

What differs from the OpenAI wire, and what is made of it:

* The client may choose a job's id, so a job whose metadata carries `schema.IDENTITY` is called
  `ftjobs-IDENTITY`, and creating it again gives the first one (HTTP 409) instead of a second.
  Where that one ended in vain, the next is `ftjobs-IDENTITY-2`.  Other metadata is not kept.
* A dataset's id is made of the name and the bytes of its file, and ends with its size, which the
  service does not keep.  Datasets without their file are not listed; `upload` goes on with them.
* There is no list of events.  They are derived from the job as it is now: it was created, it is
  in a state, it has come so far, it has ended.  Equal states give equal ids, and ids have an
  order, so that a watcher sees each once; what nobody looked at in time is not told.
* Its words for a state are mapped (`STATES`); the original is `Job.original_status`, and an
  unknown word passes through.
* A seed, checkpoints and pausing do not exist.  `context_length` is not offered: a longer example
  would be cut, not refused.
* The suffix names the model, with a part of the job's id.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ftjobs.backends.base import Progress, check_supported, silent
from ftjobs.backends.curves import metrics_csv, metrics_of
from ftjobs.backends.download import save
from ftjobs.backends.fireworks.body import (
    DPO,
    KINDS,
    LONGEST_NAME,
    MOST_ATTEMPTS,
    STATES,
    SUPERVISED,
    Kind,
    check_spec,
    create_body,
    id_of,
    ids_of,
    numbered,
    of_account,
    read_file,
    read_job,
    read_model,
    says_the_same,
)
from ftjobs.backends.fireworks.story import place_of, story
from ftjobs.backends.native import Native, require_unused
from ftjobs.backends.nouns import Raw, mapping, rows, text
from ftjobs.backends.rest import at
from ftjobs.disk import blocks_of
from ftjobs.errors import (
    ConfigError,
    InvalidRequestError,
    NotFoundError,
    ServiceError,
    UnsupportedError,
)
from ftjobs.schema import (
    IDENTITY,
    Checkpoint,
    Event,
    File,
    Job,
    JobSpec,
    Model,
)

if TYPE_CHECKING:
    from httpx2 import Response

__all__ = ["FireworksBackend"]

PLAIN = frozenset({"", "ENCRYPTION_STATE_UNSPECIFIED", "ENCRYPTION_STATE_PLAINTEXT"})
"""States of a dataset that is not encrypted with the account's own key."""

PAGE = 200  # the most that a list gives at once
CONFLICT = 409


class FireworksBackend(Native):
    """A `Backend` for Fireworks.  Thread-safe.

    The profile may name the account; otherwise the only account of the key is taken.
    """

    chat = "inference/v1/chat/completions"

    # --- files --------------------------------------------------------------------------------

    def upload(
        self,
        path: Path,
        *,
        name: str | None = None,
        purpose: str = "fine-tune",
        progress: Progress | None = None,
    ) -> File:
        """Send a file as a dataset; the same bytes under the same name give the first one.

        Raises:
            ConfigError: the file cannot be read, is empty, or is called neither `.jsonl`.
            UnsupportedError: it is not for fine-tuning, or the account encrypts its datasets.
        """
        filename = name or Path(path).name
        if purpose != "fine-tune":
            raise UnsupportedError(f"{self.name} has no files for {purpose!r}")
        if not filename.endswith(".jsonl"):
            raise ConfigError(f"{filename}: the name must end in .jsonl")
        dataset, size = self._dataset(path, filename)
        if text(dataset.get("state")) != "READY":
            self._send(path, filename, id_of(dataset), size, progress or silent)
            dataset = self._get("datasets", id_of(dataset))
        elif progress is not None:
            progress(size, size)
        return self._file(dataset)

    def _dataset(self, path: Path, filename: str) -> tuple[Raw, int]:
        """The dataset for a file, made if it is not there, and the file's size."""
        digest, size, examples = _measured(path, filename)
        dataset_id = f"ftjobs-{digest[:32]}-{size}"
        body = {
            "datasetId": dataset_id,
            "dataset": {
                "displayName": filename[:LONGEST_NAME],
                "exampleCount": str(examples),
                "userUploaded": {},
            },
        }
        try:
            dataset = self._rest.post(self._path("datasets"), body)
        except InvalidRequestError as error:
            if error.status != CONFLICT:
                raise
            dataset = self._get("datasets", dataset_id)
        if text(dataset.get("encryptionState")) not in PLAIN:
            raise UnsupportedError(
                f"{self.name} wants dataset {dataset_id} encrypted with your own key",
                hint="Create it with firectl, and name its id.",
            )
        return dataset, size

    def _send(
        self, path: Path, filename: str, dataset_id: str, size: int, progress: Progress
    ) -> None:
        place = self._path("datasets/{}:getUploadEndpoint", dataset_id)
        answer = self._rest.post(place, {"filenameToSize": {filename: str(size)}})
        url = mapping(answer.get("filenameToSignedUrls")).get(filename)
        if not isinstance(url, str):
            raise ServiceError(f"{self.name} does not say where to send the file")
        signed = {
            "Content-Type": "application/octet-stream",
            "X-Goog-Content-Length-Range": f"{size},{size}",
        }
        self._rest.put_file(url, path, headers=signed, progress=progress)
        self._rest.tell(self._path("datasets/{}:validateUpload", dataset_id), {})

    def file(self, file_id: str) -> File:
        """One dataset's record."""
        return self._file(self._get("datasets", file_id))

    def files(self) -> Iterator[File]:
        """Every dataset that has its file, newest first."""
        for raw in self._pages("datasets", "datasets"):
            if text(raw.get("state")) != "UPLOADING":
                yield self._file(raw)

    def content(self, file_id: str) -> bytes:
        """A dataset's bytes; its files one after another, by name."""
        return b"".join(map(self._rest.signed_bytes, self._places(file_id)))

    def download(self, file_id: str, target: BinaryIO, *, progress: Progress | None = None) -> None:
        """Write a dataset's bytes to `target`; see `Downloads`.

        One of several files, which only other tools make, is fetched whole and from its beginning.
        """
        places = self._places(file_id)
        if len(places) > 1:
            target.seek(0)
            target.truncate()
            target.write(self.content(file_id))
            return

        def opener(start: int) -> AbstractContextManager[Response]:
            place = places.pop() if places else self._places(file_id)[0]  # a signed URL soon ends
            return self._rest.streamed(place, start, signed=True)

        save(opener, target, self._rest.retry, progress or silent)

    def _places(self, file_id: str) -> list[str]:
        """The signed URLs of a dataset's files, by name.  NotFoundError if it has none."""
        answer = self._rest.get(self._path("datasets/{}:getDownloadEndpoint", file_id))
        urls = mapping(answer.get("filenameToSignedUrls"))
        if not urls:
            raise NotFoundError(f"dataset {file_id} has no file")
        return [text(urls[name]) for name in sorted(urls)]

    def delete_file(self, file_id: str) -> None:
        """Delete a dataset.  InvalidRequestError while a job needs it, which is asked first."""
        require_unused(file_id, self.jobs())
        self._rest.delete(self._path("datasets/{}", file_id))

    # --- jobs ---------------------------------------------------------------------------------

    def create(self, spec: JobSpec) -> Job:
        """Create a job; one of the same identity that has not ended in vain is returned instead.

        Raises:
            UnsupportedError: something in the spec cannot be said here; nothing was sent.
            InvalidRequestError: a job of this id has other content.
        """
        check_supported(spec, self.capabilities, self.name)
        check_spec(spec, self.name)
        kind = DPO if spec.method == "dpo" else SUPERVISED
        for job_id in ids_of(spec):
            body = {**self._always, **create_body(spec, job_id, self._account)}
            try:
                answer = self._rest.post(
                    self._path(kind.collection), body, **{kind.id_field: job_id}
                )
            except InvalidRequestError as error:
                if error.status != CONFLICT:
                    raise
                job = self._same(kind, job_id, body)
                if job is not None and (not job.ended or job.status == "succeeded"):
                    return job
            else:
                return self._job(answer, kind)
        raise InvalidRequestError(f"{MOST_ATTEMPTS} jobs with this content have ended in vain")

    def _same(self, kind: Kind, job_id: str, body: Raw) -> Job | None:
        """The job that is there under this id, if it is the one that `body` asks for.

        None if there is none: the id of a deleted job stays taken.
        """
        try:
            raw = self._get(kind.collection, job_id)
        except NotFoundError:
            return None
        ours = {field: value for field, value in body.items() if field not in self._always}
        if says_the_same(ours, raw):
            return self._job(raw, kind)
        raise InvalidRequestError(
            f"{self.name} has a job {job_id} with other content", status=CONFLICT, acted=False
        )

    def price(self, spec: JobSpec) -> float | None:
        """None: the service prices a job once it exists, in `Job.estimated_cost_usd`."""
        check_supported(spec, self.capabilities, self.name)
        return None

    def retrieve(self, job_id: str) -> Job:
        """A job's present state."""
        kind, raw = self._found(job_id)
        return self._job(raw, kind)

    def cancel(self, job_id: str) -> Job:
        """Ask for the end of a job; one that has ended is returned as it is."""
        kind, raw = self._found(job_id)
        job = self._job(raw, kind)
        if job.ended:
            return job
        place = self._path(f"{kind.collection}/{{}}:cancel", job_id)
        try:
            self._rest.read(lambda: self._rest.tell(place, {}))
        except InvalidRequestError:
            job = self.retrieve(job_id)
            if job.ended:
                return job
            raise
        return self.retrieve(job_id)

    def jobs(self, *, metadata: Mapping[str, str] | None = None) -> Iterator[Job]:
        """Every job that carries all pairs of `metadata`, newest first.

        Jobs of one identity are asked for by their ids, which no list has to catch up with.
        """
        wanted = dict(metadata or {})
        if set(wanted) == {IDENTITY}:
            found = list(self._of_identity(wanted[IDENTITY]))
        else:
            found = [
                self._job(raw, kind)
                for kind in KINDS
                for raw in self._pages(kind.collection, kind.collection)
            ]
        for job in sorted(found, key=lambda job: job.created_at, reverse=True):
            if wanted.items() <= job.metadata.items():
                yield job

    def _of_identity(self, identity: str) -> Iterator[Job]:
        for kind in KINDS:
            missing = 0
            for job_id in numbered(identity):
                try:
                    yield self._job(self._get(kind.collection, job_id), kind)
                except NotFoundError:
                    missing += 1
                if missing == 2:  # one may have been deleted
                    break

    def events(self, job_id: str, *, after: str | None = None) -> Sequence[Event]:
        """What the job's present state tells, oldest first, strictly after `after`."""
        kind, raw = self._found(job_id)
        job = self._job(raw, kind)
        told = story(job, raw, self._steps(kind, raw, job) if job.ended else [])
        place = -1 if after is None else place_of(after)
        return tuple(event for event in told if place_of(event.id) > place)

    def checkpoints(self, job_id: str) -> Sequence[Checkpoint]:
        """None: the service keeps no checkpoints that can be asked.  NotFoundError as ever."""
        self._found(job_id)
        return ()

    def result_file(self, job: Job) -> bytes:
        """The job's metrics file as the wire's CSV.  NotFoundError if it has none."""
        kind, raw = self._found(job.id)
        steps = self._steps(kind, raw, job)
        if not steps:
            raise NotFoundError(f"job {job.id} has no metrics file")
        return metrics_csv(metrics_of(row) for row in steps)

    def _steps(self, kind: Kind, raw: Raw, job: Job) -> list[Raw]:
        """The rows of a job's metrics file, JSON lines; none where there is no such file."""
        url = text(raw.get("metricsFileSignedUrl"))
        if kind is DPO:
            try:
                place = self._path("dpoJobs/{}:getMetricsFileEndpoint", job.id)
                url = text(self._rest.get(place).get("signedUrl"))
            except (NotFoundError, InvalidRequestError):
                return []  # not there yet
        try:
            return _json_lines(self._rest.signed_bytes(url)) if url else []
        except (NotFoundError, InvalidRequestError):
            return []  # announced, and not written yet

    # --- models and answers -------------------------------------------------------------------

    def models(self) -> Iterator[Model]:
        """The service's models, then the account's own."""
        for account in dict.fromkeys(("fireworks", self._account)):
            path = at("v1/accounts/{}/models", account)
            for raw in self._listed(path, "models"):
                yield read_model(raw, self.name)

    def delete_model(self, model: str) -> None:
        """Delete a model of the account.  InvalidRequestError for the service's own."""
        account, model_id = of_account(model, self._account)
        if account != self._account:
            raise InvalidRequestError(f"{model} is not a model of account {self._account}")
        self._rest.delete(self._path("models/{}", model_id))

    # --- places -------------------------------------------------------------------------------

    @cached_property
    def _account(self) -> str:
        """The account: the one that was given, or the only one of the key."""
        if self.profile.account:
            return self.profile.account
        found = [id_of(raw) for raw in self._listed("v1/accounts", "accounts")]
        if len(found) == 1:
            return found[0]
        raise ConfigError(
            f"{self.name}: the key has {len(found)} accounts",
            hint=f"Set FIREWORKS_ACCOUNT_ID to one of them: {', '.join(found) or 'none is there'}.",
        )

    def _path(self, rest: str, *names: str) -> str:
        return at("v1/accounts/{}/", self._account) + at(rest, *names)

    def _get(self, collection: str, name: str) -> Raw:
        return self._rest.get(self._path(f"{collection}/{{}}", name))

    def _found(self, job_id: str) -> tuple[Kind, Raw]:
        """A job and its collection: the id does not tell which."""
        try:
            return SUPERVISED, self._get(SUPERVISED.collection, job_id)
        except NotFoundError:
            return DPO, self._get(DPO.collection, job_id)

    def _pages(self, collection: str, field: str) -> Iterator[Raw]:
        return self._listed(self._path(collection), field, orderBy="create_time desc")

    def _listed(self, path: str, field: str, **query: str) -> Iterator[Raw]:
        """The objects of a list, page by page; ends even where a token comes twice."""
        token, seen = "", set[str]()
        while token not in seen:
            seen.add(token)
            asked = query | ({"pageToken": token} if token else {})
            answer = self._rest.get(path, pageSize=PAGE, **asked)
            yield from rows(answer, field, self.name)
            token = text(answer.get("nextPageToken"))
            if not token:
                return

    # --- what comes back ----------------------------------------------------------------------

    def _file(self, raw: Raw) -> File:
        return read_file(raw, self.name)

    def _job(self, raw: Raw, kind: Kind) -> Job:
        return read_job(raw, kind, {**STATES, **self.profile.statuses}, self._account, self.name)


def _measured(path: Path, filename: str) -> tuple[str, int, int]:
    """The hash of a file's name and bytes, its size, and its lines."""
    digest, size, lines, last = hashlib.sha256(f"{filename}\0".encode()), 0, 0, b"\n"
    for block in blocks_of(path):
        digest.update(block)
        size += len(block)
        lines += block.count(b"\n")
        last = block[-1:]
    if size == 0:
        raise ConfigError(f"{path} is empty")
    return digest.hexdigest(), size, lines + (last != b"\n")


def _json_lines(data: bytes) -> list[Raw]:
    """The objects of a file of JSON lines; what is none is passed by."""
    found = []
    for line in data.splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, Mapping) and metrics_of(row).step is not None:
            found.append(row)
    return found
