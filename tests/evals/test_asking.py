"""The engine: order, cache, budget, failures, interruption."""

from __future__ import annotations

import math
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ftjobs.backends.base import Request
from ftjobs.backends.fake import FakeBackend
from ftjobs.backends.profiles import ANY_URL
from ftjobs.errors import (
    AuthError,
    BackendError,
    ConfigError,
    CostError,
    InvalidRequestError,
    ServiceError,
    StoreError,
)
from ftjobs.evals.arms import Price, Question
from ftjobs.evals.asking import Asker
from ftjobs.evals.cache import KEPT, AnswerCache, key_of
from ftjobs.evals.result import Answer
from ftjobs.schema import ChatMessage, Completion, Sampling, Usage

MODEL = "fake-base"


class Scripted(FakeBackend):
    """Counts what it was asked, and answers `q7` with `a7`."""

    def __init__(self, **how: Any) -> None:
        self.asked: Counter[str] = Counter()
        super().__init__(answers=self._reply, **how)

    def _reply(self, model: str, messages: Sequence[ChatMessage]) -> str:
        text = str(messages[-1].content)
        self.asked[text] += 1
        return text.replace("q", "a")


def question(backend: FakeBackend, number: int, **how: Any) -> Question:
    messages = (ChatMessage(role="user", content=f"q{number}"),)
    return Question(backend, MODEL, messages, "arm tuned", **how)


def questions(backend: FakeBackend, count: int, **how: Any) -> list[Question]:
    return [question(backend, number, **how) for number in range(count)]


@pytest.fixture
def backend() -> Scripted:
    return Scripted()


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[AnswerCache]:
    with closing(AnswerCache(tmp_path / "home" / "answers.sqlite")) as cache:
        yield cache


def test_answers_come_in_the_order_of_the_questions(backend: Scripted) -> None:
    ask = Asker()
    texts = [answer.text for answer in ask(questions(backend, 50))]
    assert texts == [f"a{number}" for number in range(50)]
    assert ask.spent["arm tuned"].asked == 50


def test_the_same_question_is_asked_once(backend: Scripted) -> None:
    ask = Asker()
    assert len(ask([question(backend, 1)] * 9)) == 9
    ask([question(backend, 1)])
    assert backend.asked == {"q1": 1}


def test_samples_are_different_questions(backend: Scripted) -> None:
    Asker()([question(backend, 1, sample=sample) for sample in range(3)])
    assert backend.asked == {"q1": 3}


def test_what_is_known_is_not_asked_again(backend: Scripted, cache: AnswerCache) -> None:
    Asker(cache=cache)(questions(backend, 5))
    again = Asker(cache=cache)
    answers = again(questions(backend, 8))
    assert [answer.text for answer in answers] == [f"a{number}" for number in range(8)]
    assert backend.asked == {f"q{number}": 1 for number in range(8)}
    assert again.reused == 5
    assert again.oldest is not None


def test_fresh_asks_once_more_and_keeps_that(backend: Scripted, cache: AnswerCache) -> None:
    Asker(cache=cache)(questions(backend, 2))
    fresh = Asker(cache=cache, fresh=True)
    assert fresh.most(questions(backend, 2)) == (2, 2, 0.0)
    fresh(questions(backend, 2))
    fresh(questions(backend, 2))
    Asker(cache=cache)(questions(backend, 2))
    assert backend.asked == {"q0": 2, "q1": 2}


KEYED: list[dict[str, Any]] = [
    {"model": "other"},
    {"messages": (ChatMessage(role="user", content="other"),)},
    {"sampling": Sampling(temperature=0.5)},
    {"sample": 1},
    {"tools": ({"type": "function", "function": {"name": "f"}},)},
    {"backend": FakeBackend(name="elsewhere")},
]


