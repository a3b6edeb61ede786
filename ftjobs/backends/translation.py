"""What the errors of openai and httpx2 mean in `ftjobs.errors`: a table, and its reading.

Neither library is imported here; classes are known by name, and a test compares the table with
the libraries.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from ftjobs.errors import (
    AuthError,
    BackendError,
    DeadlineError,
    InvalidRequestError,
    NotFoundError,
    QuotaError,
    RateLimitError,
    ServiceError,
    UnreachableError,
)

__all__ = ["ERRORS", "QUOTA_CODES", "STATUSES", "refusal", "translation"]

ERRORS: Mapping[str, type[BackendError]] = {
    # openai 3.54; the nearest class of an error's own ancestry decides.
    "OpenAIError": ServiceError,
    "APIError": ServiceError,
    "APIConnectionError": UnreachableError,
    "APIResponseValidationError": ServiceError,
    "APIStatusError": ServiceError,
    "APITimeoutError": DeadlineError,
    "AuthenticationError": AuthError,
    "BadRequestError": InvalidRequestError,
    "ConflictError": InvalidRequestError,
    "ContentFilterFinishReasonError": ServiceError,
    "InternalServerError": ServiceError,
    "InvalidWebhookSignatureError": AuthError,
    "LengthFinishReasonError": ServiceError,
    "NotFoundError": NotFoundError,
    "OAuthError": AuthError,
    "PermissionDeniedError": AuthError,
    "RateLimitError": RateLimitError,
    "SubjectTokenProviderError": AuthError,
    "UnprocessableEntityError": InvalidRequestError,
    "WebSocketConnectionClosedError": UnreachableError,
    "WebSocketQueueFullError": ServiceError,
    # httpx2, in a stream that the SDK does not watch over.
    "HTTPError": UnreachableError,
    "InvalidURL": InvalidRequestError,
    "StreamError": ServiceError,
    "TimeoutException": DeadlineError,
    # An argument that the SDK refuses to send, and an answer that is no JSON.
    "JSONDecodeError": ServiceError,
    "UnicodeDecodeError": ServiceError,
    "ValueError": InvalidRequestError,
}
STATUSES: Mapping[int, type[BackendError]] = {402: QuotaError, 408: DeadlineError}
REFUSALS: Mapping[int, type[BackendError]] = {
    **STATUSES,
    401: AuthError,
    403: AuthError,
    404: NotFoundError,
    429: RateLimitError,
}
UNSENT = frozenset(
    {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol"}
)
"""Errors of httpx2 after which not one byte of the request has reached the service."""
QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "exceeded_quota"})
LONGEST_MESSAGE = 500


def translation(error: Exception, name: str, key: str) -> BackendError:
    """Our error for one of the libraries', in one line, without `key` wherever it is quoted."""
    ancestry = (cls.__name__ for cls in type(error).__mro__)
    kind = next(ERRORS[cls] for cls in ancestry if cls in ERRORS)
    response = getattr(error, "response", None)
    status = None if response is None else int(response.status_code)
    if status is not None and 400 <= status < 500 and kind is ServiceError:
        kind = InvalidRequestError
    kind = STATUSES.get(status or 0, kind)
    code = getattr(error, "code", None)
    if QUOTA_CODES & {code, getattr(error, "type", None)}:
        kind = QuotaError
    return kind(
        f"{name}: {_words(error, status)}".replace(key, "[key]"),
        hint=f"Check the key for {name} and what it may do." if kind is AuthError else "",
        status=status,
        code=code,
        param=getattr(error, "param", None),
        request_id=getattr(error, "request_id", None),
        retry_after=None if response is None else _retry_after(response.headers),
        acted=None if _may_have_acted(error, kind, status) else False,
        should_retry=None if response is None else _should_retry(response.headers),
    )


def refusal(
    status: int, headers: Mapping[str, str], body: object, name: str, key: str
) -> BackendError:
    """Our error for an answer that is no success, where no SDK has read it.

    `body` is its JSON, or None.  Services say `{"error": {...}}`, `{"error": "…"}` or, like
    gRPC's gateways, `{"code": 5, "message": "…"}`.
    """
    outer = body if isinstance(body, Mapping) else {}
    said = outer.get("error", outer)
    said = said if isinstance(said, Mapping) else {"message": said}
    code, word = (_word(said.get(field)) for field in ("code", "type"))
    kind = REFUSALS.get(status) or (ServiceError if status >= 500 else InvalidRequestError)
    if QUOTA_CODES & {code, word}:
        kind = QuotaError
    text = " ".join(str(said.get("message") or said.get("detail") or "").split())
    text = text.replace(key, "[key]")[:LONGEST_MESSAGE]  # in this order: no half of a key is left
    return kind(
        f"{name}: {text or f'HTTP {status}'}",
        hint=f"Check the key for {name} and what it may do." if kind is AuthError else "",
        status=status,
        code=code or word,
        param=_word(said.get("param")),
        request_id=headers.get("x-request-id"),
        retry_after=_retry_after(headers),
        acted=False if 400 <= status < 500 and status != 408 else None,
        should_retry=_should_retry(headers),
    )


def _word(value: object) -> str | None:
    return None if value is None or value == "" else str(value)


def _may_have_acted(error: Exception, kind: type[BackendError], status: int | None) -> bool:
    """Whether the service may have done what was asked.

    A refusal (4xx) is a promise that it did not, and so is a connection that never stood; 408
    is not, since gateways answer it for a service that is still at work.
    """
    if status is not None:
        return status == 408 or not 400 <= status < 500
    if kind is InvalidRequestError:  # refused on this side
        return False
    cause = error.__cause__ or error
    return not UNSENT & {cls.__name__ for cls in type(cause).__mro__}


def _should_retry(headers: Mapping[str, str]) -> bool | None:
    return {"true": True, "false": False}.get(headers.get("x-should-retry", "").lower())


def _words(error: Exception, status: int | None) -> str:
    """One line.  A body that is no JSON (a gateway's HTML) is not quoted."""
    body = getattr(error, "body", None)
    if isinstance(body, Mapping):
        text = str(body.get("message") or body.get("detail") or "")
    elif status is None:
        text = f"{error} ({error.__cause__})" if error.__cause__ else str(error)
    else:
        text = ""
    return " ".join(text.split())[:LONGEST_MESSAGE] or f"HTTP {status or 'error'}"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from now (RFC 9110, 10.2.3: a number or a date); None where not said."""
    try:
        if milliseconds := headers.get("retry-after-ms"):
            return max(0.0, float(milliseconds) / 1000)
        return max(0.0, float(headers["retry-after"]))
    except KeyError:
        return None
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time())
    except (KeyError, ValueError):
        return None
