"""Rows side by side: what was asked, what every arm said, how it was graded, and by whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from ftjobs.evals.result import Answer, Comparison, Mark, Preference, Row, Winner
from ftjobs.evals.votes import comparison_id, seats
from ftjobs.reports.comparison._html_changes import Change, candidate
from ftjobs.reports.comparison._html_texts import answer, calls, excerpt, text
from ftjobs.reports.page import bdi, safe
from ftjobs.schema import ChatMessage

__all__ = ["GLYPHS", "View", "card", "change_words"]

GLYPHS = {"worse": "▼", "equal": "=", "better": "▲", "ungraded": "–"}

SAMPLES = 8
"""Answers of an arm to one prompt that are shown."""

NOTE = 2_000
"""Characters of a grader's reason that are shown."""


@dataclass(frozen=True)
class View:
    """What all rows share."""

    comparison: Comparison

    @cached_property
    def id(self) -> str:
        """What votes call the comparison."""
        return comparison_id(self.comparison)

    @cached_property
    def arms(self) -> tuple[str, ...]:
        """Names, the baseline's first."""
        return tuple(arm.name for arm in self.comparison.arms)

    @cached_property
    def candidate(self) -> str | None:
        """The arm that outcomes are about."""
        return candidate(self.comparison)

    @cached_property
    def sets(self) -> dict[str, int]:
        """Sets of prompts, numbered in their order."""
        return _numbered(row.set for row in self.comparison.rows)

    @cached_property
    def tags(self) -> dict[str, int]:
        """Tags, numbered in their order."""
        return _numbered(tag for row in self.comparison.rows for tag in row.tags)


def _numbered(names: Iterator[str]) -> dict[str, int]:
    return {name: place for place, name in enumerate(sorted(set(names)))}


def card(change: Change, view: View) -> Iterator[str]:
    """One row.  Its `data-` attributes are what the script filters, sorts and votes by."""
    row = change.row
    first = "arm" if seats(view.id, row.number, view.comparison.seed) else "baseline"
    tags = " ".join(str(view.tags[tag]) for tag in row.tags)
    yield (
        f'<article class="row" id="row-{row.number}" tabindex="-1" '
        f'aria-labelledby="head-{row.number}" data-row="{row.number}" '
        f'data-outcome="{change.outcome}" data-rank="{change.rank}" data-size="{change.size:.6g}" '
        f'data-set="{view.sets[row.set]}" '
        f'data-tags="{tags}" data-first="{first}">'
    )
    yield f'<h3 id="head-{row.number}">Row {row.number}</h3>'
    yield f'<p class="facts">{" ".join(_facts(change))}</p>'
    yield from _prompt(row.messages)
    if row.expected is not None:
        yield '<div class="expected blind"><h4>Expected</h4>'
        yield from text(row.expected)
        yield "</div>"
    yield '<div class="answers">'
    for arm in view.arms:
        yield from _answers(row, arm, view)
    yield "</div>"
    yield from _reasons(row)
    for grader, by_arm in row.preferences.items():
        for arm, given in by_arm.items():
            yield from _judged(grader, arm, view.comparison.baseline, given)
    yield "</article>"


def _facts(change: Change) -> Iterator[str]:
    row = change.row
    yield f'<span class="outcome {change.outcome} blind">{change_words(change)}</span>'
    if row.set:
        yield f'<span class="fact">set {bdi(row.set)}</span>'
    if row.line is not None:
        yield f'<span class="fact">line {row.line}</span>'
    if row.cluster is not None:
        yield f'<span class="fact">cluster {excerpt(row.cluster, 60)}</span>'
    yield from (f'<span class="tag">{excerpt(tag, 60)}</span>' for tag in row.tags)


def change_words(change: Change) -> str:
    """Such as "▼ worse: exact 1 → 0", as HTML."""
    outcome = f"{GLYPHS[change.outcome]} {change.outcome.replace('ungraded', 'not graded')}"
    if change.outcome == "ungraded":
        return outcome
    if change.preferred:
        return f"{outcome}: {bdi(change.grader)} {change.after:g} of 1"
    return f"{outcome}: {bdi(change.grader)} {_score(change.before)} → {_score(change.after)}"


def _score(score: float) -> str:
    return f"{score:.3g}".replace("-", "−")


