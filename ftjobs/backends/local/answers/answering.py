"""Answers for the seam: from the names of models to engines, and from what these say to nouns.

Nothing here imports torch until an answer is asked for.
"""

from __future__ import annotations

import contextlib
import secrets
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ftjobs.backends.base import Likelihood, Request
from ftjobs.backends.local import models, openmp
from ftjobs.backends.local.store import Store
from ftjobs.errors import BackendError, ConfigError, InvalidRequestError, NotFoundError
from ftjobs.schema import ChatMessage, Choice, Completion, Delta, Usage

if TYPE_CHECKING:
    from ftjobs.backends.local.answers.engine import Engine, Question

Refusal = BackendError | ConfigError
Place = tuple[Path, str]
"""Folder and dtype of a base model: what is kept in memory once."""


class Answering:
    """Answers from the base models and the fine-tuned models of a store."""

    def __init__(self, store: Store, cache: Path) -> None:
        self.store, self.cache = store, cache
        self._engines: dict[Place, Engine] = {}
        self._loading = threading.Lock()

    def complete(self, request: Request) -> Completion:
        """The whole answer.  Raises as `stream`."""
        sampling = request.sampling
        texts = [""] * sampling.n
        reasons: list[str | None] = [None] * sampling.n
        usage = None
        for delta in self.stream(request):
            texts[delta.index] += delta.content
            reasons[delta.index] = delta.finish_reason or reasons[delta.index]
            usage = delta.usage or usage
        return _completion(request.model, texts, reasons, usage)

    def stream(self, request: Request) -> Iterator[Delta]:
        """The answer piece by piece.

        Raises:
            NotFoundError: no such fine-tuned model or checkpoint.
            ModelError: no such base model, or an adapter that is damaged.
            InvalidRequestError: the prompt cannot be rendered or is too long.
        """
        place, adapter = self._place(request.model)
        engine = self._engine(place)
        with _refusing(request.model):
            messages = models.template_messages(request.messages)
            yield from engine.stream(
                messages, request.sampling, adapter=adapter, tools=request.tools
            )

    def complete_many(
        self, requests: Sequence[Request]
    ) -> Iterator[tuple[int, Completion | Refusal]]:
        """The number of each request with its answer, as they come; see `batch`."""
        found: dict[str, tuple[Place, Path | None] | Refusal] = {}
        groups: dict[Place, list[tuple[int, Path | None]]] = {}
        for number, request in enumerate(requests):
            if request.model not in found:
                found[request.model] = self._try_place(request.model)
            where = found[request.model]
            if isinstance(where, tuple):
                groups.setdefault(where[0], []).append((number, where[1]))
            else:
                yield number, where
        for place, members in groups.items():
            yield from self._complete_group(place, members, requests)

    def _complete_group(
        self,
        place: Place,
        members: Sequence[tuple[int, Path | None]],
        requests: Sequence[Request],
    ) -> Iterator[tuple[int, Completion | Refusal]]:
        try:
            engine = self._engine(place)
        except (BackendError, ConfigError) as error:
            yield from ((number, error) for number, _ in members)
            return
        questions = []
        for number, adapter in members:
            try:
                with _refusing(requests[number].model):
                    questions.append((number, _question(engine, requests[number], adapter)))
            except (BackendError, ConfigError) as error:
                yield number, error
        yield from _answers(engine, questions, requests)

    def likelihoods(
        self, model: str, conversations: Sequence[Sequence[ChatMessage]]
    ) -> Iterator[Likelihood | Refusal]:
        """For each conversation, in order, how the model foresees its last turn.

        Raises:
            NotFoundError: no such fine-tuned model or checkpoint.
            ModelError: no such base model, or a checkpoint that is damaged.
        """
        place, adapter = self._place(model)
        engine = self._engine(place)
        from ftjobs.backends.local.answers.likelihood import likelihoods

        for found in likelihoods(engine, adapter, conversations):
            yield found if isinstance(found, Likelihood) else _refusal(model, found)

    # --- where answers come from -------------------------------------------------------------

    def _try_place(self, model: str) -> tuple[Place, Path | None] | Refusal:
        try:
            return self._place(model)
        except (BackendError, ConfigError) as error:
            return error

    def _place(self, model: str) -> tuple[Place, Path | None]:
        """Folder and dtype of the base model that answers for `model`, and its adapter."""
        adapter = dtype = None
        base = model
        if model.startswith("ft:"):
            adapter, job = self.store.adapter(model)
            base = job.model
            dtype = (self.store.recipe(job.id) or {}).get("recipe", {}).get("dtype")
        elif not models.is_name(base):
            raise NotFoundError(f"no model {model!r}", hint="See: ftjobs models list")
        with self._loading:
            if "torch" not in sys.modules:
                openmp.prepare_this_process()
            folder = models.prepare(base, self.cache).folder
            return (folder, dtype or models.pick_dtype(models.pick_device())), adapter

    def _engine(self, place: Place) -> Engine:
        """The base model of this folder and dtype, in memory."""
        from ftjobs.backends.local.answers.engine import Engine

        with self._loading:
            if place not in self._engines:
                folder, dtype = place
                self._engines[place] = Engine(folder, dtype=dtype, device=models.pick_device())
            return self._engines[place]


def _question(engine: Engine, request: Request, adapter: Path | None) -> Question:
    messages = models.template_messages(request.messages)
    return engine.question(messages, request.sampling, adapter=adapter, tools=request.tools)


def _answers(
    engine: Engine, questions: Sequence[tuple[int, Question]], requests: Sequence[Request]
) -> Iterator[tuple[int, Completion | Refusal]]:
    from ftjobs.backends.local.answers.asked import Answered
    from ftjobs.backends.local.answers.batch import answers

    for number, found in answers(engine, questions):
        model = requests[number].model
        if isinstance(found, Answered):
            yield number, _completion(model, found.texts, found.reasons, found.usage)
        else:
            yield number, _refusal(model, found)


def _completion(
    model: str, texts: Sequence[str], reasons: Sequence[str | None], usage: Usage | None
) -> Completion:
    choices = tuple(
        Choice(
            index=index,
            message=ChatMessage(role="assistant", content=text),
            finish_reason=reason,
        )
        for index, (text, reason) in enumerate(zip(texts, reasons, strict=True))
    )
    return Completion(
        id=f"chatcmpl-{secrets.token_hex(12)}",
        created=int(time.time()),
        model=model,
        choices=choices,
        usage=usage,
    )


@contextlib.contextmanager
def _refusing(model: str) -> Iterator[None]:
    """What the engine refuses, as the seam's errors."""
    try:
        yield
    except ValueError as error:
        raise _refusal(model, error) from None


def _refusal(model: str, error: Exception) -> Refusal:
    if isinstance(error, BackendError | ConfigError):
        return error
    return InvalidRequestError(f"{model} cannot answer: {error}")
