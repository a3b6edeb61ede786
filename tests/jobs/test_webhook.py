import base64
import hashlib
import hmac
import http.client
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from ftjobs.backends.wire import verify_webhook
from ftjobs.errors import ConfigError
from ftjobs.jobs import webhook
from ftjobs.jobs.webhook import AT_ONCE, LONGEST_BODY, Receiver, address

KEY = b"0123456789abcdef01234567"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
ENDED = {"type": "fine_tuning.job.succeeded", "data": {"id": "ftjob-1"}}


def verify(headers: Mapping[str, str], body: bytes) -> Mapping[str, Any]:
    return verify_webhook(headers, body, SECRET, now=time.time(), tolerance=300)


def signed(body: bytes, *, name: str = "msg-1", age: float = 0, key: bytes = KEY) -> dict[str, str]:
    """The headers of a delivery, by the specification."""
    stamp = str(int(time.time() - age))
    content = f"{name}.{stamp}.".encode() + body
    code = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return {
        "Webhook-Id": name,
        "Webhook-Timestamp": stamp,
        "Webhook-Signature": f"v1,AAAA v1,{code}",
    }


@contextmanager
def listening(**how: Any) -> Iterator[Receiver]:
    with Receiver(("127.0.0.1", 0), verify, **how) as receiver:
        yield receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with listening(wants={"ftjob-1"}.__contains__) as one:
        yield one


def place(receiver: Receiver) -> tuple[str, int]:
    return "127.0.0.1", int(receiver.url.rpartition(":")[2].partition("/")[0])


