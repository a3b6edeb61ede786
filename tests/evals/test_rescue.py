"""A model's answers are stored once, whatever fails on the way."""

from __future__ import annotations

import json
import resource
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftjobs.backends.fake import FakeBackend
from ftjobs.data import check
from ftjobs.errors import (
    AuthError,
    ConfigError,
    FtjobsError,
    NotFoundError,
    QuotaError,
    RateLimitError,
    ServiceError,
)
from ftjobs.evals import Prompt
from ftjobs.evals.answers import AnswerFile, StoredAnswer, prompt_id, read_answers
from ftjobs.evals.distill import distill, require_replaceable, training_row
from ftjobs.evals.rescue import Rescue, rescue, shutdown_date, with_system
from ftjobs.schema import ChatMessage, Sampling
from tests.leaving import Deadly, deadly, hosted, killed_until_done

MODEL = "ft:fake-base:acme::1"
WARM = Sampling(temperature=1)


def prompt(text: str, **fields: Any) -> Prompt:
    return Prompt((ChatMessage(role="user", content=text),), **fields)


def answered(model: str, messages: Sequence[ChatMessage]) -> str:
    return f"{model} says {messages[-1].content}"


PROMPTS = [prompt(f"q{number}", expected=f"a{number}", line=number) for number in range(20)]


@dataclass
class World:
    service: Deadly
    out: Path

    def rescue(self, prompts: Sequence[Prompt] = PROMPTS, **options: Any) -> Rescue:
        with hosted(self.service) as backend:
            return rescue(backend, options.pop("model", MODEL), prompts, self.out, **options)

    @property
    def asked(self) -> Counter[str]:
        """How often each question reached the service."""
        bodies = (r.json for r in self.service.requests if r.path == "/chat/completions")
        return Counter(body["messages"][-1]["content"] for body in bodies)

    @property
    def answers(self) -> list[StoredAnswer]:
        return list(read_answers(self.out))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    fake = FakeBackend(models=("fake-base", MODEL, "other"), answers=answered)
    with deadly(fake, tmp_path / "service", seed=7) as service:
        yield World(service, tmp_path / "answers.jsonl")


def test_answers_are_stored_with_all_that_a_baseline_needs(world: World) -> None:
    done = world.rescue()
    assert (done.stored, done.fresh, done.left, done.failures) == (20, 20, 0, ())
    first = world.answers[0]
    assert (first.model, first.answer, first.expected) == (MODEL, f"{MODEL} says q0", "a0")
    assert first.messages == PROMPTS[0].messages
    assert (first.finish_reason, first.sampling) == ("stop", Sampling(temperature=0))
    assert first.usage is not None
    assert done.tokens_written == sum(a.usage.completion_tokens for a in world.answers if a.usage)
    assert [answer.expected for answer in world.answers] == [p.expected for p in PROMPTS]


def test_only_what_is_missing_is_asked(world: World) -> None:
    world.rescue(limit=5)
    assert world.asked.total() == 5
    assert world.rescue(limit=5).left == 10
    changed = [prompt("new"), *PROMPTS]
    assert world.rescue(changed).fresh == 11
    assert world.rescue(changed).fresh == 0
    assert set(world.asked.values()) == {1}
    assert [a.messages[-1].content for a in world.answers] == ["new", *(f"q{i}" for i in range(20))]


def test_equal_prompts_are_asked_once(world: World) -> None:
    assert world.rescue([prompt("q"), prompt("q", tags=("again",))]).stored == 1
    weighted = Prompt((ChatMessage(role="user", content="q", weight=1),))
    assert world.rescue([weighted]).fresh == 0


def test_one_file_holds_many_models_and_samplings(world: World) -> None:
    world.rescue(PROMPTS[:2])
    world.rescue(PROMPTS[:2], model="other")
    world.rescue(PROMPTS[:2], sampling=WARM)
    world.rescue(PROMPTS[:2])
    found = [(a.model, a.sampling.temperature, a.expected) for a in world.answers]
    assert sorted(found) == sorted(
        (model, temperature, expected)
        for model, temperature in ((MODEL, 0), ("other", 0), (MODEL, 1))
        for expected in ("a0", "a1")
    )
    assert found[-2:] == [(MODEL, 0, "a0"), (MODEL, 0, "a1")]


def test_more_answers_a_prompt_are_added(world: World) -> None:
    world.rescue(PROMPTS[:3], sampling=WARM)
    done = world.rescue(PROMPTS[:3], sampling=WARM.model_copy(update={"n": 4}))
    assert (done.stored, done.fresh) == (12, 9)
    assert [answer.sample for answer in world.answers] == [0, 1, 2, 3] * 3
    assert world.asked == {"q0": 2, "q1": 2, "q2": 2}
    with pytest.raises(ConfigError, match="temperature 0"):
        world.rescue(sampling=Sampling(temperature=0, n=2))


