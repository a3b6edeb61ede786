"""A loopback fine-tuning service with the habits of the real ones, and faults on demand.

State and job lives are a `FakeBackend`'s; this file adds HTTP and the wire's oddities: lists
newest first that lag behind, `"error": {}` on healthy jobs, base64 result files, refusals where
ftjobs promises idempotence, a new file for every upload, error bodies that quote the key.  Time
stands still until `tick()`.  Bodies are read as they arrive, so that gigabytes cost no memory.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import shutil
import socket
import struct
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import BaseModel, ValidationError

from ftjobs.backends.fake import FakeBackend
from ftjobs.errors import BackendError, ConfigError, InvalidRequestError, NotFoundError
from ftjobs.schema import ChatMessage, File, Job, JobSpec, Sampling
from tests.multipart import Field, TruncatedError, read_form

KEY = "sk-loopback-0123456789"
Json = dict[str, Any]
Noun = TypeVar("Noun", bound=BaseModel)
S = TypeVar("S", bound="Service")
BLOCK = 1 << 20
IN_MEMORY = 16 << 20  # a larger file stays on disk; no job can train on it
LARGEST_PART = 64 << 20


@dataclass(frozen=True)
class Request:
    """What arrived, in the order of arrival."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    form: Mapping[str, Field] = field(default_factory=dict)
    """The fields of a multipart request, whose `body` is empty."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Fault:
    """What goes wrong with the next `times` requests of `method` whose path ends with `path`.

    `status` answers without acting, or with `acts` after it; `lost` resets the connection
    "during" the request's body, "before" or "after" the service acted, or "within" a stream that
    `cut` ends; `delay` waits that many seconds before acting, `stall` after it, and `trickle`
    between any 16 bytes of the answer; `rewrite` changes a JSON answer; `body` replaces an
    answer's bytes; `cut` ends a stream after so many pieces, or an answer after so many bytes.
    """

    method: str
    path: str
    status: int | None = None
    acts: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    lost: str = ""
    delay: float = 0.0
    stall: float = 0.0
    trickle: float = 0.0
    rewrite: Callable[[Any], Any] | None = None
    cut: int | None = None
    times: int = 1

    def hits(self, method: str, path: str) -> bool:
        return (
            self.times > 0
            and method == self.method
            and re.search(f"{self.path}$", path) is not None
        )


class Lost(Exception):
    """The connection is to be reset."""


@dataclass
class Upload:
    """An upload in parts.  `parts` are files on disk by part id."""

    record: Json
    parts: dict[str, Path] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Service:
    """The service and its state.  `url` is the base URL.

    Attributes:
        requests: what arrived whole, in the order of arrival.
        counts: how often each action (a method of this class) was carried out.
        list_lag: seconds after which what was created over HTTP shows in lists.
        events_lag: seconds after which an event shows.
        upload_life: seconds after which a pending upload expires.
        shutdown_dates: YYYY-MM-DD by model.
        odd: whether answers have the oddities that the documentation lacks.
        clock: of the lags, in seconds.
        now: the service's wall clock, for uploads.
    """

    def __init__(self, backend: FakeBackend, folder: Path) -> None:
        self.backend = backend
        self.folder = folder
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.counts: Counter[str] = Counter()
        self.url = ""
        self.list_lag = self.events_lag = 0.0
        self.upload_life = 3600.0
        self.shutdown_dates: dict[str, str] = {}
        self.odd = True
        self.clock: Callable[[], float] = time.monotonic
        self.now: Callable[[], float] = time.time
        self.stopping = threading.Event()
        self.uploads: dict[str, Upload] = {}
        self.permissions: dict[str, list[Json]] = {}
        self._large: dict[str, tuple[File, Path]] = {}
        self._born: dict[str, float] = {}
        self._serial = itertools.count(1)
        self._lock = threading.Lock()

    def fault(self, method: str, path: str, **what: Any) -> Fault:
        """Break the next matching requests; see `Fault`."""
        fault = Fault(method, path, **what)
        self.faults.append(fault)
        return fault

    def tick(self) -> None:
        """Let every job live one step."""
        for job in list(self.backend.jobs()):
            self.backend.retrieve(job.id)
        self._date_events()

    def count(self, method: str, path: str) -> int:
        """How many requests of `method` arrived at paths that end with `path`."""
        return sum(r.method == method and r.path.endswith(path) for r in self.requests)

    def take_fault(self, method: str, path: str) -> Fault:
        """What goes wrong with the request that is arriving."""
        with self._lock:
            for fault in self.faults:
                if fault.hits(method, path):
                    fault.times -= 1
                    return fault
        return Fault("", "")

    def arrived(self, request: Request) -> None:
        """Called when a request is there as a whole, before anything is done about it."""
        with self._lock:
            self.requests.append(request)

    def acted(self, request: Request) -> None:
        """Called when a request has been carried out, before it is answered."""

    def shown(self, nouns: Iterator[Noun], lag: float) -> list[Noun]:
        """Those that are known to a list which lags `lag` seconds behind."""
        limit = self.clock() - lag
        return [noun for noun in nouns if self._born.get(_id(noun), limit) <= limit]

    def _date(self, noun: Noun) -> Noun:
        self._born.setdefault(_id(noun), self.clock())
        return noun

    def _date_events(self) -> None:
        if self.events_lag:
            for job in list(self.backend.jobs()):
                for event in self.backend.events(job.id):
                    self._date(event)

    # --- files ----------------------------------------------------------------------------------

    def post_files(self, request: Request) -> Any:
        content, purpose = request.form["file"], request.form["purpose"].value.decode()
        assert content.path is not None
        return _plain(self.add_file(content.filename, content.path, purpose))

    def add_file(self, name: str, path: Path, purpose: str) -> File:
        """A new file, even where the same bytes are there under the same name."""
        if path.stat().st_size > IN_MEMORY:
            return self._date(self._add_large(name, path, purpose))
        # The backend would give back an equal file, so the file has a name of its own at first.
        unique = f"{next(self._serial)}/{name}"
        file = self.backend.upload(path, name=unique, purpose=purpose)
        file = file.model_copy(update={"filename": name})
        self.backend._files[file.id] = (file, self.backend.content(file.id))
        return self._date(file)

    def _add_large(self, name: str, path: Path, purpose: str) -> File:
        file = File(
            id=f"file-large{next(self._serial):04d}",
            bytes=path.stat().st_size,
            created_at=int(self.now()),
            filename=name,
            purpose=purpose,
        )
        self._large[file.id] = (file, path.rename(self.folder / file.id))
        return file

    def files(self) -> list[File]:
        """Every file, newest first."""
        large = [file for file, _ in list(self._large.values())]
        return [*reversed(large), *self.backend.files()]

    def get_files(self, request: Request) -> Any:
        purpose = request.query.get("purpose")
        files = self.shown(iter(self.files()), self.list_lag)
        return _page([f for f in files if purpose in (None, f.purpose)], request, 10_000)

    def get_file(self, request: Request, file_id: str) -> Any:
        large = self._large.get(file_id)
        return _plain(large[0] if large else self.backend.file(file_id))

    def get_content(self, request: Request, file_id: str) -> Any:
        if file_id in self._large:
            return self._large[file_id][1]
        data = self.backend.content(file_id)
        is_result = self.backend.file(file_id).purpose == "fine-tune-results"
        return base64.b64encode(data) if is_result and self.odd else data

    def delete_file(self, request: Request, file_id: str) -> Any:
        if file_id in self._large:
            self._large.pop(file_id)[1].unlink()
        else:
            self.backend.delete_file(file_id)
        return {"id": file_id, "object": "file", "deleted": True}

    # --- uploads in parts -----------------------------------------------------------------------

    def post_uploads(self, request: Request) -> Any:
        given = {name: request.json[name] for name in ("bytes", "filename", "purpose")}
        now, number = int(self.now()), next(self._serial)
        record = {"id": f"upload_{number:04d}", "object": "upload", "created_at": now, **given}
        record |= {"expires_at": now + int(self.upload_life), "status": "pending", "file": None}
        self.uploads[record["id"]] = Upload(record)
        return record

    def post_parts(self, request: Request, upload_id: str) -> Any:
        upload, content = self._pending(upload_id), request.form["data"].path
        assert content is not None
        if content.stat().st_size > LARGEST_PART:
            raise InvalidRequestError("A part can have at most 64 MB", param="data")
        part_id = f"part_{next(self._serial):04d}"
        upload.parts[part_id] = content.rename(self.folder / part_id)
        record = {"id": part_id, "object": "upload.part", "upload_id": upload_id}
        return record | {"created_at": int(self.now())}

    def post_complete(self, request: Request, upload_id: str) -> Any:
        upload, body = self._pending(upload_id), request.json
        if unknown := [part for part in body["part_ids"] if part not in upload.parts]:
            raise InvalidRequestError(f"No such part: {unknown[0]}", param="part_ids")
        with upload.lock:
            self._pending(upload_id)
            whole = self.folder / f"{upload_id}-whole"
            digest = _join([upload.parts[part] for part in body["part_ids"]], whole)
            if whole.stat().st_size != upload.record["bytes"]:
                raise InvalidRequestError("The parts do not add up to `bytes`", param="part_ids")
            if body.get("md5") not in (None, digest):
                raise InvalidRequestError("The parts do not have this md5", param="md5")
            file = self.add_file(upload.record["filename"], whole, upload.record["purpose"])
            for part in upload.parts.values():
                part.unlink()
            upload.record = upload.record | {"status": "completed", "file": _plain(file)}
        return upload.record

    def post_cancel_upload(self, request: Request, upload_id: str) -> Any:
        upload = self._pending(upload_id)
        upload.record = upload.record | {"status": "cancelled"}
        return upload.record

    def _pending(self, upload_id: str) -> Upload:
        upload = self.uploads.get(upload_id)
        if upload is None:
            raise NotFoundError(f"No such upload: {upload_id}")
        if upload.record["status"] == "pending" and self.now() >= upload.record["expires_at"]:
            upload.record = upload.record | {"status": "expired"}
        if upload.record["status"] != "pending":
            raise InvalidRequestError(f"Upload {upload_id} is {upload.record['status']}")
        return upload

    # --- jobs -----------------------------------------------------------------------------------

    def post_jobs(self, request: Request) -> Any:
        body = request.json
        method = body.pop("method", {"type": "supervised"})
        settings = method.get(method["type"], {}).get("hyperparameters", {})
        try:
            spec = JobSpec(**body, method=method["type"], hyperparameters=settings)
        except ValidationError as error:
            raise InvalidRequestError(str(error.errors()[0]["msg"])) from None
        job = self._date(self.backend.create(spec))
        self._date_events()
        return self.wire_job(job)

    def get_jobs(self, request: Request) -> Any:
        pairs = {
            key[9:-1]: value for key, value in request.query.items() if key.startswith("metadata[")
        }
        jobs = self.shown(self.backend.jobs(metadata=pairs), self.list_lag)
        return _page(jobs, request, 20, self.wire_job)

    def get_job(self, request: Request, job_id: str) -> Any:
        return self.wire_job(self._job(job_id))

    def post_verb(self, request: Request, job_id: str, verb: str) -> Any:
        job = self._job(job_id)
        already = verb == "pause" and job.status == "paused"
        never = verb == "resume" and job.status != "paused"
        if job.ended or already or never:
            raise InvalidRequestError(f"Job {job_id} is {job.status}: cannot {verb}")
        steer: Callable[[str], Job] = getattr(self.backend, verb)
        job = steer(job_id)
        self._date_events()
        return self.wire_job(job)

    def get_events(self, request: Request, job_id: str) -> Any:
        events = self.shown(iter(self.backend.events(job_id)), self.events_lag)
        return _page(events[::-1], request, 20)

    def get_checkpoints(self, request: Request, job_id: str) -> Any:
        return _page(self.backend.checkpoints(job_id)[::-1], request, 10)

    def wire_job(self, job: Job) -> Json:
        """A job as it goes over the wire."""
        body = job.model_dump(mode="json")
        body["user_provided_suffix"] = body.pop("suffix")
        body["error"] = body["error"] or ({} if self.odd else None)
        return body

    def _job(self, job_id: str) -> Job:
        for job in self.backend.jobs():
            if job.id == job_id:
                return job
        raise NotFoundError(f"Could not find fine tune: {job_id}", code="fine_tune_not_found")

    # --- models and answers ---------------------------------------------------------------------

    def get_models(self, request: Request) -> Any:
        return {"object": "list", "data": list(map(self._model, self.backend.models()))}

    def get_model(self, request: Request, model: str) -> Any:
        for each in self.backend.models():
            if each.id == model:
                return self._model(each)
        raise NotFoundError(f"The model '{model}' does not exist", code="model_not_found")

    def _model(self, model: BaseModel) -> Json:
        body = _plain(model)
        return body | {"shutdown_date": self.shutdown_dates.get(body["id"])}

    def delete_model(self, request: Request, model: str) -> Any:
        self.backend.delete_model(model)
        return {"id": model, "object": "model", "deleted": True}

    def post_permissions(self, request: Request, checkpoint: str) -> Any:
        given = [
            {
                "id": f"cp_{next(self._serial):04d}",
                "object": "checkpoint.permission",
                "created_at": int(self.now()),
                "project_id": project,
            }
            for project in request.json["project_ids"]
        ]
        self.permissions[checkpoint] = [*given[::-1], *self.permissions.get(checkpoint, [])]
        return _list(given, has_more=False)

    def get_permissions(self, request: Request, checkpoint: str) -> Any:
        project = request.query.get("project_id")
        rows = self.permissions.get(checkpoint, [])
        return _cut([row for row in rows if project in (None, row["project_id"])], request, 10)

    def delete_permission(self, request: Request, checkpoint: str, permission: str) -> Any:
        rows = self.permissions.get(checkpoint, [])
        if permission not in [row["id"] for row in rows]:
            raise NotFoundError(f"No such permission: {permission}")
        self.permissions[checkpoint] = [row for row in rows if row["id"] != permission]
        return {"id": permission, "object": "checkpoint.permission", "deleted": True}

    def post_chat(self, request: Request) -> Any:
        body = request.json
        model, streaming = body.pop("model"), body.pop("stream", False)
        messages = [ChatMessage(**message) for message in body.pop("messages")]
        body.pop("stream_options", None)
        body.pop("tools", None)
        sampling = Sampling(**body)
        if not streaming:
            return _plain(self.backend.complete(model, messages, sampling=sampling))
        return _chunks(self.backend, model, messages, sampling)


CHECKPOINT = "/fine_tuning/checkpoints/([^/]+)/permissions"
ROUTES: Sequence[tuple[str, str, str]] = (
    ("POST", "/files", "post_files"),
    ("GET", "/files", "get_files"),
    ("GET", "/files/([^/]+)", "get_file"),
    ("DELETE", "/files/([^/]+)", "delete_file"),
    ("GET", "/files/([^/]+)/content", "get_content"),
    ("POST", "/uploads", "post_uploads"),
    ("POST", "/uploads/([^/]+)/parts", "post_parts"),
    ("POST", "/uploads/([^/]+)/complete", "post_complete"),
    ("POST", "/uploads/([^/]+)/cancel", "post_cancel_upload"),
    ("POST", "/fine_tuning/jobs", "post_jobs"),
    ("GET", "/fine_tuning/jobs", "get_jobs"),
    ("GET", "/fine_tuning/jobs/([^/]+)", "get_job"),
    ("POST", "/fine_tuning/jobs/([^/]+)/(cancel|pause|resume)", "post_verb"),
    ("GET", "/fine_tuning/jobs/([^/]+)/events", "get_events"),
    ("GET", "/fine_tuning/jobs/([^/]+)/checkpoints", "get_checkpoints"),
    ("POST", CHECKPOINT, "post_permissions"),
    ("GET", CHECKPOINT, "get_permissions"),
    ("DELETE", f"{CHECKPOINT}/([^/]+)", "delete_permission"),
    ("GET", "/models", "get_models"),
    ("GET", "/models/([^/]+)", "get_model"),
    ("DELETE", "/models/([^/]+)", "delete_model"),
    ("POST", "/chat/completions", "post_chat"),
)


def route(method: str, path: str) -> tuple[str, list[str]]:
    """The action that a request asks for, and the names in its path."""
    for known, pattern, action in ROUTES:
        if known == method and (found := re.fullmatch(pattern, path)):
            return action, [unquote(name) for name in found.groups()]
    raise BackendError(f"Unknown request URL: {method} {path}", status=404)


def _plain(noun: BaseModel) -> Json:
    return noun.model_dump(mode="json", exclude={"sha256"})


def _id(noun: BaseModel) -> str:
    return str(noun.id)  # type: ignore[attr-defined]


def _page(
    newest_first: Sequence[Noun],
    request: Request,
    limit: int,
    plain: Callable[[Noun], Json] = _plain,
) -> Json:
    return _cut([plain(noun) for noun in newest_first], request, limit)


def _cut(rows: Sequence[Json], request: Request, limit: int) -> Json:
    ids = [row["id"] for row in rows]
    if (after := request.query.get("after")) is not None:
        if after not in ids:
            raise InvalidRequestError(f"No such cursor: {after}", param="after")
        rows = rows[ids.index(after) + 1 :]
    limit = int(request.query.get("limit", limit))
    return _list(rows[:limit], has_more=len(rows) > limit)


def _list(rows: Sequence[Json], *, has_more: bool) -> Json:
    first, last = (rows[0]["id"], rows[-1]["id"]) if rows else (None, None)
    ends = {"first_id": first, "last_id": last}
    return {"object": "list", "data": list(rows), "has_more": has_more} | ends


def _join(parts: Sequence[Path], whole: Path) -> str:
    """One file out of many; its md5."""
    with whole.open("wb") as out:
        for part in parts:
            with part.open("rb") as content:
                shutil.copyfileobj(content, out, BLOCK)
    with whole.open("rb") as content:
        return hashlib.file_digest(content, "md5").hexdigest()


def _chunks(
    backend: FakeBackend, model: str, messages: Sequence[ChatMessage], sampling: Sampling
) -> Iterator[Json]:
    deltas = backend.stream(model, messages, sampling=sampling)  # refuses before the first piece

    def pieces() -> Iterator[Json]:
        base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model}
        for delta in deltas:
            piece = {"content": delta.content} if delta.content else {}
            choice = {
                "index": delta.index,
                "delta": piece,
                "finish_reason": delta.finish_reason,
                "logprobs": delta.logprobs,
            }
            yield base | {"choices": [choice], "usage": None}
            if delta.usage:
                yield base | {"choices": [], "usage": _plain(delta.usage)}

    return pieces()


class Handler(BaseHTTPRequestHandler):
    """One connection to a loopback service."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or every answer waits 40 ms for an acknowledgement

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Tests read the `requests` of a service instead."""

    def serve(self) -> None:
        """Read one request and answer it."""
        raise NotImplementedError

    def do_GET(self) -> None:
        self.serve()

    def do_POST(self) -> None:
        self.serve()

    def do_PUT(self) -> None:
        self.serve()

    def do_DELETE(self) -> None:
        self.serve()

    def send_stream(self, pieces: Iterator[Json], fault: Fault) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for number, piece in enumerate(pieces):
            if number == fault.cut:
                if fault.lost == "within":
                    raise Lost
                return
            self.wfile.write(f"data: {json.dumps(piece)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def reset(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        # Lingering for no time at all makes close() send a reset instead of a farewell.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


class _Handler(Handler):
    service: Service

    def serve(self) -> None:
        url = urlsplit(self.path)
        path = url.path.removeprefix("/v1")
        fault = self.service.take_fault(self.command, path)
        try:
            if fault.lost == "during":
                raise Lost
            self._answer(self._request(path, url.query), fault)
        except (Lost, TruncatedError, ConnectionError):
            self.reset()

    def _answer(self, request: Request, fault: Fault) -> None:
        try:
            self.service.arrived(request)
            if fault.lost == "before":
                raise Lost
            answer = self._faulty(request, fault)
            if fault.lost == "after":
                raise Lost
            self._send(fault.status or 200, answer, fault)
        except (BackendError, ConfigError) as error:
            self._send(*_refusal(error), fault)
        finally:
            for each in request.form.values():
                if each.path is not None:
                    each.path.unlink(missing_ok=True)

    def _faulty(self, request: Request, fault: Fault) -> Any:
        self.service.stopping.wait(fault.delay)
        if fault.status is None or fault.acts:
            answer = self._act(request)
            self.service.acted(request)
            self.service.stopping.wait(fault.stall)
        if fault.status is not None:
            words = {"message": "broken on purpose", "type": "fault", "code": None, "param": None}
            return {"error": words} if fault.body is None else fault.body
        if fault.rewrite is not None:
            return fault.rewrite(answer)
        return answer if fault.body is None else fault.body

    def _act(self, request: Request) -> Any:
        sent = request.headers.get("authorization", "")
        if sent != f"Bearer {KEY}":
            words = f"Incorrect API key provided: {sent.removeprefix('Bearer ')}."
            raise BackendError(words, status=401, code="invalid_api_key")
        action, names = route(request.method, request.path)
        answer = getattr(self.service, action)(request, *names)
        self.service.counts[action] += 1
        return answer

    def _request(self, path: str, query: str) -> Request:
        headers = {key.lower(): value for key, value in self.headers.items()}
        kind = headers.get("content-type", "")
        is_form = kind.startswith("multipart/form-data")
        form = read_form(self._chunks(), kind, self.service.folder) if is_form else {}
        return Request(
            method=self.command,
            path=path,
            query={key: values[-1] for key, values in parse_qs(query).items()},
            headers=headers,
            body=b"" if is_form else b"".join(self._chunks()),
            form=form,
        )

    def _chunks(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding") != "chunked":
            yield from self._exactly(int(self.headers.get("Content-Length", 0)))
            return
        while size := int(self._line(), 16):
            yield from self._exactly(size)
            self._line()
        self._line()

    def _line(self) -> bytes:
        if not (line := self.rfile.readline()):
            raise Lost
        return line

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size:
            if not (piece := self.rfile.read(min(size, BLOCK))):
                raise Lost
            size -= len(piece)
            yield piece

    def _send(self, status: int, answer: Any, fault: Fault) -> None:
        if isinstance(answer, Iterator):
            return self.send_stream(answer, fault)
        if isinstance(answer, Path):
            return self._send_file(answer)
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self._send_head(status, len(data), "application/json", fault.headers)
        size = 16 if fault.trickle else len(data) or 1
        for start in range(0, len(data[: fault.cut]), size):
            self.wfile.write(data[: fault.cut][start : start + size])
            self.service.stopping.wait(fault.trickle)
        if fault.cut is not None:
            raise Lost
        return None

    def _send_head(
        self, status: int, size: int, kind: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size))
        self.send_header("x-request-id", f"req-{len(self.service.requests)}")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()

    def _send_file(self, path: Path) -> None:
        self._send_head(200, path.stat().st_size, "application/octet-stream")
        with path.open("rb") as content:
            shutil.copyfileobj(content, self.wfile, BLOCK)


def _refusal(error: BackendError | ConfigError) -> tuple[int, Json]:
    words = {"message": error.message, "type": "invalid_request_error", "code": None, "param": None}
    if isinstance(error, ConfigError):
        return 400, {"error": words}
    status = error.status or (404 if isinstance(error, NotFoundError) else 400)
    return status, {"error": words | {"code": error.code, "param": error.param}}


@contextmanager
def running(backend: FakeBackend | None = None) -> Iterator[Service]:
    """A service on a free loopback port, gone at the end of the block."""
    with tempfile.TemporaryDirectory() as folder:
        backend = FakeBackend() if backend is None else backend
        with serving(Service(backend, Path(folder))) as service:
            yield service


@contextmanager
def serving(service: S) -> Iterator[S]:
    """`service` on a free loopback port until the end of the block."""
    with listening(type("Handler", (_Handler,), {"service": service})) as url:
        service.url = f"{url}/v1"
        try:
            yield service
        finally:
            service.stopping.set()


@contextmanager
def listening(handler: type[Handler]) -> Iterator[str]:
    """The URL of a free loopback port where connections are handled until the end of the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
