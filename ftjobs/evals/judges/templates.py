"""Templates of imported graders: `{{ item.reference_answer }}`, `{{ sample.output_json.name }}`.

template = Template.read("Answer: {{ sample.output_text }}", where="input")
template.render(item)

Each place names `item` (the prompt) or `sample` (the answer) and a path into it, with `.key`,
`["key"]` and `[0]`.  A text is put in as it is, anything else as JSON.  What is put in is never
looked at for places again, so that an answer cannot ask for the reference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ftjobs.errors import ConfigError
from ftjobs.evals.graders.base import Item
from ftjobs.evals.promptrow import ANSWERS, ASKS
from ftjobs.evals.prompts import Prompt
from ftjobs.evals.result import Answer

__all__ = ["SAMPLE", "Missing", "Template", "item_of"]

PLACE = re.compile(r"\{\{([^{}]*)\}\}")
BEGUN = re.compile(r"\{\{\s*(?:item|sample)\b")
STEP = re.compile(r"""\.([^\s.\[\]"'{}]+)|\[(\d{1,9})\]|\["([^"]*)"\]|\['([^']*)'\]""")


class Missing(LookupError):
    """What a place names is not there; `of_answer` says whether it is the answer that lacks it."""

    def __init__(self, path: str, *, of_answer: bool) -> None:
        super().__init__(f"the {'answer' if of_answer else 'prompt'} has no {path}")
        self.of_answer = of_answer


@dataclass(frozen=True, slots=True)
class Place:
    """A path as it stood, such as `item.answer.name`, and its steps behind `item` or `sample`."""

    text: str
    space: str
    steps: tuple[str | int, ...]

    def value(self, item: Item) -> object:
        """What stands there.  Missing if nothing does."""
        variable, *steps = self.steps
        try:
            if self.space == "sample":
                found = SAMPLE[str(variable)](item.answer)
            else:
                found = _read(item_of(item.prompt)[str(variable)], bool(steps))
            for step in steps:
                found = _step(found, step)
        except (LookupError, ValueError, RecursionError):
            raise Missing(self.text, of_answer=self.space == "sample") from None
        return found

    def is_in(self, item: Item) -> bool:
        """Whether something stands there."""
        try:
            self.value(item)
        except Missing:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Template:
    """A text with places to fill; see `Template.read`."""

    parts: tuple[str | Place, ...]

    @classmethod
    def read(cls, text: str, where: str) -> Template:
        """The template that `where` of a grader holds.

        Raises:
            ConfigError: a place is no path, or names what no prompt and no answer has.
        """
        parts: list[str | Place] = []
        for number, part in enumerate(PLACE.split(text)):
            parts.append(_place(part.strip(), where) if number % 2 else _plain_text(part, where))
        return cls(tuple(parts))

    @property
    def places(self) -> tuple[Place, ...]:
        """What is filled in."""
        return tuple(part for part in self.parts if isinstance(part, Place))

    def render(self, item: Item) -> str:
        """The text.  Missing if a place cannot be filled."""
        return "".join(
            part if isinstance(part, str) else _text(part.value(item)) for part in self.parts
        )


def _plain_text(text: str, where: str) -> str:
    """What stands between places.  ConfigError if a place begins there that does not end."""
    if begun := BEGUN.search(text):
        raise ConfigError(
            f"{where}: {text[begun.start() :][:40]!r} begins a place that does not end",
            hint="Write {{ item.reference_answer }} or {{ sample.output_text }}.",
        )
    return text


def _place(text: str, where: str) -> Place:
    space = re.match(r"item|sample", text)
    steps = _steps(text, space.end()) if space else ()
    if space is None or not steps:
        raise ConfigError(
            f"{where}: {{{{ {text} }}}} is no path",
            hint="Write {{ item.reference_answer }} or {{ sample.output_text }}.",
        )
    if space[0] == "sample" and steps[0] not in SAMPLE:
        raise ConfigError(f"{where}: there is no {text}", hint=f"sample has: {', '.join(SAMPLE)}.")
    return Place(text, space[0], steps)


def _steps(text: str, start: int) -> tuple[str | int, ...]:
    """The steps from `start` on; none where they cannot be read."""
    steps: list[str | int] = []
    while start < len(text):
        step = STEP.match(text, start)
        if step is None:
            return ()
        steps.append(int(step[2]) if step[2] else next(x for x in step.groups() if x is not None))
        start = step.end()
    return tuple(steps)


def _read(value: object, further: bool) -> object:
    """A text that a path goes into is read as JSON."""
    return json.loads(value) if further and isinstance(value, str) else value


def _step(found: object, step: str | int) -> object:
    if isinstance(found, dict):
        return found[str(step)]
    if isinstance(found, list | tuple) and isinstance(step, int):
        return found[step]
    raise LookupError(step)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# --- what places can name -------------------------------------------------------------------


def item_of(prompt: Prompt) -> dict[str, Any]:
    """What `item.` can name: the other fields of the prompt's row, and what a prompt is made of.

    `reference_answer` and every name of the column with the expected answer stand for `expected`,
    and those of the column with the question for `question`, unless the row has such a field.
    """
    own: dict[str, Any] = {
        "messages": [m.model_dump(mode="json", exclude_none=True) for m in prompt.messages],
        "expected": prompt.expected,
        "tags": list(prompt.tags),
        "line": prompt.line,
        "cluster": prompt.cluster,
        "tools": _plain(prompt.tools) or None,
        "calls": None if prompt.calls is None else _plain(prompt.calls),
        **dict.fromkeys((*ANSWERS, "reference_answer"), prompt.expected),
        **dict.fromkeys(ASKS, prompt.question),
    }
    return {key: value for key, value in own.items() if value is not None} | dict(prompt.item)


def _plain(rows: Sequence[Any]) -> list[Any]:
    """The same as JSON would hold it."""
    return [json.loads(json.dumps(row)) for row in rows]


def _choices(answer: Answer) -> list[Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text}
    if answer.tool_calls:
        message["tool_calls"] = _plain(answer.tool_calls)
    return [{"index": 0, "message": message, "finish_reason": answer.finish_reason}]


SAMPLE: dict[str, Callable[[Answer], Any]] = {
    "output_text": lambda answer: answer.text,
    "output_json": lambda answer: json.loads(answer.text),
    "output_tools": lambda answer: _plain(answer.tool_calls),
    "choices": _choices,
}
"""What `sample.` can name; `output_json` is `output_text` read as JSON."""
