"""GitHub Actions: workflow commands and the lines of GITHUB_OUTPUT, closed to untrusted words.

Escaping and reading are those of the runner (actions/runner, `ActionCommand.cs` and
`FileCommandManager.cs`): the data of a command holds no `%`, carriage return or line feed as it
is, a property neither these nor `:` and `,`; a value in GITHUB_OUTPUT ends at a line that is its
delimiter, so the delimiter is one that nobody can guess.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence

from ftjobs.reports.markdown import one_line

__all__ = ["MOST_ANNOTATIONS", "command", "outputs"]

MOST_ANNOTATIONS = 10
"""Annotations of each level that GitHub shows of a step."""

LONGEST = 2_000
"""Characters of an annotation; the rest is cut."""


def command(level: str, text: str, **properties: object) -> str:
    """A workflow command, which becomes an annotation.

    Args:
        level: error, warning or notice.
        text: its lines are those of the annotation.
        properties: title, file, line and so on; one that is None or "" is left out.
    """
    given = ",".join(
        f"{name}={_data(str(value)).replace(':', '%3A').replace(',', '%2C')}"
        for name, value in properties.items()
        if value not in (None, "")
    )
    said = "%0A".join(_data(line) for line in text[:LONGEST].split("\n"))
    return f"::{level} {given}::{said}" if given else f"::{level}::{said}"


def _data(text: str) -> str:
    line = one_line(text[:LONGEST])
    return line.replace("%", "%25")  # one line holds no line end that would need it


def outputs(
    values: Mapping[str, str | Sequence[str]],
    *,
    token: Callable[[], str] = lambda: secrets.token_hex(16),
) -> str:
    """The lines of GITHUB_OUTPUT that set `values`; each text becomes one line.

    `token` makes the part of a delimiter that nobody can guess.
    """
    return "".join(
        f"{name}<<ftjobs_{(end := token())}\n{_lines(value)}\nftjobs_{end}\n"
        for name, value in values.items()
    )


def _lines(value: str | Sequence[str]) -> str:
    return "\n".join(map(one_line, [value] if isinstance(value, str) else value))
