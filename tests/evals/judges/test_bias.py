import math
import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.evals.arms import Arm
from ftjobs.evals.graders.base import Pair
from ftjobs.evals.judges import JudgeModel, biases, family_of, pairwise, pointwise
from ftjobs.evals.judges.choices import Share, difference, percent
from ftjobs.evals.judges.lengths import rank_correlation
from ftjobs.evals.result import Answer, Bias, Mark, Preference, Row, Winner
from tests.evals.judges.scripted import BASE, TUNED, ask, item, judge, prompt, shown

Texts = Sequence[tuple[str, str]]
"""The tuned model's and the baseline's answer, row by row."""


def judged(texts: Texts, who: JudgeModel, arms: Sequence[Arm] = (BASE, TUNED)) -> dict[str, Bias]:
    """The bias panel of a pairwise judge over these answers, by kind."""
    grader = pairwise(who)
    pairs = [Pair(prompt(), Answer(text=a), Answer(text=b), TUNED, BASE) for a, b in texts]
    found = grader.prefer(pairs, ask)
    return {bias.kind: bias for bias in grader.biases(rows(texts, found), arms)}


def rows(texts: Texts, found: Sequence[Preference]) -> list[Row]:
    return [
        Row(
            number=number,
            messages=prompt().messages,
            answers={"base": (Answer(text=other),), "tuned": (Answer(text=mine),)},
            preferences={"pairwise": {"tuned": (preference,)}},
        )
        for number, ((mine, other), preference) in enumerate(zip(texts, found, strict=True), 1)
    ]


def chooses(better: Callable[[str, str], int]) -> Callable[[str], str]:
    """A judge's reply; `better` says whether A is (above 0) or B (below 0)."""

    def reply(text: str) -> str:
        lead = better(shown(text, "answer A"), shown(text, "answer B"))
        return f'{{"winner": "{"A" if lead > 0 else "B" if lead < 0 else "tie"}"}}'

    return reply


def mixed_lengths(n: int = 60, tuned_longer: float = 0.5) -> list[tuple[str, str]]:
    rng = random.Random(7)
    texts = [("x" * rng.randint(1, 40), "y" * rng.randint(50, 90)) for _ in range(n)]
    return [(b, a) if rng.random() < tuned_longer else (a, b) for a, b in texts]


BY_LENGTH = chooses(lambda a, b: len(a) - len(b))


def test_a_judge_that_prefers_the_first_seat_is_named() -> None:
    found = judged(mixed_lengths(), judge(chooses(lambda a, b: 1)))["position"]
    assert (found.rate, found.n, found.warning) == (1.0, 120, True)
    assert found.sentence == (
        "This judge favours the first answer: the first one won 100 % of 120 verdicts"
        " (95 % CI 96.9 to 100.0). In 100 % of 60 pairs the two orders disagree, which counts as a"
        " tie."
    )


def test_a_judge_that_prefers_the_second_seat_is_named() -> None:
    found = judged(mixed_lengths(), judge(chooses(lambda a, b: -1)))["position"]
    assert (found.rate, found.warning) == (0.0, True)
    assert found.sentence.startswith("This judge favours the second answer")


def test_a_fair_judge_has_no_preference_for_a_seat() -> None:
    found = judged(mixed_lengths(), judge(BY_LENGTH))["position"]
    assert (found.rate, found.n, found.warning) == (0.5, 120, False)
    assert "no preference for a seat" in found.sentence
    assert "In 0 % of 60 pairs" in found.sentence


def preference(arm_first: Winner | None, baseline_first: Winner | None) -> Preference:
    return Preference(arm_first=arm_first, baseline_first=baseline_first)


def test_a_seat_that_decides_few_pairs_shows_where_single_verdicts_hide_it() -> None:
    """10 of 100 pairs go to the first seat: 55 % of single verdicts, but 10 of 10 that a seat
    decided."""
    given_ = [preference("arm", "arm")] * 45 + [preference("baseline", "baseline")] * 45
    given_ += [preference("arm", "baseline")] * 10
    (position, _) = biases(rows([("a", "bb")] * 100, given_), (BASE, TUNED), {"pairwise": ["x"]})
    assert position.rate == 0.55
    assert position.low is not None
    assert position.low < 0.5
    assert position.warning


