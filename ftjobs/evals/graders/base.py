"""What a grader is: something that scores answers, or that says which of two is better."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, SupportsFloat, runtime_checkable

from ftjobs.errors import ConfigError, FtjobsError
from ftjobs.evals.arms import Arm, Ask
from ftjobs.evals.prompts import Prompt
from ftjobs.evals.result import Answer, Bias, LabelReport, Mark, Preference, Row

__all__ = ["Biased", "Function", "Grader", "Item", "Pair", "PairGrader", "Reports", "of_texts"]


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


@runtime_checkable
class Reports(Protocol):
    """A grader that has more to say about all answers of an arm together."""

    def report(self, items: Sequence[Item]) -> LabelReport | None:
        """A report on the items of one arm and set; None where there is nothing to report.

        `items` are those that were graded, several samples of a prompt one by one.  The arm's
        name is taken from them; whoever calls fills in the set.
        """
        ...


@runtime_checkable
class Biased(Protocol):
    """A grader that can say what it may have favoured beside quality."""

    def biases(self, rows: Sequence[Row], arms: Sequence[Arm]) -> Sequence[Bias]:
        """What the rows show of it; `arms` are in the order of the comparison."""
        ...


@dataclass(frozen=True, slots=True)
class Function:
    """A grader made of a function of the answer and its prompt.

    The function gives a score: a finite number, which is 0 or 1 (or a bool) for the kind "binary".
    It gives a `Mark` to add a note, and None where the prompt lacks what it needs.
    """

    name: str
    score: Callable[[Answer, Prompt], SupportsFloat | Mark | None]
    kind: Literal["binary", "continuous"] = "continuous"
    about: str = ""
    lacking: str = "no expected answer"

    def grade(self, items: Sequence[Item], ask: Ask) -> list[Mark]:  # noqa: ARG002 - asks nobody
        """A mark for each item.

        Raises:
            ConfigError: the function failed, or gave something that is no score of its kind; the
                grader and the prompt's line are named, what they hold is not.
        """
        return [self._mark(item) for item in items]

    def _mark(self, item: Item) -> Mark:
        try:
            given = self.score(item.answer, item.prompt)
            mark = given if isinstance(given, Mark) else self._plain(given, item)
        except FtjobsError:
            raise
        except Exception as error:
            # What it says may hold the answer, so only its traceback (`--debug`) shows it.
            raise self._wrong(item, f"failed with {type(error).__name__}") from error
        if self.kind == "binary" and mark.score not in (0, 1, None):
            raise self._wrong(item, f"is binary and gave {mark.score:g}, which is not 0 or 1")
        return mark

    def _plain(self, given: SupportsFloat | None, item: Item) -> Mark:
        if given is None:
            return Mark(score=None, note=self.lacking)
        if isinstance(given, str | bytes):
            raise TypeError("a text is no score")
        if not math.isfinite(score := float(given)):
            raise self._wrong(item, f"gave {score}, which is no finite number")
        return Mark(score=score)

    def _wrong(self, item: Item, what: str) -> ConfigError:
        where = "a prompt" if item.prompt.line is None else f"line {item.prompt.line}"
        return ConfigError(
            f"the grader {self.name!r} {what}, on {where}",
            hint="A grader gives a finite number, or None where it cannot grade.",
        )


def of_texts(
    name: str,
    score: Callable[[str, str], SupportsFloat | Mark | None],
    *,
    kind: Literal["binary", "continuous"] = "continuous",
    about: str = "",
) -> Function:
    """A grader made of a function of (the answer's text, the text expected)."""

    def of(answer: Answer, prompt: Prompt) -> SupportsFloat | Mark | None:
        return None if prompt.expected is None else score(answer.text, prompt.expected)

    return Function(name, of, kind, about)
