"""Rescue: store a model's answers while it lives.

    done = rescue(backend, model, read_prompts("eval.jsonl"), Path("answers.jsonl"))

Every answer is paid for once: it is on the disk before it counts, and a later run asks only what
is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from ftjobs.backends.base import Backend, Trainer
from ftjobs.errors import (
    AuthError,
    BackendError,
    ConfigError,
    NotFoundError,
    QuotaError,
    ServiceError,
)
from ftjobs.evals.answers import AnswerFile, Key, StoredAnswer, key_of, prompt_id
from ftjobs.evals.pace import Pace, Turn
from ftjobs.evals.pool import pooled
from ftjobs.evals.prompts import Prompt
from ftjobs.jobs.patience import Patience
from ftjobs.jobs.watch import PASSING
from ftjobs.schema import ChatMessage, Choice, Completion, Sampling

__all__ = ["LIKELIEST", "Failure", "Rescue", "rescue", "shutdown_date", "with_system"]

LIKELIEST = Sampling(temperature=0)
"""The likeliest token every time, and no end but the model's own: a cut answer could not be asked
for again."""

HOPELESS = (AuthError, NotFoundError, QuotaError)
"""What every other prompt would meet too."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A prompt without an answer: its line in the file, and what the service said."""

    line: int | None
    reason: str
    final: bool


@dataclass(frozen=True, slots=True)
class Rescue:
    """What a run did, and what is stored now.

    Attributes:
        keys: all answers that are wanted, in the order of the prompts.
        stored: how many of them are in the file.
        fresh: how many of those this run asked for.
        left: prompts that were not asked because of the limit.
        tokens_read: tokens of the prompts that this run has sent, as the service counts them.
        tokens_written: tokens of the answers.
        failures: prompts that the service did not answer.
    """

    keys: tuple[Key, ...]
    stored: int
    fresh: int
    left: int
    tokens_read: int
    tokens_written: int
    failures: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class _Question:
    prompt: Prompt
    id: str
    samples: tuple[int, ...]  # that are missing


def rescue(
    backend: Backend,
    model: str,
    prompts: Iterable[Prompt],
    out: Path,
    *,
    sampling: Sampling = LIKELIEST,
    limit: int | None = None,
    threads: int | None = None,
    progress: Callable[[int, int, int], None] = lambda _done, _total, _tokens: None,
) -> Rescue:
    """Ask `model` every prompt that `out` has no answer to.

    Prompts with the same messages are asked once.  In the end the answers stand in the order of
    the prompts, behind those to other prompts, of other models and other sampling.

    Args:
        backend: where the model lives.
        model: a base model, a tuned model or a checkpoint.
        prompts: what is asked.
        out: where the answers are stored, or have been.
        sampling: how they are drawn; `n` is the number of answers a prompt.
        limit: prompts that are asked at most; a later run goes on.
        threads: requests under way at once; the backend knows best by default.
        progress: called with (answers stored, answers wanted, tokens so far).

    Raises:
        ConfigError: `out` holds something else, or several answers are to be drawn greedily.
        BackendError: there is no such model, no right or no credit, or the service has stopped
            answering; every answer that came is stored.
        FtjobsError: `out` cannot be written.
    """
    if sampling.n > 1 and sampling.temperature == 0:
        raise ConfigError(
            f"{sampling.n} answers at temperature 0 are one answer {sampling.n} times",
            hint="Choose a temperature above 0, or one answer.",
        )
    named: dict[str, Prompt] = {}
    for prompt in prompts:
        named.setdefault(prompt_id(prompt.messages), prompt)
    keys = [key_of(name, i, model, sampling) for name in named for i in range(sampling.n)]
    with AnswerFile.opened(out) as file:
        questions = list(_missing(named, file, model, sampling))
        asked = questions if limit is None else questions[:limit]
        run = _Run(backend, model, sampling, file, progress)
        run.ask_all(asked, (sum(key in file for key in keys), len(keys)), threads)
        file.sort(keys)
        stored = sum(key in file for key in keys)
    return Rescue(
        keys=tuple(keys),
        stored=stored,
        fresh=run.fresh,
        left=len(questions) - len(asked),
        tokens_read=run.tokens_read,
        tokens_written=run.tokens_written,
        failures=tuple(run.failures),
    )


def _missing(
    named: Mapping[str, Prompt], file: AnswerFile, model: str, sampling: Sampling
) -> Iterator[_Question]:
    for name, prompt in named.items():
        samples = tuple(
            i for i in range(sampling.n) if key_of(name, i, model, sampling) not in file
        )
        if samples:
            yield _Question(prompt, name, samples)


