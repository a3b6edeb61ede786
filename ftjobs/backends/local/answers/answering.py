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
from typing import TYPE_CHECKING, Any

from ftjobs.backends.base import Likelihood, Request
from ftjobs.backends.local import models, openmp
from ftjobs.backends.local.answers.beside import Beside
from ftjobs.backends.local.answers.gathered import Answered, Gathered
from ftjobs.backends.local.store import Store
from ftjobs.backends.local.templates import template_messages
from ftjobs.errors import (
    BackendError,
    ConfigError,
    InvalidRequestError,
    ModelError,
    NotFoundError,
    ServiceError,
    StoreError,
    UnsupportedError,
)
from ftjobs.schema import ChatMessage, Choice, Completion, Delta

if TYPE_CHECKING:
    from ftjobs.backends.local.answers.batch import Found
    from ftjobs.backends.local.answers.engine import Engine, Question
    from ftjobs.backends.local.answers.labels import LabelQuestion, Labels
    from ftjobs.backends.local.answers.shared import SharedBatch

    Answers = Engine | Labels
    """What answers: `Engine` for decoders, `Seq2Seq`, which is one, for encoder-decoders."""

Refusal = BackendError | ConfigError
Place = tuple[Path, str, str]
"""Folder, dtype and fingerprint of a base model: what is kept in memory once."""


class Answering:
    """Answers from the base models and the fine-tuned models of a store."""

    def __init__(self, store: Store, cache: Path) -> None:
        self.store, self.cache = store, cache
        self._engines: dict[Place, Answers] = {}
        self._batches: dict[Place, SharedBatch] = {}
        self._prepared: set[str] = set()
        self._lock = threading.Lock()
        # Models are loaded one by one: transformers changes what all threads share as it does so.
        self._loading = threading.Lock()

    def complete(self, request: Request) -> Completion:
        """The whole answer.  Raises as `stream`."""
        gathered = Gathered(request.sampling)
        gathered.take(self._said(request, whole=True))
        return _completion(request.model, gathered.answered())

    def stream(self, request: Request) -> Iterator[Delta]:
        """The answer piece by piece, written in one batch with those to all who ask now.

        Raises:
            NotFoundError: no such fine-tuned model or checkpoint.
            ModelError: no such base model, or an adapter that is damaged.
            InvalidRequestError: the prompt cannot be rendered or is too long, or no answer has
                the form that is asked for.
            ServiceError: the model stopped: there is no memory, for one.
        """
        return self._said(request, whole=False)

    def _said(self, request: Request, *, whole: bool) -> Iterator[Delta]:
        place, adapter = self._place(request.model)
        engine = self._engine(place)
        with _refusing(request.model):
            question: Any = _question(engine, request, adapter)
            speaker = self._shared(place, engine) if engine.joins(question) else engine
            yield from speaker.say(question, whole=whole)

    def close(self) -> None:
        """End the answers that are being written in batches with others."""
        with self._lock:
            batches = list(self._batches.values())
        for shared in batches:
            shared.close()

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
        for found in _likelihoods(self._engine(place), model, adapter, conversations):
            yield found if isinstance(found, Likelihood) else _refusal(model, found)

    # --- where answers come from -------------------------------------------------------------

    def _try_place(self, model: str) -> tuple[Place, Path | None] | Refusal:
        try:
            return self._place(model)
        except (BackendError, ConfigError) as error:
            return error

    def _place(self, model: str) -> tuple[Place, Path | None]:
        """Folder and dtype of the base model that answers for `model`, and its adapter."""
        adapter = None
        base = model
        stored: dict[str, Any] = {}
        if model.startswith("ft:"):
            adapter, job = self.store.adapter(model)
            base = job.model
            stored = self.store.recipe(job.id) or {}
        elif not models.is_name(base):
            raise NotFoundError(f"no model {model!r}", hint="See: ftjobs models list")
        found = self._prepare(base)
        if stored and stored.get("base", found.fingerprint) != found.fingerprint:
            raise ModelError(
                f"the files of {base} have changed since {model} was trained on them",
                hint="Put the old files back, or train again on the new ones.",
            )
        dtype = stored.get("recipe", {}).get("dtype")
        dtype = dtype or models.pick_dtype(models.pick_device())
        return (found.folder, dtype, found.fingerprint), adapter

    def _prepare(self, base: str) -> models.BaseModel:
        """A base model whose files are here; the first time they may have to be made."""
        if base in self._prepared:
            return models.prepare(base, self.cache)
        with self._loading:
            if "torch" not in sys.modules:
                openmp.prepare_this_process()
            found = models.prepare(base, self.cache)
        self._prepared.add(base)
        return found

    def _engine(self, place: Place) -> Answers:
        """The base model of this folder and dtype, in memory.

        One whose files have changed since it was loaded is forgotten.
        """
        if (found := self._engines.get(place)) is not None:  # whatever else is being loaded
            return found
        with self._loading:
            if (found := self._engines.get(place)) is None:
                self._forget(*place[:2])
                found = self._engines[place] = _open(*place[:2])
            return found

    def _forget(self, folder: Path, dtype: str) -> None:
        with self._lock:
            for old in [each for each in self._engines if each[:2] == (folder, dtype)]:
                del self._engines[old]
                self._batches.pop(old, None)  # it ends with those whom it still serves

    def _is_training(self) -> bool:
        try:
            return self.store.waiting()
        except StoreError:  # no reason not to answer
            return False

    def _shared(self, place: Place, engine: Any) -> SharedBatch:
        from ftjobs.backends.local.answers.shared import SharedBatch

        with self._lock:
            shared = self._batches.get(place)
            if shared is None or shared.engine is not engine:
                beside = Beside(self._is_training)
                shared = self._batches[place] = SharedBatch(engine, rest=beside.rest)
            return shared


