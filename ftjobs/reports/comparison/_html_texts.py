"""What models and people wrote, as HTML: cut where it is long, and with what changed marked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ftjobs.evals.result import Answer
from ftjobs.reports.comparison._diff import Change, diff
from ftjobs.reports.page import language, safe
from ftjobs.reports.words import called, many

__all__ = ["answer", "calls", "excerpt", "said", "text"]

SEEN = 1_500
"""Characters of a text that are seen at once."""

MORE = 20_000
"""Further ones that unfold; the rest is in the JSON alone."""

DIFFED = 20_000
"""Characters of two answers up to which they are compared."""

CALLS = 20
"""Function calls of an answer that are shown."""

ALIKE = 0.25
"""Share of the longer answer that both have in common, below which a diff tells nothing."""

_TAGS = {"removed": "del", "added": "ins"}


def text(whole: str) -> Iterator[str]:
    """The lines of an untrusted text as a block of its own; "(no text)" for an empty one."""
    yield from _block([("same", whole)], whole)


def said(whole: str, older: str | None) -> Iterator[str]:
    """The same for an answer, with what changed since `older`, if that is given, marked."""
    if older is None or not older.strip() or not whole.strip():
        yield from text(whole)
    elif older == whole:
        yield '<p class="note blind">The same as the baseline’s.</p>'
        yield from text(whole)
    else:
        yield from _block(_pieces(older, whole), whole)


def _pieces(older: str, whole: str) -> Sequence[Change]:
    if max(len(older), len(whole)) > DIFFED:
        return [("same", whole)]
    found = diff(older, whole)
    common = sum(len(piece.strip()) for kind, piece in found if kind == "same")
    if common < ALIKE * max(len(older), len(whole)):
        return [("same", whole)]
    return found


def _block(pieces: Sequence[Change], whole: str) -> Iterator[str]:
    if not whole.strip():
        yield '<p class="note">(no text)</p>'
        return
    first, rest = _split(pieces, SEEN)
    yield f'<div class="said" dir="auto"{language(whole[:SEEN])}>{_marked(first)}</div>'
    if rest:
        yield from _folded(rest, whole)


def _folded(rest: Sequence[Change], whole: str) -> Iterator[str]:
    shown, left = _split(rest, MORE)
    size = sum(len(piece) for kind, piece in shown if kind != "removed")
    yield f'<details class="more"><summary>{len(whole):,} characters: show {size:,} more</summary>'
    yield f'<div class="said" dir="auto"{language(whole[:SEEN])}>{_marked(shown)}</div>'
    if left:
        missing = sum(len(piece) for kind, piece in left if kind != "removed")
        yield f'<p class="note">{many(missing, "character")} more are not shown.</p>'
    yield "</details>"


def _split(pieces: Sequence[Change], most: int) -> tuple[list[Change], list[Change]]:
    """The first `most` characters and what was removed among them, and the others.

    Removed ones do not count: all arms are cut at one length, or a voter would tell them apart.
    """
    first: list[Change] = []
    for place, (kind, piece) in enumerate(pieces):
        size = 0 if kind == "removed" else len(piece)
        if size > most:
            first.append((kind, piece[:most]))
            return first, [(kind, piece[most:]), *pieces[place + 1 :]]
        first.append((kind, piece))
        most -= size
    return first, []


def _marked(pieces: Iterable[Change]) -> str:
    return "".join(_mark(kind, piece) for kind, piece in pieces if piece)


def _mark(kind: str, piece: str) -> str:
    tag = _TAGS.get(kind)
    return f"<{tag}>{safe(piece)}</{tag}>" if tag else safe(piece)


def answer(given: Answer, older: Answer | None) -> Iterator[str]:
    """Everything an answer is: its text, the functions it called, or why there is none."""
    if given.failure:
        yield f'<p class="note"><strong>No answer:</strong> {excerpt(given.failure, 500)}</p>'
        return
    if given.text.strip() or not given.tool_calls:
        yield from said(given.text, None if older is None or older.failure else older.text)
    yield from calls(given.tool_calls)
    if given.finish_reason == "length":
        yield '<p class="note">Cut at the limit of tokens.</p>'


def calls(given: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Function calls, as `name(arguments)`."""
    every = list(given)
    for call in every[:CALLS]:
        yield f'<p class="call"><code>{excerpt(called(call), SEEN)}</code></p>'
    if (more := len(every) - CALLS) > 0:
        yield f'<p class="note">{many(more, "call")} more are not shown.</p>'


def excerpt(whole: str, most: int) -> str:
    """The start of an untrusted text, within a line of ours."""
    line = " ".join(whole[: 2 * most].split())
    line = line if len(line) <= most else f"{line[: most - 1]}…"
    return f"<bdi{language(line)}>{safe(line)}</bdi>"
