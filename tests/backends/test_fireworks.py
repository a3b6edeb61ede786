"""Fireworks by its own wire, against a loopback service as strict as its documentation."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.backends.fireworks import FireworksBackend
from ftjobs.backends.fireworks.body import KINDS, STATES, _model_id
from ftjobs.backends.fireworks.story import place_of, story
from ftjobs.backends.opening import open_hosted
from ftjobs.backends.profiles import PROFILES, Profile
from ftjobs.backends.retry import RetryPolicy
from ftjobs.errors import (
    AuthError,
    BackendError,
    ConfigError,
    InvalidRequestError,
    NotFoundError,
    ServiceError,
    UnreachableError,
    UnsupportedError,
)
from ftjobs.jobs.submit import submit
from ftjobs.jobs.watch import events_of, follow
from ftjobs.schema import IDENTITY, ChatMessage, Job, JobSpec, Sampling
from tests.fireworks_service import ACCOUNT, BASE, ID, LIVES, FireworksService, running
from tests.native import KEY, Json

LINE = json.dumps({"messages": [{"role": "user", "content": "Wie geht es?"}]}) + "\n"
PROMPT = [ChatMessage(role="user", content="hi", weight=1)]
IDENTITY_A = "a" * 32
MARK = {IDENTITY: IDENTITY_A}
SUPERVISED = f"/v1/accounts/{ACCOUNT}/supervisedFineTuningJobs"


@dataclass
class World:
    service: FireworksService
    backend: FireworksBackend
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

    def said(self) -> Json:
        """What the last job was created with."""
        return list(self.service.runs.values())[-1].said


def open_fireworks(
    service: FireworksService, waits: list[float], **changes: Any
) -> FireworksBackend:
    policy = RetryPolicy(sleep=waits.append, now=lambda: sum(waits))
    profile: Profile = PROFILES["fireworks"].at(service.url).filled({})
    profile = profile.model_copy(update=changes)
    return FireworksBackend("fireworks", profile, KEY, retry=policy, timeout=5.0)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    dataset, waits = tmp_path / "train.jsonl", list[float]()
    dataset.write_text(LINE * 12, "utf-8")
    with (
        running({"hi": "one two three"}) as service,
        closing(open_fireworks(service, waits)) as backend,
    ):
        yield World(service, backend, dataset, waits)


# --- the account ---------------------------------------------------------------------------------


def test_the_only_account_of_a_key_needs_no_name(world: World) -> None:
    assert list(world.backend.jobs()) == []
    assert list(world.backend.files()) == []
    assert world.service.count("GET", "/v1/accounts$") == 1


def test_a_named_account_is_not_looked_for(world: World) -> None:
    with closing(open_fireworks(world.service, [], account=ACCOUNT)) as backend:
        assert list(backend.files()) == []
    assert world.service.count("GET", "/v1/accounts$") == 0


@pytest.mark.parametrize(("accounts", "hint"), [([], "none is there"), (["a", "b"], "a, b")])
def test_which_account_must_be_said_where_there_is_a_choice(
    world: World, accounts: list[str], hint: str
) -> None:
    world.service.accounts = accounts
    with pytest.raises(ConfigError, match=f"FIREWORKS_ACCOUNT_ID.*{hint}"):
        list(world.backend.jobs())


def test_it_is_opened_by_its_name() -> None:
    environ = {"FIREWORKS_API_KEY": KEY, "FIREWORKS_ACCOUNT_ID": "otter"}
    backend = open_hosted("fireworks", environ=environ)
    assert isinstance(backend, FireworksBackend)
    assert backend._account == "otter"


# --- files ---------------------------------------------------------------------------------------


def test_the_same_file_is_sent_once(world: World) -> None:
    told: list[tuple[int, int]] = []
    first = world.backend.upload(world.dataset)
    again = world.backend.upload(world.dataset, progress=lambda *now: told.append(now))
    other = world.backend.upload(world.dataset, name="other.jsonl")
    assert again == first
    assert other.id != first.id
    assert other.filename == "other.jsonl"
    assert world.service.storage.count("PUT", "") == 2
    assert told == [(first.bytes, first.bytes)]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/datasets"),
        ("POST", ":getUploadEndpoint"),
        ("POST", ":validateUpload"),
        ("GET", "/datasets/ftjobs-.*"),
    ],
)
@pytest.mark.parametrize("lost", ["before", "after"])
def test_an_upload_that_broke_anywhere_goes_on(
    world: World, method: str, path: str, lost: str
) -> None:
    world.service.fault(method, path, lost=lost, times=1 if method == "POST" else 99)
    with pytest.raises(UnreachableError):
        world.backend.upload(world.dataset)
    world.service.faults.clear()
    file = world.backend.upload(world.dataset)
    assert file.status == "processed"
    assert world.backend.content(file.id) == world.dataset.read_bytes()
    assert len(world.service.datasets) == 1


def test_a_dataset_without_its_file_is_not_listed(world: World) -> None:
    world.service.storage.fault("PUT", "", status=503)
    with pytest.raises(ServiceError):
        world.backend.upload(world.dataset)
    assert len(world.service.datasets) == 1
    assert list(world.backend.files()) == []
    world.backend.upload(world.dataset)
    assert len(list(world.backend.files())) == 1


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [(b"", "a.jsonl", "is empty"), (b"x", "a.csv", r"\.jsonl")],
)
def test_a_file_that_is_not_taken_is_refused_before_anything_is_sent(
    world: World, content: bytes, name: str, message: str
) -> None:
    world.dataset.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        world.backend.upload(world.dataset, name=name)
    assert world.service.requests == []


def test_a_last_line_without_an_end_counts(world: World) -> None:
    world.dataset.write_text((LINE * 3).rstrip("\n"), "utf-8")
    world.backend.upload(world.dataset)
    assert next(iter(world.service.datasets.values()))["exampleCount"] == "3"


def test_a_cut_download_goes_on_at_a_new_place(world: World) -> None:
    file, whole = world.backend.upload(world.dataset), world.dataset.read_bytes()
    world.service.storage.fault("GET", ".", cut=7)
    target = io.BytesIO()
    world.backend.download(file.id, target)
    assert target.getvalue() == world.backend.content(file.id) == whole
    assert world.service.count("GET", ":getDownloadEndpoint$") == 3


def test_an_account_that_encrypts_gets_no_plain_text(world: World) -> None:
    world.service.encryption = "ENCRYPTION_STATE_CMEK"
    with pytest.raises(UnsupportedError, match="encrypted"):
        world.backend.upload(world.dataset)
    assert world.service.storage.requests == []


def test_a_file_in_use_is_kept(world: World) -> None:
    job = world.create()
    with pytest.raises(InvalidRequestError, match=job.id):
        world.backend.delete_file(job.training_file)
    world.finish(job)
    world.backend.delete_file(job.training_file)


# --- one intent, one job -------------------------------------------------------------------------


def test_the_identity_of_a_job_is_its_id(world: World) -> None:
    job = world.create(metadata=MARK)
    assert job.id == f"ftjobs-{IDENTITY_A}"
    assert job.metadata == MARK
    assert [each.id for each in world.backend.jobs(metadata=MARK)] == [job.id]
    assert list(world.backend.jobs(metadata={IDENTITY: "b" * 32})) == []
    assert world.service.count("GET", f"{SUPERVISED}$") == 0  # no list has to catch up


def test_creating_again_gives_the_first(world: World) -> None:
    first = world.create(metadata=MARK, suffix="otter", hyperparameters={"learning_rate": 1e-4})
    world.service.tick()
    again = world.create(metadata=MARK, suffix="otter", hyperparameters={"learning_rate": 1e-4})
    assert again.id == first.id
    world.finish(first)
    done = world.create(metadata=MARK, suffix="otter", hyperparameters={"learning_rate": 1e-4})
    assert (done.id, done.status) == (first.id, "succeeded")
    assert len(world.service.runs) == 1


def test_many_at_once_make_one(world: World) -> None:
    file_id = world.backend.upload(world.dataset).id
    with ThreadPoolExecutor(8) as pool:
        made = [pool.submit(world.create, metadata=MARK, training_file=file_id) for _ in range(16)]
        assert {each.result().id for each in made} == {f"ftjobs-{IDENTITY_A}"}
    assert len(world.service.runs) == 1


def test_other_content_under_the_same_identity_is_refused(world: World) -> None:
    world.create(metadata=MARK, hyperparameters={"n_epochs": 1})
    with pytest.raises(InvalidRequestError, match="other content"):
        world.create(metadata=MARK, hyperparameters={"n_epochs": 2})


@pytest.mark.parametrize("method", ["supervised", "dpo"])
def test_after_a_job_that_ended_in_vain_comes_another(world: World, method: str) -> None:
    ids = []
    for _ in range(3):
        job = world.create(metadata=MARK, method=method)
        world.backend.cancel(job.id)
        ids.append(world.finish(job).id)
    assert ids == [f"ftjobs-{IDENTITY_A}", f"ftjobs-{IDENTITY_A}-2", f"ftjobs-{IDENTITY_A}-3"]
    assert [job.id for job in world.backend.jobs(metadata=MARK)] == ids[::-1]
    assert {job.metadata[IDENTITY] for job in world.backend.jobs(metadata=MARK)} == {IDENTITY_A}


def test_a_deleted_first_job_hides_no_second(world: World) -> None:
    for _ in range(2):
        job = world.create(metadata=MARK)
        world.backend.cancel(job.id)
        world.finish(job)
    del world.service.runs[f"accounts/{ACCOUNT}/supervisedFineTuningJobs/ftjobs-{IDENTITY_A}"]
    assert [job.id for job in world.backend.jobs(metadata=MARK)] == [f"ftjobs-{IDENTITY_A}-2"]


def test_jobs_without_an_identity_are_as_many_as_were_asked_for(world: World) -> None:
    assert world.create().id != world.create().id
    assert len(world.service.runs) == 2
    assert world.create().metadata == {}


@pytest.mark.parametrize(
    "fault",
    [
        {"lost": "after"},
        {"lost": "before"},
        {"status": 500},
        {"status": 500, "acts": True},
        {"status": 502, "body": b"<html>Bad Gateway</html>"},
        {"cut": 20},
    ],
)
def test_create_is_sent_once_and_running_again_finds_the_job(world: World, fault: Json) -> None:
    file_id = world.backend.upload(world.dataset).id
    world.service.fault("POST", SUPERVISED, **fault)
    with pytest.raises(BackendError):
        world.create(metadata=MARK, training_file=file_id)
    assert world.service.count("POST", f"{SUPERVISED}$") == 1
    assert world.create(metadata=MARK, training_file=file_id).id == f"ftjobs-{IDENTITY_A}"
    assert len(world.service.runs) == 1


@pytest.mark.parametrize("fault", [{"lost": "after"}, {"status": 500, "acts": True}, {"cut": 20}])
def test_a_lost_answer_to_create_makes_no_second_job(tmp_path: Path, fault: Json) -> None:
    train = tmp_path / "train.jsonl"
    answer = {"role": "assistant", "content": "a"}
    rows = [{"messages": [{"role": "user", "content": f"q {n}"}, answer]} for n in range(12)]
    train.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    waits: list[float] = []
    policy = RetryPolicy(sleep=waits.append, now=lambda: sum(waits))
    with running() as service, closing(open_fireworks(service, waits)) as backend:
        service.fault("POST", SUPERVISED, **fault)
        jobs = [submit(backend, str(train), model=BASE, retry=policy) for _ in range(3)]
        assert len(service.runs) == 1
        assert len({job.id for job in jobs}) == 1


# --- what is sent --------------------------------------------------------------------------------


def test_every_setting_has_its_place(world: World) -> None:
    settings = {"n_epochs": 3, "batch_size": 16, "learning_rate": 1e-4, "lora_r": 16}
    file_id = world.backend.upload(world.dataset).id
    job = world.create(hyperparameters=settings, suffix="Otter v1", validation_file=file_id)
    said = world.said()
    assert said["dataset"] == said["evaluationDataset"] == f"accounts/{ACCOUNT}/datasets/{file_id}"
    assert (said["epochs"], said["batchSizeSamples"]) == (3, 16)
    assert (said["learningRate"], said["loraRank"]) == (1e-4, 16)
    assert said["outputModel"].startswith("ft-otter-v1-")
    assert job.hyperparameters == settings
    assert (job.suffix, job.validation_file, job.training_file) == ("Otter v1", file_id, file_id)


def test_preferences_have_a_collection_of_their_own(world: World) -> None:
    job = world.create(method="dpo", hyperparameters={"beta": 0.2, "n_epochs": 2}, metadata=MARK)
    assert world.said()["lossConfig"] == {"method": "DPO", "dpo": {"beta": 0.2}}
    assert world.said()["trainingConfig"]["epochs"] == 2
    assert job.method == {"type": "dpo"}
    assert job.hyperparameters == {"beta": 0.2, "n_epochs": 2}
    done = world.finish(job)
    assert done.status == "succeeded"
    assert world.backend.result_file(done).startswith(b"step,")
    assert [each.id for each in world.backend.jobs()] == [job.id]


@pytest.mark.parametrize(
    "spec",
    [
        {"seed": 7},
        {"suffix": "x" * 64},
        {"metadata": {"team": "otter"}},
        {"metadata": {IDENTITY: "../../x"}},
        {"method": "dpo", "validation_file": "file"},
        {"method": "dpo", "hyperparameters": {"beta": 0.5}},
        {"hyperparameters": {"beta": 0.1}},
        {"hyperparameters": {"context_length": 1024}},
        {"method": "reinforcement"},
    ],
)
def test_what_cannot_be_said_is_refused_before_anything_is_sent(world: World, spec: Json) -> None:
    with pytest.raises(UnsupportedError):
        world.create(training_file="file", **spec)
    assert world.service.requests == []


def test_secrets_of_the_profile_are_sent_and_not_compared(world: World) -> None:
    own = {"extra_body": {"wandbConfig": {"enabled": True, "apiKey": "secret-of-wandb"}}}
    with closing(open_fireworks(world.service, [], **own)) as backend:
        file_id = backend.upload(world.dataset).id
        spec = JobSpec(model=BASE, training_file=file_id, metadata=MARK)
        assert backend.create(spec).id == backend.create(spec).id
        assert "secret" not in backend.create(spec).model_dump_json()
    assert world.said()["wandbConfig"]["enabled"] is True


@given(st.text(max_size=63).filter(lambda text: text.isprintable()))
def test_any_suffix_makes_a_model_id_that_the_service_takes(suffix: str) -> None:
    assert ID.fullmatch(_model_id(suffix, "ftjobs-1"))
    assert _model_id(suffix, "ftjobs-1") != _model_id(suffix, "ftjobs-2")


# --- a job's life --------------------------------------------------------------------------------


def test_a_watcher_sees_every_state_and_step_once(world: World) -> None:
    job = world.create(hyperparameters={"n_epochs": 2}, suffix="otter")
    seen = list(events_of(follow(world.backend, job.id, sleep=world.sleep, now=world.now)))
    ids = [event.id for event in seen]
    assert len(set(ids)) == len(ids)
    assert ids == sorted(ids)
    messages = [event.message for event in seen]
    assert messages[:2] == [
        f"Created fine-tuning job: {job.id}",
        f"Job is validating_files ({LIVES[0]})",
    ]
    assert "Fine-tuning job started" in messages
    assert "Epoch 1: 33 %" in messages
    assert "Epoch 2: 100 %" in messages
    assert messages[-1] == "The job has successfully completed"
    assert [event.metrics.step for event in seen if event.metrics] == [1, 2, 3, 4, 5, 6]


def test_the_price_is_told_with_the_job(world: World) -> None:
    job = world.create()
    assert (job.model_extra or {})["estimated_cost_usd"] == 1.25
    assert world.backend.price(JobSpec(model=BASE, training_file=job.training_file)) is None


def test_a_failed_job_says_why(world: World) -> None:
    world.service.fail_with = "the dataset has 2 examples"
    job = world.finish(world.create())
    assert job.error is not None
    assert (job.error.code, job.error.message) == ("INVALID_ARGUMENT", "the dataset has 2 examples")
    last = world.backend.events(job.id)[-1]
    assert (last.level, last.message) == ("error", "the dataset has 2 examples")


def test_cancel_survives_a_lost_answer(world: World) -> None:
    job = world.create()
    world.service.fault("POST", ":cancel", lost="after")
    assert (world.backend.cancel(job.id).model_extra or {})["original_status"].endswith(
        "CANCELLING"
    )
    assert world.finish(job).status == "cancelled"
    assert world.backend.cancel(job.id).status == "cancelled"


@pytest.mark.parametrize("word", [*STATES, "JOB_STATE_DREAMING", "JOB_STATE_IDLE"])
def test_original_words_are_kept_and_unknown_ones_pass_through(world: World, word: str) -> None:
    job = world.create()
    world.service.fault("GET", f"/{job.id}", rewrite=lambda raw: {**raw, "state": word}, times=3)
    found = world.backend.retrieve(job.id)
    assert found.status == STATES.get(word, word)
    assert (found.model_extra or {})["original_status"] == word
    assert (found.finished_at is None) == (not found.ended)
    assert world.backend.events(job.id)


def test_links_that_open_files_are_not_kept(world: World) -> None:
    job = world.finish(world.create())
    assert "secret" not in job.model_dump_json()


def test_a_metrics_file_that_is_not_there_yet_is_no_error(world: World) -> None:
    job = world.finish(world.create())
    world.service.storage.objects.pop(f"metrics/{job.id}")
    assert world.backend.events(job.id)[-1].message == "The job has successfully completed"
    with pytest.raises(NotFoundError):
        world.backend.result_file(job)


def test_lines_of_the_metrics_file_that_are_none_are_passed_by(world: World) -> None:
    job = world.finish(world.create())
    rows = b'\n{"step": 1, "loss": 0.5}\nnot json\n[]\n{"loss": 1}\n{"step": 2, "eval_loss": "N/A"}'
    world.service.storage.objects[f"metrics/{job.id}"] = rows
    lines = world.backend.result_file(job).decode().splitlines()
    assert lines[1:] == ["1,0.5,,,,,", "2,,,,,,"]


# --- events --------------------------------------------------------------------------------------

WORDS = st.sampled_from([*STATES, "JOB_STATE_DREAMING"])
PROGRESS = st.fixed_dictionaries({"percent": st.integers(-1, 101), "epoch": st.integers(-1, 60)})


def _seen(word: str, progress: Json, **more: Any) -> tuple[Job, Json]:
    raw: Json = {
        "name": "accounts/a/supervisedFineTuningJobs/j",
        "createTime": "2026-11-22T08:00:00Z",
        "updateTime": "2026-11-22T09:00:00Z",
        "state": word,
        "jobProgress": progress,
        **more,
    }
    with closing(FireworksBackend("f", PROFILES["fireworks"].filled({}), KEY)) as backend:
        backend._account = "a"
        return backend._job(raw, KINDS[0]), raw


@given(WORDS, PROGRESS)
def test_equal_states_tell_equal_events_in_order(word: str, progress: Json) -> None:
    events = story(*_seen(word, progress), [])
    assert events == story(*_seen(word, progress), [])
    places = [place_of(event.id) for event in events]
    assert places == sorted(set(places))
    times = [event.created_at for event in events]
    assert times == sorted(times)
    assert all(event.data["type"] == word for event in events)


ODD: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just({"a": []})
)


@given(WORDS, st.dictionaries(st.sampled_from(["percent", "epoch"]), ODD), ODD, ODD)
def test_numbers_of_any_shape_are_borne(word: str, progress: Json, cost: Any, units: Any) -> None:
    for said in (cost, {"units": units}, {"nanos": cost}):
        assert story(*_seen(word, progress, estimatedCost=said, status=cost), [])


@given(st.integers(0, 100), st.integers(0, 50), st.integers(0, 100), st.integers(0, 50))
def test_later_progress_has_a_later_place(
    percent: int, epoch: int, later_percent: int, later_epoch: int
) -> None:
    now, then = (
        story(*_seen("JOB_STATE_RUNNING", {"percent": p, "epoch": e}), [])[-1].id
        for p, e in ((percent, epoch), (later_percent, later_epoch))
    )
    if percent and later_percent:
        assert (place_of(now) < place_of(then)) == ((epoch, percent) < (later_epoch, later_percent))


def test_an_id_that_is_not_ours_is_before_all_events(world: World) -> None:
    job = world.create()
    assert world.backend.events(job.id, after="ftevent-1") == world.backend.events(job.id)


# --- models and answers --------------------------------------------------------------------------


def test_models_are_the_services_and_the_accounts(world: World) -> None:
    day = {"year": 2027, "month": 1, "day": 6}
    world.service.models[BASE]["deprecationDate"] = day
    job = world.finish(world.create(suffix="otter"))
    found = {model.id: model for model in world.backend.models()}
    assert list(found) == [BASE, job.fine_tuned_model]
    assert found[BASE].shutdown_date == "2027-01-06"
    assert found[BASE].owned_by == "fireworks"
    world.service.models[BASE]["deprecationDate"] = {"year": 2027}
    assert next(iter(world.backend.models())).shutdown_date is None


def test_lists_are_read_to_their_end_and_no_further(world: World) -> None:
    names = [world.backend.upload(world.dataset, name=f"{n}.jsonl").filename for n in range(7)]
    assert [file.filename for file in world.backend.files()] == names[::-1]
    again = {"datasets": [], "nextPageToken": "2"}
    world.service.fault("GET", "/datasets", rewrite=lambda _page: again, times=99)
    assert list(world.backend.files()) == []


def test_answers_come_whole_and_in_pieces(world: World) -> None:
    sampling = Sampling(temperature=0, seed=3, max_tokens=2, stop=("x",))
    whole = world.backend.complete(BASE, PROMPT, sampling=sampling)
    assert whole.text == "one two "
    pieces = list(world.backend.stream(BASE, PROMPT, sampling=sampling))
    assert "".join(piece.content for piece in pieces) == whole.text
    assert pieces[-1].usage == whole.usage
    world.service.fault("POST", "/chat/completions", cut=2)
    with pytest.raises(ServiceError, match="stream"):
        list(world.backend.stream(BASE, PROMPT))


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


def test_a_wrong_key_is_not_shown(world: World) -> None:
    wrong = "key-that-is-wrong-987654321"
    profile = PROFILES["fireworks"].at(world.service.url).filled({})
    with (
        closing(FireworksBackend("fireworks", profile, wrong)) as backend,
        pytest.raises(AuthError) as caught,
    ):
        list(backend.jobs())
    assert wrong not in repr(vars(caught.value))
