"""A comparison for a step of GitHub Actions: annotations, and outputs for the steps after it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping

from ftjobs.evals.result import Comparison
from ftjobs.reports import actions
from ftjobs.reports.comparison import _numbers as numbers
from ftjobs.reports.comparison import _words as words
from ftjobs.reports.comparison._changes import Change, changes
from ftjobs.reports.words import many

__all__ = ["outputs", "workflow_commands"]

LEVELS = {"pass": "notice", "fail": "error", "inconclusive": "warning"}

BRIEF = 200
"""Characters of a prompt in an annotation."""


def workflow_commands(comparison: Comparison, *, most: int = actions.MOST_ANNOTATIONS) -> str:
    """Workflow commands: the verdict, the warnings, then the biggest regressions.

    At most `most` in all, then how many are left out.  A regression points to the line of the
    prompt, so that it shows in the file where that is part of the change.
    """
    found = [*_verdict(comparison), *_warnings(comparison), *_regressions(comparison)]
    lines = found[:most]
    if left_out := len(found) - len(lines):
        lines.append(f"Not annotated: {many(left_out, 'more message')}.")
    return "\n".join(lines)


def _verdict(comparison: Comparison) -> Iterator[str]:
    verdict = comparison.verdict
    if verdict is None and (sentence := words.ungraded(comparison)):
        yield actions.command("error", sentence, title="Comparison")
    if verdict is not None:
        title = f"Comparison: {verdict.word}"
        yield actions.command(LEVELS[verdict.word], verdict.sentence, title=title)


def _warnings(comparison: Comparison) -> Iterator[str]:
    for sentence in words.warnings(comparison):
        yield actions.command("warning", sentence, title="Comparison")


def _regressions(comparison: Comparison) -> Iterator[str]:
    paths = {source.set: source.path for source in comparison.sources}
    for change in changes(comparison):
        if change.outcome == "worse":
            yield _regression(change, paths)


def _regression(change: Change, paths: Mapping[str, str]) -> str:
    row = change.row
    score = f"{change.grader} {change.before:.2f} → {change.after:.2f}"
    text = f"{score}\n{words.cut(words.asked(row), BRIEF)}"
    path = paths.get(row.set, "") if row.line is not None else ""
    line = row.line if path else None
    return actions.command(
        "notice", text, file=path, line=line, title=f"Row {row.number} got worse"
    )


def outputs(
    comparison: Comparison, *, token: Callable[[], str] = lambda: secrets.token_hex(16)
) -> str:
    """The lines of GITHUB_OUTPUT.

    `verdict` (pass, fail, inconclusive; "" for none), `sentence`, `arm`, `baseline`, `grader`, and
    the numbers `difference`, `low`, `high`, `p` and `n` as JSON has them, "" where there is none.

    Args:
        comparison: what was found.
        token: makes the part of a delimiter that nobody can guess.
    """
    return actions.outputs(dict(numbers.values(comparison)), token=token)
