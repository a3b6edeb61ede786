"""Together by its own wire, against a loopback service as strict as its documentation."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.backends.base import Prices
from ftjobs.backends.opening import open_hosted
from ftjobs.backends.profiles import PROFILES, Profile
from ftjobs.backends.retry import RetryPolicy
from ftjobs.backends.together import TogetherBackend
from ftjobs.backends.together.body import STATUSES
from ftjobs.backends.together.story import since, story
from ftjobs.errors import (
    AuthError,
    BackendError,
    ConfigError,
    InvalidRequestError,
    NotFoundError,
    RateLimitError,
    ServiceError,
    UnreachableError,
    UnsupportedError,
)
from ftjobs.jobs.submit import submit
from ftjobs.jobs.watch import events_of, follow
from ftjobs.schema import ChatMessage, Event, Hyperparameters, Job, JobSpec, Sampling
from tests.native import KEY, Json
from tests.together_service import BASE, TogetherService, running

LINE = json.dumps({"messages": [{"role": "user", "content": "Wie geht es?"}]}) + "\n"
PROMPT = [ChatMessage(role="user", content="hi", weight=1)]
TYPES = [
    "job_pending",
    "job_start",
    "job_stopped",
    "model_downloading",
    "model_download_complete",
    "training_data_downloading",
    "training_data_download_complete",
    "validation_data_downloading",
    "validation_data_download_complete",
    "wandb_init",
    "training_start",
    "checkpoint_save",
    "billing_limit",
    "epoch_complete",
    "training_complete",
    "model_compressing",
    "model_compression_complete",
    "model_uploading",
    "model_upload_complete",
    "job_complete",
    "job_error",
    "cancel_requested",
    "job_restarted",
    "refund",
    "warning",
    "early_stopped",
    "tokenized_dataset_upload_complete",
]


@dataclass
class World:
    service: TogetherService
    backend: TogetherBackend
    dataset: Path
    waits: list[float] = field(default_factory=list)

    def create(self, **spec: Any) -> Job:
        spec = {"model": BASE} | spec
        if "training_file" not in spec:
            spec["training_file"] = self.backend.upload(self.dataset).id
        return self.backend.create(JobSpec(**spec))

    def finish(self, job: Job) -> Job:
        while not job.ended:
            self.service.tick()
            job = self.backend.retrieve(job.id)
        return job

    def sleep(self, seconds: float) -> None:
        """Time in which every job lives one step."""
        self.waits.append(seconds)
        self.service.tick()

    def now(self) -> float:
        return sum(self.waits)

    def sent(self) -> Json:
        """The body of the last create."""
        posts = [r for r in self.service.requests if (r.method, r.path) == CREATE]
        found: Json = json.loads(posts[-1].body)
        return found


CREATE = ("POST", "/v1/fine-tunes")
JOB_FIELDS = [
    "status",
    "created_at",
    "updated_at",
    "events",
    "training_method",
    "training_type",
    "batch_size",
    "model_output_name",
    "model",
    "token_count",
    "suffix",
    "progress",
]


def open_together(service: TogetherService, waits: list[float], **changes: Any) -> TogetherBackend:
    policy = RetryPolicy(sleep=waits.append, now=lambda: sum(waits))
    profile: Profile = PROFILES["together"].at(service.url).model_copy(update=changes)
    return TogetherBackend("together", profile, KEY, retry=policy, timeout=5.0)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    dataset, waits = tmp_path / "train.jsonl", list[float]()
    dataset.write_text(LINE * 12, "utf-8")
    with (
        running({"hi": "one two three"}) as service,
        closing(open_together(service, waits)) as backend,
    ):
        yield World(service, backend, dataset, waits)


# --- files ---------------------------------------------------------------------------------------


def test_the_same_bytes_are_sent_once(world: World) -> None:
    told: list[tuple[int, int]] = []
    first = world.backend.upload(world.dataset)
    again = world.backend.upload(world.dataset, progress=lambda *now: told.append(now))
    assert again == first
    assert world.service.storage.count("PUT", "") == 1
    assert told == [(first.bytes, first.bytes)]


def test_a_lost_answer_to_an_upload_costs_no_second_file(world: World) -> None:
    world.service.fault("POST", "/preprocess", lost="after")
    with pytest.raises(UnreachableError):
        world.backend.upload(world.dataset)
    assert world.backend.upload(world.dataset).id == "file-00000001"
    assert len(world.service.files) == 1


def test_a_file_may_have_another_name_there(world: World) -> None:
    assert world.backend.upload(world.dataset, name="a.jsonl").filename == "a.jsonl"
    with pytest.raises(ConfigError, match=r"notes\.txt.*\.csv, \.jsonl, \.parquet"):
        world.backend.upload(world.dataset, name="notes.txt")


def test_a_file_that_is_too_large_is_refused_before_anything_is_sent(world: World) -> None:
    little = PROFILES["together"].capabilities.model_copy(update={"max_file_bytes": 10})
    with (
        closing(open_together(world.service, [], capabilities=little)) as backend,
        pytest.raises(ConfigError, match="takes 10 at most"),
    ):
        backend.upload(world.dataset)
    assert world.service.requests == []


@pytest.mark.parametrize(
    ("word", "status"),
    [("PENDING", "pending"), ("COMPLETED", "processed"), ("INVALID_FORMAT", "error"), ("X", "X")],
)
def test_the_state_of_a_file_is_told_in_our_words(world: World, word: str, status: str) -> None:
    world.service.file_status = word
    assert world.backend.upload(world.dataset).status == status


def test_an_upload_without_a_place_is_an_error(world: World) -> None:
    def placeless(answer: Any) -> Any:
        answer.headers = {}
        return answer

    world.service.fault("POST", "/v1/files", rewrite=placeless)
    with pytest.raises(ServiceError, match="where to send"):
        world.backend.upload(world.dataset)


# --- creating ------------------------------------------------------------------------------------


def test_what_is_chosen_is_sent_and_what_is_not_is_left_to_the_service(world: World) -> None:
    world.create()
    plain = world.sent()
    assert plain.pop("training_file") == "file-00000001"
    assert plain == {
        "model": BASE,
        "n_epochs": 1,
        "n_checkpoints": 1,
        "training_method": {"method": "sft", "train_on_inputs": "auto"},
    }


def test_every_setting_has_its_place(world: World) -> None:
    settings = {"n_epochs": 3, "batch_size": 16, "learning_rate": 1e-4}
    settings |= {"lora_r": 16, "lora_dropout": 0.1}
    file_id = world.backend.upload(world.dataset).id
    job = world.create(hyperparameters=settings, suffix="otter-v1", seed=7, validation_file=file_id)
    sent = world.sent()
    assert (sent["n_epochs"], sent["n_checkpoints"], sent["n_evals"]) == (3, 3, 3)
    assert (sent["batch_size"], sent["learning_rate"], sent["random_seed"]) == (16, 1e-4, 7)
    assert sent["training_type"] == {
        "type": "Lora",
        "lora_r": 16,
        "lora_alpha": 32,
        "lora_dropout": 0.1,
        "lora_trainable_modules": "all-linear",
    }
    assert {**settings, "lora_alpha": 32} == job.hyperparameters
    assert (job.suffix, job.seed, job.validation_file) == ("otter-v1", 7, file_id)


def test_preferences_have_a_method_and_a_beta(world: World) -> None:
    job = world.create(method="dpo", hyperparameters={"beta": 0.2})
    assert world.sent()["training_method"] == {"method": "dpo", "dpo_beta": 0.2}
    assert job.method is not None
    assert job.method["type"] == "dpo"
    assert job.hyperparameters["beta"] == 0.2


def test_alpha_alone_takes_the_rank_of_the_model(world: World) -> None:
    world.create(hyperparameters={"lora_alpha": 12.0})
    assert world.sent()["training_type"]["lora_r"] == 8
    with pytest.raises(UnsupportedError, match=r"whole lora_alpha, not 12\.5"):
        world.create(hyperparameters={"lora_alpha": 12.5})


def test_checkpoints_stay_within_the_limits_of_the_model(world: World) -> None:
    def few(limits: Any) -> Any:
        return {**limits, "max_num_checkpoints": 2, "max_num_evals": None}

    world.service.fault("GET", "/limits", rewrite=few)
    world.create(hyperparameters={"n_epochs": 5})
    assert world.sent()["n_checkpoints"] == 2


@pytest.mark.parametrize(
    "spec",
    [
        {"suffix": "x" * 41},
        {"metadata": {"team": "otter"}},
        {"method": "reinforcement"},
        {"hyperparameters": {"context_length": 1024}},
        {"hyperparameters": {"learning_rate_multiplier": 2.0}},
    ],
)
def test_what_cannot_be_said_is_refused_before_anything_is_sent(world: World, spec: Json) -> None:
    with pytest.raises(UnsupportedError):
        world.create(training_file="file-1", **spec)
    assert world.service.requests == []


def test_settings_of_the_profile_go_with_every_job(world: World) -> None:
    own = {"settings": {"packing": False}, "extra_body": {"wandb_project_name": "otter"}}
    with closing(open_together(world.service, [], **own)) as backend:
        file_id = backend.upload(world.dataset).id
        backend.create(JobSpec(model=BASE, training_file=file_id))
    assert world.sent()["packing"] is False
    assert world.sent()["wandb_project_name"] == "otter"


@pytest.mark.parametrize(
    "fault",
    [
        {"lost": "after"},
        {"lost": "before"},
        {"status": 500},
        {"status": 502, "body": b"<html>Bad Gateway</html>"},
        {"cut": 20},
        {"status": 429, "headers": {"Retry-After": "1"}},
    ],
)
def test_create_is_sent_once_whatever_comes_of_it(world: World, fault: Json) -> None:
    file_id = world.backend.upload(world.dataset).id
    world.service.fault(*CREATE, times=9, **fault)
    with pytest.raises(BackendError) as caught:
        world.create(training_file=file_id)
    assert world.service.count("POST", "/v1/fine-tunes$") == 1
    assert (caught.value.acted is False) == isinstance(caught.value, RateLimitError)


@pytest.mark.parametrize("fault", [{"lost": "after"}, {"status": 500, "acts": True}, {"cut": 20}])
def test_a_lost_answer_to_create_makes_no_second_job(tmp_path: Path, fault: Json) -> None:
    train = tmp_path / "train.jsonl"
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    rows = [{"messages": [{**turns[0], "content": f"q {n}"}, turns[1]]} for n in range(12)]
    train.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    waits: list[float] = []
    policy = RetryPolicy(sleep=waits.append, now=lambda: sum(waits))
    with running() as service, closing(open_together(service, waits)) as backend:
        service.fault(*CREATE, **fault)
        jobs = [submit(backend, str(train), model=BASE, retry=policy) for _ in range(3)]
        assert len(service.runs) == 1
        assert {job.id for job in jobs} == set(service.runs)


# --- a job's life --------------------------------------------------------------------------------


def test_a_watcher_sees_every_event_and_step_once(world: World) -> None:
    job = world.create(hyperparameters={"n_epochs": 2}, suffix="otter")
    seen = list(events_of(follow(world.backend, job.id, sleep=world.sleep, now=world.now)))
    assert [event.id for event in seen] == [e.id for e in world.backend.events(job.id)]
    steps = [event.metrics.step for event in seen if event.metrics]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert {event.metrics.total_steps for event in seen if event.metrics} == {6}
    types = [event.data["type"] for event in seen if not event.metrics]
    assert types[0] == "job_pending"
    assert types[-1] == "job_complete"


def test_a_job_without_its_suffix_tells_it_by_its_model(world: World) -> None:
    job = world.create(suffix="otter-v-1")
    assert "suffix" not in json.loads(_raw(world, f"/v1/fine-tunes/{job.id}"))
    assert world.backend.retrieve(job.id).suffix == "otter-v-1"
    assert world.backend.retrieve(world.create().id).suffix is None


def _raw(world: World, path: str) -> bytes:
    return world.backend._rest.content(path.removeprefix("/"))


def test_a_failed_job_says_why(world: World) -> None:
    world.service.fail_with = "Training file has 7 examples"
    job = world.finish(world.create())
    assert job.status == "failed"
    assert job.error is not None
    assert (job.error.code, job.error.message) == ("user_error", "Training file has 7 examples")
    assert world.backend.events(job.id)[-1].level == "error"


def test_cancel_survives_a_lost_answer(world: World) -> None:
    job = world.create()
    world.service.fault("POST", "/cancel", lost="after")
    assert world.backend.cancel(job.id).model_extra == {
        **(world.backend.retrieve(job.id).model_extra or {})
    }
    assert world.finish(job).status == "cancelled"
    assert world.backend.cancel(job.id).status == "cancelled"


def test_a_job_in_which_no_step_was_made_has_no_result(world: World) -> None:
    with pytest.raises(NotFoundError):
        world.backend.result_file(world.create())


def test_numbers_that_are_not_there_are_no_reason_to_hide_events(world: World) -> None:
    job = world.create()
    world.service.fault("GET", "/metrics", status=404)
    assert [event.data["type"] for event in world.backend.events(job.id)] == ["job_pending"]


def test_unknown_words_pass_through(world: World) -> None:
    job = world.create()
    world.service.fault("GET", f"/{job.id}", rewrite=lambda raw: {**raw, "status": "dreaming"})
    found = world.backend.retrieve(job.id)
    assert (found.status, found.ended, found.finished_at) == ("dreaming", False, None)
    assert (found.model_extra or {})["original_status"] == "dreaming"


@pytest.mark.parametrize("word", STATUSES)
def test_original_words_are_kept(world: World, word: str) -> None:
    job = world.create()
    world.service.fault("GET", f"/{job.id}", rewrite=lambda raw: {**raw, "status": word})
    found = world.backend.retrieve(job.id)
    assert found.status == STATUSES[word]
    assert (found.model_extra or {})["original_status"] == word


@given(
    st.dictionaries(
        st.sampled_from(JOB_FIELDS),
        st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers()),
    )
)
def test_a_job_of_any_shape_is_read_or_refused_clearly(raw: Json) -> None:
    with closing(TogetherBackend("t", PROFILES["together"], KEY)) as backend:
        try:
            read = backend._job({"id": "ft-1", **raw}).id
        except ServiceError as error:
            read = error.message
    assert read == "ft-1" or "cannot be read" in read


# --- events --------------------------------------------------------------------------------------


def _event(number: int, kind: str, **more: Any) -> Json:
    when = f"2026-11-22T08:{number // 60:02}:{number % 60:02}Z"
    return {
        "object": "fine-tune-event",
        "created_at": when,
        "message": f"m{number}",
        "type": kind,
    } | more


def _told(said: list[Json], rows: list[Json]) -> list[Event]:
    return [each.event for each in story("ft-1", said, rows, "t")]


def _rows(steps: int) -> list[Json]:
    return [{"train/global_step": n + 1, "train/loss": 1.0} for n in range(steps)]


@given(st.lists(st.sampled_from(TYPES), max_size=12), st.integers(0, 5), st.randoms())
def test_order_and_repeats_do_not_matter(
    types: list[str], steps: int, shuffled: random.Random
) -> None:
    said = [_event(number, kind) for number, kind in enumerate(types)]
    expected = _told(said, _rows(steps))
    mixed = said + said[: len(said) // 2]
    shuffled.shuffle(mixed)
    found = _told(mixed, _rows(steps))
    assert [event.id for event in found] == [event.id for event in expected]
    assert len({event.id for event in found}) == len(found) == len(said) + steps
    times = [event.created_at for event in found]
    assert times == sorted(times)


ODD: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just({"a": []})
)
EVENT_FIELDS = ["created_at", "hash", "level", "message", "step", "total_steps", "type"]


@given(st.lists(st.dictionaries(st.sampled_from(EVENT_FIELDS), ODD), max_size=4))
def test_events_of_any_shape_are_told(said: list[Json]) -> None:
    assert len(_told(said, _rows(1))) >= bool(said)


ARRIVALS = st.lists(st.sampled_from(["step", "epoch", "warning", "look"]), max_size=25)


@given(ARRIVALS, st.booleans())
def test_who_remembers_only_the_last_event_misses_none(arrivals: list[str], ends: bool) -> None:
    said, rows = [_event(0, "job_pending"), _event(1, "training_start")], list[Json]()
    given_ids: set[str] = set()
    last: str | None = None
    for number, what in enumerate([*arrivals, "end" if ends else "look", "look"], 2):
        if what == "step":
            rows.append({"train/global_step": len(rows) + 1, "train/loss": 1.0})
        elif what == "epoch":
            said.append(_event(number, "epoch_complete", step=len(rows)))
        elif what == "warning":
            said.append(_event(number, "warning"))
        elif what == "end":
            said.append(_event(number, "training_complete"))
        else:
            found = since(story("ft-1", said, rows, "t"), last)
            given_ids |= {event.id for event in found}
            last = found[-1].id if found else last
    assert given_ids == {event.id for event in _told(said, rows)}


def test_events_of_one_time_keep_their_order_even_backwards() -> None:
    same = [_event(1, kind, message=kind) for kind in TYPES[:4]]
    said = [_event(0, "job_pending"), *same, _event(2, "job_complete")]
    assert _told(said[::-1], []) == _told(said, [])


def test_each_step_lies_between_its_events() -> None:
    said = [
        _event(0, "job_pending"),
        _event(1, "training_start", total_steps=4),
        _event(3, "warning"),
        _event(5, "epoch_complete", step=2),
        _event(9, "training_complete"),
    ]
    events = _told(said, _rows(4))
    told = [event.metrics.step if event.metrics else event.data["type"] for event in events]
    before = ["job_pending", "training_start", 1, 2, "warning", "epoch_complete"]
    assert told == [*before, 3, 4, "training_complete"]
    early = _told(said[:2], _rows(1))
    assert early[-1].message == "Step 1/4: training loss=1.00"


@pytest.mark.parametrize(
    ("raw", "level"),
    [
        ({"type": "job_error"}, "error"),
        ({"type": "job_error", "level": "info"}, "info"),
        ({"type": "warning", "level": None}, "warn"),
        ({"type": "refund", "level": "legacy_ierror"}, "error"),
        ({"type": "refund", "level": "fatal"}, "fatal"),
    ],
)
def test_levels_are_the_wires(raw: Json, level: str) -> None:
    (event,) = _told([{**_event(1, ""), **raw}], [])
    assert event.level == level


# --- prices, models, answers ---------------------------------------------------------------------


def test_the_service_says_what_a_job_will_cost(world: World) -> None:
    assert isinstance(world.backend, Prices)
    file_id = world.backend.upload(world.dataset).id
    spec = JobSpec(
        model=BASE,
        training_file=file_id,
        suffix="otter",
        hyperparameters=Hyperparameters(n_epochs=2, lora_r=8, learning_rate=1e-4),
    )
    assert world.backend.price(spec) == 0.25
    world.service.file_status = "PENDING"
    assert world.backend.price(spec) is None
    assert world.service.runs == {}


def test_a_model_that_cannot_be_trained_is_found_out_before_anything_is_created(
    world: World,
) -> None:
    with pytest.raises(NotFoundError, match="not available for fine-tuning"):
        world.create(model="meta-llama/Other")
    assert world.service.count("POST", "/v1/fine-tunes$") == 0


def test_a_file_in_use_is_kept(world: World) -> None:
    job = world.create()
    with pytest.raises(InvalidRequestError, match=job.id):
        world.backend.delete_file(job.training_file)
    world.finish(job)
    world.backend.delete_file(job.training_file)


def test_answers_come_whole_and_in_pieces(world: World) -> None:
    sampling = Sampling(temperature=0, seed=3, max_tokens=2, stop=("x",))
    whole = world.backend.complete(BASE, PROMPT, sampling=sampling)
    assert whole.text == "one two "
    pieces = list(world.backend.stream(BASE, PROMPT, sampling=sampling))
    assert "".join(piece.content for piece in pieces) == whole.text
    assert pieces[-1].usage == whole.usage


def test_samplings_are_sent_as_far_as_they_are_known(world: World) -> None:
    known = Sampling(top_k=30, repetition_penalty=1.2)
    world.backend.complete(BASE, PROMPT, sampling=known)
    list(world.backend.stream(BASE, PROMPT, sampling=known))
    sent = [each for each in world.service.requests if each.path.endswith("/chat/completions")]
    bodies = [json.loads(each.body) for each in sent]
    assert [(body["top_k"], body["repetition_penalty"]) for body in bodies] == [(30, 1.2)] * 2
    for unknown in ("num_beams", "min_tokens"):
        with pytest.raises(UnsupportedError, match=unknown):
            world.backend.complete(BASE, PROMPT, sampling=Sampling(**{unknown: 3}))
        with pytest.raises(UnsupportedError, match=unknown):
            world.backend.stream(BASE, PROMPT, sampling=Sampling(**{unknown: 3}))
    assert world.service.count("POST", "/chat/completions") == 2


@pytest.mark.parametrize("lost", ["", "within"])
def test_a_cut_stream_is_an_error(world: World, lost: str) -> None:
    world.service.fault("POST", "/chat/completions", cut=2, lost=lost)
    with pytest.raises(ServiceError, match="stream"):
        list(world.backend.stream(BASE, PROMPT))


# --- opening -------------------------------------------------------------------------------------


def test_it_is_opened_by_its_name() -> None:
    backend = open_hosted("together", environ={"TOGETHER_API_KEY": KEY})
    assert isinstance(backend, TogetherBackend)
    assert backend.capabilities.identity == "suffix"


def test_a_wrong_key_is_not_shown(world: World) -> None:
    wrong = "key-that-is-wrong-987654321"
    profile = PROFILES["together"].at(world.service.url)
    with (
        closing(TogetherBackend("together", profile, wrong)) as backend,
        pytest.raises(AuthError) as caught,
    ):
        list(backend.jobs())
    assert "wrong" not in str(caught.value)
    assert wrong not in repr(vars(caught.value))
