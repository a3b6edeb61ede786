"""JSON over HTTP, for services that have a wire of their own.

Reads are repeated by the policy, writes are sent once.  A refusal becomes an error of
`ftjobs.errors` with the service's status, code, request id and Retry-After, and without the key.
Redirects are followed as `ftjobs.backends.transport` says: the key stays at home.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from ftjobs.backends.base import Progress
from ftjobs.backends.download import range_header
from ftjobs.backends.nouns import Raw, mapping, parsed, rows
from ftjobs.backends.profiles import Profile, check_url
from ftjobs.backends.retry import TRANSIENT, RetryPolicy
from ftjobs.backends.translation import refusal, translation
from ftjobs.disk import blocks_of, stamp_of
from ftjobs.errors import (
    AuthError,
    BackendError,
    FtjobsError,
    InvalidRequestError,
    NotFoundError,
    ServiceError,
)

if TYPE_CHECKING:
    from httpx2 import Client, Response

__all__ = ["Rest", "at"]

T = TypeVar("T")

DEADLINES = 5.0
"""Time-outs in the deadline of a whole call."""


def at(path: str, *names: str) -> str:
    """`path` with each `{}` filled by a name, quoted so that it cannot leave its place.

    Raises:
        NotFoundError: a name is empty or one of dots, which no URL can carry.
    """
    for name in names:
        if name in ("", ".", ".."):
            raise NotFoundError(f"nothing is called {name!r}")
    return path.format(*(quote(name, safe="") for name in names))


class Rest:
    """One service.  Thread-safe.

    Paths are relative to the profile's base URL; a `/v1` at its end is dropped, because these
    paths carry their version themselves.

    Args:
        name: what the user calls it; errors begin with it.
        profile: where it is, and where the key goes.
        key: sent in the profile's header for it, and never written anywhere else.
        retry: the policy for what may be repeated.
        timeout: seconds without a byte after which a call fails with DeadlineError; a whole call
            has five times as long, and more for large bodies.

    Raises:
        ConfigError: the URL cannot be used.
        AuthError: the key holds characters that no header can carry.
    """

    def __init__(
        self, name: str, profile: Profile, key: str, *, retry: RetryPolicy, timeout: float
    ) -> None:
        check_url(profile.base_url)
        if not re.fullmatch(r"[!-~]+", key):
            raise AuthError("the key is empty, or holds spaces or characters that no key has")
        self.name = name
        self.retry = retry
        self._base_url = profile.base_url.rstrip("/").removesuffix("/v1")
        self._query = dict(profile.query)
        self._auth = profile.auth(key)
        self._secrets = profile.secrets(key)
        self._timeout, self._deadline = timeout, timeout * DEADLINES

    def close(self) -> None:
        """Close the connections.  New ones are opened when they are needed."""
        if client := self.__dict__.pop("_client", None):
            client.close()

    # --- JSON ---------------------------------------------------------------------------------

    def get(self, path: str, **query: str | int) -> Raw:
        """Read an object; repeated by the policy."""
        return self.read(lambda: self._json("GET", path, query=query))

    def array(self, path: str) -> list[Raw]:
        """Read a list of objects, bare or under `data`; repeated by the policy."""
        found = self.read(lambda: self._parsed("GET", path))
        answer = found if isinstance(found, Mapping) else {"data": found}
        return rows(answer, "data", self.name)

    def post(self, path: str, body: Mapping[str, Any] | None = None, **query: str) -> Raw:
        """Send an object, or nothing, once, and read the answer."""
        return self._json("POST", path, json=body, query=query)

    def tell(self, path: str, body: Mapping[str, Any] | None = None) -> None:
        """Send an object once; the answer says nothing more."""
        self._call("POST", path, json=body)

    def delete(self, path: str) -> None:
        """Delete, once."""
        self._call("DELETE", path)

    def read(self, call: Callable[[], T]) -> T:
        """Repeat a call that may be repeated, by the policy."""
        return self.retry.call(call, on=TRANSIENT)

    def content(self, path: str) -> bytes:
        """The bytes at a path of the service; repeated by the policy."""
        return self.read(lambda: self._bytes(path))

    def stream(self, path: str, body: Mapping[str, Any]) -> Iterator[Raw]:
        """Send an object, and read server-sent events of JSON objects until `[DONE]`.

        The request is sent, and repeated by the policy, before this returns.

        Raises:
            ServiceError: an event is no object or tells of an error; the iterator raises it.
            UnreachableError, DeadlineError: the stream is cut; the iterator raises it.
        """
        answer = self.read(lambda: self._open(path, body))
        return self._chunks(answer)

    # --- elsewhere ----------------------------------------------------------------------------

    def form(
        self, path: str, fields: Mapping[str, str], *, expected: frozenset[int]
    ) -> tuple[int, Mapping[str, str], Raw]:
        """Post a form of text fields once, for an answer of one of these statuses.

        Returns the status, the headers (in lower case) and the object in the body, which is
        empty where there is none.
        """
        parts = {name: (None, value) for name, value in fields.items()}
        answer = self._call("POST", path, files=parts, expected=expected)
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return answer.status_code, headers, mapping(_body(answer))

    def put_file(
        self, url: str, path: Path, *, headers: Mapping[str, str], progress: Progress
    ) -> None:
        """Send a file to a signed URL of a storage service, which never gets the key.

        ConfigError if the file cannot be read.
        """
        size = stamp_of(path)[0]
        sent = {**headers, "Content-Length": str(size)}
        blocks = _told(blocks_of(path), size, progress)
        self._call("PUT", self._with_tls(url), content=blocks, headers=sent, signed=True)

    def signed_bytes(self, url: str) -> bytes:
        """The bytes at a signed URL, which never gets the key; repeated by the policy."""
        return self.read(lambda: self._bytes(url, signed=True))

    @contextmanager
    def streamed(self, where: str, start: int, *, signed: bool = False) -> Iterator[Response]:
        """Bytes from `start` on as they come, of any size; reading them here has a deadline too.

        `where` is a path of the service, or a signed URL, which never gets the key.
        """
        from ftjobs.backends.transport import in_time

        with self._translated(), in_time(self._deadline):
            request = self._client.build_request(
                "GET",
                self._with_tls(where) if signed else f"{self._base_url}/{where}",
                params=None if signed else self._query,
                headers=range_header(start) | ({} if signed else self._auth),
            )
            with closing(self._client.send(request, stream=True)) as answer:
                if not answer.is_success:
                    raise self._refusal(answer, f"storage of {self.name}" if signed else self.name)
                yield answer

    def _bytes(self, where: str, *, signed: bool = False) -> bytes:
        with self.streamed(where, 0, signed=signed) as answer:
            return answer.read()

    def _with_tls(self, url: str) -> str:
        """`url`, if files may go there: it has TLS wherever the service itself has it."""
        if url.startswith("https://") or not self._base_url.startswith("https://"):
            return url
        words = f"{self.name} named a place without TLS for a file"
        raise ServiceError(words, should_retry=False)

    # --- calls --------------------------------------------------------------------------------

    @cached_property
    def _client(self) -> Client:
        from ftjobs.backends.transport import open_client

        return open_client(self._timeout, self._deadline)

    def _json(self, method: str, path: str, **how: Any) -> Raw:
        found = self._parsed(method, path, **how)
        if not isinstance(found, Mapping):
            raise ServiceError(f"{self.name} answered JSON that is no object")
        return found

    def _parsed(self, method: str, path: str, **how: Any) -> object:
        return parsed(self._call(method, path, **how).content, self.name)

    def _call(
        self,
        method: str,
        where: str,
        *,
        query: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        signed: bool = False,
        expected: frozenset[int] = frozenset(),
        **content: Any,
    ) -> Response:
        """Send one request.  `where` is a path of the service, or a whole URL if `signed`."""
        with self._translated():
            answer = self._client.request(
                method,
                where if signed else f"{self._base_url}/{where}",
                params=None if signed else {**self._query, **(query or {})},
                headers=headers if signed else {**self._auth, **(headers or {})},
                **content,
            )
        if answer.status_code in expected or (answer.is_success and not expected):
            return answer
        raise self._refusal(answer, f"storage of {self.name}" if signed else self.name)

    def _refusal(self, answer: Response, name: str) -> BackendError:
        # What a storage service says may quote the signature: its words are not passed on.
        body = _body(answer) if name == self.name else None
        error = refusal(answer.status_code, answer.headers, body, name, *self._secrets)
        if name != self.name and isinstance(error, AuthError):  # the signature, not the key
            return InvalidRequestError(error.message, status=error.status, acted=False)
        return error

    @contextmanager
    def _translated(self) -> Iterator[None]:
        import httpx2

        try:
            yield
        except FtjobsError:
            raise
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, ValueError) as error:
            # Not chained: the original may quote a signed URL, or the service, which has the key.
            raise translation(error, self.name, *self._secrets) from None

    # --- streams ------------------------------------------------------------------------------

    def _open(self, path: str, body: Mapping[str, Any]) -> Response:
        with self._translated():
            request = self._client.build_request(
                "POST",
                f"{self._base_url}/{path}",
                params=self._query,
                headers={**self._auth, "Accept": "text/event-stream"},
                json={**body, "stream": True},
            )
            answer = self._client.send(request, stream=True)
        if answer.is_success:
            return answer
        raise self._refusal(answer, self.name)

    def _chunks(self, answer: Response) -> Iterator[Raw]:
        from ftjobs.backends.transport import each_in_time

        try:
            with self._translated():
                yield from each_in_time(self._events(answer), self._deadline)
        finally:
            answer.close()

    def _events(self, answer: Response) -> Iterator[Raw]:
        import httpx2

        for event in httpx2.EventSource(answer):
            if event.data == "[DONE]":
                return
            chunk = parsed(event.data, self.name)
            if not isinstance(chunk, Mapping):
                raise ServiceError(f"{self.name}: a piece of the stream is no object")
            if chunk.get("error"):
                told = refusal(answer.status_code, answer.headers, chunk, self.name, *self._secrets)
                raise ServiceError(told.message, code=told.code, request_id=told.request_id)
            yield chunk


# --- files ---------------------------------------------------------------------------------------


def _told(blocks: Iterator[bytes], size: int, progress: Progress) -> Iterator[bytes]:
    done = 0
    for block in blocks:
        yield block
        done += len(block)
        progress(done, size)


# --- answers -------------------------------------------------------------------------------------


def _body(answer: Response) -> object:
    """The JSON of a refusal; None where it is none, as a gateway's HTML page."""
    try:
        return json.loads(answer.content)
    except (ValueError, RecursionError):
        return None
