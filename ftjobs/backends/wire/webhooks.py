"""Webhooks: proof that a delivery comes from who holds the secret, by Standard Webhooks.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md,
"Signature scheme".  The openai SDK has the same check, but reads the clock itself, and costs half
a second to import; a test holds both to the same answers.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Any

from ftjobs.errors import AuthError, ConfigError

__all__ = ["verify_webhook"]


def verify_webhook(
    headers: Mapping[str, str], body: bytes, secret: str, *, now: float, tolerance: float = 300.0
) -> dict[str, Any]:
    """The event of a delivery, such as `{"type": "fine_tuning.job.succeeded", "data": {"id": …}}`.

    A delivery that comes again within `tolerance` passes again: whoever receives must remember
    the `webhook-id`.

    Args:
        headers: of the delivery; their case does not matter.
        body: exactly as it arrived.
        secret: `whsec_` and base64, or any other text as it is.
        now: Unix seconds.
        tolerance: seconds that the delivery's own time may lie before or after `now`.

    Raises:
        ConfigError: the secret is none.
        AuthError: a header is missing, the time is too far off, no signature fits, or what was
            signed is no JSON object.  Secret and body are not quoted.
    """
    key = _key(secret)
    given = {name.lower(): value for name, value in headers.items()}
    delivery, stamp, signatures = (
        _header(given, f"webhook-{name}") for name in ("id", "timestamp", "signature")
    )
    if not re.fullmatch(r"[0-9]{1,15}", stamp):
        raise AuthError("the webhook's time is no number")
    if abs(now - int(stamp)) > tolerance:
        raise AuthError(
            f"the webhook's time is more than {tolerance:g} s off",
            hint="It is an old delivery sent again, or one of the two clocks goes wrong.",
        )
    signed = f"{delivery}.{stamp}.".encode(errors="replace") + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
    if not _fits(expected, signatures):
        raise AuthError("the webhook's signature is wrong", hint="Check the webhook's secret.")
    return _event(body)


def _key(secret: str) -> bytes:
    if not secret.startswith("whsec_"):
        key = secret.encode(errors="surrogatepass")
    else:
        try:
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except (binascii.Error, ValueError):
            key = b""
    if not key:
        raise ConfigError(
            "the webhook's secret cannot be read",
            hint="It is whsec_ and base64: copy it as the service shows it.",
        )
    return key


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name, "")
    if not value:
        raise AuthError(f"the webhook has no header {name}")
    return value


def _fits(expected: bytes, signatures: str) -> bool:
    """Whether one of the `v1,` signatures is the expected one; while a secret is changed, two are.

    Every one is compared, in constant time, so that the time tells nothing.
    """
    given = [part.removeprefix("v1,").encode(errors="replace") for part in signatures.split()]
    return sum([hmac.compare_digest(expected, each) for each in given]) > 0


def _event(body: bytes) -> dict[str, Any]:
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, dict):
        raise AuthError("the webhook is signed, but no JSON object")
    return event
