"""Answers from classifiers (BERT): always the likeliest of the answers that training has seen.

Nothing is drawn, so temperature, seed and the other settings of sampling change nothing, and n
answers are n times the same.  Each checkpoint has its own closed set of answers and its own head,
so each has a copy of its encoder in memory.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ftjobs.backends.local.answers.batch import READ_TOKENS, Found
from ftjobs.backends.local.answers.draw import require_numbers
from ftjobs.backends.local.answers.gathered import Answered
from ftjobs.backends.local.checkpoints import verify
from ftjobs.backends.local.families import configuration, context_length, vocabulary
from ftjobs.backends.local.models import load_model, load_tokenizer, quietly, stop_ids
from ftjobs.backends.local.training.batches import micro_batches
from ftjobs.backends.local.training.classifier import choose
from ftjobs.backends.local.training.pairs import renderer_for, require_labels
from ftjobs.backends.local.training.render import Renderer
from ftjobs.errors import ModelError
from ftjobs.schema import Delta, Sampling, Usage

MAX_MODELS = 4
"""Classifiers kept in memory; the one unused for longest goes first."""


@dataclass(frozen=True)
class Choosing:
    """A classifier in memory: model, renderer and what it chooses among."""

    model: Any
    renderer: Renderer
    labels: tuple[str, ...]


@dataclass(frozen=True)
class LabelQuestion:
    """A prompt for one classifier, answered `n` times."""

    prompt: list[int]
    adapter: Path | None
    n: int


class Labels:
    """The classifiers over one encoder."""

    def __init__(self, folder: Path, *, dtype: str, device: str) -> None:
        self.folder, self.dtype, self.device = folder, dtype, device
        self._models: dict[Path | None, Choosing] = {}
        self._lock = threading.Lock()

    def question(
        self,
        messages: list[dict[str, Any]],
        sampling: Sampling,
        *,
        adapter: Path | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> LabelQuestion:
        """A request, checked and rendered.

        Raises:
            ValueError: the prompt cannot be rendered or is too long, or beams are asked for.
            ModelError: the checkpoint is damaged, or the encoder has not been trained yet.
        """
        if sampling.beams > 1:
            raise ValueError("a classifier chooses its answer: there is nothing to search by beams")
        if sampling.logprobs or sampling.response_format:
            raise ValueError(
                "a classifier chooses its answer: it has no log-probabilities of tokens, and no "
                "other form"
            )
        prompt = self._choosing(adapter).renderer.prompt(messages, list(tools) or None)
        return LabelQuestion(prompt, adapter, sampling.n)

    def joins(self, _question: LabelQuestion) -> bool:
        """See `Engine`: nothing is written, so there is nothing to be written beside."""
        return False

    def say(self, question: LabelQuestion, *, whole: bool = True) -> Iterator[Delta]:  # noqa: ARG002
        """The answer in one piece, n times; the last carries the usage."""
        ((_, found),) = self.answers([(0, question)])
        if not isinstance(found, Answered):
            raise found
        for index, text in enumerate(found.texts):
            usage = found.usage if index + 1 == len(found.texts) else None
            yield Delta(index=index, content=text, finish_reason="stop", usage=usage)

    def answers(self, questions: Sequence[tuple[int, LabelQuestion]]) -> Iterator[Found]:
        """The numbers of questions with their answers, one classifier after another."""
        groups: dict[Path | None, list[tuple[int, LabelQuestion]]] = {}
        for number, question in questions:
            groups.setdefault(question.adapter, []).append((number, question))
        for adapter, members in groups.items():
            sizes = [len(question.prompt) for _, question in members]
            for group in micro_batches(sizes, budget=2 * READ_TOKENS):
                yield from self._answer(adapter, [members[place] for place in group])

    def _answer(
        self, adapter: Path | None, members: Sequence[tuple[int, LabelQuestion]]
    ) -> Iterator[Found]:
        try:
            choosing = self._choosing(adapter)
        except ModelError as error:
            yield from ((number, error) for number, _ in members)
            return
        with self._lock, torch.inference_mode():
            scores = choose(choosing.model, [question.prompt for _, question in members])
        for (number, question), row in zip(members, scores.cpu(), strict=True):
            try:
                require_numbers(row)
            except ValueError as error:
                yield number, error
            else:
                yield number, _answered(question, choosing.labels[int(row.argmax())])

    def _choosing(self, adapter: Path | None) -> Choosing:
        with self._lock:
            if adapter in self._models:
                self._models[adapter] = self._models.pop(adapter)  # now the most recently used
            else:
                self._models[adapter] = self._load(adapter)
            for old in list(self._models)[:-MAX_MODELS]:
                del self._models[old]
            return self._models[adapter]

    def _load(self, adapter: Path | None) -> Choosing:
        labels = self._labels(adapter)
        tokenizer = load_tokenizer(adapter or self.folder)
        renderer = renderer_for(
            "classifier",
            tokenizer,
            stop_ids(tokenizer, self.folder),
            context_length(self.folder),
            labels=labels,
            vocabulary=vocabulary(self.folder),
        )
        heads = labels if adapter else ()  # an encoder of its own answers has its head
        model = load_model(self.folder, dtype=self.dtype, device=self.device, labels=heads)
        if adapter:
            model = _adapted(model, adapter)
        return Choosing(model.eval(), renderer, labels)

    def _labels(self, adapter: Path | None) -> tuple[str, ...]:
        if adapter:
            facts = verify(adapter)
            if facts is None:
                raise ModelError(f"the checkpoint {adapter.name} is damaged or gone")
            return require_labels(facts.get("labels"))
        config = configuration(self.folder)
        names = config.get("id2label") or {}
        known = [str(names[key]) for key in sorted(names, key=int)]
        unnamed = [f"LABEL_{number}" for number in range(len(known))]  # none, where there are two
        trained = "ForSequenceClassification" in str(config.get("architectures"))
        if not trained or known == unnamed:
            raise ModelError(
                f"{self.folder.name} is an encoder without answers of its own",
                hint="Train it first, then ask the fine-tuned model.",
            )
        return tuple(known)


def _adapted(model: Any, adapter: Path) -> Any:
    from peft import PeftModel

    try:
        with quietly():
            return PeftModel.from_pretrained(model, adapter)
    except (RuntimeError, ValueError, KeyError) as error:  # the base is another one now
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(f"{adapter.name} does not fit its base model: {reason}") from None


def _answered(question: LabelQuestion, label: str) -> Answered:
    read = len(question.prompt)
    usage = Usage(prompt_tokens=read, completion_tokens=question.n, total_tokens=read + question.n)
    return Answered((label,) * question.n, ("stop",) * question.n, usage)
