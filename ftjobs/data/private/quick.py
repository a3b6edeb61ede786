"""The quick question: could there be anything private in these bytes, and of which topic?

Every secret begins with, and every number contains, one of about a hundred short strings, once
digits are all written 0.  `bytes.translate` writes them so, and the literal search of Rust's regex
crate, which pydantic brings for its patterns, looks for many strings at once.  A yes may be
mistaken; a no is certain, whatever is escaped.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import chain
from typing import Literal

from ftjobs.data.private.keys import NAMES, SERVICES
from ftjobs.data.search import finder

Topic = Literal["keys", "names", "numbers", "addresses"]
_Search = Callable[[bytes], bool]

_CHUNK = 2**14  # bytes that are asked about at once


def _shapes() -> bytes:
    """A table for bytes.translate: digits become 0, and what is not ASCII one of six marks.

    The marks tell full-width digits, @ and +, and the dashes and brackets of numbers, from most
    other characters.
    """
    table = bytearray(range(256))
    table[0x30:0x3A] = b"0" * 10
    table[0x80:] = b"\1" * 128
    table[0x90:0x9A] = b"\5" * 10
    for byte, mark in ((0xEF, 2), (0xBC, 3), (0xA0, 4), (0x8B, 6)):
        table[byte] = mark
    return bytes(table)


_SHAPE = _shapes()

# The search is at its best with few strings, none shorter than three characters or beginning with
# three that are frequent.
_RARER = {"github_pat_": "b_pat_", "pypi-AgE": "i-AgE", "pplx-": "plx-"}
_SHORT = tuple(f"{prefix}{char}" for prefix in ("SK", "AC") for char in "0abcdef")
_DIGITS = ("0 0000", "0-0-0000", "0-00-0000", "0-000-0000", "0-0000-0000", "0-000000-0")
_BRACKETS = ("0)0", "0) 0", "0(0")
_WIDE = ("\2\3\5", "\2\3\4", "\2\3\0060", "0\1\1\0050", "0\2\3\0010", "0\2\3\1 0")
_LONG = ("0" * 10,)
_AT = r"@[A-Za-z0-]+(?:\.[A-Za-z0-]|:0)"
_PLUS = r"\+0[0 ().\x01-\x06-]{7}"
_HIDDEN = (  # escapes of what the other patterns are made of; each begins with one string
    r"\\u00(?:2[0138-9a-fA-F]|3[0-9aA]|4[0-9a-fA-F]|5[0-9aAfF]|6[1-9a-fA-F]|7[0-9aA])",
    r"\\uff(?:1[0-9]|20|0b|0[89d] ?[0-9])",
    r"\\uFF(?:1[0-9]|20|0B|0[89D] ?[0-9])",
    r"\\u201[0-5] ?[0-9]",
    r"\\u2212 ?[0-9]",
)
_ASCII = bytes(range(0x80)) + b"?" * 0x80


def _beginnings() -> list[str]:
    """The shapes of what FT701, FT702 and FT703 hold, but for the shortest."""
    prefixes = chain.from_iterable(service.prefixes for service in SERVICES)
    shapes = {_RARER.get(one, re.sub("[0-9]", "0", one).partition("/")[0]) for one in prefixes}
    shapes = {one for one in shapes if len(one) > 2} | {"PRIVATE KEY", "eyJ"}
    return sorted(one for one in shapes if not any(one[:n] in shapes for n in range(len(one))))


@cache
def _topics() -> Mapping[Topic, tuple[_Search, ...]]:
    return {
        "keys": (_any_of(*_beginnings()), _any_of(*_SHORT)),
        "names": (_any_of(*NAMES),),
        "numbers": (_any_of(*_DIGITS, *_BRACKETS, *_WIDE), _any_of(*_LONG), finder(_PLUS)),
        "addresses": (finder(_AT),),
    }


@cache
def _everything() -> tuple[_Search, ...]:
    return tuple(chain.from_iterable(_topics().values()))


@cache
def _escapes() -> tuple[_Search, ...]:
    return tuple(map(finder, _HIDDEN))


@cache
def _escaped() -> _Search:
    return _any_of("\\u")


def _any_of(*strings: str) -> _Search:
    return finder("|".join(map(re.escape, strings)))


def topics(text: bytes) -> frozenset[Topic]:
    """What kinds of secrets and personal data a text without escapes may hold."""
    shape = text.translate(_SHAPE)
    return frozenset(topic for topic, searches in _topics().items() if _found(searches, shape))


def suspicious(data: bytes) -> bool:
    """Whether `inspect` may find something in a line, or in any of several lines.

    One to two nanoseconds a byte.
    """
    shape = data.translate(_SHAPE)
    if _found(_everything(), shape):
        return True
    return _escaped()(shape) and _found(
        _escapes(), data if data.isascii() else data.translate(_ASCII)
    )


def _found(searches: Iterable[_Search], data: bytes) -> bool:
    for search in searches:  # noqa: SIM110 - a generator costs more than a search
        if search(data):
            return True
    return False


def candidates(block: bytes) -> list[int]:
    """Where those lines of a block begin in which `inspect` may find something, in bytes."""
    found: list[int] = []
    start = 0
    while start < len(block):
        end = block.find(b"\n", start + _CHUNK) + 1 or len(block)
        if suspicious(chunk := block[start:end]):
            found += _suspicious_lines(chunk, start)
        start = end
    return found


def _suspicious_lines(chunk: bytes, start: int) -> Iterator[int]:
    for line in io.BytesIO(chunk):
        if suspicious(line):
            yield start
        start += len(line)
