"""What the errors of openai and httpx2 mean in `ftjobs.errors`: a table, and its reading.

Neither library is imported here; classes are known by name, and a test compares the table with
the libraries.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime

from ftjobs.backends.failures import hint as known_hint
from ftjobs.backends.nouns import readable
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
UNSURE = frozenset({303, 408})
"""Answers after which the service may have acted, or still be at work: 303 says that the outcome is
elsewhere (RFC 9110, 15.4.4), and gateways answer 408 for a slow service."""
LONGEST_MESSAGE = 500
SHORTEST_SECRET = 6  # services on one's own machine take "x" or "none", which words may hold


def translation(error: Exception, name: str, *secrets: str) -> BackendError:
    """Our error for one of the libraries', in one line, without the `secrets` that it may quote."""
    response = getattr(error, "response", None)
    if response is not None:
        body = getattr(error, "body", None)  # a text is a gateway's page, which is not quoted
        said = {"error": body} if isinstance(body, Mapping) else None
        return refusal(int(response.status_code), response.headers, said, name, *secrets)
    ancestry = (cls.__name__ for cls in type(error).__mro__)
    kind = next(ERRORS[cls] for cls in ancestry if cls in ERRORS)
    code, word, param = (
        _word(getattr(error, field, None), secrets) for field in ("code", "type", "param")
    )
    if QUOTA_CODES & {code, word}:
        kind = QuotaError
    text = f"{error} ({error.__cause__})" if error.__cause__ else str(error)
    is_distrusted = "CERTIFICATE_VERIFY_FAILED" in text  # which no second try mends
    return kind(
        f"{name}: {_line(text, secrets) or 'no words'}",
        hint=_DISTRUSTED if is_distrusted else _hint(kind, None, name),
        should_retry=False if is_distrusted else None,
        code=code,
        param=param,
        acted=False if _was_unsent(error, kind) else None,
    )


def refusal(
    status: int, headers: Mapping[str, str], body: object, name: str, *secrets: str
) -> BackendError:
    """Our error for an answer that is no success, where no SDK has read it.

    `body` is its JSON, or None.  Services say `{"error": {...}}`, `{"error": "…"}` or, like
    gRPC's gateways, `{"code": 5, "message": "…"}`.
    """
    outer = body if isinstance(body, Mapping) else {}
    said = outer.get("error", outer)
    said = said if isinstance(said, Mapping) else {"message": said}
    code, word, param = (_word(said.get(field), secrets) for field in ("code", "type", "param"))
    kind = REFUSALS.get(status) or (ServiceError if status >= 500 else InvalidRequestError)
    if QUOTA_CODES & {code, word}:
        kind = QuotaError
    text = _line(str(said.get("message") or said.get("detail") or ""), secrets)
    error = kind(
        f"{name}: {text or f'HTTP {status}'}",
        hint=_hint(kind, status, name),
        status=status,
        code=code or word,
        param=param,
        request_id=_word(headers.get("x-request-id"), secrets),
        retry_after=_retry_after(headers),
        acted=False if 300 <= status < 500 and status not in UNSURE else None,
        should_retry=_should_retry(headers),
    )
    error.hint = "\n".join(filter(None, (error.hint, _hidden(known_hint(error), secrets))))
    return error


def _word(value: object, secrets: Iterable[str]) -> str | None:
    return None if value is None or value == "" else _line(str(value), secrets)


def _line(text: str, secrets: Iterable[str]) -> str:
    text = readable(" ".join(text.split()))
    return _hidden(text, secrets)[:LONGEST_MESSAGE]  # in this order: no half of a key is left


def _hidden(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        if len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret, "[key]")
    return text


_DISTRUSTED = "If the certificate is your own, name the file of its issuer: SSL_CERT_FILE=ca.pem"


def _hint(kind: type[BackendError], status: int | None, name: str) -> str:
    if kind is AuthError:
        return f"Check the key for {name} and what it may do."
    if status is not None and 300 <= status < 400:
        return "It redirects to another place: use that place's address as the base URL."
    if kind is NotFoundError and name.startswith("http") and "/v" not in name:
        return f"Many services have their API under a path: try {name.rstrip('/')}/v1"
    if kind is UnreachableError:
        return f"Check the address of {name}, and the network."
    return ""


def _was_unsent(error: Exception, kind: type[BackendError]) -> bool:
    """Whether the request was refused on this side, or no connection ever stood."""
    cause = error.__cause__ or error
    sent = UNSENT.isdisjoint(cls.__name__ for cls in type(cause).__mro__)
    return kind is InvalidRequestError or not sent


def _should_retry(headers: Mapping[str, str]) -> bool | None:
    return {"true": True, "false": False}.get(headers.get("x-should-retry", "").lower())


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from now (RFC 9110, 10.2.3: a number or a date); None where not said."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        with suppress(KeyError, ValueError):
            seconds = float(headers[name]) / unit
            if not math.isnan(seconds):
                return max(0.0, seconds)
    end = _date(headers.get("retry-after", ""))
    if end is None:
        return None
    # The service's own clock, where it is told: this machine's may go wrong.
    return max(0.0, end - (_date(headers.get("date", "")) or time.time()))


def _date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
