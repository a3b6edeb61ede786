"""Asking models many questions: each paid for once, as many at a time as the service bears.

    ask = Asker(cache=AnswerCache(path), max_cost=5.0)
    answers = ask(questions)                      # in their order

An answer is in the cache before it counts, so that a run which was killed goes on where it was.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from ftjobs.backends.base import Backend, Batches, Hosted, Request
from ftjobs.errors import (
    AuthError,
    BackendError,
    CostError,
    FtjobsError,
    InvalidRequestError,
    NotFoundError,
    QuotaError,
    ServiceError,
    UnsupportedError,
)
from ftjobs.evals.arms import Price, Question
from ftjobs.evals.cache import AnswerCache, key_of
from ftjobs.evals.pace import Pace, Turn
from ftjobs.evals.pool import pooled
from ftjobs.evals.promptrow import text_in
from ftjobs.evals.result import Answer
from ftjobs.jobs.patience import Patience
from ftjobs.jobs.watch import PASSING
from ftjobs.schema import Completion, Usage

__all__ = ["HOPELESS", "Asker", "Progress", "Spent", "cost_of"]

HOPELESS = (AuthError, NotFoundError, QuotaError, CostError)
"""What every other question would meet too."""

LONGEST = 4096
"""Tokens that an answer without a limit is reckoned with, where a budget is kept."""

MANY_TOKENS = 10**9
"""More than any request can have."""

Progress = Callable[[int, int, float | None], None]
"""Called with (answers so far, answers in all, US dollars so far or None where nothing has a
price), from the thread that asks."""


def _quiet(_done: int, _total: int, _usd: float | None) -> None:
    pass


@dataclass
class Spent:
    """What the questions on one account took in this run: answers, and US dollars."""

    asked: int = 0
    usd: float | None = None


class Asker:
    """Puts questions to models; see `ftjobs.evals.arms.Ask`.

    Args:
        cache: what is known already, and where answers are kept.
        fresh: ask anew what is known from before; the new answers replace the old.
        threads: requests under way at once at most; the backend knows best by default.
        max_cost: US dollars that may be spent; None for no limit.
        progress: see `Progress`.

    Attributes:
        spent: what this run took, by account.
        reused: answers that were known from before.
        oldest: the age of the oldest of them in seconds; None if there is none.
    """

    def __init__(
        self,
        *,
        cache: AnswerCache | None = None,
        fresh: bool = False,
        threads: int | None = None,
        max_cost: float | None = None,
        progress: Progress = _quiet,
    ) -> None:
        self.spent: defaultdict[str, Spent] = defaultdict(Spent)
        self.reused = 0
        self.oldest: float | None = None
        self._cache = cache
        self._fresh = fresh
        self._threads = threads
        self._budget = _Budget(max_cost)
        self._progress = progress
        self._answers: dict[str, Answer] = {}

    def __call__(self, questions: Sequence[Question]) -> list[Answer]:
        """The answers, in order; the same question is asked once.

        Raises:
            BackendError: a model cannot be asked at all, or a service has stopped answering.
            ConfigError: a model cannot be had.
            CostError: the budget is spent; what came is kept.
            StoreError: an answer cannot be kept.
        """
        keys = [key_of(question) for question in questions]
        wanted = dict(zip(keys, questions, strict=True))
        self._recall(wanted)
        missing = {key: q for key, q in wanted.items() if key not in self._answers}
        done, total = len(wanted) - len(missing), len(wanted)
        self._progress(done, total, self._budget.known)
        for key, answer in self._ask_all(missing):
            self._answers[key] = answer
            done += 1
            self._progress(done, total, self._budget.known)
        return [self._answers[key] for key in keys]

    def most(self, questions: Iterable[Question]) -> tuple[int, int, float | None]:
        """How many different questions these are, how many of them have no answer yet, and the
        most US dollars that those can cost; None where one of them has no known price.
        """
        wanted = {key_of(question): question for question in questions}
        self._recall(wanted)
        missing = [q for key, q in wanted.items() if key not in self._answers]
        costs = [_most(question) for question in missing]
        usd = None if None in costs else sum(cost or 0.0 for cost in costs)
        return len(wanted), len(missing), usd

    def _recall(self, wanted: Mapping[str, Question]) -> None:
        unknown = [key for key in wanted if key not in self._answers]
        if self._cache is None or self._fresh or not unknown:
            return
        found, age = self._cache.known(unknown)
        self._answers |= found
        self.reused += len(found)
        if age is not None:
            self.oldest = age if self.oldest is None else max(age, self.oldest)

    def _ask_all(self, missing: Mapping[str, Question]) -> Iterator[tuple[str, Answer]]:
        groups: defaultdict[int, dict[str, Question]] = defaultdict(dict)
        for key, question in missing.items():
            groups[id(question.backend)][key] = question
        for group in groups.values():
            backend = next(iter(group.values())).backend
            ask = self._ask_together if isinstance(backend, Batches) else self._ask_each
            yield from ask(backend, group)

    def _ask_each(
        self, backend: Backend, group: Mapping[str, Question]
    ) -> Iterator[tuple[str, Answer]]:
        most = min(self._threads or backend.capabilities.requests_at_once, len(group))
        pace, patience = Pace(most), Patience(max(3, most))
        todo = [(key, question) for key, question in group.items()]

        def ask(task: tuple[str, Question], turn: Turn) -> tuple[str, Answer]:
            key, question = task
            return key, self._ask(key, question, turn, patience)

        with closing(pooled(todo, ask, pace)) as came:
            yield from came

    def _ask(self, key: str, question: Question, turn: Turn, patience: Patience) -> Answer:
        held = self._budget.hold(question)
        try:
            completion = question.backend.complete(
                question.model,
                question.messages,
                sampling=question.sampling,
                tools=question.tools,
            )
            answer = _answer(completion, question, turn.seconds)
        except HOPELESS as error:
            self._budget.release(held)
            _name(error, question)
            raise
        except (BackendError, UnsupportedError) as error:
            self._budget.release(held)
            if isinstance(error, PASSING):
                patience.lost(error)
            return _failed(error)
        patience.won()
        self._keep(key, question, answer, held)
        return answer

    def _ask_together(
        self, backend: Backend, group: Mapping[str, Question]
    ) -> Iterator[tuple[str, Answer]]:
        assert isinstance(backend, Batches)  # noqa: S101 - for the type checker; asked by the caller
        keys, questions = list(group), list(group.values())
        requests = [Request(q.model, q.messages, q.sampling, q.tools) for q in questions]
        with closing(backend.complete_many(requests)) as came:  # type: ignore[type-var]
            for number, outcome in came:
                key, question = keys[number], questions[number]
                if isinstance(outcome, Completion):
                    answer = _answer(outcome, question, None)
                    self._keep(key, question, answer, 0.0)
                elif isinstance(outcome, InvalidRequestError | UnsupportedError):
                    answer = _failed(outcome)
                else:
                    _name(outcome, question)
                    raise outcome
                yield key, answer

    def _keep(self, key: str, question: Question, answer: Answer, held: float) -> None:
        if self._cache is not None:
            self._cache.put(key, answer)
        self._budget.settle(self.spent[question.who], question, answer.usage, held)


def _failed(error: FtjobsError) -> Answer:
    return Answer(failure=error.message or type(error).__name__)


def _name(error: FtjobsError, question: Question) -> None:
    """Say who was asked, so that a judge is not taken for an arm."""
    error.message = f"{question.who}: {error.message}"


class _Budget:
    """What was spent, what is under way, and how much it may become.  Thread-safe."""

    def __init__(self, most: float | None) -> None:
        self._lock = threading.Lock()
        self.known: float | None = None
        self._most = most
        self._held = 0.0

    def hold(self, question: Question) -> float:
        """Set the most that a question can cost aside.  CostError if there is not so much."""
        if self._most is None:
            return 0.0
        cost = _most(question)
        if cost is None:
            raise CostError(
                f"nobody knows what {question.model} costs, so that no budget can be kept",
                hint="Give the arm its price, or leave the budget out.",
            )
        with self._lock:
            if not (self.known or 0.0) + self._held + cost <= self._most:  # so that NaN is refused
                raise CostError(
                    f"the budget of ${self._most:,.2f} does not reach for the next question",
                    hint="What came is kept: run it again with a larger budget to go on.",
                )
            self._held += cost
        return cost

    def release(self, held: float) -> None:
        with self._lock:
            self._held -= held

    def settle(self, spent: Spent, question: Question, usage: Usage | None, held: float) -> None:
        cost = cost_of(usage, question.price)
        with self._lock:
            self._held -= held
            spent.asked += 1
            if cost is None and question.price is not None:
                cost = _most(question)  # the service counts no tokens: the most that it can be
            if cost is not None:
                spent.usd = (spent.usd or 0.0) + cost
                self.known = (self.known or 0.0) + cost


def cost_of(usage: Usage | None, price: Price | None) -> float | None:
    """US dollars for a request; None where tokens or price are unknown."""
    if usage is None or price is None:
        return None
    read, written = usage.prompt_tokens * price.read, usage.completion_tokens * price.written
    return (read + written) / 1_000_000


def _most(question: Question) -> float | None:
    """US dollars that a question costs at most; no token is shorter than a byte."""
    if question.price is None:
        return None if isinstance(question.backend, Hosted) else 0.0
    said = [m.model_dump(mode="json", exclude_none=True) for m in question.messages]
    text = json.dumps([said, [dict(tool) for tool in question.tools]], ensure_ascii=False)
    read = len(text.encode(errors="replace"))
    written = question.sampling.max_tokens or LONGEST
    return (read * question.price.read + written * question.price.written) / 1_000_000


def _answer(completion: Completion, question: Question, seconds: float | None) -> Answer:
    if not completion.choices:
        raise ServiceError(f"{question.backend.name} answered without an answer")
    first = min(completion.choices, key=lambda choice: choice.index)
    calls = [dict(call) for call in first.message.tool_calls or ()]
    return Answer(
        text=_utf8(text_in(first.message)),  # some services answer in parts
        finish_reason=first.finish_reason,
        tool_calls=json.loads(_utf8(json.dumps(calls, ensure_ascii=False))),
        usage=_counted(completion.usage),
        seconds=seconds,
    )


def _counted(usage: Usage | None) -> Usage | None:
    """`usage`, but None where it cannot be a count: a negative one would give money back."""
    if usage is None or not all(
        0 <= count <= MANY_TOKENS for count in (usage.prompt_tokens, usage.completion_tokens)
    ):
        return None
    return usage


def _utf8(text: str) -> str:
    """`text` with half a surrogate pair, which nothing can keep, as "?"."""
    return text.encode(errors="replace").decode()