def _open(folder: Path, dtype: str) -> Answers:
    """What answers for a base model's family."""
    kind, device = models.family(folder), models.pick_device()
    if kind == "classifier":
        from ftjobs.backends.local.answers.labels import Labels

        return Labels(folder, dtype=dtype, device=device)
    if kind == "encoder-decoder":
        from ftjobs.backends.local.answers.seq2seq import Seq2Seq

        return Seq2Seq(folder, dtype=dtype, device=device)
    from ftjobs.backends.local.answers.engine import Engine

    return Engine(folder, dtype=dtype, device=device)


def _likelihoods(
    engine: Answers,
    model: str,
    adapter: Path | None,
    conversations: Sequence[Sequence[ChatMessage]],
) -> Iterator[Likelihood | ValueError]:
    from ftjobs.backends.local.answers.engine import Engine
    from ftjobs.backends.local.answers.likelihood import likelihoods
    from ftjobs.backends.local.answers.seq2seq import Seq2Seq

    if not isinstance(engine, Engine):
        raise UnsupportedError(
            f"{model} is a classifier: it has no likelihood of a text",
            hint="Compare its answers, by the grader exact for example.",
        )
    if isinstance(engine, Seq2Seq):
        return engine.likelihoods(adapter, conversations)
    return likelihoods(engine, adapter, conversations)


def _question(engine: Answers, request: Request, adapter: Path | None) -> Question | LabelQuestion:
    messages = template_messages(request.messages)
    return engine.question(messages, request.sampling, adapter=adapter, tools=request.tools)


def _answers(
    engine: Answers, questions: Sequence[tuple[int, Any]], requests: Sequence[Request]
) -> Iterator[tuple[int, Completion | Refusal]]:
    for number, found in _found(engine, questions):
        model = requests[number].model
        if isinstance(found, Answered):
            yield number, _completion(model, found)
        else:
            yield number, _refusal(model, found)


def _found(engine: Answers, questions: Sequence[tuple[int, Any]]) -> Iterator[Found]:
    from ftjobs.backends.local.answers.batch import answers
    from ftjobs.backends.local.answers.engine import Engine
    from ftjobs.backends.local.answers.seq2seq import Seq2Seq

    if isinstance(engine, Engine) and not isinstance(engine, Seq2Seq):
        return answers(engine, questions)
    return engine.answers(questions)


def _completion(model: str, found: Answered) -> Completion:
    choices = tuple(
        Choice(
            index=index,
            message=ChatMessage(role="assistant", content=text),
            finish_reason=reason,
            logprobs=found.logprobs[index] if found.logprobs else None,
        )
        for index, (text, reason) in enumerate(zip(found.texts, found.reasons, strict=True))
    )
    return Completion(
        id=f"chatcmpl-{secrets.token_hex(12)}",
        created=int(time.time()),
        model=model,
        choices=choices,
        usage=found.usage,
    )


@contextlib.contextmanager
def _refusing(model: str) -> Iterator[None]:
    """What the engine refuses, as the seam's errors."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        raise _refusal(model, error) from None


def _refusal(model: str, error: Exception) -> Refusal:
    if isinstance(error, BackendError | ConfigError):
        return error
    if isinstance(error, ValueError):
        return InvalidRequestError(f"{model} cannot answer: {error}")
    first = str(error).strip().partition("\n")[0] or type(error).__name__
    return ServiceError(f"{model}: the model stopped: {first}")
