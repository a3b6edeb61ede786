"""Pages of jobs, as a client reads them."""

from __future__ import annotations

import re

import pytest

from ftjobs.backends.fake import FakeBackend
from ftjobs.errors import UnreachableError
from ftjobs.schema import Job, JobError
from ftjobs.server.pages.views import job_row
from tests.server.conftest import Served
from tests.server.pages.conftest import HOSTILE, Make, Site


def listed(site: Site, place: str = "/") -> list[str]:
    return re.findall(r'<li id="job-([^"]+)"', site.get(place).text)


def test_the_list_is_newest_first_and_says_how_far_they_are(site: Site, make: Make) -> None:
    old, new = make(20, suffix="first"), make(5, suffix="second")
    assert listed(site) == [new.id, old.id]
    words = site.words("/")
    assert "second fake-base ● running" in words
    assert "3 of 6" in words
    assert "first fake-base ✓ succeeded" in words


@pytest.mark.parametrize(("seconds", "words"), [(599, "9 min 59 s"), (1009, "17 min")])
def test_how_long_ago_it_was_is_said_as_it_matters(seconds: int, words: str) -> None:
    job = Job(id="j", created_at=0, status="queued", model="m", training_file="f")
    assert job_row(job, None, seconds).age == f"{words} ago"


def test_without_a_job_the_list_says_how_to_get_one(site: Site) -> None:
    assert "There is no job yet. ftjobs submit" in site.words("/")
    assert "No job is failed." in site.words("/?status=failed")


@pytest.mark.parametrize(
    ("status", "places"),
    [("", [2, 1, 0]), ("succeeded", [0]), ("unfinished", [2]), ("cancelled", [1]), ("odd", [])],
)
def test_the_list_is_filtered(
    site: Site, make: Make, backend: FakeBackend, status: str, places: list[int]
) -> None:
    jobs = [make(20), make(3), make(3)]
    backend.cancel(jobs[1].id)
    assert listed(site, f"/?status={status}") == [jobs[place].id for place in places]


def test_pages_of_the_list_have_every_job_once(site: Site, make: Make) -> None:
    jobs = [make().id for _ in range(45)]
    found, place = [], "/"
    while place:
        found += listed(site, place)
        older = re.search(r'href="([^"]+)">Older', site.get(place).text)
        place = older[1].replace("&amp;", "&") if older else ""
    assert found == jobs[::-1]


def test_an_unknown_page_of_the_list_is_empty(site: Site, make: Make) -> None:
    make()
    assert listed(site, "/?after=nope") == []


def test_a_job_that_cannot_be_read_hides_no_other(
    site: Site, make: Make, backend: FakeBackend
) -> None:
    jobs = [make(5).id for _ in range(2)]
    backend.fail_next("events", UnreachableError("away"))
    assert listed(site) == jobs[::-1]


def test_a_job_shows_what_was_asked_and_what_is_known(site: Site, make: Make) -> None:
    job = make(20, suffix="support", metadata={"team": "shop"}, seed=7)
    words = site.words(f"/jobs/{job.id}")
    for part in (
        "✓ succeeded step 6 of 6",
        f"Tuned model: {job.fine_tuned_model}",
        "n_epochs 3 asked: auto",
        "Seed 7",
        "team shop",
        f"Result file {job.result_files[0]}",
        "Checkpoint created at step 6 with Snapshot ID",
        "training 0.5243 step 6",
    ):
        assert part in words


def test_a_failure_is_explained(site: Site, make: Make, backend: FakeBackend) -> None:
    error = JobError(code="invalid_training_file", message="Line 3 is odd", param="training_file")
    backend._fail_with = error
    job = make(5)
    page = site.get(f"/jobs/{job.id}").text
    assert "invalid_training_file</bdi>: the training file has errors" in page
    assert "<code>ftjobs data check FILE</code>" in page


def test_an_error_that_nobody_knows_is_shown_as_it_is(
    site: Site, make: Make, backend: FakeBackend
) -> None:
    backend._fail_with = JobError(code="odd_one", message="It was odd.")
    words = site.words(f"/jobs/{make(5).id}")
    assert "odd_one It was odd." in words
    assert "Remedy" not in words


def test_events_are_newest_first_each_once(site: Site, make: Make, backend: FakeBackend) -> None:
    job = make(4)
    backend.pause(job.id)  # a fake job would move on with each look
    for number in range(150):
        backend._say(backend._runs[job.id], f"event {number}")
    ids = [f"event-{event.id}" for event in backend.events(job.id)][::-1]
    place = f"/jobs/{job.id}/events"
    first = site.get(place).text
    backend._say(backend._runs[job.id], "one more")  # what comes meanwhile moves nothing
    (older,) = re.findall(r'href="([^"]+)">Older', first)
    pages = [first, site.get(place + older).text, site.get(f"{place}?start=none").text]
    found = [re.findall(r'<li id="(event-[^"]+)"', page) for page in pages]
    assert found == [ids[:100], ids[100:], []]
    assert "Older" not in pages[1]
    assert [">Newest<" in page for page in pages] == [False, True, True]


