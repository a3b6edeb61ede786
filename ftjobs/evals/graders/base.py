"""What a grader is: something that scores answers, or that says which of two is better."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from ftjobs.evals.arms import Arm, Ask
from ftjobs.evals.prompts import Prompt
from ftjobs.evals.result import Answer, Mark, Preference

__all__ = ["Function", "Grader", "Item", "Pair", "PairGrader"]


@dataclass(frozen=True, slots=True)
class Item:
    """An answer to grade.  A judge must not be told `arm`."""

    prompt: Prompt
    answer: Answer
    arm: Arm


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to choose from.  A judge must not be told whose they are."""

    prompt: Prompt
    answer: Answer
    baseline: Answer
    arm: Arm
    baseline_arm: Arm


@runtime_checkable
class Grader(Protocol):
    """Scores answers one by one.

    `name` is unique in a comparison; `about` says how it was set up, in words.
    """

    @property
    def name(self) -> str:
        """What it is called in reports."""
        ...

    @property
    def kind(self) -> Literal["binary", "continuous"]:
        """Whether scores are 0 or 1, or any number."""
        ...

    @property
    def about(self) -> str:
        """How it was set up."""
        ...

    def grade(self, items: Sequence[Item], ask: Ask) -> Sequence[Mark]:
        """A mark for each item, in their order.

        `ask` puts questions to models: cached, paid for once, many at a time.  Every item has an
        answer; what cannot be graded gets a mark without a score, never a 0.
        """
        ...


@runtime_checkable
class PairGrader(Protocol):
    """Says which of two answers is better, in both orders."""

    @property
    def name(self) -> str:
        """What it is called in reports."""
        ...

    @property
    def about(self) -> str:
        """How it was set up."""
        ...

    def prefer(self, pairs: Sequence[Pair], ask: Ask) -> Sequence[Preference]:
        """A preference for each pair, in their order."""
        ...


@dataclass(frozen=True, slots=True)
class Function:
    """A grader made of a function of the answer and its prompt.

    The function gives a score, or None where the prompt lacks what it needs.
    """

    name: str
    score: Callable[[Answer, Prompt], float | None]
    kind: Literal["binary", "continuous"] = "continuous"
    about: str = ""
    lacking: str = "no expected answer"

    def grade(self, items: Sequence[Item], ask: Ask) -> list[Mark]:  # noqa: ARG002 - asks nobody
        """A mark for each item."""
        return [self._mark(item) for item in items]

    def _mark(self, item: Item) -> Mark:
        score = self.score(item.answer, item.prompt)
        return Mark(score=score, note=self.lacking if score is None else "")
