"""What every backend promises (`ftjobs.backends.base`), tried on each of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ftjobs.backends.base import Backend, Completer, Trainer
from ftjobs.errors import (
    ConfigError,
    InvalidRequestError,
    ModelError,
    NotFoundError,
    UnsupportedError,
)
from ftjobs.schema import ENDED, Hyperparameters, Sampling

from .conftest import PROMPT, Finished, Subject

GREEDY = Sampling(temperature=0, max_tokens=16)
PAUSED = {"pausing", "paused"}


def test_has_both_halves(backend: Backend) -> None:
    assert isinstance(backend, Trainer)
    assert isinstance(backend, Completer)
    assert isinstance(backend, Backend)
    assert backend.name


# --- files --------------------------------------------------------------------------------------


def test_a_file_comes_back_as_it_was(subject: Subject, backend: Backend) -> None:
    path = subject.new_file()
    told: list[tuple[int, int]] = []
    file = backend.upload(path, progress=lambda done, total: told.append((done, total)))
    size = path.stat().st_size
    assert (file.filename, file.bytes, file.purpose) == (path.name, size, "fine-tune")
    assert backend.file(file.id).model_dump() == file.model_dump()
    assert backend.content(file.id) == path.read_bytes()
    assert told[-1] == (size, size)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_files_are_listed_newest_first(subject: Subject, backend: Backend) -> None:
    ours = [backend.upload(subject.new_file()).id for _ in range(3)]
    listed = [file.id for file in backend.files()]
    assert [file_id for file_id in listed if file_id in ours] == ours[::-1]
    assert len(set(listed)) == len(listed)


def test_an_unreadable_file_is_a_clear_error(backend: Backend, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.jsonl"):
        backend.upload(tmp_path / "none.jsonl")
    with pytest.raises(ConfigError, match=tmp_path.name):
        backend.upload(tmp_path)


def test_a_deleted_file_is_gone(subject: Subject, backend: Backend) -> None:
    file = backend.upload(subject.new_file())
    if not backend.capabilities.delete_files:
        with pytest.raises(UnsupportedError):
            backend.delete_file(file.id)
        return
    backend.delete_file(file.id)
    for use in (backend.file, backend.content, backend.delete_file):
        with pytest.raises(NotFoundError):
            use(file.id)
    assert file.id not in {each.id for each in backend.files()}


def test_a_file_that_a_job_reads_stays(subject: Subject, backend: Backend) -> None:
    job = subject.create(training_file=backend.upload(subject.new_file()).id)
    with pytest.raises((InvalidRequestError, UnsupportedError)):
        backend.delete_file(job.training_file)
    assert backend.file(job.training_file).id == job.training_file
    backend.cancel(job.id)


# --- creating -----------------------------------------------------------------------------------


def test_unknown_names_are_not_found(backend: Backend) -> None:
    uses: list[Callable[[str], object]] = [
        backend.file,
        backend.content,
        backend.retrieve,
        backend.cancel,
        backend.events,
        backend.checkpoints,
        lambda model: backend.complete(model, PROMPT, sampling=GREEDY),
        lambda model: list(backend.stream(model, PROMPT, sampling=GREEDY)),
    ]
    if backend.capabilities.delete_files:
        uses.append(backend.delete_file)
    if backend.capabilities.delete_models:
        uses.append(backend.delete_model)
    if backend.capabilities.pause:
        uses += [backend.pause, backend.resume]
    for use, name in itertools.product(uses, ("ftjob-none", "名前 / ?#%")):
        with pytest.raises(NotFoundError):
            use(name)


def test_a_job_needs_files_that_exist(subject: Subject) -> None:
    with pytest.raises((InvalidRequestError, NotFoundError)):
        subject.create(training_file="file-none")
    with pytest.raises((InvalidRequestError, NotFoundError)):
        subject.create(validation_file="file-none")


def test_a_job_needs_a_model_that_exists(subject: Subject) -> None:
    with pytest.raises((ModelError, InvalidRequestError, NotFoundError)):
        subject.create(model="no-such-model")


EXAMPLES: dict[str, Any] = {
    "n_epochs": 1, "batch_size": 1, "learning_rate_multiplier": 1.0, "beta": 0.1,
    "learning_rate": 1e-4, "lora_r": 8, "lora_alpha": 16.0, "lora_dropout": 0.1,
    "context_length": 64, "validation_split": 0.2, "train_on_inputs": True,
    "max_prompt_length": 64, "max_completion_length": 64, "token_mask_probability": 0.1,
    "chat_template": "{{ messages }}", "dtype": "int8", "gradient_checkpointing": True,
    "torch_compile": True, "optimizer": "adam", "lr_scheduler_type": "cosine",
    "warmup_ratio": 0.1, "weight_decay": 0.1, "max_grad_norm": 0.5,
    "gradient_accumulation_steps": 2, "drop_last_batch": True, "lora_target_modules": ("q_proj",),
    "use_rslora": True, "use_dora": True, "evaluation_epochs": 0.5,
    "evaluate_before_training": True, "evaluation_metric": "bleu", "save_best_checkpoint": True,
    "early_stopping_patience": 2,
}  # fmt: skip


def test_what_it_cannot_do_is_refused(subject: Subject, backend: Backend) -> None:
    before = [job.id for job in backend.jobs()]
    assert set(EXAMPLES) == set(Hyperparameters.model_fields)
    for setting in set(EXAMPLES) - backend.capabilities.hyperparameters:
        with pytest.raises(UnsupportedError, match=setting):
            subject.create(hyperparameters={setting: EXAMPLES[setting]})
    for method in {"supervised", "dpo", "reinforcement"} - backend.capabilities.methods:
        with pytest.raises(UnsupportedError, match=method):
            subject.create(method=method)
    assert [job.id for job in backend.jobs()] == before


# --- a job that succeeds ------------------------------------------------------------------------


def test_a_job_succeeds(finished: Finished, backend: Backend) -> None:
    job = finished.job
    assert job.status == "succeeded"
    assert job.error is None
    assert job.created_at <= (job.finished_at or 0)
    assert job.hyperparameters["n_epochs"] == 2
    assert "contract" in (job.fine_tuned_model or "")
    assert backend.retrieve(job.id) == job


def test_a_job_keeps_what_it_was_given(finished: Finished, subject: Subject) -> None:
    job, given = finished.job, {"seed": 7, "suffix": "contract", "metadata": {"team": "otter"}}
    kept = {name: getattr(job, name) for name in subject.keeps}
    assert kept == {name: given[name] for name in subject.keeps}


def test_names_and_tokens_are_the_wires(finished: Finished, subject: Subject) -> None:
    is_wires = str(finished.job.fine_tuned_model).startswith("ft:")
    assert is_wires == subject.speaks_wire
    assert not subject.speaks_wire or (finished.job.trained_tokens or 0) > 0


def test_statuses_are_the_wires_in_their_order(finished: Finished) -> None:
    order = ["validating_files", "queued", "running", "succeeded"]
    seen = [status for status, _ in itertools.groupby(finished.statuses)]
    assert seen == [status for status in order if status in seen]
    assert "running" in seen


def test_events_tell_the_whole_story(finished: Finished, subject: Subject) -> None:
    messages = [event.message for event in finished.events]
    assert all(messages)
    assert len(messages) > 3
    if not subject.speaks_wire:
        assert all(e.data.get("type") for e in finished.events if e.metrics is None)
        return
    assert messages[0] == f"Created fine-tuning job: {finished.job.id}"
    assert messages[1] == f"Validating training file: {finished.job.training_file}"
    assert "Files validated, moving job to queued state" in messages
    assert "Fine-tuning job started" in messages
    assert f"New fine-tuned model created: {finished.job.fine_tuned_model}" in messages
    assert messages[-1] == "The job has successfully completed"


def test_events_come_once_and_oldest_first(finished: Finished, backend: Backend) -> None:
    events = finished.events
    assert len({event.id for event in events}) == len(events)
    assert [e.created_at for e in events] == sorted(e.created_at for e in events)
    assert tuple(backend.events(finished.job.id)) == events


def test_events_after_an_event_are_those_that_follow_it(
    finished: Finished, backend: Backend
) -> None:
    for place, event in enumerate(finished.events):
        assert (
            tuple(backend.events(finished.job.id, after=event.id)) == finished.events[place + 1 :]
        )


def test_every_step_has_its_numbers(finished: Finished) -> None:
    metrics = [event.metrics for event in finished.events if event.metrics is not None]
    total = metrics[0].total_steps
    assert [each.step for each in metrics] == list(range(1, (total or len(metrics)) + 1))
    texts = [event.message for event in finished.events if event.type == "metrics"]
    for each, text in zip(metrics, texts, strict=True):
        assert each.total_steps == total
        assert each.train_loss is not None
        assert each.train_loss >= 0
        assert 0 <= (each.train_mean_token_accuracy or 0) <= 1
        place = f"{each.step}/{total}" if total else each.step
        assert text.startswith(f"Step {place}: training loss={each.train_loss:.2f}")


def test_checkpoints_are_those_of_the_epochs(
    finished: Finished, subject: Subject, backend: Backend
) -> None:
    checkpoints = backend.checkpoints(finished.job.id)
    if not backend.capabilities.checkpoints:
        assert list(checkpoints) == []
        return
    steps = [checkpoint.step_number for checkpoint in checkpoints]
    assert len(steps) == 2
    assert steps == sorted(steps)
    messages = [event.message for event in finished.events]
    for checkpoint in checkpoints:
        step, model = checkpoint.step_number, checkpoint.fine_tuned_model_checkpoint
        assert checkpoint.fine_tuning_job_id == finished.job.id
        if not subject.speaks_wire:
            assert str(step) in model
            continue
        assert model.endswith(f":ckpt-step-{step}")
        assert f"Checkpoint created at step {step} with Snapshot ID: {model}" in messages


def test_the_result_file_is_csv(finished: Finished, backend: Backend) -> None:
    lines = backend.result_file(finished.job).decode().splitlines()
    assert lines[0].startswith("step,")
    steps = [event.metrics.step for event in finished.events if event.metrics]
    assert [int(line.split(",")[0]) for line in lines[1:]] == steps


# --- jobs ---------------------------------------------------------------------------------------


def test_jobs_are_listed_newest_first_and_found_by_metadata(
    subject: Subject, backend: Backend
) -> None:
    common, ours = {"suite": "list"}, []
    for number in ("1", "2"):
        ours.append(subject.create(metadata={**common, "number": number}).id)
        backend.cancel(ours[-1])
    listed = [job.id for job in backend.jobs()]
    assert [job_id for job_id in listed if job_id in ours] == ours[::-1]
    assert len(set(listed)) == len(listed)
    if backend.capabilities.metadata:
        assert [job.id for job in backend.jobs(metadata=common)] == ours[::-1]
        assert [job.id for job in backend.jobs(metadata={**common, "number": "1"})] == ours[:1]
        assert list(backend.jobs(metadata={**common, "number": "3"})) == []


def test_cancel_ends_a_job_once(subject: Subject, backend: Backend) -> None:
    job = subject.create()
    backend.cancel(job.id)
    job = subject.finish(job)
    assert job.status == "cancelled"
    assert job.fine_tuned_model is None
    events = backend.events(job.id)
    assert backend.cancel(job.id) == job
    assert backend.events(job.id) == events
    with pytest.raises(NotFoundError):
        backend.result_file(job)


def test_cancel_stops_a_running_job(subject: Subject, backend: Backend) -> None:
    job = subject.wait(subject.create(), lambda job: job.status == "running")
    backend.cancel(job.id)
    assert subject.finish(job).status == "cancelled"


def test_an_ended_job_is_left_as_it_is(finished: Finished, backend: Backend) -> None:
    assert backend.cancel(finished.job.id) == finished.job
    refusal = InvalidRequestError if backend.capabilities.pause else UnsupportedError
    for verb in (backend.pause, backend.resume):
        with pytest.raises(refusal):
            verb(finished.job.id)
    assert backend.retrieve(finished.job.id) == finished.job


def test_pause_holds_a_job_until_resume(subject: Subject, backend: Backend) -> None:
    job = subject.create(hyperparameters={"n_epochs": 2})
    if not backend.capabilities.pause:
        with pytest.raises(UnsupportedError):
            backend.pause(job.id)
        backend.cancel(job.id)
        return
    job = subject.wait(job, lambda job: job.status == "running")
    assert backend.pause(job.id).status in PAUSED
    assert backend.pause(job.id).status in PAUSED
    job = subject.wait(job, lambda job: job.status == "paused")
    events = backend.events(job.id)
    subject.advance()
    assert backend.retrieve(job.id).status == "paused"
    assert backend.events(job.id) == events
    assert backend.resume(job.id).status not in PAUSED | ENDED
    assert backend.resume(job.id).status not in PAUSED
    assert subject.finish(job).status == "succeeded"
    steps = [event.metrics.step for event in backend.events(job.id) if event.metrics]
    assert steps == list(range(1, len(steps) + 1))


# --- answers ------------------------------------------------------------------------------------


def _askable(finished: Finished, subject: Subject) -> list[str]:
    checkpoints = subject.backend.checkpoints(finished.job.id)
    snapshots = [checkpoint.fine_tuned_model_checkpoint for checkpoint in checkpoints]
    return [subject.base_model, str(finished.job.fine_tuned_model), *snapshots]


def test_base_tuned_and_checkpoints_answer(
    finished: Finished, subject: Subject, backend: Backend
) -> None:
    for model in _askable(finished, subject):
        completion = backend.complete(model, PROMPT, sampling=GREEDY)
        choice = completion.choices[0]
        assert choice.message.role == "assistant"
        assert choice.finish_reason in {"stop", "length"}
        assert completion.usage is not None
        assert 0 < completion.usage.completion_tokens <= 16


def test_a_stream_says_what_the_whole_answer_says(
    finished: Finished, subject: Subject, backend: Backend
) -> None:
    for model in _askable(finished, subject)[:2]:
        whole = backend.complete(model, PROMPT, sampling=GREEDY)
        deltas = list(backend.stream(model, PROMPT, sampling=GREEDY))
        assert "".join(delta.content for delta in deltas) == whole.text
        assert [delta.finish_reason for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
        assert deltas[-1].finish_reason == whole.choices[0].finish_reason
        assert deltas[-1].usage == whole.usage


def test_sampling_is_honoured(subject: Subject, backend: Backend) -> None:
    two = Sampling(temperature=0, n=2, max_tokens=1)
    completion = backend.complete(subject.base_model, PROMPT, sampling=two)
    assert [choice.index for choice in completion.choices] == [0, 1]
    assert {choice.finish_reason for choice in completion.choices} == {"length"}
    deltas = backend.stream(subject.base_model, PROMPT, sampling=two)
    assert sorted(delta.index for delta in deltas if delta.finish_reason) == [0, 1]
    whole = backend.complete(subject.base_model, PROMPT, sampling=GREEDY).text
    stop = whole.strip()[1:3]
    stopped = GREEDY.model_copy(update={"stop": (stop,)})
    assert (
        backend.complete(subject.base_model, PROMPT, sampling=stopped).text
        == whole.partition(stop)[0]
    )


@pytest.mark.parametrize(
    "setting",
    [
        {"top_k": 5},
        {"repetition_penalty": 1.2},
        {"min_tokens": 1},
        {"num_beams": 2},
        {"logprobs": True},
        {"response_format": {"type": "json_object"}},
    ],
)
def test_samplings_are_known_or_refused(
    subject: Subject, backend: Backend, setting: dict[str, Any]
) -> None:
    sampling = Sampling(max_tokens=3, seed=1, **setting)
    if not setting.keys() <= backend.capabilities.sampling:
        for ask in (backend.complete, backend.stream):
            with pytest.raises(UnsupportedError, match=next(iter(setting))):
                ask(subject.base_model, PROMPT, sampling=sampling)
        return
    whole = backend.complete(subject.base_model, PROMPT, sampling=sampling).text
    pieces = backend.stream(subject.base_model, PROMPT, sampling=sampling)
    assert "".join(piece.content for piece in pieces) == whole


def test_log_probabilities_are_those_of_the_answers_tokens(
    subject: Subject, backend: Backend
) -> None:
    sampling = GREEDY.model_copy(update={"logprobs": True, "top_logprobs": 3})
    if "logprobs" not in backend.capabilities.sampling:
        with pytest.raises(UnsupportedError, match="logprobs"):
            backend.complete(subject.base_model, PROMPT, sampling=sampling)
        return
    (choice,) = backend.complete(subject.base_model, PROMPT, sampling=sampling).choices
    assert choice.logprobs is not None
    tokens = choice.logprobs["content"]
    said = b"".join(bytes(token["bytes"]) for token in tokens)
    assert said.decode(errors="replace") == choice.message.content
    for token in tokens:
        assert token["logprob"] <= 0
        assert len(token["top_logprobs"]) == 3
        assert {"token", "logprob", "bytes"} <= token["top_logprobs"][0].keys()
    deltas = list(backend.stream(subject.base_model, PROMPT, sampling=sampling))
    assert [each for d in deltas if d.logprobs for each in d.logprobs["content"]] == tokens
    (choice,) = backend.complete(subject.base_model, PROMPT, sampling=GREEDY).choices
    assert choice.logprobs is None


def test_threads_may_ask_at_once(finished: Finished, subject: Subject, backend: Backend) -> None:
    model = str(finished.job.fine_tuned_model)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(backend.complete, model, PROMPT, sampling=GREEDY) for _ in range(8)]
        answers = {each.result().text for each in asked}
    assert answers == {backend.complete(model, PROMPT, sampling=GREEDY).text}


def test_models_lists_what_can_be_trained_or_asked(
    finished: Finished, subject: Subject, backend: Backend
) -> None:
    listed = {model.id for model in backend.models()}
    assert {subject.base_model, finished.job.fine_tuned_model} <= listed


def test_a_deleted_model_is_gone_with_its_checkpoints(subject: Subject, backend: Backend) -> None:
    if not backend.capabilities.delete_models:
        with pytest.raises(UnsupportedError):
            backend.delete_model("anything")
        return
    job = subject.finish(subject.create())
    tuned = str(job.fine_tuned_model)
    snapshots = [each.fine_tuned_model_checkpoint for each in backend.checkpoints(job.id)]
    backend.delete_model(tuned)
    for model in (tuned, *snapshots):
        with pytest.raises(NotFoundError):
            backend.complete(model, PROMPT, sampling=GREEDY)
    with pytest.raises(NotFoundError):
        backend.delete_model(tuned)
    assert tuned not in {model.id for model in backend.models()}
    assert backend.retrieve(job.id).status == "succeeded"


def test_a_base_model_cannot_be_deleted(subject: Subject, backend: Backend) -> None:
    with pytest.raises((InvalidRequestError, NotFoundError, UnsupportedError)):
        backend.delete_model(subject.base_model)
    assert backend.complete(subject.base_model, PROMPT, sampling=GREEDY).choices