def _prompt(messages: Sequence[ChatMessage]) -> Iterator[str]:
    """The last message; those before it unfold."""
    *before, last = messages
    if before:
        many = f"{len(before)} message{'' if len(before) == 1 else 's'}"
        yield f"<details><summary>{many} before</summary>"
        for message in before:
            yield from _message(message)
        yield "</details>"
    yield from _message(last)


def _message(message: ChatMessage) -> Iterator[str]:
    name = f" ({excerpt(message.name, 60)})" if message.name else ""
    yield f'<div class="message"><h4>{excerpt(message.role, 20)}{name}</h4>'
    content, given = message.content, message.tool_calls or ()
    if isinstance(content, str):
        yield from text(content)
    elif content:
        yield from text("\n".join(map(_part, content)))
    elif not given:
        yield from text("")
    yield from calls(given)
    yield "</div>"


def _part(part: object) -> str:
    words = part.get("text") if isinstance(part, dict) else None
    kind = part.get("type") if isinstance(part, dict) else None
    return words if isinstance(words, str) else f"({kind or 'a part that is no text'})"


def _answers(row: Row, arm: str, view: View) -> Iterator[str]:
    is_base = arm == view.comparison.baseline
    given = row.answers.get(arm, ())
    base = row.answers.get(view.comparison.baseline, ())
    seat = "baseline" if is_base else "arm"
    alike = " same" if not is_base and given[:1] and base[:1] and _same(given[0], base[0]) else ""
    lost = " lost" if not given or given[0].failure else ""
    yield f'<section class="answer{alike}{lost}" data-arm="{safe(arm)}" data-seat="{seat}">'
    yield f'<h4 class="arm">{bdi(arm)}{" <small>baseline</small>" if is_base else ""}</h4>'
    yield f'<p class="marks blind">{" ".join(_marks(row, arm))}</p>'
    if not given:
        yield '<p class="note">No answer.</p>'
    for place, one in enumerate(given[:SAMPLES]):
        if place:
            yield f'<div class="sample blind"><h5>Sample {place + 1} of {len(given)}</h5>'
        yield from answer(one, base[0] if base and not place and not is_base else None)
        if place:
            yield "</div>"
    if len(given) > SAMPLES:
        yield f'<p class="note blind">{len(given) - SAMPLES} more samples are not shown.</p>'
    yield "</section>"


def _same(one: Answer, other: Answer) -> bool:
    return (one.text, one.tool_calls) == (other.text, other.tool_calls)


def _marks(row: Row, arm: str) -> Iterator[str]:
    for grader, by_arm in row.marks.items():
        if arm not in by_arm:
            continue
        score = row.score(grader, arm)
        if score is None:
            yield f'<span class="mark">– {bdi(grader)} not graded</span>'
        else:
            glyph = {0.0: "✗ ", 1.0: "✓ "}.get(score, "")
            yield f'<span class="mark">{glyph}{bdi(grader)} {_score(score)}</span>'
    for grader, chosen in row.preferences.items():
        if arm in chosen:
            yield f'<span class="mark">{_preferred(row.score(grader, arm))} {bdi(grader)}</span>'


def _preferred(score: float | None) -> str:
    if score is None:
        return "– no verdict by"
    return "✓ preferred by" if score > 0.5 else "✗ not preferred by" if score < 0.5 else "= tie by"


def _reasons(row: Row) -> Iterator[str]:
    """What graders noted beside their scores."""
    notes = [
        (grader, arm, mark)
        for grader, by_arm in row.marks.items()
        for arm, marks in by_arm.items()
        for mark in marks[:SAMPLES]
        if mark.note
    ]
    if notes:
        yield '<details class="blind"><summary>Graders’ reasons</summary><dl class="reasons">'
        yield from (_reason(*note) for note in notes)
        yield "</dl></details>"


def _reason(grader: str, arm: str, mark: Mark) -> str:
    score = "not graded" if mark.score is None else _score(mark.score)
    return f"<dt>{bdi(grader)}, {bdi(arm)}: {score}</dt><dd>{excerpt(mark.note, NOTE)}</dd>"


def _judged(grader: str, arm: str, baseline: str, given: Sequence[Preference]) -> Iterator[str]:
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
