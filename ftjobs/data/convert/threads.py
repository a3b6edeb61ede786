"""Rows that are turns, each naming its parent → one row per conversation.

H2O LLM Studio and OpenAssistant keep conversations like this: a row holds a question, its answer,
an id, and the id of the row before it.  A row may have several children, so that conversations
share their beginning.  Each answer is learned once: in the first conversation that holds it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ftjobs.data.convert.rows import Fault, Row, UnfitError, is_missing, text_of

MOST = 1000
"""Turns of a conversation; a longer one is a circle, or as good as one."""

Key = str | int
"""A row's id, or the place of a row that has none."""

Make = Callable[[Row], list[dict[str, Any]]]
"""The messages of a row: perhaps the system's, then question and answer.  May raise UnfitError."""

_WHOLE = re.compile(r"(-?\d+)\.0+")  # how a table with empty cells writes an integer


@dataclass(frozen=True, slots=True)
class Turn:
    """A row: its place in the source, the id of its parent, and its messages."""

    place: int
    parent: str | None
    messages: list[dict[str, Any]]


def threaded(
    rows: Iterable[Row | Fault],
    columns: Sequence[str],
    make: Make,
    note: Callable[[str, int], None],
) -> Iterator[Row | Fault]:
    """Each conversation as a row of messages, in the order of their last turns.

    All rows are in memory before the first conversation comes.  A row whose parent is nowhere
    begins a conversation, and is noted; one whose parent had to be dropped is dropped too.

    Args:
        rows: the turns.
        columns: those of a row's id and its parent's.
        make: the messages of a turn.
        note: told what there is to know about a row that is used, and its place.
    """
    turns: dict[Key, Turn] = {}
    dropped: set[Key] = set()
    for row in rows:
        if isinstance(row, Fault):
            yield row
            continue
        key: str | None = None
        try:
            key, parent = (_id(row.value, column) for column in columns)
            if key in turns:
                raise UnfitError("id that an earlier row has")
            turns[key or row.place] = Turn(row.place, parent, make(row))
        except UnfitError as unfit:
            if key is not None and key not in turns:
                dropped.add(key)
            yield Fault(row.place, unfit.reason, unfit.detail)
    yield from _conversations(turns, dropped, note)


def _conversations(
    turns: Mapping[Key, Turn], dropped: set[Key], note: Callable[[str, int], None]
) -> Iterator[Row | Fault]:
    used: set[Key] = set()
    parents = {turn.parent for turn in turns.values()}
    for last in turns:
        if last in parents:
            continue
        path = _path(turns, last)
        fresh = [key for key in path if key not in used]
        first = turns[path[0]]
        if len(path) > MOST:
            continue
        used.update(fresh)
        if first.parent in dropped:
            yield from (Fault(turns[key].place, "turn after a dropped one") for key in fresh)
            continue
        if first.parent is not None and path[0] in fresh:
            note("parent that is no row: the conversation begins here", first.place)
        learned = len(path) - len(fresh)
        messages = _messages([turns[key] for key in path], learned=learned, note=note)
        yield Row(turns[last].place, {"messages": messages}, rows=len(fresh))
    for key, turn in turns.items():
        if key not in used:
            yield Fault(turn.place, f"conversation with no beginning within {MOST:,} turns")


def _path(turns: Mapping[Key, Turn], last: Key) -> list[Key]:
    """The keys of a conversation, from its first turn on; more than `MOST` if it has no end."""
    path = [last]
    while len(path) <= MOST:
        parent = turns[path[-1]].parent
        if parent is None or parent not in turns:
            break
        path.append(parent)
    return path[::-1]


def _messages(
    turns: list[Turn], *, learned: int, note: Callable[[str, int], None]
) -> list[dict[str, Any]]:
    """The messages of a conversation.  The answers of its first `learned` turns have weight 0."""
    messages: list[dict[str, Any]] = []
    for at, turn in enumerate(turns):
        for message in turn.messages:
            if message["role"] == "system" and at:
                if message != messages[0]:
                    note("system message within a conversation left out", turn.place)
            elif message["role"] == "assistant" and at < learned:
                messages.append({**message, "weight": 0})
            else:
                messages.append(message)
    return messages


def _id(row: Mapping[str, Any], column: str) -> str | None:
    """An id as text, None where there is none.  3, "3" and "3.0" are one."""
    value = row.get(column)
    if is_missing(value):
        return None
    text = text_of(value, "id").strip()
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text
