"""Judges that follow a script, asked without a network, a cache or a clock."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ftjobs.backends.fake import FakeBackend
from ftjobs.errors import FtjobsError
from ftjobs.evals.arms import Arm, Question
from ftjobs.evals.graders.base import Item, Pair
from ftjobs.evals.judges import JudgeModel
from ftjobs.evals.prompts import Prompt
from ftjobs.evals.result import Answer
from ftjobs.schema import ChatMessage

BASE, TUNED = Arm("base", "llama-3-8b"), Arm("tuned", "ft:llama-3-8b:acme::1")

Reply = Callable[[str], str]
"""What a judge says to the text that it is shown."""


def ask(questions: Sequence[Question]) -> list[Answer]:
    """Put every question, one after the other."""
    return [_answer(question) for question in questions]


def _answer(question: Question) -> Answer:
    try:
        completion = question.backend.complete(
            question.model, question.messages, sampling=question.sampling
        )
    except FtjobsError as error:
        return Answer(failure=error.message)
    return Answer(text=completion.text, finish_reason=completion.choices[0].finish_reason)


def judge(reply: Reply | str, model: str = "gpt-4o") -> JudgeModel:
    """A judge that replies so."""

    def answers(_model: str, messages: Sequence[ChatMessage]) -> str:
        return reply if isinstance(reply, str) else reply(str(messages[-1].content))

    return JudgeModel(FakeBackend(models=(model,), answers=answers), model)


def shown(text: str, name: str) -> str:
    """What stands in a block of a judge's message."""
    code = re.search(r"^The code of this message is (\w+)\.$", text, re.MULTILINE)
    assert code is not None
    found = re.search(
        rf"^<<{name} {code[1]}>>\n(.*)\n<<end of {name} {code[1]}>>$",
        text,
        re.DOTALL | re.MULTILINE,
    )
    assert found is not None, f"no block {name}"
    return found[1]


def prompt(question: str = "What is 2 + 2?", expected: str | None = None) -> Prompt:
    """A question, and the answer expected."""
    return Prompt((ChatMessage(role="user", content=question),), expected)


def item(text: str, asked: Prompt | None = None) -> Item:
    """An answer to grade."""
    return Item(asked or prompt(), Answer(text=text), TUNED)


def pair(mine: str, other: str, asked: Prompt | None = None) -> Pair:
    """Two answers to choose from: the tuned model's and the baseline's."""
    return Pair(asked or prompt(), Answer(text=mine), Answer(text=other), TUNED, BASE)
