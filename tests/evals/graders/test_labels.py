from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.evals.graders import Reports, labels
from ftjobs.evals.result import LabelReport, Mark
from tests.evals.graders.marking import item, mark, nobody


def report(pairs: Sequence[tuple[str, str]]) -> LabelReport:
    """The report on (expected, answered)."""
    found = labels().report([item(said, wanted) for wanted, said in pairs])
    assert found is not None
    return found


def test_a_label_is_equal_however_it_is_written() -> None:
    for answer, right in [
        ("Positive.", 1),
        ("positive sentiment", 0),
        ("", 0),
        ("positive" * 9, 0),
    ]:
        assert mark(labels(), answer, "positive").score == right
    assert mark(labels(), "陽性。", "「陽性」").score == 1
    assert mark(labels(), "x", "").score is None
    assert mark(labels(), "x").score is None


def test_a_report_worked_out_by_hand() -> None:
    found = report(
        [("yes", "Yes."), ("yes", "yes"), ("yes", "NO"), ("no", "no"), ("no", "perhaps")]
    )
    assert isinstance(labels(), Reports)
    assert (found.grader, found.arm, found.set) == ("labels", "tuned", "")
    assert found.labels == ("yes", "no", "")
    assert found.confusion == ((2, 1, 0), (0, 1, 1), (0, 0, 0))
    assert found.precision == (1, 1 / 2, 0)
    assert found.recall == (2 / 3, 1 / 2, None)
    assert found.f1 == (4 / 5, 1 / 2, None)
    assert found.accuracy == 3 / 5
    assert found.macro_f1 == pytest.approx((4 / 5 + 1 / 2) / 2)


def test_a_label_that_is_never_answered_has_no_precision_and_an_f1_of_0() -> None:
    found = report([("a", "b"), ("b", "b")])
    assert found.labels == ("a", "b")
    assert (found.precision, found.f1) == ((None, 1 / 2), (0, 2 / 3))


WORDS = st.sampled_from(["a", "b", "c", "B.", "other", ""])


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c", "A"]), WORDS), min_size=1))
def test_the_report_agrees_with_counting_one_by_one(pairs: Sequence[tuple[str, str]]) -> None:
    found = report(pairs)
    plain = [(w.lower(), s.lower().strip(".")) for w, s in pairs]
    known = {wanted for wanted, _ in plain}
    assert {label.lower() for label in found.labels} - {""} == known
    scores = []
    for place, label in enumerate(found.labels):
        if not label:
            continue
        name = label.lower()
        hits = sum(w == s == name for w, s in plain)
        false = sum(s == name != w for w, s in plain)
        missed = sum(w == name != s for w, s in plain)
        scores.append(hits / (hits + (false + missed) / 2))
        assert found.f1[place] == pytest.approx(scores[-1])
        assert found.recall[place] == pytest.approx(hits / (hits + missed))
        precision = found.precision[place]
        assert precision == (pytest.approx(hits / (hits + false)) if hits + false else None)
    assert found.macro_f1 == pytest.approx(sum(scores) / len(scores))
    assert found.accuracy == pytest.approx(sum(w == s for w, s in plain) / len(plain))
    assert sum(map(sum, found.confusion)) == len(plain)
    assert ("" in found.labels) == any(s not in known for _, s in plain)


def test_labels_are_listed_by_how_often_they_are_expected() -> None:
    found = report([("b", "a"), ("a", "a"), ("A.", "a"), ("c", "c")])
    assert found.labels == ("a", "b", "c")


def test_too_many_labels_are_no_classification() -> None:
    items = [item("x", f"a text of its own, number {n}") for n in range(51)]
    assert labels().report(items) is None
    assert labels().report(items[:50]) is not None
    assert {found.note for found in labels().grade(items, nobody)} == {
        "51 different answers are no labels"
    }
    assert labels().grade(items[:50], nobody) == [Mark(score=0)] * 50


def test_without_any_label_there_is_nothing_to_report() -> None:
    assert labels().report([]) is None
    assert labels().report([item("x"), item("x", "")]) is None
