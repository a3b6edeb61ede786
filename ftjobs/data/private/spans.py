"""What the finders of secrets and personal data share: spans, their kinds, and judging values."""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import pairwise
from typing import NamedTuple


class Kind(NamedTuple):
    """Something private: `label` replaces it, and messages call it `name`."""

    code: str
    label: str
    name: str


class Span(NamedTuple):
    """Where something private stands: [start, end) in characters.  `hint` is a public prefix."""

    start: int
    end: int
    kind: Kind
    hint: str = ""


def words(text: str) -> frozenset[str]:
    """The words of a table that is written as text."""
    return frozenset(text.split())


def apart(text: str, start: int, end: int) -> bool:
    """Whether text[start:end] is not the middle of a longer word or number in ASCII."""
    before, after = text[max(0, start - 1) : start], text[end : end + 1]
    inside = before.isascii() and (before.isalnum() or before == "_")
    return not inside and not (after.isascii() and after.isalnum())


_MADE_UP = re.compile(
    r"example|sample|dummy|placeholder|your|x{4}|\*{3}|\.{3}|change.?me|redacted|insert|replace"
    r"|fake|test|todo|abcdef|12345|qwerty|foobar|[<>{}\[\]…•]|\$\(|(.)\1{5}",
    re.IGNORECASE,
)


def made_up(value: str) -> bool:
    """Whether `value` stands in for a real one: YOUR_API_KEY, sk-xxxx, <password>, ${KEY}."""
    return _MADE_UP.search(value) is not None


def entropy(value: str) -> float:
    """Shannon's entropy of the characters of `value`, in bits a character."""
    size = len(value)
    return -sum(n / size * math.log2(n / size) for n in Counter(value).values())


def drawn(value: str) -> bool:
    """Whether `value` looks drawn at random, not written."""
    return (
        not made_up(value)
        and sum(map(str.isdigit, value)) >= 2
        and _jumps(value) >= max(4, len(value) // 5)
        and entropy(value) >= 3
    )


def _jumps(value: str) -> int:
    """How often digits, capitals and small letters meet, but for a capital before a small one.

    Words, even in camelCase, do so once a word; drawn characters at two places of five.
    """
    classes = map(_class_of, value)
    return sum(a != b and a + b != "Aa" and a != "" != b for a, b in pairwise(classes))


def _class_of(char: str) -> str:
    return "0" if char.isdigit() else "A" if char.isupper() else "a" if char.islower() else ""