@pytest.mark.parametrize("change", KEYED, ids=[next(iter(change)) for change in KEYED])
def test_whatever_changes_the_answer_changes_the_key(change: dict[str, Any]) -> None:
    plain = {"backend": FakeBackend(), "model": MODEL, "who": "arm a"}
    plain |= {"messages": (ChatMessage(role="user", content="q"),)}
    assert key_of(Question(**(plain | change))) != key_of(Question(**plain))  # type: ignore[arg-type]
    assert key_of(Question(**(plain | {"who": "arm b"}))) == key_of(Question(**plain))  # type: ignore[arg-type]


def test_settings_that_came_later_change_no_key_of_before() -> None:
    plain = Sampling(temperature=0, max_tokens=9, stop=("x",))
    message = ChatMessage(role="user", content="hi")
    asked = Question(FakeBackend(), "m", (message,), "w", sampling=plain)
    # What the release without top_k, repetition_penalty, min_tokens and num_beams stored.
    before = "5a872d39041dad1e783a77a5a11fcc8a6849a6f693c63cd9ae091dd2c5567111"
    assert key_of(asked) == before
    for setting in ("top_k", "repetition_penalty", "min_tokens", "num_beams"):
        other = plain.model_copy(update={setting: 2})
        assert key_of(replace(asked, sampling=other)) != before


def test_a_name_that_stands_for_another_place_changes_the_key() -> None:
    class Placed(FakeBackend):
        def __init__(self, url: str) -> None:
            super().__init__(name="lab")
            self.profile = ANY_URL.model_copy(update={"base_url": url})

    keys = {key_of(question(Placed(f"https://{host}/v1"), 1)) for host in ("a.test", "b.test")}
    assert len(keys) == 2


ROWS = [
    ('answer = \'{"text": "a0", "mood": "good"}\'', "a field of another version"),
    ("answer = x'fffe'", "no text"),
    ("at = 'soon'", "no time"),
]


@pytest.mark.parametrize("change", [row[0] for row in ROWS], ids=[row[1] for row in ROWS])
def test_an_answer_that_cannot_be_read_is_asked_again(
    backend: Scripted, tmp_path: Path, change: str
) -> None:
    path = tmp_path / "answers.sqlite"
    with closing(AnswerCache(path)) as cache:
        Asker(cache=cache)(questions(backend, 2))
        first = key_of(question(backend, 0))
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute(f"UPDATE answers SET {change} WHERE key = ?", (first,))
        again = Asker(cache=cache)
        assert [answer.text for answer in again(questions(backend, 2))] == ["a0", "a1"]
    assert again.reused == 1
    assert backend.asked == {"q0": 2, "q1": 1}


def test_a_model_that_was_written_anew_is_asked_anew(cache: AnswerCache) -> None:
    class Folder(Scripted):
        weights = "first"

        def stamp(self, model: str) -> str:
            return self.weights

    backend = Folder()
    for weights in ("first", "first", "second"):
        backend.weights = weights
        Asker(cache=cache)(questions(backend, 1))
    assert backend.asked == {"q0": 2}


def test_an_outage_of_a_fresh_run_loses_no_answer(backend: Scripted, cache: AnswerCache) -> None:
    Asker(cache=cache)(questions(backend, 3))
    backend.fail_next("complete", AuthError("no such key"))
    with pytest.raises(AuthError):
        Asker(cache=cache, fresh=True, threads=1)(questions(backend, 3))
    again = Asker(cache=cache)
    again(questions(backend, 3))
    assert again.reused == 3


def test_old_answers_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    with closing(AnswerCache(path, now=lambda: 1000.0)) as cache:
        cache.put("k", Answer(text="old"))
        assert cache.known(["k"])[0]["k"].text == "old"
    with closing(AnswerCache(path, now=lambda: 1001.0 + KEPT)) as cache:
        assert cache.known(["k"]) == ({}, None)


def test_a_file_that_is_no_cache_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreError, match=r"answers\.sqlite") as caught:
        AnswerCache(path)
    assert "Delete" in caught.value.hint


