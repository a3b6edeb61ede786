"""A comparison with everything that is awkward to show, made without asking a model.

Three arms, two sets, four graders; Japanese, several turns, function calls, failures, and answers
that try to do harm.  Scores follow from the answers; intervals are plain normal ones, since what
is tested here is how they are shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from math import sqrt
from statistics import fmean, stdev
from typing import Any, Literal

from ftjobs.evals.result import (
    Answer,
    ArmSummary,
    Bias,
    Comparison,
    Contrast,
    Gate,
    Grading,
    Kind,
    LabelReport,
    Mark,
    Mean,
    Preference,
    Row,
    Source,
    Verdict,
    Winner,
)
from ftjobs.evals.wording import verdict_sentence
from ftjobs.schema import ChatMessage, Sampling, Usage

ARMS = ("base", "tuned", "rag")
LABELS = ("billing", "returns", "shipping", "返品")

HOSTILE = (
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\"><svg onload=alert(1)>",
    "<!--<script>",
    "]]><a href=\"javascript:document.title='owned'\">click</a>",
    "\x1b[31mred\x1b[0m \x1b]8;;http://evil.example/\x07link\x1b]8;;\x07 \x07\x08\x00",
    "left \u202egnp.exe\u202c right \u2066שלום\u2069 \u200f",
    "half a pair \ud800 and \u2028 line \u2029 separators",
    "' onmouseover='document.title=1' \" style=\"position:fixed\" `${alert(1)}`",
    "&lt;b&gt; &amp;amp; &#x3c;script&#x3e; {{7*7}} | `code` @team #12 [x](http://evil.example/)",
)
"""Answers that mean harm in HTML, in a script, on a terminal, or in Markdown."""

_SUPPORT = (
    # question, expected, tags, base, tuned, rag
    (
        "How long do I have to return an item?",
        "You can return an item within 30 days of delivery.",
        ("returns",),
        "Most shops let you return things within 14 days.",
        "You can return an item within 30 days of delivery.",
        "You can return an item within 30 days of the delivery date.",
    ),
    (
        "Where is my parcel? The tracking page has not moved for four days.",
        "Please send us your order number and we will ask the carrier.",
        ("shipping",),
        "I am sorry to hear that. Tracking pages are sometimes slow.",
        "Please send us your order number and we will ask the carrier.",
        "Please send us the order number, and we will ask the carrier today.",
    ),
    (
        "Can I pay by invoice?",
        "Yes, from the second order on.",
        ("billing", "short"),
        "Yes, from the second order on.",
        "Yes, invoices are available to all customers.",
        "Yes, from the second order on.",
    ),
    (
        "返品したいのですが、送料は誰が負担しますか？",
        "お客様都合の返品の場合、送料はお客様のご負担となります。",
        ("returns", "ja"),
        "返品の送料については、購入した店舗に確認してください。",
        "お客様都合の返品の場合、送料はお客様のご負担となります。",
        "お客様都合の返品の場合は、送料をお客様にご負担いただきます。",
    ),
    (
        "請求書の宛名を変更できますか？",
        "はい、マイページの「請求先」から変更できます。",
        ("billing", "ja"),
        "はい、マイページの「請求先」から変更できます。",
        "はい、マイページの「請求先」から変更できます。",
        "はい。マイページで変更できます。",
    ),
    (
        "注文した商品がまだ届きません。どうすればよいですか？",
        "ご注文番号をお知らせください。配送業者に確認いたします。",
        ("shipping", "ja"),
        "もう少しお待ちください。",
        "ご注文番号をお知らせください。配送業者に確認いたします。",
        "ご注文番号をお知らせいただければ、配送業者に確認します。",
    ),
    (
        "Do you ship to Norway?",
        "Yes, within five working days.",
        ("shipping", "short"),
        "Yes.",
        "Yes, within five working days.",
        "Yes, within five working days.",
    ),
    (
        "My discount code was refused.",
        "A code is valid once, and not together with another.",
        ("billing",),
        "Please try the code again. If it is refused again, check that it has been typed "
        "exactly as it is written in the mail, without spaces.",
        "A code is valid once, and not together with another.",
        "A code is valid once, and not together with other codes.",
    ),
    (
        "The lamp arrived broken.",
        "Please send us a photo; a new lamp is on its way the same day.",
        ("returns",),
        "Please send us a photo; a new lamp is on its way the same day.",
        "Please send us a photo, and we will look into it.",
        "Please send us a photo; a new lamp is on its way the same day.",
    ),
    (
        "電話で注文できますか？",
        "申し訳ございませんが、お電話でのご注文は承っておりません。",
        ("ja",),
        "はい、お電話でもご注文いただけます。",
        "申し訳ございませんが、お電話でのご注文は承っておりません。",
        "お電話でのご注文は承っておりません。",
    ),
    (
        "Write the opening hours as a list.",
        "Mon–Fri 9–18\nSat 10–14",
        ("format",),
        "- Monday to Friday: 9 to 18\n- Saturday: 10 to 14",
        "Mon–Fri 9–18\nSat 10–14",
        "Mon–Fri 9–18\nSat 10–14\n\n(closed on holidays)",
    ),
    (
        "What is the weight of parcel 4711?",
        None,
        ("open",),
        "I cannot look that up.",
        "I cannot look that up, but the shipping mail says it.",
        "The handbook does not say.",
    ),
)

_TICKETS = (
    # text, expected label, base, tuned, rag
    ("I was charged twice.", "billing", "billing", "billing", "billing"),
    ("The parcel never came.", "shipping", "returns", "shipping", "shipping"),
    ("I want my money back for the shoes.", "returns", "billing", "returns", "billing"),
    ("The invoice lacks our VAT number.", "billing", "billing", "billing", "billing"),
    ("Wrong size, may I swap?", "returns", "returns", "returns", "returns"),
    ("靴のサイズを交換したいです。", "返品", "returns", "返品", "返品"),
    ("Delivered to the wrong door.", "shipping", "I think this is shipping.", "shipping", "other"),
    ("サイズが合わないので返します。", "返品", "返品", "返品", "returns"),
)

_GENERAL = (
    ("What is the capital of France?", "Paris", "Paris", "Paris", "Paris"),
    ("2 + 2 =", "4", "4", "4", "4"),
    ("日本の首都はどこですか？", "東京", "東京", "ご注文番号をお知らせください。", "東京"),
    ("Name a noble gas.", "Neon", "Neon", "Helium", "Neon"),
    ("Spell “accommodate”.", "accommodate", "accommodate", "accommodate", "acommodate"),
    ("Translate “cat” into French.", "chat", "chat", "chat", "chat"),
)

_CHOICES: tuple[tuple[Winner | None, Winner | None], ...] = (
    ("arm", "arm"),
    ("arm", "tie"),
    ("baseline", "baseline"),
    ("arm", "baseline"),
    ("tie", "tie"),
    ("arm", "arm"),
    ("baseline", "arm"),
    (None, "arm"),
)


def comparison(**changes: Any) -> Comparison:
    """The whole sample; `changes` replace fields, as in `comparison(verdict=None)`."""
    rows = tuple(_rows())
    fields: dict[str, Any] = {
        "created": 1_795_000_000,
        "seed": 7,
        "sources": (
            Source(path="datasets/support/eval.jsonl", sha256="3f" * 32, prompts=len(_main(rows))),
            Source(set="general", path="general <b>.jsonl", sha256="a0" * 32, prompts=6),
        ),
        "arms": _arms(rows),
        "graders": (
            Grading(name="exact", kind="binary", about="equal to the expected answer"),
            Grading(name="chrf", kind="continuous", about="characters in common"),
            Grading(name="judge", kind="preference", about="gpt-judge, temperature 0 <b>&"),
            Grading(name="label", kind="binary", about=f"one of {', '.join(LABELS)}"),
        ),
        "rows": rows,
        "contrasts": tuple(_contrasts(rows)),
        "biases": _BIASES,
        "labels": tuple(_label_report(rows, arm) for arm in ARMS),
        "warnings": (
            "The tuned model scores 31 points higher on training prompts than on these: "
            "it may recite.",
            "2 answers were cut at 512 tokens.",
        ),
    }
    fields["verdict"] = _verdict(fields["contrasts"], fields["arms"])
    return Comparison(**(fields | changes))


def many(count: int, *, answer: str = "An answer of some length, as they are.") -> Comparison:
    """Two arms on `count` short rows, a tenth of which regress and a fifth of which improve."""
    rows = tuple(_short(number, answer) for number in range(1, count + 1))
    arms = tuple(ArmSummary(name=name, model=name, answers=count) for name in ARMS[:2])
    contrasts = (_contrast(rows, "exact", "binary", "tuned", ""),)
    return Comparison(
        created=1_795_000_000,
        arms=arms,
        graders=(Grading(name="exact", kind="binary"),),
        rows=rows,
        contrasts=contrasts,
        verdict=_verdict(contrasts, arms),
    )


def row(number: int = 1, *, base: str = "old", tuned: str = "new", **changes: Any) -> Row:
    """A row of two arms, graded by `exact`, which the baseline gets right."""
    fields: dict[str, Any] = {
        "messages": (ChatMessage(role="user", content="A question"),),
        "answers": {"base": (Answer(text=base),), "tuned": (Answer(text=tuned),)},
        "marks": {"exact": {"base": (Mark(score=1.0),), "tuned": (Mark(score=0.0),)}},
    }
    return Row(number=number, **(fields | changes))


def _short(number: int, answer: str) -> Row:
    base, tuned = (1.0, 0.0) if number % 10 == 0 else (0.0, 1.0) if number % 5 == 1 else (1.0, 1.0)
    marks = {"exact": {"base": (Mark(score=base),), "tuned": (Mark(score=tuned),)}}
    return row(number, base=f"{answer} {number}", tuned=f"{answer} No. {number}", marks=marks)


def _rows() -> list[Row]:
    rows: list[Row] = []
    for question, expected, tags, *answers in _SUPPORT:
        rows.append(_plain(len(rows), question, expected, tags, answers, judged=True))
    for text, label, *answers in _TICKETS:
        rows.append(_plain(len(rows), text, label, ("ticket",), answers, label=True))
    for place, text in enumerate(HOSTILE):
        said, expected = ("A plain answer.", text, text[::-1]), "A plain answer."
        tags = ("hostile", text[:9])
        rows.append(_plain(len(rows), text, None if place else expected, tags, said))
    rows += _odd(len(rows))
    for question, expected, *answers in _GENERAL:
        rows.append(_plain(len(rows), question, expected, ("general",), answers, set="general"))
    return rows


def _plain(
    before: int,
    question: str,
    expected: str | None,
    tags: Sequence[str],
    texts: Sequence[str],
    *,
    judged: bool = False,
    label: bool = False,
    set: str = "",  # noqa: A002
) -> Row:
    answers = {
        arm: (_answer(text, place),)
        for place, (arm, text) in enumerate(zip(ARMS, texts, strict=True))
    }
    marks: dict[str, Any] = {}
    if expected is not None:
        marks = {
            "label" if label else "exact": {
                a: (_exact(t[0], expected),) for a, t in answers.items()
            },
            "chrf": {a: (_likeness(t[0], expected),) for a, t in answers.items()},
        }
    return Row(
        number=before + 1,
        set=set,
        line=before + 1,
        messages=(
            ChatMessage(role="system", content="You answer for a shop."),
            ChatMessage(role="user", content=question),
        ),
        expected=expected,
        tags=tuple(tags),
        cluster=f"page {before // 3}",
        answers=answers,
        marks=marks,
        preferences={"judge": _preferences(before)} if judged else {},
    )


def _answer(text: str, place: int) -> Answer:
    usage = Usage(prompt_tokens=40, completion_tokens=len(text) // 4, total_tokens=40)
    return Answer(text=text, finish_reason="stop", usage=usage, seconds=0.6 + 0.1 * place)


def _exact(answer: Answer, expected: str) -> Mark:
    return Mark(score=float(answer.text.strip() == expected))


def _likeness(answer: Answer, expected: str) -> Mark:
    ratio = SequenceMatcher(None, answer.text, expected, autojunk=False).ratio()
    return Mark(score=round(ratio, 4), note=f"{len(expected)} characters expected")


def _preferences(before: int) -> dict[str, tuple[Preference, ...]]:
    chosen: dict[str, tuple[Preference, ...]] = {}
    for place, arm in enumerate(ARMS[1:]):
        arm_first, baseline_first = _CHOICES[(before + 3 * place) % len(_CHOICES)]
        notes = (
            "The first answer names the exact rule; the second is vague. <b>First</b>.",
            "" if arm_first is None else "二番目の回答は具体的で、質問に直接答えている。",
        )
        chosen[arm] = (Preference(arm_first=arm_first, baseline_first=baseline_first, notes=notes),)
    return chosen


def _odd(before: int) -> list[Row]:
    """Several turns, picture parts, calls, nothing said, failures, a megabyte."""
    weather = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city": "大阪", "unit": "<b>"}'},
    }
    turns = (
        ChatMessage(role="user", content="Hello"),
        ChatMessage(role="assistant", content="Hello! What can I do for you?"),
        ChatMessage(role="user", content="大阪の天気は？", name="花子"),
    )
    parts = ({"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {}})
    scores = (1.0, 0.0, 1.0)
    marks = {
        "exact": {a: (Mark(score=s, note="calls"),) for a, s in zip(ARMS, scores, strict=True)}
    }
    none = Mark(score=None, note="there is no answer")
    return [
        Row(
            number=before + 1,
            messages=turns,
            expected="",
            tags=("tools",),
            answers={
                "base": (Answer(tool_calls=(weather,), finish_reason="tool_calls"),),
                "tuned": (Answer(),),
                "rag": (Answer(text="It is sunny.", tool_calls=(weather, weather)),),
            },
            marks=marks,
        ),
        Row(
            number=before + 2,
            messages=(ChatMessage(role="user", content=parts),),
            tags=(),
            answers={
                "base": (Answer(text="   \n"),),
                "tuned": (Answer(failure="the service said 500 three times <b>"),),
                "rag": (Answer(text="A lamp.", finish_reason="length"),),
            },
            marks={"exact": {"tuned": (none,)}},
        ),
        Row(
            number=before + 3,
            messages=(ChatMessage(role="user", content="Repeat “word” for ever. " * 400),),
            expected="no",
            tags=("long",),
            answers={
                "base": (Answer(text="no"),),
                "tuned": (Answer(text="word " * 200_000, finish_reason="length"),),
                "rag": (Answer(text="語" * 1_000_000),),
            },
            marks={
                "exact": {
                    "base": (Mark(score=1.0),),
                    "tuned": (Mark(score=0.0),),
                    "rag": (Mark(score=0.0),),
                }
            },
        ),
    ]


def _main(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if not row.set]


def _arms(rows: Sequence[Row]) -> tuple[ArmSummary, ...]:
    greedy = Sampling(temperature=0, max_tokens=512)
    common: Mapping[str, Any] = {"sampling": greedy, "answers": len(rows), "tokens_read": 48_200}
    return (
        ArmSummary(
            name="base",
            model="smollm2-135m",
            backend="local",
            asked=len(rows),
            tokens_written=9_100,
            usd=0.0412,
            seconds=(0.61, 1.4),
            **common,
        ),
        ArmSummary(
            name="tuned",
            model="ft:smollm2-135m:local:support-v1:a1b2c3d4:ckpt-step-80",
            backend="local",
            asked=12,
            failures=1,
            tokens_written=7_350,
            usd=0.0247,
            seconds=(0.73, 1.9),
            **common,
        ),
        ArmSummary(
            name="rag",
            model="smollm2-135m",
            backend="local",
            traits=("system prompt", "retrieves 3 of 120 passages"),
            tokens_written=8_010,
            **common,
        ),
    )


def _contrasts(rows: Sequence[Row]) -> list[Contrast]:
    made = []
    for name in ("", "general"):
        for grader, kind in _KINDS.items():
            for arm in ARMS[1:]:
                if any(_pair(row, grader, arm) for row in rows if row.set == name):
                    made.append(_contrast(rows, grader, kind, arm, name))
    return made


_KINDS: Mapping[str, Kind] = {
    "exact": "binary",
    "chrf": "continuous",
    "judge": "preference",
    "label": "binary",
}


def _pair(row: Row, grader: str, arm: str) -> tuple[float, float] | None:
    score = row.score(grader, arm)
    against = 0.5 if grader in row.preferences else row.score(grader, "base")
    return None if score is None or against is None else (against, score)


def _contrast(rows: Sequence[Row], grader: str, kind: Kind, arm: str, name: str) -> Contrast:
    of_set = [row for row in rows if row.set == name]
    pairs = [pair for row in of_set if (pair := _pair(row, grader, arm))]
    deltas = [new - old for old, new in pairs]
    mean = fmean(deltas)
    half = 1.96 * (stdev(deltas) / sqrt(len(deltas)) or 1 / len(deltas))
    sides = (Mean(value=fmean(p[side] for p in pairs), se=0.04, n=len(pairs)) for side in (0, 1))
    given = [each for row in of_set for each in row.preferences.get(grader, {}).get(arm, ())]
    p = min(1.0, 2 * 2.718 ** (-((1.96 * mean / half) ** 2) / 2))
    return Contrast(
        grader=grader,
        kind=kind,
        arm=arm,
        baseline="base",
        set=name,
        n=len(pairs),
        means=None if kind == "preference" else (next(sides), next(sides)),
        difference=mean,
        low=max(-1.0, mean - half),
        high=min(1.0, mean + half),
        interval="Bonett–Price" if kind == "binary" else "BCa bootstrap",
        p=p,
        p_adjusted=min(1.0, 3 * p),
        test={"binary": "McNemar exact", "preference": "sign test"}.get(kind, "sign flips"),
        detectable=0.24 if stdev(deltas) else None,
        t_interval=(mean - half, mean + half) if kind == "continuous" else None,
        wins=sum(delta > 0 for delta in deltas),
        ties=sum(delta == 0 for delta in deltas),
        losses=sum(delta < 0 for delta in deltas),
        conflicts=sum(each.conflict for each in given),
    )


def _verdict(contrasts: Sequence[Contrast], arms: Sequence[ArmSummary]) -> Verdict:
    of = contrasts[0]
    word: Literal["pass", "fail", "inconclusive"]
    word = "pass" if of.low > 0 else "fail" if of.high < 0 else "inconclusive"
    sentence = verdict_sentence(of, arms, word, Gate())
    return Verdict(
        word=word, gate=Gate(), grader="exact", arm="tuned", baseline="base", sentence=sentence
    )


def _label_report(rows: Sequence[Row], arm: str) -> LabelReport:
    labels = (*LABELS, "")
    graded = [row for row in rows if "label" in row.marks]
    said = [(row.expected, row.answers[arm][0].text) for row in graded]
    pairs = [(old, new if new in LABELS else "") for old, new in said]
    confusion = tuple(tuple(pairs.count((a, b)) for b in labels) for a in labels)
    precision = tuple(_ratio(confusion[i][i], sum(r[i] for r in confusion)) for i in range(5))
    recall = tuple(_ratio(confusion[i][i], sum(confusion[i])) for i in range(5))
    f1 = tuple(
        None if p is None or r is None else (2 * p * r / (p + r) if p + r else 0.0)
        for p, r in zip(precision, recall, strict=True)
    )
    return LabelReport(
        grader="label",
        arm=arm,
        accuracy=sum(old == new for old, new in pairs) / len(pairs),
        macro_f1=fmean(score or 0.0 for score in f1[:4]),
        labels=labels,
        precision=precision,
        recall=recall,
        f1=f1,
        confusion=confusion,
    )


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


_BIASES = (
    Bias(
        grader="judge",
        kind="position",
        rate=0.58,
        low=0.41,
        high=0.74,
        n=33,
        sentence="The first seat won 58 % of 33 choices: no more than chance explains.",
    ),
    Bias(
        grader="judge",
        kind="length",
        rate=0.81,
        low=0.62,
        high=0.92,
        n=27,
        warning=True,
        sentence="The longer answer won 81 % of 27 choices: the judge may prefer length.",
    ),
    Bias(
        grader="judge",
        kind="family",
        warning=True,
        sentence="The judge and the arm “tuned” are of one family of models.",
    ),
)
