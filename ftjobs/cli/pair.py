"""A prompt and two answers to it, drawn in a terminal side by side, or one under the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from ftjobs.evals.result import Answer, Row
from ftjobs.reports.cells import clean, cut, pad, width, wrap
from ftjobs.reports.words import called
from ftjobs.schema import ChatMessage

SIDE_BY_SIDE = 70  # columns; narrower, one answer is under the other


@dataclass
class View:
    """How a pair of answers is looked at: first line shown, and what is unfolded."""

    top: int = 0
    whole_prompt: bool = False
    expected: bool = False


def page(
    row: Row, answers: tuple[Answer, Answer], view: View, columns: int, room: int
) -> list[str]:
    """A prompt with two answers to it, in lines of at most `columns`.

    Of a prompt that takes more than a third of the `room` (in lines), the end is shown.
    """
    prompt = [line for message in row.messages for line in wrap(_told(message), columns)]
    most = max(room // 3, 2)
    if len(prompt) > most and not view.whole_prompt:
        above = len(prompt) - most + 1
        note = f"… {above} lines of the prompt are above: p shows them"
        prompt = [cut(note, columns), *prompt[above:]]
    if view.expected:
        prompt += wrap(f"expected: {clean(row.expected or '(nothing)')}", columns)
    first, second = map(answered, answers)
    return [*prompt, *_pair(first, second, columns)]


def answered(answer: Answer) -> str:
    """What an answer says, harmless: its text, the functions it calls, and whether it was cut."""
    calls = [f"[calls {called(call)}]" for call in answer.tool_calls]
    parts = [answer.text.strip("\n"), *calls, "[cut short]" * (answer.finish_reason == "length")]
    return "\n".join(clean(part) for part in parts if part) or "(no text)"


def abreast(names: Sequence[str], texts: Sequence[Sequence[str]], columns: int) -> Iterator[str]:
    """Lines of several texts beside each other, under their names.

    A text is lines that fit `column_width`.
    """
    each = column_width(len(texts), columns)
    yield "─┬─".join(rule(name, each) for name in names)
    for line in zip_longest(*texts, fillvalue=""):
        yield " │ ".join(pad(cell, each) for cell in line).rstrip()


def column_width(count: int, columns: int) -> int:
    """Columns of each of `count` texts that share a line; 2 where there is no room."""
    return max((columns - 3 * (count - 1)) // count, 2)


def rule(name: str, columns: int) -> str:
    """A line with a name in it."""
    name = cut(name, max(columns - 6, 1))
    return f"── {name} {'─' * (columns - width(name) - 4)}"


def _pair(first: str, second: str, columns: int) -> Iterator[str]:
    if columns < SIDE_BY_SIDE:
        yield from (rule("A", columns), *wrap(first, columns))
        yield from (rule("B", columns), *wrap(second, columns))
    else:
        each = column_width(2, columns)
        yield from abreast(("A", "B"), (wrap(first, each), wrap(second, each)), columns)


def _told(message: ChatMessage) -> str:
    content = message.content
    if content is None or isinstance(content, str):
        text = content or ""
    else:
        text = "".join(str(part.get("text", f"({part.get('type')})")) for part in content)
    calls = "".join(f"[calls {called(call)}]" for call in message.tool_calls or ())
    return clean(f"{message.role}: {text}{calls}")
