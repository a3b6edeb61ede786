"""Questions and answers in columns: which column is which, and the example that a row becomes.

A row may hold a better answer and a worse one, which makes a preference, or be a turn of a
conversation, whose parent it names.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ftjobs.data.convert.rows import Example, Note, Shape, UnfitError, is_missing, text_of
from ftjobs.data.scan import is_plain
from ftjobs.errors import ConfigError

PAIRS: tuple[tuple[str, str], ...] = (
    ("instruction", "output"),
    ("prompt", "completion"),
    ("question", "answer"),
    ("instruction", "response"),
    ("prompt", "response"),
    ("query", "response"),
    ("user", "assistant"),
    ("input", "output"),
    ("指示", "出力"),
    ("指示", "応答"),
    ("質問", "回答"),
    ("入力", "出力"),
)
"""Columns of question and answer that are known by their names, in any case; the first wins."""

PREFERENCES: tuple[tuple[str, str], ...] = (
    ("chosen", "rejected"),
    ("chosen_response", "rejected_response"),
)
"""Columns of two answers, the better one first, beside one of the prompts above."""

ROLES = ("prompt", "completion", "rejected", "input", "history", "system", "id", "parent")
"""What `columns` may name a column for."""

_MANY = ("input",)  # roles that several columns may have
_THREAD = ("id", "parent")  # roles that make a row a turn

Columns = Mapping[str, tuple[str, ...]]
"""The columns of each role."""

_WORD = re.compile(r"[^\W\d_]\w{0,15}")  # shorter than ASCII's: some scripts have no spaces


def pair(columns: Columns, *, name: str = "prompt-completion") -> Shape:
    """The shape of a question and its answer.

    `columns` says which column holds the "prompt", the "completion" and, where there are any,
    the "input" (one or more, joined to the prompt by blank lines, as Alpaca does), the "history"
    (a list of earlier questions and answers), the "system" message, and the "id" of the row and
    of its "parent", where one turn of a conversation follows the other.  With an answer that was
    "rejected" for the completion, rows are preferences.
    """

    def make(row: Mapping[str, Any], note: Note) -> Example:
        cells = {role: row[named[0]] for role, named in columns.items() if named[0] in row}
        messages = [] if is_missing(cells.get("system")) else [_message("system", cells, note)]
        for asked, answered in _history(cells.get("history")):
            messages += [_message("prompt", asked, note), _message("completion", answered, note)]
        question = _message("prompt", cells, note)
        for column in columns.get("input", ()):
            if not is_missing(row.get(column)):
                more = _message("input", {"input": row[column]}, note)
                question["content"] += "\n\n" + more["content"]
        before, answer = [*messages, question], _message("completion", cells, note)
        if "rejected" in columns:
            worse = _message("rejected", cells, note)
            return {
                "input": {"messages": before},
                "preferred_output": [answer],
                "non_preferred_output": [worse],
            }
        return {"messages": [*before, answer]}

    ends = [role for role in ("prompt", "completion", "rejected") if role in columns]
    title = [f"{_called(role)} from {titled(columns[role][0])}" for role in ends]
    thread = tuple(columns[role][0] for role in _THREAD if role in columns)
    uses = [name for role, names in columns.items() if role not in _THREAD for name in names]
    return Shape(name, ", ".join(title), tuple(uses), make, thread)


_WHO = {
    "system": "system",
    "prompt": "user",
    "input": "user",
    "completion": "assistant",
    "rejected": "assistant",
}


def _called(role: str) -> str:
    return {"completion": "answer", "rejected": "rejected answer"}.get(role, role)


def _message(role: str, cells: Mapping[str, Any], note: Note) -> dict[str, Any]:
    value, what = cells.get(role), _called(role)
    if is_missing(value):
        raise UnfitError(f"empty {what}" if role in cells else f"no {what}")
    if not isinstance(value, str):
        note("value that is no string, written as text", f"the {what}")
    return {"role": _WHO[role], "content": text_of(value, what)}


def _history(value: object) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    if is_missing(value):
        return []
    if not isinstance(value, list) or not all(isinstance(x, list) and len(x) == 2 for x in value):
        raise UnfitError("history is no list of pairs")
    return [({"prompt": asked}, {"completion": answered}) for asked, answered in value]


def pair_in(columns: Collection[str]) -> Shape | None:
    """The shape of question and answer that these columns have by their names, if any."""
    by_name: dict[str, str] = {}
    for column in columns:
        by_name.setdefault(column.strip().casefold(), column)
    for prompt, completion in PAIRS:
        if prompt in by_name and completion in by_name:
            alpaca = (prompt, completion) == PAIRS[0]
            roles = {"prompt": prompt, "completion": completion, "system": "system"}
            if prompt == "instruction":
                roles |= {"input": "input", "history": "history"}
            if {"id", "parent_id"} <= by_name.keys():
                roles |= {"id": "id", "parent": "parent_id"}
            # Rows of JSON differ in their keys: those that are not there yet are named too.
            found = {role: (by_name.get(name, name),) for role, name in roles.items()}
            return pair(found, name="alpaca" if alpaca else "prompt-completion")
    return _preferences_in(by_name)


def _preferences_in(by_name: Mapping[str, str]) -> Shape | None:
    """The shape of a question with a better and a worse answer, by lower-case names of columns."""
    prompt = next((prompt for prompt, _ in PAIRS if prompt in by_name), None)
    for chosen, rejected in PREFERENCES:
        if prompt and chosen in by_name and rejected in by_name:
            roles = {"prompt": prompt, "completion": chosen, "rejected": rejected}
            roles |= {"system": "system"} | ({"input": "input"} if prompt != "input" else {})
            return pair({role: (by_name.get(name, name),) for role, name in roles.items()})
    return None


def pair_of(wanted: Columns, columns: Sequence[str] | None) -> Shape:
    """The shape of question and answer whose columns a person has named.

    Raises:
        ConfigError: a role is unknown, has more columns than it can, or lacks the one that it
            needs; or there is no such column.
    """
    for role in wanted.keys() - set(ROLES):
        raise ConfigError(f"unknown role {role!r} of a column", hint=f"Roles: {', '.join(ROLES)}.")
    for role in ("prompt", "completion"):
        if role not in wanted:
            raise ConfigError(
                f"no column is named for the {role}",
                hint="Name both: the prompt's and the answer's.",
            )
    threads = [role for role in _THREAD if role in wanted]
    if len(threads) == 1:
        raise ConfigError(
            "conversations need two columns, a row's id and its parent's", hint="Name both."
        )
    if threads and "rejected" in wanted:
        raise ConfigError(
            "preferences are not put together to conversations",
            hint="Leave the columns of ids out.",
        )
    if threads and columns is None:
        raise ConfigError(
            "only the rows of a table are put together to conversations",
            hint="Tables are CSV, TSV, Excel and Parquet.",
        )
    for role, names in wanted.items():
        if len(names) != 1 and (role not in _MANY or not names):
            raise ConfigError(f"{len(names)} columns are named for the {role}", hint="Name one.")
    if columns is None:
        return pair(wanted)
    return pair({r: tuple(_column(name, columns) for name in each) for r, each in wanted.items()})


def _column(name: str, columns: Sequence[str]) -> str:
    if name in columns:
        return name
    for column in columns:
        if column.strip().casefold() == name.strip().casefold():
            return column
    raise ConfigError(f"there is no column {name[:40]!r}", hint=listed(columns))


def titled(name: str) -> str:
    """A column's name as a message may show it: quoted if it is a word, in any script.

    Otherwise only its size: without a header, the names are the first row's texts.
    """
    is_word = is_plain(name) or _WORD.fullmatch(name) is not None
    return f'"{name}"' if is_word else f"a name of {len(name)} characters"


def listed(columns: Collection[str]) -> str:
    """The columns as a hint may show them: a name that may be training text only by its size."""
    names = [f"{at}: {titled(name)}" for at, name in enumerate(columns, start=1)]
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return f"Columns: {', '.join(names[:20])}{more}."
