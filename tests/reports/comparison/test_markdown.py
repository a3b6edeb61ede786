"""The comment on a pull request: found again, never too long, and closed to what models say."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from ftjobs.evals.result import Comparison
from ftjobs.reports.comparison import markdown, summary
from tests.reports.comparison import sample
from tests.reports.comparison.shop import shop

RENDERER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
OWN = re.compile(
    r"<!-- ftjobs compare [0-9a-f]{32} -->\s*"
    r"|<details><summary>[\d,]+ of [\d,]+ rows? got worse, the biggest regressions first"
    r"</summary>\s*"
    r"|</details>\s*"
)
EVIL = (
    "@team #1 !2 GH-1 [a](http://evil.example) ![x](//evil.example/p.png) <b>x</b>",
    "www.evil.example http://evil.example",
    "</details> <!-- ftjobs compare x --> --> | ``` ~~~ ` \\ a@b.example &amp; $$x$$",
    "```\n</details>\n@team\n````\n<img src=x>",
    "```diff\n# Heading\n* item\n| a | b |",
    "a\r\n\r\n## Heading\n\n<script>x</script>",
    *sample.HOSTILE,
)


def tokens(said: str) -> Iterator[Token]:
    for token in RENDERER.parse(said):
        yield token
        yield from token.children or ()


def assert_closed(said: str) -> None:
    """Nothing but our own markup; what others said stands in code."""
    for token in tokens(said):
        if token.type.startswith("html"):
            assert OWN.fullmatch(token.content), token.content
        assert token.tag not in ("a", "img", "h1", "h2", "h4"), token
        if token.type == "text":
            assert not re.search(r"@\w|#\d|!\d|www\.|://|<\w", token.content), token.content


def hostile() -> Comparison:
    rows = tuple(
        sample.row(place, base=word, tuned=f"{word[::-1]}\n{word}", tags=(word,), expected=word)
        for place, word in enumerate(EVIL, start=1)
    )
    found = shop()
    assert found.verdict is not None
    return found.model_copy(
        update={
            "rows": rows,
            "warnings": EVIL,
            "arms": tuple(arm.model_copy(update={"model": EVIL[0]}) for arm in found.arms),
            "verdict": found.verdict.model_copy(update={"sentence": f"{EVIL[0]} beats base"}),
        }
    )


def test_the_comment(same_as: Callable[[str, str], None]) -> None:
    same_as("comparison.md", markdown(shop()))


def test_its_first_line_finds_it_again() -> None:
    def first(found: Comparison) -> str:
        return markdown(found).splitlines()[0]

    assert first(shop()) == first(shop(verdict=None, created=1, rows=()))
    assert first(shop()) != first(shop(arms=2))
    assert markdown(shop(), key="nightly").startswith("<!-- ftjobs compare nightly -->\n")
    assert "x -->" not in markdown(shop(), key="x --> <b>").splitlines()[0].removesuffix(" -->")
    assert markdown(shop()).split("\n", 1)[1] == summary(shop())


def test_nobody_is_mentioned_and_nothing_is_loaded() -> None:
    assert_closed(markdown(sample.comparison()))
    assert_closed(markdown(hostile()))


@pytest.mark.parametrize("name", ["www.example", "GH-12", "gh-7", "%v1", "@team", "#12"])
def test_a_name_that_refers_to_something_is_quoted(name: str) -> None:
    sentence = f"{name} beats base by 8.2 points, 95 % CI 2.1 to 14.0"
    verdict = shop().verdict
    assert verdict is not None
    said = summary(shop(verdict=verdict.model_copy(update={"sentence": sentence})))
    assert f"\n`{sentence}`\n" in said


@settings(max_examples=60)
@given(st.text(max_size=60), st.text("`~<>!-|@#\n ab", max_size=60))
def test_no_answer_leaves_its_fence(old: str, new: str) -> None:
    said = summary(shop(rows=(sample.row(base=old, tuned=new, expected=new),)))
    assert_closed(said)
    assert said.rstrip().endswith("</details>")


def test_the_biggest_regressions_come_first() -> None:
    rows = [int(number) for number in re.findall(r"\*\*Row (\d+)\*\*", markdown(shop()))]
    assert rows == [2, 3]
    many = markdown(sample.many(1000))
    assert "100 of 1,000 rows got worse" in many
    assert "80 more …" in many


@pytest.mark.parametrize("most", [0, 1, 50, 700, 1_200, 2_000, 3_000, 65_536])
def test_it_stays_within_its_bytes_and_is_whole(most: int) -> None:
    for found in (shop(), sample.comparison(), hostile()):
        said = summary(found, most_bytes=most)
        assert len(said.encode()) <= most
        assert said.count("<details>") == len(re.findall("^</details>", said, re.MULTILINE))
        assert_closed(said)


def test_a_comment_of_large_rows_has_65_536_bytes_at_most() -> None:
    said = markdown(sample.many(5_000, answer="語" * 30_000))
    assert 30_000 < len(said.encode()) <= 65_536
    assert said.rstrip().endswith("</details>")
    arms = shop().arms * 400
    assert len(markdown(shop(arms=3).model_copy(update={"arms": arms})).encode()) <= 65_536


def test_nothing_to_grade() -> None:
    said = summary(shop(verdict=None, contrasts=(), rows=()))
    assert said.startswith("### ⚠️ No verdict\n\nNo verdict: no row could be graded")
    assert "<details>" not in said
