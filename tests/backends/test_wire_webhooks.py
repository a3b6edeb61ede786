"""The check of webhooks: what the SDK's passes passes, and nothing that was touched."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.backends.wire import verify_webhook
from ftjobs.errors import AuthError, ConfigError

RAW = b"0123456789abcdef01234567"
SECRET = "whsec_" + base64.b64encode(RAW).decode()
EVENT = {"id": "evt_1", "type": "fine_tuning.job.succeeded", "data": {"id": "ftjob-1"}}
BODY = json.dumps(EVENT).encode()
NOW = 1_800_000_000.0


def signature(body: bytes, *, stamp: int, delivery: str = "wh_1", key: bytes = RAW) -> str:
    signed = f"{delivery}.{stamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def signed(body: bytes = BODY, *, stamp: float = NOW, key: bytes = RAW) -> dict[str, str]:
    return {
        "webhook-id": "wh_1",
        "webhook-timestamp": str(int(stamp)),
        "webhook-signature": signature(body, stamp=int(stamp), key=key),
    }


def test_a_signed_delivery_gives_its_event() -> None:
    assert verify_webhook(signed(), BODY, SECRET, now=NOW) == EVENT
    loud = {name.title(): value for name, value in signed().items()}
    assert verify_webhook(loud, BODY, SECRET, now=NOW) == EVENT


def test_a_secret_may_be_plain_text() -> None:
    assert verify_webhook(signed(key=b"open sesame"), BODY, "open sesame", now=NOW) == EVENT


def test_one_of_several_signatures_is_enough() -> None:
    headers = signed()
    headers["webhook-signature"] = f"v1a,zzz v1,AAAA {headers['webhook-signature']} v1,BBBB"
    assert verify_webhook(headers, BODY, SECRET, now=NOW) == EVENT


@pytest.mark.parametrize("off", [-301, 301, -1e9, 1e9])
def test_deliveries_of_another_time_are_refused(off: float) -> None:
    with pytest.raises(AuthError, match="300 s off"):
        verify_webhook(signed(stamp=NOW + off), BODY, SECRET, now=NOW)


@pytest.mark.parametrize("off", [-300, 0, 300])
def test_clocks_may_differ_a_little(off: float) -> None:
    assert verify_webhook(signed(stamp=NOW + off), BODY, SECRET, now=NOW) == EVENT


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
@pytest.mark.parametrize("value", [None, "", "x", "1e9", "-1", "٣", "v1,", "9" * 400, "\ud800"])
def test_headers_that_were_touched_are_refused(name: str, value: str | None) -> None:
    headers = {**signed(), name: value or ""}
    if value is None:
        del headers[name]
    with pytest.raises(AuthError):
        verify_webhook(headers, BODY, SECRET, now=NOW)


@given(body=st.binary(max_size=80), place=st.integers(0, 79), bit=st.integers(0, 7))
def test_bodies_that_were_touched_are_refused(body: bytes, place: int, bit: int) -> None:
    headers = signed(body)
    touched = bytearray(body or b"x")
    touched[place % len(touched)] ^= 1 << bit
    with pytest.raises(AuthError, match="signature is wrong"):
        verify_webhook(headers, bytes(touched), SECRET, now=NOW)


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000])
def test_a_signed_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(AuthError, match="no JSON object"):
        verify_webhook(signed(body), body, SECRET, now=NOW)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_!!!", "whsec_é"])
def test_a_secret_that_is_none_is_refused_and_not_quoted(secret: str) -> None:
    with pytest.raises(ConfigError) as caught:
        verify_webhook(signed(), BODY, secret, now=NOW)
    assert not secret.removeprefix("whsec_") or secret not in str(caught.value)


@pytest.mark.parametrize("stamp_off", [-400, -10, 10, 400])
@pytest.mark.parametrize("key", [RAW, b"other"])
def test_the_sdk_says_the_same(stamp_off: int, key: bytes) -> None:
    now = time.time()
    headers = signed(stamp=now + stamp_off, key=key)
    try:
        openai.OpenAI(api_key="k").webhooks.verify_signature(BODY, headers, secret=SECRET)
    except openai.InvalidWebhookSignatureError:
        with pytest.raises(AuthError):
            verify_webhook(headers, BODY, SECRET, now=now)
    else:
        assert verify_webhook(headers, BODY, SECRET, now=now) == EVENT
