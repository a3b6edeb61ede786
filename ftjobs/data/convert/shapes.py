"""A row → one example of chat JSONL, for every shape of row that is known.

A shape takes what it uses from a row and leaves the rest alone; nothing is trimmed, joined or
reworded.  What becomes no example is an `UnfitError` with a reason that groups such rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ftjobs.data.convert.chatgpt import conversation
from ftjobs.data.convert.json_rows import one_line, parse
from ftjobs.data.convert.rows import Row, UnfitError, is_missing, kind_of, text_of
from ftjobs.data.convert.sharegpt import turns
from ftjobs.data.scan import is_plain
from ftjobs.errors import ConfigError

Example = dict[str, Any]
Note = Callable[[str, str], None]
"""Takes a reason and a detail: something about a row that becomes an example all the same."""

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

ROLES = ("prompt", "completion", "input", "history", "system", "id", "parent")
"""What `columns` may name a column for."""

_MANY = ("input",)  # roles that several columns may have
_THREAD = ("id", "parent")  # roles that make a row a turn

Columns = Mapping[str, tuple[str, ...]]
"""The columns of each role."""

_WORD = re.compile(r"[^\W\d_]\w{0,15}")  # shorter than ASCII's: some scripts have no spaces

_CHAT_KEYS = ("messages", "tools", "parallel_tool_calls", "functions")
_PREFERENCE_KEYS = ("input", "preferred_output", "non_preferred_output")


@dataclass(frozen=True, slots=True)
class Shape:
    """A way to write conversations.

    `name` is what `--from` calls it, `title` says in words what was found, `uses` are the
    columns that it reads, and `make` turns a row's value into an example.  `thread` are the
    columns of a row's id and its parent's, where each row of a table is a turn of a conversation.
    """

    name: str
    title: str
    uses: tuple[str, ...]
    make: Callable[[Mapping[str, Any], Note], Example]
    thread: tuple[str, ...] = ()


# --- question and answer ----------------------------------------------------------------------


def pair(columns: Columns, *, name: str = "prompt-completion") -> Shape:
    """The shape of a question and its answer.

    `columns` says which column holds the "prompt", the "completion" and, where there are any,
    the "input" (one or more, joined to the prompt by blank lines, as Alpaca does), the "history"
    (a list of earlier questions and answers), the "system" message, and the "id" of the row and
    of its "parent", where one turn of a conversation follows the other.
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
        return {"messages": [*messages, question, _message("completion", cells, note)]}

    ends = ("prompt", "completion")
    title = [f"{_called(role)} from {titled(columns[role][0])}" for role in ends]
    thread = tuple(columns[role][0] for role in _THREAD if role in columns)
    uses = [name for role, names in columns.items() if role not in _THREAD for name in names]
    return Shape(name, ", ".join(title), tuple(uses), make, thread)


_WHO = {"system": "system", "prompt": "user", "input": "user", "completion": "assistant"}


def _called(role: str) -> str:
    return "answer" if role == "completion" else role


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


# --- conversations ----------------------------------------------------------------------------


def _sharegpt(row: Mapping[str, Any], note: Note) -> Example:
    return turns(row, note)


def _chatgpt(row: Mapping[str, Any], note: Note) -> Example:
    return {"messages": conversation(row, note)}


def _chat(row: Mapping[str, Any], note: Note) -> Example:  # noqa: ARG001 - as every shape
    keys = _CHAT_KEYS if "messages" in row else _PREFERENCE_KEYS
    example = {key: _plain(row[key]) for key in keys if not is_missing(row.get(key))}
    if not example:
        raise UnfitError("no messages")
    return example


def _plain(value: Any) -> Any:
    """A nested column: JSON in a string is read, the nulls of a table are left out.

    In a table every object has the keys of all.
    """
    if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
        try:
            return parse(value)
        except (ValueError, RecursionError):
            raise UnfitError("column holds no valid JSON") from None
    return _without_nulls(value)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value


_NESTED: tuple[tuple[frozenset[str], Shape], ...] = (
    (
        frozenset({"mapping", "current_node"}),
        Shape("chatgpt", "ChatGPT conversations", ("mapping", "current_node"), _chatgpt),
    ),
    (
        frozenset({"conversations"}),
        Shape(
            "sharegpt", "ShareGPT conversations", ("conversations", "system", "tools"), _sharegpt
        ),
    ),
    (frozenset({"messages"}), Shape("chat", "chat messages", _CHAT_KEYS, _chat)),
    (
        frozenset({"preferred_output", "non_preferred_output"}),
        Shape("chat", "preference pairs", _PREFERENCE_KEYS, _chat),
    ),
)
PAIR_SHAPES = ("alpaca", "prompt-completion")
"""The names of the shapes that are made of columns."""

SHAPES = ("alpaca", "chat", "chatgpt", "prompt-completion", "sharegpt")
"""The names of all shapes."""


def shape_in(columns: Collection[str]) -> Shape | None:
    """The shape that a row with these columns or keys has; None if none is known."""
    for keys, shape in _NESTED:
        if keys <= set(columns):
            return shape
    return pair_in(columns)


def shape_named(name: str, columns: Collection[str]) -> Shape | None:
    """The shape of that name, if a row with these columns can have it."""
    for _, shape in _NESTED:
        if shape.name == name and set(shape.uses[:1]) & set(columns):
            return shape
    found = pair_in(columns) if name in PAIR_SHAPES else None
    return None if found is None or (name == "alpaca" and found.name != name) else found


def example_of(row: Row, shape: Shape, note: Note, *, system: str | None) -> Example | str:
    """The example that a row becomes; text where the row is one already and stays as it is.

    Raises:
        UnfitError: it becomes none.
    """
    if not isinstance(row.value, dict):
        raise UnfitError("row is no object", kind_of(row.value))
    if shape.name == "chat" and row.text is not None and system is None:
        if not row.value.keys() & {*_CHAT_KEYS[:1], *_PREFERENCE_KEYS[1:]}:
            raise UnfitError("no messages")
        return one_line(row.text)
    example = shape.make(row.value, note)
    if system is not None:
        _open_with(system, example, note)
    return example


def _open_with(system: str, example: Example, note: Note) -> None:
    holder = example if "messages" in example else example.get("input")
    messages = holder.get("messages") if isinstance(holder, dict) else None
    if not isinstance(messages, list):
        return  # no example, as the check that follows says
    if any(
        isinstance(one, dict) and one.get("role") in ("system", "developer") for one in messages
    ):
        note("system message of its own kept", "")
        return
    messages.insert(0, {"role": "system", "content": system})