def test_an_answer_that_no_file_can_hold_is_kept(cache: AnswerCache) -> None:
    backend = FakeBackend(answers=lambda _model, _messages: "half \ud83d of a pair")
    ask = Asker(cache=cache)
    assert ask([question(backend, 1)])[0].text == "half ? of a pair"


def test_an_answer_in_parts_is_one_text() -> None:
    class InParts(FakeBackend):
        def complete(self, model, messages, *, sampling=SHORT, tools=()):  # type: ignore[no-untyped-def]
            answer = super().complete(model, messages, sampling=sampling)
            parts = ({"type": "text", "text": "an "}, {"type": "text", "text": "answer"})
            message = ChatMessage(role="assistant", content=parts)
            choice = answer.choices[0].model_copy(update={"message": message})
            return answer.model_copy(update={"choices": (choice,)})

    assert Asker()([question(InParts(), 1)])[0].text == "an answer"


# --- failures -----------------------------------------------------------------------------------


def test_a_refused_question_fails_alone(backend: Scripted, cache: AnswerCache) -> None:
    backend.fail_next("complete", InvalidRequestError("too long"))
    ask = Asker(cache=cache, threads=1)
    first, second = ask(questions(backend, 2))
    assert (first.failure, second.text) == ("too long", "a1")
    assert ask.spent["arm tuned"].asked == 1
    assert Asker(cache=cache)(questions(backend, 1))[0].text == "a0"  # a failure is not kept


def test_what_every_question_would_meet_ends_the_run(backend: Scripted) -> None:
    backend.fail_next("complete", AuthError("no such key"))
    with pytest.raises(AuthError):
        Asker(threads=1)(questions(backend, 50))
    assert backend.asked.total() == 0


def test_an_outage_ends_the_run_and_keeps_what_came(backend: Scripted, cache: AnswerCache) -> None:
    backend.fail_next("complete", *[ServiceError("down")] * 50)
    with pytest.raises(ServiceError) as caught:
        Asker(cache=cache, threads=2)(questions(backend, 50))
    assert "run the same command again" in caught.value.hint


def test_an_interrupted_run_waits_for_no_thread(
    monkeypatch: pytest.MonkeyPatch, cache: AnswerCache
) -> None:
    monkeypatch.setattr("ftjobs.evals.pool.GRACE", 0.1)
    released = threading.Event()

    def slow(_model: str, messages: Sequence[ChatMessage]) -> str:
        if messages[-1].content != "q0":
            released.wait(20)  # as one that was asked to come back in minutes
        return "yes"

    def interrupted(done: int, _total: int, _usd: float | None) -> None:
        if done:
            raise KeyboardInterrupt

    backend = FakeBackend(answers=slow)
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        Asker(cache=cache, progress=interrupted)(questions(backend, 9))
    assert time.monotonic() - start < 5
    released.set()
    assert len(cache.known(key_of(q) for q in questions(backend, 1))[0]) == 1


# --- the budget ---------------------------------------------------------------------------------

PRICE = Price(read=1_000_000.0, written=1_000_000.0)  # a dollar a token
SHORT = Sampling(max_tokens=2)


def test_spending_is_counted_by_account(backend: Scripted) -> None:
    ask = Asker()
    ask(questions(backend, 3, price=Price(0.0, 1_000_000.0)))
    spent = ask.spent["arm tuned"]
    assert (spent.asked, spent.usd) == (3, 3.0)


def test_a_budget_is_never_passed(backend: Scripted, cache: AnswerCache) -> None:
    asked = questions(backend, 40, price=PRICE, sampling=SHORT)
    *_, most = Asker().most(asked[:1])
    assert most is not None
    ask = Asker(cache=cache, max_cost=most + 10)  # an answer costs two or three dollars
    with pytest.raises(CostError, match="budget") as caught:
        ask(asked)
    assert "What came is kept" in caught.value.hint
    spent = ask.spent["arm tuned"].usd
    assert spent is not None
    assert 0 < spent <= most + 10
    kept = len(cache.known(key_of(q) for q in asked)[0])
    assert kept == backend.asked.total() > 0
    assert Asker(cache=cache, max_cost=100 * most)(asked)[-1].text == "a39"


