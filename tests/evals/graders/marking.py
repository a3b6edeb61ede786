"""Grading a single answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ftjobs.evals.arms import Arm, Question
from ftjobs.evals.graders import Grader, Item
from ftjobs.evals.prompts import Prompt
from ftjobs.evals.result import Answer, Mark
from ftjobs.schema import ChatMessage

QUESTION = (ChatMessage(role="user", content="What?"),)
ARM = Arm("tuned", "ft:fake-base:acme::1")

Calls = Sequence[Mapping[str, Any]]


def nobody(questions: Sequence[Question]) -> list[Answer]:
    """These graders ask nobody."""
    raise AssertionError(f"{len(questions)} questions were asked")


def item(answer: str | Answer, expected: str | None = None, calls: Calls | None = None) -> Item:
    """An answer of `ARM` to the prompt in line 7."""
    given = Answer(text=answer) if isinstance(answer, str) else answer
    wanted = None if calls is None else tuple(calls)
    return Item(Prompt(QUESTION, expected, line=7, calls=wanted), given, ARM)


def mark(
    grader: Grader, answer: str | Answer, expected: str | None = None, calls: Calls | None = None
) -> Mark:
    """What a grader says of one answer."""
    (found,) = grader.grade([item(answer, expected, calls)], nobody)
    return found


def score(grader: Grader, answer: str, expected: str | None = None) -> float | None:
    """The score of it."""
    return mark(grader, answer, expected).score
