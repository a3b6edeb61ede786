"""Pages as people meet them: in a real Chromium, live, by keyboard, in the dark, on a phone."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ftjobs.backends.fake import FakeBackend
from ftjobs.errors import UnreachableError
from ftjobs.reports.comparison import json as as_json
from ftjobs.schema import ChatMessage
from tests.browser import PROBLEMS, Browser, Page, axe
from tests.reports.comparison.sample import many
from tests.server.conftest import Serve, Served
from tests.server.pages.conftest import HOSTILE, Make

UNTIL = """
new Promise((done, fail) => {{
  const end = performance.now() + 15000;
  const look = () => {{
    if ({0}) done(true);
    else if (performance.now() > end) fail(new Error("not so in time"));
    else setTimeout(look, 30);
  }};
  look();
}})
"""
SHIFTS = """
(() => { window.shifted = 0; new PerformanceObserver((list) => {
  for (const each of list.getEntries()) window.shifted += each.value;
}).observe({type: "layout-shift", buffered: false}); })()
"""
LIGHTNESS = """
(() => { const [r, g, b] = getComputedStyle(document.body).backgroundColor.match(/\\d+/g);
  return Number(r) + Number(g) + Number(b); })()
"""


class Window:
    """A page of a browser at a server's address."""

    def __init__(self, page: Page, base: str) -> None:
        self.page, self.base = page, base

    def visit(self, path: str) -> None:
        self.page.browser.events.clear()
        self.page.visit(self.base + path)

    def until(self, condition: str) -> None:
        """Wait until a JavaScript condition holds."""
        self.page.evaluate(UNTIL.format(condition))

    def text(self, selector: str) -> str:
        found = self.page.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")
        return " ".join(str(found).split())

    def texts(self, selector: str) -> list[str]:
        quoted = json.dumps(selector)
        found = f"[...document.querySelectorAll({quoted})].map((each) => each.textContent)"
        return [str(each) for each in self.page.evaluate(found)]


@pytest.fixture
def window(browser: Browser, running: Served) -> Window:
    return Window(browser.open("<p>nothing</p>"), running.url.removesuffix("/v1"))


def step(window: Window) -> int:
    return int(window.text(".now .number").split()[1])


def looks(window: Window) -> int:
    """How often the page has asked what is new."""
    return sum("/live/" in each for each in window.page.requests)


# --- what people see -------------------------------------------------------------------------


@pytest.fixture
def places(make: Make, backend: FakeBackend, tmp_path: Path) -> dict[str, str]:
    """A path of each kind of page."""
    done, going = make(20, suffix="support"), make(4)
    run = backend._runs[make(6, metadata={"team": HOSTILE}).id]
    run.set(suffix=HOSTILE * 100, model=HOSTILE)
    backend._say(run, HOSTILE * 100, level="error")
    for job in (going, run.job):
        backend.pause(job.id)
    report = tmp_path / "report.json"
    report.write_text(as_json(many(2)))
    file = backend.upload(report, purpose="evals")
    return {
        "jobs": "/",
        "none": "/?status=failed",
        "done": f"/jobs/{done.id}",
        "going": f"/jobs/{going.id}",
        "hostile": f"/jobs/{run.job.id}",
        "events": f"/jobs/{run.job.id}/events",
        "files": "/files",
        "file": f"/files/{done.training_file}",
        "report": f"/files/{done.training_file}/report",
        "comparisons": "/comparisons",
        "comparison": f"/files/{file.id}/report",
        "playground": "/playground",
        "login": "/login",
        "error": "/jobs/none",
    }


