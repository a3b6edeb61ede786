"""What every text report of a comparison says, in words: answers, marks, means, arms."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ftjobs.evals.result import Answer, ArmSummary, Comparison, Row
from ftjobs.reports.cells import clean, disarmed
from ftjobs.reports.comparison._diff import Change
from ftjobs.reports.words import called, many
from ftjobs.schema import Sampling

__all__ = [
    "answer_of",
    "asked",
    "classified",
    "contents",
    "cut",
    "excerpt",
    "facts",
    "marks",
    "place",
    "reasons",
    "said",
    "sampled",
    "samplings",
    "ungraded",
    "warnings",
]

UNGRADED = "No verdict: no row could be graded for both arms."

LONGEST = 100_000
"""Characters of an answer that are looked at."""

LONG = 10_000
"""Characters beyond which an answer's length is told."""

AROUND = 100
"""Characters that are kept before and after a change."""


def contents(text: str) -> str:
    """Untrusted text that is safe to print: no escapes, no commands to a pipeline's log."""
    return cut(disarmed(clean(text[: LONGEST + 1])), LONGEST)


def cut(text: str, most: int) -> str:
    """The start of a text, and a mark where it goes on."""
    return text if len(text) <= most else f"{text[:most]} …"


def said(answer: Answer) -> str:
    """An answer's text and calls as they can be printed, or why there is none."""
    if answer.failure:
        return f"(no answer: {contents(answer.failure)})"
    calls = (contents(called(call)) for call in answer.tool_calls)
    parts = [contents(answer.text).strip("\n"), *calls]
    return "\n".join(part for part in parts if part.strip()) or "(no text)"


def answer_of(row: Row, arm: str) -> Answer:
    """An arm's first answer; of samples, the others stand in the JSON document."""
    return next(iter(row.answers.get(arm, ())), Answer(failure="not asked"))


def asked(row: Row) -> str:
    """The last message, and how many turns came before it."""
    last = row.messages[-1].content if row.messages else ""
    parts = [last] if isinstance(last, str) else [_part(part) for part in last or ()]
    turns = sum(message.role in ("user", "assistant") for message in row.messages[:-1])
    before = [f"(after {many(turns, 'turn')})"] if turns else []
    return " ".join([*before, contents(" ".join(parts))])


def _part(part: object) -> str:
    text = part.get("text") if isinstance(part, dict) else None
    kind = part.get("type", "part") if isinstance(part, dict) else "part"
    return text if isinstance(text, str) else f"({kind})"


def place(row: Row) -> str:
    """Where a row is from: its set, its line and its tags."""
    line = [f"line {row.line}"] if row.line is not None else []
    return " · ".join(
        contents(word).replace("\n", " ") for word in (row.set, *line, *row.tags) if word
    )


def marks(comparison: Comparison, row: Row, arm: str) -> list[str]:
    """What graders say of an arm's answers: "✓ exact", "chrf 0.42", "judge wins"."""
    kinds = {grading.name: grading.kind for grading in comparison.graders}
    scores = {name: row.score(name, arm) for name in row.marks if arm in row.marks[name]}
    shown = [_mark(contents(name), score, kinds.get(name)) for name, score in scores.items()]
    for name, chosen in row.preferences.items():
        if arm in chosen:
            shown.append(f"{contents(name)} {_preferred(row.score(name, arm))}")
    answer = answer_of(row, arm)
    if len(answer.text) > LONG:
        shown.append(many(len(answer.text), "character"))
    if answer.finish_reason == "length":
        shown.append("cut short")
    return shown


def _mark(name: str, score: float | None, kind: str | None) -> str:
    if score is None:
        return f"{name} –"
    if kind == "binary" and score in (0, 1):
        return f"{'✓' if score else '✗'} {name}"
    return f"{name} {score:.2f}"


def _preferred(score: float | None) -> str:
    if score is None:
        return "–"
    return "wins" if score > 0.5 else "loses" if score < 0.5 else "ties"


def reasons(row: Row, grader: str, arm: str) -> list[str]:
    """What a grader wrote of an arm's first answer: of a pair, with the arm first and second."""
    mark = next(iter(row.marks.get(grader, {}).get(arm, ())), None)
    chosen = next(iter(row.preferences.get(grader, {}).get(arm, ())), None)
    notes = [] if mark is None else [mark.note]
    if chosen is not None:
        notes += chosen.notes
    return [contents(note).replace("\n", " ") for note in dict.fromkeys(notes) if note.strip()]


def classified(comparison: Comparison) -> Iterator[str]:
    """Accuracy and macro-averaged F1 of every arm that classified."""
    for report in comparison.labels:
        name = f"{report.set}: {report.grader}" if report.set else report.grader
        scores = f"accuracy {report.accuracy:.1%}, macro F1 {report.macro_f1:.1%}"
        yield contents(f"{name} of {report.arm}: {scores}").replace("%", " %")


def warnings(comparison: Comparison) -> Iterator[str]:
    """What makes the verdict doubtful."""
    for bias in comparison.biases:
        if bias.warning:
            yield f"{bias.grader}: {bias.sentence}"
    yield from comparison.warnings


def facts(arm: ArmSummary) -> list[str]:
    """An arm in words: its model, what sets it apart, what it took."""
    took = [] if arm.usd is None else [_dollars(arm.usd)]
    if arm.seconds is not None:
        median, slow = (float(f"{seconds:.2g}") for seconds in arm.seconds)
        took.append(f"{median:g} s (p95 {slow:g} s)")
    if arm.failures:
        took.append(many(arm.failures, "failure"))
    return [contents(word) for word in (arm.model, *arm.traits, arm.backend) if word] + took


def _dollars(usd: float) -> str:
    """Cents, and below ten of them the first two digits."""
    decimals = 2 if usd >= 0.095 or usd <= 0 else 1 - math.floor(math.log10(usd))
    return f"${usd:,.{decimals}f}"


def samplings(comparison: Comparison) -> Iterator[str]:
    """How answers were drawn: once for all arms if they agree, else for each."""
    drawn = {arm.name: contents(sampled(arm.sampling)) for arm in comparison.arms}
    if len(set(drawn.values())) == 1:
        yield f"sampling: {next(iter(drawn.values()))}"
        return
    for name, words in drawn.items():
        yield f"sampling of {contents(name)}: {words}"


def sampled(sampling: Sampling) -> str:
    """What a sampling sets, as it came, such as "temperature 0.2, max_tokens 64"."""
    given = sampling.model_dump(exclude_defaults=True)
    shown = (f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in given.items())
    return ", ".join(shown) or "the model's defaults"


def excerpt(pieces: Sequence[Change], most: int) -> list[Change]:
    """The changes with what is around them, in about `most` characters."""
    if sum(len(text) for _, text in pieces) <= most:
        return list(pieces)
    shown: list[Change] = []
    room = most
    for number, (kind, text) in enumerate(pieces):
        if room <= 0:
            return [*shown, ("same", " …")]
        ends = number == 0, number == len(pieces) - 1
        kept = _around(text, *ends) if kind == "same" else cut(text, most // 2)
        shown.append((kind, cut(kept, room)))
        room -= len(kept)
    return shown


def _around(text: str, first: bool, last: bool) -> str:
    if len(text) <= 2 * AROUND or (first and last):
        return text
    start = "" if first else text[:AROUND]
    return f"{start} … {'' if last else text[-AROUND:]}"


def ungraded(comparison: Comparison) -> str:
    """Why there is no verdict; "" where rows were graded, and none was asked for."""
    graded = any(each.set == "" for each in comparison.contrasts)
    return "" if graded else UNGRADED
