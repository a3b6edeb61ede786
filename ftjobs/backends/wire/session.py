"""Calls to one service through the openai SDK: sent once or repeated, with our errors.

The only importer of openai, and only inside functions: importing it takes half a second.  The
SDK contributes requests, authentication and streaming.  Its own retries are off, because they
would repeat `create`; its response types are passed by, because they reject words that services
really send.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ftjobs.backends.nouns import Raw, parsed, readable
from ftjobs.backends.profiles import PROFILES, Profile, check_url
from ftjobs.backends.retry import TRANSIENT, RetryPolicy
from ftjobs.backends.translation import translation
from ftjobs.errors import AuthError, FtjobsError, NotFoundError, ServiceError

if TYPE_CHECKING:
    from httpx2 import Response
    from openai import OpenAI

__all__ = ["Session"]

NO_CONTENT = 204
NO_BEARER = "none"  # the SDK insists on a bearer token, also where the key has its own header


class Session:
    """One service.  Thread-safe.

    Args:
        name: what the user calls it; errors begin with it.
        profile: where it is, and where the key goes.
        key: sent in the profile's header for it, and never written anywhere else.
        retry: the policy for what may be repeated.
        timeout: seconds without a byte after which a call fails with DeadlineError.
        deadline: seconds for a whole call; see `ftjobs.backends.transport`.

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
        retry: RetryPolicy,
        timeout: float,
        deadline: float,
    ) -> None:
        check_url(profile.base_url)
        if not re.fullmatch(r"[!-~]+", key):
            raise AuthError("the key is empty, or holds spaces or characters that no key has")
        self.name = name
        self.profile = profile
        self.retry = retry
        self._key = key
        self._secrets = profile.secrets(key)
        self._timeout = timeout
        self._deadline = deadline
        self._opened: OpenAI | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections.  New ones are opened when they are needed."""
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    # --- calls --------------------------------------------------------------------------------

    @property
    def api(self) -> Any:
        """The SDK's resources, whose methods give answers as they came, to be called by `send`."""
        with self._translated():
            return self._client.with_raw_response

    def send(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Raw:
        """Send once, and read the object that comes back."""
        with self._translated():
            answer = call(*args, **kwargs)
        return self._object(answer.content, answer.headers.get("x-request-id"))

    def read(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Raw:
        """Send what may be repeated, by the policy."""
        return self.retry.call(lambda: self.send(call, *args, **kwargs), on=TRANSIENT)

    def delete(self, call: Callable[..., Any], *args: str) -> None:
        """Delete, by the policy.  What is gone when asked again went with a lost answer."""
        attempts = 0

        def attempt() -> None:
            nonlocal attempts
            attempts += 1
            try:
                with self._translated():
                    answer = call(*args)
            except NotFoundError:
                if attempts == 1:
                    raise
            else:
                if answer.status_code != NO_CONTENT:
                    self._object(answer.content, answer.headers.get("x-request-id"))

        self.retry.call(attempt, on=TRANSIENT)

    def content(self, file_id: str) -> bytes:
        """A file's bytes, by the policy."""

        def attempt() -> bytes:
            with self.streamed_content(file_id, {}) as answer:
                return answer.read()

        return self.retry.call(attempt, on=TRANSIENT)

    @contextmanager
    def streamed_content(self, file_id: str, headers: Mapping[str, str]) -> Iterator[Response]:
        """A file's bytes as they come; reading them inside the block has a deadline too."""
        from ftjobs.backends.transport import in_time

        with self._translated(), in_time(self._deadline):
            files = self._client.with_streaming_response.files
            with files.content(file_id, extra_headers=dict(headers)) as answer:
                yield answer.http_response

    def pages(
        self, call: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Iterator[list[dict[str, Any]]]:
        """The pages of a list, without repeats; ends even where a service ignores the cursor."""
        seen: set[str] = set()
        cursor: dict[str, str] = {}
        while True:
            answer = self.read(call, *args, **kwargs, **cursor)
            page = {row["id"]: row for row in self.rows(answer) if row["id"] not in seen}
            if page:
                yield list(page.values())
            if not page or answer.get("has_more") is False:
                return
            seen |= page.keys()
            cursor = {"after": list(page)[-1]}

    def rows(self, answer: Raw) -> list[dict[str, Any]]:
        """The objects of a list; ServiceError if it holds anything without an id.

        What is not even called a list, such as `{}` or a gateway's words, is no empty one: who
        looks for a job would create a second.
        """
        is_list = "data" in answer or answer.get("object") == "list"
        rows = [] if is_list and answer.get("data") is None else answer.get("data")
        if isinstance(rows, list) and all(map(_has_id, rows)):
            return rows
        raise ServiceError(f"{self.name} answered a list that cannot be read")

    # --- streams ------------------------------------------------------------------------------

    def stream(self, path: str, body: Raw) -> Iterator[Raw]:
        """Post `body`, by the policy, and give the objects of the stream that answers.

        The request is sent before this returns.

        Raises:
            ServiceError: the stream tells of an error; the iterator raises it.
            UnreachableError, DeadlineError: it is cut; the iterator raises it.
        """
        return self._chunks(self.retry.call(lambda: self._open(path, body), on=TRANSIENT))

    def _open(self, path: str, body: Raw) -> Any:
        import openai

        with self._translated():
            return self._client.post(
                path,
                body={**body, "stream": True},
                cast_to=object,
                stream=True,
                stream_cls=openai.Stream[object],
            )

    def _chunks(self, chunks: Any) -> Iterator[Raw]:
        from ftjobs.backends.transport import each_in_time

        with self._translated(), chunks:
            try:
                for chunk in each_in_time(iter(chunks), self._deadline):
                    if not isinstance(chunk, Mapping):
                        raise ServiceError(f"{self.name}: a piece of the stream is no object")
                    yield readable(chunk)
            except ValueError as error:
                words = f"{self.name}: a piece of the stream is no JSON: {type(error).__name__}"
                raise ServiceError(words) from None

    # --- the SDK ------------------------------------------------------------------------------

    @property
    def _client(self) -> OpenAI:
        with self._lock:  # or threads that begin at once would open one each
            if self._opened is None:
                self._opened = self._open_client()
            return self._opened

    def _open_client(self) -> OpenAI:
        import openai

        from ftjobs.backends.transport import open_client

        # The SDK would send OpenAI's settings of the environment to whatever the base URL is.
        foreign = self.profile.base_url != PROFILES["openai"].base_url
        ambient = os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n") if foreign else ()
        silenced: dict[str, Any] = {
            line.partition(":")[0].strip(): openai.Omit() for line in ambient
        }
        transport = open_client(self._timeout, self._deadline)
        transport.event_hooks = {"request": [_without_bearer]}
        client = openai.OpenAI(
            api_key=self._key,
            base_url=self.profile.base_url,
            max_retries=0,
            timeout=transport.timeout,
            default_headers={
                **silenced,
                "Authorization": NO_BEARER,
                **self.profile.auth(self._key),
            },
            default_query=dict(self.profile.query),
            http_client=transport,
        )
        if foreign:
            client.organization = client.project = None
        return client

    @contextmanager
    def _translated(self) -> Iterator[None]:
        import httpx2
        import openai

        try:
            yield
        except FtjobsError:
            raise
        except RecursionError:
            raise ServiceError(f"{self.name} answered JSON that is nested too deeply") from None
        except (
            openai.OpenAIError,
            httpx2.HTTPError,
            httpx2.InvalidURL,
            httpx2.StreamError,
            ValueError,
        ) as error:
            # Not chained: the original quotes the service, which may quote the key.
            raise translation(error, self.name, *self._secrets) from None

    def _object(self, content: bytes, request_id: str | None) -> Raw:
        answer = parsed(content, self.name, request_id)
        if not isinstance(answer, dict):
            raise ServiceError(
                f"{self.name} answered JSON that is no object", request_id=request_id
            )
        return answer


def _has_id(row: object) -> bool:
    return isinstance(row, Mapping) and isinstance(row.get("id"), str)


def _without_bearer(request: Any) -> None:
    if request.headers.get("Authorization") == NO_BEARER:
        del request.headers["Authorization"]
