"""Rows side by side: what was asked, what every arm said, how it was graded, and by whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ftjobs.evals.result import Answer, Comparison, Row
from ftjobs.evals.votes import comparison_id, seats
from ftjobs.reports.comparison._changes import Change, candidate
from ftjobs.reports.comparison._html_grades import SAMPLES, judged, marks, reasons, score_words
from ftjobs.reports.comparison._html_texts import answer, calls, excerpt, text
from ftjobs.reports.page import bdi, safe
from ftjobs.reports.words import many
from ftjobs.schema import ChatMessage

__all__ = ["GLYPHS", "View", "card", "change_words"]

GLYPHS = {"worse": "▼", "equal": "=", "better": "▲", "ungraded": "–"}

MESSAGES = 20
"""Messages before the last one that unfold."""

TAGS = 20
"""Tags of a row that are shown."""


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
    yield from reasons(row)
    for grader, by_arm in row.preferences.items():
        for arm, given in by_arm.items():
            yield from judged(grader, arm, view.comparison.baseline, given)
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
    yield from (f'<span class="tag">{excerpt(tag, 60)}</span>' for tag in row.tags[:TAGS])


def change_words(change: Change) -> str:
    """Such as "▼ worse: exact 1 → 0", as HTML."""
    outcome = f"{GLYPHS[change.outcome]} {change.outcome.replace('ungraded', 'not graded')}"
    if change.outcome == "ungraded":
        return outcome
    if change.preferred:
        return f"{outcome}: {bdi(change.grader)} {change.after:g} of 1"
    scores = f"{score_words(change.before)} → {score_words(change.after)}"
    return f"{outcome}: {bdi(change.grader)} {scores}"


def _prompt(messages: Sequence[ChatMessage]) -> Iterator[str]:
    """The last message; those before it unfold."""
    before = messages[:-1]
    if before:
        yield f"<details><summary>{many(len(before), 'message')} before</summary>"
        if (more := len(before) - MESSAGES) > 0:
            yield f'<p class="note">{many(more, "message")} before these are not shown.</p>'
        for message in before[-MESSAGES:]:
            yield from _message(message)
        yield "</details>"
    for message in messages[-1:]:
        yield from _message(message)


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


def _part(part: Mapping[str, Any]) -> str:
    words = part.get("text")
    return words if isinstance(words, str) else f"({part.get('type') or 'a part that is no text'})"


def _answers(row: Row, arm: str, view: View) -> Iterator[str]:
    is_base = arm == view.comparison.baseline
    given = row.answers.get(arm, ())
    base = row.answers.get(view.comparison.baseline, ())
    seat = "baseline" if is_base else "arm"
    alike = " same" if not is_base and given[:1] and base[:1] and _same(given[0], base[0]) else ""
    lost = " lost" if not given or given[0].failure else ""
    yield f'<section class="answer{alike}{lost}" data-arm="{safe(arm)}" data-seat="{seat}">'
    yield f'<h4 class="arm">{bdi(arm)}{" <small>baseline</small>" if is_base else ""}</h4>'
    yield f'<p class="marks blind">{" ".join(marks(row, arm))}</p>'
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
