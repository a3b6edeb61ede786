from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.server.guard.hosts import Hosts, name_of
from ftjobs.server.options import Options
from ftjobs.server.refusals import Refusal


def knows(called: str, **options: Any) -> bool:
    try:
        Hosts(Options(**options)).require_host(called)
    except Refusal as refusal:
        return refusal.status != 421
    return True


def may_write(origin: str | None, host: str, site: str = "", **options: Any) -> bool:
    try:
        Hosts(Options(**options)).require_own_page("POST", host, origin, site)
    except Refusal as refusal:
        return refusal.status != 403
    return True


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000", "[::1]", "localhost."]
)
def test_loopback_names_are_known(host: str) -> None:
    assert knows(host)


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "10.0.0.1", "localhost:x",
     "localhost:80:80", "user@localhost", "localhost/", "::1", "localhost:800000", "loc alhost"],
)  # fmt: skip
def test_other_names_are_not(host: str) -> None:
    assert not knows(host)


def test_an_operator_names_more() -> None:
    assert knows("gpu.example.com:443", allowed_hosts=["GPU.example.com"])
    assert not knows("a.gpu.example.com", allowed_hosts=["gpu.example.com"])
    assert knows("10.0.0.1:8000", host="10.0.0.1")


def test_a_server_of_all_addresses_goes_by_any_address_and_by_no_name() -> None:
    assert knows("192.168.1.5:8000", host="0.0.0.0")
    assert knows("[fe80::1]:8000", host="::")
    assert not knows("evil.example", host="0.0.0.0")


@pytest.mark.parametrize(
    ("origin", "host"),
    [("http://localhost:8000", "localhost:8000"), ("https://gpu.example.com", "gpu.example.com"),
     ("https://gpu.example.com", "gpu.example.com:443"), (None, "localhost:8000")],
)  # fmt: skip
def test_our_own_pages_may_write(origin: str | None, host: str) -> None:
    assert may_write(origin, host)


@pytest.mark.parametrize(
    "origin",
    ["null", "", "http://evil.example", "http://localhost:3000", "http://localhost",
     "http://localhost:8000.evil.example", "http://[", "localhost:8000", "file://"],
)  # fmt: skip
def test_pages_of_other_sites_may_not(origin: str) -> None:
    assert not may_write(origin, "localhost:8000")


def test_what_the_browser_says_of_the_site_counts_where_it_names_no_origin() -> None:
    assert not may_write(None, "localhost", "cross-site")
    assert not may_write(None, "localhost", "same-site")  # another port of this machine
    assert may_write(None, "localhost", "same-origin")
    assert may_write(None, "localhost", "none")


def test_pages_that_an_operator_named_may_write() -> None:
    assert may_write("https://app.example", "gpu.example", allowed_hosts=["app.example"])


def test_reading_is_for_all_pages_since_browsers_do_not_hand_it_to_them() -> None:
    hosts = Hosts(Options())
    for method in ("GET", "HEAD", "OPTIONS"):
        hosts.require_own_page(method, "localhost", "http://evil.example", "cross-site")


@given(st.text())
def test_no_header_breaks_it(text: str) -> None:
    name = name_of(text)
    assert name == name.lower()
    knows(text)
    may_write(text, text, text)


@given(st.from_regex(r"[a-z0-9.-]{1,30}", fullmatch=True), st.integers(0, 65535))
def test_a_name_is_the_host_without_its_port(name: str, port: int) -> None:
    assert name_of(f"{name}:{port}") == name_of(name) == name.removesuffix(".")
