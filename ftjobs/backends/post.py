"""One POST of JSON to a URL of the user's."""

from __future__ import annotations

from collections.abc import Mapping

from ftjobs.errors import InvalidRequestError, ServiceError, UnreachableError

__all__ = ["post_json"]


def post_json(url: str, body: Mapping[str, object], *, deadline: float) -> None:
    """Send `body` once.  Neither what the answer says nor the URL, which may be secret, is told.

    Args:
        url: where to.
        body: what JSON can hold.
        deadline: seconds for the whole call.

    Raises:
        UnreachableError: there was no answer in time.
        ServiceError: the answer was a 5xx or a 429, which may pass.
        InvalidRequestError: the answer was any other that is not 2xx, or `url` is none.
    """
    import httpx2

    from ftjobs.backends.transport import open_client

    try:
        with (
            open_client(deadline, deadline) as client,
            client.stream("POST", url, json=body) as answer,
        ):
            status = answer.status_code
    except httpx2.InvalidURL:
        raise InvalidRequestError("not a URL") from None
    except (httpx2.HTTPError, ValueError) as error:  # ValueError: a host name that is none
        raise UnreachableError(" ".join(str(error).split())[:200] or "no answer") from None
    if not 200 <= status < 300:
        kind = ServiceError if status >= 500 or status == 429 else InvalidRequestError
        raise kind(f"HTTP {status}", status=status)
