"""A judge that scores answers one by one.

pointwise(JudgeModel(backend, "gpt-4o"), rubric="1: wrong. 3: right. 5: right, and polite.")
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Literal

from ftjobs.errors import ConfigError
from ftjobs.evals.arms import Ask, Question
from ftjobs.evals.graders.base import Item
from ftjobs.evals.judges.base import SYSTEM, JudgeModel, fenced, material, said
from ftjobs.evals.judges.bias import Named, biases
from ftjobs.evals.judges.replies import Unreadable, mark
from ftjobs.evals.result import Bias, Mark, Row
from ftjobs.schema import ChatMessage

__all__ = ["RUBRIC", "Pointwise", "number_in", "pointwise"]

RUBRIC = """\
How well does the answer do what the conversation asks for? It is correct and complete, follows \
the instructions given, is in the language and form that are expected, and adds nothing that is \
wrong or beside the point. Where there is a reference, the answer says the same in substance."""

ASKED = """\
Rubric:
{rubric}

The code of this message is {code}.

{texts}

Judge the answer by the rubric. First give your reasons in a few sentences. Then end with one line \
that is nothing but this JSON object, where N is a number from {low:g} (worst) to {high:g} (best):
{{"score": N}}"""


@dataclass(frozen=True, slots=True)
class Pointwise:
    """A grader that asks a model for a score; see `pointwise`."""

    judge: JudgeModel
    name: str = "judge"
    rubric: str = RUBRIC
    scale: tuple[float, float] = (1, 5)
    seed: int = 0

    def __post_init__(self) -> None:
        low, high = self.scale
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ConfigError(f"a judge's scale from {low} to {high}: two numbers that rise")
        if not self.judge.model:
            raise ConfigError("the judge has no model", hint="Name the model that judges.")

    @property
    def kind(self) -> Literal["continuous"]:
        """Scores lie anywhere from 0 to 1."""
        return "continuous"

    @property
    def about(self) -> str:
        """Who judges, on which scale, by which rubric."""
        low, high = self.scale
        rubric = shorten(self.rubric, 300, placeholder=" …")
        return f"{self.judge.model} scores from {low:g} to {high:g}: {rubric}"

    @property
    def judge_models(self) -> tuple[str, ...]:
        """The model that judges."""
        return (self.judge.model,)

    def grade(self, items: Sequence[Item], ask: Ask) -> list[Mark]:
        """A mark for each item, from 0 to 1, with the judge's reasons; unreadable ones have none.

        Nothing is asked twice: at temperature 0 the reply would be the same.
        """
        replies = ask([self._question(item) for item in items])
        return [mark(reply, "score", self._score) for reply in replies]

    def biases(self, rows: Sequence[Row], arms: Sequence[Named]) -> tuple[Bias, ...]:
        """What it may have favoured beside quality; the first of `arms` is the baseline."""
        return biases(rows, arms, {self.name: self.judge_models})

    def _question(self, item: Item) -> Question:
        code, texts = fenced(self.seed, {**material(item.prompt), "answer": said(item.answer)})
        low, high = self.scale
        asked = ASKED.format(rubric=self.rubric, code=code, texts=texts, low=low, high=high)
        messages = (
            ChatMessage(role="system", content=SYSTEM),
            ChatMessage(role="user", content=asked),
        )
        return self.judge.question(messages, who=self.name)

    def _score(self, value: object) -> float:
        low, high = self.scale
        number = number_in(value, "score")
        if not low <= number <= high:
            raise Unreadable(f"the judge's score {number:g} is not from {low:g} to {high:g}")
        return (number - low) / (high - low)


def pointwise(
    judge: JudgeModel,
    *,
    name: str = "judge",
    rubric: str = RUBRIC,
    scale: tuple[float, float] = (1, 5),
    seed: int = 0,
) -> Pointwise:
    """A judge that scores each answer by a rubric, on a scale that is mapped to 0 to 1.

    It is shown the conversation, the expected answer as a reference where there is one, and the
    answer, never who gave it.  Its reply ends with a JSON object; one that does not leaves the
    answer ungraded.  Zheng et al. 2023, "Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena".

    Args:
        judge: who is asked.
        name: the grader's name in reports.
        rubric: what counts, and what each score means.
        scale: the worst and the best score.
        seed: of the codes that fence in what is judged.

    Raises:
        ConfigError: the scale does not rise, or the judge names no model.
    """
    return Pointwise(judge, name, rubric, scale, seed)


def number_in(value: object, key: str) -> float:
    """A JSON number.  Unreadable if it is something else, or larger than a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unreadable(f"the judge's {key} is no number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Unreadable(f"the judge's {key} is too large a number")
    return number
