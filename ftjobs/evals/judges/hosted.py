"""How imported graders run: what OpenAI's service did with their JSON, done here.

Where an answer lacks what a template asks for, such as JSON, it gets the lowest score, as it did
there; where a prompt lacks it, or a model's reply cannot be read, there is no score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ftjobs.errors import ConfigError
from ftjobs.evals.arms import Ask, Question
from ftjobs.evals.graders.base import Item
from ftjobs.evals.judges.base import JudgeModel
from ftjobs.evals.judges.bias import Named, biases
from ftjobs.evals.judges.formula import Formula, NoValue
from ftjobs.evals.judges.replies import in_form, mark
from ftjobs.evals.judges.templates import Missing, Template, item_of
from ftjobs.evals.result import Answer, Bias, Mark, Row
from ftjobs.schema import ChatMessage, Sampling

__all__ = ["Asked", "Combined", "Compared", "Imported", "Part"]


class Part(Protocol):
    """What an imported grader computes, in its own range."""

    @property
    def about(self) -> str:
        """How it is set up."""
        ...

    @property
    def models(self) -> tuple[str, ...]:
        """The models that it asks."""
        ...

    @property
    def templates(self) -> tuple[Template, ...]:
        """What it fills in."""
        ...

    def values(self, items: Sequence[Item], ask: Ask) -> list[Mark]:
        """A mark for each item, in their order."""
        ...


@dataclass(frozen=True, slots=True)
class Imported:
    """A grader that was read from OpenAI's JSON; see `ftjobs.evals.judges.openai.read_grader`.

    Attributes:
        part: what it computes.
        span: the (lowest, highest) value, mapped to 0 and 1.
        threshold: the value from which on an answer passes, with 1 instead of 0; None where the
            value itself is the score.
    """

    name: str
    kind: Literal["binary", "continuous"]
    part: Part
    span: tuple[float, float] = (0, 1)
    threshold: float | None = None

    @property
    def about(self) -> str:
        """How it is set up, and what passes."""
        passes = "" if self.threshold is None else f"; {self.threshold:g} passes"
        return f"{self.part.about}{passes}"

    @property
    def judge_models(self) -> tuple[str, ...]:
        """The models that it asks."""
        return self.part.models

    def grade(self, items: Sequence[Item], ask: Ask) -> list[Mark]:
        """A mark for each item.

        Raises:
            ConfigError: a template names a field that no prompt has.
        """
        self._require_fields(items)
        return [self._scored(found) for found in self.part.values(items, ask)]

    def biases(self, rows: Sequence[Row], arms: Sequence[Named]) -> tuple[Bias, ...]:
        """What a model that it asks may have favoured; nothing where it asks none."""
        return biases(rows, arms, {self.name: self.judge_models} if self.judge_models else {})

    def _scored(self, found: Mark) -> Mark:
        low, high = self.span
        if found.score is None:
            return found
        if self.threshold is None:
            return Mark(score=(found.score - low) / (high - low), note=found.note)
        note = f"{found.score:g}, of {self.threshold:g} to pass. {found.note}".rstrip()
        return Mark(score=float(found.score >= self.threshold), note=note)

    def _require_fields(self, items: Sequence[Item]) -> None:
        for template in self.part.templates:
            for place in template.places:
                if items and place.space == "item" and not any(map(place.is_in, items)):
                    known = ", ".join(sorted(item_of(items[0].prompt)))
                    raise ConfigError(
                        f"the grader {self.name} names {place.text}, which no prompt has",
                        hint=f"The first prompt has: {known}.",
                    )


@dataclass(frozen=True, slots=True)
class Compared:
    """Two texts compared: `string_check` and `text_similarity`."""

    about: str
    input: Template
    reference: Template
    measure: Callable[[str, str], float | None]

    @property
    def models(self) -> tuple[str, ...]:
        """None."""
        return ()

    @property
    def templates(self) -> tuple[Template, ...]:
        """Both texts."""
        return (self.input, self.reference)

    def values(self, items: Sequence[Item], ask: Ask) -> list[Mark]:  # noqa: ARG002 - asks nobody
        """A mark for each item, from 0 to 1."""
        return [self._value(item) for item in items]

    def _value(self, item: Item) -> Mark:
        try:
            score = self.measure(self.input.render(item), self.reference.render(item))
        except Missing as missing:
            return _without(missing, 0.0)
        return Mark(score=score, note="" if score is not None else "nothing to compare with")


@dataclass(frozen=True, slots=True)
class Asked:
    """A model asked for a number or a label: `score_model` and `label_model`.

    Attributes:
        who: the grader's name, on whose account it asks.
        model: asked unless the judge names another.
        messages: (role, content) of each.
        ending: says in which form the reply must end.
        key: the verdict's key in the JSON object that ends the reply.
        score: makes a score of the verdict, or raises `Unreadable`.
        lowest: the score of an answer that lacks what is asked for.
    """

    about: str
    who: str
    judge: JudgeModel
    model: str
    sampling: Sampling | None
    messages: tuple[tuple[str, Template], ...]
    ending: str
    key: str
    score: Callable[[object], float]
    lowest: float

    @property
    def models(self) -> tuple[str, ...]:
        """The one that is asked."""
        return (self.judge.model or self.model,)

    @property
    def templates(self) -> tuple[Template, ...]:
        """The messages."""
        return tuple(template for _, template in self.messages)

    def values(self, items: Sequence[Item], ask: Ask) -> list[Mark]:
        """A mark for each item, with the model's reasons."""
        wanted = [self._question(item) for item in items]
        replies = iter(ask([each for each in wanted if isinstance(each, Question)]))
        return [self._mark(next(replies)) if isinstance(w, Question) else w for w in wanted]

    def _question(self, item: Item) -> Question | Mark:
        try:
            said = [(role, template.render(item)) for role, template in self.messages]
        except Missing as missing:
            return _without(missing, self.lowest)
        if said[-1][0] == "user":  # two turns of the user in a row are more than some models take
            said[-1] = ("user", f"{said[-1][1]}\n\n{self.ending}")
        else:
            said.append(("user", self.ending))
        messages = [ChatMessage(role=role, content=text) for role, text in said]
        return self.judge.question(messages, who=self.who, model=self.model, sampling=self.sampling)

    def _mark(self, reply: Answer) -> Mark:
        return mark(in_form(reply, self.key), self.key, self.score)


