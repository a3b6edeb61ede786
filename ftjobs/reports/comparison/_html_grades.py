"""What graders gave and why: marks of an answer, reasons, and judges in both orders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ftjobs.evals.result import Mark, Preference, Row, Winner
from ftjobs.reports.comparison._html_texts import excerpt
from ftjobs.reports.page import bdi

__all__ = ["SAMPLES", "judged", "marks", "reasons", "score_words"]

SAMPLES = 8
"""Answers of an arm to one prompt that are shown, with what graders say of them."""

NOTE = 2_000
"""Characters of a grader's reason that are shown."""


def score_words(score: float) -> str:
    """A score with three digits and a real minus."""
    return f"{score:.3g}".replace("-", "−")


def marks(row: Row, arm: str) -> Iterator[str]:
    """What each grader gave an arm, and whether judges preferred it to the baseline."""
    for grader, by_arm in row.marks.items():
        if arm not in by_arm:
            continue
        score = row.score(grader, arm)
        if score is None:
            yield f'<span class="mark">– {bdi(grader)} not graded</span>'
        else:
            glyph = {0.0: "✗ ", 1.0: "✓ "}.get(score, "")
            yield f'<span class="mark">{glyph}{bdi(grader)} {score_words(score)}</span>'
    for grader, chosen in row.preferences.items():
        if arm in chosen:
            yield f'<span class="mark">{_preferred(row.score(grader, arm))} {bdi(grader)}</span>'


def _preferred(score: float | None) -> str:
    if score is None:
        return "– no verdict by"
    return "✓ preferred by" if score > 0.5 else "✗ not preferred by" if score < 0.5 else "= tie by"


def reasons(row: Row) -> Iterator[str]:
    """What graders noted beside their scores."""
    notes = [
        (grader, arm, mark)
        for grader, by_arm in row.marks.items()
        for arm, given in by_arm.items()
        for mark in given[:SAMPLES]
        if mark.note
    ]
    if notes:
        yield '<details class="blind"><summary>Graders’ reasons</summary><dl class="reasons">'
        yield from (_reason(*note) for note in notes)
        yield "</dl></details>"


def _reason(grader: str, arm: str, mark: Mark) -> str:
    score = "not graded" if mark.score is None else score_words(mark.score)
    return f"<dt>{bdi(grader)}, {bdi(arm)}: {score}</dt><dd>{excerpt(mark.note, NOTE)}</dd>"


def judged(grader: str, arm: str, baseline: str, given: Sequence[Preference]) -> Iterator[str]:
    """A judge's choices and reasons, in both orders of the seats."""
    names: dict[Winner | None, str] = {"arm": bdi(arm), "baseline": bdi(baseline)}
    names |= {"tie": "a tie", None: "no verdict"}
    for preference in given[:SAMPLES]:
        yield (
            f'<details class="blind"><summary>{bdi(grader)} on {bdi(arm)} against '
            f"{bdi(baseline)}: {_choice(preference, names)}</summary>"
            '<dl class="reasons">'
        )
        orders = (arm, preference.arm_first), (baseline, preference.baseline_first)
        for (seated, winner), note in zip(orders, preference.notes, strict=True):
            yield f"<dt>{bdi(seated)} in the first seat: {names[winner]}</dt>"
            yield f"<dd>{excerpt(note, NOTE) if note else '(no reason given)'}</dd>"
        yield "</dl></details>"


def _choice(preference: Preference, names: dict[Winner | None, str]) -> str:
    if preference.conflict:
        return "a tie, since the two orders disagree"
    if preference.winner is None:
        return "no verdict in one of the orders"
    wins = "" if preference.winner == "tie" else " wins"
    return f"{names[preference.winner]}{wins} in both orders"
