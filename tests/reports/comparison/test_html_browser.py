"""The page as people meet it: in a real Chromium, by keyboard, in the dark, and on paper."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from ftjobs.evals.result import Answer, ArmSummary, Comparison
from ftjobs.evals.votes import Vote, comparison_id, seats
from ftjobs.reports.comparison import html
from ftjobs.reports.comparison import json as document
from tests.browser import PROBLEMS, Browser, Page, axe
from tests.reports.comparison.sample import HOSTILE, comparison, many, row

WHOLE = comparison()
RESULT = comparison(rows=tuple(row for row in WHOLE.rows if "long" not in row.tags))
HTML = html(RESULT)
ROWS = len(RESULT.rows)
EACH_KIND = comparison(  # for axe, which takes its time for every cell
    rows=tuple(WHOLE.rows[place] for place in (8, 14, 20, 29, 30)),
    contrasts=WHOLE.contrasts[4:7],
    labels=WHOLE.labels[:1],
)

LIGHTNESS = """
(() => { const [r, g, b] = getComputedStyle(document.body).backgroundColor.match(/\\d+/g);
  return Number(r) + Number(g) + Number(b); })()
"""
SEEN_ROWS = """
[...document.querySelectorAll("article.row")].filter((row) => row.checkVisibility())
  .map((row) => Number(row.dataset.row))
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    started = Browser(tmp_path_factory.mktemp("browser"))
    yield started
    started.close()


@pytest.fixture(scope="module")
def window(browser: Browser) -> Page:
    return browser.open(HTML)


@pytest.fixture
def page(window: Page) -> Page:
    window.show(HTML)
    return window


def seen(page: Page, selector: str) -> bool:
    return bool(page.evaluate(f"document.querySelector({json.dumps(selector)}).checkVisibility()"))


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.id"))


def words(page: Page, selector: str = "body") -> str:
    text = page.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")
    return " ".join(str(text).split())


def test_it_asks_for_nothing_and_complains_of_nothing(page: Page) -> None:
    assert page.complaints == []
    assert len(page.requests) == 1
    assert page.requests[0].startswith("file:")


def test_a_megabyte_of_an_answer_does_no_harm(browser: Browser) -> None:
    page = browser.open(html(WHOLE), width=360)
    assert page.complaints == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert "1,000,000 characters: show 20,000 more" in words(page, "#row-32")


def test_the_content_policy_stops_whatever_would_get_in(page: Page) -> None:
    page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', `<img src='http://127.0.0.1:9/x.png' "
        "onerror='window.owned = 1'><div style='position: fixed' id='styled'></div>`)"
    )
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), "
        "{textContent: 'window.owned = 2'}))"
    )
    assert page.evaluate("window.owned === undefined")
    assert page.evaluate("getComputedStyle(document.getElementById('styled')).position") == "static"
    assert any("Content Security Policy" in complaint for complaint in page.complaints)
    assert not any("x.png" in address for address in page.requests)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_no_problem(browser: Browser, dark: bool) -> None:
    page = browser.open(html(EACH_KIND), dark=dark)
    assert (page.evaluate(LIGHTNESS) < 150) == dark
    page.evaluate(axe())
    page.evaluate("document.querySelectorAll('details:not(.more)').forEach((d) => d.open = true)")
    assert page.evaluate(PROBLEMS) == []


@pytest.mark.parametrize("key", ["v", "?"], ids=["voting", "help"])
def test_axe_finds_no_problem_in_what_keys_open(browser: Browser, key: str) -> None:
    page = browser.open(html(many(2)), dark=True)
    page.evaluate(axe())
    page.press(key)
    assert page.evaluate(PROBLEMS) == []


def test_axe_would_find_a_problem(browser: Browser) -> None:
    page = browser.open(html(many(2)))
    page.evaluate(axe())
    page.evaluate(
        "document.querySelector('#search').parentElement.replaceWith($('search'))".replace(
            "$('search')", "document.querySelector('#search')"
        )
    )
    assert any("label" in problem for problem in page.evaluate(PROBLEMS))


def test_everything_can_be_read_without_script(browser: Browser) -> None:
    page = browser.open(HTML, script=False)
    assert RESULT.verdict is not None
    text = words(page)
    assert RESULT.verdict.sentence in text
    assert "Bonett–Price; McNemar exact" in text
    assert "申し訳ございませんが" in text
    assert len(page.evaluate(SEEN_ROWS)) == len(RESULT.rows)
    assert not seen(page, "#controls")
    assert not seen(page, "#vote")
    assert not seen(page, "#download")
    page.click("#row-3 details summary")
    assert "You answer for a shop." in words(page, "#row-3")