def test_a_service_that_gives_one_answer_at_a_time_is_asked_again(world: World) -> None:
    def only_one(raw: Any) -> Any:
        return raw | {"choices": raw["choices"][:1]}

    world.service.fault("POST", "/chat/completions", rewrite=only_one, times=99)
    world.rescue(PROMPTS[:1], sampling=Sampling(n=3, seed=5))
    assert [answer.sample for answer in world.answers] == [0, 1, 2]
    bodies = [r.json for r in world.service.requests]
    assert [(body.get("n", 1), body["seed"]) for body in bodies] == [(3, 5), (2, 6), (1, 7)]


def test_what_is_no_text_is_kept_whole(world: World) -> None:
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    said = {"role": "assistant", "content": None, "tool_calls": calls}

    def call(raw: Any) -> Any:
        choice = {"index": 0, "message": said, "finish_reason": "tool_calls"}
        return raw | {"choices": [choice]}

    def refuse(raw: Any) -> Any:
        said = {"role": "assistant", "content": None, "refusal": "No. \ud83d"}
        return raw | {"choices": [{"index": 0, "message": said, "finish_reason": "stop"}]}

    world.service.fault("POST", "/chat/completions", rewrite=call)
    world.rescue(PROMPTS[:1])
    world.service.fault("POST", "/chat/completions", rewrite=refuse)
    world.rescue(PROMPTS[:2])
    called, refused = world.answers
    assert called.message is not None
    assert called.message.tool_calls is not None
    assert json.loads(training_row(called))["messages"][-1]["tool_calls"] == calls
    assert refused.message is not None
    assert refused.message.model_dump()["refusal"] == "No. ?"


# --- what goes wrong ----------------------------------------------------------------------------


def test_faults_that_pass_are_waited_out(world: World) -> None:
    chat = "/chat/completions"
    world.service.fault("POST", chat, status=429, headers={"retry-after": "2"}, times=3)
    world.service.fault("POST", chat, lost="before", times=2)
    world.service.fault("POST", chat, cut=10, times=2)
    world.service.fault("POST", chat, status=500, times=2)
    assert world.rescue().failures == ()
    assert [a.expected for a in world.answers] == [p.expected for p in PROMPTS]


def test_a_wait_of_hours_is_not_begun(world: World) -> None:
    headers = {"retry-after": "7200"}
    world.service.fault("POST", "/chat/completions", status=429, headers=headers, times=99)
    with pytest.raises(RateLimitError) as stopped:
        world.rescue(threads=1)
    assert "run the same command again" in stopped.value.hint


def test_a_prompt_that_is_refused_stops_no_other(world: World) -> None:
    fault = world.service.fault("POST", "/chat/completions", status=400)
    done = world.rescue()
    assert (done.stored, [failure.final for failure in done.failures]) == (19, [True])
    assert fault.times == 0
    assert world.rescue().fresh == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, AuthError), (404, NotFoundError), (402, QuotaError), (503, ServiceError)],
)
def test_the_hopeless_ends_at_once_and_keeps_what_came(
    world: World, status: int, error: type[FtjobsError]
) -> None:
    world.rescue(PROMPTS[:8])
    world.service.fault("POST", "/chat/completions", status=status, times=10**6)
    before = world.asked.total()
    with pytest.raises(error):
        world.rescue()
    assert world.asked.total() - before < 120
    assert len(world.answers) == 8
    world.service.faults.clear()
    assert world.rescue().stored == 20


