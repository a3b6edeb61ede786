"""A small comparison whose numbers are written down, for snapshots."""

from __future__ import annotations

from typing import Any

from ftjobs.evals.result import (
    Answer,
    ArmSummary,
    Bias,
    Comparison,
    Contrast,
    Gate,
    Grading,
    LabelReport,
    Mark,
    Mean,
    Preference,
    Row,
    Source,
    Verdict,
)
from ftjobs.evals.wording import verdict_sentence
from ftjobs.schema import ChatMessage, Sampling

_ROWS: tuple[tuple[str, str, tuple[str, ...], tuple[float, ...], tuple[float, ...]], ...] = (
    (
        "How long may I take to return a lamp?",
        "Within 30 days of delivery.",
        ("Most shops take it back within 14 days.", "Within 30 days of delivery.", "30 days."),
        (0, 1, 0),
        (0.21, 1, 0.4),
    ),
    (
        "Can I pay by invoice?",
        "Yes, from the second order on.",
        (
            "Yes, from the second order on.",
            "Yes, customers may pay by invoice.",
            "Yes, from the second order on.",
        ),
        (1, 0, 1),
        (1, 0.34, 1),
    ),
    (
        "定休日はいつですか。",
        "定休日は、毎月第2火曜日と第4木曜日でございます。",
        (
            "定休日は、毎月第2火曜日と第4木曜日でございます。",
            "定休日は、毎週水曜日と第4木曜日です。",
            "水曜日",
        ),
        (1, 0, 0),
        (1, 0.5, 0.1),
    ),
    (
        "請求書の宛名を変更できますか？",
        "はい、マイページから変更できます。",
        ("できません。", "はい、マイページから変更できます。", "はい、できます。"),
        (0, 1, 0),
        (0.1, 1, 0.3),
    ),
)
_ARMS = ("base", "tuned", "rag")


def shop(*, arms: int = 3, **changes: Any) -> Comparison:
    """The comparison with its first `arms` arms; `changes` replace fields."""
    names = _ARMS[:arms]
    summaries = tuple(arm for arm in _SUMMARIES if arm.name in names)
    contrasts = tuple(each for each in _CONTRASTS if each.arm in names)
    deciding, gate = contrasts[0], Gate(grader="exact")
    fields: dict[str, Any] = {
        "created": 1_795_000_000,
        "sources": (Source(path="datasets/support/eval.jsonl", sha256="3f" * 32, prompts=4),),
        "arms": summaries,
        "graders": (Grading(name="exact", kind="binary"), Grading(name="chrf", kind="continuous")),
        "rows": tuple(_row(number, names) for number in range(1, len(_ROWS) + 1)),
        "contrasts": contrasts,
        "verdict": Verdict(
            word="pass",
            gate=gate,
            grader="exact",
            arm="tuned",
            baseline="base",
            sentence=verdict_sentence(deciding, summaries, "pass", gate),
        ),
        "biases": (
            Bias(grader="judge", kind="position", sentence="No seat was preferred."),
            Bias(grader="judge", kind="length", warning=True, sentence="It may prefer length."),
        ),
        "labels": (_LABELS,),
        "warnings": ("1 answer was cut at 64 tokens.",),
    }
    return Comparison(**(fields | changes))


def _row(number: int, arms: tuple[str, ...]) -> Row:
    question, expected, texts, exact, chrf = _ROWS[number - 1]
    said = dict(zip(_ARMS, texts, strict=True))
    scores = {
        "exact": dict(zip(_ARMS, exact, strict=True)),
        "chrf": dict(zip(_ARMS, chrf, strict=True)),
    }
    preference = Preference(arm_first="arm", baseline_first="arm" if number == 1 else "baseline")
    return Row(
        number=number,
        line=number,
        messages=(ChatMessage(role="user", content=question),),
        expected=expected,
        tags=("ja",) if number > 2 else (),
        answers={arm: (Answer(text=said[arm], finish_reason="stop"),) for arm in arms},
        marks={
            name: {arm: (Mark(score=of[arm], note=_note(name, of[arm])),) for arm in arms}
            for name, of in scores.items()
        },
        preferences={"judge": dict.fromkeys(arms[1:], (preference,))},
    )


def _note(grader: str, score: float) -> str:
    return "not the expected answer" if grader == "exact" and score == 0 else ""


_COMMON: Any = {
    "sampling": Sampling(temperature=0, max_tokens=64),
    "answers": 4,
    "backend": "local",
}
_SUMMARIES = (
    ArmSummary(name="base", model="smollm2-135m", usd=0.04, seconds=(0.5, 1.4), **_COMMON),
    ArmSummary(
        name="tuned",
        model="ft:smollm2-135m:local:support-v1:a1b2c3d4",
        usd=0.024,
        seconds=(0.6, 1.9),
        **_COMMON,
    ),
    ArmSummary(name="rag", model="smollm2-135m", traits=("3 passages",), failures=1, **_COMMON),
)


def _contrast(grader: str, arm: str, numbers: tuple[float, ...], **given: Any) -> Contrast:
    base, mean, low, high, p, adjusted = numbers
    return Contrast(
        grader=grader,
        arm=arm,
        baseline="base",
        n=120,
        means=(Mean(value=base, se=0.044, n=120), Mean(value=mean, se=0.042, n=120)),
        difference=mean - base,
        low=low,
        high=high,
        interval="Bonett–Price",
        p=p,
        p_adjusted=adjusted,
        detectable=0.0834,
        wins=14,
        ties=102,
        losses=4,
        **given,
    )


_CONTRASTS = (
    _contrast("exact", "tuned", (0.617, 0.699, 0.021, 0.14, 0.01, 0.03), kind="binary"),
    _contrast("exact", "rag", (0.617, 0.601, -0.081, 0.049, 0.66, 0.66), kind="binary"),
    _contrast("chrf", "tuned", (0.702, 0.811, 0.0002, 0.16, 0.0496, 0.0992), kind="continuous"),
    _contrast("chrf", "rag", (0.702, 0.69, -0.1, 0.08, 0.5, 0.66), kind="continuous"),
)
_LABELS = LabelReport(
    grader="exact",
    arm="tuned",
    accuracy=0.75,
    macro_f1=0.6667,
    labels=("a", ""),
    precision=(1.0, None),
    recall=(0.75, None),
    f1=(0.857, None),
    confusion=((3, 1), (0, 0)),
)
