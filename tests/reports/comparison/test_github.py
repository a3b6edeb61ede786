"""Annotations and outputs of a step: right, few, and closed to what models say."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ftjobs.reports import actions
from ftjobs.reports.comparison import outputs, workflow_commands
from ftjobs.reports.markdown import one_line
from tests.reports.comparison import sample
from tests.reports.comparison.shop import shop
from tests.reports.test_ci import read_command, read_outputs


def test_the_verdict_then_warnings_then_regressions() -> None:
    found = shop()
    assert found.verdict is not None
    read = [read_command(line) for line in workflow_commands(found).splitlines()]
    assert [level for level, _, _ in read] == ["notice", "warning", "warning", "notice", "notice"]
    assert read[0] == ("notice", {"title": "Comparison: pass"}, found.verdict.sentence)
    assert read[3] == (
        "notice",
        {"file": "datasets/support/eval.jsonl", "line": "2", "title": "Row 2 got worse"},
        "exact 1.00 → 0.00\nCan I pay by invoice?",
    )


def test_each_word_has_its_level() -> None:
    verdict = shop().verdict
    assert verdict is not None
    for word, level in (("pass", "notice"), ("fail", "error"), ("inconclusive", "warning")):
        found = shop(verdict=verdict.model_copy(update={"word": word}))
        assert workflow_commands(found).startswith(f"::{level} title=Comparison%3A {word}::")
    assert workflow_commands(shop(verdict=None, contrasts=())).startswith(
        "::error title=Comparison::No verdict"
    )


def test_ten_annotations_at_most_and_the_rest_is_counted() -> None:
    lines = workflow_commands(sample.many(1000)).splitlines()
    assert len(lines) == actions.MOST_ANNOTATIONS + 1
    assert lines[-1] == "Not annotated: 91 more messages."


def test_a_row_without_a_file_points_nowhere() -> None:
    said = workflow_commands(shop(sources=()))
    assert "file=" not in said
    assert "line=" not in said


@settings(max_examples=60)
@given(st.text(max_size=60), st.sampled_from(sample.HOSTILE))
def test_no_word_becomes_a_command(word: str, evil: str) -> None:
    words = f"::error::{word}\n::set-output name=a::{evil}\r\n##[error]x,file=y:z%0A"
    found = shop(
        rows=(sample.row(base=words, tuned=words[::-1], line=1, expected=words),), warnings=(words,)
    )
    lines = workflow_commands(found).split("\n")
    assert [line.split(" ")[0] for line in lines] == [
        "::notice",
        "::warning",
        "::warning",
        "::notice",
    ]
    assert all(line.count("\r") == 0 for line in lines)
    assert read_command(lines[-1])[1]["title"] == "Row 1 got worse"
    assert read_command(lines[2])[2] == "\n".join(one_line(line) for line in words.split("\n"))


def test_outputs_are_the_verdict_and_its_numbers() -> None:
    values = read_outputs(outputs(shop()))
    assert values.pop("sentence").startswith("Tuned beats base by 8.2 points")
    numbers = {name: float(values.pop(name)) for name in ("difference", "low", "high", "p", "n")}
    assert numbers["low"] == 0.021
    assert (numbers["high"], numbers["p"], numbers["n"]) == (0.14, 0.01, 120)
    assert values == {"verdict": "pass", "arm": "tuned", "baseline": "base", "grader": "exact"}
    assert set(read_outputs(outputs(shop(verdict=None, contrasts=()))).values()) == {""}


def test_no_word_leaves_its_output() -> None:
    verdict = shop().verdict
    assert verdict is not None
    made = verdict.model_copy(update={"sentence": "a\nftjobs_x\nverdict=pass", "arm": "b\nEOF\nc"})
    values = read_outputs(outputs(shop(verdict=made), token=lambda: "x"))
    assert values["sentence"] == "a ftjobs_x verdict=pass"
    assert values["arm"] == "b EOF c"
