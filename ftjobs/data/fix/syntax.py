"""Repairs of bytes and JSON: FT1xx and FT2xx."""

from __future__ import annotations

import ast
import json
import re
import warnings
from typing import Any

from ftjobs.data.fix.edits import OPEN, STRING, Edit, Fix, Row, edited, quoted, without
from ftjobs.data.scan import Finding

MAX_PYTHON = 2**20
"""Characters of the longest line that is read as Python: its parser takes a hundred times that."""

_WORDS = {"True": "true", "False": "false", "None": "null"}
_PYTHONIC = re.compile("'|True|False|None")
_MARKS = re.compile(f"{STRING}|{OPEN}|\ufeff+", re.DOTALL)
_ATOM = re.compile(rf"{STRING}|{OPEN}|[^\s\[\]{{}}:,\"']+", re.DOTALL)
_PYTHON = re.compile(
    r""",(?=\s*[\]}])|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s\[\]{}:,"']+""", re.DOTALL
)
_COMMAS = re.compile(r",(?:[ \t\r]*,)*")
_NOT_FINITE = re.compile(r"NaN|-?Infinity")
_REST = re.compile(r'[^"\\]++|\\.', re.DOTALL)
_UNIT = re.compile(r'\\u([0-9a-fA-F]{4})|[^"\\]++|\\.', re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f]")
_OPEN_OR_CLOSE = re.compile(rf"{STRING}|{OPEN}|[\[\]{{}}]|[^\s\[\]{{}},\"]+", re.DOTALL)


def marks(row: Row, finding: Finding) -> Fix | None:
    """FT102: every byte order mark before or between values."""
    found = [one.span() for one in _MARKS.finditer(row.text, finding.at or 0)]
    edits = tuple(Edit(*span) for span in found if row.text[span[0]] == "\ufeff")
    return Fix("removed the mark", edits) if edits else None


def half_pairs(row: Row, finding: Finding) -> Fix | None:
    """FT108: every half of a surrogate pair in the string becomes U+FFFD."""
    edits: list[Edit] = []
    high: re.Match[str] | None = None
    at = finding.at or 0
    while match := _UNIT.match(row.text, at):
        at = match.end()
        unit = int(match[1] or "0", 16)
        if high is not None and 0xDC00 <= unit <= 0xDFFF:
            high = None
            continue
        if high is not None:
            edits.append(Edit(*high.span(), "\ufffd"))
        high = match if 0xD800 <= unit <= 0xDBFF else None
        if 0xDC00 <= unit <= 0xDFFF:
            edits.append(Edit(*match.span(), "\ufffd"))
    if high is not None:
        edits.append(Edit(*high.span(), "\ufffd"))
    return Fix("wrote U+FFFD for what stood for no character", tuple(edits)) if edits else None


def python_words(row: Row, finding: Finding) -> Fix | None:
    """FT201: a row as Python prints it, or only Python's True, False and None in it.

    Safe: such a word can mean nothing else where a value is due, and a row is only taken over if
    Python and JSON then read the same value.
    """
    at = finding.at or 0
    if not _PYTHONIC.match(row.text, at):
        return None
    whole = _from_python(row.text)
    if whole:
        return Fix("wrote the Python literal as JSON", whole)
    edits = [
        Edit(*match.span(), _WORDS[match.group()])
        for match in _ATOM.finditer(row.text, at)
        if match.group() in _WORDS
    ]
    return Fix("wrote Python's words as JSON does", tuple(edits)) if edits else None


def _from_python(text: str) -> tuple[Edit, ...]:
    """The edits that make JSON of a Python literal; none if it is none.  Numbers stay."""
    if len(text) > MAX_PYTHON:
        return ()
    try:
        value = _evaluated(text)
        edits = [Edit(*one.span(), _translated(one.group())) for one in _PYTHON.finditer(text)]
        translated, _ = edited(text, edits)
        translated.encode()
        same = json.loads(translated) == value
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return ()
    return tuple(edit for edit in edits if edit.text != text[edit.start : edit.end]) if same else ()


def _evaluated(text: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # an unknown escape: what is meant cannot be known
        return ast.literal_eval(text)


def _translated(word: str) -> str:
    if word == ",":  # the last one of a list, which JSON does not allow
        return ""
    return quoted(_evaluated(word)) if word[0] in "'\"" else _WORDS.get(word, word)


def comma(row: Row, finding: Finding) -> Fix | None:
    """FT202: a comma before a closing bracket, or all of them after the object."""
    match = _COMMAS.match(row.text, finding.at or 0)
    return Fix("removed the comma", (Edit(*match.span()),)) if match else None


def two_values(row: Row, _finding: Finding) -> Fix | None:
    """FT203: every further list or object goes on a line of its own."""
    edits: list[Edit] = []
    depth = end = 0
    for match in _OPEN_OR_CLOSE.finditer(row.text):
        char = row.text[match.start()]
        gap = row.text[end : match.start()] if depth == 0 else ""
        if depth == 0 and (char not in "[{" or gap.strip(", \t\r")):
            break  # nothing that could be an example: it stays on the line before it
        if depth == 0 and end:
            edits.append(Edit(end, match.start(), "\n"))
        depth += (char in "[{") - (char in "]}")
        end = match.end()
    return Fix("put what follows on a line of its own", tuple(edits)) if edits else None


def same_twice(row: Row, finding: Finding) -> Fix | None:
    """FT205, safe: a key given twice with equal values."""
    value = row.value(finding.at)
    if value is None or value.earlier is None:
        return None
    if not _same(row.raw(value.earlier), row.raw(value)):
        return None
    return Fix("removed the equal copy of the key", (without(row.text, value),))


def last_of_two(row: Row, finding: Finding) -> Fix | None:
    """FT205, unsafe: the last value stays, the one that Python and JavaScript read."""
    value = row.value(finding.at)
    if value is None or value.earlier is None:
        return None
    return Fix("kept the last value of the key", (without(row.text, value.earlier),))


def _same(one: str, other: str) -> bool:
    """Whether two values are equal, to the spelling of their numbers and the order of keys."""
    try:
        return one == other or _strictly(one) == _strictly(other)
    except (ValueError, RecursionError):
        return False


def _strictly(text: str) -> object:
    def number(spelling: str) -> tuple[str, str]:
        return ("number", spelling)

    return json.loads(
        text,
        strict=False,
        parse_int=number,
        parse_float=number,
        parse_constant=number,
        object_pairs_hook=lambda pairs: ("object", pairs),
    )


def not_finite(row: Row, finding: Finding) -> Fix | None:
    """FT206: null, as JavaScript's JSON.stringify writes NaN and Infinity."""
    match = _NOT_FINITE.match(row.text, finding.at or 0)
    return Fix("wrote null for it", (Edit(*match.span(), "null"),)) if match else None


def control(row: Row, finding: Finding) -> Fix | None:
    """FT207: every raw control character of the string is escaped.

    Not where a backslash stands before the first: nobody knows what that was to mean.
    """
    at = finding.at or 0
    if _is_escaped(row.text, at):
        return None
    edits: list[Edit] = []
    while match := _REST.match(row.text, at):
        at = match.end()
        if not match.group().startswith("\\"):
            found = _CONTROL.finditer(row.text, match.start(), match.end())
            edits += [Edit(*one.span(), quoted(one.group())[1:-1]) for one in found]
    return Fix("escaped the control characters of the string", tuple(edits)) if edits else None


def _is_escaped(text: str, at: int) -> bool:
    start = at
    while text[start - 1 : start] == "\\":
        start -= 1
    return (at - start) % 2 == 1