@pytest.mark.parametrize(
    ("place", "status"),
    [
        ("/?page=0", 200),
        (f"/jobs/x/events?start={'x' * 201}", 400),
        ("/jobs/none", 404),
        ("/jobs/none/events", 404),
        ("/jobs", 404),
    ],
)
def test_what_is_not_there_is_a_page_too(site: Site, place: str, status: int) -> None:
    answer = site.get(place)
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.status_code == status


def test_no_text_gets_into_a_page_as_html(site: Site, make: Make, backend: FakeBackend) -> None:
    job = make(5, metadata={HOSTILE[:64]: HOSTILE})
    run = backend._runs[job.id]
    run.set(suffix=HOSTILE * 100, model=HOSTILE, status=HOSTILE)
    backend._say(run, HOSTILE * 100, level=HOSTILE)
    for place in ("/", f"/jobs/{job.id}", f"/jobs/{job.id}/events", f"/live/jobs/{job.id}"):
        page = site.get(place).text
        assert "<script>document" not in page
        assert "<img" not in page
        assert "\u202e" not in page
        assert len(page) < 100_000


def test_pages_run_nothing_and_load_nothing_from_elsewhere(site: Site, make: Make) -> None:
    for place in ("/", f"/jobs/{make(9).id}", "/files", "/playground", "/login", "/nope"):
        answer = site.get(place)
        if place == "/nope":
            assert answer.status_code == 404
            continue
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert not re.search(r"\son[a-z]+=|\sstyle=|<style|<script>|https?://", answer.text)


def test_scripts_and_styles_are_kept_under_their_own_versions(site: Site) -> None:
    assets = re.findall(r'(?:src|href)="(/static/[^"]+)"', site.get("/playground").text)
    assert len(assets) == 4
    for address in assets:
        assert "immutable" in site.get(address).headers["cache-control"]
        assert site.get(address.partition("?")[0]).headers["cache-control"] == "no-cache"
    assert site.get("/static/..%2fjobs.py").status_code == 404


# --- buttons ---------------------------------------------------------------------------------


def test_a_job_is_paused_resumed_and_cancelled(
    site: Site, make: Make, backend: FakeBackend
) -> None:
    job = make(5)
    for verb, status in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        token = site.token(f"/jobs/{job.id}")
        answer = site.post(f"/jobs/{job.id}/{verb}", data={"token": token})
        assert (answer.status_code, answer.headers["location"]) == (303, f"/jobs/{job.id}")
        assert backend._runs[job.id].job.status == status
    assert f"/jobs/{job.id}/" not in site.get(f"/jobs/{job.id}").text.replace("/events", "")


@pytest.mark.parametrize("data", [{}, {"token": ""}, {"token": "0" * 64}, {"token": "é"}])
def test_a_form_that_is_not_ours_does_nothing(
    site: Site, make: Make, backend: FakeBackend, data: dict[str, str]
) -> None:
    job = make(5)
    assert site.post(f"/jobs/{job.id}/cancel", data=data).status_code == 403
    assert backend._runs[job.id].job.status == "running"


def test_a_form_of_another_site_does_nothing(site: Site, make: Make) -> None:
    job = make(5)
    token = site.token(f"/jobs/{job.id}")
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
        answer = site.post(f"/jobs/{job.id}/cancel", data={"token": token}, headers=headers)
        assert answer.status_code == 403


def test_buttons_are_those_that_can_be_used(running: Served, site: Site, make: Make) -> None:
    job = make(5)
    running.desk.rooms.owners.add("job", job.id, "team")
    forms = {"train": {"pause", "cancel"}, "read": set[str]()}
    for scope, verbs in forms.items():
        with running.as_("team", scope) as client:
            headers = {"authorization": client.headers["authorization"]}
        page = site.get(f"/jobs/{job.id}", headers=headers).text
        assert set(re.findall(rf'action="/jobs/{job.id}/(\w+)"', page)) == verbs


def test_a_key_that_may_only_read_steers_nothing(running: Served, site: Site, make: Make) -> None:
    job = make(5)
    running.desk.rooms.owners.add("job", job.id, "team")
    with running.as_("team", "read") as client:
        headers = {"authorization": client.headers["authorization"]}
    token = re.findall(r'name="token" value="(\w+)"', site.get("/login").text)[0]
    answer = site.post(f"/jobs/{job.id}/cancel", data={"token": token}, headers=headers)
    assert answer.status_code == 403
    assert "not train" in answer.text


def test_another_projects_job_is_not_there(running: Served, site: Site, make: Make) -> None:
    job = make(5)
    running.desk.rooms.owners.add("job", job.id, "team")
    for project, status in (("team", 200), ("others", 404)):
        with running.as_(project) as client:
            headers = {"authorization": client.headers["authorization"]}
        for place in (f"/jobs/{job.id}", f"/live/jobs/{job.id}", f"/jobs/{job.id}/events"):
            assert site.get(place, headers=headers).status_code == status
        assert (job.id in site.get("/", headers=headers).text) == (status == 200)
