"""The backend's batches and likelihoods, over models as they come out of jobs."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from ftjobs.backends.base import Batches, Foresees, Likelihood, Request
from ftjobs.backends.local import models, worker
from ftjobs.backends.local.answers.batch import Batch
from ftjobs.backends.local.answers.engine import Engine
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.errors import InvalidRequestError, ModelError, NotFoundError
from ftjobs.schema import ChatMessage, Completion, JobSpec, Sampling
from tests import tiny
from tests.backends.local.adapters import save_adapter
from tests.backends.local.conftest import write_dataset

GREEDY = Sampling(temperature=0, max_tokens=12)


@pytest.fixture
def by_hand(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> LocalBackend:
    """A backend in float32 without a worker process: the test is the worker."""
    monkeypatch.setattr(worker, "ensure", lambda *_: False)
    monkeypatch.setattr(models, "pick_dtype", lambda _device: "float32")
    return backend


def ask(model: Path | str, text: str, sampling: Sampling = GREEDY) -> Request:
    return Request(str(model), (ChatMessage(role="user", content=text),), sampling)


def train(backend: LocalBackend, model: Path, **spec: object) -> str:
    """The name of a model that a job has tuned."""
    settings = {"n_epochs": 1, "batch_size": 2, "learning_rate_multiplier": 30}
    files = {name: backend.upload(path).id for name, path in spec.items() if isinstance(path, Path)}
    job = backend.create(JobSpec(model=str(model), hyperparameters=settings, seed=1, **files))
    assert backend.store.claim("me") == job.id
    worker.run_job(backend.store, backend.settings.cache, "me", job.id, threading.Event())
    name = backend.retrieve(job.id).fine_tuned_model
    assert name
    return name


def alone(backend: LocalBackend, request: Request) -> tuple[object, ...]:
    answer = backend.complete(request.model, request.messages, sampling=request.sampling)
    return told(answer)


def told(answer: object) -> tuple[object, ...]:
    assert isinstance(answer, Completion)
    return answer.model, answer.choices, answer.usage


def test_many_requests_of_several_models(
    by_hand: LocalBackend, tiny_model: Path, dataset: Path, tmp_path: Path
) -> None:
    assert isinstance(by_hand, Batches)
    tuned = train(by_hand, tiny_model, training_file=dataset)
    other = tiny.save_model(tmp_path / "other", seed=9)
    drawn = Sampling(temperature=1, seed=4, n=2, max_tokens=8, stop=("e",))
    requests = [
        ask(tiny_model, "Question 3?"),
        ask(tuned, "Question 3?"),
        ask("nobody/knows-it", "?"),
        ask(other, "Question 3?"),
        ask("ft:nothing:local::00000000", "?"),
        ask(tuned, "x" * 600),
        ask(tiny_model, "a <|im_end|> in the text"),
        ask(tuned, "drawn", drawn),
        ask(tmp_path / "nowhere", "?"),
    ]
    found = dict(by_hand.complete_many(requests))
    assert sorted(found) == list(range(9))
    kinds = {2: ModelError, 4: NotFoundError, 5: InvalidRequestError, 6: InvalidRequestError}
    assert all(isinstance(found[number], kind) for number, kind in kinds.items())
    assert isinstance(found[8], NotFoundError)
    for number in (0, 1, 3, 7):
        assert told(found[number]) == alone(by_hand, requests[number])
    assert told(found[0])[1] != told(found[1])[1]
    assert list(by_hand.complete_many([])) == []


def test_a_base_that_cannot_be_loaded_ends_no_other(
    by_hand: LocalBackend, tiny_model: Path, tmp_path: Path
) -> None:
    broken = tiny.save_model(tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"")
    found = dict(by_hand.complete_many([ask(broken, "a"), ask(tiny_model, "b"), ask(broken, "c")]))
    assert isinstance(found[0], ModelError)
    assert isinstance(found[2], ModelError)
    assert told(found[1]) == alone(by_hand, ask(tiny_model, "b"))


def test_tools_reach_the_batch(tmp_path: Path, by_hand: LocalBackend, tiny_model: Path) -> None:
    tool = ({"type": "function", "function": {"name": "track"}},)
    shown = "{% if tools %}{{ tools | tojson }}{% endif %}" + tiny.CHATML
    folder = tiny.save_model(tmp_path / "model", template=shown)
    messages = (ChatMessage(role="user", content="Where?"),)
    found = dict(
        by_hand.complete_many(
            [Request(str(model), messages, GREEDY, tool) for model in (folder, tiny_model)]
        )
    )
    wanted = by_hand.complete(str(folder), messages, sampling=GREEDY, tools=tool)
    assert told(found[0]) == told(wanted)
    assert isinstance(found[1], InvalidRequestError)


def test_likelihoods_are_the_loss_that_the_job_reports(
    by_hand: LocalBackend, tiny_model: Path, dataset: Path, tmp_path: Path
) -> None:
    assert isinstance(by_hand, Foresees)
    held = write_dataset(tmp_path / "valid.jsonl", 7)
    tuned = train(by_hand, tiny_model, training_file=dataset, validation_file=held)
    from ftjobs import data

    found = list(by_hand.likelihoods(tuned, [example.messages for example in data.read(held)]))
    scores = [each for each in found if isinstance(each, Likelihood)]
    tokens = sum(each.tokens for each in scores)
    (checkpoint, *_) = by_hand.checkpoints(next(by_hand.jobs()).id)
    reported = checkpoint.metrics
    assert len(scores) == 7
    assert sum(each.loss for each in scores) / tokens == pytest.approx(
        reported.full_valid_loss, abs=1e-5
    )
    assert sum(each.correct for each in scores) / tokens == pytest.approx(
        reported.full_valid_mean_token_accuracy, abs=1e-6
    )


def test_a_conversation_that_cannot_be_judged(by_hand: LocalBackend, tiny_model: Path) -> None:
    asked = [(ChatMessage(role="user", content="no answer"),)]
    (found,) = by_hand.likelihoods(str(tiny_model), asked)
    assert isinstance(found, InvalidRequestError)
    with pytest.raises(NotFoundError):
        list(by_hand.likelihoods("nowhere", asked))


@pytest.mark.real_model
def test_a_real_base_and_its_adapter_in_one_batch(tmp_path: Path) -> None:
    """SmolLM2-135M in float32: greedy texts are those of one request at a time."""
    cache = Path(os.environ.get("FTJOBS_CACHE", tmp_path / "cache"))
    base = models.prepare(models.DEFAULT_MODEL, cache).folder
    adapter = save_adapter(tmp_path / "adapter", base, r=16, lora_alpha=32, std=0.02)
    engine = Engine(base, dtype="float32", device="cpu")
    prompts = (
        "Tell me about bees.",
        "日本の首都は?",
        "Write a very short story about " + "a cat, " * 9,
    )
    sampling = Sampling(temperature=0, max_tokens=16)
    questions = [
        engine.question([{"role": "user", "content": text}], sampling, adapter=model)
        for text in prompts
        for model in (None, adapter)
    ]
    found = dict(Batch(engine, list(enumerate(questions))).run())
    texts = []
    for number, question in enumerate(questions):
        deltas = list(engine.answer(question, question.writers()))
        texts.append("".join(delta.content for delta in deltas))
        assert getattr(found[number], "texts", None) == (texts[-1],)
    assert texts[::2] != texts[1::2]


def test_a_folder_whose_weights_were_written_anew_is_another_model(
    backend: LocalBackend, tmp_path: Path
) -> None:
    folder = tmp_path / "merged"
    folder.mkdir()
    weights = folder / "model.safetensors"
    weights.write_bytes(b"first")
    first = backend.stamp(str(folder))
    assert first == backend.stamp(str(folder)) != ""
    weights.write_bytes(b"second")
    assert backend.stamp(str(folder)) != first
    assert backend.stamp("smollm2-135m") == backend.stamp("ft:smollm2-135m:local::1") == ""