@dataclass(frozen=True, slots=True)
class Combined:
    """Several graders and a formula over their values: `multi`."""

    parts: Mapping[str, Part]
    formula: Formula

    @property
    def about(self) -> str:
        """The formula."""
        return self.formula.text

    @property
    def models(self) -> tuple[str, ...]:
        """Those that any part asks."""
        return tuple(dict.fromkeys(model for _, part in self._used() for model in part.models))

    @property
    def templates(self) -> tuple[Template, ...]:
        """Those of all parts."""
        return tuple(template for _, part in self._used() for template in part.templates)

    def values(self, items: Sequence[Item], ask: Ask) -> list[Mark]:
        """A mark for each item; none where a part has none, or the formula has no value."""
        found = {name: part.values(items, ask) for name, part in self._used()}
        return [self._value({name: m[i] for name, m in found.items()}) for i in range(len(items))]

    def _used(self) -> Iterator[tuple[str, Part]]:
        return ((name, part) for name, part in self.parts.items() if name in self.formula.names)

    def _value(self, marks: Mapping[str, Mark]) -> Mark:
        note = "; ".join(_told(name, found) for name, found in marks.items())
        numbers = {name: m.score for name, m in marks.items() if m.score is not None}
        if len(numbers) < len(marks):
            return Mark(score=None, note=note)
        try:
            return Mark(score=self.formula.value(numbers), note=note)
        except NoValue as error:
            return Mark(score=None, note=f"{error}, where {note}")


def _told(name: str, found: Mark) -> str:
    score = "no score" if found.score is None else f"{found.score:g}"
    return f"{name}: {score}" + (f" ({found.note})" if found.note else "")


def _without(missing: Missing, lowest: float) -> Mark:
    return Mark(score=lowest if missing.of_answer else None, note=str(missing))
