"""A loopback fine-tuning service with the habits of the real ones, and faults on demand.

State and job lives are a `FakeBackend`'s; this file adds HTTP and the wire's oddities: lists
newest first, `"error": {}` on healthy jobs, base64 result files, refusals where ftjobs promises
idempotence, error bodies that quote the key.  Time stands still until `tick()`.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import BaseModel, ValidationError

from ftjobs.backends.fake import FakeBackend
from ftjobs.errors import BackendError, ConfigError, InvalidRequestError, NotFoundError
from ftjobs.schema import ChatMessage, Job, JobSpec, Sampling

KEY = "sk-loopback-0123456789"
Json = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """What arrived, in the order of arrival."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Fault:
    """What goes wrong with the next `times` requests of `method` whose path ends with `path`.

    `status` answers without acting; `lost` resets the connection "before" or "after" the service
    acted, or "within" a stream that `cut` ends; `delay` waits that many seconds before answering;
    `rewrite` changes a JSON answer; `body` replaces an answer's bytes; `cut` ends a stream after
    so many pieces, or an answer after so many bytes.
    """

    method: str
    path: str
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    lost: str = ""
    delay: float = 0.0
    rewrite: Callable[[Any], Any] | None = None
    cut: int | None = None
    times: int = 1

    def hits(self, request: Request) -> bool:
        return (
            self.times > 0
            and request.method == self.method
            and re.search(f"{self.path}$", request.path) is not None
        )


class Lost(Exception):
    """The connection is to be reset."""


class Service:
    """The service and its state.  `url` is the base URL."""

    def __init__(self, backend: FakeBackend, folder: Path) -> None:
        self.backend = backend
        self.folder = folder
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.url = ""
        self.stopping = threading.Event()
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

    def count(self, method: str, path: str) -> int:
        """How many requests of `method` arrived at paths that end with `path`."""
        return sum(r.method == method and r.path.endswith(path) for r in self.requests)

    def take_fault(self, request: Request) -> Fault:
        with self._lock:
            self.requests.append(request)
            for fault in self.faults:
                if fault.hits(request):
                    fault.times -= 1
                    return fault
        return Fault("", "")

    # --- files ----------------------------------------------------------------------------------

    def post_files(self, request: Request) -> Any:
        header = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
        form = BytesParser().parsebytes(header + request.body)
        parts = {part.get_param("name", header="content-disposition"): part for part in form.walk()}
        named = re.search(rb'filename="([^"]*)"', request.body)
        assert named is not None
        name = Path(unquote(named[1].decode())).name
        content, purpose = (parts[key].get_payload(decode=True) for key in ("file", "purpose"))
        assert isinstance(content, bytes)
        assert isinstance(purpose, bytes)
        path = self.folder / name
        path.write_bytes(content)
        return _plain(self.backend.upload(path, purpose=purpose.decode()))

    def get_files(self, request: Request) -> Any:
        return _page(list(self.backend.files()), request, 10_000)

    def get_file(self, request: Request, file_id: str) -> Any:
        return _plain(self.backend.file(file_id))

    def get_content(self, request: Request, file_id: str) -> Any:
        data = self.backend.content(file_id)
        is_result = self.backend.file(file_id).purpose == "fine-tune-results"
        return base64.b64encode(data) if is_result else data

    def delete_file(self, request: Request, file_id: str) -> Any:
        self.backend.delete_file(file_id)
        return {"id": file_id, "object": "file", "deleted": True}

    # --- jobs -----------------------------------------------------------------------------------

    def post_jobs(self, request: Request) -> Any:
        body = request.json
        method = body.pop("method", {"type": "supervised"})
        settings = method.get(method["type"], {}).get("hyperparameters", {})
        try:
            spec = JobSpec(**body, method=method["type"], hyperparameters=settings)
        except ValidationError as error:
            raise InvalidRequestError(str(error.errors()[0]["msg"])) from None
        return _wire_job(self.backend.create(spec))

    def get_jobs(self, request: Request) -> Any:
        pairs = {
            key[9:-1]: value for key, value in request.query.items() if key.startswith("metadata[")
        }
        return _page(list(self.backend.jobs(metadata=pairs)), request, 20)

    def get_job(self, request: Request, job_id: str) -> Any:
        return _wire_job(self._job(job_id))

    def post_verb(self, request: Request, job_id: str, verb: str) -> Any:
        job = self._job(job_id)
        already = verb == "pause" and job.status == "paused"
        never = verb == "resume" and job.status != "paused"
        if job.ended or already or never:
            raise InvalidRequestError(f"Job {job_id} is {job.status}: cannot {verb}")
        steer: Callable[[str], Job] = getattr(self.backend, verb)
        return _wire_job(steer(job_id))

    def get_events(self, request: Request, job_id: str) -> Any:
        return _page(self.backend.events(job_id)[::-1], request, 20)

    def get_checkpoints(self, request: Request, job_id: str) -> Any:
        return _page(self.backend.checkpoints(job_id)[::-1], request, 10)

    def _job(self, job_id: str) -> Job:
        for job in self.backend.jobs():
            if job.id == job_id:
                return job
        raise NotFoundError(f"Could not find fine tune: {job_id}", code="fine_tune_not_found")

    # --- models and answers ---------------------------------------------------------------------

    def get_models(self, request: Request) -> Any:
        return {"object": "list", "data": [_plain(model) for model in self.backend.models()]}

    def delete_model(self, request: Request, model: str) -> Any:
        self.backend.delete_model(model)
        return {"id": model, "object": "model", "deleted": True}

    def post_chat(self, request: Request) -> Any:
        body = request.json
        model, streaming = body.pop("model"), body.pop("stream", False)
        messages = [ChatMessage(**message) for message in body.pop("messages")]
        body.pop("stream_options", None)
        sampling = Sampling(**body)
        if not streaming:
            return _plain(self.backend.complete(model, messages, sampling=sampling))
        return _chunks(self.backend, model, messages, sampling)


