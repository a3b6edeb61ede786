"""A comparison as Markdown: the body of a comment, and the summary of a step.

Whatever a model said stands in code spans and fences, where nothing is marked up, linked to or
mentioned (`ftjobs.reports.markdown`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ftjobs.evals.result import Comparison
from ftjobs.reports.comparison import _numbers as numbers
from ftjobs.reports.comparison import _words as words
from ftjobs.reports.comparison._changes import Change, candidate, changes
from ftjobs.reports.markdown import (
    COMMENT_BYTES,
    SUMMARY_BYTES,
    code,
    escaped,
    fitting,
    marker,
    table,
)
from ftjobs.reports.words import many

__all__ = ["markdown", "summary"]

SIGNS = {"pass": "✅", "fail": "❌", "inconclusive": "❔", "": "⚠️"}

ROWS = 20
"""Rows that are shown, if they fit."""

LONGEST = 1_000
"""Characters that are shown of an answer."""

END = "</details>"

_PROSE = re.compile(r"[\w ,;:%=<>()×±−α…“”.+-]*")
"""A sentence in which nothing but `<` and the like could mean something in Markdown."""

_LINKS = re.compile(r"www\.|\bgh-\d|%\w", re.IGNORECASE)
"""What GitHub or GitLab take for an address, an issue or a milestone even so."""


def markdown(comparison: Comparison, *, key: str = "") -> str:
    """Markdown for a comment, of at most 65,536 bytes in UTF-8.

    Its first line is hidden and the same for the same arms on the same files:
    `<!-- ftjobs compare KEY -->`.  A bot looks for it, and edits that comment instead of writing
    another one.

    Args:
        comparison: what was found.
        key: in place of one made of arms and files.
    """
    keys = [key] if key else _keys(comparison)
    start = marker("compare", keys) + "\n"
    return start + summary(comparison, most_bytes=COMMENT_BYTES - len(start.encode()))


def _keys(comparison: Comparison) -> list[str]:
    return [
        *(arm.name for arm in comparison.arms),
        *(f"{source.set}={source.path}" for source in comparison.sources),
    ]


def summary(comparison: Comparison, *, most_bytes: int = SUMMARY_BYTES) -> str:
    """Markdown for the summary of a step, of at most `most_bytes` bytes in UTF-8.

    The rows that got worse are folded away, the biggest regressions first; those for which there
    is no room are counted.
    """
    head = "".join(fitting(_head(comparison), most_bytes))
    return head + _worse(comparison, most_bytes - len(head.encode()))


def _head(comparison: Comparison) -> Iterator[str]:
    verdict = comparison.verdict
    word = "" if verdict is None else verdict.word
    sentence = words.ungraded(comparison) if verdict is None else verdict.sentence
    yield f"### {SIGNS[word]} {word.capitalize() or 'No verdict'}"
    yield ""
    yield _prose(sentence)
    yield ""
    yield from _graders(comparison)
    rows = [(code(arm.name), ", ".join(map(code, words.facts(arm)))) for arm in comparison.arms]
    yield from table(("Arm", "What it is and took"), rows)
    yield ""
    for sentence in words.warnings(comparison):
        yield f"* ⚠️ {_prose(sentence)}"
    for line in words.classified(comparison):
        yield f"* {_prose(line)}"
    yield ""


def _prose(sentence: str) -> str:
    """A sentence of ours, as a code span if a name in it could be more than a name."""
    is_plain = _PROSE.fullmatch(sentence) and not _LINKS.search(sentence)
    return escaped(sentence) if is_plain else code(sentence)


def _graders(comparison: Comparison) -> Iterator[str]:
    titles = (title[0].upper() + title[1:] for title in numbers.heads(comparison))
    rows = [
        (code(title), code(line.arm), *line[1:])
        for title, lines in numbers.sections(comparison)
        for line in lines
    ]
    if rows:
        yield from table(("Grader", "Arm", *titles), rows, right="llrrrrrrr")
        yield ""


def _worse(comparison: Comparison, most_bytes: int) -> str:
    """The rows that got worse, folded away, as many as fit as a whole."""
    worse = [change for change in changes(comparison) if change.outcome == "worse"]
    if not worse:
        return ""
    count = f"{len(worse):,} of {many(len(comparison.rows), 'row')} got worse"
    start = f"<details><summary>{count}, the biggest regressions first</summary>\n\n"
    rest = f"…\n\n{END}\n"
    blocks = ("\n".join(_row(comparison, change)) + "\n\n" for change in worse[:ROWS])
    shown = list(_whole(blocks, most_bytes - len((start + rest).encode())))
    if not shown:
        return ""
    left_out = len(worse) - len(shown)
    return "".join([start, *shown, f"{left_out:,} more …\n\n" if left_out else "", f"{END}\n"])


def _whole(blocks: Iterable[str], most_bytes: int) -> Iterator[str]:
    for block in blocks:
        most_bytes -= len(block.encode(errors="replace"))
        if most_bytes < 20:  # for how many more there are
            return
        yield block


def _row(comparison: Comparison, change: Change) -> Iterator[str]:
    row = change.row
    score = f"{code(change.grader)} {change.before:.2f} → {change.after:.2f}"
    yield f"**Row {row.number}** {code(words.place(row))} {score}"
    yield ""
    yield f"Prompt: {code(words.asked(row), most=300)}"
    yield ""
    if row.expected:
        yield f"Expected: {code(row.expected, most=300)}"
        yield ""
    arm = candidate(comparison) or comparison.baseline
    texts = [
        (sign, words.cut(words.said(words.answer_of(row, name)), LONGEST))
        for sign, name in (("-", comparison.baseline), ("+", arm))
    ]
    yield "```diff"  # which no line can end, since each begins with its sign
    yield from (f"{sign} {line}" for sign, text in texts for line in text.split("\n"))
    yield "```"
    for note in words.reasons(row, change.grader, arm):
        yield ""
        yield f"{code(change.grader)}: {code(note, most=300)}"
