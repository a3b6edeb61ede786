"""The page as text: what it holds, what it leaves out, and that nothing from outside is markup."""

from __future__ import annotations

import base64
import hashlib
import json as standard
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import html as parser  # type: ignore[import-untyped]

from ftjobs.evals.result import (
    Answer,
    ArmSummary,
    Bias,
    Comparison,
    Gate,
    LabelReport,
    Mark,
    Preference,
    Verdict,
)
from ftjobs.evals.votes import comparison_id, seats
from ftjobs.reports.comparison._changes import changes, chosen
from ftjobs.reports.comparison._forest import forest
from ftjobs.reports.comparison._html import JSON_BYTES, ROW_BYTES, ROWS, html
from ftjobs.reports.comparison._html_labels import MISTAKES, WIDEST, labels
from ftjobs.reports.comparison._html_texts import MORE, SEEN, answer, said
from ftjobs.reports.comparison._html_texts import text as block
from ftjobs.reports.comparison._json import json
from ftjobs.reports.page import safe
from ftjobs.schema import ChatMessage
from tests.reports.comparison.sample import HOSTILE, comparison, many, row

TEXTS = st.text(st.characters(), max_size=60) | st.sampled_from(HOSTILE)


@pytest.fixture(scope="module")
def page() -> str:
    return html(comparison())


@pytest.fixture(scope="module")
def tree(page: str) -> parser.HtmlElement:
    return parser.document_fromstring(page)


def plain(element: parser.HtmlElement) -> str:
    return " ".join(element.text_content().split())


def test_it_begins_with_the_verdict_and_goes_on_in_the_order_of_what_matters(
    tree: parser.HtmlElement,
) -> None:
    sentence = comparison().verdict
    assert sentence is not None
    assert plain(tree.find(".//header")).startswith(f"? Inconclusive {sentence.sentence}")
    assert [plain(title) for title in tree.findall(".//main/section/h2")] == [
        "Differences",
        "Gate",
        "Biggest regressions",
        "Rows",
        "Bias",
        "Labels",
        "Configuration",
        "Warnings",
        "Data",
    ]


def test_the_policy_names_the_style_and_the_script_by_their_hashes(page: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)
    hashes = [
        base64.b64encode(hashlib.sha256(found.group(1).encode()).digest()).decode()
        for found in (style, script)
        if found is not None
    ]
    assert policy.group(1) == (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )


def test_the_script_is_small(page: str) -> None:
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)
    assert script is not None
    assert len(script.group(1).encode()) < 10_000


def test_nothing_has_a_style_or_a_handler_of_its_own(tree: parser.HtmlElement) -> None:
    names = {name for element in tree.iter() for name in element.attrib}
    assert not {name for name in names if name == "style" or name.startswith("on")}


def test_no_address_leads_out_of_the_page(tree: parser.HtmlElement) -> None:
    links = [element.get("href") for element in tree.iter() if element.get("href")]
    assert links
    assert all(
        link.startswith("#") and tree.get_element_by_id(link[1:]) is not None for link in links
    )
    assert not tree.xpath("//img | //iframe | //link | //object | //*[@src]")


def test_the_biggest_regressions_come_first(tree: parser.HtmlElement) -> None:
    outcomes = [article.get("data-outcome") for article in tree.findall(".//article")]
    places = ["worse", "equal", "better", "ungraded"]
    assert outcomes == sorted(outcomes, key=places.index)
    assert set(outcomes) == set(places)


def test_hostile_answers_are_there_as_text_and_nothing_else(tree: parser.HtmlElement) -> None:
    for article in tree.findall(".//article"):
        assert not article.xpath(".//script | .//img | .//svg | .//a | .//style")
    everything = tree.text_content()
    for text in HOSTILE[:3]:
        assert text in everything


def test_the_embedded_json_is_the_comparison(tree: parser.HtmlElement) -> None:
    embedded = tree.xpath("//script[@type='application/json']/text()")[0]
    assert "<" not in embedded
    written = json(comparison(), indent=None)
    assert embedded.replace("\\u003c", "<") == written
    assert Comparison.model_validate_json(embedded) == Comparison.model_validate_json(written)


@given(TEXTS)
def test_a_text_is_text_again_after_it_is_read(text: str) -> None:
    element = parser.fragment_fromstring(f'<p title="{safe(text)}">{safe(text)}</p>')
    assert not list(element)
    assert element.get("title") == element.text_content()
    shown = element.text_content()
    if text.isprintable():
        assert shown == text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)


