"""JUnit XML that every reader takes, with the gate as its one case."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree  # type: ignore[import-untyped]

from ftjobs.evals.result import Comparison
from ftjobs.reports.comparison import junit
from tests.reports.comparison import sample
from tests.reports.comparison.shop import shop
from tests.reports.test_ci import SCHEMA


def parsed(found: Comparison) -> Any:
    root = etree.fromstring(junit(found).encode())
    SCHEMA.assertValid(root)
    return root


def with_word(word: str) -> Comparison:
    found = shop()
    assert found.verdict is not None
    return shop(verdict=found.verdict.model_copy(update={"word": word}))


def test_the_suite(same_as: Callable[[str, str], None]) -> None:
    same_as("comparison.xml", junit(shop()))


@pytest.mark.parametrize(
    ("found", "counts", "tag"),
    [
        (with_word("pass"), ("0", "0", "0"), None),
        (with_word("fail"), ("1", "0", "0"), "failure"),
        (with_word("inconclusive"), ("0", "0", "1"), "skipped"),
        (shop(verdict=None, contrasts=()), ("0", "1", "0"), "error"),
    ],
)
def test_the_gate_is_the_case(found: Comparison, counts: tuple[str, ...], tag: str | None) -> None:
    suite = parsed(found).find("testsuite")
    assert tuple(suite.get(name) for name in ("failures", "errors", "skipped")) == counts
    (case,) = suite.findall("testcase")
    assert [child.tag for child in case] == ([] if tag is None else [tag])
    sentence = "No verdict" if found.verdict is None else found.verdict.sentence
    assert all(child.get("message").startswith(sentence) for child in case)


def test_rows_that_got_worse_are_no_failures_but_told() -> None:
    root = parsed(sample.many(100))
    assert len(root.findall(".//testcase")) == 1
    assert "10 of 100 rows got worse" in root.findtext(".//system-out")


def test_hostile_words_leave_the_xml_whole() -> None:
    root = parsed(sample.comparison())
    assert {element.tag for element in root.iter()} == {
        *("testsuites", "testsuite", "properties", "property", "testcase", "skipped"),
        *("system-out", "system-err"),
    }


@settings(max_examples=60)
@given(st.text(max_size=80))
def test_any_word_leaves_the_xml_whole(word: str) -> None:
    found = shop(rows=(sample.row(base=word, tuned=word[::-1]),), warnings=(word,))
    assert found.verdict is not None
    update = {"sentence": word, "arm": word, "grader": word, "word": "fail"}
    made = found.verdict.model_copy(update=update)
    assert len(parsed(found.model_copy(update={"verdict": made})).findall(".//failure")) == 1
