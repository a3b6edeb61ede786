import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.evals.graders import Grader, chrf, exact


@pytest.mark.parametrize(
    ("answer", "expected", "score"),
    [
        ("Paris", "Paris", 1),
        (" Paris\n", "Paris", 1),
        ("paris", "Paris", 0),
        ("", "Paris", 0),
        ("営業時間は10時からです。", "営業時間は10時からです。", 1),
        ("ガラス", unicodedata.normalize("NFD", "ガラス"), 1),
        ("ｶﾞﾗｽ", "ガラス", 0),
    ],
)
def test_exact(answer: str, expected: str, score: float) -> None:
    assert exact()(answer, expected) == score


def test_chrf_agrees_with_a_value_worked_out_by_hand() -> None:
    # "ab" against "abc": unigrams P 1, R 2/3; bigrams P 1, R 1/2; trigrams have no hypothesis and
    # are left out.  Mean P 1, mean R 7/12; F2 = 5PR / (4P + R).
    assert chrf()("ab", "abc") == pytest.approx(5 * (7 / 12) / (4 + 7 / 12))


@given(st.text(), st.text())
def test_scores_lie_between_0_and_1(answer: str, expected: str) -> None:
    for grader in (exact(), CHRF):
        assert 0 <= grader(answer, expected) <= 1 + 1e-9


CHRF = chrf()


@given(st.text(alphabet="abあ", min_size=1))
def test_the_expected_answer_scores_1(text: str) -> None:
    assert exact()(text, text) == 1
    assert CHRF(text, text) == pytest.approx(1)


def test_a_grader_of_ones_own() -> None:
    grader = Grader("length", lambda answer, expected: float(len(answer) <= len(expected)))
    assert (grader.name, grader("ab", "a")) == ("length", 0)
