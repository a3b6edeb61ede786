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
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ftjobs.backends.base import Progress, check_supported
from ftjobs.backends.chat import DEFAULTS, chat_body, completion, deltas
from ftjobs.backends.curves import metrics_csv, metrics_of, step_text
from ftjobs.backends.nouns import Raw, instant, mapping, noun, rows, text
from ftjobs.backends.profiles import Profile
from ftjobs.backends.rest import Rest, at, file_blocks
from ftjobs.backends.retry import RetryPolicy
from ftjobs.errors import (
    ConfigError,
    InvalidRequestError,
    NotFoundError,
    ServiceError,
    UnsupportedError,
)
from ftjobs.schema import (
    ENDED,
    IDENTITY,
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

__all__ = ["FireworksBackend"]

STATES: Mapping[str, str] = {
    "JOB_STATE_CREATING": "validating_files",
    "JOB_STATE_CREATING_INPUT_DATASET": "validating_files",
    "JOB_STATE_VALIDATING": "validating_files",
    "JOB_STATE_PENDING": "queued",
    "JOB_STATE_RE_QUEUEING": "queued",
    "JOB_STATE_RUNNING": "running",
    "JOB_STATE_WRITING_RESULTS": "running",
    "JOB_STATE_CANCELLING": "running",
    "JOB_STATE_PAUSED": "paused",
    "JOB_STATE_COMPLETED": "succeeded",
    "JOB_STATE_EARLY_STOPPED": "succeeded",
    "JOB_STATE_FAILED": "failed",
    "JOB_STATE_EXPIRED": "failed",
    "JOB_STATE_CANCELLED": "cancelled",
}
PLAIN = frozenset({"", "ENCRYPTION_STATE_UNSPECIFIED", "ENCRYPTION_STATE_PLAINTEXT"})
"""States of a dataset that is not encrypted with the account's own key."""

SECRET = re.compile("SignedUrl$|^wandbConfig$")
"""Fields of a job that may open something to whoever reads them."""

PAGE = 200  # the most that a list gives at once
CONFLICT = 409
LONGEST_NAME = 63  # of what a person reads
MOST_ATTEMPTS = 50  # jobs of one identity that ended in vain


@dataclass(frozen=True)
class Kind:
    """One of the two collections of jobs."""

    collection: str
    id_field: str
    method: str


SUPERVISED = Kind("supervisedFineTuningJobs", "supervisedFineTuningJobId", "supervised")
DPO = Kind("dpoJobs", "dpoJobId", "dpo")
KINDS = (SUPERVISED, DPO)


class FireworksBackend:
    """A `Backend` for Fireworks.  Thread-safe.

    Args:
        name: what the user calls it.
        profile: where it is, what it can do, and whose account; without one, the only account
            of the key is taken.
        key: sent in the profile's header for it, and never written anywhere else.
        retry: the policy for what may be repeated.
        timeout: seconds without a byte after which a call fails with DeadlineError.

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
    ) -> None:
        self.name = name
        self.capabilities = profile.capabilities
        self._given_account = profile.account
        self._always = {**profile.settings, **profile.extra_body}
        self._states = {**STATES, **profile.statuses}
        self._rest = Rest(name, profile, key, retry=retry, timeout=timeout)

    def close(self) -> None:
        """Close the connections.  The backend opens new ones if it is used again."""
        self._rest.close()

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
            self._send(path, filename, _id(dataset), size, progress or _silent)
            dataset = self._get("datasets", _id(dataset))
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
        answer = self._rest.get(self._path("datasets/{}:getDownloadEndpoint", file_id))
        urls = mapping(answer.get("filenameToSignedUrls"))
        if not urls:
            raise NotFoundError(f"dataset {file_id} has no file")
        return b"".join(self._rest.signed_bytes(text(urls[name])) for name in sorted(urls))

    def delete_file(self, file_id: str) -> None:
        """Delete a dataset.  InvalidRequestError while a job needs it, which is asked first."""
        for job in self.jobs():
            if not job.ended and file_id in (job.training_file, job.validation_file):
                raise InvalidRequestError(f"dataset {file_id} is in use by job {job.id}")
        self._rest.delete(self._path("datasets/{}", file_id))

    # --- jobs ---------------------------------------------------------------------------------

    def create(self, spec: JobSpec) -> Job:
        """Create a job; one of the same identity that has not ended in vain is returned instead.

        Raises:
            UnsupportedError: something in the spec cannot be said here; nothing was sent.
            InvalidRequestError: a job of this id has other content.
        """
        check_supported(spec, self.capabilities, self.name)
        _check(spec, self.name)
        kind = DPO if spec.method == "dpo" else SUPERVISED
        for job_id in _ids(spec):
            body = self._body(spec, job_id)
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
        if _says_the_same(ours, raw):
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

    def pause(self, job_id: str) -> Job:
        """UnsupportedError: jobs cannot be paused here."""
        raise UnsupportedError(f"{self.name} cannot pause job {job_id}")

    def resume(self, job_id: str) -> Job:
        """UnsupportedError: jobs cannot be paused here."""
        raise UnsupportedError(f"{self.name} cannot resume job {job_id}")

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
            for job_id in _numbered(identity):
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
        told = _story(job, raw, self._steps(kind, raw, job) if job.ended else [])
        place = -1 if after is None else _place(after)
        return tuple(event for event in told if _place(event.id) > place)

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
                yield self._model(raw)

    def delete_model(self, model: str) -> None:
        """Delete a model of the account.  InvalidRequestError for the service's own."""
        account, model_id = _of_account(model, self._account)
        if account != self._account:
            raise InvalidRequestError(f"{model} is not a model of account {self._account}")
        self._rest.delete(self._path("models/{}", model_id))

    def complete(
        self, model: str, messages: Sequence[ChatMessage], *, sampling: Sampling = DEFAULTS
    ) -> Completion:
        """The whole answer.  A tuned model must be deployed first."""
        body = chat_body(model, messages, sampling)
        answer = self._rest.read(lambda: self._rest.post("inference/v1/chat/completions", body))
        return completion(answer, model, self.name)

    def stream(
        self, model: str, messages: Sequence[ChatMessage], *, sampling: Sampling = DEFAULTS
    ) -> Iterator[Delta]:
        """The answer piece by piece; only its opening is retried."""
        body = chat_body(model, messages, sampling)
        chunks = self._rest.stream("inference/v1/chat/completions", body)
        return deltas(chunks, sampling.n, self.name)

    # --- places -------------------------------------------------------------------------------

    @cached_property
    def _account(self) -> str:
        """The account: the one that was given, or the only one of the key."""
        if self._given_account:
            return self._given_account
        found = [_id(raw) for raw in self._listed("v1/accounts", "accounts")]
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

    # --- what is sent and what comes back -----------------------------------------------------

    def _body(self, spec: JobSpec, job_id: str) -> dict[str, Any]:
        given = spec.hyperparameters.given()
        settings = {
            "baseModel": spec.model,
            "outputModel": _model_id(spec.suffix, job_id),
            "epochs": given.get("n_epochs"),
            "batchSizeSamples": given.get("batch_size"),
            "learningRate": given.get("learning_rate"),
            "loraRank": given.get("lora_r"),
        }
        chosen = {field: value for field, value in settings.items() if value is not None}
        body = {**self._always, "dataset": self._name("datasets", spec.training_file)}
        if spec.suffix:
            body["displayName"] = spec.suffix
        if spec.method == "dpo":
            loss = {"method": "DPO"} | ({"dpo": {"beta": given["beta"]}} if "beta" in given else {})
            return body | {"trainingConfig": chosen, "lossConfig": loss}
        if spec.validation_file:
            body["evaluationDataset"] = self._name("datasets", spec.validation_file)
        return body | chosen

    def _name(self, collection: str, name: str) -> str:
        """The whole name of a resource, from its id or from that very name."""
        return name if "/" in name else f"accounts/{self._account}/{collection}/{name}"

    def _file(self, raw: Raw) -> File:
        dataset_id = _id(raw)
        size = re.fullmatch(r"ftjobs-[0-9a-f]{32}-(\d+)", dataset_id)
        known = {
            **raw,
            "id": dataset_id,
            "bytes": int(size[1]) if size else 0,
            "created_at": int(instant(raw.get("createTime"))),
            "filename": text(raw.get("displayName")) or dataset_id,
            "purpose": "fine-tune",
            "status": {"READY": "processed", "UPLOADING": "pending"}.get(
                text(raw.get("state")), text(raw.get("state")) or "processed"
            ),
            "status_details": text(mapping(raw.get("status")).get("message")) or None,
        }
        return noun(File, known, self.name)

    def _job(self, raw: Raw, kind: Kind) -> Job:
        word = text(raw.get("state"))
        status = self._states.get(word, word)
        job_id, settings = _id(raw), {**raw, **mapping(raw.get("trainingConfig"))}
        identity = re.fullmatch(r"ftjobs-([0-9a-f]{32})(-\d+)?", job_id)
        known = {
            **{field: value for field, value in raw.items() if not SECRET.search(field)},
            "id": job_id,
            "status": status,
            "original_status": word,
            "created_at": int(instant(raw.get("createTime"))),
            "finished_at": _finished_at(raw) if status in ENDED else None,
            "model": text(settings.get("baseModel")) or text(settings.get("warmStartFrom")),
            "training_file": _last(raw.get("dataset")),
            "validation_file": _last(raw.get("evaluationDataset")) or None,
            "fine_tuned_model": self._tuned(settings, job_id) if status == "succeeded" else None,
            "error": _error(word, raw) if status == "failed" else None,
            "hyperparameters": _hyperparameters(settings, raw),
            "method": {"type": kind.method},
            "metadata": {IDENTITY: identity[1]} if identity else {},
            "suffix": text(raw.get("displayName")) or None,
            "estimated_cost_usd": _usd(raw.get("estimatedCost")),
        }
        return noun(Job, known, self.name)

    def _tuned(self, settings: Raw, job_id: str) -> str:
        return self._name("models", _last(settings.get("outputModel")) or job_id)

    def _model(self, raw: Raw) -> Model:
        day = mapping(raw.get("deprecationDate"))
        parts = [day.get(part) for part in ("year", "month", "day")]
        whole = [part for part in parts if isinstance(part, int) and part > 0]
        known = {
            "id": text(raw.get("name")),
            "created": int(instant(raw.get("createTime"))),
            "owned_by": _of_account(text(raw.get("name")), self._account)[0],
            "shutdown_date": "{:04}-{:02}-{:02}".format(*whole) if len(whole) == 3 else None,
            "tunable": raw.get("tunable"),
        }
        return noun(Model, known, self.name)


# --- ids -----------------------------------------------------------------------------------------


def _last(name: object) -> str:
    """The last part of a resource's name, which is its id."""
    return text(name).rpartition("/")[2]


def _id(raw: Raw) -> str:
    return _last(raw.get("name"))


def _numbered(identity: str) -> Iterator[str]:
    """The ids of an identity's jobs, the first first."""
    yield f"ftjobs-{identity}"
    yield from (f"ftjobs-{identity}-{number}" for number in range(2, MOST_ATTEMPTS + 1))


def _ids(spec: JobSpec) -> Iterator[str]:
    identity = spec.metadata.get(IDENTITY)
    return iter([f"ftjobs-{secrets.token_hex(8)}"]) if identity is None else _numbered(identity)


def _model_id(suffix: str | None, job_id: str) -> str:
    """What the tuned model is called: small letters, digits and dashes, and unlike any other."""
    words = re.sub(r"[^a-z0-9]+", "-", (suffix or "").lower()).strip("-")[:24].rstrip("-")
    ending = hashlib.sha256(job_id.encode()).hexdigest()[:8]
    return f"ft-{words}-{ending}" if words else f"ft-{ending}"


def _of_account(model: str, own: str) -> tuple[str, str]:
    """A model's account and id; a name alone is the account's own."""
    found = re.fullmatch(r"accounts/([^/]+)/models/([^/]+)", model)
    return (found[1], found[2]) if found else (own, model)


# --- what is sent --------------------------------------------------------------------------------


def _silent(done: int, total: int) -> None:
    """Progress that nobody follows."""


def _measured(path: Path, filename: str) -> tuple[str, int, int]:
    """The hash of a file's name and bytes, its size, and its lines."""
    digest, size, lines, last = hashlib.sha256(f"{filename}\0".encode()), 0, 0, b"\n"
    for block in file_blocks(path):
        digest.update(block)
        size += len(block)
        lines += block.count(b"\n")
        last = block[-1:]
    if size == 0:
        raise ConfigError(f"{path} is empty")
    return digest.hexdigest(), size, lines + (last != b"\n")


def _check(spec: JobSpec, name: str) -> None:
    """Refuse what cannot be said here, before anything is sent."""
    given = spec.hyperparameters.given()
    if spec.seed is not None:
        raise UnsupportedError(f"{name} takes no seed", hint="Leave it out.")
    if spec.method == "dpo" and spec.validation_file:
        raise UnsupportedError(f"{name} validates no dpo job", hint="Leave the file out.")
    if spec.method != "dpo" and "beta" in given:
        raise UnsupportedError(f"{name} takes beta for dpo only")
    if given.get("beta", 0) >= 0.5:
        raise UnsupportedError(f"{name} takes a beta below 0.5")
    if len(spec.suffix or "") > LONGEST_NAME:
        raise UnsupportedError(f"{name}: a suffix has at most {LONGEST_NAME} characters")


def _says_the_same(asked: Raw, there: Raw) -> bool:
    """Whether all that was asked for is there; numbers may have lost digits on their way."""
    return all(_equal(value, there.get(field)) for field, value in asked.items())


def _equal(asked: object, there: object) -> bool:
    if isinstance(asked, Mapping):
        return _says_the_same(asked, mapping(there))
    if isinstance(asked, float) and isinstance(there, int | float):
        return abs(asked - there) <= 1e-6 * abs(asked)
    if isinstance(asked, str) and isinstance(there, str) and "/" not in there:
        return _last(asked) == there
    return asked == there


# --- what comes back -----------------------------------------------------------------------------


def _hyperparameters(settings: Raw, raw: Raw) -> dict[str, Any]:
    names = {
        "n_epochs": "epochs",
        "batch_size": "batchSizeSamples",
        "learning_rate": "learningRate",
        "lora_r": "loraRank",
    }
    beta = mapping(mapping(raw.get("lossConfig")).get("dpo")).get("beta")
    found = {ours: settings.get(theirs) for ours, theirs in names.items()} | {"beta": beta}
    return {name: value for name, value in found.items() if value not in (None, 0)}


def _finished_at(raw: Raw) -> int:
    return int(instant(raw.get("completedTime")) or instant(raw.get("updateTime")))


def _error(word: str, raw: Raw) -> dict[str, str]:
    status = mapping(raw.get("status"))
    message = text(status.get("message")) or "the service does not say why"
    return {"code": text(status.get("code")) or word, "message": message}


def _usd(cost: object) -> float | None:
    """An amount of google.type.Money in US dollars; None for none, and for other currencies."""
    said = mapping(cost)
    if not said or said.get("currencyCode", "USD") != "USD":
        return None
    try:
        return int(said.get("units") or 0) + int(said.get("nanos") or 0) / 1e9
    except (TypeError, ValueError):
        return None


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


# --- events --------------------------------------------------------------------------------------

CREATED, STARTED, MOVING, STEPS, ENDING = 0, 20, 100, 10**9, 2 * 10**9
WAITING: Mapping[str, int] = {"validating_files": 10, "queued": 11}
"""Places in the story of a job: an event's id begins with its place, so that ids have an order."""


def _place(event_id: str) -> int:
    """Where an event of this module stands in its job's story; before all if it is another's."""
    found = re.match(r"fwevent-(\d{10})-", event_id)
    return int(found[1]) if found else -1


def _story(job: Job, raw: Raw, steps: Sequence[Raw]) -> list[Event]:
    """What a job's state tells, oldest first.

    What is implied by the state has the time of creation, what is seen that of the last change.
    """
    word = text(raw.get("state"))
    seen = int(instant(raw.get("updateTime"))) or job.created_at
    end = job.finished_at or max(seen, job.created_at)
    told = [_event(job, CREATED, f"Created fine-tuning job: {job.id}", job.created_at, word)]
    if job.status in ("running", "succeeded"):
        told.append(_event(job, STARTED, "Fine-tuning job started", job.created_at, word))
    if not job.ended:
        told += _present(job, raw, word, max(seen, job.created_at))
    told += [_step(job, row, end) for row in steps]
    return told + (_ending(job, word, end) if job.ended else [])


def _present(job: Job, raw: Raw, word: str, now: int) -> list[Event]:
    """How far a job is that has not ended."""
    if job.status in WAITING:
        return [_event(job, WAITING[job.status], f"Job is {job.status} ({word})", now, word)]
    progress = mapping(raw.get("jobProgress"))
    percent, epoch = (_whole(progress.get(field)) for field in ("percent", "epoch"))
    place = MOVING + 2 * (101 * min(epoch, 10**6) + min(percent, 100))
    told = []
    if percent:
        message = f"Epoch {epoch + 1}: {percent} %"
        told.append(_event(job, place, message, now, word, percent=percent, epoch=epoch))
    if word != "JOB_STATE_RUNNING":
        told.append(_event(job, place + 1, f"Job is {job.status} ({word})", now, word))
    return told


def _whole(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _ending(job: Job, word: str, end: int) -> list[Event]:
    if job.status == "succeeded":
        made = f"New fine-tuned model created: {job.fine_tuned_model}"
        return [
            _event(job, ENDING, made, end, word),
            _event(job, ENDING + 1, "The job has successfully completed", end, word),
        ]
    if job.status == "failed":
        said = (job.error and job.error.message) or word
        return [_event(job, ENDING, said, end, word, level="error")]
    return [_event(job, ENDING, "Fine-tuning job cancelled", end, word)]


def _event(
    job: Job, place: int, message: str, when: int, word: str, *, level: str = "info", **data: object
) -> Event:
    return Event(
        id=f"fwevent-{place:010}-{job.id}",
        created_at=when,
        level=level,
        message=message,
        data={"type": word, **data},
    )


def _step(job: Job, row: Raw, when: int) -> Event:
    metrics = metrics_of(row)
    return Event(
        id=f"fwevent-{STEPS + (metrics.step or 0):010}-{job.id}",
        created_at=when,
        message=step_text(metrics),
        type="metrics",
        data={**row, **metrics.model_dump(exclude_none=True)},
    )