@given(TEXTS, TEXTS)
def test_a_diff_loses_nothing_of_either_answer(older: str, newer: str) -> None:
    root = parser.fragment_fromstring("\n".join(said(newer, older)), create_parent="div")
    blocks = root.find_class("said")
    if not newer.strip():
        assert "(no text)" in root.text_content()
        return
    kept = "".join(blocks[0].xpath(".//text()[not(ancestor::del)]"))
    assert kept == parser.fragment_fromstring(f"<p>{safe(newer)}</p>").text_content()
    if blocks[0].xpath(".//del | .//ins"):
        before = "".join(blocks[0].xpath(".//text()[not(ancestor::ins)]"))
        assert before == parser.fragment_fromstring(f"<p>{safe(older)}</p>").text_content()


def test_a_japanese_diff_marks_characters() -> None:
    marked = "".join(said("送料は無料です。", "送料は有料です。"))
    assert "送料は<del>有</del><ins>無</ins>料です。" in marked
    assert 'lang="ja"' in marked


def test_texts_with_nothing_in_common_are_not_marked() -> None:
    assert "<del>" not in "".join(said("Something else entirely", "送料は有料です。"))


def test_the_same_answer_says_so() -> None:
    assert "The same as the baseline’s." in "".join(said("yes", "yes"))


@pytest.mark.parametrize("length", [SEEN, SEEN + 1, SEEN + MORE, SEEN + MORE + 1, 1_000_000])
def test_a_long_answer_is_cut_and_says_how_long_it_is(length: int) -> None:
    shown = "\n".join(answer(Answer(text="x" * length), Answer(text="y")))
    assert shown.count("x") >= min(length, SEEN + MORE)
    assert len(shown) < SEEN + MORE + 1_000
    assert (f"{length:,} characters" in shown) == (length > SEEN)
    left = length - SEEN - MORE
    unit = "character" if left == 1 else "characters"
    assert (f"{left:,} {unit} more are not shown" in shown) == (left > 0)


@pytest.mark.parametrize("text", ["", "  \n\t"])
def test_an_empty_answer_is_seen_to_be_one(text: str) -> None:
    assert "(no text)" in "".join(block(text))


def test_a_failure_says_why_there_is_no_answer() -> None:
    shown = "".join(answer(Answer(failure="<500>"), Answer(text="x")))
    assert "No answer:" in shown
    assert "&lt;500&gt;" in shown


def test_what_cannot_be_read_as_functions_does_no_harm() -> None:
    odd = ({"function": None}, {"type": "custom"}, {"function": {"name": 3, "arguments": {"a": 1}}})
    shown = "".join(answer(Answer(tool_calls=odd), None))
    assert "{&quot;type&quot;:&quot;custom&quot;}" in shown
    assert "3({&quot;a&quot;:1})" in shown


def test_of_very_many_messages_and_calls_the_last_and_the_first_are_shown() -> None:
    messages = tuple(ChatMessage(role="user", content=f"turn {i}.") for i in range(200))
    calls = ({"function": {"name": "f", "arguments": "{}"}},) * 200
    answers = {"base": (Answer(tool_calls=calls),), "tuned": (Answer(),)}
    shown = html(comparison(rows=(row(1, messages=messages, answers=answers),)))
    cards = shown.partition("<article")[2].partition("</article>")[0]
    assert "199 messages before" in cards
    assert "179 messages before these are not shown" in cards
    assert "turn 199." in cards
    assert "turn 178." not in cards
    assert "180 calls more are not shown" in cards


def test_a_row_that_asks_nothing_is_a_row() -> None:
    assert 'id="row-1"' in html(comparison(rows=(row(1, messages=()),)))


def test_seats_are_those_of_the_terminal(tree: parser.HtmlElement) -> None:
    result = comparison()
    name = comparison_id(result)
    assert tree.find(".//header").get("data-comparison") == name
    for article in tree.findall(".//article"):
        arm_first = seats(name, int(article.get("data-row")), result.seed)
        assert article.get("data-first") == ("arm" if arm_first else "baseline")


def test_both_orders_of_a_judge_are_told_with_their_reasons(tree: parser.HtmlElement) -> None:
    told = plain(tree.get_element_by_id("row-3"))
    assert "judge on tuned against base: base wins in both orders" in told
    assert "tuned in the first seat: base" in told
    assert "base in the first seat: base" in told
    assert "二番目の回答は具体的で" in told


def test_a_judge_who_changes_sides_and_one_who_says_nothing_are_told_so() -> None:
    swings = Preference(arm_first="arm", baseline_first="baseline")
    silent = Preference(arm_first=None, baseline_first="arm")
    one = row(1, marks={}, preferences={"judge": {"tuned": (swings,)}})
    other = row(2, marks={}, preferences={"judge": {"tuned": (silent,)}})
    shown = html(comparison(rows=(one, other)))
    assert "a tie, since the two orders disagree" in shown
    assert "no verdict in one of the orders" in shown
    assert "(no reason given)" in shown


