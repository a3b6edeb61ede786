"""The page: it parses, it escapes, it asks nobody, it draws what was counted."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftjobs.data import Report
from ftjobs.data.stats import Statistics, Tally
from ftjobs.reports.dataset import html
from tests.reports.conftest import issue, report

VOID = {"meta"}
NEVER = ("<script", "http://", "https://", "url(", "@import", "src=", "onerror", "javascript:")


class Page(HTMLParser):
    """A page's elements and text; AssertionError where tags do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def statistics(*tokens: int) -> Statistics:
    tally = Tally()
    for count in tokens:
        tally.add(count)
    histogram = tally.histogram()
    return Statistics(
        rows=12,
        examples=len(tokens),
        messages={"user": 12},
        turns=histogram,
        tokens=histogram,
        exact=True,
        context=100,
        cut=3,
        answers_cut=1,
    )


def test_a_page(reports: tuple[Report, ...]) -> None:
    page = Page(html(reports))
    assert [attrs.get("id") for attrs in page.all("details")] == [
        *("FT203", "FT204", "FT107", "FT304", "FT502")
    ]
    assert [("open" in attrs) for attrs in page.all("details")] == [True, True, *[False] * 3]
    assert "データ/train set.jsonl: not usable for local" in page.text
    assert "clean.jsonl: ok for local" in page.text
    assert "warning FT107 blank line 7 times · --fix may repair it" in page.text
    assert "100 % odd, 灯り: red and <b>more</b> ::error::" in page.text
    assert "データ/train set.jsonl:3:109" in page.text


def test_nothing_is_asked_of_the_network(reports: tuple[Report, ...]) -> None:
    made = html(reports, statistics={Path("a"): statistics(1, 2, 3)})
    assert [word for word in NEVER if word in made] == []
    policy = [a["content"] for a in Page(made).all("meta") if "http-equiv" in a]
    style = made.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == [
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    ]


@given(st.text(), st.text(min_size=1))
@settings(max_examples=100)
def test_nothing_from_outside_becomes_markup(message: str, path: str) -> None:
    attack = f"<script>alert(1)</script>\"'><img src=x>{message}"
    odd = report(f"{path}<i>.jsonl", issue("FT204", 1, message=attack, hint=attack, pointer="/<b>"))
    page = Page(html([odd]))
    tags = {tag for tag, _ in page.tags}
    assert tags.isdisjoint({"script", "img", "i", "b"})
    assert "<script>alert(1)</script>" in page.text


def test_a_long_list_is_cut(many: Report) -> None:
    page = Page(html([many], places=10))
    assert len(page.all("li")) == 40
    assert "and 90 more" in page.text


def test_what_was_only_counted_is_said(many: Report) -> None:
    cut = many.model_copy(update={"issues": many.issues[:100]})
    assert "400 issues more: raise --max-errors" in Page(html([cut])).text


def test_histograms_say_in_words_what_they_draw() -> None:
    page = Page(html([report("a.jsonl")], statistics={Path("a.jsonl"): statistics(5, 5, 5, 90)}))
    labels = [attrs["aria-label"] for attrs in page.all("svg")]
    assert labels == [
        "Messages per example: 5 to 90 messages, half of the 4 examples have at most 5",
        "Tokens per example: 5 to 90 tokens, half of the 4 examples have at most 5",
    ]
    assert all(attrs["role"] == "img" for attrs in page.all("svg"))
    assert "min 5 · p5 5 · median 5 · p95 90 · max 90 · mean 26.2 · total 105" in page.text
    assert "3 examples longer than 100 tokens, 1 of them with trained tokens" in page.text


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=50))
@settings(max_examples=100)
def test_bars_stay_in_the_picture_and_hold_every_value(tokens: list[int]) -> None:
    page = Page(html([], statistics={Path("a"): statistics(*tokens)}))
    for attrs in page.all("rect"):
        x, y, width, height = (float(attrs[name] or "") for name in ("x", "y", "width", "height"))
        assert 0 <= x <= 640
        assert 0 < width <= 640 - x + 0.1
        assert y >= 0
        assert y + height == pytest.approx(120, abs=0.2)
    counts = [int(n) for n in re.findall(r"(?:messages|tokens): (\d+)", page.text)]
    assert sum(counts) == 2 * len(tokens)


def test_an_estimate_is_called_one() -> None:
    numbers = statistics(1, 2).model_copy(update={"exact": False})
    assert "Tokens per example (estimate)" in html([], statistics={Path("a"): numbers})


def test_nothing_found(reports: tuple[Report, ...]) -> None:
    assert "<p>None.</p>" in html(reports[2:])