def test_a_budget_counts_what_is_under_way(cache: AnswerCache) -> None:
    begun, released = [], threading.Event()

    def slow(_model: str, messages: Sequence[ChatMessage]) -> str:
        begun.append(messages)
        released.wait(0.5)
        return "yes"

    asked = questions(FakeBackend(answers=slow), 12, price=PRICE, sampling=SHORT)
    *_, most = Asker().most(asked[:1])
    assert most is not None
    with pytest.raises(CostError):
        Asker(cache=cache, max_cost=3.5 * most)(asked)
    released.set()
    assert len(begun) <= 3


def test_most_counts_what_is_not_known(backend: Scripted, cache: AnswerCache) -> None:
    asked = questions(backend, 4, price=PRICE, sampling=SHORT)
    *_, all_of_them = Asker(cache=cache).most(asked)
    Asker(cache=cache)(asked[:3])
    _, missing, rest = Asker(cache=cache).most(asked)
    assert missing == 1
    assert all_of_them is not None
    assert rest == pytest.approx(all_of_them / 4)


class Uncounted(FakeBackend):
    """Counts tokens as it likes, or not at all."""

    def __init__(self, usage: Usage | None) -> None:
        super().__init__()
        self.usage = usage

    def complete(self, model, messages, *, sampling=SHORT, tools=()):  # type: ignore[no-untyped-def]
        answer = super().complete(model, messages, sampling=sampling)
        return answer.model_copy(update={"usage": self.usage})


@pytest.mark.parametrize("tokens", [None, -(10**6), 10**400])
@pytest.mark.parametrize("budget", [None, 1e9])
def test_a_service_that_miscounts_is_taken_to_cost_the_most_it_can(
    tokens: int | None, budget: float | None
) -> None:
    backend = Uncounted(None if tokens is None else Usage(prompt_tokens=tokens))
    asked = questions(backend, 3, price=PRICE, sampling=SHORT)
    ask = Asker(max_cost=budget)
    *_, most = ask.most(asked)
    ask(asked)
    assert ask.spent["arm tuned"].usd == most


def test_a_budget_or_a_price_that_is_no_number_allows_nothing(backend: Scripted) -> None:
    for price, budget in ((PRICE, math.nan), (Price(math.nan, 1.0), 5.0)):
        with pytest.raises(CostError):
            Asker(max_cost=budget)(questions(backend, 1, price=price))
    assert not backend.asked


# --- backends that answer together --------------------------------------------------------------


class Together(Scripted):
    """Answers from the last to the first; `q3` is too long."""

    def __init__(self) -> None:
        super().__init__(name="together-at-home")
        self.batches: list[int] = []
        self.closed = False

    def complete_many(
        self, requests: Sequence[Request]
    ) -> Iterator[tuple[int, Completion | BackendError | ConfigError]]:
        self.batches.append(len(requests))
        try:
            for number, request in reversed(list(enumerate(requests))):
                if request.messages[-1].content == "q3":
                    yield number, InvalidRequestError("too long")
                else:
                    yield number, self.complete(request.model, request.messages)
        finally:
            self.closed = True


def test_a_backend_that_can_is_asked_all_at_once(cache: AnswerCache) -> None:
    backend = Together()
    answers = Asker(cache=cache)(questions(backend, 6))
    assert backend.batches == [6]
    assert [answer.text for answer in answers] == ["a0", "a1", "a2", "", "a4", "a5"]
    assert answers[3].failure == "too long"


def test_stopping_stops_the_batch(cache: AnswerCache) -> None:
    backend = Together()

    def stop(done: int, _total: int, _usd: float | None) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Asker(cache=cache, progress=stop)(questions(backend, 6))
    assert backend.closed
    assert backend.asked.total() == 2
    again = Asker(cache=cache)
    again(questions(backend, 6))
    assert again.reused == 2
