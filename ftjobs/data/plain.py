"""The fastest tier: rows that are plain conversations, a whole block of lines at a time.

Almost every row of almost every file is a list of messages with a role, a text and perhaps a
weight.  Such a row is decoded with its texts left as raw JSON, and then written again from its
roles and texts.  If that gives the block back byte for byte, no key was given twice, left out or
added; and as only allowed successions of roles can be written, the roles are in order.  All of
it runs in loops of C.  What is not written back the same is left to the other tiers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import chain, islice
from operator import attrgetter
from typing import Any, ClassVar, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from ftjobs.data.scan import MAX_VALUES
from ftjobs.data.search import finder

Weight = Literal[0, 1, "end"] | UnsetType


class _Closed(Struct, forbid_unknown_fields=True, gc=False):
    pass


class _System(_Closed, tag_field="role", tag="system"):
    content: Raw
    weight: ClassVar[Weight] = UNSET


class _User(_Closed, tag_field="role", tag="user"):
    content: Raw
    weight: ClassVar[Weight] = UNSET


class _Assistant(_Closed, tag_field="role", tag="assistant"):
    content: Raw
    weight: Literal[0, 1] | UnsetType = UNSET
    tool_calls: Raw | UnsetType = UNSET


class _Other(_Closed, tag_field="role", tag="tool"):
    """Known here only so that a block with calls of tools can be decoded as a whole."""

    content: Raw
    tool_call_id: Raw
    weight: ClassVar[Weight] = UNSET


class _End(Struct):
    """Stands behind the last message of a row, and before the first of the next."""

    content: ClassVar[bytes] = b""
    weight: ClassVar[Weight] = "end"


class _Row(_Closed):
    messages: list[_System | _User | _Assistant | _Other]
    tools: Raw | UnsetType = UNSET
    parallel_tool_calls: Raw | UnsetType = UNSET


_END = _End()
_decoder = msgspec.json.Decoder(_Row)
_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode
_RESPELT = r"\\u|\\/"  # a character as an escape that needs none, or may need none
_MALFORMED = (ValueError, RecursionError, OverflowError)  # msgspec's errors are ValueErrors
_content, _weight = attrgetter("content"), attrgetter("weight")
_MOST_MESSAGES = MAX_VALUES // 5  # each holds up to four values; `scan` counts those of longer rows
_FOLLOWS: tuple[tuple[type, type], ...] = (
    (_End, _System),
    (_End, _User),
    (_System, _System),
    (_System, _User),
    (_User, _User),
    (_User, _Assistant),
    (_Assistant, _User),
    (_Assistant, _End),
)
"""Who may speak after whom, in a row with nothing to report."""

_ROLES: dict[type, str] = {_System: "system", _User: "user", _Assistant: "assistant"}
_INITIALS = {kind: role[:1].encode() for kind, role in _ROLES.items()}


class _Style(NamedTuple):
    """How a writer of JSON Lines puts white space, and ends a line."""

    comma: str
    colon: str
    end: str

    def before(self) -> dict[tuple[type, type], bytes]:
        """What stands between the texts of two messages, by who spoke before and who speaks."""
        return {pair: self._between(*pair).encode() for pair in _FOLLOWS}

    def _between(self, spoke: type, speaks: type) -> str:
        if speaks is _End:
            return "]}" + self.end
        start = f'{{"messages"{self.colon}[' if spoke is _End else self.comma
        role = f'"role"{self.colon}"{_ROLES[speaks]}"'
        return f'{start}{{{role}{self.comma}"content"{self.colon}'

    def after(self) -> dict[Weight, bytes]:
        """What stands behind the text of a message, by its weight."""
        weighted = f'{self.comma}"weight"{self.colon}'
        return {
            UNSET: b"}",
            0: f"{weighted}0}}".encode(),
            1: f"{weighted}1}}".encode(),
            "end": b"",
        }


class _Pieces(NamedTuple):
    """What a style writes around texts, and how to find a text that may be blank or no string."""

    before: Mapping[tuple[type, type], bytes]
    after: Mapping[Weight, bytes]
    may_say_nothing: Callable[[bytes], bool]


@cache
def _pieces(*, spaced: bool, end: str) -> _Pieces:
    style = _Style(", ", ": ", end) if spaced else _Style(",", ":", end)
    space = " " if spaced else ""
    odd = "|".join(f'"content":{space}{start}' for start in _STARTS)
    return _Pieces(style.before(), style.after(), finder(odd))


_STARTS = (
    *("n", "t", "f", r"\{", r"\[", "-", *"0123456789"),
    *(
        f'"{char}'
        for char in ('"', " ", r"\\", *map(chr, (0x85, 0xA0, 0x1680, *range(0x2000, 0x200B))))
    ),
    *(f'"{chr(code)}' for code in (0x2028, 0x2029, 0x202F, 0x205F, 0x3000)),
)
"""How a content begins, as a regular expression, that is no string or may be a blank one."""

Text = bytes | Raw
Texts = list[Text]
"""The initials of a row's roles, and the texts of its messages, as JSON strings in their usual
spelling.
"""


def plain_rows(
    lines: Sequence[bytes], may_hold_faults: Callable[[bytes], bool]
) -> list[Texts | None]:
    """The texts of each line that is a sound plain row; None for every other line.

    `lines` come without line feeds.  `may_hold_faults` is asked about one line or many, and must
    not miss a fault of their content.
    """
    rows = _decoded(lines)
    plain = [at for at, row in enumerate(rows) if row is not None and _is_plain(row)]
    found: list[Texts | None] = [None] * len(lines)
    if plain:
        some = _Some([rows[at] for at in plain], [lines[at] for at in plain])  # type: ignore[misc]
        for at, texts in zip(plain, some.texts(may_hold_faults), strict=True):
            found[at] = texts
    return found


def _is_plain(row: _Row) -> bool:
    return row.tools is UNSET and len(row.messages) <= _MOST_MESSAGES


def _decoded(lines: Sequence[bytes]) -> list[_Row | None]:
    """Each line as far as it can be a plain row."""
    try:
        return list(map(_decoder.decode, lines))
    except _MALFORMED:
        return list(map(_decoded_line, lines))


def _decoded_line(line: bytes) -> _Row | None:
    try:
        return _decoder.decode(line)
    except _MALFORMED:
        return None


class _Some(NamedTuple):
    """Rows that may be plain, and their lines."""

    rows: list[_Row]
    lines: list[bytes]

    def texts(self, may_hold_faults: Callable[[bytes], bool]) -> list[Texts | None]:
        """Look at all of them at once; if that is not good, at each alone."""
        messages: list[Any] = []
        for row in self.rows:
            messages += row.messages
            messages.append(_END)
        texts = self._sound(messages, may_hold_faults)
        if texts is None:
            if len(self.rows) == 1:
                return [None]
            alone = (_Some([row], [line]) for row, line in zip(*self, strict=True))
            return [one for some in alone for one in some.texts(may_hold_faults)]
        rest = iter(texts)
        return [[_roles(row), *_before_end(rest, len(row.messages))] for row in self.rows]

    def _sound(self, messages: list[Any], may_hold_faults: Callable[[bytes], bool]) -> Texts | None:
        """The texts of all messages, if nothing is to be reported of any row."""
        texts: Texts = list(map(_content, messages))
        data = b"\n".join([*self.lines, b""])
        pieces = _style(self.lines[0])
        sound = (
            _written(messages, texts, pieces) == data
            and (not pieces.may_say_nothing(data) or all(map(_says, texts)))
            and all(map(_is_utf8, self.lines))
            and not may_hold_faults(data)
            and all(map(_is_trained, self.rows))
        )
        if sound and finder(_RESPELT)(data):
            texts = [_usual(text) for text in texts]
        return texts if sound else None


def _usual(text: Text) -> Text:
    """The same string as most writers spell it."""
    respelt = isinstance(text, Raw) and finder(_RESPELT)(bytes(text))
    return _encode(_text(text)) if respelt else text


def _roles(row: _Row) -> bytes:
    return b"".join([_INITIALS[type(message)] for message in row.messages])


def _before_end(texts: Iterator[Text], count: int) -> Texts:
    row = list(islice(texts, count))
    next(texts)
    return row


def _style(line: bytes) -> _Pieces:
    """How the line seems to be written."""
    end = "\r\n" if line.endswith(b"\r") else "\n"
    return _pieces(spaced=line.startswith(b'{"messages": '), end=end)


def _written(messages: list[Any], texts: Texts, pieces: _Pieces) -> bytes:
    """The lines as this style would write them; nothing if they cannot be written so."""
    kinds = list(map(type, messages))
    turns = zip(chain((_End,), kinds), kinds, strict=False)
    starts = map(pieces.before.__getitem__, turns)
    ends = map(pieces.after.__getitem__, map(_weight, messages))
    try:
        return b"".join(chain.from_iterable(zip(starts, texts, ends, strict=True)))
    except (KeyError, TypeError):  # somebody speaks out of turn, or an assistant without content
        return b""


def _says(text: Text) -> bool:
    """Whether it is a string that is not blank; or stands for the end of a row."""
    try:
        return isinstance(text, bytes) or bool(_text(text).strip())
    except ValueError:  # no string, or not UTF-8
        return False


def _is_utf8(line: bytes) -> bool:
    if line.isascii():
        return True
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_trained(row: _Row) -> bool:
    return row.messages[-1].weight != 0 or any(
        type(message) is _Assistant and message.weight != 0 for message in row.messages
    )
