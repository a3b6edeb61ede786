"""Signing in and out."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.server.pages.login import local
from tests.server.conftest import Served
from tests.server.pages.conftest import Site


@pytest.fixture
def key(running: Served) -> str:
    return running.desk.keys.create("team", "train")[1]


def sign_in(site: Site, key: str, place: str = "/files") -> str:
    """Where it leads to."""
    data = {"token": site.token("/login"), "key": key, "next": place}
    answer = site.post("/login", data=data)
    assert answer.status_code == 303
    return answer.headers["location"]


def test_without_a_key_nobody_signs_in(site: Site) -> None:
    assert site.get("/").status_code == 200
    assert "Sign out" not in site.get("/").text


def test_with_a_key_pages_lead_to_the_form_and_back(site: Site, key: str) -> None:
    answer = site.get("/files?after=x&y=%26")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=%2Ffiles%3Fafter%3Dx%26y%3D%2526"
    form = site.get(answer.headers["location"]).text
    assert 'name="next" value="/files?after=x&amp;y=%26"' in form
    assert sign_in(site, key, "/files?after=x&y=%26") == "/files?after=x&y=%26"
    assert site.get("/files").status_code == 200
    assert "team, train" in site.words("/files")


def test_the_cookie_is_for_this_site_and_no_script(site: Site, key: str) -> None:
    data = {"token": site.token("/login"), "key": key}
    cookie = site.post("/login", data=data).headers["set-cookie"]
    for part in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"):
        assert part in cookie
    assert key not in cookie


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_cookie_is_secret_where_the_browser_speaks_tls(
    site: Site, key: str, scheme: str
) -> None:
    """A proxy may have ended it."""
    host = urlsplit(str(site.base_url)).netloc
    data = {"token": site.token("/login"), "key": key}
    answer = site.post("/login", data=data, headers={"origin": f"{scheme}://{host}"})
    assert ("Secure" in answer.headers["set-cookie"]) == (scheme == "https")


@pytest.mark.parametrize("wrong", ["", "ftj-nope", "x" * 400, "ftj-000000000000-" + "A" * 43])
def test_a_wrong_key_opens_nothing(site: Site, key: str, wrong: str) -> None:
    answer = site.post("/login", data={"token": site.token("/login"), "key": wrong})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "not known here" in answer.text
    assert site.get("/").status_code == 303


def test_a_form_of_before_signing_in_is_stale(site: Site, key: str) -> None:
    token = site.token("/login")
    sign_in(site, key)
    assert site.post("/logout", data={"token": token}).status_code == 403


def test_signing_out_ends_the_session_itself(site: Site, running: Served, key: str) -> None:
    sign_in(site, key)
    cookies = dict(site.cookies)
    assert site.post("/logout", data={"token": site.token("/")}).headers["location"] == "/login"
    assert site.get("/").status_code == 303
    with Site(running, cookies=cookies) as other:
        assert other.get("/").status_code == 303


def test_a_long_address_is_come_back_to_or_given_up(site: Site, key: str) -> None:
    for length in (300, 3000):
        place = f"/playground?left=fake-base&right={'x' * length}"
        answer = site.get(place, follow_redirects=True)
        assert answer.status_code == 200
        assert (place.replace("&", "&amp;") in answer.text) == (length < 1000)
    assert sign_in(site, key, f"/{'x' * 1500}") == f"/{'x' * 1500}"


def test_a_form_without_a_session_says_so_and_leads_back(site: Site, key: str) -> None:
    answer = site.post("/jobs/ftjob-1/cancel", data={"token": "x"})
    assert answer.status_code == 401
    assert "nothing was changed" in answer.text
    assert "Bearer" not in answer.text
    assert 'href="/login?next=%2Fjobs%2Fftjob-1"' in answer.text
    sign_in(site, key)
    answer = site.post("/jobs/ftjob-1/cancel", data={"token": "x"})
    assert answer.status_code == 403
    assert '<a href="/jobs/ftjob-1">Back</a>' in answer.text


def test_a_revoked_key_ends_its_sessions(site: Site, running: Served, key: str) -> None:
    sign_in(site, key)
    running.desk.keys.revoke(key.split("-")[1])
    assert site.get("/").status_code == 303


def test_what_asks_by_itself_is_told_and_not_led_away(site: Site, key: str) -> None:
    answer = site.get("/live/jobs")
    assert (answer.status_code, answer.text) == (401, "")


def test_a_session_asks_models_too(site: Site, key: str) -> None:
    assert site.get("/v1/models").status_code == 401
    sign_in(site, key)
    assert site.get("/v1/models").status_code == 200


@given(
    st.text(alphabet="/\\.:@aevil?#%09 \t\r\n\u2028\x00", max_size=12)
    | st.sampled_from(["//evil.example", "/\\evil", "/\t/evil", "https://evil", "javascript:x"])
)
def test_nobody_is_led_away(place: str) -> None:
    # Browsers drop these before they look (WHATWG URL Standard, basic URL parser).
    seen = local(place).translate(dict.fromkeys(map(ord, "\t\r\n"))).replace("\\", "/").strip()
    assert urlsplit(urljoin("http://here/login", seen)).netloc == "here"