def test_ties_and_missing_verdicts_favour_nobody() -> None:
    given_ = [preference("tie", "tie"), preference(None, "arm"), preference("tie", "baseline")]
    (position,) = biases(rows([("a", "b")] * 3, given_), (BASE, TUNED), {"pairwise": ["x"]})
    assert (position.rate, position.n) == (0.5, 2)
    assert "In 50 % of 2 pairs" in position.sentence
    assert biases(rows([("a", "b")], given_[:1]), (BASE, TUNED), {"pairwise": ["x"]}) == ()


def test_a_judge_that_prefers_length_is_named_as_such() -> None:
    found = judged(mixed_lengths(), judge(BY_LENGTH))["length"]
    assert (found.rate, found.n, found.warning) == (1.0, 60, True)
    assert found.sentence == (
        "This judge prefers the longer answer: it won 100 % of 60 choices (95 % CI 94.0 to 100.0),"
        " whichever model wrote it."
    )


def test_it_is_named_with_care_where_one_model_always_writes_more() -> None:
    found = judged(mixed_lengths(tuned_longer=1), judge(BY_LENGTH))["length"]
    assert found.warning
    assert found.sentence.startswith("This judge prefers the longer answer: it won 100 % of 60")
    assert "nearly always not the baseline's" in found.sentence
    found = judged(mixed_lengths(tuned_longer=0), judge(BY_LENGTH))["length"]
    assert "nearly always the baseline's" in found.sentence


def test_a_judge_that_prefers_brevity_is_named_too() -> None:
    found = judged(mixed_lengths(), judge(chooses(lambda a, b: len(b) - len(a))))["length"]
    assert (found.rate, found.warning) == (0.0, True)
    assert "prefers the shorter answer: it won 100 % of 60" in found.sentence


def test_a_better_model_that_also_writes_more_is_no_preference_for_length() -> None:
    """It wins whatever its length is."""
    texts = [("good" + "." * (30 if i % 4 else 1), "bad" + "." * 15) for i in range(80)]
    better = chooses(lambda a, b: ("good" in a) - ("good" in b))
    found = judged(texts, judge(better))["length"]
    assert (found.rate, found.warning) == (0.75, False)
    assert "100 % of 60 times and the shorter one 100 % of 20" in found.sentence
    assert "speaks for the model" in found.sentence


def test_a_leaning_towards_length_is_told_with_both_explanations() -> None:
    texts = mixed_lengths(200)
    rng = random.Random(3)
    swayed = {text: rng.random() < 0.7 for text in texts}
    given_ = [preference(w, w) for w in (_winner(text, swayed[text]) for text in texts)]
    panel = biases(rows(texts, given_), (BASE, TUNED), {"pairwise": ["gpt-4o"]})
    found = next(bias for bias in panel if bias.kind == "length")
    assert found.warning
    assert found.sentence.startswith("The longer answer won ")
    assert "may prefer the longer answer, or it may be the better one here" in found.sentence


def _winner(text: tuple[str, str], longer_wins: bool) -> Winner:
    return "arm" if (len(text[0]) > len(text[1])) == longer_wins else "baseline"


def test_few_choices_say_so() -> None:
    found = judged(mixed_lengths(8), judge(BY_LENGTH))["length"]
    assert "prefers the longer answer" in found.sentence
    assert "too few to tell" in found.sentence
    assert "length" not in judged([("same", "size")] * 5, judge(BY_LENGTH))


