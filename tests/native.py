"""What the loopback services of `together_service` and `fireworks_service` have in common.

HTTP, faults on demand (`tests.service.Fault`), bodies that are refused for any field that the
service's documentation lacks, chat completions, and a storage service of its own origin that
takes and gives files at signed URLs and must never see the key.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from typing import Any, Literal, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from ftjobs.backends.fake import FakeBackend
from ftjobs.schema import ChatMessage, Sampling
from tests.service import Fault, Handler, Lost, listening

KEY = "key-of-loopback-0123456789"
Json = dict[str, Any]
Model = TypeVar("Model", bound="Strict")
S = TypeVar("S", bound="Loopback")


class Strict(BaseModel):
    """A body as it is documented: another field is refused, and so is another type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Message(Strict):
    role: Literal["system", "user", "assistant", "tool"]
    content: str | list[Json] | None = None
    name: str | None = None
    tool_calls: list[Json] | None = None
    tool_call_id: str | None = None


class Chat(Strict):
    """The part of the chat body that both services document and ftjobs may send."""

    model: str
    messages: list[Message]
    stream: bool = False
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    max_tokens: int | None = None
    stop: list[str] = []
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    n: int = 1


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def read(self, cls: type[Model]) -> Model:
        """The body as `cls`; refused if it is anything else."""
        try:
            return cls.model_validate_json(self.body)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise Refused(400, f"{place}: {first['msg']}") from None

    def form(self) -> dict[str, str]:
        """The text fields of a multipart form."""
        kind = self.headers.get("content-type", "")
        if not kind.startswith("multipart/form-data"):
            raise Refused(415, "a form is expected")
        parsed = BytesParser().parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + self.body)
        found = {}
        for part in parsed.get_payload():
            assert not isinstance(part, str)
            name = part.get_param("name", header="content-disposition")
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            found[str(name)] = payload.decode()
        return found


@dataclass
class Answer:
    """An answer that is not plain JSON with status 200."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):
    """The service says no."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


Route = tuple[str, str, Callable[..., Any]]


class Loopback:
    """A service on a loopback port.  `url` is its root."""

    routes: Sequence[Route] = ()

    def __init__(self) -> None:
        self.url = ""
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.stopping = threading.Event()
        self.lock = threading.RLock()

    def fault(self, method: str, path: str, **what: Any) -> Fault:
        """Break the next matching requests; see `Fault`."""
        fault = Fault(method, path, **what)
        self.faults.append(fault)
        return fault

    def count(self, method: str, path: str) -> int:
        """How many requests of `method` arrived at paths that match."""
        return sum(r.method == method and bool(re.search(path, r.path)) for r in self.requests)

    def check(self, request: Request) -> None:
        """Refuse a request that may not be made at all."""
        sent = request.headers.get("authorization", "")
        if sent != f"Bearer {KEY}":
            raise Refused(401, f"Invalid API key: {sent.removeprefix('Bearer ')}", "unauthorized")

    def refusal(self, error: Refused) -> Json:
        """The body of a refusal."""
        raise NotImplementedError

    def act(self, request: Request) -> Any:
        self.check(request)
        for method, pattern, action in self.routes:
            found = re.fullmatch(pattern, request.path)
            if method == request.method and found:
                with self.lock:
                    return action(self, request, *map(unquote, found.groups()))
        raise Refused(404, f"Unknown request URL: {request.method} {unquote(request.path)}")


class Storage(Loopback):
    """A storage service: whoever knows a signed URL may put or get, and nobody brings a key."""

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, bytes] = {}
        self.needed: dict[str, Mapping[str, str]] = {}

    def place(self, name: str, **headers: str) -> str:
        """A signed URL; `headers` are a part of its signature."""
        self.needed[name] = headers
        return f"{self.url}/{name}?signature=secret-of-storage"

    def check(self, request: Request) -> None:
        known = {name: request.headers.get(name) for name in request.headers}
        assert not any(KEY in str(value) for value in known.values()), "the key left home"
        if request.query.get("signature") != "secret-of-storage":
            raise Refused(403, "SignatureDoesNotMatch secret-of-storage")
        needed = self.needed.get(request.path.removeprefix("/"), {})
        for name, value in needed.items():
            if known.get(name) != value:
                raise Refused(403, f"header {name} is not the signed one: secret-of-storage")

    def refusal(self, error: Refused) -> Json:
        return {"message": error.message}

    def put(self, request: Request, name: str) -> Answer:
        self.objects[name] = request.body
        return Answer(b"")

    def get(self, request: Request, name: str) -> Any:
        if name not in self.objects:
            raise Refused(404, "NoSuchKey secret-of-storage")
        return self.objects[name]

    routes = (("PUT", "/(.+)", put), ("GET", "/(.+)", get))