@pytest.mark.parametrize("width", [360, 1280], ids=["phone", "wide"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_no_problem_and_nothing_is_too_wide(
    browser: Browser, running: Served, places: dict[str, str], dark: bool, width: int
) -> None:
    page = browser.open("<p>nothing</p>", width=width, dark=dark)
    page.media()
    window = Window(page, running.url.removesuffix("/v1"))
    source = axe()
    for name, place in places.items():
        window.visit(place)
        assert (page.evaluate(LIGHTNESS) < 150) == dark
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        page.evaluate("document.querySelectorAll('details').forEach((each) => each.open = true)")
        page.evaluate(source)
        assert page.evaluate(PROBLEMS) == [], name
        known = ("404 (Not Found)", "Password forms should have")
        assert [each for each in page.complaints if not any(k in each for k in known)] == [], name


def test_hostile_text_is_shown_and_does_nothing(window: Window, places: dict[str, str]) -> None:
    for name in ("jobs", "hostile", "events"):
        window.visit(places[name])
        window.until("document.documentElement.classList.contains('scripted')")
        assert window.page.evaluate("document.title") != "owned"
        assert (
            window.page.evaluate("document.querySelectorAll('main img, main script').length") == 0
        )
        shown = window.text("main")
        assert "</script><script>document.title='owned'</script>[U+202E]gnp.exe <img" in shown


def test_on_a_phone_names_stay_words_and_states_stand_in_a_column(
    browser: Browser, running: Served, make: Make, backend: FakeBackend
) -> None:
    page = browser.open("<p>nothing</p>", width=360)
    window = Window(page, running.url.removesuffix("/v1"))
    job = make(20, metadata={"url": "x" * 300, "team": "shop"})
    backend.cancel(make(3).id)
    window.visit(f"/jobs/{job.id}")
    heights = "[...document.querySelectorAll('.facts dt')].map((each) => each.offsetHeight)"
    assert len(set(page.evaluate(heights))) == 1
    window.visit("/")
    ends = "map((each) => Math.round(each.getBoundingClientRect().right))"
    assert len(set(page.evaluate(f"[...document.querySelectorAll('.jobs .status')].{ends}"))) == 1


def test_pages_ask_this_server_alone(window: Window, places: dict[str, str]) -> None:
    for place in places.values():
        window.visit(place)
        assert all(each.startswith(window.base) for each in window.page.requests)


def test_everything_can_be_read_without_script(
    browser: Browser, running: Served, places: dict[str, str]
) -> None:
    page = browser.open("<p>nothing</p>", script=False)
    window = Window(page, running.url.removesuffix("/v1"))
    window.visit(places["going"])
    assert "paused step 2 of 6" in window.text("main")
    assert page.evaluate("document.querySelectorAll('.plot polyline').length") == 2
    page.click("#verbs button")
    page.browser.wait("Page.loadEventFired", page._session)
    assert "running" in window.text("#word")
    window.visit(places["playground"])
    assert "needs JavaScript" in window.text("noscript")


def test_the_keyboard_reaches_content_first_and_every_control(
    window: Window, places: dict[str, str]
) -> None:
    window.visit(places["going"])
    window.page.press("Tab")
    assert window.page.evaluate("document.activeElement.textContent") == "Skip to content"
    window.page.press("Enter", "Tab")
    assert window.page.evaluate("document.activeElement.matches('main button, main a')")
    assert window.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_a_report_in_its_frame_has_no_origin_and_still_works(
    window: Window, places: dict[str, str]
) -> None:
    window.visit(places["comparison"])
    assert window.page.evaluate("document.querySelector('iframe').contentDocument") is None
    target = window.base + places["comparison"].replace("/report", "/comparison.html")
    window.page.visit(target)
    assert window.page.evaluate("self.origin") == "null"
    window.until("!document.querySelector('#controls').hidden")
    assert window.page.complaints == []


def test_a_report_that_takes_a_while_is_said_to_be_made(
    window: Window, places: dict[str, str], backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, real = threading.Event(), backend.content

    def content(file_id: str) -> bytes:
        go_on.wait(10)
        return real(file_id)

    monkeypatch.setattr(backend, "content", content)
    window.page.send("Page.navigate", url=window.base + places["comparison"])
    window.until("document.querySelector('.making')?.innerText === 'The report is being made …'")
    go_on.set()
    window.until("document.querySelector('iframe') && !document.querySelector('.making')")


def test_what_is_no_report_says_so_within_its_frame(
    window: Window, backend: FakeBackend, tmp_path: Path
) -> None:
    (tmp_path / "odd.json").write_text("{}")
    file = backend.upload(tmp_path / "odd.json", purpose="evals")
    window.visit(f"/files/{file.id}/report")
    assert [each for each in window.page.complaints if "frame-ancestors" in each] == []
    answer = f"fetch('/files/{file.id}/comparison.html').then((each) => each.text())"
    assert "this is no comparison" in str(window.page.evaluate(answer))


# --- what goes on while they look ------------------------------------------------------------


def test_a_job_moves_on_while_it_is_looked_at(window: Window, make: Make) -> None:
    job = make(4)
    window.visit(f"/jobs/{job.id}")
    seen = step(window)
    window.until(f"document.querySelector('.now .number').innerText !== 'step {seen} of 6'")
    assert seen < step(window)


def test_a_job_is_followed_to_its_end_and_then_left_alone(
    window: Window, make: Make, backend: FakeBackend
) -> None:
    job = make(4, suffix="support")
    window.visit(f"/jobs/{job.id}")
    window.page.evaluate("document.querySelector('#asked').dataset.mark = 'kept'")
    for _ in range(8):
        window.page.evaluate("look()")
    assert "succeeded" in window.text("#word")
    assert window.page.evaluate("wait") == 0
    assert window.texts("#events li > span")[0] == "The job has successfully completed"
    ids = window.page.evaluate("[...document.querySelectorAll('#events li')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    assert ids == [
        f"event-{event.id}" for event in backend.events(job.id)[::-1] if event.type != "metrics"
    ]
    values = window.page.evaluate("document.querySelector('polyline.train').dataset.values")
    assert len(values.split()) == 6
    window.page.evaluate("look()")
    assert looks(window) <= 9  # and the one that the page itself had sent before
    assert window.page.complaints == []


def test_what_is_new_neither_moves_the_page_nor_takes_the_focus(
    window: Window, make: Make, backend: FakeBackend
) -> None:
    backend._steps = 100
    job = make(4, suffix="support")
    window.visit(f"/jobs/{job.id}")
    window.page.evaluate(SHIFTS)
    window.page.evaluate("document.querySelector('#confirm').open = true")
    window.page.evaluate("document.querySelector('#confirm button').focus()")
    for _ in range(3):
        window.page.evaluate("look()")
    assert "running" in window.text("#word")
    assert window.page.evaluate("document.querySelector('#confirm').open")
    assert window.page.evaluate("document.activeElement.textContent") == "Cancel this job"
    assert window.page.evaluate("window.shifted") < 0.01
    window.page.evaluate(
        "document.querySelector('main').prepend(document.createElement('pre'));"
        "document.querySelector('pre').textContent = '\\n'.repeat(20);"
        "new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))"
    )
    assert window.page.evaluate("window.shifted") > 0.01  # it would be seen


def test_new_jobs_come_into_the_list(window: Window, make: Make) -> None:
    window.visit("/")
    assert "There is no job yet" in window.text("main")
    job = make(4, suffix="fresh")
    window.page.evaluate("look()")
    assert "fresh" in window.text(f"#job-{job.id}")
    assert "running" in window.text(f"#job-{job.id}")


def test_a_server_that_is_away_is_said_and_waited_for(
    browser: Browser, serve: Serve, backend: FakeBackend, make: Make
) -> None:
    job = make(4)
    with serve(backend) as running:
        window = Window(browser.open("<p>nothing</p>"), running.url.removesuffix("/v1"))
        window.visit(f"/jobs/{job.id}")
    waits = []
    for _ in range(7):
        window.page.evaluate("look()")
        waits.append(window.page.evaluate("wait"))
    assert waits == sorted(waits)
    assert waits[0] == 2
    assert waits[-1] == 60
    assert "cannot be reached" in window.text("#connection")
    port = int(window.base.rpartition(":")[2])
    with serve(backend, port=port):
        window.page.evaluate("look()")
        assert window.text("#connection") == ""
        assert window.page.evaluate("wait") == 2


def test_a_server_that_answers_an_error_is_not_said_to_be_away(
    window: Window, make: Make, backend: FakeBackend
) -> None:
    window.visit(f"/jobs/{make(4).id}")
    backend.fail_next("retrieve", UnreachableError("away"))
    window.page.evaluate("look()")
    assert "The server answered 502. What you see may be old" in window.text("#connection")
    window.page.evaluate("look()")
    assert window.text("#connection") == ""


def test_a_hidden_page_asks_for_nothing(window: Window, make: Make) -> None:
    window.visit(f"/jobs/{make(4).id}")
    window.page.evaluate(
        "Object.defineProperty(document, 'hidden', {get: () => window.away}); window.away = true"
    )
    before = looks(window)
    window.page.evaluate("look()")
    assert looks(window) == before
    window.page.evaluate("window.away = false; look()")
    assert looks(window) == before + 1


def test_values_of_a_curve_follow_the_pointer(window: Window, make: Make) -> None:
    window.visit(f"/jobs/{make(20).id}")
    legend = window.text(".legend")
    assert "training 0.5243 step 6" in legend
    place = window.page.evaluate(
        "(() => { const r = document.querySelector('.plot').getBoundingClientRect();"
        "return {x: r.left + 2, y: r.top + 40}; })()"
    )
    window.page.send("Input.dispatchMouseEvent", type="mouseMoved", **place)
    assert "training 1.6000 step 1" in window.text(".legend")
    window.page.send("Input.dispatchMouseEvent", type="mouseMoved", x=2, y=2)
    assert window.text(".legend") == legend


# --- signing in, steering, asking ------------------------------------------------------------


def test_somebody_signs_in_pauses_a_job_and_signs_out(
    window: Window, running: Served, make: Make, backend: FakeBackend
) -> None:
    job = make(4)
    key = running.desk.keys.create("team", "train")[1]
    running.desk.rooms.owners.add("job", job.id, "team")
    window.visit(f"/jobs/{job.id}")
    assert window.page.evaluate("location.pathname") == "/login"
    window.page.type(key)
    window.page.press("Enter")
    window.page.browser.wait("Page.loadEventFired", window.page._session)
    assert window.page.evaluate("location.pathname") == f"/jobs/{job.id}"
    assert window.page.evaluate("document.cookie") == ""
    window.page.click("#verbs button")
    window.page.browser.wait("Page.loadEventFired", window.page._session)
    assert backend._runs[job.id].job.status == "paused"
    window.page.click(".who button")
    window.page.browser.wait("Page.loadEventFired", window.page._session)
    assert window.page.evaluate("location.pathname") == "/login"


def test_a_session_that_ends_is_said(window: Window, running: Served, make: Make) -> None:
    window.visit(f"/jobs/{make(4).id}")
    running.desk.keys.create("team", "train")
    window.page.evaluate("look()")
    assert "You are signed out" in window.text("#connection")


class Slow(FakeBackend):
    """Answers a word at a time, as it is let."""

    def __init__(self) -> None:
        super().__init__(answers=self.said)
        self.go_on = threading.Semaphore(0)

    def said(self, model: str, _messages: Sequence[ChatMessage]) -> str:
        return f"{model} says <b>this</b> and more"

    def stream(self, *asked: object, **named: object) -> Iterator[object]:  # type: ignore[override]
        for delta in super().stream(*asked, **named):  # type: ignore[arg-type]
            self.go_on.acquire(timeout=10)
            yield delta


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def playing(browser: Browser, serve: Serve, slow: Slow) -> Iterator[Window]:
    with serve(slow) as running:
        window = Window(browser.open("<p>nothing</p>"), running.url.removesuffix("/v1"))
        window.visit("/playground")
        window.page.evaluate("document.querySelector('#prompt').focus()")
        window.page.type("What?")
        yield window
        for _ in range(100):
            slow.go_on.release()


def test_answers_are_shown_as_they_are_said(playing: Window, slow: Slow) -> None:
    playing.page.click("#send")
    for _ in range(4):
        slow.go_on.release()
    playing.until("document.querySelectorAll('.answer:not(:empty)').length > 0")
    assert playing.page.evaluate("document.querySelector('#send').disabled")
    assert "more" not in "".join(playing.texts(".answer"))
    for _ in range(20):
        slow.go_on.release()
    playing.until("!document.querySelector('#send').disabled")
    assert playing.texts(".answer") == ["fake-base says <b>this</b> and more"] * 2
    assert all(text.startswith("5 tokens, first after") for text in playing.texts(".outcome"))
    assert playing.page.complaints == []


def test_who_is_asking_does_not_ask_again(playing: Window, slow: Slow) -> None:
    asked = "performance.getEntriesByName(new URL('/v1/chat/completions', location).href).length"
    playing.page.evaluate("for (let n = 0; n < 3; n += 1) $('ask').requestSubmit()")
    for _ in range(40):
        slow.go_on.release()
    playing.until("!document.querySelector('#send').disabled")
    assert playing.texts(".answer") == ["fake-base says <b>this</b> and more"] * 2
    assert playing.page.evaluate(asked) == 2


def test_the_focus_stays_on_the_button_that_can_be_used(playing: Window, slow: Slow) -> None:
    focused = "document.activeElement.id"
    playing.page.evaluate("document.querySelector('#send').focus()")
    playing.page.press("Enter")
    assert playing.page.evaluate(focused) == "stop"
    playing.page.press("Enter")
    playing.until("!document.querySelector('#send').disabled")
    assert playing.page.evaluate(focused) == "send"


def test_asking_is_stopped(playing: Window, slow: Slow) -> None:
    playing.page.click("#send")
    slow.go_on.release()
    slow.go_on.release()
    playing.until("document.querySelectorAll('.answer:not(:empty)').length > 0")
    playing.page.click("#stop")
    playing.until("!document.querySelector('#send').disabled")
    assert all("Stopped after" in text for text in playing.texts(".outcome"))


def test_what_goes_wrong_is_shown(window: Window, backend: FakeBackend) -> None:
    window.visit("/playground?right=ft:fake-base:none::x")
    window.page.evaluate("document.querySelector('#prompt').focus()")
    window.page.type("What?")
    window.page.press("Tab", "Tab", "Tab", "Tab", "Tab", "Enter")
    window.until("!document.querySelector('#send').disabled")
    left, right = window.texts(".outcome")
    assert "all after" in left
    assert "ft:fake-base:none::x" in right
    assert window.page.evaluate("document.querySelector('#right .outcome').className") == (
        "outcome error"
    )


def test_a_tuned_model_is_asked_beside_its_base(window: Window, make: Make) -> None:
    job = make(20, suffix="support")
    window.visit(f"/jobs/{job.id}")
    window.page.click(".now a")
    window.page.browser.wait("Page.loadEventFired", window.page._session)
    chosen = "[...document.querySelectorAll('select')].map((each) => each.value)"
    assert window.page.evaluate(chosen) == ["fake-base", job.fine_tuned_model]