def test_a_judge_without_preference_for_length_is_told_so() -> None:
    alphabet = chooses(lambda a, b: (a[-1] > b[-1]) - (a[-1] < b[-1]))
    texts = [(a + "12"[i % 2], b + "21"[i % 2]) for i, (a, b) in enumerate(mixed_lengths(60))]
    found = judged(texts, judge(alphabet))["length"]
    assert not found.warning
    assert found.sentence.endswith("no preference.")


def scored(texts: Texts, reply: Callable[[str], str]) -> dict[str, Bias]:
    grader = pointwise(judge(reply))
    marks = [grader.grade([item(mine), item(other)], ask) for mine, other in texts]
    found = [
        row.model_copy(
            update={"preferences": {}, "marks": {"judge": {"tuned": (one,), "base": (other,)}}}
        )
        for row, (one, other) in zip(
            rows(texts, [preference(None, None)] * len(texts)), marks, strict=True
        )
    ]
    return {bias.kind: bias for bias in grader.biases(found, (BASE, TUNED))}


def test_scores_that_follow_length_are_named() -> None:
    def reply(text: str) -> str:
        return f'{{"score": {1 + len(shown(text, "answer")) / 25}}}'

    panel = scored(mixed_lengths(), reply)
    assert set(panel) == {"length"}
    assert panel["length"].warning
    assert panel["length"].sentence == (
        "This judge prefers the longer answer: it scored higher in 100 % of 60 pairs"
        " (95 % CI 94.0 to 100.0), whichever model wrote it."
        " Over 120 answers, Spearman's ρ of length and score is 1.00."
    )


def test_scores_that_never_vary_follow_nothing() -> None:
    found = scored(mixed_lengths(), lambda text: '{"score": 3}')["length"]
    assert (found.rate, found.n, found.warning) == (None, 0, False)
    assert found.sentence == "All 120 answers have the same length or score."
    assert scored(mixed_lengths(), lambda text: "no score") == {}


def test_several_samples_are_paired_with_the_baselines_of_the_same_number() -> None:
    row = Row(
        number=1,
        messages=prompt().messages,
        answers={
            "base": (Answer(text="1"), Answer(text="22222")),
            "tuned": (Answer(text="333"), Answer(text="4")),
        },
        marks={
            "judge": {
                "base": (Mark(score=0.0), Mark(score=1.0)),
                "tuned": (Mark(score=0.5), Mark(score=0.25)),
            }
        },
    )
    (found,) = biases([row], (BASE, TUNED), {"judge": ["x"]})
    assert (found.rate, found.n) == (1.0, 2)


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("gpt-4o-mini-2024-07-18", "gpt"),
        ("ft:gpt-4o-mini-2024-07-18:qwen:llama:abc", "gpt"),
        ("ft:smollm2-135m:local:support-v1:a1b2c3d4:ckpt-step-80", "smollm"),
        ("chatgpt-4o-latest", "gpt"),
        ("o3-mini", "gpt"),
        ("o4-mini-2025-04-16", "gpt"),
        ("openai/gpt-oss-20b", "gpt"),
        ("davinci-002", "gpt"),
        ("EleutherAI/gpt-neo-125m", ""),
        ("EleutherAI/gpt-j-6b", ""),
        ("claude-opus-4-1", "claude"),
        ("anthropic.claude-3-haiku", "claude"),
        ("models/gemini-2.5-flash", "gemini"),
        ("google/gemma-3-1b-it", "gemini"),
        ("meta-llama/Llama-3.2-1B-Instruct", "llama"),
        ("meta-llama/other-1b", ""),
        ("Qwen/Qwen2.5-0.5B", "qwen"),
        ("mistralai/Mixtral-8x7B-v0.1", "mistral"),
        ("ministral-8b-latest", "mistral"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "smollm"),
        ("microsoft/phi-4", "phi"),
        ("dolphin-2", ""),
        ("deepseek-r1-distill-qwen-7b", "deepseek"),
        ("olmo-2-1b", "olmo"),
        ("fake-base", ""),
        ("foo3-bar", ""),
        ("", ""),
        ("ft:", ""),
    ],
)
def test_families_are_told_by_name(model: str, family: str) -> None:
    assert family_of(model) == family


