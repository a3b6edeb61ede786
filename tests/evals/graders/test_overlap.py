import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.errors import ConfigError
from ftjobs.evals.graders import Function, bleu, chrf, fuzzy, gleu, rouge_l, rouge_n
from ftjobs.evals.graders.overlap import READ, lcs
from tests.evals.graders.marking import score

ALL = [chrf(), bleu(), gleu(), rouge_l(), rouge_n(2), fuzzy()]


@given(st.text(), st.text())
def test_scores_lie_between_0_and_1(answer: str, expected: str) -> None:
    for grader in ALL:
        found = score(grader, answer, expected)
        assert found is not None
        assert 0 <= found <= 1


@given(st.text(alphabet="abあ .\ud800"))
def test_the_expected_answer_scores_1(text: str) -> None:
    assert [score(grader, text, text) for grader in ALL] == [1] * len(ALL)


def test_nothing_shared_scores_0_and_nothing_expected_has_no_score() -> None:
    for grader in ALL:
        assert score(grader, "", "abc") == score(grader, "abc", "") == 0
        assert score(grader, "abc") is None


def test_chrf_agrees_with_a_value_worked_out_by_hand() -> None:
    # "ab" against "abc": unigrams P 1, R 2/3; bigrams P 1, R 1/2; trigrams have no hypothesis and
    # are left out.  Mean P 1, mean R 7/12; F2 = 5PR / (4P + R).
    assert score(chrf(), "ab", "abc") == pytest.approx(5 * (7 / 12) / (4 + 7 / 12))


def test_bleu_agrees_with_a_value_worked_out_by_hand() -> None:
    # 3 of 4 words, 2 of 3 pairs, 1 of 2 triples, 0 of 1 fourfold, smoothed to 1/2 of one.
    answer, expected = "the cat sat here", "the cat sat down"
    by_hand = (3 / 4 * 2 / 3 * 1 / 2 * 1 / 2) ** (1 / 4)
    assert score(bleu(), answer, expected) == pytest.approx(by_hand)
    assert score(bleu("char"), answer, expected) != pytest.approx(by_hand)


def test_how_sacrebleu_was_set_up_is_told_as_papers_quote_it() -> None:
    assert "|eff:yes|tok:13a|smooth:exp|version:" in bleu().about
    assert "tok:char in scripts without spaces" in bleu().about
    assert "|tok:char|" in bleu("char").about
    assert "|nc:6|nw:0|space:no|version:" in chrf().about


def test_bleu_of_japanese_counts_characters_and_that_of_english_words() -> None:
    for answer, expected, tokenizer in [
        ("営業は九時からです", "営業は十時からです", "char"),
        ("we open at nine o'clock", "we open at ten o'clock", "13a"),
    ]:
        found = score(bleu(), answer, expected)
        assert found == score(bleu(tokenizer), answer, expected)
        assert found not in (0, 1, None)


def test_a_tokenizer_that_cannot_be_had() -> None:
    with pytest.raises(ConfigError, match=r"'flores200'\nThere are: auto, 13a, char"):
        bleu("flores200")


@pytest.mark.parametrize(
    ("module", "make", "hint"),
    [
        ("MeCab", lambda: bleu("ja-mecab"), r"pip install 'sacrebleu\[ja\]'"),
        ("sacrebleu.metrics.bleu", bleu, r"pip install 'ftjobs\[evals\]'"),
        ("sacrebleu.metrics.chrf", chrf, r"pip install 'ftjobs\[evals\]'"),
    ],
)
def test_what_is_not_installed(
    module: str, make: Callable[[], Function], hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=hint):
        make()


def _brute_lcs(one: Sequence[str], other: Sequence[str]) -> int:
    row = [0] * (len(other) + 1)
    for a in one:
        above, row = row, [0]
        for place, b in enumerate(other):
            row.append(above[place] + 1 if a == b else max(above[place + 1], row[place]))
    return row[-1]


@given(st.text(alphabet="abcあ", max_size=40), st.text(alphabet="abcあ", max_size=40))
def test_the_longest_common_subsequence_is_that_of_the_table(one: str, other: str) -> None:
    assert lcs(one, other) == lcs(other, one) == _brute_lcs(one, other)


def test_the_longest_common_subsequence_of_many_machine_words() -> None:
    draw = random.Random(1)
    one, other = (draw.choices("abcdef", k=size) for size in (700, 400))
    assert lcs(one, other) == _brute_lcs(one, other)


CAT, MAT = "the cat was found under the bed", "the cat was under the bed"


def test_rouge_agrees_with_values_worked_out_by_hand() -> None:
    assert score(rouge_l(), CAT, MAT) == pytest.approx(2 * 6 / (7 + 6))
    assert score(rouge_n(1), CAT, MAT) == pytest.approx(2 * 6 / (7 + 6))
    assert score(rouge_n(2), CAT, MAT) == pytest.approx(2 * 4 / (6 + 5))
    assert score(rouge_l(), "the the the", "the cat") == pytest.approx(2 * 1 / (3 + 2))
    assert score(rouge_n(1), "the the the", "the cat") == pytest.approx(2 * 1 / (3 + 2))
    assert score(rouge_l(), "東京は雨です。", "東京は晴れです") == pytest.approx(2 * 5 / (6 + 7))


def test_gleu_is_the_smaller_of_precision_and_recall() -> None:
    # 1- to 4-grams: 6 + 4 + 2 + 0 shared, of 7 + 6 + 5 + 4 in the longer text.
    assert score(gleu(), CAT, MAT) == score(gleu(), MAT, CAT) == pytest.approx(12 / 22)


@given(st.text(alphabet="abcd ", max_size=30), st.text(alphabet="abcd ", max_size=30))
def test_gleu_agrees_with_counting_one_by_one(answer: str, expected: str) -> None:
    said, wanted = answer.split(), expected.split()
    if said == wanted:
        return
    grams = [
        [tuple(text[i : i + n]) for n in range(1, 5) for i in range(len(text) - n + 1)]
        for text in (said, wanted)
    ]
    left, shared = Counter(grams[1]), 0
    for gram in grams[0]:
        if left[gram]:
            left[gram] -= 1
            shared += 1
    by_hand = min(shared / len(g) if g else 0 for g in grams)
    assert score(gleu(), answer, expected) == pytest.approx(by_hand)


def test_fuzzy_counts_what_has_to_be_inserted_and_deleted() -> None:
    assert score(fuzzy(), "kitten", "sitting") == pytest.approx(1 - 5 / 13)
    assert score(fuzzy(), "this is a test", "this is a test!") == pytest.approx(1 - 1 / 29)


def test_rouge_n_of_no_such_n() -> None:
    for n in (0, 10):
        with pytest.raises(ConfigError, match="1 to 9"):
            rouge_n(n)


def test_what_lies_beyond_the_limit_is_not_read() -> None:
    text = "a b " * (READ // 4)
    assert len(text) == READ
    for grader in ALL:
        assert score(grader, text + "and much more", text) == 1