# --- chat ----------------------------------------------------------------------------------------


def answered(speaker: FakeBackend, chat: Chat) -> Any:
    """A completion, or its pieces: the usage comes with the last one."""
    model = next(iter(speaker.models())).id
    sampling = Sampling.model_validate(
        {
            name: value
            for name, value in chat.model_dump().items()
            if name in Sampling.model_fields and value is not None
        }
    )
    messages = [ChatMessage.model_validate(each.model_dump()) for each in chat.messages]
    if chat.stream:
        return _pieces(speaker, model, messages, sampling, chat.model)
    whole = speaker.complete(model, messages, sampling=sampling)
    return whole.model_dump(mode="json", exclude_none=True) | {"model": chat.model}


def _pieces(
    speaker: FakeBackend,
    model: str,
    messages: Sequence[ChatMessage],
    sampling: Sampling,
    called: str,
) -> Iterator[Json]:
    base = {"id": "chat-1", "object": "chat.completion.chunk", "created": 1, "model": called}
    for delta in speaker.stream(model, messages, sampling=sampling):
        choice = {
            "index": delta.index,
            "delta": {"role": "assistant", "content": delta.content},
            "finish_reason": delta.finish_reason,
        }
        usage = delta.usage.model_dump() if delta.usage else None
        yield base | {"choices": [choice], "usage": usage}


# --- HTTP ----------------------------------------------------------------------------------------


class _Handler(Handler):
    service: Loopback

    def serve(self) -> None:
        request = self._request()
        fault = self._take(request)
        try:
            if fault.lost == "before":
                raise Lost
            answer = self._answer(request, fault)
            if fault.lost == "after":
                raise Lost
            self._send(answer, fault)
        except (Lost, ConnectionError):
            self.reset()

    def _answer(self, request: Request, fault: Fault) -> Any:
        try:
            return self._faulty(request, fault)
        except Refused as error:
            return Answer(self.service.refusal(error), error.status)

    def _take(self, request: Request) -> Fault:
        with self.service.lock:
            self.service.requests.append(request)
            for fault in self.service.faults:
                if fault.hits(request.method, request.path):
                    fault.times -= 1
                    return fault
        return Fault("", "")

    def _faulty(self, request: Request, fault: Fault) -> Any:
        self.service.stopping.wait(fault.delay)
        if fault.status is not None:
            if fault.acts:
                self.service.act(request)
            words = {"error": {"message": "broken on purpose", "type": "fault"}}
            return Answer(words if fault.body is None else fault.body, fault.status)
        answer = self.service.act(request)
        if fault.rewrite is not None:
            return fault.rewrite(answer)
        return answer if fault.body is None else fault.body

    def _request(self) -> Request:
        url = urlsplit(self.path)
        length = int(self.headers.get("Content-Length", 0))
        return Request(
            method=self.command,
            path=url.path,
            query={key: values[-1] for key, values in parse_qs(url.query).items()},
            headers={key.lower(): value for key, value in self.headers.items()},
            body=self.rfile.read(length),
        )

    def _send(self, answer: Any, fault: Fault) -> None:
        if isinstance(answer, Iterator):
            return self.send_stream(answer, fault)
        whole = answer if isinstance(answer, Answer) else Answer(answer)
        data = whole.body if isinstance(whole.body, bytes) else json.dumps(whole.body).encode()
        self.send_response(whole.status)
        headers = {"Content-Length": str(len(data)), "x-request-id": "req-7"}
        for name, value in (headers | dict(whole.headers) | dict(fault.headers)).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[: fault.cut])
        if fault.cut is not None:
            raise Lost
        return None


@contextmanager
def serving(service: S) -> Iterator[S]:
    """`service` on a free loopback port, gone at the end of the block."""
    with listening(type("Handler", (_Handler,), {"service": service})) as url:
        service.url = url
        try:
            yield service
        finally:
            service.stopping.set()