@given(st.text().filter(lambda name: ":" not in name))
def test_a_tuned_model_is_of_its_bases_family(model: str) -> None:
    assert family_of(f"ft:{model}:qwen:llama:abc") == family_of(model)


def test_a_judge_of_an_arms_family_is_warned_of() -> None:
    arms = (BASE, Arm("tuned", "ft:gpt-4o-mini:acme::1"))
    found = judged(mixed_lengths(tuned_longer=1), judge(BY_LENGTH), arms)["family"]
    assert (found.rate, found.n, found.warning) == (1.0, 60, True)
    assert found.sentence == (
        "The judge gpt-4o and “tuned” are of one family of models (gpt): judges tend to favour"
        " answers like their own. Its kind won 100 % of 60 choices (95 % CI 94.0 to 100.0)."
    )
    arms = (Arm("base", "gpt-4.1"), TUNED)
    found = judged(mixed_lengths(tuned_longer=1), judge(BY_LENGTH), arms)["family"]
    assert (found.rate, found.n) == (0.0, 60)


def test_a_judge_of_everybodys_family_is_warned_of_too() -> None:
    found = judged(mixed_lengths(), judge(BY_LENGTH, "llama-3-70b"))["family"]
    assert (found.rate, found.low, found.high, found.n) == (None, None, None, 0)
    assert (
        "The judge llama-3-70b and all arms are of one family of models (llama)" in found.sentence
    )


def test_a_judge_that_judges_itself_is_warned_of() -> None:
    arms = (Arm("base", "in-house"), Arm("tuned", "other"))
    found = judged(mixed_lengths(), judge(BY_LENGTH, "in-house"), arms)["family"]
    assert found.sentence.startswith("The judge in-house is the model of “base” itself: ")
    assert "family" not in judged(mixed_lengths(), judge(BY_LENGTH))


@pytest.mark.parametrize(
    ("won", "n", "low", "high"),
    [
        # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0),
    ],
)
def test_wilsons_interval(won: int, n: int, low: float, high: float) -> None:
    assert Share(won, n).interval == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("n", [*range(1, 40), 97, 250])
def test_of_a_fair_coin_no_more_than_one_in_twenty_shares_favours_a_side(n: int) -> None:
    intervals = (Share(won, n).interval for won in range(n + 1))
    sides = [won for won, (low, high) in enumerate(intervals) if not low <= 0.5 <= high]
    assert sum(math.comb(n, won) for won in sides) <= 0.05 * 2**n
    assert (0 in sides) == (n > 5)  # and a judge that always favours one is named


def test_the_interval_of_a_difference() -> None:
    # Newcombe 1998, "Interval estimation for the difference", table II, method 10, (a) and (h).
    assert difference(Share(56, 70), Share(48, 80)) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert difference(Share(10, 10), Share(0, 10)) == pytest.approx((0.6075, 1.0), abs=5e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_its_rate(share: tuple[int, int]) -> None:
    found = Share(*share)
    low, high = found.interval
    assert 0 <= low <= found.rate <= high <= 1
    assert Share(found.n - found.won, found.n).interval == pytest.approx((1 - high, 1 - low))
    assert (percent(found.rate) == "100") == (found.won == found.n)
    assert (percent(found.rate) == "0") == (found.won == 0)


def test_of_none_anything_can_be() -> None:
    assert (Share(0, 0).rate, Share(0, 0).interval) == (0.0, (0.0, 1.0))


def test_rank_correlation() -> None:
    assert rank_correlation([1, 2, 3], [10, 20, 1000]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    # By hand: ranks 1.5 1.5 3 4 and 1 2 3.5 3.5.
    assert rank_correlation([1, 1, 2, 3], [0, 1, 2, 2]) == pytest.approx(8 / 9)
    assert rank_correlation([1, 1], [1, 2]) is None
    assert rank_correlation([1], [1]) is None
    assert rank_correlation([], []) is None
