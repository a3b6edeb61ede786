"""A judge that says which of two answers is better, asked in both orders.

pairwise(JudgeModel(backend, "gpt-4o"))
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from textwrap import shorten

from ftjobs.errors import ConfigError
from ftjobs.evals.arms import Ask, Question
from ftjobs.evals.graders.base import Pair
from ftjobs.evals.judges.base import SYSTEM, JudgeModel, fenced, material, said
from ftjobs.evals.judges.bias import Named, biases
from ftjobs.evals.judges.choices import IDENTICAL
from ftjobs.evals.judges.replies import Unreadable, verdict
from ftjobs.evals.result import Answer, Bias, Preference, Row, Winner
from ftjobs.schema import ChatMessage

__all__ = ["CRITERIA", "Pairwise", "pairwise"]

CRITERIA = """\
Which answer does better what the conversation asks for: which is more correct and complete, \
follows the instructions given, is in the language and form that are expected, and adds less that \
is wrong or beside the point? Where there is a reference, the better answer is closer to it in \
substance."""

ASKED = """\
What counts:
{rubric}

The code of this message is {code}.

{texts}

Compare answer A with answer B. First give your reasons in a few sentences. Then end with one line \
that is nothing but this JSON object, where W is "A", "B", or "tie" if neither is better:
{{"winner": W}}"""


@dataclass(frozen=True, slots=True)
class Pairwise:
    """A grader that asks a model to choose; see `pairwise`."""

    judge: JudgeModel
    name: str = "pairwise"
    rubric: str = CRITERIA
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.judge.model:
            raise ConfigError("the judge has no model", hint="Name the model that judges.")

    @property
    def about(self) -> str:
        """Who judges, by what."""
        rubric = shorten(self.rubric, 300, placeholder=" …")
        return f"{self.judge.model} chooses, asked in both orders: {rubric}"

    @property
    def judge_models(self) -> tuple[str, ...]:
        """The model that judges."""
        return (self.judge.model,)

    def prefer(self, pairs: Sequence[Pair], ask: Ask) -> list[Preference]:
        """A preference for each pair, with the judge's reasons.

        The questions are put in an order that hangs on the seed and on them alone, so that
        neither order is always asked first.
        """
        questions = {
            (number, arm_first): self._question(pair, arm_first=arm_first)
            for number, pair in enumerate(pairs)
            if said(pair.answer) != said(pair.baseline)
            for arm_first in (True, False)
        }
        order = sorted(questions, key=lambda place: _rank(self.seed, questions[place]))
        replies = dict(zip(order, ask([questions[place] for place in order]), strict=True))
        return [
            _preference(replies[number, True], replies[number, False])
            if (number, True) in replies
            else Preference(arm_first="tie", baseline_first="tie", notes=(IDENTICAL, IDENTICAL))
            for number in range(len(pairs))
        ]

    def biases(self, rows: Sequence[Row], arms: Sequence[Named]) -> tuple[Bias, ...]:
        """What it may have favoured beside quality; the first of `arms` is the baseline."""
        return biases(rows, arms, {self.name: self.judge_models})

    def _question(self, pair: Pair, *, arm_first: bool) -> Question:
        seats = (pair.answer, pair.baseline) if arm_first else (pair.baseline, pair.answer)
        answers = {"answer A": said(seats[0]), "answer B": said(seats[1])}
        code, texts = fenced(self.seed, {**material(pair.prompt), **answers})
        asked = ASKED.format(rubric=self.rubric, code=code, texts=texts)
        messages = (
            ChatMessage(role="system", content=SYSTEM),
            ChatMessage(role="user", content=asked),
        )
        return self.judge.question(messages, who=self.name)


def pairwise(
    judge: JudgeModel, *, name: str = "pairwise", rubric: str = CRITERIA, seed: int = 0
) -> Pairwise:
    """A judge that says which of two answers is better.

    Each pair is put to it twice, once in each order, as "answer A" and "answer B"; if the two
    verdicts disagree, it is a tie (Zheng et al. 2023, section 3.4).  Identical answers are a tie
    without asking.  A reply that does not end with the JSON object asked for is no verdict.

    Args:
        judge: who is asked.
        name: the grader's name in reports.
        rubric: what makes an answer the better one.
        seed: of the order of the questions, and of the codes that fence in what is judged.

    Raises:
        ConfigError: the judge names no model.
    """
    return Pairwise(judge, name, rubric, seed)


def _rank(seed: int, question: Question) -> str:
    content = [seed, *(str(message.content) for message in question.messages)]
    return sha256(json.dumps(content).encode()).hexdigest()


def _preference(arm_first: Answer, baseline_first: Answer) -> Preference:
    one, reasons = _winner(arm_first, {"a": "arm", "b": "baseline", "tie": "tie"})
    other, others = _winner(baseline_first, {"a": "baseline", "b": "arm", "tie": "tie"})
    return Preference(arm_first=one, baseline_first=other, notes=(reasons, others))


def _winner(reply: Answer, words: dict[str, Winner]) -> tuple[Winner | None, str]:
    try:
        value, reasons = verdict(reply, "winner")
        return _word(value, words), reasons
    except Unreadable as error:
        return None, str(error)


def _word(value: object, words: dict[str, Winner]) -> Winner:
    word = value.strip().lower() if isinstance(value, str) else ""
    if word not in words:
        raise Unreadable('the judge\'s winner is neither "A" nor "B" nor "tie"')
    return words[word]
