"""Graders that hold the answer against the expected text: equal, contained, or of a pattern."""

from __future__ import annotations

from collections.abc import Callable

from ftjobs.errors import ConfigError
from ftjobs.evals.graders.base import Function, of_texts
from ftjobs.evals.graders.normal import nfc, normal
from ftjobs.evals.prompts import Prompt
from ftjobs.evals.result import Answer

__all__ = ["contains", "exact", "normalised", "regex"]


def exact() -> Function:
    """1 if the answer is the expected text, else 0; outer white space and NFC form aside."""
    return of_texts(
        "exact",
        lambda answer, expected: nfc(answer) == nfc(expected),
        kind="binary",
        about="equal but for outer white space",
    )


def normalised() -> Function:
    """1 if the answer says the expected text, however it is written; see `normal.normal`.

    Width, case, punctuation and white space do not count; what changes a number does.
    """
    return of_texts(
        "normalised",
        lambda answer, expected: normal(answer) == normal(expected),
        kind="binary",
        about="equal but for width, case, punctuation and white space",
    )


def contains() -> Function:
    """1 if the expected text is somewhere in the answer, both normalised as by `normalised`.

    It has to be there in whole words and whole numbers: "art" is not in "party", 15 neither in
    2015 nor in 1.5.  In scripts without spaces, any part will do.  Nothing to look for (an empty
    expected text) cannot be graded.
    """
    return of_texts(
        "contains",
        _contained,
        kind="binary",
        about="the expected text is in the answer, but for width, case, punctuation",
    )


def _contained(answer: str, expected: str) -> bool | None:
    wanted = normal(expected)
    return f" {wanted} " in f" {normal(answer)} " if wanted else None


def regex(pattern: str, *, name: str = "regex") -> Function:
    r"""1 if `pattern` is found in the answer, outer white space and NFC form aside.

    `^` and `$` are the answer's ends, `(?m)` makes them those of lines, `(?i)` ignores case, `(?s)`
    lets `.` match line breaks, and `\d`, `\w` know all of Unicode.  The engine is that of Rust's
    `regex` crate, whose time is linear in the length of the answer whatever the pattern; so there
    is no lookaround, and no reference back to a group.  No expected answer is needed.

    Raises:
        ConfigError: the pattern is empty, cannot be read, or is too large once it is compiled.
    """
    found = _finder(pattern)

    def matches(answer: Answer, prompt: Prompt) -> bool:  # noqa: ARG001 - the pattern is enough
        return found(nfc(answer.text))

    return Function(name, matches, "binary", about=f"matches {pattern}")


def _finder(pattern: str) -> Callable[[str], bool]:
    from pydantic_core import SchemaError, SchemaValidator, core_schema

    if not pattern:
        raise ConfigError("the pattern of the regex grader is empty: it would match every answer")
    try:
        look = SchemaValidator(core_schema.str_schema(pattern=_whole(pattern))).isinstance_python
    except SchemaError as error:
        raise ConfigError(
            f"the pattern {pattern!r} cannot be used: {str(error).splitlines()[-1]}",
            hint="The syntax is that of Rust's regex crate: no lookaround, no back-references.",
        ) from None
    return lambda text: look(_whole(text))


def _whole(text: str) -> str:
    """The text with every half of a surrogate pair, which the engine cannot hold, as "?"."""
    return text.encode(errors="replace").decode()