def test_killed_anywhere_it_goes_on(world: World, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    rows = [{"messages": [{"role": "user", "content": f"q{i}"}]} for i in range(60)]
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    args = ("rescue", MODEL, str(prompts), "-o", str(world.out))
    kills = killed_until_done(world.service, tmp_path, 4, 25, *args)
    assert kills >= 2
    assert [a.messages[-1].content for a in world.answers] == [f"q{i}" for i in range(60)]
    under_way = 30  # it starts with 20, and each answer of the first 25 admits one more
    assert world.asked.total() <= 60 + kills * under_way


# --- the file -----------------------------------------------------------------------------------


def stored(number: int, **fields: Any) -> StoredAnswer:
    messages = (ChatMessage(role="user", content=f"q{number}"),)
    known = {"prompt": prompt_id(messages), "sample": 0, "model": "m", "sampling": Sampling()}
    known |= {"messages": messages, "answer": f"a{number}", "finish_reason": "stop"}
    return StoredAnswer.model_validate(known | fields)


LINES = [stored(number, answer=f"a{number} \u2028 日本語 \n").line() for number in range(3)]


def test_ctrl_c_waits_for_no_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("ftjobs.evals.pool.GRACE", 0.1)
    out, released = tmp_path / "answers.jsonl", threading.Event()

    def slow(_model: str, messages: Sequence[ChatMessage]) -> str:
        if messages[-1].content != "q0":
            released.wait(20)  # as one that was asked to come back in minutes
        return "yes"

    def interrupted(done: int, _total: int, _tokens: int) -> None:
        if done:
            raise KeyboardInterrupt

    start = time.monotonic()
    backend = FakeBackend(models=("fake-base",), answers=slow)
    with pytest.raises(KeyboardInterrupt):
        rescue(backend, "fake-base", PROMPTS, out, threads=4, progress=interrupted)
    assert time.monotonic() - start < 10
    released.set()
    while any(thread.name == "ftjobs-rescue" for thread in threading.enumerate()):
        time.sleep(0.01)
    assert [answer.messages[-1].content for answer in read_answers(out)] == ["q0"]


@given(st.integers(0, sum(map(len, LINES))), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_a_file_cut_anywhere_is_mended(tmp_path_factory: Any, cut: int, zeros: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "answers.jsonl"
    path.write_bytes(b"".join(LINES)[:cut] + bytes(zeros))
    ends = [sum(map(len, LINES[: number + 1])) for number in range(3)]
    readable = sum(cut >= end - (not zeros) for end in ends)  # the line feed may be missing
    assert len(list(read_answers(path))) == readable
    with AnswerFile.opened(path) as file:
        assert len(file) == readable
        file.add(stored(9))
    assert [a.answer for a in read_answers(path)][-1] == "a9"
    assert len(list(read_answers(path))) == readable + 1


@pytest.mark.parametrize(
    "text",
    [b"a diary", b"a diary\n", b'{"messages": []}\n', LINES[0] + b"{}\n", b"[" * 100_000],
)
def test_another_file_is_left_alone(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "diary"
    path.write_bytes(text)
    with pytest.raises(ConfigError, match="not a stored answer"), AnswerFile.opened(path):
        pass
    assert path.read_bytes() == text


def test_where_no_file_can_be(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none" / "answers.jsonl", Path("/dev/null"), Path("a\0")):
        with pytest.raises(ConfigError), AnswerFile.opened(path):
            pass


def test_a_full_disk_is_named_and_the_answers_before_it_are_kept(world: World) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, hard))
    try:
        with pytest.raises(FtjobsError, match="File too large"):
            world.rescue()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    kept = len(world.answers)
    assert 0 < kept < 20
    assert world.rescue().fresh == 20 - kept


def test_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    with (
        AnswerFile.opened(path),
        pytest.raises(ConfigError, match="another process"),
        AnswerFile.opened(path),
    ):
        pass


# --- distillation -------------------------------------------------------------------------------


def test_a_training_file_is_made_of_what_can_be_learned(tmp_path: Path) -> None:
    answers = [
        stored(0),
        stored(0, sample=1),
        stored(1, finish_reason="length"),
        stored(2, finish_reason="content_filter"),
        stored(3, answer=" \n"),
        stored(4, finish_reason=None),
        stored(5, messages=(ChatMessage(role="wizard", content="q"),)),
    ]
    out = tmp_path / "train.jsonl"
    rows, left_out = distill(answers, out)
    assert rows == 2
    assert left_out == {
        "cut": 1,
        "ended by content_filter": 1,
        "empty": 1,
        "given before": 1,
        "refused by data check": 1,
    }
    assert check(out).ok
    said = [json.loads(row)["messages"][-1]["content"] for row in out.read_text().splitlines()]
    assert said == ["a0", "a4"]
    assert [path.name for path in tmp_path.iterdir()] == ["train.jsonl"]


def test_only_what_was_made_of_the_answers_is_written_over(tmp_path: Path) -> None:
    out = tmp_path / "train.jsonl"
    require_replaceable(out, [])
    distill([stored(0)], out)
    require_replaceable(out, [stored(0), stored(1)])
    out.write_bytes(out.read_bytes() + b'{"messages": []}\n')
    with pytest.raises(ConfigError, match="not made of these answers"):
        require_replaceable(out, [stored(0), stored(1)])


# --- before the first question ------------------------------------------------------------------


def test_a_system_message_is_put_where_there_is_none() -> None:
    own = Prompt((ChatMessage(role="system", content="mine"), *PROMPTS[0].messages))
    added, kept = with_system([PROMPTS[0], own], "yours")
    assert [message.content for message in added.messages] == ["yours", "q0"]
    assert added.expected == "a0"
    assert kept is own


def test_when_the_model_dies(world: World) -> None:
    with hosted(world.service) as backend:
        assert shutdown_date(backend, MODEL) is None
        world.service.shutdown_dates["fake-base"] = "2027-01-14"
        assert shutdown_date(backend, MODEL) == "2027-01-14"
        assert shutdown_date(backend, f"{MODEL}:ckpt-step-3") == "2027-01-14"
        world.service.shutdown_dates[MODEL] = "2026-12-01"
        assert shutdown_date(backend, MODEL) == "2026-12-01"