def test_samples_are_shown_below_each_other_up_to_a_limit() -> None:
    answers = {
        "base": (Answer(text="old"),),
        "tuned": tuple(Answer(text=f"n{i}") for i in range(11)),
    }
    marks = {"exact": {"base": (Mark(score=1.0),), "tuned": (Mark(score=0.5),) * 11}}
    shown = html(comparison(rows=(row(1, answers=answers, marks=marks),)))
    assert "Sample 8 of 11" in shown
    assert "3 more samples are not shown" in shown


def test_without_a_verdict_it_says_so() -> None:
    result = comparison(verdict=None, contrasts=(), rows=(row(1, marks={}),), graders=())
    shown = plain(parser.document_fromstring(html(result)))
    assert "No verdict" in shown
    assert "No row was graded for both arms." in shown


def test_one_arm_alone_has_nothing_to_vote_on() -> None:
    alone = row(1, answers={"base": (Answer(text="x"),)}, marks={})
    arms = (ArmSummary(name="base", model="m"),)
    result = Comparison(created=0, arms=arms, rows=(alone,))
    tree = parser.document_fromstring(html(result))
    assert not tree.xpath("//*[@id='vote' or @id='start']")
    assert tree.xpath("//article")


def test_no_rows_at_all() -> None:
    result = Comparison(created=0, arms=(ArmSummary(name="base", model="m"),), rows=())
    assert "0 rows" in html(result)


@pytest.mark.parametrize(
    ("rule", "margin", "bar"),
    [
        ("better", 0.0, "above 0 points"),
        ("better", 0.05, "above 5 points"),
        ("non-inferior", 0.02, "above −2 points"),
        ("non-inferior", 0.0, "above 0 points"),
    ],
)
def test_the_gate_says_what_it_asks(rule: str, margin: float, bar: str) -> None:
    gate = Gate.model_validate({"rule": rule, "margin": margin})
    verdict = Verdict(
        word="fail", gate=gate, grader="exact", arm="tuned", baseline="base", sentence="It fails."
    )
    tree = parser.document_fromstring(html(comparison(verdict=verdict)))
    assert f"must lie {bar}." in plain(tree.get_element_by_id("gate"))
    assert "✗ Fail" in plain(tree.find(".//header"))
    drawn = tree.get_element_by_id("differences").xpath(".//*[name()='line'][@class='bar']")
    assert bool(drawn) == bool(margin)


def test_an_interval_that_misses_the_bar_is_not_said_to_hold_it() -> None:
    made = comparison().verdict
    assert made is not None
    for margin, meaning in ((0.0, "The bar is inside"), (0.9, "Too many rows lack a score")):
        gate = Gate(margin=margin)
        found = comparison(verdict=made.model_copy(update={"gate": gate, "word": "inconclusive"}))
        tree = parser.document_fromstring(html(found))
        assert meaning in plain(tree.get_element_by_id("gate"))


def test_the_plot_draws_every_contrast_within_its_strip() -> None:
    result = comparison()
    root = parser.fragment_fromstring("\n".join(forest(result)), create_parent="div")
    assert len(root.find_class("line")) == len(result.contrasts) + 1  # and the scale
    places = [float(line.get(name)) for line in root.iter("line") for name in ("x1", "x2")]
    assert places
    assert all(0 <= place <= 100 for place in places)
    ticks = [float(tick.text_content().replace("−", "-")) for tick in root.iter("text")]
    assert 3 <= len(ticks) <= 12
    assert 0 in ticks


def test_a_filled_dot_leaves_out_nought() -> None:
    result = comparison()
    root = parser.fragment_fromstring("\n".join(forest(result)), create_parent="div")
    for line, contrast in zip(root.iter("li"), result.contrasts, strict=True):
        sure = contrast.low > 0 or contrast.high < 0
        assert (not line.xpath(".//*[@class='hole']")) == sure


def test_scales_that_differ_get_plots_of_their_own() -> None:
    first = comparison().contrasts[0]
    nats = first.model_copy(
        update={"grader": "likelihood", "kind": "continuous", "low": -12.0, "high": 3.0}
    )
    figures = "\n".join(forest(comparison(contrasts=(first, nats))))
    assert figures.count("<figure") == 2
    assert "in nats" in figures


