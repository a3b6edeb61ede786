"""Lines of a conversation that change how answers are drawn: `--num_beams 4 --top_k 30`."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from ftjobs.errors import ConfigError
from ftjobs.jobs.fields import build
from ftjobs.schema import FOR_PROGRAMS, Sampling

__all__ = ["adjusted", "in_force", "is_adjustment", "listing"]

DEFAULT = "default"
"""The value that leaves a setting to the model again."""

ELSEWHERE = {
    "max_new_tokens": "max_tokens",
    "max_length_inference": "max_tokens",
    "min_new_tokens": "min_tokens",
    "min_length_inference": "min_tokens",
    "stop_tokens": "stop",
}
"""What transformers and H2O LLM Studio call a setting, and what ftjobs does."""

DRAWING = ("top_p", "top_k", "seed")
"""Settings that change nothing where nothing is drawn."""

SETTINGS = tuple(name for name in Sampling.model_fields if name not in FOR_PROGRAMS)

_NAME = re.compile(r"--[A-Za-z]")


def is_adjustment(line: str) -> bool:
    """Whether a line is settings as on a command line, and not a question that begins so.

    It is if its first word is a setting, or if it could be nothing else: a mistyped name with its
    value is not worth an answer.
    """
    words = line.split()
    if not words or not _NAME.match(words[0]):
        return False
    if _name(words[0].partition("=")[0]) in SETTINGS:
        return True
    values = [not _NAME.match(word) for word in words]
    return not any(one and next_ for one, next_ in pairwise(values))


def adjusted(sampling: Sampling, line: str) -> Sampling:
    """A sampling with the changes of `NAME VALUE …`, with or without `--`.

    Raises:
        ConfigError: there is no such setting, it lacks a value, or it cannot be so.
    """
    given = _given(line)
    if "n" in given:
        raise ConfigError("a conversation takes one answer at a time")
    if "do_sample" in given:
        raise ConfigError(
            "unknown setting 'do_sample'",
            hint="temperature 0 takes the likeliest token; above 0, tokens are drawn.",
        )
    if not_here := sorted(FOR_PROGRAMS & given.keys()):
        raise ConfigError(f"{', '.join(not_here)}: for programs alone, in ftjobs.Sampling")
    values = sampling.model_dump(exclude_defaults=True) | given
    reset = {name for name in SETTINGS if given.get(name) == DEFAULT}
    return build(Sampling, {name: values[name] for name in values if name not in reset})


def _given(line: str) -> dict[str, Any]:
    """The settings of a line; a stop text may be given several times."""
    given: dict[str, Any] = {}
    stops: list[str] = []
    for name, value in _pairs(_words(line)):
        given[name] = value
        if name == "stop":
            stops.append(value)
    return given | ({"stop": tuple(stops)} if len(stops) > 1 else {})


def in_force(sampling: Sampling) -> str:
    """What is set, in a line, and what of it changes nothing now in another."""
    given = sampling.model_dump(exclude_defaults=True)
    words = "  ".join(f"{name} {_shown(value)}" for name, value in given.items())
    idle = [name for name in DRAWING if name in given]
    if idle and (sampling.beams > 1 or sampling.temperature == 0):
        why = "beams are searched" if sampling.beams > 1 else "the likeliest token is taken"
        verb = "changes" if len(idle) == 1 else "change"
        words += f"\n({', '.join(idle)} {verb} nothing: {why})"
    return words or "all defaults"


def listing(sampling: Sampling, columns: int) -> Iterator[str]:
    """Lines with every setting, its value and what it does, in at most so many columns."""
    names = [name for name in SETTINGS if name != "n"]
    given = sampling.model_dump(exclude_defaults=True)
    shown = {name: _shown(given.get(name, DEFAULT)) for name in names}
    left, middle = (max(map(len, texts)) for texts in (names, shown.values()))
    for name in names:
        head = f"{name:<{left}}  {shown[name]:<{middle}}  "
        description = str(Sampling.model_fields[name].description)
        room = max(columns - len(head), 24)
        first, *rest = textwrap.wrap(description, room)
        yield head + first
        yield from (" " * len(head) + line for line in rest)


def _words(line: str) -> list[str]:
    """Words as a shell splits them, but that a backslash is one."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.escape, lexer.commenters = True, "", ""
    try:
        return list(lexer)
    except ValueError:
        raise ConfigError("a quotation mark is not closed") from None


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if not equals:
            value = next(rest, "")
            if not value or _NAME.match(value):
                raise ConfigError(
                    f"{name} lacks a value",
                    hint='Such as: /set temperature 0.3, or /set stop "two words".',
                )
        yield _name(name), value


def _name(word: str) -> str:
    name = word.removeprefix("--").replace("-", "_")
    return ELSEWHERE.get(name, name)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(repr(each) for each in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
