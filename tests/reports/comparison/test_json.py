"""The document comes back as it was, and its lines keep what scripts rely on."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from ftjobs.evals.result import Comparison
from ftjobs.reports.comparison import json as written
from ftjobs.reports.comparison import objects
from ftjobs.reports.words import as_json
from tests.reports.comparison import sample
from tests.reports.comparison.shop import shop


def test_the_document_is_read_again() -> None:
    assert Comparison.model_validate_json(written(shop())) == shop()
    assert Comparison.model_validate_json(written(shop(), indent=None)) == shop()
    assert written(sample.comparison(), indent=None).count("\n") == 1


@settings(max_examples=60)
@given(st.text(max_size=60))
def test_every_word_is_read_again(word: str) -> None:
    found = shop(rows=(sample.row(base=word, tuned=word + "\\ud800 😀"),))
    assert Comparison.model_validate_json(written(found)) == found


def test_half_a_surrogate_pair_becomes_a_question_mark() -> None:
    found = shop(rows=(sample.row(base="a\ud800b 😀 \\ud800 \\\\ud83d"),))
    back = Comparison.model_validate_json(written(found).encode())
    assert back.rows[0].answers["base"][0].text == "a?b 😀 \\ud800 \\\\ud83d"
    assert Comparison.model_validate_json(written(sample.comparison())).arms[0].name == "base"


def test_lines_are_rows_and_at_last_the_comparison() -> None:
    *rows, last = [json.loads(as_json(each)) for each in objects(shop())]
    assert [row["object"] for row in rows] == ["comparison.row"] * 4
    assert [row["number"] for row in rows] == [1, 2, 3, 4]
    assert rows[1]["marks"]["exact"]["tuned"] == [{"score": 0.0, "note": "not the expected answer"}]
    assert last["object"] == "comparison"
    assert last["rows"] == 4
    assert last["verdict"]["word"] == "pass"


def test_the_last_line_holds_the_means_by_grader_and_arm() -> None:
    """As `tail -n 1 | jq '.means.exact.tuned > .means.exact.base'` reads them."""
    last = list(objects(shop()))[-1]
    assert last["means"] == {
        "exact": {"base": 0.617, "tuned": 0.699, "rag": 0.601},
        "chrf": {"base": 0.702, "tuned": 0.811, "rag": 0.69},
    }
    assert set(list(objects(sample.comparison()))[-1]["means"]) == {"exact", "chrf", "label"}


def test_a_line_is_one_line_whatever_is_in_it() -> None:
    for each in objects(sample.comparison()):
        assert "\n" not in as_json(each)
        assert json.loads(as_json(each))