def send(
    receiver: Receiver,
    body: bytes,
    headers: Mapping[str, str],
    *,
    method: str = "POST",
    path: str = "/webhook",
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(*place(receiver), timeout=5)
    try:
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def rings(receiver: Receiver) -> bool:
    """Whether it has rung since it was last asked."""
    began = time.monotonic()
    receiver.wait(0.1)
    return time.monotonic() - began < 0.09


def test_a_signed_event_of_a_watched_job_rings_once(receiver: Receiver) -> None:
    body = json.dumps(ENDED).encode()
    headers = signed(body)
    assert not rings(receiver)
    assert send(receiver, body, headers) == (204, b"")
    assert rings(receiver)
    assert not rings(receiver)
    assert send(receiver, body, headers)[0] == 204  # delivered again: not again a ring
    assert not rings(receiver)
    assert send(receiver, body, signed(body, name="msg-2"))[0] == 204
    assert rings(receiver)


def test_a_ring_ends_a_wait_that_is_under_way(receiver: Receiver) -> None:
    body = json.dumps(ENDED).encode()
    waiting = threading.Thread(target=receiver.wait, args=(60,))
    waiting.start()
    send(receiver, body, signed(body))
    waiting.join(5)
    assert not waiting.is_alive()


@pytest.mark.parametrize(
    "event",
    [
        {"type": "fine_tuning.job.succeeded", "data": {"id": "ftjob-2"}},
        {"type": "response.completed", "data": {"id": "ftjob-1"}},
        {"type": "fine_tuning.job.failed", "data": {"id": 7}},
        {"type": "fine_tuning.job.failed", "data": ["ftjob-1"]},
        {"type": None},
        {},
    ],
)
def test_signed_events_of_other_things_are_taken_in_silence(
    receiver: Receiver, event: dict[str, Any]
) -> None:
    body = json.dumps(event).encode()
    assert send(receiver, body, signed(body))[0] == 204
    assert not rings(receiver)


def test_bad_signatures_are_refused_without_a_word_and_told_once(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    body = json.dumps(ENDED).encode()
    good = signed(body)
    bad: list[tuple[bytes, Mapping[str, str]]] = [
        (body, {}),
        (body, signed(body, key=b"another key, 24 bytes lo")),
        (body, signed(body, age=400)),
        (body, signed(body, age=-400)),
        (body + b" ", good),
        (body, {**good, "Webhook-Id": "msg-9"}),
        (body, {**good, "Webhook-Signature": "v1,", "X-Evil": "\x1b[2J"}),
        (b"no json", signed(b"no json")),
        (b"", signed(b"")),
    ]
    with caplog.at_level(logging.WARNING, "ftjobs"):
        assert {send(receiver, *each) for each in bad} == {(400, b"")}
    assert not rings(receiver)
    assert len(caplog.records) == 1
    assert "is the secret right?" in caplog.text
    assert SECRET not in caplog.text
    assert send(receiver, body, good)[0] == 204  # a refused delivery does not use its id up


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/webhook", {}, 405),
        ("PUT", "/webhook", {}, 405),
        ("BREW", "/webhook", {}, 405),
        ("POST", "/", {}, 404),
        ("POST", "/webhook/../etc/passwd", {}, 404),
        ("POST", "/webhook", {"Content-Length": "9" * 30}, 411),
        ("POST", "/webhook", {"Content-Length": "-1"}, 411),
        ("POST", "/webhook", {"Content-Length": "x"}, 411),
        ("POST", "/webhook", {"Content-Length": str(LONGEST_BODY + 1)}, 413),
        ("POST", "/webhook?a=b", {"Host": "evil.example"}, 400),
        ("POST", "/webhook", {"X-Long": "x" * 70_000}, 431),
    ],
)
def test_what_is_no_delivery_gets_a_bare_status(
    receiver: Receiver, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    assert send(receiver, b"", headers, method=method, path=path) == (status, b"")


def test_a_chunked_body_is_refused(receiver: Receiver) -> None:
    with socket.create_connection(place(receiver), timeout=5) as connection:
        connection.sendall(b"POST /webhook HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        assert connection.recv(100).split()[1] == b"411"


@pytest.mark.parametrize("more", ["Content-Length: 3", "Transfer-Encoding: chunked"])
def test_a_body_of_two_lengths_is_refused(receiver: Receiver, more: str) -> None:
    body = json.dumps(ENDED).encode()
    given = {"Content-Length": str(len(body))} | signed(body)
    lines = ["POST /webhook HTTP/1.1", *(f"{name}: {text}" for name, text in given.items()), more]
    with socket.create_connection(place(receiver), timeout=5) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        assert connection.recv(100).split()[1] == b"411"
    assert not rings(receiver)


@pytest.mark.parametrize("said", [b"\x16\x03\x01\x02\x00\x01\x00\n", b"\r\n", b"x\r\n\r\n", b""])
def test_noise_harms_nothing(receiver: Receiver, said: bytes) -> None:
    with socket.create_connection(place(receiver), timeout=5) as connection:
        connection.sendall(said)
    body = json.dumps(ENDED).encode()
    assert send(receiver, body, signed(body))[0] == 204


def test_slow_clients_are_cut_off_and_hold_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "DEADLINE", 0.6)
    body = json.dumps(ENDED).encode()
    with listening() as receiver:
        slow = [socket.create_connection(place(receiver), timeout=5) for _ in range(AT_ONCE - 1)]
        began = time.monotonic()
        assert send(receiver, body, signed(body))[0] == 204  # one place is left
        for connection in slow:
            connection.sendall(b"POST /webhook HTTP/1.1\r\nContent-Length: 9\r\n\r\n")
        while time.monotonic() - began < 3:  # a byte now and then moves no deadline
            try:
                for connection in slow:
                    connection.sendall(b"x")
                    time.sleep(0.02)
            except OSError:
                break
        assert time.monotonic() - began < 2
        for connection in slow:
            connection.close()


def test_more_clients_than_places_are_sent_away_until_one_is_free(receiver: Receiver) -> None:
    body = json.dumps(ENDED).encode()
    held = [socket.create_connection(place(receiver), timeout=5) for _ in range(AT_ONCE)]
    time.sleep(0.3)  # until each has its place
    with pytest.raises(OSError):  # noqa: PT011 - reset or closed, as the system has it
        send(receiver, body, signed(body))
    for connection in held:
        connection.close()
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            assert send(receiver, body, signed(body))[0] == 204
            break
        except OSError:
            time.sleep(0.05)
    else:
        pytest.fail("no place was ever free")


def test_ids_are_remembered_within_bounds(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "REMEMBERED", 3)
    body = json.dumps(ENDED).encode()
    for number in range(10):
        headers = {k.lower(): v for k, v in signed(body, name=f"m{number}").items()}
        assert receiver.deliver(headers, body) == 204
    assert len(receiver._seen) == 3


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("127.0.0.1:8787", ("127.0.0.1", 8787)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:65535", ("localhost", 65535)),
    ],
)
def test_addresses(text: str, pair: tuple[str, int]) -> None:
    assert address(text) == pair


@pytest.mark.parametrize(
    "text", ["", "8787", ":8787", "host", "host:", "host:99999", "::1:80", "a b:1", "h:1:2", "h:-1"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT"):
        address(text)


def test_ipv6() -> None:
    with Receiver(("::1", 0), verify) as receiver:
        assert receiver.url.startswith("http://[::1]:")


def test_a_place_that_is_taken_or_not_there_is_an_error(receiver: Receiver) -> None:
    with pytest.raises(ConfigError, match="Address already in use"):
        Receiver(place(receiver), verify)
    with pytest.raises(ConfigError, match=r"cannot listen at 192\.0\.2\.1:1"):
        Receiver(("192.0.2.1", 1), verify)
    with pytest.raises(ConfigError, match="cannot listen"):
        Receiver(("x" * 300, 1), verify)