@pytest.mark.parametrize("value", [0.0, 1e-9, 1e6])
def test_a_plot_of_next_to_nothing_and_of_very_much(value: float) -> None:
    first = comparison().contrasts[0]
    changed = first.model_copy(update={"low": -value, "high": value, "difference": 0.0})
    assert "<svg" in "\n".join(forest(comparison(contrasts=(changed,))))


def test_many_labels_are_told_by_their_commonest_mistakes() -> None:
    size = WIDEST + 30
    none = (None,) * size
    counts = tuple(tuple(i if j == (i + 1) % size else 0 for j in range(size)) for i in range(size))
    report = LabelReport(
        grader="label",
        arm="tuned",
        accuracy=0.1,
        macro_f1=0.1,
        labels=tuple(f"l{i}" for i in range(size)),
        precision=none,
        recall=none,
        f1=none,
        confusion=counts,
    )
    root = parser.fragment_fromstring("\n".join(labels(report)), create_parent="div")
    mistakes = root.findall(".//table")[1]
    assert plain(mistakes.find("caption")).startswith(
        f"Commonest mistakes, {MISTAKES} of {size - 1}"
    )
    rows = [[plain(cell) for cell in line] for line in mistakes.findall("tbody/tr")]
    assert rows[0] == [f"l{size - 1}", "l0", str(size - 1)]
    assert len(rows) == MISTAKES


def test_a_bias_without_numbers_is_a_sentence() -> None:
    bias = Bias(grader="judge", kind="family", warning=True, sentence="One <family>.")
    shown = html(comparison(biases=(bias,)))
    assert "One &lt;family&gt;." in shown


def test_tags_may_be_anything() -> None:
    tags = ('"><script>', "a b", "a\nb", "", "\ud800")
    result = comparison(rows=(row(1, tags=tags), row(2)))
    tree = parser.document_fromstring(html(result))
    assert len(tree.get_element_by_id("row-1").get("data-tags").split()) == len(tags)
    assert len(tree.get_element_by_id("tag")) == len(tags) + 1


def test_parts_that_are_no_text_are_named() -> None:
    parts = ({"type": "image_url"}, {"text": 3}, {"type": "text", "text": "What?"})
    message = ChatMessage(role="user", content=parts)
    shown = html(comparison(rows=(row(1, messages=(message,)),)))
    assert "(image_url)\n(a part that is no text)\nWhat?" in shown


def test_ten_thousand_rows_leave_a_page_that_can_be_used() -> None:
    result = many(10_000)
    start = time.perf_counter()
    page = html(result)
    assert time.perf_counter() - start < 10
    assert len(page.encode()) < 20_000_000
    tree = parser.document_fromstring(page)
    shown = [int(article.get("data-row")) for article in tree.findall(".//article")]
    assert len(shown) == ROWS
    assert f"{ROWS} of 10,000 rows are shown" in plain(tree.get_element_by_id("rows"))
    outcomes = [article.get("data-outcome") for article in tree.findall(".//article")]
    assert outcomes.count("worse") >= ROWS // 2
    assert outcomes.count("better") >= ROWS // 4
    assert outcomes.count("equal") >= 50


def test_a_page_of_markup_stays_small_enough() -> None:
    page = html(many(600, answer="<" * 5_000))
    assert len(page.encode()) < 20_000_000
    assert "without its rows" in page


def test_rows_of_much_text_stop_at_a_limit_and_the_worst_stay() -> None:
    result = many(600, answer="語" * 20_000)
    page = html(result)
    assert len(page.encode()) < ROW_BYTES + JSON_BYTES + 1_000_000
    tree = parser.document_fromstring(page)
    shown = {int(article.get("data-row")) for article in tree.findall(".//article")}
    assert 10 <= len(shown) < ROWS
    assert {change.row.number for change in changes(result)[: len(shown)]} == shown
    assert "without its rows" in plain(tree.get_element_by_id("data"))
    embedded = standard.loads(tree.xpath("//script[@type='application/json']/text()")[0])
    assert embedded["rows"] == []
    assert embedded["contrasts"]


@given(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0]), max_size=60), st.integers(1, 40))
def test_of_more_rows_than_fit_the_worst_are_kept(gains: list[float], most: int) -> None:
    rows = [
        row(
            number,
            marks={
                "exact": {"base": (Mark(score=0.0),), "tuned": (Mark(score=gain),)},
            },
        )
        for number, gain in enumerate(gains, start=1)
    ]
    found = changes(comparison(rows=tuple(rows)))
    kept = chosen(found, most)
    assert len(kept) == min(most, len(found))
    assert len({change.row.number for change in kept}) == len(kept)
    worst = [change for change in found if change.outcome == "worse"][: most // 2]
    assert {change.row.number for change in worst} <= {change.row.number for change in kept}
