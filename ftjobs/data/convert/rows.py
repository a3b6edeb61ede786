"""What readers give and shapes take: a row of the source, or why a row could not be read."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the source.

    `place` is its number, from 1, in the source's unit (line, row, item).  `value` is what it
    holds: usually an object, its cells by column or key.  `text` is the JSON that it was read
    from, where there is one, so that chat rows can pass through verbatim.  `note` says what
    was left out of it to read it.  `rows` is how many of the source it stands for, where it was
    put together.
    """

    place: int
    value: Any
    text: str | None = None
    note: str = ""
    rows: int = 1


class Fault(NamedTuple):
    """A row that cannot be read.  `reason` groups such rows; `detail` is about this one."""

    place: int
    reason: str
    detail: str = ""


class UnfitError(Exception):
    """A row that was read but becomes no example; `reason` and `detail` as in `Fault`."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


Example = dict[str, Any]
Note = Callable[[str, str], None]
"""Takes a reason and a detail: something about a row that becomes an example all the same."""


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


class Written(float):
    """A JSON number with a fraction or an exponent that still knows its digits: 1.10, 1e3."""

    __slots__ = ("digits",)

    def __new__(cls, digits: str) -> Written:  # noqa: D102 - float's own
        number = super().__new__(cls, digits)
        number.digits = digits
        return number

    digits: str


class Merged:
    """A spreadsheet cell that a merged range covers: nobody knows what it stands for."""


MERGED = Merged()


def is_missing(value: object) -> bool:
    """Whether a cell holds nothing: null, "", white space, or the NaN of a table."""
    if isinstance(value, str):
        return not value or value.isspace()
    return value is None or value != value  # only NaN differs from itself


def text_of(value: object, what: str) -> str:
    """A cell as text: strings as they are, numbers by their digits, dates as ISO 8601.

    Raises:
        UnfitError: the value has no one text (a list, an object, bytes, a merged cell).
    """
    if isinstance(value, str):
        if "\0" in value:
            raise UnfitError("zero byte in a text", f"the {what}")
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Written):
        return value.digits
    if isinstance(value, dt.datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, int | float | decimal.Decimal | dt.date | dt.time | dt.timedelta):
        return str(value)
    if value is MERGED:
        raise UnfitError("merged cells", f"the {what} is in a cell that is merged with another")
    raise UnfitError("value is no text", f"the {what} is {kind_of(value)}")


def kind_of(value: object) -> str:
    """What a value is, in words that show nothing of it."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "null"
    if isinstance(value, str):
        return "a string"
    return "a boolean" if isinstance(value, bool) else f"a value of type {type(value).__name__}"
