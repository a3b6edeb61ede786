"""The terminal's report: the verdict first, no line too wide, and no answer that does harm."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftjobs.evals.result import Answer, ArmSummary, Comparison, Grading, Preference
from ftjobs.reports.cells import width
from ftjobs.reports.comparison import text
from tests.reports.comparison import sample
from tests.reports.comparison.shop import shop

ESCAPES = re.compile(r"\x1b\[\d+m|\x1b\[m")


def paint(kind: str, said: str) -> str:
    return f"\x1b[{ {'removed': 31, 'added': 32}.get(kind, 1) }m{said}\x1b[m"


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_many_rows(columns: int, same_as: Callable[[str, str], None]) -> None:
    same_as(f"comparison-{columns}.txt", text(shop(), width=columns))


def test_few_rows_are_a_table_of_all(same_as: Callable[[str, str], None]) -> None:
    same_as("comparison-few.txt", text(shop(arms=2), width=80))


@pytest.mark.parametrize("columns", [1, 40, 41, 59, 69, 70, 71, 100, 200])
@pytest.mark.parametrize("few", [True, False])
def test_no_line_is_wider_than_the_terminal(columns: int, few: bool) -> None:
    found = shop(arms=2) if few else sample.comparison()
    lines = text(found, width=columns, rows=None).splitlines()
    assert max(map(width, lines)) <= max(columns, 40)


def test_the_verdict_comes_first_and_again_below_much_else() -> None:
    found = sample.comparison()
    assert found.verdict is not None
    said = text(found, width=400)
    sentence = f"{found.verdict.word.upper()}  {found.verdict.sentence}"
    assert said.startswith(sentence + "\n")
    assert said.endswith(sentence)
    assert text(shop(rows=()), width=400).count("PASS") == 1


def test_what_differs_is_marked_where_it_is_asked_for() -> None:
    assert "[-" not in text(shop(arms=2))
    assert "Yes, [-from the second order on-]." in text(shop(arms=2), diff=True)
    assert "[-" not in text(sample.comparison(), diff=False)


def test_long_answers_are_shown_where_they_differ() -> None:
    old, new = (f"{'start ' * 500}{word}{' end' * 500}" for word in ("then", "now"))
    said = text(shop(arms=2, rows=(sample.row(base=old, tuned=new),)), diff=True)
    assert "[-then-] end" in said
    assert "{+now+} end" in said
    assert len(said.splitlines()) < 50
    apart = text(shop(arms=2, rows=(sample.row(base="a" * 9_000, tuned="b" * 9_000),)), diff=True)
    assert "aaaa" in apart
    assert "bbbb" in apart


@pytest.mark.parametrize("columns", [50, 100])
def test_colour_stands_for_marks_and_takes_no_room(columns: int) -> None:
    found = sample.comparison()
    painted = text(found, width=columns, rows=None, style=paint)
    assert "[-" not in ESCAPES.sub("", painted)
    assert "\x1b[31mfrom" in painted
    assert "\x1b[32minvoices" in painted
    assert max(width(ESCAPES.sub("", line)) for line in painted.splitlines()) <= columns


def test_a_judge_says_why_in_both_orders() -> None:
    notes = ("The first one is vague.", "Die zweite ist vage. ::error::x")
    lost = Preference(arm_first="baseline", baseline_first="baseline", notes=notes)
    row = sample.row(marks={}, preferences={"judge": {"tuned": (lost,)}})
    said = text(shop(rows=(row,), graders=(Grading(name="judge", kind="preference"),)))
    assert "#1 · judge 0.50 → 0.00" in said
    assert "│ judge: The first one is vague.\n│ judge: Die zweite ist vage. ::error::x" in said


def test_how_many_rows_are_shown() -> None:
    many = sample.many(1000)
    assert "100 of 1,000 rows got worse; the 10 biggest regressions" in text(many)
    assert "\n#1000 " in text(many, rows=None)
    assert text(many, rows=3).count("exact 1.00 → 0.00") == 3
    equal = sample.comparison(rows=many.rows[1:3])
    assert "None of 2 rows got worse by exact" in text(equal)
    assert "2 rows, the biggest regressions first" in text(equal, rows=None)
    bare = [row.model_copy(update={"marks": {}, "preferences": {}}) for row in many.rows]
    assert "None of 1,000 rows was graded for both arms" in text(sample.comparison(rows=bare))


def test_nothing_to_say_is_said() -> None:
    arms = (ArmSummary(name="base", model="m"), ArmSummary(name="tuned", model="t"))
    said = text(Comparison(created=0, arms=arms, rows=()))
    assert said.startswith("No verdict: no row could be graded")
    assert "sampling: the model's defaults" in said


@pytest.mark.parametrize(
    ("seconds", "told"),
    [((0.5, 1.44), "0.5 s (p95 1.4 s)"), ((123.4, 1234.0), "120 s (p95 1200 s)"), ((0, 0), "0 s")],
)
def test_latency_has_two_digits(seconds: tuple[float, float], told: str) -> None:
    arm = ArmSummary(name="a", model="m", seconds=seconds)
    assert told in text(Comparison(created=0, arms=(arm,), rows=()))


def harmless(said: str) -> bool:
    """Whether neither a terminal nor a log obeys a word of it."""
    obeyed = re.search(
        r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", said
    )
    return not obeyed and not re.search(r"##(?:vso)?\[|^\s*::", said, re.MULTILINE)


@pytest.mark.parametrize("columns", [40, 100])
@pytest.mark.parametrize("few", [True, False])
def test_hostile_words_do_no_harm(columns: int, few: bool) -> None:
    hostile = ("::error::x", "word ::set-output::y" * 3, "##[error]x ##vso[task]", *sample.HOSTILE)
    rows = tuple(
        sample.row(place, base=word, tuned=word[::-1], tags=(word,), set=word, expected=word)
        for place, word in enumerate(hostile, start=1)
    )
    found = sample.comparison(rows=rows, warnings=hostile, labels=(), arms=_arms())
    assert harmless(text(found, width=columns, diff=not few, rows=None))


def _arms() -> tuple[ArmSummary, ...]:
    return tuple(ArmSummary(name=name, model=sample.HOSTILE[4]) for name in ("base", "tuned"))


@settings(max_examples=50)
@given(st.text(max_size=80), st.text(max_size=80), st.integers(40, 120), st.booleans())
def test_any_answers_fit_and_do_no_harm(old: str, new: str, columns: int, diff: bool) -> None:
    found = sample.comparison(
        rows=(sample.row(base=old, tuned=new),), arms=_arms(), contrasts=(), labels=()
    )
    said = text(found, width=columns, diff=diff, rows=None)
    assert harmless(said)
    painted = text(found, width=columns, diff=diff, rows=None, style=paint)
    assert harmless(ESCAPES.sub("", painted))


def test_several_samples_and_an_arm_that_was_not_asked() -> None:
    answers = {"base": (Answer(text="one"), Answer(text="two")), "tuned": ()}
    row = sample.row(answers=answers, marks={})
    said = text(shop(arms=2, rows=(row,)))
    assert "one" in said
    assert "two" not in said
    assert "(no answer: not" in said
