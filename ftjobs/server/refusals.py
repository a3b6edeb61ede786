"""Errors of ftjobs, and those of HTTP, in the wire's shape: `{"error": {message, type, …}}`.

Clients decide by status whether to send a request again, and SDKs of OpenAI do so for 408, 409, 429
and 500 to 599 unless `x-should-retry` says otherwise.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse

from ftjobs.errors import (
    AuthError,
    BackendError,
    ConfigError,
    DeadlineError,
    FtjobsError,
    InvalidRequestError,
    NotFoundError,
    QuotaError,
    RateLimitError,
    ServiceError,
    StoreError,
    TrainingError,
    UnreachableError,
    UnsupportedError,
)

__all__ = ["Refusal", "error_body", "logged", "misunderstood", "refuse", "status_of", "told"]

log = logging.getLogger("ftjobs.server")

_STATUSES: tuple[tuple[type[FtjobsError], int], ...] = (
    (NotFoundError, 404),
    (AuthError, 502),  # the key of the service behind this server is wrong, not the caller's
    (QuotaError, 429),
    (RateLimitError, 429),
    (InvalidRequestError, 400),
    (UnsupportedError, 400),
    (ConfigError, 400),
    (TrainingError, 400),
    (DeadlineError, 504),
    (UnreachableError, 502),
    (ServiceError, 502),
    (StoreError, 503),
)
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class Refusal(BackendError):
    """The server itself says no, with this HTTP status."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
        should_retry: bool | None = None,
    ) -> None:
        super().__init__(
            message, status=status, code=code, param=param, retry_after=retry_after,
            should_retry=should_retry,
        )  # fmt: skip


def status_of(error: FtjobsError) -> int:
    """The HTTP status that says what kind of error it is."""
    if isinstance(error, Refusal) and error.status:
        return error.status
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


def refuse(error: FtjobsError) -> JSONResponse:
    """The answer to a request that met an error."""
    status = status_of(error)
    code, param = getattr(error, "code", None), getattr(error, "param", None)
    headers = {}
    if (seconds := getattr(error, "retry_after", None)) is not None:
        headers["retry-after"] = str(max(1, round(seconds)))
    again = getattr(error, "should_retry", None)
    if again is None and isinstance(error, AuthError | QuotaError):
        again = False  # clients would ask three times for 429 and 502
    if again is not None:
        headers["x-should-retry"] = str(again).lower()
    if status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    return error_body(status, told(error), code=code, param=param, headers=headers)


def misunderstood(errors: Sequence[Mapping[str, Any]], body: object) -> Refusal:
    """The refusal of a request that is not of its form.

    Args:
        errors: pydantic's, of which one is told: where a value may be of several forms, that of
            the form which it comes nearest to.
        body: what was sent, by which the parts of a place are told from pydantic's own words.
    """
    first = _place(errors[0], body)
    inner = [(each, _place(each, body)) for each in errors]
    near = [(each, place) for each, place in inner if place[: len(first)] == first]
    error, place = max(near, key=lambda found: len(found[1]))
    param, words = ".".join(place), str(error["msg"]).removeprefix("Value error, ")
    unknown = error["type"] == "extra_forbidden"
    return Refusal(
        400,
        f"{param}: {'no such argument' if unknown else words}" if param else words,
        param=param or None,
        code="unrecognized_request_argument" if unknown else None,
    )


def _place(error: Mapping[str, Any], body: object) -> list[str]:
    place: list[str] = []
    here: Any = body
    for part in error["loc"][1:]:
        if isinstance(here, Mapping):
            is_there = part in here
        else:
            is_there = isinstance(here, list) and isinstance(part, int) and part < len(here)
        if is_there:
            here = here[part]
        elif error["loc"][0] == "body" and error["type"] != "missing":
            continue
        place.append(str(part)[:100])
    return place


def told(error: FtjobsError) -> str:
    """What a client is told of an error."""
    # These name folders of this machine: they are for its log.
    if isinstance(error, StoreError):
        return "the server cannot use its store"
    return "the server failed" if _is_for_the_log(error) else str(error)


def logged(error: FtjobsError, request_id: str) -> FtjobsError:
    """What a client is told of an error: of one that is the operator's, where the log has it."""
    if not _is_for_the_log(error):
        return error
    log.error("%s: %s", request_id, error.message)
    return Refusal(
        status_of(error),
        f"{told(error)}; its log says why: {request_id}",
        should_retry=getattr(error, "should_retry", None),
    )


def _is_for_the_log(error: FtjobsError) -> bool:
    """Whether an error is the operator's to read: its message names no contents, but folders."""
    return isinstance(error, StoreError) or (
        status_of(error) == 500 and not isinstance(error, Refusal)
    )


def error_body(
    status: int,
    message: str,
    *,
    code: str | None = None,
    param: str | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """An error as the wire has it."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    body = {"message": message, "type": kind, "param": param, "code": code}
    # A client's own word may hold half a character, which UTF-8 cannot.
    body = {name: text and text.encode(errors="replace").decode() for name, text in body.items()}
    return JSONResponse({"error": body}, status_code=status, headers=headers)
