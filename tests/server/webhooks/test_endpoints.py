"""Who is told."""

from __future__ import annotations

import re

import pytest

from ftjobs.errors import ConfigError, NotFoundError
from tests.server.webhooks.conftest import Rooms


def test_an_endpoint_is_kept_and_deleted(rooms: Rooms) -> None:
    made = rooms.endpoints.create("https://host.example/hook", project="a", events=["failed"])
    other = rooms.endpoints.create("http://127.0.0.1:9/hook")
    assert rooms.endpoints.all() == [made, other]
    assert (made.project, made.events) == ("a", ("failed",))
    assert (other.project, other.events) == (None, ("cancelled", "failed", "succeeded"))
    rooms.endpoints.delete(made.id)
    assert rooms.endpoints.all() == [other]
    with pytest.raises(NotFoundError):
        rooms.endpoints.delete(made.id)


def test_a_secret_is_random_and_in_no_repr(rooms: Rooms) -> None:
    secrets = {rooms.endpoints.create(f"https://host.example/{n}").secret for n in range(3)}
    assert len(secrets) == 3
    assert all(re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", secret) for secret in secrets)
    assert not any(secret in repr(rooms.endpoints.all()) for secret in secrets)


def test_secrets_lie_where_their_owner_alone_reads_them(rooms: Rooms) -> None:
    rooms.endpoints.create("https://host.example")
    files = [path for path in rooms.home.iterdir() if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8787/webhook",
        "http://127.9.9.9/x",
        "http://[::1]:80/",
        "http://localhost:1/?token=x",
        "https://10.0.0.1",
        "https://host.example:8443/a?b=c",
    ],
)
def test_urls_that_are_taken(rooms: Rooms, url: str) -> None:
    assert rooms.endpoints.create(url).url == url


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://host.example/hook", "not https"),
        ("http://localhost.host.example/", "not https"),
        ("http://0x7f000001/", "not https"),
        ("http://169.254.169.254/", "not https"),
        ("host.example", "not a URL"),
        ("ftp://host.example", "not a URL"),
        ("file:///etc/passwd", "not a URL"),
        ("https://", "not a URL"),
        ("https://host:99999/", "not a URL"),
        ("https://[::1", "not a URL"),
        ("https://host.example/a b", "not a URL"),
        ("https://host.example/\n", "not a URL"),
        ("https://user:word@host.example/", "password"),
        ("https://host.example/#here", "fragment"),
        ("https://host.example/" + "a" * 2000, "at most 2000"),
    ],
)
def test_urls_that_are_refused(rooms: Rooms, url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        rooms.endpoints.create(url)
    assert rooms.endpoints.all() == []


def test_http_elsewhere_is_the_operators_word(rooms: Rooms) -> None:
    rooms.endpoints.create("http://host.example/hook", insecure=True)
    with pytest.raises(ConfigError):
        rooms.endpoints.create("ftp://host.example/hook", insecure=True)


def test_unknown_events_and_too_many_endpoints(
    rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="no event 'running'"):
        rooms.endpoints.create("https://host.example", events=["running"])
    monkeypatch.setattr("ftjobs.server.webhooks.endpoints.MOST", 1)
    rooms.endpoints.create("https://host.example")
    with pytest.raises(ConfigError, match="1 webhooks already"):
        rooms.endpoints.create("https://host.example")
