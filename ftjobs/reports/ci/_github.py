"""Jobs for GitHub Actions: workflow commands and the lines of GITHUB_OUTPUT."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence

from ftjobs.reports import actions
from ftjobs.reports.actions import MOST_ANNOTATIONS, command
from ftjobs.reports.ci._outcome import Outcome
from ftjobs.reports.words import many, span

LEVELS = {"failed": "error", "cancelled": "warning", "unfinished": "warning", "succeeded": "notice"}
RANK = ("error", "warning", "notice")
EVENT_LEVELS = {"error": "error", "warn": "warning", "warning": "warning"}

Said = tuple[str, str, str]
"""Level, title and text of an annotation."""


def workflow_commands(outcomes: Sequence[Outcome], *, most: int = MOST_ANNOTATIONS) -> str:
    """Workflow commands, errors first, at most `most` of them, then how many are left out."""
    said = [*map(_verdict, outcomes), *(one for outcome in outcomes for one in _events(outcome))]
    ranked = sorted(dict.fromkeys(said), key=lambda one: RANK.index(one[0]))
    lines = [command(level, text, title=title) for level, title, text in ranked[:most]]
    if left_out := len(ranked) - len(lines):
        lines.append(f"Not annotated: {many(left_out, 'more message')}.")
    return "\n".join(lines)


def _verdict(outcome: Outcome) -> Said:
    title = f"Fine-tuning job {outcome.headline}"
    return LEVELS[outcome.verdict], title, "\n".join(_story(outcome))


def _story(outcome: Outcome) -> Iterator[str]:
    job = outcome.job
    model = f", model {job.fine_tuned_model}" if job.fine_tuned_model else ""
    yield f"{job.id} after {span(outcome.seconds)}{model}"
    if outcome.reason:
        yield outcome.reason
    if known := outcome.failure:
        yield f"{known.cause} {known.remedy}"
    if outcome.verdict == "unfinished":
        yield "It runs on. Watch it again, in this run or in a later one."


def _events(outcome: Outcome) -> Iterator[Said]:
    """What the service warned of; the error that ended the job is in the verdict already."""
    error = outcome.job.error
    told = () if error is None else (error.message, error.code)
    for event in outcome.progress.tail:
        level = EVENT_LEVELS.get(event.level)
        if level and event.message not in told:
            yield level, f"Fine-tuning job {outcome.job.id}", event.message


def outputs(
    outcomes: Sequence[Outcome], *, token: Callable[[], str] = lambda: secrets.token_hex(16)
) -> str:
    """The lines of GITHUB_OUTPUT: job-id, status, fine-tuned-model and identity.

    Args:
        outcomes: the jobs; of several, a value has a line for each, in this order.
        token: makes the part of a delimiter that nobody can guess.
    """
    return actions.outputs(_values(outcomes), token=token)


def _values(outcomes: Sequence[Outcome]) -> Mapping[str, Sequence[str]]:
    return {
        "job-id": [outcome.job.id for outcome in outcomes],
        "status": [outcome.job.status for outcome in outcomes],
        "fine-tuned-model": [outcome.job.fine_tuned_model or "" for outcome in outcomes],
        "identity": [outcome.identity for outcome in outcomes],
    }
