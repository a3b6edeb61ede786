"""The scripted backend: what it adds to the contract."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.backends.fake import FakeBackend
from ftjobs.errors import (
    ConfigError,
    InvalidRequestError,
    NotFoundError,
    UnreachableError,
    UnsupportedError,
)
from ftjobs.schema import Capabilities, ChatMessage, Event, Job, JobError, JobSpec, Sampling

LINE = json.dumps({"messages": [{"role": "user", "content": "a"}]}) + "\n"


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fake") / "train.jsonl"
    path.write_text(LINE * 10)
    return path


def create(backend: FakeBackend, dataset: Path, **settings: Any) -> Job:
    file = backend.upload(dataset)
    return backend.create(JobSpec(model="fake-base", training_file=file.id, **settings))


def finish(backend: FakeBackend, job: Job) -> Job:
    while not job.ended:
        job = backend.retrieve(job.id)
    return job


def ask(backend: FakeBackend, text: str, **sampling: Any) -> str:
    said = [ChatMessage(role="user", content=text)]
    return backend.complete("fake-base", said, sampling=Sampling(**sampling)).text


def story(backend: FakeBackend, dataset: Path) -> tuple[Job, list[Event]]:
    settings = {"n_epochs": 2}
    job = finish(backend, create(backend, dataset, seed=3, hyperparameters=settings))
    return job, list(backend.events(job.id))


def test_two_runs_of_one_script_are_equal(dataset: Path) -> None:
    assert story(FakeBackend(steps=5), dataset) == story(FakeBackend(steps=5), dataset)


def test_each_retrieve_is_one_step(dataset: Path) -> None:
    backend = FakeBackend(steps=3)
    job = create(backend, dataset)
    seen = [job.status]
    while not job.ended:
        job = backend.retrieve(job.id)
        seen.append(job.status)
    assert seen == ["validating_files", "queued", *["running"] * 4, "succeeded"]


def test_the_result_file_holds_the_metrics(dataset: Path) -> None:
    backend = FakeBackend(steps=2)
    validation = backend.upload(dataset).id
    job = finish(backend, create(backend, dataset, validation_file=validation))
    assert backend.result_file(job).decode().splitlines() == [
        "step,train_loss,train_mean_token_accuracy,valid_loss,valid_mean_token_accuracy,"
        "full_valid_loss,full_valid_mean_token_accuracy",
        "1,1.6,0.2,1.6,0.2,1.6,0.2",
        "2,1.28,0.36,1.28,0.36,1.28,0.36",
    ]


@pytest.mark.parametrize("step", [0, 2, 4])
def test_a_job_fails_when_told_to(dataset: Path, step: int) -> None:
    error = JobError(code="server_error", message="The lights went out")
    backend = FakeBackend(steps=4, fail_with=error, fail_at=step)
    job = finish(backend, create(backend, dataset))
    assert (job.status, job.error, job.fine_tuned_model) == ("failed", error, None)
    last = backend.events(job.id)[-1]
    assert (last.level, last.message) == ("error", "The lights went out")
    assert last.data == {"error_code": "server_error", "error_param": None}
    steps = [event for event in backend.events(job.id) if event.type == "metrics"]
    assert len(steps) == step


def test_too_few_examples_fail_as_on_the_wire(tmp_path: Path) -> None:
    path = tmp_path / "seven.jsonl"
    path.write_text(LINE * 7 + "\n")
    backend = FakeBackend()
    job = finish(backend, create(backend, path))
    assert job.error is not None
    assert job.error.code == "invalid_n_examples"
    assert (
        backend.events(job.id)[-1].message
        == "Training file has 7 example(s), but must have at least 10 examples"
    )


def test_only_the_last_three_checkpoints_are_kept(dataset: Path) -> None:
    backend = FakeBackend(steps=10)
    settings = {"n_epochs": 5}
    job = finish(backend, create(backend, dataset, hyperparameters=settings))
    assert [each.step_number for each in backend.checkpoints(job.id)] == [6, 8, 10]
    lost = f"{job.fine_tuned_model}:ckpt-step-2"
    with pytest.raises(NotFoundError):
        backend.complete(lost, [ChatMessage(role="user", content="?")])


def test_more_epochs_than_steps_are_one_a_step(dataset: Path) -> None:
    backend = FakeBackend(steps=2)
    settings = {"n_epochs": 50}
    job = finish(backend, create(backend, dataset, hyperparameters=settings))
    assert [each.step_number for each in backend.checkpoints(job.id)] == [1, 2]


def test_answers_come_from_a_mapping_or_a_function() -> None:
    said = [ChatMessage(role="user", content="hi")]
    known = FakeBackend(answers={"hi": "hello there"})
    assert ask(known, "hi") == "hello there"
    assert ask(known, "?") == "I do not know."
    asked = FakeBackend(answers=lambda model, messages: f"{model} {len(messages)}")
    assert asked.complete("fake-base", said).text == "fake-base 1"
    parts = ChatMessage(role="user", content=({"type": "text", "text": "hi"},))
    assert known.complete("fake-base", [parts]).text == "hello there"
    with pytest.raises(InvalidRequestError):
        known.complete("fake-base", [])


def test_stop_and_max_tokens_shorten_the_answer() -> None:
    backend = FakeBackend(answers={"hi": "one two three"})
    assert ask(backend, "hi", stop="two") == "one "
    assert ask(backend, "hi", max_tokens=2) == "one two "


def test_scripted_faults_strike_once_and_change_nothing(dataset: Path) -> None:
    backend = FakeBackend()
    job = create(backend, dataset)
    backend.fail_next("retrieve", UnreachableError("gone"), UnreachableError("still gone"))
    for words in ("gone", "still gone"):
        with pytest.raises(UnreachableError, match=words):
            backend.retrieve(job.id)
    assert backend.events(job.id)[-1].message.startswith("Validating training file")
    assert backend.retrieve(job.id).status == "queued"


def test_it_claims_and_refuses_what_it_is_told(dataset: Path) -> None:
    backend = FakeBackend(capabilities=Capabilities(metadata=False))
    with pytest.raises(UnsupportedError, match="dpo"):
        create(backend, dataset, method="dpo")
    with pytest.raises(UnsupportedError, match="metadata"):
        create(backend, dataset, metadata={"a": "b"})
    with pytest.raises(UnsupportedError, match="num_beams, top_k"):
        ask(backend, "hi", num_beams=2, top_k=3)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"fail_at": -1}, {"steps": 3, "fail_at": 4}])
def test_an_impossible_script_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="steps"):
        FakeBackend(**wrong)  # type: ignore[arg-type]


def test_threads_move_a_job_on_without_losing_a_step(dataset: Path) -> None:
    backend = FakeBackend(steps=50)
    job = create(backend, dataset)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(backend.retrieve, [job.id] * 80))
    events = backend.events(job.id)
    assert [e.metrics.step for e in events if e.metrics] == list(range(1, 51))
    assert len({event.id for event in events}) == len(events)


@given(st.lists(st.sampled_from(["retrieve", "pause", "resume", "cancel"]), max_size=30))
def test_no_order_of_calls_breaks_a_job(dataset: Path, verbs: list[str]) -> None:
    backend = FakeBackend(steps=3)
    job = create(backend, dataset)
    for verb in verbs:
        before, told = job, backend.events(job.id)
        try:
            job = getattr(backend, verb)(job.id)
        except InvalidRequestError:
            assert before.ended
        if before.ended:
            assert (job, backend.events(job.id)) == (before, told)
        elif before.status == "paused" and verb in {"retrieve", "pause"}:
            assert job == before
        assert backend.events(job.id)[: len(told)] == told
    steps = [event.metrics.step for event in backend.events(job.id) if event.metrics]
    assert steps == list(range(1, len(steps) + 1))