@dataclass
class _Outcome:
    """What came of one question."""

    answers: int = 0
    read: int = 0
    written: int = 0
    failure: Failure | None = None


class _Run:
    """One run over many prompts.  Threads ask and store; counts are kept by the caller's."""

    def __init__(
        self,
        backend: Backend,
        model: str,
        sampling: Sampling,
        file: AnswerFile,
        progress: Callable[[int, int, int], None],
    ) -> None:
        self.fresh = self.tokens_read = self.tokens_written = 0
        self.failures: list[Failure] = []
        self._backend = backend
        self._model = model
        self._sampling = sampling
        self._file = file
        self._progress = progress
        self._patience = Patience()

    def ask_all(
        self, questions: Sequence[_Question], place: tuple[int, int], threads: int | None
    ) -> None:
        """Ask every question; the first hopeless error ends it, once all under way are stored."""
        most = min(threads or self._backend.capabilities.requests_at_once, len(questions))
        self._patience = Patience(max(3, most))
        self._progress(*place, 0)
        with closing(pooled(questions, self._ask, Pace(most))) as outcomes:
            for outcome in outcomes:
                self._count(outcome, place)

    def _count(self, outcome: _Outcome, place: tuple[int, int]) -> None:
        self.fresh += outcome.answers
        self.tokens_read += outcome.read
        self.tokens_written += outcome.written
        if outcome.failure:
            self.failures.append(outcome.failure)
        tokens = self.tokens_read + self.tokens_written
        self._progress(place[0] + self.fresh, place[1], tokens)

    def _ask(self, question: _Question, turn: Turn) -> _Outcome:  # noqa: ARG002 - of the pool
        outcome, missing = _Outcome(), question.samples
        try:
            while missing:  # some services give one answer, however many were asked for
                completion = self._complete(question, missing)
                for sample, choice in zip(missing, _choices(completion), strict=False):
                    self._file.add(self._answer(question, sample, completion, choice))
                    outcome.answers += 1
                missing = missing[len(completion.choices) :]
                if completion.usage:
                    outcome.read += completion.usage.prompt_tokens
                    outcome.written += completion.usage.completion_tokens
                self._patience.won()
        except HOPELESS:
            raise
        except BackendError as error:
            if isinstance(error, PASSING):
                self._patience.lost(error)
            outcome.failure = Failure(
                question.prompt.line, error.message, final=not isinstance(error, PASSING)
            )
        return outcome

    def _complete(self, question: _Question, missing: Sequence[int]) -> Completion:
        drawn: dict[str, int] = {"n": len(missing)}
        if self._sampling.seed is not None:  # or a later answer would repeat an earlier one
            drawn["seed"] = (self._sampling.seed + missing[0]) % 2**63
        completion = self._backend.complete(
            self._model,
            question.prompt.messages,
            sampling=self._sampling.model_copy(update=drawn),
        )
        if not completion.choices:
            raise ServiceError(f"{self._backend.name} answered without an answer")
        return completion

    def _answer(
        self, question: _Question, sample: int, completion: Completion, choice: Choice
    ) -> StoredAnswer:
        said = choice.message
        is_text = isinstance(said.content, str) and not said.tool_calls
        return StoredAnswer(
            prompt=question.id,
            sample=sample,
            model=self._model,
            sampling=self._sampling.model_copy(update={"n": 1}),
            messages=question.prompt.messages,
            expected=question.prompt.expected,
            tags=question.prompt.tags,
            answer=said.content if isinstance(said.content, str) else "",
            message=None if is_text else said,
            finish_reason=choice.finish_reason,
            answered_by=completion.model,
            usage=completion.usage if choice is _choices(completion)[0] else None,
            created=completion.created,
        )


def _choices(completion: Completion) -> list[Choice]:
    return sorted(completion.choices, key=lambda choice: choice.index)


# --- before the first question ------------------------------------------------------------------


def with_system(prompts: Iterable[Prompt], text: str) -> list[Prompt]:
    """The prompts with a system message; those that begin with one stay as they are."""
    system = ChatMessage(role="system", content=text)
    return [
        prompt
        if prompt.messages[0].role in ("system", "developer")
        else replace(prompt, messages=(system, *prompt.messages))
        for prompt in prompts
    ]


def shutdown_date(backend: Trainer, model: str) -> str | None:
    """When `model` will be shut down, YYYY-MM-DD: by its own date, or that of its base model.

    None where the service gives neither.  Raises BackendError if it cannot be asked.
    """
    dates = {each.id: each.shutdown_date for each in backend.models()}
    base = model.removeprefix("ft:").partition(":")[0]
    return dates.get(model) or dates.get(base)
