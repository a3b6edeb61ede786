"""Arms: who answers, and how it is asked.

Arm("base", "smollm2-135m", backend)
Arm("rag", "smollm2-135m", backend, documents=Documents.read("handbook/"))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ftjobs.backends.base import Backend
from ftjobs.evals.prompts import Prompt
from ftjobs.evals.result import Answer
from ftjobs.schema import ChatMessage, Sampling

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
        examples: prompts with their expected answers, shown before the question.
        price: what it costs.
    """

    name: str
    model: str
    backend: Backend | None = None
    sampling: Sampling = GREEDY
    system: str | None = None
    examples: tuple[Prompt, ...] = ()
    price: Price | None = None

    def messages(self, prompt: Prompt) -> tuple[ChatMessage, ...]:
        """What the model is sent for a prompt."""
        own = prompt.messages
        start = [message for message in own if message.role in ("system", "developer")]
        if self.system is not None:
            start = [ChatMessage(role="system", content=self.system)]
        rest = [message for message in own if message.role not in ("system", "developer")]
        return (*start, *self._shown(), *rest)

    def _shown(self) -> Iterator[ChatMessage]:
        for example in self.examples:
            yield from (m for m in example.messages if m.role not in ("system", "developer"))
            yield ChatMessage(role="assistant", content=example.expected)