def test_no_width_scrolls_the_page_sideways(browser: Browser) -> None:
    page = browser.open(HTML)
    page.evaluate("document.querySelectorAll('details').forEach((d) => d.open = true)")
    for key in ("j", "v"):
        page.press(key)
        for width in (320, 360, 768, 1280, 2560):
            page.resize(width)
            assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_paper_has_what_is_folded_and_no_controls(page: Page) -> None:
    assert not seen(page, "#row-3 .reasons")
    page.media(printed=True)
    assert seen(page, "#row-3 .reasons")
    assert not seen(page, "#controls")
    assert not seen(page, "nav")
    assert page.pdf().startswith(b"%PDF")


def test_paper_is_white_though_the_screen_is_dark(browser: Browser) -> None:
    page = browser.open(html(many(2)), dark=True)
    assert page.evaluate(LIGHTNESS) < 150
    page.media(printed=True)
    assert page.evaluate(LIGHTNESS) == 3 * 255
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(28, 30, 33)"


def test_hostile_text_is_shown_and_does_nothing(page: Page) -> None:
    assert page.evaluate("document.title").endswith("inconclusive")
    assert page.evaluate("document.scripts.length") == 2
    assert page.evaluate("document.querySelectorAll('main img, main iframe').length") == 0
    shown = page.evaluate("[...document.querySelectorAll('.said')].map((each) => each.textContent)")
    for text in HOSTILE[:3]:
        assert text in shown
    assert any("left [U+202E]gnp.exe[U+202C] right" in text for text in shown)
    assert any("␛[31mred␛[0m" in text for text in shown)
    assert not any("\x1b" in text or "\u202e" in text for text in shown)


def test_right_to_left_text_stays_in_its_own_block(page: Page) -> None:
    kinds = page.evaluate(
        "[...document.querySelectorAll('.said, bdi')].map((e) => getComputedStyle(e).unicodeBidi)"
    )
    assert kinds
    assert set(kinds) == {"isolate"}


def test_rows_are_walked_with_j_and_k(page: Page) -> None:
    order = page.evaluate(SEEN_ROWS)
    page.press("j", "j", "j")
    assert focused(page) == f"row-{order[2]}"
    page.press("k")
    assert focused(page) == f"row-{order[1]}"
    assert page.evaluate("Math.abs(document.activeElement.getBoundingClientRect().top)") < 40
    page.press("k", "k", "k")
    assert focused(page) == f"row-{order[0]}"


def test_tab_reaches_every_control_in_order(page: Page) -> None:
    page.press("/")
    reached = [focused(page)]
    for _ in range(7):
        page.press("Tab")
        reached.append(focused(page))
    assert reached == ["search", "outcome", "set", "tag", "order", "changed", "start", "keys"]
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_search_counts_and_hides_and_typing_is_no_command(page: Page) -> None:
    page.press("/")
    page.type("ノルウェー")
    assert words(page, "#count") == f"0 of {ROWS} rows"
    page.evaluate("document.getElementById('search').value = ''")
    page.type("NORWAY")
    assert page.evaluate(SEEN_ROWS) == [7]
    page.press("v", "d", "j")
    assert not seen(page, "#vote")
    assert page.evaluate("document.getElementById('search').value") == "NORWAYvdj"


