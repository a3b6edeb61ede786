"""Arms: who answers, and how it is asked.

Arm("base", "smollm2-135m", backend)
Arm("rag", "smollm2-135m", backend, documents=Documents.read("handbook/"))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ftjobs.backends.base import Backend
from ftjobs.errors import ConfigError
from ftjobs.evals.promptrow import Prompt, is_system, without_system
from ftjobs.evals.result import Answer
from ftjobs.schema import ChatMessage, Sampling

if TYPE_CHECKING:
    from ftjobs.evals.retrieval import Documents
    from ftjobs.evals.stored import Stored

__all__ = ["GREEDY", "Arm", "Ask", "Price", "Question"]

GREEDY = Sampling(temperature=0, max_tokens=512)
"""The likeliest token every time, so that the comparison can be repeated; and an end, since an
untuned model may never find one."""


class Price(NamedTuple):
    """US dollars for a million tokens that a model reads, and that it writes."""

    read: float
    written: float


@dataclass(frozen=True, slots=True)
class Question:
    """One answer that is wanted.

    Attributes:
        backend: who is asked.
        who: on whose account it goes: an arm's name, or a judge's.
        sample: which of several answers to the same question, from 0.
        sampling: how it is drawn; its `n` is 1.
        price: what it costs; None where that is unknown.
    """

    backend: Backend
    model: str
    messages: tuple[ChatMessage, ...]
    who: str
    sampling: Sampling = GREEDY
    sample: int = 0
    tools: tuple[Mapping[str, Any], ...] = ()
    price: Price | None = None


Ask = Callable[[Sequence[Question]], Sequence[Answer]]
"""Puts questions; the answers are in their order, and one that could not be had says why."""


@dataclass(frozen=True, slots=True)
class Arm:
    """A model and how it is asked.

    Attributes:
        name: unique in a comparison.
        model: a base model, a tuned model or a checkpoint.
        backend: where it is; None where all its answers are stored.
        sampling: how answers are drawn; greedily by default.
        system: a system message; it replaces the prompt's own.
        examples: prompts with their expected answers, shown before the question, without their
            system messages.  One that is the question itself is not shown with it.
        price: what it costs.
        documents: what is searched for passages that go before the question.
        stored: answers that were given before; nobody is asked.

    Raises:
        ConfigError: an example cannot be shown: no answer is expected, or a function call is.
    """

    name: str
    model: str
    backend: Backend | None = None
    sampling: Sampling = GREEDY
    system: str | None = None
    examples: tuple[Prompt, ...] = ()
    price: Price | None = None
    documents: Documents | None = None
    stored: Stored | None = None

    def __post_init__(self) -> None:
        for example in self.examples:
            if example.calls:
                reason = "calls functions, and nobody knows what they returned"
            elif example.expected is None:
                reason = "has no expected answer"
            else:
                continue
            place = "" if example.line is None else f" in line {example.line}"
            raise ConfigError(
                f"{self.name}: the example{place} {reason}", hint="Leave it out of the examples."
            )

    def messages(self, prompt: Prompt) -> tuple[ChatMessage, ...]:
        """What the model is sent for a prompt; the same for the same prompt, always."""
        start = [message for message in prompt.messages if is_system(message)]
        if self.system is not None:
            start = [ChatMessage(role="system", content=self.system)]
        asked = without_system(prompt.messages)
        shown = list(self._shown(asked))
        if self.documents is not None:
            asked = self.documents.shown(asked)
        return (*start, *shown, *asked)

    def stored_answer(self, prompt: Prompt, sample: int = 0) -> Answer | None:
        """The stored answer to a prompt; None where there is none, or nothing is stored."""
        return None if self.stored is None else self.stored.find(self.messages(prompt), sample)

    def traits(self) -> tuple[str, ...]:
        """What sets it apart beside its model and its sampling, in words."""
        count = len(self.examples)
        found = [
            self.system is not None and f"system prompt ({len(self.system):,} characters)",
            count and f"{count:,} example{'' if count == 1 else 's'}",
            self.documents is not None and self.documents.about(),
            self.stored is not None and f"stored answers ({self.stored.name})",
        ]
        return tuple(trait for trait in found if isinstance(trait, str))

    def _shown(self, asked: tuple[ChatMessage, ...]) -> Iterator[ChatMessage]:
        for example in self.examples:
            if (messages := without_system(example.messages)) != asked:
                yield from messages
                yield ChatMessage(role="assistant", content=example.expected)
