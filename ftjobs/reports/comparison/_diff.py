"""What changed between two answers: by words, or by characters where a script has no spaces.

The shortest edit script of E. W. Myers, "An O(ND) Difference Algorithm and Its Variations"
(Algorithmica 1, 1986), given up where texts share too little for it to tell a reader anything.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

__all__ = ["Change", "diff"]

Kind = Literal["same", "removed", "added"]
Change = tuple[Kind, str]

LONGEST = 100_000
"""Characters that are read for words; where more differ, they differ as a whole."""

MOST_STEPS = 150_000
"""Comparisons of tokens beyond one of each; with more, texts differ as a whole.  For texts that
share nothing it is reached at 550 edits."""

CONTEXT = 200
"""Characters before and after the first difference that are read for words with it."""

_UNSPACED = (  # scripts that write no space between words, and so are told apart by character
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf"
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3040-\u30ff\u3100-\u312f\u31a0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uaa60-\uaa7f\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_MARKS = (  # what stands on the character before it
    "\u0300-\u036f\u0483-\u0489\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed"
    "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece\u102b-\u103e\u17b4-\u17d3"
    "\u20d0-\u20f0\u3099\u309a\ufe00-\ufe0f\uff9e\uff9f\U0001f3fb-\U0001f3ff\U000e0100-\U000e01ef"
)
_LETTER = rf"(?:[^\W{_UNSPACED}]|[\u0700-\u0dff])[{_MARKS}\u0900-\u0dff\u200c]*"
_TOKEN = re.compile(
    rf"\s+|{_LETTER}(?:{_LETTER}|['’](?=\w)|(?<=\d)[.,](?=\d))*|.[{_MARKS}]*(?:\u200d.[{_MARKS}]*)*",
    re.DOTALL,
)


def diff(old: str, new: str) -> list[Change]:
    """How `new` came of `old`.

    The pieces that are the same or removed make up `old`, and those that are the same or added
    make up `new`.  No piece is empty, no two of a kind follow each other, and what was removed
    stands before what was added in its place.  A megabyte against another takes no second.
    """
    before, after = _shared(old, new)
    middle = _replaced(old[before : len(old) - after], new[before : len(new) - after])
    if max(len(old), len(new)) - before - after <= LONGEST:
        before, after = max(0, before - CONTEXT), max(0, after - CONTEXT)
        middle = _by_token(
            _TOKEN.findall(old, before, len(old) - after),
            _TOKEN.findall(new, before, len(new) - after),
        )
    return list(_joined([("same", old[:before]), *middle, ("same", old[len(old) - after :])]))


def _replaced(old: str, new: str) -> list[Change]:
    return [("removed", old), ("added", new)]


def _shared(old: Sequence[str], new: Sequence[str]) -> tuple[int, int]:
    """How much is the same at the start, and of the rest at the end."""
    most = min(len(old), len(new))
    before = bisect_left(range(most), 1, key=lambda n: old[: n + 1] != new[: n + 1])
    after = bisect_left(
        range(most - before),
        1,
        key=lambda n: old[len(old) - n - 1 :] != new[len(new) - n - 1 :],
    )
    return before, after


def _by_token(old: list[str], new: list[str]) -> list[Change]:
    before, after = _shared(old, new)
    start, end = "".join(old[:before]), "".join(old[len(old) - after :])
    old, new = old[before : len(old) - after], new[before : len(new) - after]
    script = _script(old, new)
    middle = _replaced("".join(old), "".join(new)) if script is None else _tidy(_joined(script))
    return [("same", start), *middle, ("same", end)]


def _script(old: list[str], new: list[str]) -> list[Change] | None:
    """The shortest edit script; None where it is long, or takes long to find."""
    furthest, trace = {1: 0}, []
    room = MOST_STEPS + max(len(old), len(new))
    for edits in range(len(old) + len(new) + 1):
        trace.append(dict(furthest))
        for diagonal in range(-edits, edits + 1, 2):
            x = start = _next(furthest, diagonal, edits)
            while x < len(old) and x - diagonal < len(new) and old[x] == new[x - diagonal]:
                x += 1
            furthest[diagonal] = x
            room -= x - start + 1
            if x >= len(old) and x - diagonal >= len(new):
                return list(reversed(list(_walked(old, new, trace))))
        if room < 0:
            break
    return None


def _next(furthest: dict[int, int], diagonal: int, edits: int) -> int:
    """How far into the old text a path of one more edit begins on a diagonal."""
    if diagonal == -edits or (
        diagonal != edits and furthest[diagonal - 1] < furthest[diagonal + 1]
    ):
        return furthest[diagonal + 1]  # by adding a token
    return furthest[diagonal - 1] + 1  # by removing one


def _walked(old: list[str], new: list[str], trace: list[dict[int, int]]) -> Iterator[Change]:
    """The path back from the ends of both texts, last change first."""
    x, y = len(old), len(new)
    for edits in range(len(trace) - 1, -1, -1):
        start = _next(trace[edits], x - y, edits)
        while x > start:
            x, y = x - 1, y - 1
            yield "same", old[x]
        if edits and start == trace[edits].get(x - y + 1):
            y -= 1
            yield "added", new[y]
        elif edits:
            x -= 1
            yield "removed", old[x]


def _joined(changes: Iterable[Change]) -> Iterator[Change]:
    """Pieces of a kind as one, and within a change what was removed before what was added."""
    removed: list[str] = []
    added: list[str] = []
    same: list[str] = []
    for kind, text in changes:
        if not text:
            continue
        if kind == "same":
            yield from _change(removed, added)
            removed, added = [], []
            same.append(text)
            continue
        if same:
            yield "same", "".join(same)
        same = []
        (removed if kind == "removed" else added).append(text)
    yield from _change(removed, added)
    if same:
        yield "same", "".join(same)


def _change(removed: list[str], added: list[str]) -> Iterator[Change]:
    if removed:
        yield "removed", "".join(removed)
    if added:
        yield "added", "".join(added)


def _tidy(changes: Iterable[Change]) -> list[Change]:
    """Changes with hardly a character between them as one, since nobody reads chaff."""
    pieces = list(changes)
    tidied: list[Change] = []
    for place, (kind, text) in enumerate(pieces):
        if kind == "same" and 0 < place < len(pieces) - 1 and _is_chaff(text):
            tidied += _replaced(text, text)
        else:
            tidied.append((kind, text))
    return list(_joined(tidied))


def _is_chaff(text: str) -> bool:
    return len(text) < 4 and sum(map(str.isalnum, text)) < 2 and "\n" not in text
