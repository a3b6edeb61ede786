"""Jobs as Markdown: the summary of a step, and the body of a comment.

Whatever a service or a model said stands in code spans (`ftjobs.reports.markdown`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from ftjobs.backends.failures import Failure
from ftjobs.reports.ci._outcome import Outcome, number
from ftjobs.reports.markdown import (
    COMMENT_BYTES,
    SUMMARY_BYTES,
    code,
    fitting,
    marker,
    table,
)

POINTS = 50
"""Checkpoints that are listed; the last ones."""

SIGNS = {"succeeded": "✅", "failed": "❌", "cancelled": "🚫", "unfinished": "⏳"}


def summary(outcomes: Sequence[Outcome], *, most_bytes: int = SUMMARY_BYTES) -> str:
    """Markdown for the summary of a step, of at most `most_bytes` bytes in UTF-8."""
    return "".join(fitting(_body(outcomes), most_bytes))


def comment(outcomes: Sequence[Outcome]) -> str:
    """Markdown for a comment, of at most 65,536 characters.

    Its first line is hidden and the same for the same content: `<!-- ftjobs job IDENTITY -->`.
    A bot looks for it, and edits that comment instead of writing another one.
    """
    keys = [outcome.identity or outcome.job.id for outcome in outcomes]
    return "".join(fitting(chain([marker("job", keys)], _body(outcomes)), COMMENT_BYTES))


def _body(outcomes: Sequence[Outcome]) -> Iterator[str]:
    for outcome in outcomes:
        yield from _section(outcome)


def _section(outcome: Outcome) -> Iterator[str]:
    yield f"### {SIGNS[outcome.verdict]} Fine-tuning job {code(outcome.headline, most=60)}".rstrip()
    yield ""
    head, *facts = [(name, code(text)) for name, text in outcome.facts() if text]
    yield from table(head, facts)
    yield ""
    if outcome.reason:
        yield from _reason(outcome.reason, outcome.failure)
    yield from _points(outcome)


def _reason(reason: str, known: Failure | None) -> Iterator[str]:
    yield f"**Why it ended:** {code(reason)}"
    yield ""
    if known is not None:
        yield f"**Cause:** {known.cause}"
        yield ""
        yield f"**What to do:** {known.remedy}"
        yield ""


def _points(outcome: Outcome) -> Iterator[str]:
    points = outcome.points[-POINTS:]
    if not points:
        return
    yield "#### Checkpoints"
    yield ""
    rows = [
        (f"{p.step:,}", number(p.train_loss), number(p.valid_loss), code(p.model)) for p in points
    ]
    yield from table(("Step", "Training loss", "Validation loss", "Model"), rows, right="rrr")
    yield ""