ROUTES: Sequence[tuple[str, str, Callable[..., Any]]] = (
    ("POST", "/files", Service.post_files),
    ("GET", "/files", Service.get_files),
    ("GET", "/files/([^/]+)", Service.get_file),
    ("DELETE", "/files/([^/]+)", Service.delete_file),
    ("GET", "/files/([^/]+)/content", Service.get_content),
    ("POST", "/fine_tuning/jobs", Service.post_jobs),
    ("GET", "/fine_tuning/jobs", Service.get_jobs),
    ("GET", "/fine_tuning/jobs/([^/]+)", Service.get_job),
    ("POST", "/fine_tuning/jobs/([^/]+)/(cancel|pause|resume)", Service.post_verb),
    ("GET", "/fine_tuning/jobs/([^/]+)/events", Service.get_events),
    ("GET", "/fine_tuning/jobs/([^/]+)/checkpoints", Service.get_checkpoints),
    ("GET", "/models", Service.get_models),
    ("DELETE", "/models/([^/]+)", Service.delete_model),
    ("POST", "/chat/completions", Service.post_chat),
)


def _plain(noun: BaseModel) -> Json:
    return _wire_job(noun) if isinstance(noun, Job) else noun.model_dump(mode="json")


def _wire_job(job: Job) -> Json:
    body = job.model_dump(mode="json")
    body["user_provided_suffix"] = body.pop("suffix")
    body["error"] = body["error"] or {}
    return body


def _page(newest_first: Sequence[BaseModel], request: Request, limit: int) -> Json:
    rows = [_plain(noun) for noun in newest_first]
    ids = [row["id"] for row in rows]
    if (after := request.query.get("after")) is not None:
        if after not in ids:
            raise InvalidRequestError(f"No such cursor: {after}", param="after")
        rows = rows[ids.index(after) + 1 :]
    limit = int(request.query.get("limit", limit))
    return {"object": "list", "data": rows[:limit], "has_more": len(rows) > limit}


def _chunks(
    backend: FakeBackend, model: str, messages: Sequence[ChatMessage], sampling: Sampling
) -> Iterator[Json]:
    deltas = backend.stream(model, messages, sampling=sampling)  # refuses before the first piece

    def pieces() -> Iterator[Json]:
        base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model}
        for delta in deltas:
            piece = {"content": delta.content} if delta.content else {}
            choice = {"index": delta.index, "delta": piece, "finish_reason": delta.finish_reason}
            yield base | {"choices": [choice], "usage": None}
            if delta.usage:
                yield base | {"choices": [], "usage": _plain(delta.usage)}

    return pieces()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or every answer waits 40 ms for an acknowledgement
    service: Service

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Tests read `Service.requests` instead."""

    def _serve(self) -> None:
        request = self._request()
        fault = self.service.take_fault(request)
        try:
            if fault.lost == "before":
                raise Lost
            answer = self._faulty(request, fault)
            if fault.lost == "after":
                raise Lost
            self._send(fault.status or 200, answer, fault)
        except (BackendError, ConfigError) as error:
            self._send(*_refusal(error), fault)
        except (Lost, ConnectionError):
            self._reset()

    def _faulty(self, request: Request, fault: Fault) -> Any:
        self.service.stopping.wait(fault.delay)
        if fault.status is not None:
            words = {"message": "broken on purpose", "type": "fault", "code": None, "param": None}
            return {"error": words} if fault.body is None else fault.body
        answer = self._act(request)
        if fault.rewrite is not None:
            return fault.rewrite(answer)
        return answer if fault.body is None else fault.body

    def _act(self, request: Request) -> Any:
        sent = request.headers.get("authorization", "")
        if sent != f"Bearer {KEY}":
            words = f"Incorrect API key provided: {sent.removeprefix('Bearer ')}."
            raise BackendError(words, status=401, code="invalid_api_key")
        for method, pattern, action in ROUTES:
            if method == request.method and (found := re.fullmatch(pattern, request.path)):
                return action(self.service, request, *map(unquote, found.groups()))
        raise BackendError(f"Unknown request URL: {request.method} {request.path}", status=404)

    def _request(self) -> Request:
        url = urlsplit(self.path)
        return Request(
            method=self.command,
            path=url.path.removeprefix("/v1"),
            query={key: values[-1] for key, values in parse_qs(url.query).items()},
            headers={key.lower(): value for key, value in self.headers.items()},
            body=self._body(),
        )

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _send(self, status: int, answer: Any, fault: Fault) -> None:
        if isinstance(answer, Iterator):
            return self._send_stream(answer, fault)
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("x-request-id", f"req-{len(self.service.requests)}")
        for name, value in fault.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[: fault.cut])
        if fault.cut is not None:
            raise Lost
        return None

    def _send_stream(self, pieces: Iterator[Json], fault: Fault) -> None:
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

    def _reset(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        # Lingering for no time at all makes close() send a reset instead of a farewell.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


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
        service = Service(FakeBackend() if backend is None else backend, Path(folder))
        handler = type("Handler", (_Handler,), {"service": service})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        service.url = f"http://127.0.0.1:{server.server_port}/v1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield service
        finally:
            service.stopping.set()
            server.shutdown()
            server.server_close()
            thread.join()