def choose(page: Page, field: str, value: str) -> None:
    page.evaluate(
        f"(() => {{ const field = document.getElementById('{field}'); field.value = '{value}';"
        "field.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )


def test_rows_are_filtered_by_outcome(page: Page) -> None:
    for outcome in ("worse", "better", "equal", "ungraded"):
        choose(page, "outcome", outcome)
        kinds = page.evaluate(
            "[...document.querySelectorAll('.row')].filter((row) => row.checkVisibility())"
            ".map((row) => row.dataset.outcome)"
        )
        assert set(kinds) == {outcome}
        assert words(page, "#count") == f"{len(kinds)} of {ROWS} rows"


def test_rows_are_filtered_by_set_and_tag(page: Page) -> None:
    choose(page, "set", "1")
    general = {row.number for row in RESULT.rows if row.set == "general"}
    assert set(page.evaluate(SEEN_ROWS)) == general
    choose(page, "set", "")
    place = page.evaluate(
        "[...document.getElementById('tag').options].find((o) => o.text === 'tools').value"
    )
    choose(page, "tag", place)
    assert page.evaluate(SEEN_ROWS) == [30]


def test_rows_are_sorted(page: Page) -> None:
    first = page.evaluate(SEEN_ROWS)
    choose(page, "order", "row")
    assert page.evaluate(SEEN_ROWS) == sorted(first)
    choose(page, "order", "better")
    outcomes = page.evaluate("[...document.querySelectorAll('.row')].map((r) => r.dataset.outcome)")
    places = ["better", "equal", "worse", "ungraded"]
    assert outcomes == sorted(outcomes, key=places.index)
    choose(page, "order", "")
    assert page.evaluate(SEEN_ROWS) == first


def test_a_link_to_a_row_that_is_filtered_away_shows_it(page: Page) -> None:
    choose(page, "outcome", "better")
    assert not seen(page, "#row-3")
    page.click("#regressions a[href='#row-3']")
    page.evaluate("new Promise((done) => setTimeout(done, 50))")
    assert seen(page, "#row-3")
    assert words(page, "#count") == f"{ROWS} of {ROWS} rows"


def test_what_changed_is_shown_until_d_is_pressed(page: Page) -> None:
    assert "photo; a new lamp is on its way the same day, and we" in words(page, "#row-9")
    page.press("d")
    assert not seen(page, "#row-9 del")
    assert "Please send us a photo, and we will look into it." in words(page, "#row-9")
    assert not page.evaluate("document.getElementById('changed').checked")
    page.press("d")
    assert seen(page, "#row-9 del")


def test_keys_are_told_and_can_be_turned_off(page: Page) -> None:
    page.press("?")
    assert "next row" in words(page, "dialog")
    page.click("#single")
    page.press("Escape", "v")
    assert not seen(page, "#vote")
    page.click("#start")
    page.press("a")
    assert "0 voted" in words(page, "#turn")
    page.press("Escape")
    assert not seen(page, "#vote")


def test_a_vote_is_blind(page: Page) -> None:
    page.press("v")
    assert len(page.evaluate(SEEN_ROWS)) == 1
    text = words(page, "#rows")
    assert "Answer A" in text
    assert "Answer B" in text
    for name in ("base", "tuned", "rag", "worse", "better", "Expected", "judge", "exact"):
        assert name not in text
    assert not seen(page, ".row.current .marks")
    assert page.evaluate("[...document.querySelectorAll('del')].every((e) => !e.checkVisibility())")


def test_a_pair_is_seen_though_the_row_is_filtered_away(page: Page) -> None:
    page.press("/")
    page.type("nothing holds this")
    page.click("#start")
    page.press("a")
    assert len(page.evaluate(SEEN_ROWS)) == 1
    page.press("Escape")
    assert page.evaluate(SEEN_ROWS) == []


def test_long_answers_are_cut_at_one_length_for_voters(browser: Browser) -> None:
    old = "".join(f"sentence {number} of many. " for number in range(200))
    one = row(base=old, tuned=old.replace("sentence 3", "phrase 3"))
    page = browser.open(html(comparison(rows=[one])))
    page.press("v")
    seen = page.evaluate(
        "[...document.querySelectorAll('.current .seated .said')]"
        ".filter((e) => e.checkVisibility()).map((e) => e.innerText.length)"
    )
    assert len(seen) == 2
    assert len(set(seen)) == 1


def ballot(page: Page) -> tuple[int, list[str]]:
    """The row that is voted on, and whose its answers are, in the order of their seats."""
    found = page.evaluate(
        "(() => { const row = document.querySelector('.row.current');"
        "return [Number(row.dataset.row),"
        "[...row.querySelectorAll('.answer')].filter((e) => e.checkVisibility())"
        ".map((e) => e.dataset.seat)]; })()"
    )
    return found[0], found[1]


def test_votes_are_cast_with_keys_and_buttons_and_read_by_the_terminal(page: Page) -> None:
    page.press("v")
    page.click("#voter")
    page.type("花子")
    assert page.evaluate("document.activeElement.maxLength") == 200  # as `Vote.voter` has it
    page.evaluate("document.activeElement.blur()")
    cast: dict[int, str] = {}
    for key in "abtsabtza":
        row, order = ballot(page)
        arm_first = seats(comparison_id(RESULT), row, RESULT.seed)
        assert order == (["arm", "baseline"] if arm_first else ["baseline", "arm"])
        page.press(key) if row % 2 else page.click(f"[data-vote={key}]")
        if key in "ab":
            cast[row] = order["ab".index(key)]
        elif key == "t":
            cast[row] = "tie"
    page.click("#export")
    lines = page.download(f"votes-{comparison_id(RESULT)}.jsonl").decode().splitlines()
    votes = [Vote.model_validate_json(line) for line in lines]
    assert {vote.row: vote.winner for vote in votes} == cast
    assert {(vote.arm, vote.baseline, vote.voter) for vote in votes} == {("tuned", "base", "花子")}
    assert {vote.comparison for vote in votes} == {comparison_id(RESULT)}
    assert all(abs(vote.at - time.time()) < 60 for vote in votes)
    assert page.complaints == []


def test_votes_name_arms_as_the_document_does(browser: Browser) -> None:
    names = ("ba\x1b[1mse", "tuned\u202e")
    answers = {name: (Answer(text=name),) for name in names}
    arms = tuple(ArmSummary(name=name, model="m") for name in names)
    found = Comparison(created=0, arms=arms, rows=(row(answers=answers, marks={}),))
    page = browser.open(html(found))
    page.press("v", "a")
    page.click("#export")
    vote = Vote.model_validate_json(page.download(f"votes-{comparison_id(found)}.jsonl"))
    assert (vote.baseline, vote.arm) == names


def test_names_come_back_with_the_count_when_voting_stops(page: Page) -> None:
    before = words(page, "#row-1")
    page.press("v", "a", "b", "t", "Escape")
    assert words(page, "#row-1") == before
    told = words(page, "#tally")
    assert told.startswith("Your votes: ")
    assert "1 for neither" in told
    assert len(page.evaluate(SEEN_ROWS)) == len(RESULT.rows)
    assert focused(page) == "start"


def test_rows_without_two_different_answers_are_not_voted_on(page: Page) -> None:
    page.press("v")
    rows = []
    while page.evaluate("!!document.querySelector('.row.current')"):
        rows.append(ballot(page)[0])
        page.press("s")
    assert rows == sorted(rows)
    alike = {
        row.number
        for row in RESULT.rows
        if row.answers["base"][0].text == row.answers["tuned"][0].text
        and row.answers["base"][0].tool_calls == row.answers["tuned"][0].tool_calls
    }
    failed = {row.number for row in RESULT.rows if row.answers["tuned"][0].failure}
    assert alike
    assert failed
    assert set(rows) == {row.number for row in RESULT.rows} - alike - failed
    assert "No pair is left" in words(page, "#turn")


def test_another_pair_of_arms_can_be_voted_on(page: Page) -> None:
    page.press("v", "a")
    page.evaluate(
        "(() => { const field = document.getElementById('arm'); field.value = 'rag';"
        "field.dispatchEvent(new Event('change')); })()"
    )
    assert "0 voted" in words(page, "#turn")
    page.press("b")
    page.click("#export")
    lines = page.download(f"votes-{comparison_id(RESULT)}.jsonl").decode().splitlines()
    assert [Vote.model_validate_json(line).arm for line in lines] == ["tuned", "rag"]


def test_votes_outlive_the_page(page: Page) -> None:
    page.press("v", "a", "b")
    page.visit(str(page.evaluate("location.href")))
    page.press("v")
    assert "2 voted" in words(page, "#turn")


def test_the_next_voter_starts_over(page: Page) -> None:
    page.press("v", "a", "b")
    page.evaluate("window.confirm = () => false")
    page.click("#forget")
    assert "2 voted" in words(page, "#turn")
    page.evaluate("window.confirm = () => true")
    page.click("#forget")
    assert "Pair 1 of" in words(page, "#turn")
    assert "0 voted" in words(page, "#turn")


def test_the_document_can_be_downloaded(page: Page) -> None:
    page.click("#download")
    saved = page.download(f"comparison-{comparison_id(RESULT)}.json").decode()
    written = Comparison.model_validate_json(document(RESULT))
    assert Comparison.model_validate_json(saved) == written


def test_ten_thousand_rows_open_and_filter_quickly(browser: Browser) -> None:
    text = html(many(10_000))
    start = time.perf_counter()
    page = browser.open(text)
    choose(page, "outcome", "better")
    page.press("/")
    page.type("No. 9")
    assert page.evaluate(SEEN_ROWS)
    assert time.perf_counter() - start < 20  # 1 on a machine with nothing else to do
