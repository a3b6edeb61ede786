"""The fastest tier: rows that are plain conversations, a whole block of lines at a time.

Almost every row of almost every file is a list of messages with a role, a text and perhaps a
weight.  Such a row is decoded with its texts left as raw JSON, and then written again from its
roles and texts.  If that gives the block back byte for byte, no key was given twice, left out or
added; and as only allowed successions of roles can be written, the roles are in order.  All of
it runs in loops of C.  What is not written back the same is left to the other tiers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from operator import attrgetter, itemgetter
from typing import Any, ClassVar, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

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
_content, _weight, _two = attrgetter("content"), attrgetter("weight"), itemgetter(slice(2))
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
_SAYS = frozenset({b"", *(b'"%c' % code for code in range(33, 127) if chr(code) not in '"\\')})
"""How a text begins that is surely not blank: a quote and a visible character.  Or an end."""


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


_STYLES = {
    (spaced, end): (style.before(), style.after())
    for end in ("\n", "\r\n")
    for spaced, style in (
        (True, _Style(", ", ": ", end)),
        (False, _Style(",", ":", end)),
    )
}

Texts = list[bytes]
"""The texts of a row's messages, as JSON strings in their usual spelling."""


def plain_rows(
    lines: Sequence[bytes], may_hold_faults: Callable[[bytes], bool]
) -> list[Texts | None]:
    """The texts of each line that is a sound plain row; None for every other line.

    `lines` come without line feeds.  `may_hold_faults` is asked about one line or many, and must
    not miss a fault of their content.
    """
    rows = _decoded(lines)
    plain = [at for at, row in enumerate(rows) if row is not None and row.tools is UNSET]
    found: list[Texts | None] = [None] * len(lines)
    if plain:
        some = _Some([rows[at] for at in plain], [lines[at] for at in plain])  # type: ignore[misc]
        for at, texts in zip(plain, some.texts(may_hold_faults), strict=True):
            found[at] = texts
    return found


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
        if finder(_RESPELT)(b"".join(texts)):
            texts = [_usual(text) if finder(_RESPELT)(text) else text for text in texts]
        rest = iter(texts)
        return [_before_end(rest, len(row.messages)) for row in self.rows]

    def _sound(self, messages: list[Any], may_hold_faults: Callable[[bytes], bool]) -> Texts | None:
        """The texts of all messages, if nothing is to be reported of any row."""
        try:
            texts = list(map(bytes, map(_content, messages)))
        except TypeError:  # an assistant without content
            return None
        data = b"\n".join([*self.lines, b""])
        if _written(messages, texts, _style(self.lines[0])) != data:
            return None
        visible = _SAYS.issuperset(map(_two, texts))
        if not visible and not all(_says(text) for text in texts if text[:2] not in _SAYS):
            return None
        if not data.isascii() and not _is_utf8(data):
            return None
        if may_hold_faults(data) or not all(map(_is_trained, self.rows)):
            return None
        return texts


def _usual(text: bytes) -> bytes:
    """The same string as most writers spell it."""
    return _encode(_text(text))


def _before_end(texts: Iterator[bytes], count: int) -> Texts:
    row = list(islice(texts, count))
    next(texts)
    return row


_Pieces = tuple[dict[tuple[type, type], bytes], dict[Weight, bytes]]


def _style(line: bytes) -> _Pieces:
    """How the line seems to be written."""
    end = "\r\n" if line.endswith(b"\r") else "\n"
    return _STYLES[line.startswith(b'{"messages": '), end]


def _written(messages: list[Any], texts: list[bytes], style: _Pieces) -> bytes:
    """The lines as this style would write them; nothing if the roles cannot be written."""
    before, after = style
    kinds = list(map(type, messages))
    starts = map(before.__getitem__, zip(chain((_End,), kinds), kinds, strict=False))
    ends = map(after.__getitem__, map(_weight, messages))
    try:
        return b"".join(chain.from_iterable(zip(starts, texts, ends, strict=True)))
    except KeyError:  # somebody speaks out of turn
        return b""


def _says(text: bytes) -> bool:
    """Whether it is a string that is not blank."""
    if not text.startswith(b'"'):
        return False
    try:
        return bool(_text(text).strip())
    except ValueError:  # not UTF-8
        return False


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_trained(row: _Row) -> bool:
    return row.messages[-1].weight != 0 or any(
        type(message) is _Assistant and message.weight != 0 for message in row.messages
    )
