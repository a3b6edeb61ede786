"""What a comparison is said to have found, against what it found."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ftjobs.evals.figures import p_value, ratio, told, unit_of
from ftjobs.evals.result import ArmSummary, Contrast, Gate, Mean
from ftjobs.evals.wording import power_sentence, verdict_sentence

Word = Literal["pass", "fail", "inconclusive"]


def contrast(difference: float, low: float, high: float, **given: Any) -> Contrast:
    wire = {"grader": "exact", "kind": "binary", "arm": "tuned", "baseline": "base", "n": 120}
    bounds = {"difference": difference, "low": low, "high": high, "interval": "bonett-price"}
    means = (Mean(value=0.5, se=0.1, n=120), Mean(value=0.6, se=0.1, n=120))
    return Contrast.model_validate({**wire, **bounds, "means": means, **given})


ARMS = (
    ArmSummary(name="base", model="m", answers=100, usd=1.0, seconds=(0.5, 1.0)),
    ArmSummary(name="tuned", model="t", answers=50, usd=0.3, seconds=(0.6, 1.0)),
)
BETTER = Gate()


def test_the_sentence_of_the_report() -> None:
    found = contrast(0.082, 0.021, 0.14, p=0.01)
    assert verdict_sentence(found, ARMS, "pass", BETTER) == (
        "Tuned beats base by 8.2 points, 95 % CI 2.1 to 14.0, n = 120, p = .01; "
        "0.6× cost, 1.2× latency"
    )


@pytest.mark.parametrize(
    ("bounds", "word", "gate", "sentence"),
    [
        ((-0.082, -0.14, -0.021), "fail", {}, "Tuned loses to base by 8.2 points, 95 % CI 2.1 to"),
        ((0.03, -0.02, 0.08), "inconclusive", {}, "It is open whether tuned beats base: +3.0 poi"),
        ((0.0, 0.0, 0.0), "inconclusive", {}, "It is open whether tuned beats base: 0.0 points"),
        (
            (0.08, 0.06, 0.1),
            "pass",
            {"margin": 0.05},
            "Tuned beats base by 8.0 points (asked for: 5 points), 95 % CI 6.0 to 10.0",
        ),
        (
            (0.03, 0.01, 0.04),
            "fail",
            {"margin": 0.05},
            "Tuned does not beat base by the 5 points asked for: +3.0 points, 95 % CI 1.0 to 4.0",
        ),
        (
            (0.06, 0.01, 0.11),
            "inconclusive",
            {"margin": 0.05},
            "It is open whether tuned beats base by 5 points: +6.0 points, 95 % CI 1.0 to 11.0",
        ),
        (
            (-0.003, -0.015, 0.009),
            "pass",
            {"rule": "non-inferior", "margin": 0.02},
            "Tuned is not more than 2 points worse than base: −0.3 points, 95 % CI −1.5 to 0.9",
        ),
        (
            (-0.08, -0.1, -0.06),
            "fail",
            {"rule": "non-inferior", "margin": 0.02},
            "Tuned is more than 2 points worse than base: −8.0 points, 95 % CI −10.0 to −6.0",
        ),
        (
            (-0.01, -0.04, 0.02),
            "inconclusive",
            {"rule": "non-inferior", "margin": 0.02},
            "It is open whether tuned is more than 2 points worse than base: −1.0 points",
        ),
        (
            (-0.003, -0.009, 0.009),
            "pass",
            {"rule": "non-inferior", "margin": 0.01},
            "Tuned is not more than 1 point worse than base: −0.3 points, 95 % CI −0.9 to 0.9",
        ),
        (
            (0.05, 0.01, 0.09),
            "pass",
            {"rule": "non-inferior", "margin": 0.02},
            "Tuned beats base by 5.0 points, 95 % CI 1.0 to 9.0",
        ),
        (
            (-0.01, -0.04, 0.02),
            "inconclusive",
            {"rule": "non-inferior"},
            "It is open whether tuned is worse than base: −1.0 points",
        ),
    ],
)
def test_every_gate_and_word(
    bounds: tuple[float, float, float], word: Word, gate: dict[str, Any], sentence: str
) -> None:
    found = verdict_sentence(contrast(*bounds), (), word, Gate.model_validate(gate))
    assert found.startswith(sentence)


def test_preferences_are_a_win_rate() -> None:
    found = contrast(0.125, 0.051, 0.199, kind="preference", means=None)
    assert verdict_sentence(found, (), "pass", BETTER) == (
        "Tuned beats base with a win rate of 62.5 %, 95 % CI 55.1 to 69.9 %, n = 120"
    )
    lost = contrast(-0.125, -0.199, -0.051, kind="preference", means=None)
    assert "loses to base with a win rate of 37.5 %, 95 % CI 30.1 to 44.9 %" in verdict_sentence(
        lost, (), "fail", BETTER
    )
    asked = verdict_sentence(found, (), "fail", Gate(margin=0.2))
    assert asked.startswith("Tuned does not beat base by the 20 points asked for: win rate 62.5 %")


def test_what_is_no_score_from_0_to_1_is_not_told_in_points() -> None:
    means = (Mean(value=-2.5, se=0.1, n=9), Mean(value=-2.1, se=0.1, n=9))
    nats = contrast(0.4, 0.1, 0.7, grader="log_likelihood", means=means, kind="continuous")
    assert "by 0.40 nats, 95 % CI 0.10 to 0.70" in verdict_sentence(nats, (), "pass", BETTER)
    assert unit_of(contrast(0.4, 0.1, 0.7, grader="length", means=means)) == ""


def test_clusters_holm_and_what_could_have_been_found() -> None:
    found = contrast(0.03, -0.02, 0.08, clusters=30, p=0.31, p_adjusted=0.62, detectable=0.1701)
    assert verdict_sentence(found, (), "inconclusive", BETTER, confidence=0.9) == (
        "It is open whether tuned beats base: +3.0 points, 90 % CI −2.0 to 8.0, "
        "n = 120 in 30 clusters, p = .31 (.62 by Holm); "
        "so many rows find a difference of 17.1 points or more with a power of 0.8"
    )


def test_missing_answers_keep_a_question_open_that_the_interval_would_decide() -> None:
    found = contrast(0.08, 0.02, 0.14, detectable=0.1)
    assert verdict_sentence(found, (), "inconclusive", BETTER) == (
        "It is open whether tuned beats base: +8.0 points, 95 % CI 2.0 to 14.0, n = 120; "
        "too many rows lack a score to decide"
    )


def test_only_a_plain_word_gets_a_capital() -> None:
    found = contrast(0.082, 0.021, 0.14, arm="ft:gpt-x::1", baseline="gpt-x")
    assert verdict_sentence(found, (), "pass", BETTER).startswith("ft:gpt-x::1 beats gpt-x by")


def test_rounding_does_not_move_a_bound_across_the_bar() -> None:
    assert told(contrast(0.1, 0.0003, 0.2)).low == "0.03"
    assert told(contrast(0.1, -0.00004, 0.2)).low == "−0.004"
    assert told(contrast(-0.01, -0.02004, 0.2), Gate(rule="non-inferior", margin=0.02)).low == (
        "−2.004"
    )


numbers = st.floats(-1, 1).filter(lambda number: number == 0 or abs(number) > 1e-9)
margins = st.integers(0, 200).map(lambda tenths: tenths / 1000)


@given(numbers, numbers, numbers, margins, st.sampled_from(["binary", "preference"]))
def test_what_is_printed_lies_where_the_number_lies(
    one: float, two: float, three: float, margin: float, kind: str
) -> None:
    low, difference, high = sorted((one, two, three))
    gate = Gate(rule="non-inferior", margin=margin)
    assume(all(abs(number + margin) > 1e-9 for number in (low, high)))
    shown = told(contrast(difference, low, high, kind=kind), gate)
    middle, scale = (50, 100) if kind == "preference" else (0, 100)
    texts = [
        float(text.replace("−", "-")) - middle for text in (shown.low, shown.difference, shown.high)
    ]
    assert texts == sorted(texts)
    for bar in (0, -margin):
        for text, number in ((texts[0], low), (texts[2], high)):
            assert (text > bar * scale + 1e-9) == (number > bar)
            assert (text < bar * scale - 1e-9) == (number < bar)
    assert all(
        abs(text - number * scale) <= 0.05001
        for text, number in zip(texts, (low, difference, high), strict=True)
    )


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.0, "p < .001"),
        (0.00099, "p < .001"),
        (0.001, "p = .001"),
        (0.01, "p = .01"),
        (0.0123, "p = .012"),
        (0.0496, "p = .0496"),
        (0.0501, "p = .0501"),
        (0.05, "p = .05"),
        (0.306, "p = .31"),
        (0.9951, "p > .99"),
        (1.0, "p = 1"),
    ],
)
def test_p(p: float, text: str) -> None:
    assert p_value(p) == text


@given(st.floats(0.001, 1), st.sampled_from([0.05, 0.01, 0.1]))
def test_p_stays_on_its_side_of_alpha(p: float, alpha: float) -> None:
    sign, text = p_value(p, alpha).split()[1:]
    if sign == "=" and abs(p - alpha) > 1e-12:
        assert (float(text) < alpha) == (p < alpha)


@pytest.mark.parametrize(
    ("numerator", "text"),
    [
        (0, "0.0×"),
        (0.00061, "0.0006×"),
        (0.0995, "0.1×"),
        (0.094, "0.09×"),
        (0.6, "0.6×"),
        (9.96, "10×"),
        (1234, "1,234×"),
    ],
)
def test_ratio(numerator: float, text: str) -> None:
    assert ratio(numerator, 1) == text


def test_power_is_told_before_anything_is_spent() -> None:
    assert power_sentence(120, 0.11201, disagreement=0.2) == (
        "120 rows detect a difference of 11.3 points or more (power 0.8, α = .05), "
        "if 20 % of them come out differently"
    )
    assert power_sentence(1000, 0.24, clusters=40) == (
        "1,000 rows in 40 clusters detect a difference of 24.0 points or more "
        "(power 0.8, α = .05), if those of a cluster come out alike"
    )
    told = power_sentence(1000, 0.12, disagreement=0.2, clusters=100)
    assert told.endswith(", if 20 % of them come out differently, those of a cluster alike")
    assert power_sentence(1, None) == "1 row detects no difference at all: more are needed"
    assert "0.13 nats or more" in power_sentence(9, 0.121, unit="nats")
