"""Texts in one form, so that the same thing written in another way is the same.

Everything here takes time linear in the text, whatever it holds.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Literal

__all__ = ["is_spaceless", "nfc", "normal", "words"]

Form = Literal["NFC", "NFKC"]

LONGEST = 1_000_000
"""Characters of a text that are read by `normal`, before and after NFKC lengthens them."""

_PIECE = 64
"""Characters that are normalised together, or some more."""

_SPACELESS = ("CJK", "HIRAGANA", "KATAKANA", "IDEOGRAPHIC", "THAI", "LAO", "KHMER", "MYANMAR")
_OWN = "%‰٪#&@"
_ALIKE = {"⁄": "/", "〜": "~", "’": "'", "ʼ": "'", "'": "'"}
_DASHES = "-‐‑‒–—―−─"

# 10² is not 102, and 1½ is not 11/2: NFKC would make them so.
_SUPERSCRIPTS = re.compile("[⁰¹²³⁴-⁾ⁿ]+")
_FRACTION = re.compile(r"(?<=\d)(?=[¼-¾⅐-⅟↉])")
# What is typed for ー after kana, and ー for a dash elsewhere.
_LONG_VOWEL = re.compile(rf"(?<=[ぁ-ゖァ-ヺ])[{_DASHES}](?!\d)")
_NO_VOWEL = re.compile("(?<![ぁ-ゖァ-ヺー])ー")
_NUMBER_OR_MARK = re.compile(
    r"((?:(?<!\w)[-~])?(?:\d+|(?<![\w.])\.\d+)(?:[.,]\d+|\s*[-~/:]\s*\d+)*(?:e-\d+)?)"
    r"|(')|[-~.,:/]"
)
# Marks that are operators where they stand, as the signs that mean no more than that: "**" around
# a word is Markdown, and "!" behind one is an exclamation.
_OPERATORS = (
    (re.compile(rf"(?<!\w)[{_DASHES}]([$€£¥₩₹]) ?(?=[\d.])"), r"\1-"),
    (re.compile(r"(?<!\w)[-−](?=[a-zα-ω√](?![^\W\d_]))"), "∸"),
    (re.compile(r"(?<![a-z0-9])([a-z]{1,3})[-−](?![a-z0-9])"), r"\1∸"),  # a grade, as in A-
    (re.compile("!=+"), "≠"),
    (re.compile(r"(?<=[0-9a-z)])( ?)\*\*\1(?=[0-9a-z(])"), "^"),
    (re.compile(r"(?<=[0-9a-z)])( ?)\*\1(?=[0-9a-z(])"), "×"),
    (re.compile(r"(?<=[a-z)])( ?)/\1(?=[0-9])|(?<=[0-9)])( ?)/\2(?=[a-z(])"), "÷"),
)
_THOUSANDS = re.compile(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?")


def nfc(text: str) -> str:
    """The text in NFC, without outer white space."""
    return _composed("NFC", text).strip()


def normal(text: str) -> str:
    """What a text says, however it is written: its words, numbers and symbols, one space between.

    * Width, half-width katakana, ligatures and case do not count (NFKC with case folding).
    * Punctuation and white space only part words; an apostrophe inside a word does not even that.
      In scripts without spaces (Japanese, Chinese, Thai, …) every character is a word, so that
      white space and 「」。、・ count nowhere.  A dash after kana is ー.
    * What is part of a number stays: its sign, point, and the - ~ / : between two of them.  So 1.5
      is not 15, -3 is not 3, 10:30 is not 1030, 10² is not 102; but 1,000 is 1000.
    * Symbols stay: 50% is not 50, C++ and C# are not C.  So do the operators of `_OPERATORS`: -$5
      is not $5, -x is not x, A- is not A, a != b is not a = b, n/2 is neither n*2 nor n**2.
    * Invisible characters are dropped.

    A text of nothing but punctuation stays as it is, but for its width.  No more than `LONGEST`
    characters are read.
    """
    raised = _FRACTION.sub(" ", _SUPERSCRIPTS.sub(_raised, text[:LONGEST]))
    kana = _NO_VOWEL.sub("-", _LONG_VOWEL.sub("ー", _folded(raised)[:LONGEST]))
    signed = kana
    for operator, sign in _OPERATORS:
        signed = operator.sub(sign, signed)
    parts = _NUMBER_OR_MARK.sub(_number, signed.translate(_PARTS))
    return " ".join(parts.split()) or kana.strip()


def words(text: str) -> list[str]:
    """The words of a text in lower case, as ROUGE counts them; punctuation and symbols are none.

    Each character of a script without spaces is a word.  In English this is what Google's
    `rouge_score` does without stemming.
    """
    return _folded(text).translate(_WORDS).split()


def is_spaceless(text: str) -> bool:
    """Whether a text is in a script that puts no spaces between words, at least in part."""
    return any(len(_WORDS[ord(character)]) > 1 for character in text)


def _folded(text: str) -> str:
    return _composed("NFKC", _composed("NFKC", text).casefold())


def _raised(digits: re.Match[str]) -> str:
    return "^" + unicodedata.normalize("NFKC", digits.group())


def _number(found: re.Match[str]) -> str:
    number, apostrophe = found.groups()
    if number is None:
        return "" if apostrophe else " "
    number = "".join(number.split())
    if _THOUSANDS.fullmatch(number):
        number = number.replace(",", "")
    return f" {number} "


# --- characters -------------------------------------------------------------------------------


class _Table(dict[int, str]):
    """For `str.translate`: what becomes of each character, found out when it first comes."""

    def __init__(self, become: Callable[[str], str]) -> None:
        self._become = become

    def __missing__(self, code: int) -> str:
        new = self[code] = self._become(chr(code))
        return new


def _part(character: str) -> str:
    category = unicodedata.category(character)
    if _is_invisible(character):
        return ""
    if character in _DASHES:
        return "-"
    if character in _ALIKE:
        return _ALIKE[character]
    if character in ".,:/~":
        return character
    if (category[0] == "S" and character != "`") or character in _OWN:
        return f" {character} "
    if category[0] in "PZCS" and category != "Co":
        return " "
    return _spaced(character)


def _word(character: str) -> str:
    if _is_invisible(character):
        return ""
    return _spaced(character) if unicodedata.category(character)[0] in "LMN" else " "


def _spaced(character: str) -> str:
    name = unicodedata.name(character, "")
    return f" {character} " if name.startswith(_SPACELESS) else character


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) == "Cf" or (
        unicodedata.name(character, "").startswith("VARIATION SELECTOR")
    )


_PARTS = _Table(_part)
_WORDS = _Table(_word)


# --- forms ------------------------------------------------------------------------------------


def _composed(form: Form, text: str) -> str:
    """`unicodedata.normalize`, whose time grows with the square of a run of combining characters.

    So a long text is normalised in pieces, cut where nothing can combine.  Only inside a run of
    dozens of combining characters, which no writing has, does the cut show.
    """
    if text.isascii():
        return text
    return "".join(unicodedata.normalize(form, piece) for piece in _pieces(text))


def _pieces(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = start + _PIECE
        while end < min(start + 2 * _PIECE, len(text)) and not _begins(text[end]):
            end += 1
        yield text[start:end]
        start = end


def _begins(character: str) -> bool:
    """Whether a character combines with none before it, so that a piece may begin with it."""
    first = unicodedata.normalize("NFKD", character)[0]
    return not (unicodedata.category(first)[0] == "M" or "\u1160" <= first <= "\u11ff")
