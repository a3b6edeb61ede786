"""BLEU of the answers that the model writes to the validation examples while it is trained.

Papineni et al. 2002, of each answer by itself and then the mean, from 0 to 100, as sacrebleu's
`sentence_bleu` computes it, with only the orders of n-grams that the texts have.  Unlike corpus
BLEU, it can tell short answers from wrong ones.  Texts in scripts without spaces, such as
Japanese, are compared by characters: their scores are not on the scale of English ones.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Protocol

from ftjobs.backends.local.templates import template_messages
from ftjobs.backends.local.training.writing import Letters, Writes
from ftjobs.errors import TrainingError
from ftjobs.schema import Example

EXAMPLES = 100
"""Of more validation examples, so many are asked, evenly spread over the file."""
MARGIN = 16
"""An answer may have twice the tokens of the expected one and these."""
_READ = 50_000
_SPACELESS = ("CJK", "HIRAGANA", "KATAKANA", "IDEOGRAPHIC", "THAI", "LAO", "KHMER", "MYANMAR")


class Prompts(Protocol):
    """What is needed of a renderer; see `render.Renderer`."""

    @property
    def tokenizer(self) -> Any:
        """That of the model."""
        ...

    @property
    def context_length(self) -> int:
        """The most tokens that the model reads and writes."""
        ...

    def prompt(self, messages: list[dict[str, Any]], tools: Any = None) -> list[int]:
        """The tokens that a model reads before it answers."""
        ...


@dataclass(frozen=True)
class Question:
    """A prompt in token ids, the expected text, and how many tokens the answer may have."""

    prompt: tuple[int, ...]
    expected: str
    limit: int

    @property
    def size(self) -> int:
        """Tokens that may be computed for it."""
        return len(self.prompt) + self.limit


@dataclass(frozen=True)
class Exam:
    """What is asked in every full validation of a run, and how answers become text."""

    questions: tuple[Question, ...]
    letters: Letters


def spread(places: Sequence[int], most: int = EXAMPLES) -> list[int]:
    """At most so many of the places, evenly spread, in their order."""
    count = min(most, len(places))
    return [places[index * len(places) // count] for index in range(count)]


def questions(renderer: Prompts, examples: Iterable[Example]) -> list[Question]:
    """What each example asks before its last trained answer; one without text is passed over.

    Raises:
        TrainingError: not one of them can be asked.
    """
    found = [question for example in examples if (question := _question(renderer, example))]
    if not found:
        raise TrainingError(
            "no validation example has an answer in text that BLEU could be computed of",
            code="invalid_validation_file",
            param="evaluation_metric",
            hint="Choose evaluation_metric loss.",
        )
    return found


def _question(renderer: Prompts, example: Example) -> Question | None:
    messages = template_messages(example.messages)
    trained = [
        index
        for index, message in enumerate(example.messages)
        if message.role == "assistant" and message.weight != 0 and messages[index]["content"]
    ]
    if not trained:
        return None
    expected = messages[trained[-1]]["content"].strip()
    prompt = renderer.prompt(messages[: trained[-1]], example.tools)
    wanted = len(renderer.tokenizer(expected, add_special_tokens=False)["input_ids"])
    limit = min(2 * wanted + MARGIN, renderer.context_length - len(prompt))
    return Question(tuple(prompt), expected, limit) if expected and limit > 0 else None


class Bleu:
    """Asks `questions` and grades the answers.

    Raises:
        TrainingError: sacrebleu is not installed.
    """

    def __init__(self, writer: Writes, questions: Sequence[Question]) -> None:
        try:
            from sacrebleu.metrics.bleu import BLEU
        except ImportError:
            raise TrainingError(
                "evaluation_metric bleu needs sacrebleu",
                code="missing_dependency",
                param="evaluation_metric",
                hint="pip install 'ftjobs[evals]'",
            ) from None
        self.writer, self.questions = writer, questions
        self._words = BLEU(effective_order=True)
        self._characters = BLEU(tokenize="char", effective_order=True)

    def scores(self, questions: Sequence[Question]) -> list[float]:
        """Sentence BLEU of the answer to each question, 0 to 100."""
        prompts, limits = [q.prompt for q in questions], [q.limit for q in questions]
        answers = self.writer.write(prompts, limits) if questions else []
        return [
            self.grade(answer, question.expected)
            for answer, question in zip(answers, questions, strict=True)
        ]

    def mean(self) -> float:
        """The mean over all questions, 0 to 100."""
        return fmean(self.scores(self.questions))

    def grade(self, answer: str, expected: str) -> float:
        """Sentence BLEU, 0 to 100; 100 only if both have the same tokens."""
        metric = self._characters if _is_spaceless(expected) else self._words
        score = metric.sentence_score(answer.strip()[:_READ], [expected[:_READ]])
        return min(float(score.score), 100.0)  # rounding may put it above


def _is_spaceless(text: str) -> bool:
    return any(unicodedata.name(character, "").startswith(_SPACELESS) for character in text)
